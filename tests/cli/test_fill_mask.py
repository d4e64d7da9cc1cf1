"""`firth fill-mask`: texts and lines of stdin, several masks, wrong input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from commands import error, run
from firth.cli import main
from firth.encoders import fill_mask
from sentence_folders import WORDS, transformer

TEXT = "the [MASK] sat on the mat."
COMMAND = ["fill-mask", TEXT, "--model", "model"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    transformer(tmp_path / "model", firth.BertForMaskedLM)


def want(text: str, number: int) -> list[list[str]]:
    """The lines for each mask."""
    model = firth.BertForMaskedLM.from_pretrained("model")
    found: Any = fill_mask(model, firth.AutoTokenizer.from_pretrained("model"), text, number)
    masks = found if isinstance(found[0], list) else [found]
    return [[f"{one['score']:.4f}  {one['token_str']}" for one in best] for best in masks]


def groups(printed: str) -> list[list[str]]:
    assert printed.endswith("\n")
    return [part.split("\n") for part in printed[:-1].split("\n\n")]


def test_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMAND) == 0
    printed = capsys.readouterr().out
    assert groups(printed) == want(TEXT, 5)
    scores = np.array([float(line.split()[0]) for line in printed.splitlines()])
    assert len(scores) == 5
    assert scores[0] > scores[-1] > 0
    two = "[MASK] cat sat on [MASK] mat"
    assert main(["fill-mask", two, "--model", "model", "-k", "2"]) == 0
    assert groups(capsys.readouterr().out) == want(two, 2)


def test_lines_of_stdin() -> None:
    texts = [TEXT, "[MASK] and [MASK]", "a d\u00f6g [MASK]"]
    done = run("fill-mask", "-", "--model", "model", "-k", "1", input="\r\n".join(texts))
    assert done.returncode == 0, done.stderr
    assert groups(done.stdout) == [group for text in texts for group in want(text, 1)]
    done = run("fill-mask", "-", "--model", "model", input="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("fill-mask", "-", "--model", "model", input=f"{TEXT}\n\n{TEXT}\n")
    assert done.returncode == 2
    assert groups(done.stdout) == want(TEXT, 5)
    assert done.stderr == ("firth: error: line 2: fill_mask: the text must have a mask, [MASK]\n")


def test_any_bytes_are_a_text() -> None:
    broken = os.fsdecode(b"\xff [MASK]")  # as the command line of a process gives it
    done = run("fill-mask", broken, "--model", "model", "-k", "1")
    assert done.returncode == 0, done.stderr
    assert groups(done.stdout) == want("\ufffd [MASK]", 1)


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: --model" in error(capsys, "fill-mask", TEXT)
    assert "at least 1" in error(capsys, *COMMAND, "-k", "0")
    assert "must have a mask" in error(capsys, "fill-mask", "a cat", "--model", "model")
    long = "[MASK] " + "the " * 50
    assert "positions for 40" in error(capsys, "fill-mask", long, "--model", "model")
    transformer(Path("bare"), firth.AutoModel)
    assert "has no array 'cls.pred" in error(capsys, "fill-mask", TEXT, "--model", "bare")
    Path("model/tokenizer.json").unlink()
    Path("model/tokenizer_config.json").unlink()
    assert "tokenizer" in error(capsys, *COMMAND)
    assert "no folder" in error(capsys, "fill-mask", TEXT, "--model", "./nowhere")


def test_a_tokenizer_without_a_mask() -> None:
    tokenizer = firth.AutoTokenizer.from_pretrained("model")
    model = firth.BertForMaskedLM.from_pretrained("model")
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="must have a mask token, and has none"):
        fill_mask(model, tokenizer, TEXT)


def test_models_with_more_rows_than_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of words are often padded; what is no token has no text."""
    transformer(Path("padded"), firth.BertForMaskedLM, vocab_size=64)
    assert main(["fill-mask", TEXT, "--model", "padded", "-k", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 64
    assert {line.split()[-1] for line in lines if len(line.split()) == 2} <= {*WORDS}
    assert sum(len(line.split()) == 1 for line in lines) == 64 - len(WORDS)
