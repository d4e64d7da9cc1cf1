"""Cells: the rows that a search visits, and that it is exact among them."""

from __future__ import annotations

import numpy as np
import pytest

import firth
from firth import _native
from firth.errors import FormatError
from firth.formats import container
from firth.search import cells as module
from firth.search import state as state_module
from firth.search.cells import cells_of, order_by_cell

DIM = 24


def clustered(rows, seed=0, dim=DIM, centres=40):
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((centres, dim))
    chosen = means[rng.integers(centres, size=rows)]
    return (chosen + 1.5 * rng.standard_normal((rows, dim))).astype(np.float32)


def made(rows=6000, cells=32, steps=1, **options):
    index = firth.Index(DIM, cells=cells, **options)
    for part in np.array_split(clustered(rows), steps):
        index.add(part)
    return index


def recall(found, true):
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found.ids, true.ids, strict=True)]
    return sum(hits) / sum(map(len, true.ids))


def assert_same(a, b):
    assert len(a.ids) == len(b.ids)
    for one, other in zip([*a.ids, *a.scores], [*b.ids, *b.scores], strict=True):
        np.testing.assert_array_equal(one, other)


def assert_every_row_once(index):
    """Each live row is in one lane, or after those that have one; -1 pads blocks."""
    state = index._table.state
    assert state.cells is not None
    for segment in state.segments:
        alive = segment.alive(state.version)
        if segment.order is None:
            assert segment.rows < 32
            continue
        lanes = segment.order[: segment.cell_blocks[-1] * 32].reshape(-1, 32)
        there = lanes >= 0
        assert (there[:, :-1] >= there[:, 1:]).all()
        assert there[:, 0].all()
        rows = np.sort(lanes[there])
        assert (rows[1:] > rows[:-1]).all()
        assert np.isin(alive[alive < segment.coded], rows).all()
        assert (np.diff(segment.cell_blocks) >= 0).all()
        # each in the cell of its nearest centroid
        cell = cells_of(segment)
        at = np.flatnonzero(cell >= 0)
        assert (cell[at] == state.cells.of(segment.floats(at))).all()
        assert (segment.rows - segment.ordered) < max(1025, len(index) / 30)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8"])
def test_all_cells_are_the_exact_answer(metric, storage):
    index = made(4000, cells=40, metric=metric, storage=storage)
    plain = firth.Index(DIM, metric, storage)
    plain.add(clustered(4000))
    queries = clustered(50, seed=1)
    assert index.stats()["cells"] == 40
    assert_every_row_once(index)
    exact = plain.search(queries, 10)
    assert_same(index.search(queries, 10, probe="all"), exact)
    assert_same(index.search(queries, 10, probe=40), exact)
    assert_same(index.search(queries, 10, probe=1000), exact)
    assert_same(index.search_range(queries, exact.scores[:, 3]),
                plain.search_range(queries, exact.scores[:, 3]))  # fmt: skip
    assert recall(index.search(queries, 10), exact) > 0.8


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_search_is_exact_in_the_cells_that_it_visits(metric):
    index = made(5000, metric=metric, steps=2)
    state, queries = index._table.state, clustered(20, seed=1)
    cell = np.concatenate([cells_of(segment) for segment in state.segments])
    centroids = state.cells.centroids.astype(np.float64)
    scores = queries @ centroids.T
    if metric == "cosine":
        scores /= np.linalg.norm(centroids, axis=1)
    elif metric == "l2":
        scores = 2 * scores - (centroids**2).sum(axis=1)
    for probe in (1, 3, 8):
        nearest = np.argsort(-scores, axis=1)[:, :probe]
        visited = [np.flatnonzero(np.isin(cell, [-1, *some])) for some in nearest]
        wanted = index.search(queries, 10, filter=visited, probe="all")
        assert_same(index.search(queries, 10, probe=probe), wanted)
        one = index.search(queries[0], 10, probe=probe)
        np.testing.assert_array_equal(one.ids, wanted.ids[0])


def test_recall_grows_with_the_cells_visited():
    index, queries = made(), clustered(100, seed=1)
    exact = index.search(queries, 10, probe="all")
    reached = [recall(index.search(queries, 10, probe=probe), exact) for probe in range(1, 33)]
    assert (np.diff(reached) >= 0).all()
    assert reached[0] < 0.7 < reached[7] < 0.97
    assert reached[-1] == 1


@pytest.mark.parametrize("cells", [32, "auto"])
def test_growing(cells, monkeypatch):
    monkeypatch.setattr(state_module, "AUTO_FROM", 1500)
    index, plain = firth.Index(DIM, cells=cells), firth.Index(DIM)
    queries, vectors = clustered(20, seed=1), clustered(14000)
    trained, done = set(), 0
    for size in (700, 324, 1, 31, 5, 700, 3000, 17, 900, 64, 900, 1, 1500, 3200, 2000, 657):
        index.add(vectors[done : done + size])
        plain.add(vectors[done : done + size])
        done += size
        state = index._table.state
        assert_same(index.search(queries, 10, probe="all"), plain.search(queries, 10))
        if state.cells is None:
            assert done < 1500
            assert_same(index.search(queries, 10, probe=1), plain.search(queries, 10))
            continue
        trained.add(state.cells.trained)
        assert_every_row_once(index)
        assert recall(index.search(queries, 10), plain.search(queries, 10)) > 0.8
    assert done == 14000
    assert len(trained) == 2  # again after four times the rows
    if cells == "auto":
        assert index.stats()["cells"] == module.auto(max(trained))


def test_rows_are_ordered_rarely(monkeypatch):
    calls = []
    real = module.order_by_cell
    monkeypatch.setattr(
        module, "order_by_cell", lambda rows, *rest: calls.append(len(rows)) or real(rows, *rest)
    )
    index = made(20000, steps=400)
    assert 20000 < sum(calls) < 20 * 20000
    assert_every_row_once(index)


def test_rows_that_are_gone_are_never_found():
    index, queries = made(8000, steps=3), clustered(40, seed=1)
    rng = np.random.default_rng(0)
    gone = rng.choice(8000, 1500, replace=False)
    index.remove(gone)
    moved = rng.choice(np.setdiff1d(np.arange(8000), gone), 300, replace=False)
    index.add(clustered(300, seed=7), moved)
    plain = firth.Index(DIM)
    plain.add(index.get(index.ids), index.ids)
    for probe in (2, None, "all"):
        found = index.search(queries, 10, probe=probe)
        assert not np.isin(found.ids, gone).any()
        best = index.get(found.ids.ravel()).astype(np.float64).reshape(40, 10, DIM)
        scores = np.einsum("qkd,qd->qk", best, queries) / np.linalg.norm(best, axis=2)
        scores /= np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
        np.testing.assert_allclose(found.scores, scores, rtol=0, atol=2**-23)
    assert_same(found, plain.search(queries, 10))
    index.compact()
    assert index.stats()["dead"] == 0
    assert_every_row_once(index)
    assert_same(index.search(queries, 10, probe="all"), found)
    index.remove(index.ids[:5000])  # compacts by itself
    assert_every_row_once(index)
    assert not np.isin(gone, index.search(queries, 10).ids).any()


def test_a_reader_keeps_its_state():
    index, queries = made(5000), clustered(10, seed=1)
    before = index._table.state
    cells = before.cells.visited(queries, 4)
    level = firth.kernels._dispatch.active_level()

    def ask():
        return _native.search.search(
            level,
            before.native,
            "cosine",
            queries,
            10,
            before.version,
            [],
            None,
            [],
            None,
            2,
            cells=cells,
        )[:2]

    wanted = ask()
    index.remove(wanted[0][0])
    index.add(clustered(20000, seed=3))
    assert index._table.state.cells.trained > 20000
    for one, other in zip(ask(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_filters_go_before_k():
    index, queries = made(6000), clustered(30, seed=1)
    plain = firth.Index(DIM)
    plain.add(clustered(6000))
    rng = np.random.default_rng(0)
    cell = cells_of(index._table.state.segments[0])
    for mask in (
        rng.random(6000) < 0.3,
        rng.random(6000) < 0.002,  # some, gathered
        cell == 5,  # all far from most queries
        np.isin(cell, np.arange(16)),
        np.zeros(6000, bool),
    ):
        for probe in (1, 4):
            found = index.search(queries, 10, filter=mask, probe=probe)
            exact = plain.search(queries, 10, filter=mask)
            assert [len(ids) for ids in found.ids] == [min(10, mask.sum())] * 30
            assert mask[np.concatenate(list(found.ids))].all()
            found = index.search(queries, 10, exclude=~mask, probe=probe)
            assert [len(ids) for ids in found.ids] == [min(10, mask.sum())] * 30
        assert_same(index.search(queries, 10, filter=mask, probe="all"), exact)
    # one for each query, of which some find too little
    masks = [None if q % 3 else cell == q for q in range(30)]
    found = index.search(queries, 20, filter=masks, probe=2)
    for q, mask in enumerate(masks):
        want = 20 if mask is None else min(20, int(mask.sum()))
        assert found.counts[q] == want
        alone = index.search(queries[q], 20, filter=mask, probe=2)
        np.testing.assert_array_equal(found.ids[q, :want], alone.ids)
    # more than the cells hold: all are visited
    assert_same(index.search(queries, 3000, probe=1), plain.search(queries, 3000))
    assert_same(index.search(queries, 9000), plain.search(queries, 9000))


def test_tune_reaches_its_recall():
    index, queries = made(12000, cells=96), clustered(400, seed=1)
    for wanted, k in ((0.9, 10), (0.99, 1), (0.97, 30)):
        exact = index.search(queries, k, probe="all")
        tuning = index.tune(wanted, k)
        assert index.stats()["probe"] == tuning.probe
        steps = {step.probe: step for step in tuning.steps}
        assert steps[tuning.probe].recall >= wanted
        assert all(steps[probe].recall < wanted for probe in steps if probe < tuning.probe)
        assert tuning.probe - 1 in steps or tuning.probe == 1
        # Other queries of the same distribution: a deviation of 3 sigma, of independent finds.
        sigma = np.sqrt(wanted * (1 - wanted) / 400)
        assert recall(index.search(queries, k), exact) > wanted - 3 * sigma
        # Their own: exactly so.
        tuning = index.tune(wanted, k, queries)
        steps = {step.probe: step for step in tuning.steps}
        reached = recall(index.search(queries, k), exact)
        assert reached == pytest.approx(steps[tuning.probe].recall, abs=1e-12)
        assert "<- chosen" in str(tuning)
        assert f"recall@{k}" in repr(tuning)
    assert index.tune(1.0, 10, queries[0]).steps[-1].recall == 1
    # kept as the goal when the index grows
    index.tune(0.8, 5)
    index.add(clustered(40000, seed=5))
    assert (index._table.state.cells.recall, index._table.state.cells.k) == (0.8, 5)


def test_tune_leaves_rows_out_of_their_answers():
    # Pairs of equal rows: the one is the best of the other, in the same cell.
    vectors = clustered(3000)
    index = firth.Index(DIM, cells=32)
    index.add(np.concatenate([vectors, vectors]))
    assert index.tune(1.0, 1).probe == 1


def test_the_same_rows_make_the_same_cells():
    one, other = made(6000, steps=3), made(6000, steps=3)
    np.testing.assert_array_equal(
        one._table.state.cells.centroids, other._table.state.cells.centroids
    )
    assert one.stats()["probe"] == other.stats()["probe"]
    with firth.kernels.use("native:base"):
        base = made(6000, steps=3)
    np.testing.assert_array_equal(
        one._table.state.cells.centroids, base._table.state.cells.centroids
    )
    queries = clustered(50, seed=1)
    assert_same(base.search(queries, 10), one.search(queries, 10))


def test_rows_without_difference():
    for vectors in (np.ones((2000, DIM)), np.zeros((2000, DIM)), np.eye(DIM)[[0, 1] * 1000]):
        for metric in ("cosine", "ip", "l2"):
            index = firth.Index(DIM, metric, cells=50)
            index.add(vectors.astype(np.float32))
            assert_every_row_once(index)
            found = index.search(vectors[1], 10)
            assert len(found.ids) == 10
            assert (index.search(vectors[1], 10, probe="all").scores == found.scores[0]).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale(scale):
    index = firth.Index(DIM, cells=32)
    with np.errstate(under="ignore"):
        index.add(clustered(3000) * np.float32(scale))
    plain = made(3000)
    queries = clustered(20, seed=1)
    np.testing.assert_array_equal(index.search(queries).ids, plain.search(queries).ids)


@pytest.mark.parametrize("storage", ["float32", "int8"])
@pytest.mark.parametrize("mmap", [True, False])
def test_files(tmp_path, storage, mmap):
    queries = clustered(30, seed=1)
    index = made(6000, steps=9, storage=storage)
    index.remove(np.arange(0, 900, 2))
    index.tune(0.8, 3)
    index.save(tmp_path / "index")
    wanted = {probe: index.search(queries, 10, probe=probe) for probe in (1, None, "all")}
    with firth.Index.open(tmp_path / "index", mmap=mmap, verify=True) as opened:
        assert opened.cells == 32
        assert opened._table.state.cells.trained == index._table.state.cells.trained
        assert opened.tune(0.8, 3).probe == index.tune(0.8, 3).probe
        assert_every_row_once(opened)
        assert_same(opened.search(queries, 10, probe="all"), wanted["all"])
        # Rows in a tail, which all searches visited, are in cells now.
        for probe, before in wanted.items():
            found = opened.search(queries, 10, probe=probe)
            assert recall(found, wanted["all"]) <= recall(before, wanted["all"])
        opened.add(clustered(3000, seed=3))
        opened.add(clustered(10, seed=4))
        opened.remove([1, 3, 5])
        assert_every_row_once(opened)
        after = opened.search(queries, 10)
        every = opened.search(queries, 10, probe="all")
    with firth.Index.open(tmp_path / "index", mmap=mmap) as again:  # replays the log
        assert_every_row_once(again)
        assert_same(again.search(queries, 10, probe="all"), every)
        again.compact()
        assert_every_row_once(again)
        assert_same(again.search(queries, 10, probe="all"), every)
        assert recall(again.search(queries, 10), every) > recall(after, every) - 0.1
        again.add(clustered(20000, seed=5))  # trained anew, with the mapped rows
        assert again._table.state.cells.trained > 20000
        assert_every_row_once(again)
        again.remove(again.ids)
        again.compact()
        assert len(again.search(queries, 10).ids[0]) == 0
    with firth.Index.open(tmp_path / "index") as empty:
        assert (len(empty), empty.cells) == (0, 32)
    for cells in ("auto", None):
        small = firth.Index(DIM, cells=cells)
        small.add(clustered(2000))
        small.save(tmp_path / "small")
        assert firth.Index.open(tmp_path / "small", "r").cells == cells


def test_damaged_files(tmp_path):
    path = tmp_path / "index"
    made(3000).save(path)
    content = container.read(path, "index", decode=False)

    def check(arrays=(), meta=(), verify=False):
        container.write(path, "index", content.arrays | dict(arrays), content.meta | dict(meta))
        firth.Index.open(path, "r", verify=verify)

    check(verify=True)
    order, blocks = content.arrays["order"], content.arrays["cell_blocks"]
    twice = order.copy()
    twice[0] = twice[1]
    for name, wrong in {
        "order": [order[:-32], order[1:], np.where(order == 5, 3000, order),
                  np.where(order == 5, -2, order), order.astype(np.int64)],
        "cell_blocks": [blocks[:-1], blocks[::-1].copy(), blocks + 1, blocks.astype(np.int32)],
        "centroids": [content.arrays["centroids"][:, :-1], content.arrays["centroids"][:0],
                      content.arrays["centroids"] * np.float32(np.nan)],
        "codes": [content.arrays["codes"][:-1]],
        "bounds": [content.arrays["bounds"][1:]],
    }.items():  # fmt: skip
        for array in wrong:
            with pytest.raises(FormatError):
                check({name: array})
    with pytest.raises(FormatError):
        check({"order": twice}, verify=True)
    for name, wrong in {
        "cells": [1, "some", None, 2.5, [3]],
        "probe": [0, 1.5, None, 2**63, "all"],
        "recall": [0.0, 1, "x", None],
        "k": [0, None],
        "trained": [-1, True],
    }.items():
        for value in wrong:
            with pytest.raises(FormatError):
                check(meta={name: value})


def test_order_by_cell():
    rows = np.array([3, 5, 8, *range(100, 140)])
    cell = np.array([2, 0, 2, *[4] * 40])
    order, blocks = order_by_cell(rows, cell, 6)
    assert blocks.tolist() == [0, 1, 1, 2, 2, 4, 4]
    lanes = order.reshape(-1, 32)
    assert lanes[0].tolist() == [5] + [-1] * 31
    assert lanes[1].tolist() == [3, 8] + [-1] * 30
    assert lanes[2:].ravel().tolist() == [*range(100, 140)] + [-1] * 24


def test_arguments():
    for cells in (1, 0, -3, 2**16, "many"):
        with pytest.raises(ValueError, match=r"Index: cells .*must be"):
            firth.Index(3, cells=cells)
    with pytest.raises(TypeError, match=r"Index: cells .* must be an int, got 2\.5"):
        firth.Index(3, cells=2.5)
    index = made(2000)
    query = clustered(1)[0]
    for probe, error in ((0, ValueError), (-1, ValueError), ("some", TypeError), (1.5, TypeError)):
        with pytest.raises(error, match=r"search: probe \('all', or a number\) must be"):
            index.search(query, probe=probe)
    for bad in (0, 1.5, -1, float("nan")):
        with pytest.raises(ValueError, match="tune: recall"):
            index.tune(bad)
    with pytest.raises(ValueError, match="tune: k"):
        index.tune(k=0)
    with pytest.raises(ValueError, match="queries"):
        index.tune(queries=np.zeros((3, DIM + 1)))
    with pytest.raises(ValueError, match="queries"):
        index.tune(queries=np.zeros((0, DIM)))
    plain = firth.Index(DIM)
    with pytest.raises(ValueError, match="probe is for an index with cells"):
        plain.search(query, probe=3)
    with pytest.raises(ValueError, match="has no cells"):
        plain.tune()
    with pytest.raises(ValueError, match="has no cells yet"):
        firth.Index(DIM, cells="auto").tune()


def test_queries_among_few_rows_are_shared_by_threads():
    index = made(4000, cells=None)
    queries = clustered(2500, seed=1)
    masks = np.random.default_rng(0).random((3, 4000)) < [[0.5], [0.01], [0]]
    chosen = [None if q % 4 == 3 else masks[q % 4] for q in range(2500)]
    threads = firth._native.num_threads()
    try:
        found = {}
        for count in (1, 2, 3):
            firth.set_num_threads(count)
            found[count] = index.search(queries, 7, filter=chosen), index.stats()["last_search"]
    finally:
        firth.set_num_threads(threads)
    for count in (2, 3):
        assert_same(found[count][0], found[1][0])
        assert found[count][1]["coded"] == found[1][1]["coded"]
    for q in range(0, 2500, 77):
        alone = index.search(queries[q], 7, filter=chosen[q])
        own = slice(found[2][0].counts[q])
        np.testing.assert_array_equal(found[2][0].ids[q, own], alone.ids)
        np.testing.assert_array_equal(found[2][0].scores[q, own], alone.scores)


def test_tune_refuses_a_k_for_which_every_search_is_exact():
    rng = np.random.default_rng(0)
    index = firth.Index(8, cells=40)
    index.add(rng.standard_normal((6400, 8)).astype(np.float32))
    probe = index.stats()["probe"]
    for k in (200, 10**6):
        with pytest.raises(ValueError, match="tune: k must be below 200"):
            index.tune(0.95, k)
    assert index.stats()["probe"] == probe
    assert index.tune(0.95, 199).k == 199
