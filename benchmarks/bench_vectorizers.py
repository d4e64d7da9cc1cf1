"""Bags of words and TF-IDF against scikit-learn: 100,000 sentences of the dev corpus.

Needs ../shared/data (lower-case sentences). scikit-learn runs on one thread, as it always does; the
rows say so. The matrices and vocabularies are compared to the bit first.
"""

from __future__ import annotations

from itertools import islice

import numpy as np

import firth
from bench_words import corpus_file
from firth import words
from harness import THREADS, Row, compared, interleave, size

SETTINGS = [
    ("CountVectorizer", {}, "words", 5),
    ("TfidfVectorizer", {}, "words", 5),
    ("TfidfVectorizer", {"ngram_range": (1, 2)}, "words and pairs", 5),
    ("TfidfVectorizer", {"analyzer": "char_wb", "ngram_range": (3, 5)}, "3 to 5 characters", 5),
]


def run(repeats: int = 5) -> list[Row]:
    """Seconds of fit_transform and transform; about 4 minutes."""
    from sklearn.feature_extraction import text

    firth.set_num_threads(THREADS)
    with open(corpus_file(), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in islice(file, size(100_000))]
    rows = []
    for name, settings, terms, goal in SETTINGS:
        few = lines[: len(lines) // 5] if "analyzer" in settings else lines
        ours, theirs = getattr(words, name)(**settings), getattr(text, name)(**settings)
        mine, their = ours.fit_transform(few), theirs.fit_transform(few)
        assert list(ours.vocabulary_.items()) == list(theirs.vocabulary_.items())
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(mine, part), getattr(their, part))
        del mine, their
        for work in ("fit_transform", "transform"):
            subjects = {"ours": getattr(ours, work), "peer": getattr(theirs, work)}
            timings = interleave(
                {who: lambda call=call, t=few: call(t) for who, call in subjects.items()}, repeats
            )
            rows.append(
                compared(f"{name}.{work}, {terms}, {len(few):,} sentences", "scikit-learn",
                         timings["peer"], timings["ours"], "s", goal, threads=f"1 / {THREADS}")
            )  # fmt: skip
    return rows
