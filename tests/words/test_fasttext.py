"""FastText: vectors through n-grams, against plain Python, gensim and fastText."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.words import FastTextKeyedVectors
from firth.words.subwords import ngram_hash, ngrams

WORDS = ["the", "cat", "sat", "на", "ковре", "テスト", "🚑🚒", "a", "mat.", "of the", "</s>"]


def make(bucket: int = 50, dim: int = 20, words: list[str] = WORDS) -> FastTextKeyedVectors:
    kv = FastTextKeyedVectors(dim, 2, 5, bucket)
    kv.index_to_key = list(words)
    kv.key_to_index = {word: row for row, word in enumerate(words)}
    kv.resize_vectors(seed=3)
    return kv


def mean(kv: FastTextKeyedVectors, word: str) -> np.ndarray[Any, Any]:
    """A word's vector by definition, in float64."""
    hashes = [ngram_hash(n) % kv.bucket for n in ngrams(word.encode(), kv.min_n, kv.max_n)]
    rows = list(kv.vectors_ngrams[hashes].astype(np.float64))
    if word in kv.key_to_index:
        rows.append(kv.vectors_vocab[kv.key_to_index[word]].astype(np.float64))
    return np.sum(rows, axis=0) / len(rows) if rows else np.zeros(kv.vector_size)


def close(got: Any, want: Any) -> None:
    """To float32's rounding of up to 40 additions of numbers below 1."""
    np.testing.assert_allclose(got, want, rtol=0, atol=40 * 2**-24)


def test_vectors_are_means() -> None:
    kv = make()
    assert kv.vectors.shape == kv.vectors_vocab.shape == (len(WORDS), 20)
    assert kv.vectors_ngrams.shape == (50, 20)
    for word in [*WORDS, "unseen", "", "коврик"]:
        close(kv[word], mean(kv, word))
    close(kv["</s>"], kv.vectors_vocab[-1])
    close(kv[["cat", "dog", 0, "fish"]], [kv["cat"], kv["dog"], kv["the"], kv["fish"]])
    assert kv[[]].shape == (0, 20)
    assert np.linalg.norm(kv.get_vector("dog", norm=True)) == pytest.approx(1, abs=1e-6)
    assert (kv.get_vector("", norm=True) == 0).sum() in (0, 20)


def test_membership() -> None:
    kv = make()
    assert "unseen" in kv
    assert not kv.has_index_for("unseen")
    assert "unseen" not in kv.key_to_index
    with pytest.raises(KeyError):
        kv[99]
    bare = make(bucket=0)
    assert "unseen" not in bare
    assert "cat" in bare
    np.testing.assert_array_equal(bare.vectors, bare.vectors_vocab)
    with pytest.raises(KeyError, match="unseen"):
        bare["unseen"]
    with pytest.raises(KeyError, match="unseen"):
        bare[["cat", "unseen"]]


def test_questions_about_unseen_words() -> None:
    kv = make()
    cosine = kv["dog"] @ kv["cat"] / np.linalg.norm(kv["dog"]) / np.linalg.norm(kv["cat"])
    assert kv.similarity("dog", "cat") == pytest.approx(cosine, abs=1e-6)
    assert kv.similarity("dog", "dog") == 1
    best = kv.most_similar("cats")
    assert best == kv.most_similar(positive=["cats"])
    assert len(best) == 10
    assert "cat" not in dict(kv.most_similar(["cats", "cat"], topn=20))
    assert kv.n_similarity(["dog"], ["dogs", "cat"]) == pytest.approx(
        kv.n_similarity(["dogs", "cat"], ["dog"])
    )


def test_sentence_vector() -> None:
    kv = make()
    words = ["cat", "dog", "ковре"]
    want = np.mean([kv.get_vector(word, norm=True) for word in words], axis=0)
    close(kv.get_sentence_vector(words), want)
    kv.vectors_ngrams[:] = 0
    close(kv.get_sentence_vector(["cat", "dog"]), kv.get_vector("cat", norm=True))
    close(kv.get_sentence_vector(["dog"]), 0)
    with pytest.raises(ValueError, match="no words"):
        kv.get_sentence_vector([])


def test_growing_keeps_rows_and_ngrams() -> None:
    kv = make()
    vocab, buckets = kv.vectors_vocab.copy(), kv.vectors_ngrams
    kv.index_to_key.append("new")
    kv.key_to_index["new"] = len(WORDS)
    kv.resize_vectors(seed=4)
    np.testing.assert_array_equal(kv.vectors_vocab[:-1], vocab)
    assert kv.vectors_ngrams is buckets
    assert 0 < np.abs(kv.vectors_vocab[-1]).max() <= 1 / 20
    close(kv["new"], mean(kv, "new"))


def test_words_of_another_encoding() -> None:
    kv = make(words=["a\\xff", "xy"])
    kv.raw_words["a\\xff"] = b"a\xff"
    kv.adjust_vectors()
    ids = [ngram_hash(n) % 50 for n in ngrams(b"a\xff", 2, 5)]
    close(kv["a\\xff"], (kv.vectors_ngrams[ids].sum(0) + kv.vectors_vocab[0]) / (len(ids) + 1))
    kv.encoding = "cp852"
    ids = [ngram_hash(n) % 50 for n in ngrams("žluť".encode("cp852"), 2, 5)]
    close(kv["žluť"], kv.vectors_ngrams[ids].mean(0))
    close(kv["テスト"], kv.vectors_ngrams[kv.subwords(["テスト"])[1]].mean(0))


@pytest.mark.peer
@pytest.mark.parametrize("bucket", [0, 7, 50])
def test_gensim_has_the_same_vectors(bucket: int) -> None:
    gensim = pytest.importorskip("gensim.models.fasttext")
    words = [word for word in WORDS if word != "</s>"]  # gensim gives it n-grams
    theirs = gensim.FastTextKeyedVectors(20, 2, 5, bucket)
    theirs.index_to_key = list(words)
    theirs.key_to_index = {word: row for row, word in enumerate(words)}
    theirs.resize_vectors(seed=3)
    ours = make(bucket=bucket, words=words)
    np.testing.assert_array_equal(ours.vectors_vocab, theirs.vectors_vocab)
    np.testing.assert_array_equal(ours.vectors_ngrams, theirs.vectors_ngrams)
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    for mine, other in zip(ours.buckets_word, theirs.buckets_word, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == np.uint32
    if not bucket:
        return
    for word in ["dog", "cats", "", "коврик", "🚒", "of", "x" * 40]:
        np.testing.assert_array_equal(ours[word], theirs[word])
        if word:
            close(ours.get_vector(word, norm=True), theirs.get_vector(word, norm=True))
    close(ours.get_sentence_vector(["cat", "dog"]), theirs.get_sentence_vector(["cat", "dog"]))
    for asked in (["cats"], ["cat", "dog"]):
        mine, other = ours.most_similar(asked, topn=5), theirs.most_similar(asked, topn=5)
        assert [word for word, _ in mine] == [word for word, _ in other]
        close([score for _, score in mine], [score for _, score in other])
