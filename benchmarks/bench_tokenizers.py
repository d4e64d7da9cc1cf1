"""Tokenizing against the Rust package `tokenizers` and transformers: MiniLM's WordPiece.

100,000 sentences of the dev corpus (../shared/data, lower-case). Packed ids are what firth's
encoders take; `tokenizers` makes an `Encoding` of a text, and its time ends there: arrays would
come on top. Padded arrays are what a call with ``return_tensors="np"`` gives, for the first 10,000
sentences: padding all of them takes the peers gigabytes. All ids are compared first. All subjects
use all threads.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

import firth
from bench_static import minilm
from bench_words import corpus_file
from harness import THREADS, Row, compared, interleave, size

LONGEST = 256
PADDED = 10_000
PEERS = {
    "packed": ("tokenizers encode_batch", "tokenizers encode_batch_fast"),
    "padded": ("transformers", "tokenizers encode_batch_fast, padded"),
}
WORK = {"packed": "packed ids", "padded": "BertTokenizer, padded int64 arrays"}


def subjects() -> dict[str, Callable[[list[str]], Any]]:
    """By name, what tokenizes a list of texts."""
    import transformers

    import tokenizers

    ours = firth.BertTokenizer.from_pretrained(minilm().parent)
    theirs = transformers.BertTokenizerFast.from_pretrained(str(minilm().parent))
    rust, padding = (tokenizers.Tokenizer.from_file(str(minilm())) for _ in range(2))
    for one in (rust, padding):
        one.enable_truncation(LONGEST)
        one.no_padding()
    padding.enable_padding()
    call = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "np"}

    def padded(texts: list[str]) -> dict[str, Any]:
        found = padding.encode_batch_fast(texts)
        names = {"input_ids": "ids", "token_type_ids": "type_ids",
                 "attention_mask": "attention_mask"}  # fmt: skip
        return {
            name: np.array([getattr(one, field) for one in found]) for name, field in names.items()
        }

    return {
        "packed": lambda texts: ours.encode_packed(texts, max_length=LONGEST),
        "padded": lambda texts: ours(texts, **call),
        "tokenizers encode_batch": rust.encode_batch,
        "tokenizers encode_batch_fast": rust.encode_batch_fast,
        "tokenizers encode_batch_fast, padded": padded,
        "transformers": lambda texts: theirs(texts, **call),
    }


def check(found: dict[str, Callable[[list[str]], Any]], texts: list[str]) -> None:
    """All give the same ids; those that pad, the same arrays."""
    packed = found["packed"](texts)
    mine = np.split(packed.ids, packed.offsets[1:-1])
    for peer in PEERS["packed"]:
        for row, encoding in zip(mine, found[peer](texts), strict=True):
            assert row.tolist() == encoding.ids
    texts = texts[:PADDED]
    arrays = found["padded"](texts)
    for peer in PEERS["padded"]:
        wanted = found[peer](texts)
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            np.testing.assert_array_equal(arrays[name], wanted[name])


def run(repeats: int = 5) -> list[Row]:
    """Seconds of text in, ids out; about 1 minute."""
    firth.set_num_threads(THREADS)
    found = subjects()
    with open(corpus_file(), encoding="utf-8") as file:
        sentences = [line.rstrip("\n") for line in islice(file, size(100_000))]
    check(found, sentences)
    rows = []
    for kind, peers in PEERS.items():
        texts = sentences if kind == "packed" else sentences[:PADDED]
        timings = interleave(
            {one: lambda f=found[one], t=texts: f(t) for one in (kind, *peers)}, repeats
        )
        work = f"{len(texts):,} sentences, {WORK[kind]}"
        for peer in peers:
            rows.append(compared(work, peer, timings[peer], timings[kind], "s", 2))
    return rows
