"""The program as a whole: help, exit codes, what is printed where."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import firth.cli
from commands import error, run
from firth import KeyedVectors
from firth.cli import main


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "train" in capsys.readouterr().out
    for arguments in (["--version"], ["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    assert "skip-gram" in capsys.readouterr().out


def test_wrong_arguments(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in {
        ("nonsense",): "invalid choice: 'nonsense'",
        ("similar", "words.firth"): "required: word",
        ("similar", "words.firth", "king", "-n", "0"): "must be at least 1, got 0",
        ("train", "corpus.txt", "--dim", "x"): "invalid whole number value: 'x'",
        ("train", "corpus.txt", "--alpha", "0"): "must be above 0, got 0",
        ("train", "corpus.txt", "--sample", "-1"): "must be above 0, got -1",
        ("train", "corpus.txt", "--alpha", "nan"): "must be above 0, got nan",
        ("train", "corpus.txt", "--mode", "both"): "invalid choice: 'both'",
    }.items():
        got = error(capsys, *arguments)
        assert message in got
        assert "--help)" in got


def test_the_process(here: Path) -> None:
    done = run("similar", "words.firth", "king", "-n", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.9996  queen\n", "")
    done = run("similar", "words.firth", "kin")
    assert done.returncode == 2
    assert done.stderr.startswith("firth: error: 'kin' is not among")


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_that_goes_away(here: Path) -> None:
    kv = KeyedVectors(2)
    kv.add_vectors([f"word{row}" for row in range(20_000)], np.ones((20_000, 2)))
    kv.save("many.firth")
    command = f"'{sys.executable}' -m firth similar many.firth word0 -n 20000 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "1.0000  word1\n"
    assert done.stderr == ""


def test_words_that_the_terminal_cannot_show(here: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("similar", "words.firth", "king", env=environment)
    assert done.returncode == 0, done.stderr
    assert "na\\xefve" in done.stdout


def test_only_four_functions_print() -> None:
    """`say`, `write`, `say_in_colours` and `complain` escape what a terminal would obey; the rest
    must go through them.
    """
    for path in Path(firth.cli.__file__).parent.glob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        printing = [call for call in calls if call.func.id == "print" and call.args]  # type: ignore[attr-defined]
        assert len(printing) == (4 if path.name == "common.py" else 0), path


@pytest.mark.parametrize("character", ["\x1b", "\r", "\x07", "\x9b", "\u202e", "\u2028"])
def test_words_cannot_steer_the_terminal(
    here: Path, capsys: pytest.CaptureFixture[str], character: str
) -> None:
    kv, word, joined = KeyedVectors(3), f"a{character}[31mb", "می\u200cخواهم"
    kv.add_vectors(["king", word, joined], np.array([[0.8, 0.65, 0.1]] * 3))
    kv.save("words.firth")
    escaped = word.encode("unicode_escape").decode()
    assert main(["index", "build", "words.firth", "-o", "x.index"]) == 0
    capsys.readouterr()
    for command in ("similar words.firth king", "index search x.index king"):
        assert main(command.split()) == 0
        # Other characters stay: here one that joins letters.
        assert f"1.0000  {escaped}\n1.0000  {joined}\n" in capsys.readouterr().out
    Path("one.vec").write_text(f"1 2\n{word} 1 2\n", newline="")
    if character not in "\r\x1b\x07":  # as in text, where these are white space or refused
        assert main(["info", "one.vec"]) == 0
        assert escaped in capsys.readouterr().out
    assert escaped in error(capsys, "similar", "words.firth", word + "x")


@pytest.mark.skipif(os.name != "posix", reason="closes streams of the shell")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_takes_nothing_to_the_other(here: Path, closed: str) -> None:
    for command, code, stream in (("similar words.firth kin", 2, "2"),
                                  ("similar words.firth king", 0, "1"),
                                  ("train corpus.txt -o out.firth", 0, "1")):  # fmt: skip
        line = f"'{sys.executable}' -m firth {command} {closed}>&-"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == code, done
        printed = {"1": done.stdout, "2": done.stderr}
        assert printed.pop(closed) == ""
        (rest,) = printed.values()
        assert bool(rest) == (stream != closed)
