"""A small random embedding model, and knowledge bases made with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import firth
from firth import KnowledgeBase, SentenceTransformer
from sentence_folders import sentence_folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_folder(tmp_path_factory.mktemp("embed") / "model", most=40)


@pytest.fixture(scope="session")
def model(model_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(model_folder)


@pytest.fixture
def kb(tmp_path: Path, model: SentenceTransformer) -> Iterator[KnowledgeBase]:
    with firth.KnowledgeBase(tmp_path / "kb", model, size=16, overlap=4) as made:
        yield made


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of three documents."""
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    (folder / "cats.txt").write_text("The cats\n\nA cat sat on the mat. The cat ran in the rain.\n")
    (folder / "bank.md").write_text("# The bank\n\nMoney.\n\n## River\n\nThe bank of the river.\n")
    (folder / "more" / "dogs.txt").write_text("A dog ran in the sun.")
    return folder
