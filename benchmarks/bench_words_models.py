"""CBOW and hierarchical softmax against gensim: words/s of one epoch."""

from __future__ import annotations

import statistics

from bench_words import corpus_file, firth_train, gensim_train
from firth import set_num_threads
from harness import THREADS, Row, Timing

# Work, settings, what the loss of the first epoch must be below (a start without learning), goal.
MODELS = (
    ("CBOW, negative 5, dim 100", {"sg": 0}, 4.1, 4.0),
    ("skip-gram, hierarchical softmax, dim 100", {"sg": 1, "hs": 1, "negative": 0}, 10.0, 3.0),
)


def run(repeats: int = 5) -> list[Row]:
    """Words/s, peers in turn; medians, and the best run of each (see NOTES.md)."""
    set_num_threads(THREADS)
    path = corpus_file()
    rows = []
    for work, settings, untrained, goal in MODELS:
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(gensim_train(path, 100, 1, **settings)[1])
            model, taken = firth_train(path, 100, 1, **settings)
            assert model.epoch_losses[0] < untrained, "training must have lowered the loss"
            ours.append(taken)
        words = model.corpus_total_words
        for note, pick in (("", statistics.median), (", best runs", min)):
            rows.append(
                Row(f"{work}, 1 epoch{note}", "gensim", words / pick(theirs), words / pick(ours),
                    "words/s", None if note else goal, True, None if note else Timing(ours).spread)
            )  # fmt: skip
    return rows
