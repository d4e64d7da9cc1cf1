from __future__ import annotations

from pathlib import Path

import pytest

from topics import write_corpus


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fasttext")
    return (
        write_corpus(folder / "train.txt", 3000, 1),
        write_corpus(folder / "test.txt", 500, 2),
    )
