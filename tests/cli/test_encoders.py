"""`firth embed` and `models`: lines to vectors, interrupted runs, wrong input."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from commands import error
from firth import SentenceTransformer
from firth.cli import encoders, main
from sentence_folders import TEXTS, sentence_folder

LINES = [*TEXTS, "the \ufffd cat", "a dog"]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.chdir(tmp_path)
    sentence_folder(tmp_path / "model")
    content = "\n".join(LINES).encode().replace("\ufffd".encode(), b"\xff")
    (tmp_path / "texts.txt").write_bytes(content)
    return content


def want(**options) -> np.ndarray:
    return SentenceTransformer("model").encode(LINES, **options)


def test_every_line_has_a_row(text, capsys):
    assert main(["embed", "texts.txt", "-o", "out.npy", "--model", "model"]) == 0
    np.testing.assert_array_equal(np.load("out.npy"), want())
    assert capsys.readouterr().out.startswith(f"out.npy: {len(LINES)} vectors of 32 dimensions")
    assert sorted(p.name for p in Path().iterdir()) == ["model", "out.npy", "texts.txt"]
    arguments = ["embed", "texts.txt", "-o", "out.npy", "--model", "model", "--normalize"]
    assert main([*arguments, "--prompt", "the ", "--compute-type", "float32"]) == 0
    got = np.load("out.npy")
    model = SentenceTransformer("model", compute_type="float32")
    np.testing.assert_array_equal(
        got, model.encode(LINES, prompt="the ", normalize_embeddings=True)
    )


def test_stdin(text, monkeypatch, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert main(["embed", "empty", "-o", "out.npy", "--model", "model"]) == 0
    assert np.load("out.npy").shape == (0, 32)
    from commands import run

    found = run("embed", "-", "-o", "out.npy", "--model", "model", input=text.decode("latin-1"))
    assert found.returncode == 0, found.stderr
    assert len(np.load("out.npy")) == len(LINES)


def test_an_interrupted_run_continues(text, monkeypatch, capsys):
    monkeypatch.setattr(encoders, "_LINES", 3)
    encode, left = SentenceTransformer.encode, [2]

    def interrupted(self, texts, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", interrupted)
    command = ["embed", "texts.txt", "-o", "out.npy"]
    assert main([*command, "--model", "model", "--normalize"]) == 130
    assert "continue with: firth embed texts.txt -o out.npy --resume" in capsys.readouterr().err
    assert not Path("out.npy").exists()
    assert "is left from an interrupted run" in error(capsys, *command, "--model", "model")
    assert "leave it out" in error(capsys, *command, "--resume", "--model", "model")
    with open("out.npy.checkpoint", "ab") as file:
        file.write(b"abc")  # a part of a row
    before = Path("texts.txt").read_bytes()
    Path("texts.txt").write_bytes(before + b"x")
    assert "is not the text" in error(capsys, *command, "--resume")
    Path("texts.txt").write_bytes(before)
    left[0], seen = 99, []
    monkeypatch.setattr(
        SentenceTransformer, "encode",
        lambda self, texts, **options: seen.extend(texts) or encode(self, texts, **options),
    )  # fmt: skip
    assert main([*command, "--resume"]) == 0
    assert seen == LINES[6:]
    monkeypatch.setattr(SentenceTransformer, "encode", encode)
    np.testing.assert_array_equal(np.load("out.npy"), want(normalize_embeddings=True))
    assert not Path("out.npy.checkpoint").exists()


def test_a_model_that_has_changed(text, capsys, monkeypatch):
    command = ["embed", "texts.txt", "-o", "out.npy"]
    with monkeypatch.context() as patch:
        patch.setattr(SentenceTransformer, "encode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main([*command, "--model", "model"])
    (Path("model") / "config_sentence_transformers.json").write_text('{"truncate_dim": 7}')
    assert "model gives 7 dimensions, not the 32 of out.npy.checkpoint" in error(
        capsys, *command, "--resume"
    )


def test_errors_are_one_line(text, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    command = ["embed", "texts.txt", "-o", "out.npy"]
    assert "give a model" in error(capsys, *command)
    assert "must end in .npy" in error(capsys, "embed", "texts.txt", "-o", "x", "--model", "model")
    assert "nosuch" in error(capsys, "embed", "nosuch", "-o", "out.npy", "--model", "model")
    assert "no folder" in error(capsys, *command, "--model", "nosuch")
    assert "no folder" in error(capsys, *command, "--model", "no/such/model")
    Path("out.npy.checkpoint").write_bytes(b"{}")
    assert "is no checkpoint" in error(capsys, *command, "--resume")
    assert "stdin is gone" in error(capsys, "embed", "-", "-o", "out.npy", "--resume")


def test_models(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [])
    assert main(["models"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no models here" in printed.err
    root = tmp_path / "hub" / "models--some--one"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots").mkdir()
    folder = sentence_folder(root / "snapshots" / "abc")
    (tmp_path / "hub" / "models--half--there" / "snapshots" / "x").mkdir(parents=True)
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("some/one  bert, ")
    assert out.endswith(f"cache: {folder}\n")
    assert out.count("\n") == 1
    file = tmp_path / "package" / "small.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    package = types.SimpleNamespace(
        metadata={"Name": "some-package"},
        files=[Path("package/small.gguf"), Path("package/__init__.py")],
        locate_file=lambda name: tmp_path / name,
    )
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [package])
    assert main(["models"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"some-package  GGUF, 0.0 MB, package: {file}"
