"""A cosine knows no length: the same answers at both ends of every dtype's range."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from firth import KeyedVectors, Text
from keyed import make

ENDS = [
    *(("f8", scale) for scale in (2.0**-1015, 2.0**-680, 2.0**680, 2.0**1018)),
    *(("f4", scale) for scale in (2.0**-120, 2.0**100, 2.0**123)),
    *(("f2", scale) for scale in (2.0**-22, 2.0**13)),
    *(("i1", scale) for scale in (2.0**-120, 2.0**120)),
]
WORDS = ["a", "b", "c", "d", "e"]


def lengthened(dtype: str, scale: float) -> KeyedVectors:
    kv = KeyedVectors(2, dtype=dtype)
    kv.add_vectors(WORDS, np.array([[1, 1], [1, 0], [2, 2], [3, 1], [-2, 1]]) * scale)
    if kv.scales is not None:  # int8 has rounded the others; these are the same rows at each scale
        kv.vectors = np.array([[4, 4], [4, 0], [8, 8], [12, 4], [-8, 4]], np.int8)
        kv.scales = np.full(5, scale, np.float32)
    return kv


def answers(kv: KeyedVectors, tmp_path: Any) -> dict[str, Any]:
    """All results of a KeyedVectors that depend on directions only."""
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("a\tb\t3\na\tc\t9\nb\td\t5\nd\te\t1\n")
    quad = tmp_path / "quad.txt"
    quad.write_text(": s\nb a d c\na b c d\n")
    unit = KeyedVectors(2, dtype=kv.vectors.dtype)
    unit.add_vectors(WORDS, [[0, 0]] * 5)
    unit.vectors, unit.scales = kv.vectors.copy(), None if kv.scales is None else kv.scales.copy()
    unit.unit_normalize_all()
    texts = [Text(kv, words) for words in ("a b", "a b b a", "c", "d e nothing")]
    return {
        "similarity": [kv.similarity(one, two) for one in WORDS for two in WORDS],
        "distance": [kv.distance(one, two) for one in WORDS for two in WORDS],
        "distances": kv.distances("a").tolist(),
        "vector": kv.distances(kv.get_vector("c")).tolist(),
        "closer": [kv.closer_than("a", "d"), kv.rank("d", "e")],
        "given": kv.most_similar_to_given("a", "ce"),
        "most_similar": kv.most_similar("a"),
        "all": kv.most_similar(["a", "b"], ["e"], topn=None).tolist(),
        "by vector": kv.most_similar([kv.get_vector("a"), kv.get_vector("e")]),
        "batch": kv.most_similar_batch(["a", ["b", "d"], (["c"], ["b"])], topn=2),
        "cosmul": kv.most_similar_cosmul(["a", "b"], ["d"]),
        "n_similarity": kv.n_similarity(["a", "b"], ["d", "e"]),
        "mean": kv.get_mean_vector(["a", "d"], post_normalize=True).tolist(),
        "central": kv.rank_by_centrality(WORDS),
        "odd one": kv.doesnt_match(WORDS),
        "relative": kv.relative_cosine_similarity("a", "d", topn=3),
        "wmd": [kv.wmdistance("ab", "ce"), kv.wmdistance("a", "c")],
        "normed": [kv.get_vector(word, norm=True).tolist() for word in WORDS],
        "all normed": kv.get_normed_vectors().tolist(),
        "in place": unit._values().tolist(),
        "pairs": kv.evaluate_word_pairs(pairs),
        "analogies": [kv.evaluate_word_analogies(quad, similarity_function=f"most_similar{way}")
                      for way in ("", "_cosmul")],
        "texts": [one.similarity(two) for one in texts for two in texts],
    }  # fmt: skip


@pytest.mark.parametrize(("dtype", "scale"), ENDS)
def test_no_direction_depends_on_length(
    backend: str, dtype: str, scale: float, tmp_path: Any
) -> None:
    got = answers(lengthened(dtype, scale), tmp_path)
    for name, want in answers(lengthened(dtype, 1.0), tmp_path).items():
        assert got[name] == want, name
    similarity = dict(zip(itertools.product(WORDS, WORDS), got["similarity"], strict=True))
    assert similarity["a", "c"] == similarity["a", "a"] == 1
    assert similarity["b", "e"] == pytest.approx(-2 / 5**0.5, rel=1e-15)
    np.testing.assert_allclose(np.linalg.norm(got["in place"], axis=1), 1, atol=2.0**-10)
    assert got["wmd"][1] == 0


@pytest.mark.parametrize(("dtype", "scale"), ENDS)
def test_cosine_similarities_of_any_length(backend: str, dtype: str, scale: float) -> None:
    if dtype == "i1":
        dtype, scale = "i8", 2.0**40
    rows = (np.array([[1, 1], [1, 0], [2, 2], [0, 0], [-3, -3]]) * scale).astype(dtype)
    want = [1, 0.5**0.5, 1, 0, -1]
    got = KeyedVectors.cosine_similarities(rows[0], rows)
    assert got.dtype == (np.float32 if dtype in ("f2", "f4") else np.float64)
    np.testing.assert_allclose(got, want, rtol=np.finfo(got.dtype).eps)
    assert got[[0, 2, 3, 4]].tolist() == [1, 1, 0, -1]
    mixed = KeyedVectors.cosine_similarities(rows[0].astype("f8"), rows)
    np.testing.assert_allclose(mixed, want, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
def test_equal_and_parallel_vectors(backend: str, dtype: str) -> None:
    """Cosine exactly 1 (-1) and distance exactly 0 in every function, and never above 1."""
    plain = make(40, 17, np.float32, seed=3)
    kv = KeyedVectors(17, dtype=dtype)
    kv.add_vectors(plain.index_to_key, plain.vectors)
    kv.add_vectors([f"-{key}" for key in plain.index_to_key], -kv._values())
    kv.add_vectors([f"2{key}" for key in plain.index_to_key], 2 * kv._values(slice(0, 40)))
    for key in plain.index_to_key:
        assert kv.similarity(key, f"2{key}") == kv.similarity(f"2{key}", key) == 1
        assert kv.similarity(key, f"-{key}") == -1
        assert kv.distance(key, f"2{key}") == 0
        assert kv.n_similarity([key], [key, f"2{key}", key]) == 1
        assert kv.n_similarity([f"-{key}"], [key] * 3) == -1
        assert kv.wmdistance([key], [f"2{key}", key]) == 0
        assert Text(kv, [key]).similarity(Text(kv, [key] * 3)) == 1
        assert Text(kv, [key, "w0"]).similarity(Text(kv, [key, "w0"] * 3)) == 1
        assert kv.distances(key, [f"2{key}", f"-{key}"]).tolist() == [0, 2]
        assert kv.distances(kv.get_vector(f"2{key}"), [key]).tolist() == [0]
        assert dict(kv.most_similar(key))[f"2{key}"] == 1
        assert kv.rank_by_centrality([key, f"2{key}"]) == [(1, key), (1, f"2{key}")]
    values = kv._values()
    for row in values:
        cosines = KeyedVectors.cosine_similarities(row, values)
        assert cosines.max() == 1
        assert cosines.min() == -1


def test_a_mean_does_not_overflow() -> None:
    kv = KeyedVectors(2, dtype="f8")
    kv.add_vectors(["a", "b"], np.array([[1.7, 1.0], [1.7, 0.5]]) * 1e308)
    mean = kv.get_mean_vector(["a", "b"], pre_normalize=False)
    np.testing.assert_allclose(mean, [1.7e308, 0.75e308], rtol=1e-15)
    assert kv.most_similar([kv["a"], kv["b"]])[0][1] > 0.98
    assert kv.wmdistance(["a"], ["b"], norm=False) == pytest.approx(0.5e308)
    assert Text(kv, "a b").vector.tolist() == mean.tolist()


def test_few_keys_in_many_allocated_rows(tmp_path):
    """Rows without a key are in no answer, however many they are."""
    few, words = KeyedVectors(8, count=100), list("abcdef")
    few.add_vectors(words, np.random.default_rng(0).standard_normal((6, 8)))
    full = KeyedVectors(8)
    full.add_vectors(words, few[words])
    questions, pairs = tmp_path / "questions", tmp_path / "pairs"
    questions.write_text(": s\na b c d\ne f a b\n")
    pairs.write_text("a\tb\t1\nc\td\t2\ne\tf\t4\n")
    for ask in (
        lambda kv: kv.most_similar("a", topn=20),
        lambda kv: kv.most_similar_batch(words),
        lambda kv: kv.most_similar_cosmul(["a", "b"], ["c"]),
        lambda kv: kv.closer_than("a", "b"),
        lambda kv: kv.distances("a")[:6].tolist(),
        lambda kv: kv.most_similar("a", topn=None)[:6].tolist(),
        lambda kv: kv.evaluate_word_pairs(pairs),
        lambda kv: kv.evaluate_word_analogies(questions),
        lambda kv: kv.evaluate_word_analogies(questions, similarity_function="most_similar_cosmul"),
    ):
        assert ask(few) == ask(full)
    assert np.isnan(few.distances("a")[6:]).all()
