"""GloVe against Stanford's C tools: counting with shuffling, an epoch, quality after 15 epochs.

FIRTH_GLOVE_C must name the folder of their binaries (``build`` after ``make`` in their checkout,
with their own flags). Data: the first 53 MB of the dev corpus of bench_words.py, 9.2 million words.
Quality is scored by gensim's evaluator for both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench_words import QUALITY_HEAD, corpus_file, scored
from firth import GloVe, set_num_threads
from firth.formats import glove
from firth.words.cooccurrences import cooccurrences
from firth.words.corpus import opened
from harness import THREADS, Row, Timing, compared, size

HEAD_BYTES = size(53_000_000, 1_000_000)


def binaries() -> Path:
    """The folder of Stanford's binaries; SystemExit says how to name it."""
    folder = os.environ.get("FIRTH_GLOVE_C", "")
    if not (Path(folder) / "cooccur").is_file():
        sys.exit("bench_glove: set FIRTH_GLOVE_C to the folder of Stanford's cooccur, glove, ...")
    return Path(folder).resolve()


def head(folder: Path, size: int = HEAD_BYTES) -> Path:
    """The first lines of the corpus."""
    path = folder / "head.txt"
    with open(corpus_file(), "rb") as source:
        text = source.read(size)
    path.write_bytes(text[: text.rindex(b"\n") + 1])
    return path


class Stanford:
    """Their tools on one corpus, in one folder."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, self.corpus, self.binaries = folder, corpus, binaries()
        with open(corpus, "rb") as text, open(folder / "vocab.txt", "wb") as out:
            self.call("vocab_count", "-min-count", "5", stdin=text, stdout=out)

    def call(self, name: str, *arguments: str, **files: object) -> float:
        start = time.perf_counter()
        subprocess.run(
            [self.binaries / name, *arguments, "-verbose", "0"], cwd=self.folder, check=True,
            stderr=subprocess.DEVNULL, **files,
        )  # fmt: skip
        return time.perf_counter() - start

    def count(self, seed: int = 1) -> float:
        """Seconds of counting and shuffling."""
        counted, shuffled = self.folder / "counted.bin", self.folder / "shuffled.bin"
        with open(self.corpus, "rb") as text, open(counted, "wb") as out:
            seconds = self.call("cooccur", "-memory", "4", stdin=text, stdout=out)
        with open(counted, "rb") as records, open(shuffled, "wb") as out:
            seconds += self.call("shuffle", "-seed", str(seed), stdin=records, stdout=out)
        return seconds

    def train(self, epochs: int, threads: int = THREADS, seed: int = 1) -> float:
        """Seconds of `glove`, start and saving included."""
        return self.call(
            "glove", "-input-file", "shuffled.bin", "-vector-size", "100", "-threads", str(threads),
            "-iter", str(epochs), "-seed", str(seed), "-save-file", "vectors", "-binary", "1",
        )  # fmt: skip


def ours(path: Path) -> tuple[GloVe, float, float]:
    """A model, the seconds of encoding with counting and blocking, and those of an epoch."""
    model = GloVe(workers=THREADS)
    model.build_vocab(corpus_file=path)
    start = time.perf_counter()
    model.train(corpus_file=path, epochs=1)
    once = time.perf_counter() - start
    start = time.perf_counter()
    model.train(corpus_file=path, epochs=3)
    epoch = (time.perf_counter() - start - once) / 2
    return model, once - epoch, epoch


def check(stanford: Stanford, path: Path) -> int:
    """Our matrix is Stanford's: the same entries, and counts to their summation error."""
    model = GloVe()
    model.build_vocab(corpus_file=path)
    with opened("bench", None, path) as text:
        ids = text.encode(model.wv.index_to_key, model.wv.key_to_index)
    rows, columns, counts = glove.read_cooccurrences(stanford.folder / "counted.bin")
    theirs = rows.astype(np.int64) * len(model.wv) + columns
    lower = columns <= rows
    theirs, counts, total = theirs[lower], counts[lower], len(rows)
    keys, values = [], []
    for first, (lengths, column, value) in cooccurrences(ids, len(model.wv), window=15):
        row = np.repeat(np.arange(first, first + len(lengths), dtype=np.int64), lengths)
        keys.append(row * len(model.wv) + column)
        values.append(value)
    ours, value = np.concatenate(keys), np.concatenate(values)
    order, other = np.argsort(ours), np.argsort(theirs)
    assert (ours[order] == theirs[other]).all(), "the matrices have other entries"
    assert np.allclose(value[order], counts[other], rtol=1e-9), "the counts differ"
    return total


def run(repeats: int = 3, size: int = HEAD_BYTES) -> list[Row]:
    """Seconds of counting with shuffling and of an epoch, in turn; about 6 minutes."""
    set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = head(folder, size)
        stanford = Stanford(folder, path)
        seconds: dict[str, list[float]] = {"count": [], "count C": [], "epoch": [], "epoch C": []}
        records = 0
        for repeat in range(repeats):
            seconds["count C"].append(stanford.count())
            if not repeat:
                records = check(stanford, path)
            model, counting, epoch = ours(path)
            seconds["count"].append(counting)
            seconds["epoch"].append(epoch)
            once = stanford.train(1)
            seconds["epoch C"].append(stanford.train(2) - once)
        words = model.corpus_total_words / 1e6
        return [
            compared(f"GloVe, counting with shuffling, {words:.1f} M words, window 15", "GloVe (C)",
                     Timing(seconds["count C"]), Timing(seconds["count"]), "s", 3,
                     threads=f"1 / {THREADS}"),
            compared(f"GloVe, an epoch over {records / 1e6:.1f} M pairs, dim 100", "GloVe (C)",
                     Timing(seconds["epoch C"]), Timing(seconds["epoch"]), "s", 6),
        ]  # fmt: skip


def quality(seeds: tuple[int, ...] = (1, 2, 3), epochs: int = size(15, 1)) -> str:
    """A table of the scores of each model and seed, and their means, on half the text; an hour."""
    set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = head(folder, HEAD_BYTES // 2)
        stanford = Stanford(folder, path)

        def firth(seed: int) -> tuple[list[str], np.ndarray]:
            wv = GloVe(corpus_file=path, epochs=epochs, seed=seed, workers=THREADS).wv
            return wv.index_to_key, wv.vectors

        def theirs(seed: int) -> tuple[list[str], np.ndarray]:
            stanford.count(seed)
            stanford.train(epochs, seed=seed)
            wv = GloVe.load_stanford(
                folder / "vectors.bin", folder / "vocab.txt", binary=True
            ).wv  # fmt: skip
            return wv.index_to_key, wv.vectors

        lines = [*QUALITY_HEAD, *scored("firth", seeds, firth)]
        return "\n".join(lines + scored("GloVe (C)", seeds, theirs))
