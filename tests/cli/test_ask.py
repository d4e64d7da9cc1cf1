"""Queries and evaluation of vectors: `similar`, `analogy`, `eval`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from commands import error
from firth import KeyedVectors
from firth.cli import main


def test_similar_and_analogy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "words.firth", "king", "-n", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "0.9996  queen\n0.8555  woman\n"
    assert printed.err == ""
    assert main(["analogy", "words.firth", "king", "man", "woman"]) == 0
    assert capsys.readouterr().out.split()[1] == "queen"


def test_what_cannot_be_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "similar", "words.firth", "quen") == (
        "'quen' is not among the 6 words of words.firth; did you mean queen?"
    )
    assert error(capsys, "similar", "words.firth", "King").endswith("did you mean king?")
    assert "xyzzy" in error(capsys, "analogy", "words.firth", "king", "xyzzy", "woman")
    assert error(capsys, "similar", "none", "x") == "none: no such file or directory"
    assert error(capsys, "similar", ".", "x") == (
        ".: is not a folder of spaCy's vectors or of model2vec"
    )
    for content, message in {
        b"": "is empty",
        b"just some text\n": "is not a file of vectors",
        b"\x80\x04\x95": "is a damaged pickle",
        b"PK\x03\x04...": "is a zip archive",
        b"\x93FIRTH\r\n": "ends within its first bytes",
        b"5 3\nking 1 2 3\n": "is too short",
    }.items():
        Path("file").write_bytes(content)
        assert f"file: {message}" in error(capsys, "similar", "file", "x")
    damaged = bytearray(Path("words.firth").read_bytes())
    damaged[-1] ^= 1
    Path("file").write_bytes(damaged)
    assert "checksum" in error(capsys, "info", "file")


def test_wrong_judgements(wrong: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("one").write_text("king\tqueen\t1\n")
    for name, pairs, analogies in [
        ("none", "no such file or directory", "no such file or directory"),
        ("folder", "is a directory", "is a directory"),
        ("empty", "has no pair that can be used", "has no sections"),
        ("prose", "has no pair that can be used", "missing section"),
        ("bytes", "codec can't decode", "missing section"),
        ("one", "at least 2", "missing section"),
    ]:
        for option, message in (("--pairs", pairs), ("--analogies", analogies)):
            got = error(capsys, "eval", "words.firth", option, name)
            assert message in got
            assert name in got


def test_eval_has_questions_of_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["king", "queen", "man", "woman", "car", "automobile", "river", "arithmetic"]
    kv = KeyedVectors(4)
    rows = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.01, 0], [0, 0, 1, 0], [0, 0, 1, 0.1],
            [0, 0, 1, 1], [0, 1, -1, 0]]  # fmt: skip
    kv.add_vectors(words, np.array(rows, float))
    kv.save("v.firth")
    assert main(["eval", "v.firth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pairs.tsv ")
    assert lines[-1].startswith("Total accuracy ")
    assert any(line.startswith("man and woman") and "of 2" in line for line in lines)
