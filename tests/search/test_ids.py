"""Ids that firth.Index accepts or refuses, and which vectors they name."""

from __future__ import annotations

import numpy as np
import pytest

import firth
from search.stored import FOUR as ROWS
from search.stored import refuses


@pytest.mark.parametrize(
    ("ids", "error", "match"),
    [
        ([1.0, 2.0, 3.0, 4.0], TypeError, "must be int .* or str, got float64"),
        ([True, False, True, True], TypeError, "must be int .* or str, got bool"),
        ([1, 2, None, 4], TypeError, "got object"),
        ([b"a", b"b", b"c", b"d"], TypeError, "must be int .* or str"),
        ([1, 2, 3], ValueError, "must be one for each of 4 vectors, got 3"),
        (5, ValueError, "must be one for each of 4 vectors, got 1"),
        (np.arange(4).reshape(2, 2), ValueError, r"must have shape \(n,\), got \(2, 2\)"),
        (np.array([0, 1, 2, 2**63], np.uint64), ValueError, r"must be below 2\*\*63"),
        ([1, "a", 3, 4], TypeError, "all int or all str"),
        (["a", 1, "c", "d"], TypeError, "all int or all str, got 1"),
        (["a", "b", "c", "d"], TypeError, "must be int as all ids of this index, got str"),
        ("a", ValueError, "one for each of 4 vectors, got 1"),
    ],
)
def test_ids_that_are_refused(index, ids, error, match):
    refuses(index, error, "add: ids .*" + match, lambda i: i.add(ROWS, ids))


def test_kinds_of_ids_do_not_mix(index, named):
    refuses(named, TypeError, "add: ids .* must be str|are str", lambda i: i.add(ROWS))
    refuses(named, TypeError, "must be str as all ids", lambda i: i.add(ROWS, [1, 2, 3, 4]))
    refuses(named, TypeError, "must be str as all ids", lambda i: i.get(1))
    refuses(named, TypeError, "must be str as all ids", lambda i: i.remove([1]))
    refuses(named, TypeError, "must be str as all ids", lambda i: i.search(ROWS, filter=[1]))
    refuses(index, TypeError, "must be int as all ids", lambda i: i.search(ROWS, exclude=["a"]))
    assert 1 not in named
    assert "a" not in index
    assert 1.0 not in index
    assert None not in index
    assert [1] not in index


@pytest.mark.parametrize(
    "form", [list, tuple, np.array, iter, lambda x: np.array(x, np.int16), lambda x: range(7, 11)]
)
def test_forms_of_int_ids(form):
    index = firth.Index(3)
    assert list(index.add(ROWS, form([7, 8, 9, 10]))) == [7, 8, 9, 10]
    np.testing.assert_array_equal(index.get(form([7, 8, 9, 10])), ROWS)
    index.remove(form([7, 8, 9, 10]))
    assert len(index) == 0


@pytest.mark.parametrize("form", [list, tuple, np.array, iter, lambda x: np.array(x, object)])
def test_forms_of_str_ids(form):
    index = firth.Index(3)
    names = ["a", "ß", "日本", ""]
    assert index.add(ROWS, form(names)) == names
    assert index.ids == names
    np.testing.assert_array_equal(index.get(form(names)), ROWS)
    found = index.search(ROWS[:1], 2, filter=form(["日本", "a"]))
    assert found.ids.tolist() == [["a", "日本"]]
    index.remove(form(names[1:]))
    assert index.ids == ["a"]
    assert index.get("a").tolist() == [1, 0, 0]


def test_the_last_of_equal_ids_counts():
    index = firth.Index(1)
    index.add([[1], [2], [3], [4]], [5, 6, 5, 5])
    assert index.ids.tolist() == [6, 5]
    assert index.get([5, 6]).ravel().tolist() == [4, 2]
    index.add([[7], [8]], [6, 6])
    assert index.get([5, 6]).ravel().tolist() == [4, 8]
    assert len(index) == 2
    index.remove([5, 5])
    assert index.ids.tolist() == [6]
    index = firth.Index(1)
    assert index.add([[1], [2], [3]], ["a", "b", "a"]) == ["a", "b", "a"]
    assert index.ids == ["b", "a"]
    assert index.get("a").tolist() == [3]


def test_default_ids_follow_the_greatest():
    index = firth.Index(1)
    index.add([[1]], [-5])
    assert index.add([[1], [2]]).tolist() == [0, 1]
    index.add([[1]], [40])
    index.remove(40)
    assert index.add([[1]]).tolist() == [41]
    greatest = 2**63 - 1
    index.add([[9]], [greatest])
    assert index.search([1.0], 1, filter=[greatest]).ids.tolist() == [greatest]
    before = index._table.state
    with pytest.raises(ValueError, match="greatest id is taken"):
        index.add([[1]])
    assert index._table.state is before
    index.add([[1]], [-(2**63)])
    assert index.get([-(2**63), greatest]).ravel().tolist() == [1, 9]


def test_missing_ids(index, named):
    refuses(index, KeyError, "get: id 9 is not in the index", lambda i: i.get(9))
    refuses(index, KeyError, "remove: id -1 and 1 more are not", lambda i: i.remove([0, -1, 1, 9]))
    refuses(named, KeyError, "remove: id 'x' is not", lambda i: i.remove(["a", "x"]))
    index.remove(0)
    refuses(index, KeyError, "get: id 0 is not", lambda i: i.get([1, 0]))
    refuses(index, KeyError, "remove: id 0 is not", lambda i: i.remove(0))
    named.remove("a")
    refuses(named, KeyError, "get: id 'a' is not", lambda i: i.get("a"))


def test_ids_that_are_all_negative_are_int(tmp_path):
    """As any other int ids: in memory, in a file, in a log, and when all are gone again."""
    path = tmp_path / "x.index"
    index = firth.Index(3)
    index.save(path)
    with firth.Index.open(path) as opened:
        opened.add(ROWS[:2], [-1, -2])
    index.add(ROWS[:2], [-1, -2])
    saved = tmp_path / "saved.index"
    index.save(saved)
    for one in (index, firth.Index.open(path), firth.Index.open(saved)):
        for _ in range(2):
            assert "nope" not in one
            for call in (lambda i: i.remove("whatever"), lambda i: i.add(ROWS[:1], ["a"]),
                         lambda i: i.get("a"), lambda i: i.search(ROWS, filter=["a"])):  # fmt: skip
                with pytest.raises(TypeError, match="must be int as all ids of this index"):
                    call(one)
            one.remove(list(one.ids))
            one.compact()
        with pytest.raises(TypeError, match="must be int"):
            one.add(ROWS[:1], ["a"])
        assert one.add(ROWS[:1]).tolist() == [0]
        one.close()
    with firth.Index.open(path) as opened:
        opened.remove(0)
        opened.compact()
        with pytest.raises(TypeError, match="must be int"):
            opened.add(ROWS[:1], ["a"])


@pytest.mark.parametrize("name", ["filter", "exclude"])
def test_the_choice_with_ids_of_the_other_type_is_named(index, named, name):
    for one, wanted, other in ((index, "int", "a"), (named, "str", 1)):
        match = f"search: {name} must be {wanted}"
        refuses(one, TypeError, match, lambda i, other=other: i.search(ROWS, **{name: other}))


def test_no_vectors_behind_the_greatest_id():
    index = firth.Index(1)
    index.add([[9]], [2**63 - 1])
    assert index.add(np.empty((0, 1))).shape == (0,)
    assert len(index) == 1
