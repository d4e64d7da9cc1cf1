"""`firth tokenize`: pieces, ids and counts of texts, files and stdin; colours; wrong input."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from commands import error, run
from firth import BertTokenizer
from firth.cli import main
from firth.cli.common import say_in_colours
from sentence_folders import TEXTS, WORDS, write_tokenizer

MODEL = ["--model", "model"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    Path("model").mkdir()
    write_tokenizer(Path("model"))
    Path("model/tokenizer_config.json").write_text(json.dumps({"model_max_length": 8}))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["tokenize", *arguments, *MODEL]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out.splitlines()


def test_pieces_and_ids(capsys):
    assert printed(capsys, "Dogs ran, unheardof", "") == [
        "[CLS] dog ##s ran , [UNK] [SEP]",
        "[CLS] [SEP]",
    ]
    wanted = [WORDS.index(token) for token in ("[CLS]", "cat", "##s", "[SEP]")]
    assert printed(capsys, "cats", "--ids") == [" ".join(map(str, wanted))]


def test_counts(capsys):
    tokenizer = BertTokenizer.from_pretrained("model")
    counts = [len(row) for row in tokenizer(TEXTS, verbose=False)["input_ids"]]
    over = sum(count > 8 for count in counts)
    assert 0 < over < len(TEXTS)
    assert printed(capsys, *TEXTS, "--count") == [
        *map(str, counts),
        f"{sum(counts)} tokens in {len(TEXTS)} lines; {over} longer than the model's 8",
    ]
    Path("model/tokenizer_config.json").unlink()
    assert printed(capsys, "a cat", "--count")[-1] == "4 tokens in 1 line"


def test_file_and_stdin(capsys):
    content = "the cat\r\na b\ufffd\n\nmoney".encode().replace("\ufffd".encode(), b"\xff")
    Path("texts.gz").write_bytes(gzip.compress(content))
    wanted = ["[CLS] the cat [SEP]", "[CLS] a b [SEP]", "[CLS] [SEP]", "[CLS] money [SEP]"]
    assert printed(capsys, "--file", "texts.gz") == wanted
    assert printed(capsys, "--file", "texts.gz", "--count")[-1].startswith("13 tokens in 4 lines")
    for texts in ([], ["-"]):
        found = run("tokenize", *texts, *MODEL, input="the cat\r\na b\n\nmoney")
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.splitlines() == wanted
    assert run("tokenize", *MODEL, "--count", input="").stdout.startswith("0 tokens in 0 lines")


def test_colours_on_a_terminal(capsys, monkeypatch):
    plain = printed(capsys, "dogs ran")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    (found,) = printed(capsys, "dogs ran")
    words = found.split(" ")
    assert [word.split("m", 1)[1].removesuffix("\x1b[0m") for word in words] == plain[0].split(" ")
    colours = [word.split("m", 1)[0] for word in words]
    assert colours[1] == colours[2] != colours[3]  # dog ##s, ran
    assert colours[0] == colours[4]  # special tokens
    assert len(set(colours)) == 3
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(capsys, "dogs ran") == plain
    monkeypatch.setenv("NO_COLOR", "")
    say_in_colours([("a\x1b[2Jb", 0)])
    assert capsys.readouterr().out == "\x1b[36ma\\x1b[2Jb\x1b[0m\n"


def test_wrong_input(capsys):
    assert "required: --model" in error(capsys, "tokenize", "a")
    assert "there is no folder 'no/such/folder'" in error(
        capsys, "tokenize", "a", "--model", "no/such/folder"
    )
    both = error(capsys, "tokenize", "a", "--file", "texts", *MODEL)
    assert both == "give texts or --file, not both"
    assert error(capsys, "tokenize", "--file", "none", *MODEL) == "none: no such file or directory"
    assert "not allowed with" in error(capsys, "tokenize", "a", "--ids", "--count", *MODEL)
    Path("model/tokenizer.json").write_text("{")
    assert "malformed tokenizer" in error(capsys, "tokenize", "a", *MODEL)
    Path("model/tokenizer.json").unlink()
    assert "model" in error(capsys, "tokenize", "a", *MODEL)
