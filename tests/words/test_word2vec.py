"""Word2Vec: vocabulary, exact passes, reproducibility, checkpoints, errors; gensim as oracle.

Longer than most files: checkpoints and errors are tested for each way of training.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import needs_shared
from firth import FastText, GloVe, KeyedVectors, Word2Vec, _native
from firth.kernels import skipgram_negative_sampling, use
from firth.kernels._dispatch import active_level, levels
from firth.words import CallbackAny2Vec, corpus, save_facebook_model, training
from interrupting import interrupt
from texts import counted, encoded

SMALL = {"sg": 1, "vector_size": 20, "min_count": 1, "sample": 0, "epochs": 2}


def sentences(count, seed=0, words=200, length=12):
    """Sentences of two topics: words of one topic keep company."""
    rng = np.random.default_rng(seed)
    half = words // 2
    draws = (half * rng.power(0.5, (count, length))).astype(int)
    topics = rng.integers(0, 2, count)
    return [[f"{'ab'[t]}{i}" for i in row] for t, row in zip(topics, draws, strict=True)]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(" ".join(s) for s in sentences(4000)) + "\n")
    return path


# Counting and encoding


@pytest.mark.parametrize(
    "content",
    [
        "a b c\nb c\nc\n", "a b c", "\n\n a\tb \r\n\n c\n", "a" * 100_000 + " b\nb", "é 中 é\n中",
        "x\n" * 1000, " ", "a b\n\n", "one line without an end " * 500,
    ],
)  # fmt: skip
def test_count_and_encode_a_file(tmp_path, content, monkeypatch):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content.encode())
    lines = [line.split() for line in content.split("\n")]
    lines = [line for line in lines if line]
    flat = [word for line in lines for word in line]
    for piece in (corpus._PIECE, 7):  # the second cuts the text in many pieces
        monkeypatch.setattr(corpus, "_PIECE", piece)
        found = counted(path)
        assert found.words == list(dict.fromkeys(flat))
        assert found.counts.tolist() == [Counter(flat)[word] for word in found.words]
        assert (found.total_words, found.sentences) == (len(flat), len(lines))
        known = sorted(set(flat))[::2]
        index = {word: i for i, word in enumerate(known)}
        want = []
        for line in lines:
            ids = [index[word] for word in line if word in index]
            want += [*ids[:-1], ~ids[-1]] if ids else []
        assert encoded(path, known).tolist() == want
        assert encoded(lines, known).tolist() == want
        with corpus.opened("", lines, None) as text:
            again = text.count()
            assert list(text) == lines
        with corpus.opened("", None, path) as text:
            assert list(text) == lines
        assert (again.sentences, again.total_words) == (len(lines), len(flat))
        assert again.words == found.words
        assert_array_equal(again.counts, found.counts)


def test_parts_of_a_large_piece_agree_with_python(tmp_path):
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(300)])
    content = " ".join(words[rng.integers(0, 300, 100_000)])
    breaks = rng.random(len(content)) < 0.05
    content = "".join(
        "\n" if c == " " and cut else c for c, cut in zip(content, breaks, strict=True)
    )
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    found = counted(path)
    assert dict(zip(found.words, found.counts.tolist(), strict=True)) == Counter(content.split())
    assert found.words == list(dict.fromkeys(content.split()))
    assert found.sentences == sum(1 for line in content.split("\n") if line.split())
    known = sorted(set(content.split()))[:250]
    want = encoded([line.split() for line in content.split("\n")], known)
    before = _native.num_threads()
    try:
        for threads in (1, 2, 5):
            firth.set_num_threads(threads)
            assert_array_equal(encoded(path, known), want)
    finally:
        firth.set_num_threads(before)


def test_words_that_no_file_can_hold_keep_their_ids(tmp_path):
    """Keys with spaces are in a vocabulary of phrases; each has its own id."""
    path = tmp_path / "corpus.txt"
    path.write_text("a b\nab c\n longer_than_8 x\n")
    known = ["", "a b", "a c", "a\n", "a", "b c d e f g h", "b c d e f g i", "b", "longer than 8"]
    known += [f"key {i}" for i in range(200_000)] + ["c", "longer_than_8"]
    want = [4, ~7, ~known.index("c"), ~known.index("longer_than_8")]
    assert encoded(path, known).tolist() == want


def test_ids_beyond_the_limit_go_to_a_mapped_file(text, monkeypatch):
    words = counted(text).words
    want = encoded(text, words)
    monkeypatch.setattr(corpus, "_IN_MEMORY", 1000)
    got = encoded(text, words)
    assert isinstance(got, np.memmap)
    assert_array_equal(got, want)


def test_vocabulary_order_and_start(text):
    model = Word2Vec(**SMALL | {"min_count": 3})
    model.build_vocab(corpus_file=text)
    counts = model.wv.expandos["count"]
    assert (np.diff(counts) <= 0).all()
    assert counts.min() >= 3
    assert model.wv.vectors.shape == (len(model.wv), 20)
    assert np.abs(model.wv.vectors).max() <= 1 / 20
    assert not model.syn1neg.any()
    assert model.corpus_total_words == 48_000
    assert model.corpus_count == 4000


# Blocks: each token once an epoch


@pytest.mark.parametrize("line", [12, 9_999, 10_000, 10_001, 35_000, 100_000])
def test_blocks_cover_the_corpus_once(line):
    tokens = 100_000
    ids = np.zeros(tokens, np.int32)
    ids[line - 1 :: line] = ~ids[line - 1 :: line]
    ids[-1] = -1
    w = np.zeros((2, 16 * 4 + 16), np.float32)
    w_in, w_out = (row[-row.ctypes.data // 4 % 16 :][:16].reshape(1, 16) for row in w)
    network = training.Network(
        w_in, w_out, np.ones(1, np.int64), np.full(1, 2**32 - 1, np.uint32), 1, 1, 1
    )
    trainer = _native.words.WordTrainer(active_level(), network, ids, 0.0, 0.0, 1)
    starts = [trainer.start(b) for b in range(trainer.blocks + 1)]
    assert starts[0] == 0
    assert starts[-1] == tokens
    assert (np.diff(starts) >= 0).all()
    if line < 10_000:
        assert all(start % line == 0 for start in starts[:-1]), "blocks end with sentences"
    assert trainer.train(0, 0, trainer.blocks, 2)[2] == tokens


# What training computes


@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_training_is_the_kernel_over_windows(negatives, monkeypatch):
    """With one word of context on each side and negatives that are all the centre (a vocabulary of
    one word), no draw matters: training must equal the kernel called window by window."""
    # not gensim's streams, whose logistic function is a table
    monkeypatch.setattr(training, "streams", lambda *_: (negatives == "shared", None))
    ids = [["w"] * 5] * 3
    model = Word2Vec(sg=1, vector_size=7, min_count=1, sample=0, epochs=1, window=1,
                     negatives=negatives, workers=1)  # fmt: skip
    model.build_vocab(ids)
    w_in, w_out = model.wv.vectors.copy(), model.syn1neg.copy()
    trained, raw = model.train(ids)
    assert (trained, raw) == (15, 15)
    for _ in range(3):
        for center in range(5):
            around = [i for i in (center - 1, center + 1) if 0 <= i < 5]
            none = np.zeros((1, 0), np.int64)
            if negatives == "shared":
                skipgram_negative_sampling(w_in, w_out, [0], [[0] * len(around)], none, 0.025)
            else:
                for _ in around:
                    skipgram_negative_sampling(w_in, w_out, [0], [0], none, 0.025)
    # both sides run the same kernel; the trainer on padded rows, hence another order of sums
    bound = 50 * np.finfo(np.float32).eps
    assert np.abs(model.wv.vectors - w_in).max() <= bound * np.abs(w_in).max()
    assert np.abs(model.syn1neg - w_out).max() <= bound * np.abs(w_out).max()
    assert np.abs(w_out).max() > 0


@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_company_makes_words_similar(text, negatives):
    model = Word2Vec(corpus_file=text, **SMALL | {"epochs": 5}, negatives=negatives)
    frequent = model.wv.index_to_key[:20]
    same, other = [], []
    for i, a in enumerate(frequent):
        for b in frequent[:i]:
            (same if a[0] == b[0] else other).append(model.wv.similarity(a, b))
    assert len(same) > 20
    assert len(other) > 20
    assert np.mean(same) > np.mean(other) + 0.3
    assert len(model.epoch_losses) == 5
    assert model.epoch_losses[-1] < model.epoch_losses[0] < 6 * np.log(2) + 0.01


def test_file_and_sentences_train_alike(text):
    from_file = Word2Vec(corpus_file=text, **SMALL, workers=1)
    from_lists = Word2Vec(sentences(4000), **SMALL, workers=1)
    assert from_file.wv.index_to_key == from_lists.wv.index_to_key
    assert_array_equal(from_file.wv.vectors, from_lists.wv.vectors)


@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_one_worker_repeats_its_bits(text, negatives):
    first, second, other = (
        Word2Vec(corpus_file=text, **SMALL, workers=1, seed=seed, negatives=negatives)
        for seed in (1, 1, 2)
    )
    assert_array_equal(first.wv.vectors, second.wv.vectors)
    assert_array_equal(first.syn1neg, second.syn1neg)
    assert not np.array_equal(first.wv.vectors, other.wv.vectors)


def test_a_single_block_does_not_depend_on_workers():
    few = sentences(500)
    one, many = (Word2Vec(few, **SMALL, workers=workers) for workers in (1, 4))
    assert_array_equal(one.wv.vectors, many.wv.vectors)


def test_every_level_trains(text):
    for level in levels:
        with use(f"native:{level}"):
            model = Word2Vec(corpus_file=text, **SMALL, workers=1)
        assert np.isfinite(model.wv.vectors).all()
        assert model.epoch_losses[-1] < 6 * np.log(2)


def test_subsampling_and_fixed_windows(text):
    everything = Word2Vec(**SMALL)
    everything.build_vocab(corpus_file=text)
    assert everything.train(corpus_file=text)[0] == 2 * 48_000
    thinned = Word2Vec(**SMALL | {"sample": 1e-3}, shrink_windows=False)
    thinned.build_vocab(corpus_file=text)
    counts = thinned.wv.expandos["count"]
    ratio = 1e-3 * counts.sum() / counts
    expected = 2 * (np.minimum(np.sqrt(1 / ratio) * ratio + ratio, 1) * counts).sum()
    kept = thinned.train(corpus_file=text)[0]
    # a sum of independent draws: six standard deviations, sd <= sqrt(n)/2
    assert abs(kept - expected) < 6 * np.sqrt(96_000) / 2


# Saving, checkpoints, Ctrl-C


def test_save_and_load(text, tmp_path):
    model = Word2Vec(corpus_file=text, **SMALL)
    model.save(tmp_path / "model.firth")
    loaded = Word2Vec.load(tmp_path / "model.firth")
    assert_array_equal(loaded.wv.vectors, model.wv.vectors)
    assert_array_equal(loaded.syn1neg, model.syn1neg)
    assert loaded.wv.key_to_index == model.wv.key_to_index
    assert loaded.epoch_losses == model.epoch_losses
    assert_array_equal(KeyedVectors.load(tmp_path / "model.firth").vectors, model.wv.vectors)
    model.wv.save(tmp_path / "words.firth")
    with pytest.raises(AttributeError, match="holds word vectors, not a Word2Vec model: use Key"):
        Word2Vec.load(tmp_path / "words.firth")
    with pytest.raises(AttributeError, match="call it on the class"):
        model.load(tmp_path / "model.firth")
    model.workers = loaded.workers = 1
    for one in (model, loaded):
        one.train(corpus_file=text, start_alpha=0.0001)
    assert_array_equal(loaded.wv.vectors, model.wv.vectors)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (Word2Vec, {}), (FastText, {"bucket": 500}), (FastText, {"bucket": 500, "sg": 0, "hs": 1}),
        (FastText, {"bucket": 500, "negatives": "independent"}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Both hierarchical")
def test_checkpoint_resumes_to_the_same_bits(text, tmp_path, monkeypatch, kind, more):
    settings = SMALL | {"workers": 1} | more
    whole = kind(corpus_file=text, **settings)
    path = tmp_path / "checkpoint"
    model = kind(**settings)
    model.build_vocab(corpus_file=text)
    monkeypatch.setattr("firth.epochs._SLICE_SECONDS", 0.0)
    calls = interrupt(
        monkeypatch, _native.words, "WordTrainer", lambda calls: len(calls) == 4, signal.SIGINT
    )
    with pytest.raises(KeyboardInterrupt, match=f"the state of training is in {path}"):
        model.train(corpus_file=text, checkpoint=path)
    monkeypatch.undo()
    assert len(calls) == 4
    assert not np.array_equal(model.wv.vectors, whole.wv.vectors)
    assert_array_equal(KeyedVectors.load(path).vectors, model.wv.vectors)
    with pytest.raises(ValueError, match="another corpus"):
        kind.resume(path, sentences(4000, seed=9), workers=1)
    kept = tmp_path / "kept"
    kept.write_bytes(path.read_bytes())
    kind.resume(kept, corpus_file=text, workers=1, checkpoint=kept)
    assert kept.exists()  # a file named by the caller is not removed
    resumed = kind.resume(path, corpus_file=text, workers=1)
    assert not path.exists()
    assert type(resumed) is kind
    assert_array_equal(resumed.wv.vectors, whole.wv.vectors)
    assert_array_equal(resumed.syn1neg, whole.syn1neg)
    assert_array_equal(resumed.syn1, whole.syn1)
    for name in ("vectors_vocab", "vectors_ngrams") * (kind is FastText):
        assert_array_equal(getattr(resumed.wv, name), getattr(whole.wv, name))
    assert resumed.epoch_losses == whole.epoch_losses
    resumed.save(path)
    with pytest.raises(ValueError, match="no interrupted training"):
        kind.resume(path, corpus_file=text)


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="needs POSIX signals")
def test_command_line_interrupt_and_resume(text, tmp_path):
    command = [sys.executable, "-m", "firth", "train", str(text), "-o", "words.firth",
               "--workers", "1"]  # fmt: skip
    shape = ["--min-count", "1", "--dim", "64", "--epochs", "250", "--sample", "0"]
    running = subprocess.Popen([*command, *shape], cwd=tmp_path, stderr=subprocess.PIPE)
    time.sleep(1.5)
    running.send_signal(signal.SIGINT)
    _, message = running.communicate(timeout=60)
    if running.returncode == 0:
        pytest.skip("this machine finished before the interrupt")
    assert running.returncode == 130
    assert b"--resume" in message
    assert (tmp_path / "words.firth.checkpoint").exists()
    subprocess.run([*command, "--resume"], cwd=tmp_path, check=True, capture_output=True)
    whole = Word2Vec(corpus_file=text, sg=1, vector_size=64, min_count=1, sample=0, epochs=250,
                     workers=1)  # fmt: skip
    got = KeyedVectors.load(tmp_path / "words.firth")
    assert_array_equal(got.vectors, whole.wv.vectors)
    assert not (tmp_path / "words.firth.checkpoint").exists()


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "text_"),
    [
        ({"vector_size": 0}, ValueError, "vector_size must be a whole number from 1 to"),
        ({"window": 0}, ValueError, "window"),
        ({"negative": -1}, ValueError, "negative"),
        ({"max_final_vocab": -1}, ValueError, "max_final_vocab"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"workers": 0}, ValueError, "workers"),
        ({"alpha": float("nan")}, ValueError, "alpha"),
        ({"sample": -1}, ValueError, "sample"),
        ({"seed": -1}, ValueError, "seed"),
        ({"negatives": "both"}, ValueError, "negatives must be"),
        ({"seed": None}, TypeError, "Word2Vec: seed must be a whole number .*, got None"),
        ({"window": "5"}, TypeError, "window must be a whole number from 1 to .*, got '5'"),
        ({"epochs": None}, TypeError, "epochs"),
        ({"batch_words": None}, TypeError, "batch_words"),
        ({"min_count": 1.5}, ValueError, "min_count"),
        ({"vector_size": float("inf")}, ValueError, "vector_size"),
        ({"alpha": None}, TypeError, "alpha must be a number from 0 to .*, got None"),
        ({"ns_exponent": "1"}, TypeError, "ns_exponent must be a number from -10 to 10, got '1'"),
    ],
)
def test_bad_parameters(arguments, error, text_):
    with pytest.raises(error, match=text_):
        Word2Vec(**{"sg": 1} | arguments)


def test_bad_arguments():
    model = Word2Vec(min_count=1)
    model.build_vocab([["a", "b"]])
    for arguments in ({"epochs": "2"}, {"epochs": 0}, {"start_alpha": "0.1"}, {"end_alpha": -1}):
        with pytest.raises((TypeError, ValueError), match=f"train: {next(iter(arguments))} must"):
            model.train([["a", "b"]], **arguments)
    for arguments in ({"min_count": "2"}, {"sample": -1}):
        with pytest.raises((TypeError, ValueError), match=f"vocab: {next(iter(arguments))} must"):
            model.build_vocab([["a", "b"]], **arguments)
    assert model.wv.index_to_key == ["b", "a"]


def test_bad_corpora(tmp_path):
    model = Word2Vec(sg=1, min_count=1)
    with pytest.raises(TypeError, match="either sentences or corpus_file"):
        model.build_vocab()
    with pytest.raises(TypeError, match="generator"):
        Word2Vec((s for s in [["a"]]), sg=1)
    with pytest.raises(TypeError, match="lists of words"):
        Word2Vec("some text", sg=1)
    with pytest.raises(TypeError, match="tokens must be str or int, got float in sentence 1"):
        Word2Vec([["a"], ["b", 3.5]], sg=1, min_count=1)
    with pytest.raises(TypeError, match=r"Word2Vec.resume: .* give that of the interrupted"):
        Word2Vec.resume(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="build_vocab first"):
        model.train([["a"]])
    with pytest.raises(RuntimeError, match="no word occurs min_count=5 times"):
        Word2Vec([["a", "b"]], sg=1)
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(ValueError, match="is empty"):
        Word2Vec(corpus_file=empty, sg=1)
    with pytest.raises(FileNotFoundError):
        Word2Vec(corpus_file=tmp_path / "missing", sg=1)
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 au lait\n" * 10)
    with pytest.raises(ValueError, match="is not UTF-8"):
        Word2Vec(corpus_file=latin, sg=1)
    model.build_vocab([["a", "b"]])
    before = model.wv.vectors.copy()
    with pytest.warns(UserWarning, match="no word of the vocabulary"):
        assert model.train([["c", "d"]], epochs=3) == (0, 6)
    latin.write_bytes(b"not known\n")
    with pytest.warns(UserWarning, match="no word of the vocabulary"):
        assert model.train(corpus_file=latin, epochs=1) == (0, 2)
    assert_array_equal(model.wv.vectors, before)


# gensim as oracle


@pytest.mark.peer
def test_vocabulary_is_gensims(tmp_path):
    gensim = pytest.importorskip("gensim.models")
    path = needs_shared("data/shakespeare.txt")
    lower = tmp_path / "text.txt"
    lower.write_text(path.read_text().lower())
    theirs = gensim.Word2Vec(sg=1, min_count=2, sample=1e-3, vector_size=10)
    theirs.build_vocab(corpus_file=str(lower))
    ours = Word2Vec(sg=1, min_count=2, sample=1e-3, vector_size=10)
    ours.build_vocab(corpus_file=lower)
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert_array_equal(ours.wv.expandos["count"], theirs.wv.expandos["count"])
    assert_array_equal(ours.wv.vectors, theirs.wv.vectors)
    # gensim computes the share in another order of operations: one unit in 2**32
    assert (
        np.abs(
            ours.wv.expandos["sample_int"].astype(np.int64)
            - theirs.wv.expandos["sample_int"].astype(np.int64)
        ).max()
        <= 1
    )
    assert ours.corpus_total_words == theirs.corpus_total_words


@pytest.mark.peer
def test_independent_pairs_are_gensims():
    """gensim's own compiled step on the same pairs and draws, through its random stream."""
    inner = pytest.importorskip("gensim.models.word2vec_inner")
    gensim = pytest.importorskip("gensim.models")
    words = [[f"w{i}" for i in range(30)]]
    theirs = gensim.Word2Vec(
        words, sg=1, min_count=1, vector_size=24, window=1, sample=0, negative=3, epochs=1,
        workers=1, shrink_windows=False, alpha=0.5, min_alpha=0.5,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    theirs.wv.vectors[:] = 0.3 * rng.standard_normal((30, 24))
    theirs.syn1neg[:] = 0.3 * rng.standard_normal((30, 24))
    w_in, w_out = theirs.wv.vectors.copy(), theirs.syn1neg.copy()
    state = np.random.RandomState(7)
    theirs.random = np.random.RandomState(7)
    inner.train_batch_sg(theirs, words, 0.5, np.zeros(24, np.float32), False)
    # gensim's stream: one seed a batch, then a linear congruential step a draw
    random = 2**24 * state.randint(0, 2**24) + state.randint(0, 2**24)
    centers, contexts, negatives = [], [], []
    order = [theirs.wv.key_to_index[word] for word in words[0]]
    for i, center in enumerate(order):
        for j in (i - 1, i + 1):
            if not 0 <= j < 30:
                continue
            drawn = []
            for _ in range(3):
                place = (random >> 16) % int(theirs.cum_table[-1])
                drawn.append(int(np.searchsorted(theirs.cum_table, place)))
                random = (random * 25214903917 + 11) & (2**48 - 1)
            centers.append(center)
            contexts.append(order[j])
            negatives.append(drawn)
    skipgram_negative_sampling(w_in, w_out, centers, contexts, negatives, 0.5)
    # gensim looks the logistic function up in a table of 1000 steps over [-6, 6]: an error of at
    # most 12/1000/4 = 0.003 in a step, times the rate and the largest component, 8 steps a row
    bound = 8 * 0.5 * 0.003 * max(np.abs(w_in).max(), np.abs(w_out).max()) * 2
    assert np.abs(w_in - theirs.wv.vectors).max() <= bound
    assert np.abs(w_out - theirs.syn1neg).max() <= bound
    assert np.abs(w_out - 0).max() > 20 * bound


@pytest.mark.parametrize("negatives", ["shared", "independent"])
@pytest.mark.parametrize(
    "settings",
    [{"sg": 1}, {"sg": 0}, {"sg": 0, "cbow_mean": 0}, {"sg": 1, "hs": 1, "negative": 0}],
    ids=["skip-gram", "cbow", "sum", "tree"],
)
@pytest.mark.parametrize("kind", [Word2Vec, FastText])
def test_steps_are_bounded_where_windows_repeat_few_words(kind, settings, negatives):
    """gensim trains here, since it leaves out scores beyond 6; so does a bounded step."""
    rng = np.random.default_rng(1)
    two, few = (
        [[f"w{i}" for i in rng.integers(0, words, 120)] for _ in range(20)] for words in (2, 10)
    )
    baskets = [
        [f"item{20 * group + i}" for i in rng.permutation(20)[:12]]
        for group in rng.integers(0, 10, 200)
    ]
    few_buckets = {"bucket": 20_000} if kind is FastText else {}  # the default takes 128 MB
    for text, alpha in ((two, 0.05), (few, 0.05), (few, 0.25), (baskets, 0.05)):
        model = kind(text, vector_size=16, window=100, sample=0, workers=1, alpha=alpha, epochs=5,
                     min_count=1, negatives=negatives, **few_buckets, **settings)  # fmt: skip
        assert np.abs(model.wv.vectors).max() < 40
    # items of one group occur together, so they come out more alike than those of two
    vectors = model.wv.get_normed_vectors()
    own = np.array([int(key[4:]) // 20 for key in model.wv.index_to_key])
    alike = vectors @ vectors.T
    same = own[:, None] == own
    assert alike[same].mean() > alike[~same].mean() + 0.05


def test_divergence_is_an_error():
    with pytest.raises(FloatingPointError, match="diverged"):
        Word2Vec(sentences(1000), sg=1, min_count=1, alpha=1e30, workers=1)


def test_matrices_of_another_shape_are_refused():
    text = sentences(50)
    model = Word2Vec(text, sg=1, vector_size=16, min_count=1, epochs=1)
    wide = np.ones((len(model.wv), 20), np.float32)
    model.wv.vectors = wide
    with pytest.raises(ValueError, match=r"wv.vectors has shape"):
        model.train(text)
    assert model.wv.vectors is wide


def test_training_is_in_place_or_on_what_was_assigned():
    text = sentences(50)
    model = Word2Vec(text, sg=1, vector_size=10, min_count=1, epochs=1, workers=1)
    other = copy.deepcopy(model)
    vectors = model.wv.vectors
    other.wv.vectors = np.ascontiguousarray(vectors.copy())
    model.train(text, start_alpha=0.0001)
    other.train(text, start_alpha=0.0001)
    assert np.shares_memory(model.wv.vectors, vectors)
    assert_array_equal(model.wv.vectors, other.wv.vectors)


def test_sentences_that_are_strings_get_a_warning():
    with pytest.warns(UserWarning, match="list of words"):
        Word2Vec(["hello world"] * 5, sg=1, min_count=1, epochs=1)


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfthe cat\nthe dog\n")
    model = Word2Vec(corpus_file=path, sg=1, min_count=1, epochs=1)
    assert sorted(model.wv.index_to_key) == ["cat", "dog", "the"]


def test_failing_checkpoint_does_not_stop_training(tmp_path, monkeypatch):
    monkeypatch.setattr("firth.epochs._CHECKPOINT_SECONDS", 0.0)
    model = Word2Vec(sg=1, min_count=1, epochs=1)
    model.build_vocab(sentences(50))
    folder = tmp_path / "folder"
    folder.mkdir()

    class Remove(CallbackAny2Vec):
        def on_epoch_begin(self, model):
            folder.rmdir()

    with pytest.warns(UserWarning, match="no checkpoint"):
        model.train(sentences(50), checkpoint=folder / "x", callbacks=[Remove()])
    assert len(model.epoch_losses) == 1


def test_loss_of_an_epoch_without_pairs_is_nan(tmp_path):
    model = Word2Vec([["a"], ["b"]], vector_size=4, min_count=1, epochs=2, compute_loss=True)
    assert np.isnan(model.epoch_losses).all()
    assert len(model.epoch_losses) == 2
    assert model.get_latest_training_loss() == 0
    model.save(tmp_path / "m")
    assert np.isnan(Word2Vec.load(tmp_path / "m").epoch_losses).all()


def test_numbers_of_numpy_are_saved(tmp_path):
    settings = {"alpha": np.float32(0.05), "min_count": np.int64(1), "sg": np.bool_(True)}
    model = Word2Vec(sentences(50), vector_size=np.int32(8), sample=np.float64(0), **settings)
    model.save(tmp_path / "m")
    loaded = Word2Vec.load(tmp_path / "m")
    assert (loaded.alpha, loaded.min_count, loaded.sg) == (float(np.float32(0.05)), 1, True)
    model.comment = {1, 2}
    with pytest.raises(TypeError, match="cannot be saved"):
        model.save(tmp_path / "m")
    assert Word2Vec.load(tmp_path / "m").min_count == 1


@pytest.mark.parametrize("kind", [Word2Vec, FastText, GloVe])
@pytest.mark.parametrize("how", [{}, {"hs": 1, "negative": 0}])
def test_a_model_with_an_added_key_is_saved_and_loaded(
    kind: Any, how: dict[str, int], tmp_path: Path
) -> None:
    text = sentences(50)
    options = {} if kind is GloVe else dict(how)
    if kind is FastText:
        options["bucket"] = 50
    model = kind(text, min_count=1, vector_size=8, epochs=1, **options)
    model.wv["new"] = np.ones(8)
    model.save(tmp_path / "model")
    assert (KeyedVectors.load(tmp_path / "model")["new"] == 1).all()
    again = kind.load(tmp_path / "model")
    np.testing.assert_array_equal(again.wv.vectors, model.wv.vectors)
    again.save(tmp_path / "again")
    assert (kind.load(tmp_path / "again").wv["new"] == 1).all()
    with pytest.raises(ValueError, match=r"train: .* (rows|keys)"):
        again.train(text)
    if kind is FastText:
        with pytest.raises(ValueError, match=r"^save_facebook_model: wv has"):
            save_facebook_model(again, tmp_path / "model.bin")
    if kind is not GloVe:
        again.build_vocab(text, update=True)
        again.train(text)
        assert np.isfinite(again.wv["new"]).all()


@pytest.mark.peer
@pytest.mark.parametrize("how", [{}, {"hs": 1, "negative": 0}])
def test_gensims_model_with_an_added_key(how: dict[str, int], tmp_path: Path) -> None:
    gensim = pytest.importorskip("gensim.models")
    theirs = gensim.Word2Vec(sentences(50), min_count=1, vector_size=8, epochs=1, **how)
    theirs.wv.add_vectors(["new"], np.ones((1, 8)))
    theirs.save(str(tmp_path / "model"))
    ours = Word2Vec.load(tmp_path / "model")
    np.testing.assert_array_equal(ours.wv.vectors, theirs.wv.vectors)
    np.testing.assert_array_equal(
        ours.syn1 if how else ours.syn1neg, theirs.syn1 if how else theirs.syn1neg
    )
