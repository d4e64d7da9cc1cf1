"""Exact search among vectors that are added, replaced and removed while it runs."""

from firth.search.index import Index
from firth.search.matches import Matches, MatchesInRange

__all__ = ["Index", "Matches", "MatchesInRange"]
