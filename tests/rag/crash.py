"""Kills writers of a knowledge base at random places: ``crash.py FOLDER MODEL KILLS``.

A child adds, changes and removes documents over and over, and reports on a pipe each time a call
has returned; it is killed after some calls and microseconds. Then the knowledge base must open and
be whole, with each reported change in it, and at most one more, which is whole too. It is a program
of its own because it forks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import firth
from firth.rag import adding
from killing import killed
from rag.whole import check_whole_kb

WORDS = [
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "in",
    "sun",
    "rain",
    "bank",
    "river",
    "money",
    "a",
    "the",
]


def change(rng: np.random.Generator, texts: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Texts to add or change, and documents to remove, of those that there are."""
    if rng.integers(4) == 0 and texts:
        names = list(texts)
        return {}, [names[i] for i in rng.choice(len(names), min(3, len(names)), replace=False)]
    count = int(rng.integers(1, 6))
    new = {
        f"d{rng.integers(40)}": " ".join(rng.choice(WORDS, rng.integers(0, 200)))
        for _ in range(count)
    }
    return new, []


def apply(texts: dict[str, str], new: dict[str, str], gone: list[str]) -> dict[str, str]:
    return {name: text for name, text in {**texts, **new}.items() if name not in gone}


def write(
    folder: Path, model: firth.SentenceTransformer, texts: dict[str, str], seed: int, pipe: int
) -> None:
    """The child: change documents until it is killed."""
    rng = np.random.default_rng(seed)
    kb = firth.KnowledgeBase(folder, model, size=16, overlap=4)
    os.write(pipe, b"o")
    while True:
        new, gone = change(rng, texts)
        if gone:
            kb.delete(gone)
        else:
            kb.add(new)
        os.write(pipe, b".")
        texts = apply(texts, new, gone)


def kill_once(
    folder: Path, model: firth.SentenceTransformer, texts: dict[str, str], seed: int
) -> tuple[dict[str, str], int]:
    """What is there after a child was killed, and the number of its changes."""
    rng = np.random.default_rng(seed)
    wanted, seconds = int(seed % 8 and 1 + rng.integers(8)), rng.uniform(0, 0.01)
    done = killed(lambda pipe: write(folder, model, texts, seed, pipe), wanted, seconds)
    rng = np.random.default_rng(seed)
    for _ in range(done):
        texts = apply(texts, *change(rng, texts))
    further = apply(texts, *change(rng, texts))
    with firth.KnowledgeBase(folder, model, size=16, overlap=4) as kb:
        check_whole_kb(kb)
        found = {name: kb.text(name) for name in kb.documents}
    # A call is one batch here, so it is there whole or not at all.
    assert found in (texts, further), f"seed {seed}: something was lost after {done} changes"
    return found, done


def main(folder: Path, model_folder: Path, kills: int) -> None:
    firth.set_num_threads(1)  # a child has no threads of its parent
    model = firth.SentenceTransformer(model_folder)
    texts: dict[str, str] = {}
    changes = 0
    for seed in range(kills):
        texts, done = kill_once(folder / "kb", model, texts, seed)
        changes += done
    print(f"{kills} kills, {changes} changes, {len(texts)} documents")
    assert adding._BATCH > 10_000
    assert changes > kills
    assert texts


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
