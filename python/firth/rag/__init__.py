"""Retrieval-augmented generation: documents that are searched, and answers that cite them."""

from firth.rag.adding import Changes
from firth.rag.answers import Answer, Citation, Prepared
from firth.rag.base import KnowledgeBase
from firth.rag.evaluation import Question, Scores, evaluate, read_questions
from firth.rag.ranking import Passage

__all__ = [
    "Answer",
    "Changes",
    "Citation",
    "KnowledgeBase",
    "Passage",
    "Prepared",
    "Question",
    "Scores",
    "evaluate",
    "read_questions",
]
