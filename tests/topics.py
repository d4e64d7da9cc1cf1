"""Lines of words of four topics, and classifiers of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import firth.fasttext as fasttext

TOPICS = {
    "sport": "ball goal team match player coach score league win race",
    "food": "bread soup cheese salt apple dinner cook oven taste naïve-crème",
    "code": "loop array pointer compiler bug merge commit thread kernel test",
    "sky": "moon star comet orbit planet sun dust ring night telescope",
}
COMMON = ["the", "a", "of", "and", "to", "in", "it", "is", "was", "for", "on", "with", "as", "that"]


def write_corpus(path: Path, lines: int, seed: int, several: bool = False) -> Path:
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines):
            names = rng.choice(list(TOPICS), 1 + several * int(rng.integers(0, 2)), replace=False)
            own = [word for name in names for word in TOPICS[str(name)].split()]
            words = [*rng.choice(own, 4), *rng.choice(COMMON, 6)]
            rng.shuffle(words)
            labels = " ".join(f"__label__{name}" for name in names)
            file.write(f"{labels} {' '.join(words)}\n")
    return path


def train(path: Path, **arguments: object) -> fasttext.Model:
    return fasttext.train_supervised(
        path, **{"dim": 16, "epoch": 5, "lr": 0.5, "thread": 1, "verbose": 0, **arguments}
    )


LINE = "goal soup naïve-crème unseen \u3000 of __label__sport __label__none bug"
