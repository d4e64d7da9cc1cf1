"""firth.Index against a dict of vectors that is searched by brute force in float64."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.testing import assert_array_equal

import firth
from firth import _native
from firth.kernels._dispatch import active_level
from firth.search import segments as segments_module
from firth.search import table as table_module
from search import reference

STORAGES = ["float32", "float16", "bfloat16", "int8"]
METRICS = ["cosine", "ip", "l2"]
LEVELS = [name for name in firth.kernels.backends() if name.startswith("native:")]


def stored(storage, rows):
    """Rows as an index stores them, in float32."""
    rows = np.asarray(rows, np.float32)
    if storage == "int8":
        scales = np.abs(rows).max(axis=1, keepdims=True, initial=0) / np.float32(127)
        return np.rint(rows / np.where(scales == 0, np.float32(1), scales)) * scales
    kept = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    return rows.astype(kept[storage]).astype(np.float32)


class Twin:
    """The expected content of an index: a dict from id to stored vector, in the order of rows."""

    def __init__(self, metric):
        self.metric, self.vectors, self.rank, self.count = metric, {}, {}, 0

    def add(self, ids, rows):
        for one, row in zip(ids, rows, strict=True):
            if one not in self.vectors:
                self.rank[one] = self.count  # of a str: ties go by first addition
                self.count += 1
            self.vectors.pop(one, None)
            self.vectors[one] = row

    def ranked(self, query, allowed=None, excluded=()):
        """Ids and scores of all rows that count, best first."""
        ids = [i for i in self.vectors if (allowed is None or i in allowed) and i not in excluded]
        if not ids:
            return [], np.empty(0, np.float32)
        rows = np.stack([self.vectors[i] for i in ids]).astype(np.float64)
        scores = reference.scores(self.metric, np.asarray(query, np.float32), rows)
        rank = [self.rank[i] if isinstance(i, str) else i for i in ids]
        order = np.lexsort((rank, -scores))
        return [ids[i] for i in order], scores[order]


def assert_same(ids, scores, want, k=None):
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, want[1][:k])
    assert list(ids) == want[0][:k]


LAYOUTS = {
    "plain": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "columns": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "misaligned": lambda x: np.frombuffer(b"?" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "list": lambda x: x.tolist(),
}  # fmt: skip


def vectors(rng, count, dim, kind):
    """Rows of small integers (many ties), of any size from 1e-30 to 1e30, or normal ones."""
    if kind == "ties":
        return rng.integers(-1, 2, (count, dim)).astype(np.float32)
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    if kind == "scales":
        rows *= np.float32(10) ** rng.integers(-30, 30, (count, 1)).astype(np.float32)
    return rows


class Story(RuleBasedStateMachine):
    """Any sequence of operations; small segments and blocks make everything happen soon."""

    @initialize(
        metric=st.sampled_from(METRICS),
        storage=st.sampled_from(STORAGES),
        dim=st.sampled_from([1, 2, 3, 16, 17, 33]),
        kind=st.sampled_from(["ties", "normal", "scales"]),
        text=st.booleans(),
        level=st.sampled_from(LEVELS),
        small=st.sampled_from([32, 1024]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, metric, storage, dim, kind, text, level, small, seed):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(segments_module, "SMALL", small)
        self.patch.setattr(segments_module, "LARGE", 64)
        self.patch.setattr(segments_module, "CODED_FROM", 40)
        self.patch.setattr(segments_module, "GROWTH", 2)
        self.patch.setattr(segments_module, "PIECE", 4 * dim)
        self.patch.setattr(table_module, "COMPACT_FROM", 20)
        if storage == "float16" and kind == "scales":
            kind = "normal"  # 1e30 has no float16
        self.level, self.kind, self.text, self.dim, self.storage = level, kind, text, dim, storage
        self.rng = np.random.default_rng(seed)
        self.index = firth.Index(dim, metric, storage)
        self.twin = Twin(metric)
        self.greatest = -1

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.undo()

    def name(self, ids):
        return [f"id {i}" for i in ids] if self.text else [int(i) for i in ids]

    def some_ids(self):
        """Ids, of which a few are not in the index."""
        ids = list(self.twin.vectors)
        count = int(self.rng.integers(0, len(ids) + 1))
        chosen = [ids[i] for i in self.rng.permutation(len(ids))[:count]]
        return chosen + self.name(self.rng.integers(10**6, 10**7, self.rng.integers(0, 3)))

    @rule(
        count=st.sampled_from([0, 1, 2, 31, 32, 33, 70, 200, 700]),
        of=st.sampled_from(["default", "pool", "any", "next"]),
        layout=st.sampled_from(sorted(LAYOUTS)),
    )
    def add(self, count, of, layout):
        rows = vectors(self.rng, count, self.dim, self.kind)
        given = LAYOUTS[layout](rows)
        with firth.kernels.use(self.level):
            if of == "default" and not self.text:
                ids = list(range(self.greatest + 1, self.greatest + 1 + count))
                assert self.index.add(given).tolist() == ids
            else:
                low, high = {"pool": (0, 50), "any": (-(10**5), 10**5)}.get(of, (0, 0))
                ids = self.name(
                    self.rng.integers(low, high, count)
                    if high
                    else np.arange(self.greatest + 1, self.greatest + 1 + count)
                )
                assert list(self.index.add(given, ids)) == ids
        self.greatest = max([self.greatest, *(i for i in ids if not isinstance(i, str))])
        if self.text and of == "next":
            self.greatest += count
        self.twin.add(ids, stored(self.storage, rows))

    @rule(share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def remove(self, share):
        ids = list(self.twin.vectors)
        gone = [ids[i] for i in self.rng.permutation(len(ids))[: int(share * len(ids))]]
        with firth.kernels.use(self.level):
            self.index.remove(gone)
        for one in gone:
            del self.twin.vectors[one]

    @rule()
    def remove_what_is_not_there(self):
        missing = self.name([10**9])[0]
        ids = [*list(self.twin.vectors)[:3], missing]
        if self.text != bool(self.twin.count) and self.text:
            return  # the first str decides what ids are
        before = len(self.index)
        with pytest.raises(KeyError, match=repr(missing)):
            self.index.remove(ids)
        assert len(self.index) == before

    @rule(
        k=st.sampled_from([0, 1, 3, 10, 10**6]),
        queries=st.sampled_from([None, 0, 1, 2, 5]),
        allowed=st.sampled_from([None, "ids", "mask", "packed", "each", "masks"]),
        excluded=st.sampled_from([None, "ids", "mask", "packed", "each", "masks"]),
        threshold=st.booleans(),
    )
    def search(self, k, queries, allowed, excluded, threshold):
        count = 1 if queries is None else queries
        asked = vectors(self.rng, count, self.dim, self.kind)
        if count and self.twin.vectors:
            asked[0] = next(iter(self.twin.vectors.values()))
        filter, filter_sets = self.choice(allowed, count)
        exclude, exclude_sets = self.choice(excluded, count)
        kwargs = {"filter": filter, "exclude": exclude}
        given = asked[0] if queries is None else asked
        wants = [
            self.twin.ranked(asked[q], filter_sets[q], exclude_sets[q] or ()) for q in range(count)
        ]
        with firth.kernels.use(self.level):
            if threshold:
                least = [want[1][len(want[1]) // 2] if len(want[1]) else 0.0 for want in wants]
                wants = [
                    (want[0][: (want[1] >= t).sum()], want[1][want[1] >= t])
                    for want, t in zip(wants, least, strict=True)
                ]
                found = self.index.search_range(
                    given, least[0] if queries is None else least, **kwargs
                )
                k = None
            else:
                found = self.index.search(given, k, **kwargs)
        if queries is None:
            assert found.scores.ndim == 1
            assert_same(found.ids, found.scores, wants[0], k)
            return
        assert len(found.ids) == len(found.scores) == count
        counts = [len(want[0][:k]) for want in wants]
        if k is not None:
            assert isinstance(found.scores, np.ndarray)
            assert found.ids.shape == found.scores.shape
            if count:
                assert found.scores.shape == (count, max(counts))
            assert found.counts.tolist() == counts
        for q, own in enumerate(counts):
            assert_same(found.ids[q][:own], found.scores[q][:own], wants[q], k)
            assert all(one is None if self.text else one == -1 for one in found.ids[q][own:])
            assert np.isnan(found.scores[q][own:]).all()

    def choice(self, kind, queries):
        """A filter in one of its forms, and the set of ids that it means for each query."""
        if kind is None:
            return None, [None] * queries
        if kind == "ids":
            ids = self.some_ids()
            as_array = len(ids) and not self.text and self.rng.random() < 0.5
            return (np.array(ids) if as_array else ids), [set(ids)] * queries
        if kind == "each":
            lists = [None if self.rng.random() < 0.3 else self.some_ids() for _ in range(queries)]
            sets = [None if ids is None else set(ids) for ids in lists]
            return lists, (sets if lists else [None] * queries)
        masks = self.rng.random((queries if kind == "masks" else 1, len(self.index))) < 0.5
        ids = list(self.index.ids)
        sets = [{i for i, allowed in zip(ids, mask, strict=True) if allowed} for mask in masks]
        if kind == "masks":
            return masks, sets
        if kind == "packed":
            masks = np.packbits(masks, axis=1, bitorder="little")
        return masks[0], sets * queries

    @invariant()
    def same_content(self):
        if not hasattr(self, "index"):
            return
        index, twin = self.index, self.twin.vectors
        assert len(index) == len(twin)
        assert list(index.ids) == list(twin)
        stats = index.stats()
        assert stats["rows"] == len(twin)
        if twin:
            np.testing.assert_array_equal(index.get(list(twin)), np.stack(list(twin.values())))
            first = next(iter(twin))
            assert first in index
            np.testing.assert_array_equal(index.get(first), twin[first])
        assert self.name([10**9])[0] not in index


def rows_of(kind, rng, count, dim):
    if kind == "giants":  # a few among normal ones: they spoil a mean and overflow squares
        rows = rng.standard_normal((count, dim))
        rows[:: count // 7] *= 1e30
        return rows.astype(np.float32)
    if kind == "far":  # near each other and far from zero
        return (rng.standard_normal((count, dim)) + 1e4).astype(np.float32)
    if kind == "equal":
        return np.repeat(rng.standard_normal((3, dim)), -(-count // 3), axis=0)[:count]
    return vectors(rng, count, dim, kind)


@pytest.mark.parametrize("kind", ["normal", "ties", "scales", "giants", "far", "equal"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8"])
def test_codes_change_nothing(kind, metric, storage):
    """The rows that pass the scan of codes include every row that scoring them all finds."""
    rng = np.random.default_rng(7)
    for count, dim in [(1500, 1), (3000, 33), (9000, 16)]:
        index = firth.Index(dim, metric, storage)
        index.add(rows_of(kind, rng, count, dim))
        queries = np.asarray(rows_of(kind, rng, 9, dim), np.float32)
        queries[0] = index.get(count // 2)
        allowed = np.packbits(rng.random(count) < 0.5, bitorder="little")
        state = index._table.state
        for filters, of_query in [([], None), ([allowed], np.zeros(9, np.int64))]:
            for level in LEVELS:
                with firth.kernels.use(level):
                    search = functools.partial(_native.search.search, active_level())
                common = (state.native, metric, queries, 5, state.version, filters, of_query)
                want = search(*common, [], None, threads=2, exact=True)
                found = search(*common, [], None, threads=2)
                assert found[3][0] > 0  # codes were asked
                for one, other in zip(found[:3], want[:3], strict=True):
                    np.testing.assert_array_equal(one, other)
        for q in (0, 8):
            twin = reference.scores(metric, queries[q], index.get(np.arange(count)).astype(float))
            best = np.lexsort((np.arange(count), -twin))[:5]
            ids, scores = index.search(queries[q], 5)
            assert ids.tolist() == best.tolist()
            np.testing.assert_array_equal(scores, twin[best])


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.generate],
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_many_queries_are_answered_in_parts(monkeypatch):
    """Filters and exclusions of each query, and cells, come along."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((3000, 10)).astype(np.float32)
    queries = rng.standard_normal((101, 10)).astype(np.float32)
    filter = [
        None if i % 3 == 0 else rng.choice(3000, 2000 if i % 3 == 1 else 40) for i in range(101)
    ]
    exclude = [None if i % 4 else [i, i + 1] for i in range(101)]
    for cells in (None, 20):
        index = firth.Index(10, cells=cells)
        index.add(rows)
        choices = [{}, {"filter": np.arange(100)}, {"filter": filter}]
        choices += [{"exclude": exclude}, {"filter": filter, "exclude": exclude}]
        want = [index.search(queries, 9, **choice) for choice in choices]
        with monkeypatch.context() as patch:
            patch.setattr("firth.search.batches.AT_ONCE", 25)
            got = [index.search(queries, 9, **choice) for choice in choices]
        for one, other in zip(got, want, strict=True):
            assert_array_equal(one.ids, other.ids)
            assert_array_equal(one.scores, other.scores)
        assert sum(index.stats()["last_search"].values()) > 0


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_query_that_is_alone_finds_the_same(storage):
    """A filter of a tenth is gathered for one query; several share a scan of codes."""
    rng = np.random.default_rng(6)
    index = firth.Index(65, storage=storage)
    index.add(rng.standard_normal((5000, 65)).astype(np.float32))
    queries = rng.standard_normal((5, 65)).astype(np.float32)
    filter = rng.choice(5000, 500, replace=False)
    together = index.search(queries, 9, filter=filter)
    assert index.stats()["last_search"]["coded"] > 0
    for query, ids, scores in zip(queries, *together, strict=True):
        found = index.search(query, 9, filter=filter)
        assert index.stats()["last_search"]["coded"] == 0
        assert_array_equal(found.ids, ids)
        assert_array_equal(found.scores, scores)


def test_a_compaction_of_memory_that_fails_is_a_warning(monkeypatch):
    monkeypatch.setattr(table_module, "COMPACT_FROM", 1)
    monkeypatch.setattr(table_module.Table, "compact_memory", lambda _: [][0])
    index = firth.Index(2)
    index.add(np.ones((8, 2)))
    with pytest.warns(UserWarning, match="could not be compacted: IndexError") as caught:
        index.remove([0, 1, 2])
    assert caught[0].filename == __file__
    assert len(index) == 5
