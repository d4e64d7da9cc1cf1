"""KeyedVectors: its own rules, and gensim's answers on the same vectors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import spiky, sum_tolerance
from firth import FormatError, KeyedVectors

COURSE = {
    "king": [0.8, 0.65, 0.1],
    "queen": [0.78, 0.66, 0.12],
    "man": [0.9, 0.1, 0.1],
    "woman": [0.88, 0.12, 0.12],
    "apple": [0.1, 0.8, 0.9],
}


def make(count: int = 50, d: int = 20, dtype: Any = np.float32, seed: int = 0) -> KeyedVectors:
    kv = KeyedVectors(d, dtype=dtype)
    x = spiky(np.random.default_rng(seed), (count, d), dtype)
    counts = np.random.default_rng(seed).integers(1, 20, count)
    kv.add_vectors([f"w{row}" for row in range(count)], x, {"count": counts})
    return kv


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


# Looking up and adding


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
    kv.fill_norms()
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


# Similarity


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


# Files


def equal(a: KeyedVectors, b: KeyedVectors) -> bool:
    assert a.index_to_key == b.index_to_key
    assert a.key_to_index == b.key_to_index
    assert a.vector_size == b.vector_size
    assert a.vectors.dtype == b.vectors.dtype
    np.testing.assert_array_equal(a.vectors, b.vectors)
    assert a.expandos.keys() == b.expandos.keys()
    for name in a.expandos:
        np.testing.assert_array_equal(a.expandos[name], b.expandos[name])
    assert a.most_similar(a.index_to_key[0]) == b.most_similar(a.index_to_key[0])
    return True


@pytest.mark.parametrize("mmap", [None, "r", "c"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_save_and_load(tmp_path: Path, mmap: Any, dtype: Any) -> None:
    kv = make(dtype=dtype)
    kv.set_vecattr("w1", "weight", 0.5)
    kv.save(tmp_path / "f")
    loaded = KeyedVectors.load(tmp_path / "f", mmap=mmap)
    assert equal(kv, loaded)
    assert isinstance(loaded.vectors, np.memmap) == (mmap is not None)
    loaded.add_vectors(["more"], np.zeros((1, 20)))
    assert loaded.vectors.flags.writeable


def test_copies(kv: KeyedVectors) -> None:
    assert equal(copy.deepcopy(kv), kv)
    assert equal(pickle.loads(pickle.dumps(kv)), kv)


def test_integer_keys_and_empty(tmp_path: Path) -> None:
    kv = KeyedVectors(2)
    kv.add_vectors(["a", 7, "7"], np.arange(6).reshape(3, 2))
    kv.save(tmp_path / "f")
    assert KeyedVectors.load(tmp_path / "f").key_to_index == {"a": 0, 7: 1, "7": 2}
    KeyedVectors(3).save(tmp_path / "f")
    for mmap in (None, "r"):
        assert len(KeyedVectors.load(tmp_path / "f", mmap=mmap)) == 0  # type: ignore[arg-type]
    assert KeyedVectors(3).most_similar([np.ones(3)]) == []


def test_what_cannot_be_saved(kv: KeyedVectors, tmp_path: Path) -> None:
    kv.set_vecattr("w1", "label", "noun")
    with pytest.raises(TypeError, match="'label' must be numeric"):
        kv.save(tmp_path / "f")
    with pytest.raises(TypeError, match="keys must be str or int"):
        KeyedVectors(3, count=2).save(tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_other_files(kv: KeyedVectors, tmp_path: Path) -> None:
    kv.save_word2vec_format(tmp_path / "text")
    with pytest.raises(FormatError, match="is not a firth file"):
        KeyedVectors.load(tmp_path / "text")
    kv.save(tmp_path / "f")
    with pytest.raises(FormatError, match="two whole numbers"):
        KeyedVectors.load_word2vec_format(tmp_path / "f")
    whole = bytearray((tmp_path / "f").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "f").write_bytes(whole)
    with pytest.raises(FormatError, match="checksum"):
        KeyedVectors.load(tmp_path / "f")


@pytest.mark.parametrize("binary", [False, True])
def test_word2vec_format(kv: KeyedVectors, tmp_path: Path, binary: bool) -> None:
    path, vocabulary = tmp_path / "v", tmp_path / "counts"
    kv.save_word2vec_format(path, fvocab=vocabulary, binary=binary)
    got = KeyedVectors.load_word2vec_format(path, fvocab=vocabulary, binary=binary)
    counts = [kv.get_vecattr(key, "count") for key in got.index_to_key]
    assert counts == sorted(counts, reverse=True)
    assert [got.get_vecattr(key, "count") for key in got.index_to_key] == counts
    np.testing.assert_array_equal(got.vectors, kv[got.index_to_key])
    assert got.next_index == len(got)

    made_up = KeyedVectors.load_word2vec_format(path, binary=binary, limit=3, datatype=np.float64)
    assert made_up.expandos["count"].tolist() == [3, 2, 1]
    assert made_up.vectors.dtype == np.float64

    vocabulary.write_text("w1 5\n")
    with pytest.warns(UserWarning, match="lacks 49 words"):
        got = KeyedVectors.load_word2vec_format(path, fvocab=vocabulary, binary=binary)
    assert got.get_vecattr("w1", "count") == 5
    assert got.get_vecattr("w2", "count") == 0


def test_word2vec_format_options(kv: KeyedVectors, tmp_path: Path) -> None:
    path = tmp_path / "v"
    kv.save_word2vec_format(path, write_header=False, sort_attr="nothing")
    assert KeyedVectors.load_word2vec_format(path, no_header=True).key_to_index == kv.key_to_index
    with pytest.raises(ValueError, match="fvocab needs the attribute 'nothing'"):
        kv.save_word2vec_format(path, fvocab=tmp_path / "c", sort_attr="nothing")
    with pytest.raises(NotImplementedError):
        KeyedVectors.load_word2vec_format(path, binary=True, no_header=True)
    kv.save_word2vec_format(path, total_vec=51)
    with pytest.raises(EOFError):
        KeyedVectors.load_word2vec_format(path)


# gensim


def gensim_twin(kv: KeyedVectors) -> Any:
    gensim = pytest.importorskip("gensim.models")
    twin = gensim.KeyedVectors(kv.vector_size, dtype=kv.vectors.dtype)
    twin.add_vectors(kv.index_to_key, kv.vectors)
    for row, count in enumerate(kv.expandos["count"]):
        twin.set_vecattr(row, "count", int(count))
    return twin


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
        assert ours.type is theirs.type


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO")  # gensim leaves a file open
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"binary": True},
        {"write_header": False},
        {"prefix": "*dt_", "total_vec": 1000},
        {"sort_attr": "nothing"},
    ],
)
def test_gensim_writes_the_same_bytes_and_reads_ours(tmp_path: Path, options: Any) -> None:
    kv = make(300, 30)
    kv.vectors[0, :6] = [0, -0.0, 1e-5, 1e-38, 3e38, 123456789]
    kv.vectors[1, :3] = [np.nan, np.inf, -np.inf]
    twin = gensim_twin(kv)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with np.errstate(all="ignore"):
        for append in (False, True):
            kv.save_word2vec_format(ours, append=append, **options)
            twin.save_word2vec_format(str(theirs), append=append, **options)
            assert ours.read_bytes() == theirs.read_bytes()
    if "sort_attr" not in options:
        kv.save_word2vec_format(ours, fvocab=tmp_path / "c", **options)
        twin.save_word2vec_format(str(theirs), fvocab=str(tmp_path / "d"), **options)
        assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    if "total_vec" in options:
        return
    kv.save_word2vec_format(ours, **options)
    reading = {
        "binary": options.get("binary", False),
        "no_header": not options.get("write_header", True),
    }
    read_by_us = KeyedVectors.load_word2vec_format(ours, **reading)
    read_by_gensim = type(twin).load_word2vec_format(str(ours), **reading)
    assert read_by_us.index_to_key == read_by_gensim.index_to_key
    np.testing.assert_array_equal(read_by_us.vectors, read_by_gensim.vectors)
    np.testing.assert_array_equal(read_by_us.expandos["count"], read_by_gensim.expandos["count"])


@pytest.mark.parametrize("scale", [1e20, 1e-24])
def test_most_similar_at_any_scale(scale):
    words = KeyedVectors(2)
    words.add_vectors(["a", "b"], [[1, 0], [scale, scale]])
    assert words.most_similar("a")[0][1] == pytest.approx(0.5**0.5, rel=1e-6)
    assert words.most_similar("b")[0][1] == pytest.approx(words.similarity("a", "b"), rel=1e-6)


def test_keys_that_cannot_be_leave_nothing_behind():
    words = KeyedVectors(2)
    with pytest.raises(TypeError):
        words.add_vectors(["c", ["d"]], np.ones((2, 2)))
    assert len(words) == 0
    assert words.vectors.shape == (0, 2)


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(TypeError, match="floats"):
        KeyedVectors(3, dtype="i4").save(tmp_path / "x")
    with pytest.raises(ValueError, match="without a key"):
        KeyedVectors(3, count=2).save_word2vec_format(tmp_path / "x")
    assert not list(tmp_path.iterdir())
