"""`firth classify`: fastText's classifiers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import firth
from commands import error, run
from firth import _native
from firth.cli import main
from interrupting import interrupt


@pytest.fixture
def labelled(here: Path) -> Path:
    Path("labelled.txt").write_text("__label__royal king queen\n__label__food apple pear\n" * 50)
    return here


def test_a_classifier(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "-o m.bin --dim 8 --epochs 20 --alpha 0.5 --word-ngrams 2 --bucket 100 --workers 1"
    assert main(["classify", "train", "labelled.txt", *options.split()]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("m.bin: 5 words, 2 labels, 8 dimensions, ")
    model = firth.fasttext.load_model("m.bin")
    assert (model.dim, model.epoch, model.wordNgrams, model.bucket) == (8, 20, 2, 100)
    Path("in.txt").write_bytes(b"king queen\n\nap\xffple apple\nunknown")
    assert main(["classify", "predict", "m.bin", "in.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["__label__royal", "__label__food"]
    assert len(lines) == 4
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "-1"]) == 2
    capsys.readouterr()
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "2", "--probabilities"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert [first[0], first[2]] == ["__label__royal", "__label__food"]
    labels, probabilities = model.predict("king queen", 2)
    assert first == [
        text
        for label, one in zip(labels, probabilities, strict=True)
        for text in (label, f"{min(one, 1):.4f}")
    ]
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "2", "--threshold", "0.9"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "__label__royal"
    assert main(["classify", "test", "m.bin", "labelled.txt", "--per-label"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["lines   100", "P@1     1.000", "R@1     1.000"]
    assert sorted(line.split()[-1] for line in lines[3:]) == ["__label__food", "__label__royal"]
    done = run(
        "classify", "test", "m.bin", "-", "--per-label", input=Path("labelled.txt").read_text()
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, lines)
    done = run("classify", "predict", "m.bin", "-", input="king queen\napple")
    assert (done.returncode, done.stdout) == (0, "__label__royal\n__label__food\n")


def test_each_line_of_a_pipe_is_answered_at_once(labelled: Path) -> None:
    options = "-o m.bin --dim 4 --workers 1"
    assert main(["classify", "train", "labelled.txt", *options.split()]) == 0
    command = [sys.executable, "-m", "firth", "classify", "predict", "m.bin", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):  # the second only when the first has been answered
            process.stdin.write(b"king\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"__label__")
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_small_classifier(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    lines = (f"__label__{n % 3} w{n % 3} w{rng.integers(400)}" for n in range(3000))
    Path("labelled.txt").write_text("\n".join(lines) + "\n")
    assert main(["classify", "train", "labelled.txt", "-o", "m.ftz", "--dim", "4"]) == 0
    assert firth.fasttext.load_model("m.ftz").is_quantized()
    capsys.readouterr()
    assert main(["info", "m.ftz"]) == 0
    assert "supervised" in capsys.readouterr().out


def test_what_cannot_be_classified(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["classify", "train", "labelled.txt", "-o"]
    for name in ("m", "m.firth", "m.bin.gz"):
        assert error(capsys, *train, name) == f"{name}: the name must end in .bin or .ftz"
    assert error(capsys, *train, "no/m.bin").endswith("does not exist")
    os.link("labelled.txt", "same.bin")
    assert "is the input" in error(capsys, *train, "same.bin")
    assert error(capsys, "classify", "train", "none", "-o", "m.bin") == (
        "none: no such file or directory"
    )
    assert "corpus.txt: train_supervised: no word of the file begins with '__label__'" in error(
        capsys, "classify", "train", "corpus.txt", "-o", "m.bin"
    )
    assert "at least 256 rows" in error(capsys, *train, "m.ftz")
    assert "invalid choice: 'x'" in error(capsys, *train, "m.bin", "--loss", "x")
    assert not os.path.exists("m.bin")
    assert not os.path.exists("m.ftz")
    model = firth.fasttext.train_unsupervised("corpus.txt", dim=4, bucket=10, verbose=0)
    model.save_model("words.bin")
    for command in ("predict", "test"):
        assert error(capsys, "classify", command, "words.bin", "labelled.txt") == (
            "words.bin: holds word vectors, not a classifier"
        )
        assert "words.firth" in error(capsys, "classify", command, "words.firth", "labelled.txt")
        assert "no such file" in error(capsys, "classify", command, "none", "labelled.txt")


def test_training_is_resumed_to_the_same_bits(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM in the second epoch; all that shapes the model comes from the checkpoint."""
    options = "--dim 5 --epochs 4 --lr 0.3 --word-ngrams 2 --bucket 50 --seed 3 --workers 1"
    assert main(["classify", "train", "labelled.txt", "-o", "whole.bin", *options.split()]) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, _native.fasttext, "FastTextTrainer", lambda epochs: epochs[-1] == 1)
        capsys.readouterr()
        command = ["classify", "train", "labelled.txt", "-o", "m.bin"]
        assert main([*command, *options.split()]) == 143
    again = f"firth {' '.join(command)} --resume"
    message = f"the state is in m.bin.checkpoint; continue with: {again}\n"
    assert capsys.readouterr().err == f"\nfirth: terminated; {message}"
    assert "remove the file to start anew" in error(capsys, *command)
    assert "takes --dim from the checkpoint" in error(capsys, *command, "--resume", "--dim", "3")
    Path("other.txt").write_text("__label__a x\n")
    message = error(capsys, "classify", "train", "other.txt", "-o", "m.bin", "--resume")
    assert message == "m.bin.checkpoint: the checkpoint belongs to another text"
    assert main([*command, "--resume", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("m.bin: 5 words, 2 labels, 5 dimensions")
    assert Path("m.bin").read_bytes() == Path("whole.bin").read_bytes()
    assert not Path("m.bin.checkpoint").exists()
    assert "there is no m.bin.checkpoint" in error(capsys, *command, "--resume")


def test_training_on_standard_input(labelled: Path) -> None:
    text = Path("labelled.txt").read_text()
    options = ["--dim", "4", "--workers", "1"]
    done = run("classify", "train", "-", "-o", "m.bin", *options, input=text)
    assert done.returncode == 0, done.stderr
    assert main(["classify", "train", "labelled.txt", "-o", "same.bin", *options]) == 0
    assert Path("m.bin").read_bytes() == Path("same.bin").read_bytes()
    done = run("classify", "train", "-", "-o", "m.bin", input="no label\n")
    assert (done.returncode, done.stderr[:30]) == (2, "firth: error: standard input: ")


@pytest.mark.parametrize("text", ["king queen\n", "", "\n\n", "__label__unknown king\n"])
def test_a_test_without_labels(
    labelled: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main(["classify", "train", "labelled.txt", "-o", "m.bin", "--dim", "4"]) == 0
    Path("in.txt").write_text(text)
    capsys.readouterr()
    message = error(capsys, "classify", "test", "m.bin", "in.txt")
    assert message.startswith("in.txt: no line has a label of the model, as '__label__")
    done = run("classify", "test", "m.bin", "-", input=text)
    want = "firth: error: standard input: no line has a label of the model, as '__label__"
    assert (done.returncode, done.stderr[: len(want)]) == (2, want)
