"""A server of small random models on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from causal_models import write
from firth import BertForSequenceClassification, CausalLM, CrossEncoder, SentenceTransformer
from firth.serve import create_app
from sentence_folders import sentence_folder, transformer
from serving import running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a model of each kind: chat.gguf, embed, rerank."""
    root = tmp_path_factory.mktemp("served")
    write(root / "chat.gguf")
    (root / "embed").mkdir()
    sentence_folder(root / "embed")
    (root / "rerank").mkdir()
    transformer(
        root / "rerank", BertForSequenceClassification, id2label={"0": "x"}, label2id={"x": 0},
        architectures=["BertForSequenceClassification"],
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def chat_model(folder: Path) -> CausalLM:
    return CausalLM.from_pretrained(folder / "chat.gguf")


@pytest.fixture(scope="session")
def embed_model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder / "embed")


@pytest.fixture(scope="session")
def rerank_model(folder: Path) -> CrossEncoder:
    return CrossEncoder(folder / "rerank")


@pytest.fixture(scope="session")
def app(folder: Path) -> Any:
    return create_app(
        chat={"small": folder / "chat.gguf", "owner/other": folder / "chat.gguf"},
        embed=folder / "embed",
        rerank=folder / "rerank",
        slots=4,
    )


@pytest.fixture(scope="session")
def url(app: Any) -> Iterator[str]:
    with running(app) as found:
        yield found
