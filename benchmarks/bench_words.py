"""Word vectors against gensim: words/s, vocabulary and encoding, quality after five epochs.

Needs ../shared/data/corpus_dev.txt.xz (16.9 million words). Quality is scored by gensim's own
evaluator for both, on the data in gensim's test_data.
"""

from __future__ import annotations

import lzma
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import firth
from firth import Word2Vec, set_num_threads
from firth.words import corpus
from harness import THREADS, Row, Timing

COMPRESSED = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpus_dev.txt.xz"
SETTINGS = {"sg": 1, "window": 5, "min_count": 5, "negative": 5, "sample": 1e-4, "workers": THREADS}


def corpus_file() -> Path:
    """The unpacked corpus, kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / "firth-corpus-dev.txt"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        with lzma.open(COMPRESSED) as source, open(part, "wb") as target:
            while block := source.read(1 << 24):
                target.write(block)
        part.rename(path)
    return path


def gensim_train(path: Path, dim: int, epochs: int, seed: int = 1, kind="Word2Vec", **changes):
    """A gensim model and its training seconds, the vocabulary being built before."""
    import gensim.models

    settings = SETTINGS | changes
    model = getattr(gensim.models, kind)(vector_size=dim, epochs=epochs, seed=seed, **settings)
    model.build_vocab(corpus_file=str(path))
    start = time.perf_counter()
    model.train(
        corpus_file=str(path), total_words=model.corpus_total_words,
        total_examples=model.corpus_count, epochs=epochs,
    )  # fmt: skip
    return model, time.perf_counter() - start


def firth_train(path: Path, dim: int, epochs: int, seed: int = 1, kind="Word2Vec", **changes):
    """A firth model and its training seconds; encoding is counted as training, as in gensim."""
    settings = SETTINGS | changes
    model = getattr(firth, kind)(vector_size=dim, epochs=epochs, seed=seed, **settings)
    model.build_vocab(corpus_file=path)
    start = time.perf_counter()
    model.train(corpus_file=path)
    return model, time.perf_counter() - start


def run(repeats: int = 5) -> list[Row]:
    """Words/s of one epoch and the vocabulary, peers in turn."""
    import gensim.models

    set_num_threads(THREADS)
    path = corpus_file()
    rows = []
    scan, ours = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        gensim.models.Word2Vec(**SETTINGS).build_vocab(corpus_file=str(path))
        scan.append(time.perf_counter() - start)
        start = time.perf_counter()
        model = Word2Vec(**SETTINGS)
        model.build_vocab(corpus_file=path)
        corpus.encode_file(path, model.wv.index_to_key)
        ours.append(time.perf_counter() - start)
    rows.append(
        Row("vocabulary and encoding, 98 MB (gensim: vocabulary only)", "gensim",
            statistics.median(scan), statistics.median(ours), "s", 5, spread=Timing(ours).spread)
    )  # fmt: skip
    words = model.corpus_total_words
    for dim, goals in ((300, (6.5, 1.5)), (100, (8.0, 2.0))):
        seconds: dict[str, list[float]] = {"gensim": [], "shared": [], "independent": []}
        for _ in range(repeats):
            seconds["gensim"].append(gensim_train(path, dim, 1)[1])
            for negatives in ("shared", "independent"):
                trained, taken = firth_train(path, dim, 1, negatives=negatives)
                assert trained.epoch_losses[0] < 3.2, "training must have lowered the loss (4.16)"
                seconds[negatives].append(taken)
        for negatives, goal in zip(("shared", "independent"), goals, strict=True):
            # The median; and the best run of each, since other machines on the same processor can
            # halve the speed of either for a minute by emptying the L3 cache (see NOTES.md).
            for note, pick in (("", statistics.median), (", best runs", min)):
                rows.append(
                    Row(f"skip-gram, dim {dim}, {negatives} negatives, 1 epoch{note}", "gensim",
                        words / pick(seconds["gensim"]), words / pick(seconds[negatives]),
                        "words/s", None if note else goal, True,
                        None if note else Timing(seconds[negatives]).spread)
                )  # fmt: skip
    return rows


# Model: what both are trained with, and then firth's ways.
QUALITY = {
    "skip-gram": ({"sg": 1}, ("shared", "independent")),
    "CBOW": ({"sg": 0}, ("shared", "independent")),
    "skip-gram, hierarchical softmax": ({"sg": 1, "hs": 1, "negative": 0}, ("shared",)),
    "FastText skip-gram": ({"sg": 1, "kind": "FastText"}, ("shared",)),
}


def quality(
    models: tuple[str, ...] = tuple(QUALITY), seeds: tuple[int, ...] = (1, 2, 3), peer: bool = True
) -> str:
    """A table: analogies, WordSim-353, SimLex-999 of each model and seed, and their means.

    All are scored by gensim's evaluators. About 50 minutes, 40 of them gensim's; ``peer=False``
    leaves those out.
    """
    from gensim.models import KeyedVectors
    from gensim.test.utils import datapath

    set_num_threads(THREADS)
    path = corpus_file()
    lines = [
        "| model | seed | analogies % | WordSim-353 | SimLex-999 |",
        "|---|---|---|---|---|",
    ]
    for name in models:
        settings, ways = QUALITY[name]
        for way in (("gensim",) if peer else ()) + ways:
            scores = []
            for seed in seeds:
                if way == "gensim":
                    vectors = gensim_train(path, 100, 5, seed, **settings)[0].wv
                else:
                    ours = firth_train(path, 100, 5, seed, negatives=way, **settings)[0]
                    vectors = KeyedVectors(100)
                    vectors.add_vectors(ours.wv.index_to_key, ours.wv.vectors)
                scores.append(
                    (
                        100 * vectors.evaluate_word_analogies(datapath("questions-words.txt"))[0],
                        vectors.evaluate_word_pairs(datapath("wordsim353.tsv"))[1][0],
                        vectors.evaluate_word_pairs(datapath("simlex999.txt"))[1][0],
                    )
                )
                a, w, s = scores[-1]
                lines.append(f"| {name}, {way} | {seed} | {a:.2f} | {w:.3f} | {s:.3f} |")
                print(lines[-1], file=sys.stderr, flush=True)
            a, w, s = (statistics.mean(column) for column in zip(*scores, strict=True))
            lines.append(f"| **{name}, {way}** | mean | {a:.2f} | {w:.3f} | {s:.3f} |")
    return "\n".join(lines)
