"""Files of vectors: `info`, `convert`, every command with every kind of wrong file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import firth
from commands import WORDS, error, vectors
from firth import KeyedVectors
from firth.cli import main
from firth.errors import FormatError
from firth.formats import container
from firth.words.callbacks import CallbackAny2Vec


@pytest.mark.parametrize("kind", ["text", "binary", "headerless", "gzip"])
def test_every_format_is_recognised(
    here: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    name = "v.gz" if kind == "gzip" else "v"
    vectors().save_word2vec_format(name, binary=kind == "binary", write_header=kind != "headerless")
    assert main(["similar", name, "king", "-n", "1"]) == 0
    assert capsys.readouterr().out == "0.9996  queen\n"
    assert main(["info", name]) == 0
    assert {"headerless": "without a header", "gzip": "text"}.get(kind, kind) in (
        capsys.readouterr().out
    )


def test_info(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert firth.__version__ in capsys.readouterr().out
    assert main(["info", "words.firth"]) == 0
    printed = capsys.readouterr().out
    assert "words        6\n" in printed
    assert "dimensions   3 (float32)\n" in printed
    assert "king, queen" in printed
    assert "21 of these words" in printed


def test_info_says_what_a_file_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For each kind of file that firth writes, checkpoints among them."""
    text, small = [["a", "b", "c", "d"]] * 30, {"min_count": 1, "vector_size": 4}
    models = {
        "a Word2Vec model": firth.Word2Vec(text, sample=0, **small),
        "a FastText model": firth.FastText(text, bucket=10, sample=0, **small),
        "a GloVe model": firth.GloVe(text, **small),
    }
    files = {what: model.save for what, model in models.items()}
    files["word vectors"] = models["a Word2Vec model"].wv.save
    files["word vectors with n-grams"] = models["a FastText model"].wv.save
    files["phrases"] = firth.words.Phrases(text).save
    for what, save in files.items():
        save("x")
        assert main(["info", "x"]) == 0
        printed = capsys.readouterr().out
        assert f"format       firth: {what}\n" in printed
        assert "interrupted" not in printed

    class Stopping(CallbackAny2Vec):
        def on_epoch_end(self, model: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        firth.Word2Vec(text, sample=0, callbacks=[Stopping()], checkpoint="x", epochs=3, **small)
    assert main(["info", "x"]) == 0
    printed = capsys.readouterr().out
    assert "firth: a Word2Vec model\n" in printed
    assert "training     interrupted after 1 of 3 epochs\n" in printed
    run = {"epoch": 2, "epochs": 5}
    container.write("x", "classifier in training", {}, {"run": run})
    assert main(["info", "x"]) == 0
    printed = capsys.readouterr().out
    assert "firth: the checkpoint of a classifier\n" in printed
    assert "training     interrupted after 2 of 5 epochs\n" in printed
    assert main(["convert", "words.firth", "x.npy"]) == 0
    capsys.readouterr()
    assert main(["info", "x.npy"]) == 0
    printed = capsys.readouterr().out
    assert "array of NumPy (.npy)\nnumbers      6 x 3 (float32)\n" in printed
    assert "words        in x.words.txt\n" in printed


def test_files_of_another_kind(here: Path) -> None:
    """The message names what reads the file, for each loader and each kind."""
    kinds = {
        "keyedvectors": "KeyedVectors.load or firth similar",
        "fasttextkeyedvectors": "KeyedVectors.load or firth similar",
        "word2vec": "Word2Vec.load",
        "fasttext": "FastText.load",
        "glove": "GloVe.load",
        "phrases": "Phrases.load",
        "index": "Index.open or firth index",
        "classifier in training": "fasttext.resume or firth classify train --resume",
    }
    loaders: dict[Callable[..., object], set[str]] = {
        KeyedVectors.load: {
            "keyedvectors",
            "fasttextkeyedvectors",
            "word2vec",
            "fasttext",
            "glove",
        },
        firth.Word2Vec.load: {"word2vec"},
        firth.FastText.load: {"fasttext"},
        firth.GloVe.load: {"glove"},
        firth.words.Phrases.load: {"phrases"},
        firth.Index.open: {"index"},
        lambda path: firth.fasttext.resume(path, path): {"classifier in training"},
    }
    for kind, use in kinds.items():
        container.write("x", kind, {})
        for load, own in loaders.items():
            if kind not in own:
                with pytest.raises((FormatError, AttributeError), match=f"^x: holds .*: use {use}"):
                    load("x")


def test_a_file_of_facebook_for_another_loader(here: Path) -> None:
    model = firth.FastText([["a", "b"]] * 30, min_count=1, vector_size=4, bucket=10, sample=0)
    firth.words.save_facebook_model(model, "ft.bin")
    for kind in (firth.FastText, firth.Word2Vec):
        with pytest.raises(FormatError, match="load_facebook_model reads it"):
            kind.load("ft.bin")
    model.wv.save_word2vec_format("ft.txt")
    for kind in (firth.FastText, firth.Word2Vec):
        with pytest.raises(FormatError, match="load_vectors reads vectors of other formats"):
            kind.load("ft.txt")


@pytest.mark.parametrize(
    "command",
    ["similar {} king", "analogy {} king man woman", "info {}", "vectors info {}",
     "convert {} out.vec", "eval {} --pairs pairs", "plot {} -o out.svg"],
)  # fmt: skip
def test_wrong_vectors(
    wrong: dict[str, str], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("pairs").write_text("king\tqueen\t1\nman\tqueen\t0\nman\twoman\t1\n")
    for name in ("out.vec", "out.svg"):
        Path(name).write_bytes(b"old")
    for name, message in wrong.items():
        if name == "supervised.bin" and "info" in command:
            continue
        got = error(capsys, *command.format(name).split())
        assert got.startswith(f"{name}: {message}")
        assert got.count(f"{name}:") == 1
    for name in ("out.vec", "out.svg"):
        assert Path(name).read_bytes() == b"old"
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_wrong_outputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_bytes(b"old")
    Path("out").mkdir()
    vectors().save_word2vec_format("a.t")
    for command in ("convert a.t {}.vec", "plot a.t -o {}.svg", "train corpus.txt -o {}.firth",
                    "demo -o {}.png"):  # fmt: skip
        for place in ("none/x", "file/x"):
            message = error(capsys, *command.format(place).split())
            assert "does not exist" in message
    for place in ("none/x", "file/x"):
        assert place in error(capsys, "convert", "a.t", place, "--format", "word2vec")
        assert "not a directory" in error(capsys, "convert", "a.t", "file/x", "--format", "spacy")
    assert "out: is a folder" in error(capsys, "convert", "a.t", "out", "--format", "firth")
    assert error(capsys, "convert", "a.t", "a.t") == "a.t is the input; it would be overwritten"
    assert "a.t is the input" in error(capsys, "convert", "./a.t", "a.t", "--format", "firth")
    assert error(capsys, "convert", "a.t", "b.t").startswith(
        "b.t: the suffix is not one of .firth, .txt, .vec, .bin, .npy"
    )
    assert error(capsys, "convert", "b.t", "b.t") == "b.t: no such file or directory"
    if os.path.exists("/dev/full"):
        for kind in ("word2vec", "word2vec-binary", "firth"):
            assert "disk is full" in error(capsys, "convert", "a.t", "/dev/full", "--format", kind)
    assert Path("file").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["a.t", "corpus.txt", "file", "out", "words.firth"]


def test_a_package_that_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    Path("v.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    assert "pip install zstandard" in error(capsys, "similar", "v.zst", "king")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install matplotlib" in error(capsys, "plot", "words.firth", "-o", "x.svg")


@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_a_matrix_and_its_words(
    here: Path, capsys: pytest.CaptureFixture[str], stored: str
) -> None:
    vectors().astype(stored).save("v.firth")
    assert main(["convert", "v.firth", "v.npy"]) == 0
    assert capsys.readouterr().out == (
        "v.npy: 6 words, 3 dimensions\nv.words.txt: the words, in the order of the rows\n"
    )
    rows = np.load("v.npy")
    assert rows.dtype == ("float16" if stored == "float16" else "float32")
    np.testing.assert_array_equal(rows, KeyedVectors.load("v.firth")[WORDS])
    assert Path("v.words.txt").read_text().splitlines() == WORDS
    assert main(["index", "build", "v.npy", "-o", "v.index"]) == 0
    kv = KeyedVectors(2)
    kv.add_vectors(["a\nb"], np.array([[1, 2]]))
    kv.save("newline.firth")
    capsys.readouterr()
    assert "words are written one per line, got 'a\\nb'" in error(
        capsys, "convert", "newline.firth", "n.npy"
    )
    assert not os.path.exists("n.npy")
