"""Many analogies of few words: the rows that a search finds, whatever the rows are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import spiky
from firth import KeyedVectors, _native, geometry
from firth.kernels import cosine_scores, row_norms
from firth.words import analogy_sums
from keyed import gensim_twin

K = 8
LEVELS = [name for name in firth.kernels.backends() if name.startswith("native:")]
KINDS = ["float32", "float16", "int8"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Any:
    """Run the test on each level."""
    with firth.kernels.use(request.param):
        yield request.param


def stored(rows: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows (N, D) as they are stored, and their scales."""
    if kind != "int8":
        return rows.astype(kind), None
    scales = np.abs(rows).max(axis=1, initial=0) / np.float32(127)
    codes = np.round(rows / np.where(scales > 0, scales, 1)[:, None])
    return codes.astype(np.int8), scales.astype(np.float32)


def values(vectors: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """Stored rows in float32."""
    rows = vectors.astype(np.float32)
    return rows if scales is None else rows * scales[:, None]


def ask(
    vectors: np.ndarray, words: np.ndarray, terms: np.ndarray, scales: Any = None, norms: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `topk` finds (N, K), what it leaves undecided, and what every row's score says (N, K).

    ``words``: (W, D), float64.
    """
    units = geometry.unit(words)
    queries = analogy_sums.queries(units, terms, np.float32)
    norms = row_norms(vectors, scales=scales) if norms is None else norms
    found = np.full((len(terms), K), -1, np.int64)
    rest = analogy_sums.topk(vectors, norms, scales, units, terms, queries, found)
    scores = cosine_scores(queries, vectors, norms=norms, scales=scales)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]  # NaN last
    want = np.full_like(found, -1)
    want[:, : order.shape[1]] = np.where(
        np.isnan(np.take_along_axis(scores, order, axis=1)), -1, order
    )
    return found, rest, want


def check(*arguments: Any, undecided: int = 0, **options: Any) -> np.ndarray:
    """`ask`, all of it right and at most some undecided; returns what was found."""
    found, rest, want = ask(*arguments, **options)
    assert len(rest) <= undecided
    assert (found[rest] == -1).all()
    decided = np.setdiff1d(np.arange(len(found)), rest)
    assert_array_equal(found[decided], want[decided])
    return found


# Around whole vectors, the blocks of the product along K (384) and the chunks of rows.
@pytest.mark.parametrize("d", [1, 2, 3, 7, 8, 16, 17, 33, 300, 384, 385, 801])
@pytest.mark.parametrize("kind", KINDS)
def test_dimensions(level: str, d: int, kind: str) -> None:
    rng = np.random.default_rng(d)
    vectors, scales = stored(spiky(rng, (700, d)), kind)
    words = values(vectors, scales)[rng.choice(700, 11)].astype(np.float64)
    terms = rng.integers(0, 11, (60, 3))
    # In few dimensions many rows have the direction of the query.
    found = check(vectors, words, terms, scales=scales, undecided=60 if d < 8 else 3)
    assert d < 8 or (found[:, 0] >= 0).sum() > 50


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 31, 33, 63, 64, 65, 127, 129, 1000, 5000])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
def test_numbers_of_rows_and_analogies(level: str, n: int, count: int) -> None:
    rng = np.random.default_rng(n)
    vectors, words = spiky(rng, (n, 20)), rng.standard_normal((9, 20))
    found = check(vectors, words, rng.integers(0, 9, (count, 3)), undecided=count // 9)
    assert ((found >= 0).sum(axis=1) == min(n, K)).mean() > 0.85 if count else found.shape == (0, K)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("l2", [1 << 18, 1 << 22])
def test_threads_and_caches(level: str, threads: int, l2: int) -> None:
    rng = np.random.default_rng(0)
    vectors, words = spiky(rng, (9000, 24)), rng.standard_normal((300, 24))
    before = _native.num_threads()
    firth.set_num_threads(threads)
    _native.set_l2_bytes(l2)
    try:
        check(vectors, words, rng.integers(0, 300, (1500, 3)), undecided=40)
    finally:
        firth.set_num_threads(before)
        _native.set_l2_bytes(0)


def test_hostile_rows(level: str) -> None:
    """Lengths at both ends, zeros, NaN, infinity, copies, rows that are left out."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 40)).astype(np.float32)
    rows *= rng.choice(np.array([1e-30, 1, 1e30], np.float32), (3000, 1))
    rows[100:120] = rows[:20] * np.float32(2)  # ties
    rows[200:220] = 0
    rows[300] = np.nan
    rows[301, 5] = np.inf
    rows[302] = 1e-44
    rows[303] = 3e38
    norms = row_norms(rows)
    norms[rng.choice(np.setdiff1d(np.arange(3000), np.arange(20)), 900, replace=False)] = np.nan
    places = [*range(20), 200, 303, *range(500, 520)]
    words = rows[places].astype(np.float64)
    terms = rng.integers(0, len(places), (800, 3))
    found = check(rows, words, terms, norms=norms, undecided=20)
    assert not np.isin(found, [300, 301]).any()
    assert not np.isin(found, np.flatnonzero(np.isnan(norms))).any()


def test_the_length_of_a_row_does_not_count(level: str) -> None:
    rng = np.random.default_rng(10)
    rows = rng.standard_normal((3000, 40)).astype(np.float32)
    words, terms = rows[:30].astype(np.float64), rng.integers(0, 30, (400, 3))
    scaled = np.ldexp(rows, rng.integers(-90, 90, (3000, 1)))
    first, second = (check(one, words, terms, undecided=20) for one in (rows, scaled))
    assert_array_equal(first, second)


def test_words_without_a_direction(level: str) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    words = rng.standard_normal((6, 16))
    words[4], words[5] = np.nan, 0
    terms = np.array([[0, 1, 4], [4, 0, 1], [0, 4, 4], [5, 5, 5], [0, 1, 5], [2, 2, 5], [5, 0, 5]])
    found, rest, want = ask(vectors, words, terms)
    assert_array_equal(found[:3], -1)
    assert_array_equal(want[:3], -1)
    assert set(rest) <= {3, 5}  # the query is zero, and so is every score
    decided = [4, 6]
    assert_array_equal(found[decided], want[decided])
    assert_array_equal(want[3], np.arange(K))


def test_sums_that_cancel(level: str) -> None:
    """b + c is nearly a: the direction of what is left is beyond float32."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((2000, 30)).astype(np.float32)
    one, two = np.linalg.qr(rng.standard_normal((30, 2)))[0].T
    around = [np.cos(angle) * one + np.sin(angle) * two for angle in (0, np.pi / 3, -np.pi / 3)]
    terms = np.array([[0, 1, 2]] * 5 + [[1, 0, 0]] * 3)
    for noise in (0, 1e-12, 1e-6, 1e-3):
        words = np.stack(around) + noise * rng.standard_normal((3, 30))
        check(vectors, words, terms, undecided=5 if noise < 1e-3 else 0)


@pytest.mark.parametrize("d", [20, 300])
def test_rows_as_near_as_rounding(level: str, d: int) -> None:
    """A crowd around each best row that differs from it by units in the last place."""
    rng = np.random.default_rng(4)
    words = rng.standard_normal((30, d))
    terms = np.stack([rng.permutation(30)[:3] for _ in range(120)])
    units = geometry.unit(words)
    best = analogy_sums.queries(units, terms, np.float32)
    crowd = np.repeat(best, 12, axis=0)
    crowd *= 1 + rng.integers(-2, 3, crowd.shape) * np.float32(2.0**-23)
    rows = np.concatenate([crowd, rng.standard_normal((1000, d)).astype(np.float32)])
    rows = rows[rng.permutation(len(rows))].astype(np.float32)
    found = check(rows, words, terms)
    assert (found >= 0).all()


def test_a_vocabulary_of_one_vector(level: str) -> None:
    vectors = np.tile(np.arange(1, 9, dtype=np.float32), (5000, 1))
    terms = np.random.default_rng(5).integers(0, 4, (50, 3))
    _, rest, want = ask(vectors, vectors[:4].astype(np.float64), terms)
    assert_array_equal(rest, np.arange(50))
    assert_array_equal(want, np.tile(np.arange(K), (50, 1)))
    few, rest, want = ask(vectors[:9], vectors[:4].astype(np.float64), terms)
    assert len(rest) == 0
    assert_array_equal(few, want)


# The method of KeyedVectors


def questions(path: Path, words: list[str], count: int) -> Path:
    """Half of them drawn at random, half as `keyed` solves them."""
    rng = np.random.default_rng(6)
    lines = [" ".join(rng.choice([*words, "missing"], 4)) for _ in range(count // 2)]
    for _ in range(count // 2):
        (one, two), (from_, to) = rng.permutation(8)[:2] * 6, rng.permutation(6)[:2]
        lines.append(f"w{one + from_} w{one + to} w{two + from_} w{two + to}")
    half = count // 2
    path.write_text("\n".join([": one", *lines[:half], ": two", *lines[half:]]) + "\n")
    return path


def keyed(kind: str) -> tuple[KeyedVectors, list[str]]:
    """Vectors in which analogies can be solved, some hostile ones among them, and words to ask."""
    rng = np.random.default_rng(7)
    families, members = rng.standard_normal((8, 24)), rng.standard_normal((6, 24))
    rows = (families[:, None] + members).reshape(-1, 24)
    rows = np.concatenate([rows, spiky(rng, (400, 24))]).astype(np.float32)
    rows *= np.float32(1e-3 if kind == "float16" else 1e-30)
    rows[60] = 0
    rows[100:110] = rows[:10]
    names = [f"w{row}" for row in range(len(rows))]
    names[70], names[71] = "W3", "W5"  # equal where case does not count
    kv = KeyedVectors(24)
    kv.add_vectors(names, rows, {"count": np.arange(len(rows), 0, -1)})
    return kv.astype(kind), [*names[:48], "w60", "W3"]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many analogies each call of `topk` gets, and leaves undecided."""
    calls, topk = [], analogy_sums.topk

    def spy(*arguments: Any) -> Any:
        rest = topk(*arguments)
        calls.append((len(arguments[4]), len(rest)))
        return rest

    monkeypatch.setattr(analogy_sums, "topk", spy)
    return calls


@pytest.mark.parametrize("kind", [*KINDS, "float64"])
@pytest.mark.parametrize(
    "options",
    [{}, {"restrict_vocab": 90}, {"restrict_vocab": 3}, {"case_insensitive": False},
     {"dummy4unknown": True}],
)  # fmt: skip
def test_evaluation_is_that_of_a_search(
    kind: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv, words = keyed(kind)
    path = questions(tmp_path / "questions", words, 1500)
    calls = spied(monkeypatch)
    got = kv.evaluate_word_analogies(path, **options)
    assert bool(calls) == (kind != "float64" and options.get("restrict_vocab") != 3)
    assert sum(undecided for _, undecided in calls) <= 100
    monkeypatch.setattr(analogy_sums, "_NUMBERS", 300 * 24)
    parts = len(calls)
    assert kv.evaluate_word_analogies(path, **options) == got
    assert not calls or len(calls) - parts >= 4
    monkeypatch.setattr(analogy_sums, "pays", lambda *_: False)
    assert kv.evaluate_word_analogies(path, **options) == got
    assert got[0] > 0.4 or options.get("restrict_vocab") == 3


def test_equal_vectors_are_left_to_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = KeyedVectors(5)
    names = [f"w{row}" for row in range(3000)]
    kv.add_vectors(names, np.ones((3000, 5), np.float32))
    path = tmp_path / "questions"
    rng = np.random.default_rng(8)
    lines = [" ".join(rng.permutation(names[:8])[:4]) for _ in range(200)]
    path.write_text(": s\n" + "\n".join(lines) + "\n")
    calls = spied(monkeypatch)
    got = kv.evaluate_word_analogies(path)
    assert calls == [(200, 200)]
    monkeypatch.setattr(analogy_sums, "pays", lambda *_: False)
    assert kv.evaluate_word_analogies(path) == got
    # Of equal rows the first one that is not asked for.
    for a, b, c, d in got[1][-1]["correct"]:
        assert d == next(name.upper() for name in names if name.upper() not in (a, b, c))
    assert got[1][-1]["correct"]


def test_few_analogies_of_many_words_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv, words = keyed("float32")
    calls = spied(monkeypatch)
    kv.evaluate_word_analogies(questions(tmp_path / "few", words, 150))
    assert not calls
    with firth.kernels.use("numpy"):
        kv.evaluate_word_analogies(questions(tmp_path / "many", words, 900))
    assert not calls
    kv.evaluate_word_analogies(tmp_path / "many")
    assert len(calls) == 1


@pytest.mark.peer
@pytest.mark.parametrize("restrict", [300000, 90])
@pytest.mark.parametrize("insensitive", [True, False])
def test_gensim_solves_the_same(
    restrict: int, insensitive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv, words = keyed("float32")
    rows = np.random.default_rng(9).standard_normal((448, 24)).astype(np.float32)  # no ties
    kv[kv.index_to_key[48:]] = rows[48:]
    kv[kv.index_to_key[:48]] = kv.vectors[:48] * np.float32(1e30)
    path = questions(tmp_path / "questions", words, 1000)
    calls = spied(monkeypatch)
    options = {"restrict_vocab": restrict, "case_insensitive": insensitive}
    got = kv.evaluate_word_analogies(path, **options)
    assert calls
    assert got == gensim_twin(kv).evaluate_word_analogies(str(path), **options)
