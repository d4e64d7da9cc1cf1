"""A process that is killed leaves a knowledge base that opens and is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [40, pytest.param(150, marks=pytest.mark.slow)])
def test_writers_are_killed(kills: int, tmp_path: Path, model_folder: Path) -> None:
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HERE.with_name("crash.py"), tmp_path, model_folder, str(kills)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{kills} kills, ")
