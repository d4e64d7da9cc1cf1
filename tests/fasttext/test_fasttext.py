"""firth.fasttext against its definition in Python: prediction, dictionary, vectors, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import firth
import firth.fasttext as fasttext
from damage import changed_head
from firth import _native
from firth.formats import fasttext as files
from firth.words.subwords import ngram_hash, ngrams
from topics import LINE, train


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
    used = 0
    for damaged in changed_head(path.read_bytes(), 2500, 300):
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
