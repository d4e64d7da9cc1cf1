"""Storage of vectors: looking up, adding, attributes, norms, small dtypes."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest

from conftest import sum_tolerance
from firth import KeyedVectors
from keyed import gensim_twin, make


@pytest.fixture
def kv() -> KeyedVectors:
    return make()


def test_lookup(kv: KeyedVectors) -> None:
    assert len(kv) == 50
    assert kv.vectors.shape == (50, 20)
    assert "w3" in kv
    assert "x" not in kv
    assert kv.has_index_for(49)
    assert not kv.has_index_for(50)
    assert not kv.has_index_for(-1)
    assert kv.get_index("w3") == kv.get_index(3) == kv.get_index(np.int64(3)) == 3
    assert kv.get_index("x", 7) == 7
    np.testing.assert_array_equal(kv["w3"], kv.vectors[3])
    np.testing.assert_array_equal(kv[3], kv.vectors[3])
    np.testing.assert_array_equal(kv[["w3", 1, "w1"]], kv.vectors[[3, 1, 1]])
    assert kv[[]].shape == (0, 20)
    assert repr(kv) == "KeyedVectors<vector_size=20, 50 keys>"


@pytest.mark.parametrize(
    "ask",
    [
        lambda kv: kv["x"],
        lambda kv: kv.get_vector("x"),
        lambda kv: kv[["w1", "x"]],
        lambda kv: kv.most_similar("x"),
        lambda kv: kv.similarity("w1", "x"),
        lambda kv: kv.get_index("x"),
        lambda kv: kv.get_vecattr("x", "count"),
    ],
)
def test_missing_keys(kv: KeyedVectors, ask: Any) -> None:
    with pytest.raises(KeyError, match="Key 'x' not present in vocabulary"):
        ask(kv)


def test_vectors_are_read_only_views(kv: KeyedVectors) -> None:
    vector = kv["w3"]
    assert np.shares_memory(vector, kv.vectors)
    for one in (vector, kv.get_vector("w3", norm=True)):
        with pytest.raises(ValueError, match="read-only"):
            one[0] = 1
    kv.vectors[3] = 1  # the array itself stays writeable
    assert vector[0] == 1


def test_norms(kv: KeyedVectors) -> None:
    assert kv.norms is None
    exact = np.linalg.norm(kv.vectors.astype(np.float64), axis=1)
    assert kv.fill_norms() is None  # type: ignore[func-returns-value]  # as gensim's
    bound = sum_tolerance(exact**2, 20) / exact  # d sqrt(s) = ds / (2 sqrt(s)), plus its rounding
    assert (np.abs(kv.norms - exact) <= bound).all()
    np.testing.assert_allclose(np.linalg.norm(kv.get_normed_vectors(), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(kv.get_normed_vectors()[3], kv.get_vector("w3", norm=True))
    kv.vectors[0] = 0
    kv.fill_norms(force=True)
    assert kv.norms[0] == 0  # type: ignore[index]
    assert (kv.get_normed_vectors()[0] == 0).all()
    assert (kv.get_vector("w0", norm=True) == 0).all()
    kv.vectors = kv.vectors * 2
    assert kv.norms is None


def test_add_vectors(kv: KeyedVectors) -> None:
    old = kv["w1"].copy()
    kv.add_vectors(["new", "w1", "other", "new"], np.ones((4, 20)) * [[1], [2], [3], [4]])
    assert len(kv) == 52
    assert kv.index_to_key[50:] == ["new", "other"]
    assert kv["new"][0] == 1
    assert kv["other"][0] == 3
    assert kv.vectors.dtype == np.float32
    np.testing.assert_array_equal(kv["w1"], old)
    assert kv.get_vecattr("new", "count") == 0
    kv.add_vectors(["w1", "w1"], np.ones((2, 20)) * [[5], [6]], replace=True)
    assert kv["w1"][0] == 6
    kv.add_vectors("single", list(range(20)), {"count": [9]})
    assert kv["single"].tolist() == list(range(20))
    assert kv.get_vecattr("single", "count") == 9
    kv.add_vectors([], np.zeros((0, 20)))
    assert len(kv) == 53


def test_add_vectors_refuses_before_it_changes(kv: KeyedVectors) -> None:
    for weights in (np.ones((2, 19)), np.ones((3, 20)), np.ones(20), np.ones((2, 20, 2))):
        with pytest.raises(ValueError, match="weights must have shape"):
            kv.add_vectors(["a", "b"], weights)
    with pytest.raises(ValueError, match="extras"):
        kv.add_vectors(["a", "b"], np.ones((2, 20)), {"count": [1]})
    with pytest.raises(TypeError, match="'count' holds int64"):
        kv.add_vectors(["a"], np.ones((1, 20)), {"count": [1.5]})
    assert len(kv) == 50
    assert kv.vectors.shape == (50, 20)
    assert "a" not in kv


def test_add_vector_fills_and_then_grows() -> None:
    kv = KeyedVectors(2, count=2)
    assert len(kv) == 2
    assert kv.add_vector("a", [1, 2]) == 0
    assert kv.add_vector("b", [3, 4]) == 1
    assert kv.add_vector("a", [9, 9]) == 0
    with pytest.warns(UserWarning, match="one by one"):
        assert kv.add_vector("c", [5, 6]) == 2
    assert kv.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert kv.key_to_index == {"a": 0, "b": 1, "c": 2}


def test_rows_without_a_key_are_not_returned() -> None:
    kv = KeyedVectors(2, count=5)
    kv.add_vector("a", [1, 2])
    kv.add_vector("b", [-1, 2])
    assert [key for key, _ in kv.most_similar("a")] == ["b"]


def test_attributes(kv: KeyedVectors) -> None:
    kv.set_vecattr("w2", "count", 7)
    assert kv.get_vecattr("w2", "count") == kv.get_vecattr(2, "count") == 7
    kv.set_vecattr("w1", "weight", 0.5)
    kv.set_vecattr("w1", "label", "noun")
    assert kv.expandos["weight"].dtype == np.float64
    assert kv.get_vecattr("w0", "weight") == 0
    assert kv.get_vecattr("w1", "label") == "noun"
    with pytest.raises(TypeError, match="holds int64, got float64"):
        kv.set_vecattr("w1", "count", 0.5)
    with pytest.raises(KeyError, match="'nothing' not present"):
        kv.get_vecattr("w1", "nothing")


def test_keys_that_cannot_be_leave_nothing_behind():
    words = KeyedVectors(2)
    with pytest.raises(TypeError):
        words.add_vectors(["c", ["d"]], np.ones((2, 2)))
    assert len(words) == 0
    assert words.vectors.shape == (0, 2)


# Small dtypes


def test_int8_stores_integers_and_a_scale_for_each_row(kv: KeyedVectors) -> None:
    small = kv.astype(np.int8)
    assert small.vectors.dtype == np.int8
    assert small.vectors.nbytes * 4 == kv.vectors.nbytes
    assert kv.astype("f2").vectors.nbytes * 2 == kv.vectors.nbytes
    assert small.scales is not None
    largest = np.abs(kv.vectors).max(axis=1)
    eps = float(np.finfo(np.float32).eps)
    for row, key in enumerate(kv.index_to_key):
        # half a step of largest / 127, and the rounding of scale, quotient and product
        bound = largest[row] * (1 / 254 + 3 * eps)
        assert np.abs(small[key] - kv[key]).max() <= bound
        np.testing.assert_array_equal(small[key], small.vectors[row] * small.scales[row])
        assert not small[key].flags.writeable
    np.testing.assert_array_equal(small[["w3", 1]], np.stack([small["w3"], small[1]]))
    assert small.expandos["count"].tolist() == kv.expandos["count"].tolist()
    assert small.key_to_index == kv.key_to_index
    back = small.astype(np.float32)
    np.testing.assert_array_equal(back.vectors, small[small.index_to_key])
    back.fill_norms()
    small.fill_norms()
    np.testing.assert_array_equal(back.norms, small.norms)
    for wrong in (np.int16, "int4"):
        with pytest.raises(TypeError, match="dtype must be float16, float32, float64 or int8, got"):
            kv.astype(wrong)


def test_adding_to_int8(kv: KeyedVectors) -> None:
    small = kv.astype(np.int8)
    old = small["w7"].copy()
    small.add_vectors(["new", "w1"], np.stack([np.arange(20.0), -np.arange(20.0)]), replace=True)
    assert small.vectors.dtype == np.int8
    step = 19 / 127
    np.testing.assert_allclose(small["new"], np.arange(20), rtol=0, atol=step * 0.51)
    np.testing.assert_allclose(small["w1"], -np.arange(20), rtol=0, atol=step * 0.51)
    np.testing.assert_array_equal(small["w7"], old)
    small["zero"] = np.zeros(20)
    assert (small["zero"] == 0).all()
    assert small.similarity("zero", "w1") == 0
    with pytest.raises(ValueError, match="must be finite"):
        small["nan"] = np.full(20, np.nan)
    slots = KeyedVectors(2, count=1, dtype=np.int8)
    slots.add_vector("a", [127.0, -254.0])
    np.testing.assert_allclose(slots["a"], [127, -254], rtol=0, atol=1.01)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_unit_normalize_all(kv: KeyedVectors, dtype: Any) -> None:
    kv = kv.astype(dtype)
    kv["w0"] = np.zeros(20)
    want = kv.get_normed_vectors()
    kv.unit_normalize_all()
    np.testing.assert_allclose(
        kv[kv.index_to_key], want, rtol=2e-3 if dtype == np.float16 else 1e-6
    )
    assert (kv["w0"] == 0).all()
    lengths = np.linalg.norm(kv[kv.index_to_key].astype(float), axis=1)
    kv.fill_norms()
    np.testing.assert_allclose(kv.norms, lengths, rtol=1e-6)


def test_set_item(kv: KeyedVectors) -> None:
    kv.fill_norms()
    kv["w1"] = np.full(20, 3.0)
    kv[["w2", "new"]] = [np.full(20, 2.0), np.full(20, 4.0)]
    assert [kv[key][0] for key in ("w1", "w2", "new")] == [3, 2, 4]
    assert len(kv) == 51
    kv.fill_norms()
    assert kv.norms[1] == pytest.approx(3 * 20**0.5)  # type: ignore[index]


def test_resize_and_sort(kv: KeyedVectors) -> None:
    old = {key: kv[key].copy() for key in kv.index_to_key}
    counts = {key: kv.get_vecattr(key, "count") for key in kv.index_to_key}
    kv.index_to_key += ["a", "b"]
    kv.key_to_index |= {"a": 50, "b": 51}
    kv.resize_vectors(seed=3)
    assert kv.vectors.shape == (52, 20)
    assert 0 < np.abs(kv["b"]).max() <= 1 / 20
    kv.set_vecattr("b", "count", 1000)
    kv.sort_by_descending_frequency()
    assert kv.index_to_key[0] == "b"
    assert (np.diff(kv.expandos["count"]) <= 0).all()
    for key, vector in old.items():
        np.testing.assert_array_equal(kv[key], vector)
        assert kv.get_vecattr(key, "count") == counts[key]
    for row, key in enumerate(kv.index_to_key):
        assert kv.key_to_index[key] == row


@pytest.mark.peer
def test_gensim_resizes_and_sorts_the_same(kv: KeyedVectors) -> None:
    twin = gensim_twin(kv)
    for one in (kv, twin):
        one.index_to_key.append("a")
        one.key_to_index["a"] = 50
        one.resize_vectors(seed=5)
        one.sort_by_descending_frequency()
    assert kv.index_to_key == twin.index_to_key
    np.testing.assert_array_equal(kv.vectors, twin.vectors)


# Rows that are allocated beforehand


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
def test_allocated_rows_are_filled_first(tmp_path: Any, dtype: str) -> None:
    rows = np.random.default_rng(0).standard_normal((25, 5)).astype(np.float32)
    keys = [f"w{row}" for row in range(25)]
    plain = KeyedVectors(5, dtype=dtype)
    plain.add_vectors(keys[:20], rows[:20], {"weight": np.arange(20)})
    ways: list[list[int]] = [[20], [1] * 20, [7, 1, 1, 11], [12, 8]]
    for sizes in ways:
        kv = KeyedVectors(5, count=20, dtype=dtype)
        for first, stop in itertools.pairwise([0, *np.cumsum(sizes).tolist()]):
            if stop - first == 1:
                assert kv.add_vector(keys[first], rows[first]) == first
                kv.set_vecattr(keys[first], "weight", first)
            else:
                weight = {"weight": np.arange(first, stop)}
                kv.add_vectors(keys[first:stop], rows[first:stop], weight)
            assert kv.next_index == stop
            assert len(kv) == 20
        assert kv.index_to_key == plain.index_to_key
        assert kv.key_to_index == plain.key_to_index
        np.testing.assert_array_equal(kv._values(), plain._values())
        np.testing.assert_array_equal(kv.expandos["weight"], plain.expandos["weight"])
        kv.save(tmp_path / "kv")
        assert KeyedVectors.load(tmp_path / "kv").index_to_key == keys[:20]
    for model in (kv, plain):  # the last rows fill it, the others come behind
        model.add_vectors(keys[18:], rows[18:])
    half = KeyedVectors(5, count=22, dtype=dtype)
    half.add_vectors(keys[:20], rows[:20])
    half.add_vectors(keys[20:], rows[20:])
    for model in (kv, half):
        assert model.index_to_key == keys
        assert model.next_index == len(model) == 25
        np.testing.assert_array_equal(model._values(), plain._values())
    with pytest.warns(UserWarning, match="one by one"):
        assert half.add_vector("more", rows[0]) == 25


# An exception at any moment


def state_of(kv: KeyedVectors) -> dict[str, Any]:
    return {
        "keys": list(kv.index_to_key), "rows": dict(kv.key_to_index), "next": kv.next_index,
        "vectors": kv.vectors.tolist(), "scales": None if kv.scales is None else kv.scales.tolist(),
        "expandos": {name: held.tolist() for name, held in kv.expandos.items()},
    }  # fmt: skip


CHANGES: dict[str, Any] = {
    "grow": lambda kv: kv.add_vectors(["x", "y"], [[1, 2], [3, 4]]),
    "fill": lambda kv: kv.add_vectors("x", [1, 2]),
    "replace": lambda kv: kv.add_vectors(["a", "c"], [[9, 9], [8, 8]], replace=True),
    "all": lambda kv: kv.add_vectors(
        ["a", "x", "y", "z"], [[9, 9], [1, 2], [3, 4], [5, 6]],
        {"count": [4, 5, 6, 7], "new": [0.5] * 4}, replace=True,
    ),
    "in place": lambda kv: kv.add_vectors(
        ["a", "x"], [[9, 9], [1, 2]], {"count": [4, 5], "new": [0.5, 1]}, replace=True
    ),
    "setitem": lambda kv: kv.__setitem__(["b", "x"], [[7, 7], [6, 6]]),
    "one": lambda kv: kv.add_vector("x", [1, 2]),
    "sort": lambda kv: kv.sort_by_descending_frequency(),
}  # fmt: skip


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
@pytest.mark.parametrize("change", CHANGES)
def test_an_exception_leaves_the_old_state_or_the_new(
    change: str, dtype: str, error: type[BaseException]
) -> None:
    def fresh() -> KeyedVectors:
        kv = KeyedVectors(2, count=4, dtype=dtype)
        kv.add_vectors(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]], {"count": [1, 3, 2]})
        kv.fill_norms()
        return kv

    act, old = CHANGES[change], state_of(fresh())
    done = fresh()
    act(done)
    new = state_of(done)
    assert old != new
    lines = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith("words/vectors.py"):
            return None
        if event == "line":
            lines += 1
            if lines == stop:
                sys.settrace(None)  # what undoes the change is not interrupted again
                raise error
        return trace

    for stop in itertools.count(1):
        kv, lines, broke = fresh(), 0, False
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            act(kv)
        except error:
            broke = True
        finally:
            sys.settrace(before)
        if not broke:
            break
        assert state_of(kv) in (old, new), f"line {stop}"
        kv.fill_norms()
        twin = fresh() if state_of(kv) == old else done
        assert kv.most_similar("a", topn=5) == twin.most_similar("a", topn=5)
    assert stop > 5
    assert state_of(kv) == new


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_other_byte_orders(dtype: str) -> None:
    kv = KeyedVectors(3, dtype=dtype)
    kv.add_vectors(["a", "b"], [[1, 2, 3], [3, 2, 1]])
    kv.vectors = kv.vectors.astype(dtype)
    assert kv.vectors.dtype.isnative
    assert kv.most_similar("a")[0][1] == pytest.approx(10 / 14)


def test_int8_codes_are_taken_over() -> None:
    kv = make(300).astype("i1")
    some = kv.vectors_for_all(kv.index_to_key[::3])
    np.testing.assert_array_equal(some.vectors, kv.vectors[::3])
    assert some.scales is not None
    assert kv.scales is not None
    np.testing.assert_array_equal(some.scales, kv.scales[::3])


def test_attributes_of_a_mapped_file_can_be_set(tmp_path):
    """As its vectors can be replaced: in memory, never in the file."""
    kv = KeyedVectors(2)
    kv.add_vectors(["a", "b"], np.eye(2), {"count": np.array([5, 3])})
    kv.save(tmp_path / "kv")
    mapped = KeyedVectors.load(tmp_path / "kv", mmap="r")
    mapped.set_vecattr("a", "count", 7)
    mapped["b"] = [3, 4]
    assert mapped.expandos["count"].tolist() == [7, 3]
    assert KeyedVectors.load(tmp_path / "kv").expandos["count"].tolist() == [5, 3]


def test_torch_bfloat16(kv: KeyedVectors) -> None:
    """NumPy cannot read it; every bfloat16 is a float32."""
    torch = pytest.importorskip("torch")
    rows = torch.arange(40.0).reshape(2, 20)
    kv.add_vectors(["a", "b"], rows.bfloat16())
    kv.add_vectors(["c", "d"], list(rows.bfloat16()))
    np.testing.assert_array_equal(kv[["a", "b", "c", "d"]], np.tile(rows.numpy(), (2, 1)))
    kv["a"] = rows[1].bfloat16()
    np.testing.assert_array_equal(kv["a"], rows[1].numpy())
    assert kv.similar_by_vector(rows[1].bfloat16()) == kv.similar_by_vector(rows[1].numpy())
