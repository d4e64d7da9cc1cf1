"""A folder of documents of all kinds, some of which cannot be read, and an embedding model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sentence_folders import sentence_folder

WORDS = ["cat", "dog", "sat", "ran", "on", "mat", "in", "sun", "rain", "bank", "river", "money"]
QUESTIONS = ["cat on a mat", "river bank", "money in the sun", "dog"]


def write_sources(folder: Path, count: int = 24) -> Path:
    """Texts, Markdown, tables and a damaged file; sizes differ by a factor of some dozens."""
    rng = np.random.default_rng(3)

    def words(most: int) -> str:
        return " ".join(rng.choice(WORDS, int(rng.integers(1, most)))) + "."

    (folder / "more").mkdir(parents=True)
    for i in range(count):
        below = folder / "more" if i % 3 == 0 else folder
        (below / f"text_{i}.txt").write_text("\n\n".join(words(40) for _ in range(1 + i % 7)))
    (folder / "bank.md").write_text(f"# The bank\n\n{words(20)}\n\n## River\n\n{words(30)}\n")
    rows = [f'{{"text": "{words(30)}", "n": {i}}}' for i in range(30)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "damaged.csv").write_text("a\n1,2\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "empty.txt").write_text("")
    return folder


def write_model(folder: Path) -> str:
    """The folder of a small random model."""
    return str(sentence_folder(folder, most=40))
