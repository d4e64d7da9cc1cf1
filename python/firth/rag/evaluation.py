"""How well a knowledge base finds what questions ask for: hits, reciprocal ranks, answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.rag.base import KnowledgeBase
from firth.rag.ranking import Mode

_DEPTH = 100  # passages that are looked at, to find ten documents


@dataclass
class Question:
    """A question, the name of the document that answers it, and a string of the answer.

    Attributes
    ----------
    question, document, answer : str
    """

    question: str
    document: str
    answer: str


@dataclass
class Scores:
    """Shares of questions, from 0 to 1; documents count in order of their best passage.

    Attributes
    ----------
    questions : int
    hit_1, hit_5, hit_10 : float
        The right document is among so many.
    mrr : float
        The mean of 1 / rank of the right document.
    contained : float
        The answer stands in one of the first five passages.
    """

    questions: int
    hit_1: float
    hit_5: float
    hit_10: float
    mrr: float
    contained: float


def read_questions(path: PathLike) -> list[Question]:
    """Questions of a file of JSON lines with "question", "doc" (or "document") and "answer".

    FormatError for another content.
    """
    found = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                one = Question(row["question"], row.get("doc") or row["document"], row["answer"])
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                one = None
            if one is None or not all(isinstance(v, str) and v for v in vars(one).values()):
                wanted = '{"question": ..., "doc": ..., "answer": ...}'
                raise FormatError(f"line {number} must be {wanted}", path)
            found.append(one)
    if not found:
        raise FormatError("has no questions", path)
    return found


def unknown(kb: KnowledgeBase, questions: Sequence[Question]) -> list[str]:
    """Names of documents of questions that are not there, each once: nothing can find them."""
    names = kb.documents
    wanted = dict.fromkeys(one.document for one in questions)
    return [one for one in wanted if not any(_is(name, one) for name in names)]


def evaluate(kb: KnowledgeBase, questions: Sequence[Question], mode: Mode = "hybrid") -> Scores:
    """Scores of a mode of search.

    A document is the right one if its name is that of the question, or a path that ends with it.
    """
    ranks, contained = [], 0
    for one in questions:
        passages = kb.search(one.question, _DEPTH, mode)
        documents = list(dict.fromkeys(passage.document for passage in passages))
        right = [i for i, name in enumerate(documents, 1) if _is(name, one.document)]
        ranks.append(right[0] if right else None)
        answer = _plain(one.answer)
        contained += any(answer in _plain(passage.text) for passage in passages[:5])
    count = len(ranks)

    def hits(most: int) -> float:
        return sum(rank is not None and rank <= most for rank in ranks) / count

    mrr = sum(1 / rank for rank in ranks if rank is not None) / count
    return Scores(count, hits(1), hits(5), hits(10), mrr, contained / count)


def _is(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(os.sep + wanted)


def _plain(text: str) -> str:
    """For comparing: small letters, single spaces."""
    return " ".join(text.lower().split())
