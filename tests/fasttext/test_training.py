"""Training of classifiers and word vectors with fastText's arguments, and its checkpoints."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
import firth.fasttext as fasttext
from firth import FormatError, _native
from firth.formats import container
from interrupting import interrupt
from topics import TOPICS, train, write_corpus


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


def test_lines_without_known_words(tmp_path: Path) -> None:
    """Their ends are counted but train nothing; a small corpus is cut into gensim's jobs."""
    text = tmp_path / "text"
    text.write_text("goal ball goal\n" * 9 + "rare words\n__label__a\n" + "goal ball\n" * 3)
    model = fasttext.train_unsupervised(text, dim=4, bucket=50, verbose=0, epoch=1, thread=1)
    assert model.words == ["goal", "</s>", "ball"]
    assert np.isfinite(model.get_word_vector("goal")).all()


def test_a_classifier_resumes_to_the_same_bits(tmp_path, monkeypatch):
    text, state = tmp_path / "text", tmp_path / "state"
    lines = [f"__label__{'ab'[i % 2]} word{i % 7} {'xy'[i % 2]}{i % 5} common" for i in range(4000)]
    text.write_text("\n".join(lines) + "\n")
    settings: dict[str, Any] = {
        "dim": 8, "epoch": 4, "thread": 1, "minn": 2, "maxn": 3, "bucket": 100, "verbose": 0
    }  # fmt: skip
    whole = fasttext.train_supervised(text, **settings)
    calls = interrupt(  # SIGTERM, as Slurm and Kubernetes do
        monkeypatch, _native.fasttext, "FastTextTrainer", lambda epochs: epochs[-1] == 2
    )
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


@pytest.mark.parametrize(
    "more", [{}, {"model": "cbow", "maxn": 0}, {"loss": "hs", "minCountLabel": 900}]
)
def test_word_vectors_resume_to_the_same_bits(
    corpora: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: Any
) -> None:
    text, state = corpora[0], tmp_path / "state"
    settings = {"dim": 8, "epoch": 3, "t": 1e-2, "bucket": 100, "lr": 0.1, "seed": 7} | more
    whole = fasttext.train_unsupervised(text, thread=1, verbose=0, **settings)
    monkeypatch.setattr("firth.epochs._SLICE_SECONDS", 0.0)
    calls = interrupt(monkeypatch, _native.words, "WordTrainer", lambda calls: len(calls) == 5)
    with pytest.raises(KeyboardInterrupt, match=f"the state of training is in {state}"):
        fasttext.train_unsupervised(text, thread=1, verbose=0, checkpoint=state, **settings)
    monkeypatch.undo()
    assert calls == [0, 0, 0, 0, 1]  # in the second of three epochs, of 4 blocks
    assert firth.KeyedVectors.load(state).vectors.shape == (len(whole.words), 8)
    with pytest.raises(ValueError, match="belongs to another corpus"):
        fasttext.resume(state, corpora[1], verbose=0)
    kept = tmp_path / "kept"
    kept.write_bytes(state.read_bytes())
    fasttext.resume(kept, text, verbose=0, checkpoint=kept)
    assert kept.exists()  # a file named by the caller is not removed
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    resumed = fasttext.resume(state, packed, thread=1, verbose=0)
    assert not state.exists()
    for name, model in (("whole.bin", whole), ("resumed.bin", resumed)):
        model.save_model(tmp_path / name)
    assert (tmp_path / "resumed.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()
    mine, other = vars(resumed), vars(whole)
    assert all(mine[name] == other[name] for name in ("lr", "seed", "label", "thread", "verbose"))


def test_what_is_no_checkpoint_is_not_resumed(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "model"
    firth.FastText(corpus_file=corpora[0], vector_size=4, bucket=10, epochs=1).save(path)
    with pytest.raises(FormatError, match="holds a FastText model"):
        fasttext.resume(path, corpora[0])
    assert path.exists()


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.0, 0.0])
def test_frequent_words_are_thinned_out_as_fasttext_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float
) -> None:
    """Dictionary::initTableDiscard: by a word's share of all words, rare ones and labels too."""
    text, state = tmp_path / "text", tmp_path / "state"
    text.write_text(
        "__label__a often often often often some some rare1 rare2\n" * 4 + "rare3\n" * 3
    )
    interrupt(monkeypatch, _native.words, "WordTrainer", lambda calls: True)
    with pytest.raises(KeyboardInterrupt):
        fasttext.train_unsupervised(
            text, dim=4, minCount=5, maxn=0, t=threshold, verbose=0, checkpoint=state
        )
    found = container.read(state)
    assert found.strings["keys"] == ["often", "some", "</s>"]
    counts = found.arrays["attribute:count"]
    assert counts.tolist() == [16, 8, 7]
    share = counts / (4 * 10 + 3 * 2)
    want = np.minimum(np.sqrt(threshold / share) + threshold / share, 1)
    if not threshold:  # all words stay
        want = np.ones(3)
    kept = found.arrays["attribute:sample_int"] / (2**32 - 1)
    np.testing.assert_allclose(kept, want, rtol=1e-9)


@pytest.mark.parametrize("settings", [{"minn": 6, "maxn": 3}, {"maxn": 0, "wordNgrams": 2}])
def test_buckets_that_nothing_uses(
    corpora: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = fasttext.train_unsupervised(
        corpora[0], dim=4, epoch=1, bucket=50, verbose=0, **settings
    )
    assert model.get_input_matrix().shape == (len(model.words), 4)
    model.save_model(tmp_path / "model.bin")
    again = fasttext.load_model(tmp_path / "model.bin")
    np.testing.assert_array_equal(again["goal"], model["goal"])
    assert not again["unheard"].any()
