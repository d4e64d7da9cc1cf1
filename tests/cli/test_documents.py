"""`firth index FOLDER`, `search`, `ask`, `eval-rag`: output and errors."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import causal_models
import firth
from commands import error
from firth.cli import main
from sentence_folders import sentence_folder


@pytest.fixture
def made(here: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder of documents and its knowledge base."""
    sentence_folder(Path("model"), most=40)
    Path("docs").mkdir()
    Path("docs/cat.txt").write_text("The cat\n\nThe cat sat on the mat.")
    Path("docs/dog.txt").write_text("A dog ran in the rain.")
    assert main(["index", "docs", "-o", "kb", "--embed", "model", "--metadata", '{"y": 1}']) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r"kb: 2 added; 2 documents, 2 passages, \d+\.\d s\n", out)
    return here


def test_documents_are_indexed_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("docs/new.txt").write_text("The sun.")
    Path("docs/new.png").write_bytes(b"x")
    assert main(["index", "-o", "kb", "docs/", "--metadata", '{"y": 1}']) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("kb: 1 added, 2 unchanged; 3 documents")
    assert printed.err == "firth: skipped docs/new.png: no reader for this suffix\n"
    assert main(["index", "documents", "docs", "-o", "kb"]) == 0
    assert capsys.readouterr().out.startswith("kb: 3 updated; 3 documents")
    Path("docs/new.txt").rename("docs/newer.txt")
    Path("docs/dog.txt").unlink()
    assert main(["index", "docs", "-o", "kb"]) == 0
    told = "kb: 1 added, 2 removed, 1 unchanged; 2 documents"
    assert capsys.readouterr().out.startswith(told)
    Path("more").mkdir()
    Path("docs").rename("elsewhere")  # a disk that is not there now, say: its documents stay
    assert main(["index", "more", "-o", "kb"]) == 0
    assert capsys.readouterr().out.startswith("kb: no documents; 2 documents")


def test_search(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "kb", "a mat", "-k", "1", "--mode", "keyword"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r"\d\.\d{4}  docs/cat\.txt:0-\d+  The cat The cat sat on the mat\.\n", out)
    assert main(["search", "kb", "rain", "--json", "--where", '{"y": {">": 0}}']) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["document"] for row in rows} == {"docs/cat.txt", "docs/dog.txt"}
    assert rows[0]["metadata"] == {"y": 1}
    assert main(["search", "kb", "rain", "--where", '{"y": 2}']) == 0
    assert capsys.readouterr().out == ""


def test_ask(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    causal_models.write(Path("chat.gguf"), more={"llama.context_length": 4000})
    command = ["ask", "kb", "the mat", "--chat", "chat.gguf", "--max-tokens", "4", "--floor"]
    assert main([*command, "1"]) == 0
    assert capsys.readouterr().out == "I do not know.\n"
    assert main([*command, "-1", "--show-prompt", "-k", "1"]) == 0
    printed = capsys.readouterr()
    assert "[1] docs/" in printed.out
    assert "> The cat sat on the mat." in printed.out
    assert printed.err == ""


def test_evaluation(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"question": "the cat sat on the mat", "doc": "cat.txt", "answer": "sat  ON the mat"},
        {"question": "rain", "doc": "dog.txt", "answer": "nowhere"},
        {"question": "rain", "doc": "none.txt", "answer": "rain"},
    ]
    Path("qa.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert main(["eval-rag", "kb", "qa.jsonl", "--mode", "keyword"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "firth: kb lacks 1 documents of questions: none.txt, ...\n"
    assert printed.out == (
        "keyword  hit@1  66.7%   hit@5  66.7%   hit@10  66.7%   MRR 0.667   "
        "answer in the first 5 passages  66.7%\n3 questions\n"
    )
    assert main(["eval-rag", "kb", "qa.jsonl"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "hybrid", "dense", "keyword", "3",
    ]  # fmt: skip
    for text, message in {
        "": "qa.jsonl: has no questions",
        '{"question": "x"}': "qa.jsonl: line 1 must be",
        '\n{"question": "x", "doc": "d", "answer": 3}': "qa.jsonl: line 2 must be",
        "[]": "qa.jsonl: line 1 must be",
    }.items():
        Path("qa.jsonl").write_text(text)
        assert error(capsys, "eval-rag", "kb", "qa.jsonl").startswith(message)


def test_errors(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "index", "none", "-o", "new") == "none: no such file or folder"
    assert not Path("new").exists()
    assert (
        error(capsys, "index", "docs", "-o", "corpus.txt") == "corpus.txt: is a file; give a folder"
    )
    assert "required: -o" in error(capsys, "index", "docs")
    assert error(capsys, "search", "docs", "x").startswith("docs: no knowledge base; firth index")
    serve = ("serve", "--embed", "model", "--port", "0", "--kb")
    assert error(capsys, *serve, "docs").startswith("docs: no knowledge base; firth index")
    assert not Path("docs/knowledge.sqlite").exists()
    assert "the query is empty" in error(capsys, "search", "kb", " ")
    assert error(capsys, "ask", "none", "x", "--chat", "x").startswith("none: no knowledge base")
    assert "must be JSON" in error(capsys, "search", "kb", "x", "--where", "{")
    assert "where: 'y' must have one of" in error(
        capsys, "search", "kb", "x", "--where", '{"y":{"a":1}}'
    )
    assert "embed is model in kb" in error(capsys, "index", "docs", "-o", "kb", "--embed", "other")
    assert "size is" in error(capsys, "index", "docs", "-o", "kb", "--size", "99")
    Path("docs/bad.csv").write_text("a\n1,2\n")
    assert error(capsys, "index", "docs/bad.csv", "-o", "kb").startswith(str(made / "docs/bad.csv"))
    assert error(capsys, "eval-rag", "kb", "none") == "none: no such file or directory"
    Path("kb/knowledge.sqlite").write_bytes(b"x" * 10_000)
    assert "is no knowledge base, or damaged" in error(capsys, "search", "kb", "x")


def test_watch_follows_until_it_is_stopped(made: Path) -> None:
    command = [sys.executable, "-u", "-m", "firth", "index", "docs", "-o", "kb", "--watch",
               "--seconds", "0.05", "--metadata", '{"y": 1}']  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        assert run.stdout.readline().startswith("kb: 2 unchanged; 2 documents")
        Path("docs/late.txt").write_text("late")
        assert run.stdout.readline().startswith("kb: 1 added, 2 unchanged; 3 documents")
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
    with firth.KnowledgeBase("kb") as kb:
        assert "docs/late.txt" in kb
