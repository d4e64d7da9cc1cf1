"""Exact search among vectors that are added, replaced and removed while it runs."""

from firth.search.index import Index, Matches

__all__ = ["Index", "Matches"]
