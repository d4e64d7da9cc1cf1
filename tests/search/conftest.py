from __future__ import annotations

from pathlib import Path

import pytest

import firth
from search.stored import FOUR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.index"


@pytest.fixture
def index():
    index = firth.Index(3)
    index.add(FOUR)
    return index


@pytest.fixture
def named():
    index = firth.Index(3)
    index.add(FOUR, ["a", "b", "c", "d"])
    return index
