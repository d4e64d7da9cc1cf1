"""``firth quantize``: what it prints, and its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from commands import error
from firth.cli import main
from firth.formats import gguf


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    arrays = {
        "token_embd.weight": np.ones((10, 64), np.float16),
        "output_norm.weight": np.ones(64, np.float32),
    }
    gguf.write("model.gguf", {"general.architecture": "llama"}, arrays)
    return "model.gguf"


def test_quantize(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", model, "out.gguf", "--type", "Q8_0"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "out.gguf: 0.0 MB (from 0.0 MB); arrays: 1 Q8_0, 1 float32\n"
    assert printed.err == ""
    assert gguf.read("out.gguf").arrays["token_embd.weight"].type.name == "Q8_0"
    assert main(["quantize", "out.gguf", "again.gguf", "--type", "F16"]) == 0
    assert "warning: the model is quantised already" in capsys.readouterr().err
    assert (gguf.read("again.gguf").arrays["token_embd.weight"] == 1).all()
    Path("folder").mkdir()
    Path(model).rename("folder/model.gguf")
    assert main(["quantize", "folder", "again.gguf", "--type", "Q8_0"]) == 0
    assert "(from 0.0 MB)" in capsys.readouterr().out


def test_errors(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*arguments: str) -> str:
        return error(capsys, "quantize", *arguments)

    assert "--type" in fails(model, "out.gguf")
    assert "invalid choice: 'Q4'" in fails(model, "out.gguf", "--type", "Q4")
    assert fails("none", "out.gguf", "--type", "Q8_0") == "none: no such file or directory"
    Path("empty").mkdir()
    assert "no config.json" in fails("empty", "out.gguf", "--type", "Q8_0")
    Path("empty/config.json").write_text('{"model_type": "t5"}')
    assert "'t5' is not one of the generators" in fails("empty", "out.gguf", "--type", "Q8_0")
    assert "is the input" in fails(model, model, "--type", "Q8_0")
    Path("prose").write_text("It was a dark night.")
    assert fails("prose", "out.gguf", "--type", "Q8_0") == "prose: is not a GGUF file (byte 0)"
    assert not Path("out.gguf").exists()
