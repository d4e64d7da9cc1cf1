"""FastText's word vectors against gensim and fastText: training, loading Facebook's files, n-grams.

Training needs the corpus of bench_words.py. fastText trains with its scan of the corpus (it has no
other way); gensim and firth with the vocabulary built before.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bench_words import corpus_file
from firth import FastText, set_num_threads
from firth.words import load_facebook_vectors, save_facebook_model
from harness import THREADS, Row, Timing, compared, interleave

SETTINGS = {"sg": 1, "window": 5, "min_count": 5, "negative": 5, "sample": 1e-4, "workers": THREADS}


def trained(kind, path: Path):
    """A model after one epoch on the corpus, and the seconds of training."""
    model = kind(vector_size=100, epochs=1, **SETTINGS)
    model.build_vocab(corpus_file=str(path))
    start = time.perf_counter()
    model.train(
        corpus_file=str(path), total_words=model.corpus_total_words,
        total_examples=model.corpus_count, epochs=1,
    )  # fmt: skip
    return model, time.perf_counter() - start


def run(repeats: int = 3) -> list[Row]:
    """Words/s of one epoch, seconds to load a file, and unseen words; about 12 minutes."""
    import fasttext
    import gensim.models.fasttext

    set_num_threads(THREADS)
    path = corpus_file()
    seconds: dict[str, list[float]] = {"firth": [], "gensim": [], "fastText": []}
    for _ in range(repeats):
        model, taken = trained(FastText, path)
        seconds["firth"].append(taken)
        seconds["gensim"].append(trained(gensim.models.fasttext.FastText, path)[1])
        start = time.perf_counter()
        fasttext.train_unsupervised(str(path), dim=100, epoch=1, thread=THREADS, verbose=0)
        seconds["fastText"].append(time.perf_counter() - start)
    rows = [
        compared("FastText skip-gram, dim 100, n-grams 3..6", peer, Timing(seconds[peer]),
                 Timing(seconds["firth"]), "words/s", 4, amount=model.corpus_total_words, note=note)
        for peer, note in (("gensim", ""), ("fastText", "with fastText's scan of the corpus"))
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.bin"
        save_facebook_model(model, file)
        theirs = gensim.models.fasttext.load_facebook_vectors(str(file))
        ours = load_facebook_vectors(file)
        np.testing.assert_array_equal(ours.vectors, theirs.vectors)
        times = interleave(
            {
                "firth": lambda: load_facebook_vectors(file),
                "gensim": lambda: gensim.models.fasttext.load_facebook_vectors(str(file)),
            },
            repeats=3,
        )
        unseen = [f"{word}ish" for word in ours.index_to_key[:20_000]]
        asked = interleave(
            {"firth": lambda: ours[unseen], "gensim": lambda: theirs[unseen]}, repeats=3
        )
    serial = f"1 / {THREADS}"
    rows += [
        compared(f"load_facebook_vectors, {len(ours):,} words and 2,000,000 buckets x 100",
                 "gensim", times["gensim"], times["firth"], "s", threads=serial),
        compared(f"vectors of {len(unseen):,} unseen words", "gensim", asked["gensim"],
                 asked["firth"], "ms", threads=serial),
    ]  # fmt: skip
    return rows
