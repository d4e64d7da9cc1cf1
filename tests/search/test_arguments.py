"""Arguments that firth.Index accepts or refuses, before anything changes."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import firth
from firth.search import segments as segments_module
from search.stored import FOUR as ROWS
from search.stored import refuses

STORAGES = ["float32", "float16", "bfloat16", "int8"]


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", "longdouble", "int8", "uint8", "int32", "int64", "uint64"],
)
def test_dtypes(dtype):
    rows = np.abs(ROWS).astype(dtype)
    index = firth.Index(3)
    index.add(rows)
    np.testing.assert_array_equal(index.get([0, 1, 2, 3]), np.abs(ROWS))
    assert index.search(rows[1], 1).ids.tolist() == [1]
    index.add(rows.tolist())
    np.testing.assert_array_equal(index.get(6), [0, 3, 4])


def test_torch_tensors(index):
    """bfloat16, which NumPy cannot read, and masks and ids of every form that NumPy's have."""
    torch = pytest.importorskip("torch")
    rows = torch.tensor(ROWS.tolist())  # exact in bfloat16
    other = firth.Index(3)
    other.add(rows.bfloat16())
    other.add(list(rows.bfloat16()), ids=torch.arange(4, 8))
    np.testing.assert_array_equal(other.get(list(range(8))), np.concatenate([ROWS, ROWS]))
    want = index.search(ROWS, 4)
    got = index.search(rows.bfloat16(), 4)
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.scores, want.scores)
    neighbors = firth.NearestNeighbors(n_neighbors=2).fit(rows.bfloat16())
    np.testing.assert_array_equal(neighbors.kneighbors(rows.bfloat16())[1][:, 0], range(4))

    mask = np.array([True, False, True, False])
    each = np.array([mask, ~mask, mask, ~mask])
    packed = np.packbits(mask, bitorder="little")
    for given in (mask, np.flatnonzero(mask), packed, each, list(each)):
        tensor = list(torch.tensor(each)) if isinstance(given, list) else torch.tensor(given)
        for name in ("filter", "exclude"):
            want = index.search(ROWS, 2, **{name: given})
            got = index.search(ROWS, 2, **{name: tensor})
            np.testing.assert_array_equal(got.ids, want.ids)
    with pytest.raises(ValueError, match="a mask of 4 rows must have length 4, got 2"):
        index.search(ROWS, 2, filter=torch.tensor([True, False]))


def test_bfloat16_and_rounding():
    rows = np.array([[1.0, 1 / 3, 1e30]])
    index = firth.Index(3)
    index.add(rows.astype(ml_dtypes.bfloat16))
    index.add(rows)
    half = rows.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(index.get([0, 1]), [half[0], rows[0].astype(np.float32)])
    index = firth.Index(3, storage="bfloat16")
    index.add(rows)
    np.testing.assert_array_equal(index.get([0]), half)


@pytest.mark.parametrize("storage", STORAGES)
def test_given_arrays_are_only_read(storage):
    rows = np.arange(96, dtype=np.float32).reshape(32, 3)
    rows.setflags(write=False)
    ids = np.arange(32)[::-1]
    ids.setflags(write=False)
    index = firth.Index(3, storage=storage)
    returned = index.add(rows, ids)
    assert returned.tolist() == ids.tolist()
    assert index.search(rows, 1, exclude=ids[:1]).ids.shape == (32, 1)
    # Results belong to the caller.
    index.get(3)[:] = 0
    index.ids[:] = 0
    np.testing.assert_allclose(index.get(31), rows[0], atol=2 / 254)
    assert 31 in index


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">f2", ">i4"])
def test_big_endian_is_refused(index, dtype):
    rows = ROWS.astype(dtype)
    match = f"vectors must be in native byte order, got '{dtype}'"
    refuses(index, TypeError, match, lambda i: i.add(rows))
    match = f"queries must be in native byte order, got '{dtype}'"
    refuses(index, TypeError, match, lambda i: i.search(rows))
    refuses(index, TypeError, match, lambda i: i.search_range(rows, 0))


@pytest.mark.parametrize("bad", [ROWS > 0, ROWS + 1j, [["x"] * 3], np.array([[None] * 3])])
def test_other_dtypes_are_refused(index, bad):
    refuses(index, TypeError, "add: vectors must be real numbers", lambda i: i.add(bad))
    refuses(index, TypeError, "search: queries must be real numbers", lambda i: i.search(bad))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (0,), (2, 2), (2, 4), (3, 1), (1, 1, 3)])
def test_other_shapes_are_refused(index, shape):
    rows = np.ones(shape, np.float32)
    match = r"must have shape \(n, 3\) or \(3,\), got "
    refuses(index, ValueError, "add: vectors " + match, lambda i: i.add(rows))
    refuses(index, ValueError, "search: queries " + match, lambda i: i.search(rows))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity"), (1e39, "range")],
)
def test_rows_that_are_not_finite_are_told(storage, value, what, monkeypatch):
    monkeypatch.setattr(segments_module, "PIECE", 30)
    index = firth.Index(3, storage=storage)
    index.add(ROWS)
    rows = np.ones((100, 3))
    rows[57, 1] = rows[80, 0] = value
    match = f"add: row 57 of vectors has .*{what}"
    refuses(index, ValueError, match, lambda i: i.add(rows, np.arange(100)))
    refuses(index, ValueError, match, lambda i: i.add(rows))
    match = f"search: row 57 of queries has .*{what}"
    refuses(index, ValueError, match, lambda i: i.search(rows))
    if storage == "float32":
        assert index.add(rows[:57]).tolist() == list(range(4, 61))


def test_rows_that_overflow_the_storage_are_told():
    for storage, greatest in [("float16", 65504.0), ("bfloat16", 3.3895314e38)]:
        index = firth.Index(3, storage=storage)
        index.add([[0, greatest, -greatest]])
        assert index.get(0).tolist() == [0, np.float32(greatest), -np.float32(greatest)]
        with pytest.raises(ValueError, match=f"row 1 of vectors .* beyond the range of {storage}"):
            index.add([[1, 2, 3], [0, 0, -greatest * 1.003]])
        assert len(index) == 1


def test_one_vector():
    index = firth.Index(3)
    assert index.add([1, 2, 3]) == 0
    assert index.add([4, 5, 6], 17) == 17
    assert index.add([7, 8, 9], [18]) == 18
    assert index.add([1, 1, 1]) == 19
    assert index.get(17).tolist() == [4, 5, 6]
    assert index.get([17]).shape == (1, 3)
    index.remove(np.int64(17))
    assert 17 not in index
    assert firth.Index(3).add([1, 2, 3], "x") == "x"


def test_construction():
    for bad in (0, -1):
        with pytest.raises(ValueError, match="dim must be at least 1"):
            firth.Index(bad)
    for bad, got in ((2.5, "2.5"), ("64", "'64'"), (ROWS, "a ndarray"), (None, "a NoneType")):
        with pytest.raises(TypeError, match=f"Index: dim must be an int, got {got}"):
            firth.Index(bad)
    with pytest.raises(ValueError, match="metric must be one of"):
        firth.Index(2, "euclid")
    with pytest.raises(ValueError, match="storage must be one of"):
        firth.Index(2, storage="float64")


def test_nothing_in_it_and_nothing_wanted(index):
    empty = firth.Index(3)
    assert len(empty) == 0
    assert empty.ids.tolist() == []
    for k in (0, 5):
        assert empty.search(ROWS[0], k).ids.shape == (0,)
        assert empty.search(ROWS, k).ids.shape == empty.search(ROWS, k).scores.shape == (4, 0)
        assert empty.search(ROWS[:0], k).ids.shape == (0, 0)
    assert empty.search_range(ROWS[0], -1).ids.shape == (0,)
    assert [len(ids) for ids in empty.search_range(ROWS, -1).ids] == [0] * 4
    assert empty.search(ROWS, filter=[1], exclude=[2]).ids.shape == (4, 0)
    assert empty.add(ROWS[:0]).shape == empty.add([], []).shape == (0,)
    assert empty.get([]).shape == (0, 3)
    empty.remove([])

    assert index.search(ROWS[0], 0).ids.shape == (0,)
    assert index.search([], 2).ids.shape == (0, 2)
    assert index.search(ROWS, 10).ids.shape == (4, 4)
    assert index.search(ROWS[0], filter=[]).ids.shape == (0,)
    assert index.search_range([], 0).ids == []
    refuses(index, ValueError, "k must be at least 0", lambda i: i.search(ROWS, -1))
    refuses(index, TypeError, r"search: k must be an int, got 2\.5", lambda i: i.search(ROWS, 2.5))
    refuses(index, TypeError, "tune: k must be an int, got 'x'", lambda i: i.tune(k="x"))


def object_array(*choices):
    array = np.empty(len(choices), object)
    array[:] = choices
    return array


def test_forms_of_filters(index):
    query = ROWS[2]
    mask = np.array([True, False, True, False])
    same = [
        [0, 2], (0, 2), {0, 2}, frozenset({0, 2}), np.array([0, 2]), np.array([0, 2], np.int32),
        [np.int64(2), 0, 2, 77, -1], range(0, 3, 2), mask, mask.tolist(),
        np.packbits(mask, bitorder="little"),
    ]  # fmt: skip
    for form in same:
        assert sorted(index.search(query, filter=form).ids) == [0, 2]
        assert sorted(index.search(query, exclude=form).ids) == [1, 3]
        assert sorted(index.search_range(query, -2, filter=form).ids) == [0, 2]
        assert sorted(index.search(query, filter=form, exclude=[0]).ids) == [2]
        for each in ([form, None], object_array(form, None)):
            assert index.search(ROWS[:2], filter=each).counts.tolist() == [2, 4]
    assert index.search(query, filter=2).ids.tolist() == [2]
    assert index.search(query, exclude=2, k=1).ids.tolist() == [1]
    found = index.search(ROWS[:2], 1, filter=np.array([[1, 2], [0, 3]]))
    assert found.ids.tolist() == [[1], [0]]
    masks = np.eye(4, dtype=bool)[:2]
    for form in (masks, np.packbits(masks, axis=1, bitorder="little")):
        assert index.search(ROWS[:2], filter=form).ids.tolist() == [[0], [1]]
    assert index.search(ROWS[:2], 1, filter=[[1], [2, 3]], exclude=[None, [3]]).ids.tolist() == [
        [1],
        [2],
    ]


def test_filters_that_are_refused(index):
    for name in ("filter", "exclude"):
        for bad, error, match in [
            (np.ones(3, bool), ValueError, "a mask of 4 rows must have length 4, got 3"),
            (np.ones(2, np.uint8), ValueError, r"packed mask \(uint8\) .* length 1, got 2"),
            ([[1], [2], [3]], ValueError, "one for each of 2 queries, got 3"),
            (np.ones((3, 4), bool), ValueError, "one for each of 2 queries, got 3"),
            (np.ones((2, 2, 4), bool), ValueError, "1-D"),
            ([1.5, 2.5], TypeError, "must be int .* or str, got float64"),
            (np.ones(4), TypeError, "must be int .* or str, got float64"),
            (lambda id: id < 2, TypeError, "must be ids or a mask, not a function"),
        ]:  # fmt: skip
            match = f"search: {name}.*{match}"
            refuses(index, error, match, lambda i, b=bad, n=name: i.search(ROWS[:2], **{n: b}))


def test_thresholds(index):
    found = index.search_range(ROWS[:2], [0.5, -0.5])
    assert [ids.tolist() for ids in found.ids] == [[0], [1, 2, 0, 3]]
    score = index.search(ROWS[2], 1, exclude=2).scores[0]
    assert index.search_range(ROWS[2], score, exclude=2).ids.tolist() == [1]
    assert index.search_range(ROWS[2], float(score) + 1e-12, exclude=2).ids.tolist() == []
    assert index.search_range(ROWS[2], float(score) - 1e-12, exclude=2).ids.tolist() == [1]
    assert len(index.search_range(ROWS[2], -np.inf).ids) == 4
    assert len(index.search_range(ROWS[2], np.inf).ids) == 0
    assert len(index.search_range(ROWS[2], 1e300).ids) == 0
    refuses(index, ValueError, "threshold is NaN", lambda i: i.search_range(ROWS, np.nan))
    refuses(
        index, ValueError, r"shape \(4,\), got \(3,\)", lambda i: i.search_range(ROWS, [1, 2, 3])
    )


def test_cosine_is_cosine():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 7)).astype(np.float32)
    sizes = np.float32(10) ** np.linspace(-30, 30, 50, dtype=np.float32)[:, None]
    index = firth.Index(7)
    index.add(rows * sizes)
    index.add(np.zeros(7), 1000)
    plain = firth.Index(7)
    plain.add(rows)
    found = index.search(rows / sizes[::-1], 51)
    assert (found.ids[np.arange(50), 0] == np.arange(50)).all()
    assert (np.abs(found.scores) <= 1).all()
    assert (found.scores[found.ids == 1000] == 0).all()
    # Scaling rounds each number once: cosines differ by a few units of float32.
    want = plain.search(rows, 50)
    for q in range(50):
        scores = dict(zip(found.ids[q], found.scores[q], strict=True))
        np.testing.assert_allclose([scores[i] for i in want.ids[q]], want.scores[q], atol=5e-7)
    own = index.search(index.get(index.ids[:50]), 1)
    assert (own.scores == 1).all()
    zero = index.search(np.zeros(7), 3)
    assert zero.ids.tolist() == [0, 1, 2]
    assert zero.scores.tolist() == [0, 0, 0]


def test_a_set_is_no_order_for_vectors():
    index = firth.Index(2)
    with pytest.raises(TypeError, match="add: ids must be in the order of the vectors, got a set"):
        index.add([[1, 2], [3, 4]], {"b", "a"})
    assert len(index) == 0


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int64"])
def test_integers_are_numbers_whatever_the_storage(storage, dtype, tmp_path):
    rows = np.array([[1, 2, 3], [100, 0, 7], [np.iinfo(dtype).max % 30_000, 1, 0]], dtype)
    index, want = firth.Index(3, storage=storage), firth.Index(3, storage=storage)
    index.add(rows)
    want.add(rows.astype(np.float64))
    np.testing.assert_array_equal(index.get(index.ids), want.get(want.ids))
    index.save(tmp_path / "x")
    with firth.Index.open(tmp_path / "x") as opened:
        opened.add(rows)
    with firth.Index.open(tmp_path / "x", "r") as opened:
        np.testing.assert_array_equal(opened.get([3, 4, 5]), want.get(want.ids))


def test_a_short_filter_bounds_k():
    """Memory depends on the rows that may be found, not on k."""
    rng = np.random.default_rng(0)
    index = firth.Index(4)
    rows = rng.standard_normal((100_000, 4)).astype(np.float32)
    index.add(rows)
    mask = np.zeros(100_000, bool)
    mask[:3] = True
    packed = np.packbits(mask, bitorder="little")
    queries = rows[:2000]
    each = [[i, i + 1] for i in range(2000)]
    for filter, count in (([0, 1, 2], 3), (mask, 3), (packed, 3), (each, 2)):
        tracemalloc.start()
        try:
            found = index.search(queries, 100_000, filter=filter)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5_000_000
        assert found.ids.shape == (2000, count)


def test_attributes_are_fixed(index, named):
    for name, value in [
        ("dim", 4),
        ("metric", "l2"),
        ("storage", "int8"),
        ("cells", 9),
        ("ids", []),
    ]:
        with pytest.raises(AttributeError, match=f"Index: {name} is fixed when the index is made"):
            setattr(index, name, value)
    for name, hint in [("nprobe", "probe="), ("probe", "tune"), ("efSearch", "no graph")]:
        with pytest.raises(AttributeError, match=f"there is no {name} to set: .*{hint}"):
            setattr(index, name, 8)
    with pytest.raises(AttributeError, match="colour"):
        index.colour = "blue"
    assert (index.dim, index.metric, index.storage, index.cells) == (3, "cosine", "float32", None)
    assert (firth.Index(3).id_type, index.id_type, named.id_type) == (None, int, str)


def test_as_a_dict(index, named):
    assert list(index) == [0, 1, 2, 3]
    assert all(type(one) is int for one in index)
    assert list(named) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(named["c"], ROWS[2])
    np.testing.assert_array_equal(index[[3, 0]], ROWS[[3, 0]])
    with pytest.raises(KeyError, match="'x' is not in the index"):
        named["x"]
    assert len(index) == 4
    assert 3 in index
    assert 4 not in index


def test_matches_are_arrays_whatever_is_found(index, named):
    for one, missing, ids in ((index, -1, [2, 1]), (named, None, ["c", "b"])):
        found = one.search(ROWS[[2, 0]], 2, filter=[ids, ids[:1]])
        assert found.ids.tolist() == [ids, [ids[0], missing]]
        assert found.counts.tolist() == [2, 1]
        assert np.isnan(found.scores).tolist() == [[False, False], [False, True]]
        assert found.scores.dtype == np.float32
        alone = one.search(ROWS[2], 9, filter=ids)
        assert alone.ids.tolist() == ids
        assert alone.counts == 2
    assert index.search(ROWS, 2, filter=[[]] * 4).counts.tolist() == [0] * 4


def test_search_range_of_many_queries_in_parts(index, monkeypatch):
    want = index.search_range(ROWS, 0.1, filter=[[0, 1], None, [2], None])
    monkeypatch.setattr("firth.search.batches.AT_ONCE", 3)
    found = index.search_range(ROWS, 0.1, filter=[[0, 1], None, [2], None])
    assert [ids.tolist() for ids in found.ids] == [ids.tolist() for ids in want.ids]
    assert [some.tolist() for some in found.scores] == [some.tolist() for some in want.scores]
    assert len(found.ids) == 4


def test_a_mapped_file_that_shrinks_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "x.index"
    index = firth.Index(64, cells=8)
    index.add(np.random.default_rng(0).random((5000, 64)), range(0, 10000, 2))
    index.save(path)
    for mode in ("r", "r+"):
        opened = firth.Index.load(path, mode)
        whole = path.read_bytes()
        with open(path, "r+b") as file:
            file.truncate(1000)
        for call in (lambda i: i.search(np.ones(64)), lambda i: i.search_range(np.ones(64), 0),
                     lambda i: i.get(4), lambda i: i.save(tmp_path / "y"), lambda i: 4 in i,
                     lambda i: i.ids, list, lambda i: i.tune(), lambda i: i.remove(4),
                     lambda i: i.add(np.ones((1, 64)), [4]),
                     lambda i: i.add(np.ones(64))):  # fmt: skip
            with pytest.raises(firth.FormatError, match=r"has shrunk from .* bytes to 1000"):
                call(opened)
        path.write_bytes(whole)
        assert opened.search(np.ones(64)).ids.shape == (10,)
        assert len(opened) == 5000
        opened.close()
