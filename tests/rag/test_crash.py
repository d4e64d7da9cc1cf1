"""A process that is killed leaves a knowledge base that opens and is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processes import program


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [40, pytest.param(150, marks=pytest.mark.slow)])
def test_writers_are_killed(kills: int, tmp_path: Path, model_folder: Path) -> None:
    crash = Path(__file__).with_name("crash.py")
    said = program(crash, str(tmp_path), str(model_folder), str(kills))
    assert said.startswith(f"{kills} kills, ")
