"""Queries of vectors: their own rules, and gensim's results on the same vectors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from conftest import sum_tolerance
from firth import KeyedVectors
from firth.words.transport import transport_cost
from keyed import gensim_twin, make

COURSE = {
    "king": [0.8, 0.65, 0.1],
    "queen": [0.78, 0.66, 0.12],
    "man": [0.9, 0.1, 0.1],
    "woman": [0.88, 0.12, 0.12],
    "apple": [0.1, 0.8, 0.9],
}


@pytest.fixture
def kv() -> KeyedVectors:
    return make()


def test_the_listing_of_the_course() -> None:
    kv = KeyedVectors(3, dtype=np.float64)
    kv.add_vectors(list(COURSE), list(COURSE.values()))
    king, queen = np.array(COURSE["king"]), np.array(COURSE["queen"])
    cosine = king @ queen / np.linalg.norm(king) / np.linalg.norm(queen)
    assert kv.similarity("king", "queen") == pytest.approx(cosine, rel=1e-15)
    assert [key for key, _ in kv.most_similar("king", topn=2)] == ["queen", "woman"]


@pytest.mark.peer
def test_the_listing_of_the_course_by_sklearn() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    kv = KeyedVectors(3, dtype=np.float64)
    kv.add_vectors(list(COURSE), list(COURSE.values()))
    table = pairwise.cosine_similarity(kv.vectors)
    got = [[kv.similarity(a, b) for b in COURSE] for a in COURSE]
    np.testing.assert_allclose(got, table, rtol=1e-14)


def test_similarity_and_distance(kv: KeyedVectors) -> None:
    a, b = kv.vectors[1].astype(np.float64), kv.vectors[2].astype(np.float64)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert kv.similarity("w1", "w2") == pytest.approx(cosine, rel=1e-12)
    assert kv.distance("w1", "w2") == 1 - kv.similarity("w1", "w2")
    for key in kv.index_to_key:
        assert kv.similarity(key, key) == 1
        assert kv.distance(key, key) == 0
    kv.vectors[1] = 0
    assert kv.similarity("w1", "w2") == kv.similarity("w1", "w1") == 0
    kv.vectors[1] = np.nan
    assert np.isnan(kv.similarity("w1", "w1"))


def test_n_similarity(kv: KeyedVectors) -> None:
    assert kv.n_similarity(["w1", "w2"], ["w2", "w1"]) == pytest.approx(1)
    assert kv.n_similarity(["w1"], ["w2"]) == pytest.approx(kv.similarity("w1", "w2"))
    assert kv.n_similarity(["w1", "missing"], ["w2"]) == pytest.approx(kv.similarity("w1", "w2"))
    assert kv.n_similarity(["missing"], ["w2"]) == 0
    for sets in (([], ["w1"]), (["w1"], [])):
        with pytest.raises(ZeroDivisionError):
            kv.n_similarity(*sets)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_most_similar_against_its_definition(backend: str, dtype: Any) -> None:
    kv = make(200, 33, dtype)
    x = kv.vectors.astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1)[:, None]
    query = unit[3] + unit[5] - 0.5 * unit[7]
    cosines = unit @ (query / np.linalg.norm(query))
    got = kv.most_similar(["w3", 5], [("w7", -0.5)], topn=None)
    # float32 sums of 33 products of numbers whose squares add up to 1, and two divisions
    tolerance = float(
        sum_tolerance(np.ones(1), 33 + 8, np.float64 if dtype == np.float64 else np.float32)[0]
    )
    np.testing.assert_allclose(got, cosines, rtol=0, atol=tolerance)
    cosines[[3, 5, 7]] = -np.inf
    top = kv.most_similar(["w3", 5], [("w7", -0.5)])
    assert [key for key, _ in top] == [f"w{row}" for row in np.argsort(-cosines)[:10]]


def test_no_score_depends_on_topn_or_clipping(backend: str) -> None:
    kv = make(300, 50)
    scores = kv.most_similar("w0", topn=None)
    ranking = kv.most_similar("w0", topn=300)
    assert len(ranking) == 299
    for topn in (1, 2, 10, 17, 298):
        assert kv.most_similar("w0", topn=topn) == ranking[:topn]
    for key, score in kv.most_similar("w0", clip_start=37, clip_end=101):
        assert score == scores[kv.get_index(key)]
    np.testing.assert_array_equal(
        kv.most_similar("w0", topn=None, clip_start=37, clip_end=101), scores[37:101]
    )


def test_what_most_similar_accepts(kv: KeyedVectors) -> None:
    one = kv.most_similar("w1")
    assert len(one) == 10
    assert all(type(key) is str and type(score) is float for key, score in one)
    assert "w1" not in dict(one)
    assert kv.most_similar(["w1"]) == kv.most_similar(1) == kv.most_similar([np.int32(1)]) == one
    assert kv.most_similar([("w1", 1.0)]) == kv.most_similar(positive=("w1",)) == one
    assert kv.similar_by_word("w1") == kv.most_similar(positive="w1", topn=np.uint8(10)) == one
    # Keys are left out of the answer, vectors are not.
    for vectors in (kv["w1"], kv[["w1"]], [kv["w1"]], [(kv["w1"], 2.0)]):
        near = kv.most_similar(vectors)
        assert near[0][0] == "w1"
        assert near[0][1] == pytest.approx(1, abs=1e-6)
    assert kv.similar_by_vector(kv["w1"].tolist(), topn=3) == kv.most_similar(kv["w1"], topn=3)
    for few in (0, -1, np.uint8(0)):
        assert kv.most_similar("w1", topn=few) == []
    assert len(kv.most_similar("w1", topn=1000)) == 49
    assert {key for key, _ in kv.most_similar("w1", restrict_vocab=5)} == {"w0", "w2", "w3", "w4"}
    assert len(kv.most_similar("w1", restrict_vocab=500, topn=100)) == 49
    assert kv.most_similar("w1", clip_start=60) == []
    assert kv.most_similar("w1", topn=None, clip_start=60).shape == (0,)


def test_what_most_similar_refuses(kv: KeyedVectors) -> None:
    for nothing in ({}, {"positive": []}, {"negative": []}):
        with pytest.raises(ValueError, match="mean of nothing"):
            kv.most_similar(**nothing)
    with pytest.raises(ValueError, match=r"must have shape \(20,\), got \(19,\)"):
        kv.most_similar([np.ones(19)])
    with pytest.raises(TypeError):
        kv.most_similar("w1", topn=2.5)  # type: ignore[arg-type]


def test_odd_rows_and_ties(backend: str) -> None:
    kv = KeyedVectors(4)
    x = np.ones((8, 4), np.float32)
    x[1] = 0
    x[2, 3] = np.nan
    x[3, 3] = np.inf
    x[4:6] = -1
    kv.add_vectors([f"w{row}" for row in range(8)], x)
    assert kv.most_similar("w0", topn=8) == [
        ("w6", 1.0), ("w7", 1.0), ("w1", 0.0), ("w4", -1.0), ("w5", -1.0)
    ]  # fmt: skip
    assert kv.most_similar("w0", topn=1) == [("w6", 1.0)]
    assert kv.most_similar("w0", topn=4)[-1] == ("w4", -1.0)
    assert [score for _, score in kv.most_similar("w1", topn=9)] == [0.0] * 5
    assert [score for _, score in kv.most_similar("w0", "w6", topn=9)] == [0.0] * 4
    assert kv.most_similar("w2") == []


def test_changed_vectors_are_seen(kv: KeyedVectors) -> None:
    kv.most_similar("w1")
    kv.add_vectors(["twin"], kv["w1"] * 3)
    assert kv.most_similar("w1")[0] == ("twin", pytest.approx(1, abs=1e-6))
    kv.vectors = kv.vectors[::-1].copy()
    assert kv.similar_by_vector(kv["w3"])[0][0] == "w3"


@pytest.mark.parametrize("scale", [1e20, 1e-24])
def test_most_similar_at_any_scale(scale):
    words = KeyedVectors(2)
    words.add_vectors(["a", "b"], [[1, 0], [scale, scale]])
    assert words.most_similar("a")[0][1] == pytest.approx(0.5**0.5, rel=1e-6)
    assert words.most_similar("b")[0][1] == pytest.approx(words.similarity("a", "b"), rel=1e-6)


@pytest.mark.peer
def test_gensim_gives_the_same_answers() -> None:
    kv = make(500, 100)
    twin = gensim_twin(kv)
    vector = np.random.default_rng(5).standard_normal(100).astype(np.float32)
    questions: list[dict[str, Any]] = [
        {"positive": "w3"},
        {"positive": 3},
        {"positive": vector},
        {"positive": kv.vectors[:3].copy()},
        {"positive": [vector, "w5"]},
        {"positive": ["w1", "w2"], "negative": ["w3"]},
        {"positive": ["w1", 2], "negative": "w3", "topn": 25},
        {"positive": [("w1", 0.3), ("w2", 2.0), (vector, -1.0)], "negative": [("w9", -0.2)]},
        {"positive": "w3", "restrict_vocab": 40},
        {"positive": "w3", "clip_start": 100, "clip_end": 200},
        {"positive": "w3", "clip_start": 100, "restrict_vocab": 50},
        {"positive": "w3", "topn": 1000},
        {"negative": ["w3"]},
    ]
    for question in questions:
        got, want = kv.most_similar(**question), twin.most_similar(**question)
        assert [key for key, _ in got] == [key for key, _ in want], question
        np.testing.assert_allclose([s for _, s in got], [s for _, s in want], rtol=0, atol=1e-6)
        question["topn"] = None
        np.testing.assert_allclose(
            kv.most_similar(**question), twin.most_similar(**question), rtol=0, atol=1e-6
        )
    for a, b in [("w1", "w2"), ("w7", 300), (4, 4)]:
        assert kv.similarity(a, b) == pytest.approx(float(twin.similarity(a, b)), abs=1e-6)
        assert kv.distance(a, b) == pytest.approx(float(twin.distance(a, b)), abs=1e-6)
    sets = (["w1", "w2", "missing"], ["w3", "w4"])
    assert kv.n_similarity(*sets) == pytest.approx(float(twin.n_similarity(*sets)), abs=1e-6)
    np.testing.assert_allclose(kv.get_normed_vectors(), twin.get_normed_vectors(), atol=1e-6)
    for question in ({"positive": "x"}, {"positive": []}):
        with pytest.raises((KeyError, ValueError)) as ours:
            kv.most_similar(**question)
        with pytest.raises((KeyError, ValueError)) as theirs:
            twin.most_similar(**question)
        assert issubclass(ours.type, theirs.type)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gensim_gives_the_same_answers_to_other_questions() -> None:
    kv = make(300, 40)
    twin = gensim_twin(kv)
    vector = np.random.default_rng(5).standard_normal(40).astype(np.float32)
    words = ["w1", "w5", "w7", "w200", "missing"]
    close = {"rtol": 0, "atol": 2e-6}
    np.testing.assert_allclose(kv.distances("w3"), twin.distances("w3"), **close)
    np.testing.assert_allclose(kv.distances(vector), twin.distances(vector), **close)
    np.testing.assert_allclose(
        kv.distances("w3", words[:4]), twin.distances("w3", words[:4]), **close
    )
    np.testing.assert_allclose(
        KeyedVectors.cosine_similarities(vector, kv.vectors),
        twin.cosine_similarities(vector, kv.vectors),
        **close,
    )
    assert kv.closer_than("w3", "w9") == twin.closer_than("w3", "w9")
    assert kv.rank("w3", "w9") == twin.rank("w3", "w9")
    assert kv.closer_than("w3", "w3") == []
    assert kv.most_similar_to_given("w3", words[:4]) == twin.most_similar_to_given("w3", words[:4])
    assert kv.doesnt_match(words) == twin.doesnt_match(words)
    for use_norm in (True, False):
        ours, theirs = (one.rank_by_centrality(words, use_norm) for one in (kv, twin))
        assert [word for _, word in ours] == [word for _, word in theirs]
        np.testing.assert_allclose(
            [s for s, _ in ours], [s for s, _ in theirs], rtol=1e-5, atol=2e-6
        )
    assert kv.relative_cosine_similarity("w3", "w9") == pytest.approx(
        float(twin.relative_cosine_similarity("w3", "w9")), abs=2e-6
    )
    for options in (
        {},
        {"weights": [1, -2, 3, 0.5, 9]},
        {"pre_normalize": False},
        {"post_normalize": True, "weights": np.ones(5) * 3},
    ):
        got, want = kv.get_mean_vector(words, **options), twin.get_mean_vector(words, **options)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for question in (
        {"positive": "w3"},
        {"positive": ["w1", "w2"], "negative": ["w3"]},
        {"positive": ["w1"], "negative": ["w3", "w4"], "topn": 300},
        {"positive": [kv.get_vector("w1", norm=True)]},
    ):
        got, want = kv.most_similar_cosmul(**question), twin.most_similar_cosmul(**question)
        assert [key for key, _ in got] == [key for key, _ in want]
        np.testing.assert_allclose([s for _, s in got], [s for _, s in want], rtol=1e-4)
        question["topn"] = None
        np.testing.assert_allclose(
            kv.most_similar_cosmul(**question), twin.most_similar_cosmul(**question), rtol=1e-4
        )
    for call, error in (
        (lambda one: one.get_mean_vector([]), ValueError),
        (lambda one: one.get_mean_vector(["w1"], weights=[1, 2]), ValueError),
        (lambda one: one.get_mean_vector(["x"], ignore_missing=False), KeyError),
        (lambda one: one.rank_by_centrality(["x"]), ValueError),
        (lambda one: one.most_similar_cosmul("x"), KeyError),
        (lambda one: one.most_similar_cosmul(negative="w1"), ValueError),
        (lambda one: one.distances("x"), KeyError),
        (lambda one: one.closer_than("x", "w1"), KeyError),
        (lambda one: one.relative_cosine_similarity("w1", "w2", 0), ValueError),
    ):
        for one in (kv, twin):
            with pytest.raises(error):
                call(one)
    with pytest.raises(ValueError, match="doesnt_match: words must have at least one"):
        kv.doesnt_match([])
    with pytest.raises(ValueError, match=r"none of the words is present: \['x', 'y'\]"):
        kv.doesnt_match(["x", "y"])


# Word mover's distance


@pytest.mark.peer
def test_word_movers_distance_is_that_of_pot() -> None:
    pytest.importorskip("ot")
    kv = make(120, 30)
    twin = gensim_twin(kv)
    rng = np.random.default_rng(1)
    for length in (1, 2, 3, 8, 30, 100):
        for norm in (True, False):
            one, two = ([f"w{row}" for row in rng.integers(0, 130, n)] for n in (length, 7))
            want = twin.wmdistance(one, two, norm=norm)
            # The peer takes float32 vectors; cosines of both lie within rounding.
            assert kv.wmdistance(one, two, norm=norm) == pytest.approx(float(want), rel=1e-6)


def test_word_movers_distance() -> None:
    kv = make()
    assert kv.wmdistance(["w1", "w1", "w2"], ["w2", "w1", "w1"]) == 0
    assert kv.wmdistance(["w1", "missing"], ["w1"]) == 0
    assert kv.wmdistance(["missing"], ["w1"]) == kv.wmdistance([], []) == float("inf")
    far = np.linalg.norm(kv["w1"].astype(float) - kv["w2"].astype(float))
    assert kv.wmdistance(["w1"], ["w2", "w1"], norm=False) == pytest.approx(far / 2, rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_transport_against_all_assignments(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(30):
        costs = rng.integers(0, 6, (size, size)).astype(float)  # many ties
        best = min(
            sum(costs[i, j] for i, j in enumerate(order))
            for order in itertools.permutations(range(size))
        )
        assert transport_cost(costs, [7] * size, [3] * size) == pytest.approx(best / size)


def test_what_transport_refuses() -> None:
    for costs, supply, demand in (
        ([[1.0]], [1, 2], [1]),
        ([[1.0]], [0], [1]),
        ([[-1.0]], [1], [1]),
        (np.zeros((0, 0)), [], []),
    ):
        with pytest.raises(ValueError, match="transport_cost"):
            transport_cost(np.asarray(costs), supply, demand)
    assert np.isnan(transport_cost(np.array([[np.nan]]), [1], [1]))


# Many queries at once, choices of rows, small dtypes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_batch_gives_the_bits_of_single_questions(dtype: Any) -> None:
    kv = make(3000, 33).astype(dtype)
    rng = np.random.default_rng(2)
    vector = rng.standard_normal(33)
    queries: list[Any] = [f"w{row}" for row in range(40)]
    queries += [5, vector, ["w1", vector], (["w1", "w2"], ["w3"]), ("w4", "w9"), ("w1", None)]
    batch = kv.most_similar_batch(queries, topn=7)
    assert len(batch) == len(queries)
    for query, got in zip(queries, batch, strict=True):
        pair = query if isinstance(query, tuple) else (query, None)
        assert got == kv.most_similar(*pair, topn=7)
        scores = kv.most_similar(*pair, topn=None)
        assert [score for _, score in got] == [float(scores[kv.get_index(key)]) for key, _ in got]
        assert got == kv.most_similar_batch([query], topn=50, threads=1)[0][:7]
    vectors = rng.standard_normal((20, 33))
    assert kv.most_similar_batch(vectors)[3] == kv.most_similar(vectors[3])
    assert kv.most_similar_batch([]) == []
    assert kv.most_similar_batch(["w1", "w2"], topn=0) == [[], []]
    assert kv.most_similar_batch(["w1"], restrict_vocab=9)[0] == kv.most_similar(
        "w1", restrict_vocab=9
    )
    with pytest.raises(TypeError, match="got one str"):
        kv.most_similar_batch("w1")
    with pytest.raises(TypeError, match=r"list of queries, got one vector \(33,\)"):
        kv.most_similar_batch(kv["w1"].astype(np.float32))
    with pytest.raises(TypeError, match="topn must be an integer, got None"):
        kv.most_similar_batch(["w1"], topn=None)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="'x' not present"):
        kv.most_similar_batch(["w1", "x"])
    with pytest.raises(ValueError, match="mean of nothing"):
        kv.most_similar_batch(["w1", []])


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_small_dtypes_answer_as_their_values_in_float32(dtype: Any) -> None:
    small = make(400, 50).astype(dtype)
    whole = small.astype(np.float32)
    for question in ({"positive": "w1"}, {"positive": ["w1", "w7"], "negative": [3]}):
        assert small.most_similar(**question) == whole.most_similar(**question)
        assert small.most_similar_cosmul(**question) == whole.most_similar_cosmul(**question)
    np.testing.assert_array_equal(small.distances("w5"), whole.distances("w5"))
    assert small.similarity("w1", "w2") == whole.similarity("w1", "w2")
    assert small.wmdistance(["w1", "w2"], ["w3"]) == whole.wmdistance(["w1", "w2"], ["w3"])
    assert small.doesnt_match(["w1", "w2", "w9"]) == whole.doesnt_match(["w1", "w2", "w9"])
    np.testing.assert_array_equal(
        small.get_mean_vector(["w1", "w2"]).astype(np.float32),
        whole.get_mean_vector(["w1", "w2"]).astype(small.get_mean_vector(["w1"]).dtype),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
def test_among_and_exclude(dtype: Any) -> None:
    kv = make(900, 33).astype(dtype)
    ranking = kv.most_similar("w0", topn=1000)
    rng = np.random.default_rng(3)
    for share in (0.02, 0.6):  # copied together, and masked
        chosen = {f"w{row}" for row in np.flatnonzero(rng.random(900) < share)} | {"w0"}
        want = [pair for pair in ranking if pair[0] in chosen]
        assert kv.most_similar("w0", among=chosen, topn=1000) == want
        assert kv.most_similar("w0", among=sorted(chosen), topn=5) == want[:5]
        rows = np.array([kv.get_index(key) for key in chosen])
        assert kv.most_similar("w0", among=rows, topn=5) == want[:5]
        assert kv.most_similar_batch(["w0", "w1"], among=rows, topn=5)[0] == want[:5]
        left = [pair for pair in ranking if pair[0] not in chosen]
        assert kv.most_similar("w0", exclude=chosen, topn=1000) == left
        assert kv.most_similar("w0", exclude=[*chosen, "missing"], topn=5) == left[:5]
        both = [pair for pair in want if pair[0] != want[0][0]]
        assert kv.most_similar("w0", among=chosen, exclude=want[0][0], topn=5) == both[:5]
        scores = kv.most_similar("w0", topn=None, among=chosen)
        assert set(np.flatnonzero(~np.isnan(scores))) == set(rows)
        assert (
            kv.most_similar("w0", among=chosen, clip_end=100)
            == [pair for pair in want if kv.get_index(pair[0]) < 100][:10]
        )
    with pytest.raises(KeyError, match="'missing' not present"):
        kv.most_similar("w0", among=["w1", "missing"])
    assert kv.most_similar("w0", among=[]) == []


def test_indexer() -> None:
    class Indexer:
        def most_similar(self, vector: Any, topn: int) -> Any:
            return vector, topn

    kv = make()
    vector, topn = kv.most_similar("w1", topn=4, indexer=Indexer())
    assert topn == 4
    np.testing.assert_allclose(vector, kv.get_vector("w1", norm=True), rtol=1e-6)


def test_own_distance_is_zero() -> None:
    kv = make(200, 33)
    kv["w9"] = np.zeros(33)
    for row, key in enumerate(kv.index_to_key):
        assert kv.distance(key, key) == 0
        assert kv.distances(key)[row] == kv.distances(key, [key])[0] == kv.distance(key, key)


def test_many_queries_are_answered_as_few(monkeypatch):
    kv = KeyedVectors(8)
    kv.add_vectors(range(50), np.random.default_rng(0).standard_normal((50, 8)))
    whole = kv.most_similar_batch(list(range(50)), topn=3)
    monkeypatch.setattr("firth.words.similarity._AT_ONCE", 7)
    assert kv.most_similar_batch(list(range(50)), topn=3) == whole
