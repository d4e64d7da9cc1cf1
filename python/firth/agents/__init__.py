"""Tools and agents: functions that a language model may call, and the loop that calls them."""

from firth.agents.agent import Agent, Event, Result, Step
from firth.agents.builtin import calculator, document_search, similar_words
from firth.agents.tools import tool

__all__ = [
    "Agent",
    "Event",
    "Result",
    "Step",
    "calculator",
    "document_search",
    "similar_words",
    "tool",
]
