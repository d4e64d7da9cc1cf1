"""Conditions on metadata choose what plain Python chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from firth import KnowledgeBase

ROWS: dict[str, dict[str, Any]] = {
    "a": {"year": 1990, "kind": "myth", "tags": ["x", "y"]},
    "b": {"year": 2000.5, "kind": "tale"},
    "c": {"year": "1990", "kind": None, "tags": []},
    "d": {},
    "e": {"year": -3, "kind": "O'Neil; DROP TABLE fields", "tags": ["y"], "new": True},
}


@pytest.fixture
def filled(kb: KnowledgeBase) -> KnowledgeBase:
    for name, metadata in ROWS.items():
        kb.add({name: f"the cat {name}"}, metadata)
    return kb


CASES: list[tuple[Any, Callable[[str, dict[str, Any]], bool]]] = [
    ({"year": 1990}, lambda n, m: m.get("year") == 1990),
    ({"year": 1990.0}, lambda n, m: m.get("year") == 1990),
    ({"year": "1990"}, lambda n, m: m.get("year") == "1990"),
    ({"kind": None}, lambda n, m: m.get("kind", 0) is None),
    ({"kind": "O'Neil; DROP TABLE fields"}, lambda n, m: n == "e"),
    ({"new": True}, lambda n, m: n == "e"),
    ({"tags": "y"}, lambda n, m: "y" in m.get("tags", [])),
    ({"year": np.int64(1990)}, lambda n, m: n == "a"),
    ({"year": {">=": 1990}}, lambda n, m: n in "ab"),
    ({"year": {">": -3, "<": 2000}}, lambda n, m: n == "a"),
    ({"year": {"<=": -3}}, lambda n, m: n == "e"),
    ({"year": {">=": "0"}}, lambda n, m: n == "c"),
    ({"kind": {"in": ["myth", "tale"]}}, lambda n, m: n in "ab"),
    ({"kind": {"in": ["myth", None]}}, lambda n, m: n in "ac"),
    ({"kind": {"in": []}}, lambda n, m: False),
    ({"kind": {"!=": "myth"}}, lambda n, m: n != "a"),
    ({"kind": "tale", "year": {">": 0}}, lambda n, m: n == "b"),
    ({"or": [{"year": 1990}, {"tags": "y"}]}, lambda n, m: n in "ae"),
    ({"and": [{"tags": "y"}, {"not": {"new": 1}}]}, lambda n, m: n == "a"),
    ({"not": {"or": [{"kind": "myth"}, {"kind": "tale"}]}}, lambda n, m: n in "cde"),
    ({"document": {"in": ["a", "d"]}}, lambda n, m: n in "ad"),
    ({"unknown": 1}, lambda n, m: False),
]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
@pytest.mark.parametrize(("where", "wanted"), CASES, ids=[str(where) for where, _ in CASES])
def test_filters_choose_documents(filled: KnowledgeBase, mode, where, wanted) -> None:
    found = sorted(one.document for one in filled.search("cat", 10, mode, where))
    assert found == [name for name, metadata in ROWS.items() if wanted(name, metadata)]


def test_few_results_are_not_lost_behind_others(kb: KnowledgeBase) -> None:
    """Filters apply before the best are taken."""
    kb.add({f"cat {i}": "the cat sat on the mat" for i in range(150)}, {"kind": "cat"})
    kb.add({"dog": "a dog ran; unlike the others"}, {"kind": "dog"})
    for mode in ("hybrid", "dense"):
        (found,) = kb.search("the cat sat on the mat", 3, mode, {"kind": "dog"})
        assert found.document == "dog"


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("year = 1", TypeError, "where must be a dict"),
        ({}, ValueError, "where must have"),
        ({1: 2}, TypeError, "names of fields"),
        ({"or": []}, ValueError, "'or' must have a list"),
        ({"and": {"a": 1}}, ValueError, "'and' must have a list"),
        ({"year": {}}, ValueError, "no condition"),
        ({"year": {"~": 1}}, ValueError, "one of in, !=, <"),
        ({"year": {"in": "abc"}}, TypeError, "must have a list"),
        ({"year": {">": None}}, TypeError, "a number or str"),
        ({"year": [1]}, TypeError, "must be a str, a number or None, got list"),
        ({"year": float("nan")}, ValueError, "finite"),
        ({"year": 2**64}, ValueError, "64 bits"),
        ({"year": {"in": range(10_001)}}, ValueError, "more than 10000 values"),
    ],
)
def test_what_is_no_condition(filled: KnowledgeBase, where, error, message) -> None:
    with pytest.raises(error, match=message):
        filled.search("cat", where=where)


def test_a_condition_that_is_too_deep(filled: KnowledgeBase) -> None:
    where: Any = {"year": 1}
    for _ in range(1000):
        where = {"not": where}
    with pytest.raises(ValueError, match="levels"):
        filled.search("cat", where=where)


@pytest.mark.parametrize(
    "metadata",
    [
        {"and": 1}, {"document": "x"}, {"": 1}, {"a": {}}, {1: 2}, "x", {"a": [[1]]},
        {"a": float("inf")},
    ],
)  # fmt: skip
def test_metadata_that_filters_could_not_find(kb: KnowledgeBase, metadata) -> None:
    with pytest.raises((TypeError, ValueError), match="add: metadata"):
        kb.add({"a": "text"}, metadata)
    assert len(kb) == 0
