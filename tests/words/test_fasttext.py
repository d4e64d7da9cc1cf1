"""FastText: vectors through n-grams, against plain Python, gensim and fastText."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FastText, FormatError, KeyedVectors, Word2Vec
from firth.formats import fasttext as files
from firth.words import (
    FastTextKeyedVectors,
    load_facebook_model,
    load_facebook_vectors,
    save_facebook_model,
)
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


# The model without training


SENTENCES = [["human", "interface", "computer"], ["graph", "trees"], ["graph", "minors", "trees"]]
NEW = [["computer", "artificial", "intelligence"], ["artificial", "graph"]]


def built(**settings: Any) -> FastText:
    model = FastText(vector_size=12, min_count=1, bucket=200, seed=7, **settings)
    model.build_vocab(SENTENCES)
    return model


def equal(first: FastTextKeyedVectors, second: FastTextKeyedVectors) -> None:
    assert first.index_to_key == second.index_to_key
    sizes = [(kv.min_n, kv.max_n, kv.bucket, kv.encoding, kv.raw_words) for kv in (first, second)]
    assert sizes[0] == sizes[1]
    for name in ("vectors", "vectors_vocab", "vectors_ngrams", "vectors_vocab_lockf"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
    np.testing.assert_array_equal(first["unseen"], second["unseen"])


def test_build_vocab_and_update() -> None:
    model = built()
    wv = model.wv
    assert isinstance(wv, FastTextKeyedVectors)
    assert wv.vectors_vocab.shape == wv.vectors.shape == (len(wv), 12)
    assert wv.vectors_ngrams.shape == (200, 12)
    close(wv["graph"], mean(wv, "graph"))
    vocab, ngrams_before = wv.vectors_vocab.copy(), wv.vectors_ngrams.copy()
    size = len(wv)
    model.build_vocab(NEW, update=True)
    assert len(wv) == size + 2
    np.testing.assert_array_equal(wv.vectors_vocab[:size], vocab)
    np.testing.assert_array_equal(wv.vectors_ngrams, ngrams_before)
    assert wv.get_vecattr("graph", "count") == 3
    close(wv["artificial"], mean(wv, "artificial"))
    assert len(model.syn1neg) == size + 2


def test_no_ngrams_is_word2vec() -> None:
    model = built(min_n=4, max_n=3)
    assert model.wv.bucket == 0
    assert "unseen" not in model.wv
    np.testing.assert_array_equal(model.wv.vectors, model.wv.vectors_vocab)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"word_ngrams": 2}, NotImplementedError),
        ({"bucket": -1}, ValueError),
        ({"bucket": 2**31}, ValueError),
        ({"min_n": 1.5}, ValueError),
        ({"max_n": None}, TypeError),
        ({"vector_size": 0}, ValueError),
    ],
)
def test_bad_parameters(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        FastText(**settings)


@pytest.mark.parametrize("hs", [0, 1])
def test_model_in_one_file(tmp_path: Path, hs: int) -> None:
    model = built(hs=hs, sg=1)
    model.wv.raw_words["odd"] = b"\xff"
    model.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    loaded = FastText.load(tmp_path / "model")
    equal(loaded.wv, model.wv)
    for name in ("sg", "hs", "window", "min_count", "alpha", "ns_exponent", "corpus_count"):
        assert getattr(loaded, name) == getattr(model, name), name
    np.testing.assert_array_equal(loaded.syn1neg, model.syn1neg)
    np.testing.assert_array_equal(loaded.syn1, model.syn1)
    mapped = FastText.load(tmp_path / "model", mmap="r")
    equal(mapped.wv, model.wv)
    assert isinstance(mapped.wv.vectors_ngrams, np.memmap)
    equal(FastTextKeyedVectors.load(tmp_path / "model"), model.wv)
    found = KeyedVectors.load(tmp_path / "model")
    assert isinstance(found, FastTextKeyedVectors)
    with pytest.raises(AttributeError, match="holds a FastText model"):
        Word2Vec.load(tmp_path / "model")


def test_vectors_in_one_file(tmp_path: Path) -> None:
    kv = make()
    kv.encoding = "cp1252"
    kv.save(tmp_path / "vectors")
    for mmap in (None, "r", "c"):
        equal(FastTextKeyedVectors.load(tmp_path / "vectors", mmap=mmap), kv)
    equal(KeyedVectors.load(tmp_path / "vectors"), kv)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        FastText.load(tmp_path / "vectors")
    plain = KeyedVectors(20)
    plain.save(tmp_path / "plain")
    with pytest.raises(FormatError, match="not word vectors with n-grams"):
        FastTextKeyedVectors.load(tmp_path / "plain")
    kv.vectors_ngrams = kv.vectors_ngrams[:-1]
    kv.save(tmp_path / "damaged")
    with pytest.raises(FormatError, match="wanted"):
        FastTextKeyedVectors.load(tmp_path / "damaged")
    kv = make()
    kv.encoding = "no such"
    kv.save(tmp_path / "damaged")
    with pytest.raises(FormatError):
        FastTextKeyedVectors.load(tmp_path / "damaged")


# Facebook's files


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "settings", [{}, {"sg": 1}, {"hs": 1, "negative": 0}, {"min_n": 0, "max_n": 0}]
)
def test_facebook_round_trip(tmp_path: Path, settings: dict[str, Any], suffix: str) -> None:
    model = built(**settings)
    model.syn1neg[:] = np.random.default_rng(0).random(model.syn1neg.shape)
    path, again = tmp_path / f"model.bin{suffix}", tmp_path / "again.bin"
    save_facebook_model(model, path)
    loaded = load_facebook_model(path)
    equal(loaded.wv, model.wv)
    np.testing.assert_array_equal(loaded.syn1neg, model.syn1neg)
    np.testing.assert_array_equal(loaded.syn1, model.syn1)
    for name in ("sg", "hs", "negative", "window", "min_count", "sample", "epochs"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.corpus_total_words == model.corpus_total_words == 8
    np.testing.assert_array_equal(loaded.wv.expandos["sample_int"], model.wv.expandos["sample_int"])
    save_facebook_model(loaded, again)
    if not suffix:
        assert again.read_bytes() == path.read_bytes()
    for mmap in (False, True):
        equal(load_facebook_vectors(again, mmap=mmap), model.wv)
    mapped = load_facebook_vectors(again, mmap=True)
    before = again.read_bytes()
    mapped.vectors_vocab[:] = 0
    assert again.read_bytes() == before


def test_facebook_words_of_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    save_facebook_model(built(), path)
    content = files.read(path)
    words = content.entries()
    words[1], words[2] = b"ab\xe6", "řeč".encode("cp852")
    content.text = np.frombuffer(b"".join(words), np.uint8)
    content.ends = np.array([len(word) for word in words], np.int64).cumsum()
    files.write(path, content)
    model = load_facebook_model(path)
    assert model.wv.index_to_key[1] == "ab\\xe6"
    assert model.wv.raw_words["ab\\xe6"] == b"ab\xe6"
    ids = [ngram_hash(n) % 200 for n in ngrams(b"ab\xe6", 3, 6)]
    close(
        model.wv["ab\\xe6"],
        (model.wv.vectors_ngrams[ids].sum(0) + model.wv.vectors_vocab[1]) / (len(ids) + 1),
    )
    save_facebook_model(model, tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()
    czech = load_facebook_model(path, encoding="cp852")
    assert czech.wv.index_to_key[2] == "řeč"
    save_facebook_model(czech, tmp_path / "again.bin", encoding="cp852")
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


def test_facebook_refusals(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    with pytest.raises(ValueError, match="no vocabulary"):
        save_facebook_model(FastText(), path)
    save_facebook_model(built(), path)
    content = files.read(path)
    content.args.model = 3
    files.write(tmp_path / "supervised.bin", content)
    for load in (load_facebook_model, load_facebook_vectors):
        with pytest.raises((NotImplementedError, FormatError)):
            load(tmp_path / "supervised.bin")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(EOFError):
        load_facebook_model(path)


def test_huffman_tree_is_as_short_as_gensims() -> None:
    """Both are optimal codes, and each is a prefix code with every inner node used."""
    counts = [40, 17, 17, 9, 9, 9, 3, 1, 1, 1]
    model = FastText(hs=1, negative=0, vector_size=4, bucket=10, min_count=1)
    model.build_vocab_from_freq({f"w{i}": n for i, n in enumerate(counts)})
    ours = model.wv.expandos["code"]
    lengths = [len(code) for code in ours]
    held = model.wv.expandos["count"]
    super(FastText, model).create_binary_tree()
    theirs = [len(code) for code in model.wv.expandos["code"]]
    assert int((held * lengths).sum()) == int((held * theirs).sum())
    assert len({bytes(code) for code in ours}) == len(counts)
    assert sum(2.0**-length for length in lengths) == 1


# Peers


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    datapath = pytest.importorskip("gensim.test.utils").datapath
    path: Path = tmp_path_factory.mktemp("text") / "lee.txt"
    path.write_bytes(Path(datapath("lee_background.cor")).read_bytes() + b"ab\xe6 " * 10)
    return path


@pytest.mark.peer
@pytest.mark.parametrize(
    "settings",
    [{"model": "skipgram"}, {"model": "cbow"}, {"loss": "hs"}],  # few buckets: it says NaN
)
def test_fasttext_package_and_gensim_read_and_are_read(
    text: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    peer = pytest.importorskip("fasttext")
    # Fewer than 11 threads leave rows of the input as the memory was, NaN sometimes.
    theirs = peer.train_unsupervised(str(text), dim=4, epoch=1, thread=12, verbose=0, **settings)
    path, again = tmp_path / "theirs.bin", tmp_path / "ours.bin"
    theirs.save_model(str(path))
    model = load_facebook_model(path)
    save_facebook_model(model, again)
    assert again.read_bytes() == path.read_bytes()
    for reader in (peer.load_model(str(again)), theirs):
        for word in [*model.wv.index_to_key[:200], "zzunseen", "naïveté"]:
            if "\\x" in word or (word not in model.wv and not model.wv.bucket):
                continue
            if word in model.wv:
                close(model.wv[word], reader.get_word_vector(word))
    gensim = pytest.importorskip("gensim.models.fasttext").load_facebook_model(str(again))
    assert gensim.wv.index_to_key == model.wv.index_to_key
    for word in model.wv.index_to_key:
        if word != "</s>" and "\\x" not in word:
            np.testing.assert_array_equal(model.wv[word], gensim.wv[word])
    assert "ab\\xe6" in model.wv.key_to_index


@pytest.mark.peer
def test_hierarchical_softmax_of_facebook_has_its_own_tree(text: Path, tmp_path: Path) -> None:
    """Under fastText's tree a trained output layer tells neighbours; under another it is noise."""
    peer = pytest.importorskip("fasttext")
    path = str(tmp_path / "hs.bin")
    peer.train_unsupervised(
        str(text), dim=10, epoch=10, thread=12, verbose=0, loss="hs"
    ).save_model(path)
    model = load_facebook_model(path)
    model.sg = 1
    sentences = [line.split() for line in text.read_text(errors="ignore").splitlines()[:20]]
    model.negative = 0
    ours = model.score(sentences).sum()
    super(FastText, model).create_binary_tree()
    assert ours > model.score(sentences).sum() + 1000


@pytest.mark.peer
@pytest.mark.parametrize(("settings", "share"), [({"sg": 0}, 0.05), ({"sg": 1}, 0.4)])
def test_training_is_near_gensims(settings: dict[str, Any], share: float) -> None:
    """The same draws, but another order of updates; skip-gram also in the other direction."""
    gensim = pytest.importorskip("gensim.models.fasttext")
    lines = Path(pytest.importorskip("gensim.test.utils").datapath("lee_background.cor"))
    text = [line.split() for line in lines.read_text().splitlines()[:40]]
    assert sum(map(len, text)) < 10_000
    settings = {"vector_size": 50, "min_count": 2, "bucket": 2000, "workers": 1} | settings
    ours, theirs = FastText(text, **settings).wv, gensim.FastText(text, **settings).wv
    start = FastText(**settings)
    start.build_vocab(text)
    learnt = np.linalg.norm(theirs.vectors - start.wv.vectors)
    assert np.linalg.norm(ours.vectors - theirs.vectors) < share * learnt
    assert learnt > np.linalg.norm(start.wv.vectors)


@pytest.mark.peer
def test_names_and_defaults_are_gensims() -> None:
    gensim = pytest.importorskip("gensim.models.fasttext")
    pairs = [
        (FastText, gensim.FastText),
        (FastTextKeyedVectors, gensim.FastTextKeyedVectors),
        (load_facebook_model, gensim.load_facebook_model),
        (load_facebook_vectors, gensim.load_facebook_vectors),
        (save_facebook_model, gensim.save_facebook_model),
    ]
    for ours, theirs in pairs:
        mine = {
            name: one.default
            for name, one in inspect.signature(ours).parameters.items()
            if one.kind != one.KEYWORD_ONLY
        }
        want = {name: one.default for name, one in inspect.signature(theirs).parameters.items()}
        if "workers" in want:
            want["workers"] = None
        assert list(mine) == list(want)
        assert mine == want


@pytest.mark.peer
def test_gensims_saved_model(tmp_path: Path) -> None:
    gensim = pytest.importorskip("gensim.models.fasttext")
    theirs = gensim.FastText(SENTENCES, vector_size=12, min_count=1, bucket=200, seed=7)
    theirs.wv.save(str(tmp_path / "vectors"))
    ours = KeyedVectors.load(tmp_path / "vectors")
    assert isinstance(ours, FastTextKeyedVectors)
    for word in ["graph", "unseen"]:
        np.testing.assert_array_equal(ours[word], theirs.wv[word])
    theirs.save(str(tmp_path / "model"))
    model = FastText.load(tmp_path / "model")
    equal(model.wv, ours)
    np.testing.assert_array_equal(model.syn1neg, theirs.syn1neg)
    assert model.epochs == 5


def test_a_pickled_model_has_vectors_of_any_string() -> None:
    model = FastText([["cat", "sat"]] * 9, min_count=1, vector_size=8, bucket=50)
    for copy in (pickle.loads(pickle.dumps(model)).wv, pickle.loads(pickle.dumps(model.wv))):
        assert (copy["zzz"] == model.wv["zzz"]).all()
    vector = model.wv["zzz"]
    model.wv.vectors_ngrams = np.asfortranarray(model.wv.vectors_ngrams)
    assert (model.wv["zzz"] == vector).all()
