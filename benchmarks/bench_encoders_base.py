"""A random BERT of base size (12 layers, width 768), texts of 128 tokens, the peers of MiniLM."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import firth
from bench_encoders import embedders, firths, minilm, paragraphs, peers, rows_of, tokens_of
from harness import THREADS, Row, size


def cut(model: Any, words: list[str]) -> str:
    """The first words, as many as have 128 tokens or a little less."""
    while tokens_of(model, [" ".join(words)]) > 128:
        words = words[:-1]
    return " ".join(words)


def base(work: Path) -> Path:
    """A random BERT of base size with MiniLM's tokenizer, as sentence-transformers loads it."""
    import torch
    import transformers

    folder = work / "base"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        position_embedding_type="absolute",  # which CTranslate2 asks for
        num_hidden_layers=size(12, 2),
        hidden_size=size(768, 96),
        intermediate_size=size(3072, 128),
    )
    transformers.BertModel(config).save_pretrained(folder)
    for path in minilm().glob("*token*.json"):
        shutil.copy(path, folder)
    shutil.copy(minilm() / "vocab.txt", folder)
    return folder


def run(repeats: int = 5) -> list[Row]:
    """Tokens a second; about 8 minutes."""
    firth.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        return rows_of_base(Path(name), size(repeats, 1))


def rows_of_base(work: Path, repeats: int) -> list[Row]:
    """A random BERT of base size."""
    folder = base(work)
    models, theirs = firths(folder), peers(folder, work, size(32, 4))
    words = " ".join(paragraphs(10_000)).split()
    texts = [cut(models["float32"], words[90 * i : 90 * (i + 1)]) for i in range(size(64, 4))]
    amount = tokens_of(models["float32"], texts)
    goals = {"float32": 1.1, "bfloat16": 1.2, "int8": 1.5}
    name = f"BERT of base size, {len(texts)} texts of 128 tokens"
    return rows_of(name, texts, embedders(models), theirs, goals, amount, repeats)
