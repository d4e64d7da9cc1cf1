"""CBOW and hierarchical softmax against gensim: words/s of one epoch."""

from __future__ import annotations

from bench_words import corpus_file, firth_train, gensim_train
from firth import set_num_threads
from harness import QUICK, THREADS, Row, Timing, best_run, compared, size

# Work, settings, what the loss of the first epoch must be below (a start without learning), goal.
MODELS = (
    ("CBOW, negative 5, dim 100", {"sg": 0}, 4.1, 4.0),
    ("skip-gram, hierarchical softmax, dim 100", {"sg": 1, "hs": 1, "negative": 0}, 10.0, 3.0),
)


def run(repeats: int = size(5, 3)) -> list[Row]:
    """Words/s, peers in turn, medians and the best run of each (see NOTES.md); about 6 minutes."""
    set_num_threads(THREADS)
    path = corpus_file()
    rows = []
    for work, settings, untrained, goal in MODELS:
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(gensim_train(path, 100, 1, **settings)[1])
            model, taken = firth_train(path, 100, 1, **settings)
            assert QUICK or model.epoch_losses[0] < untrained, "training must lower the loss"
            ours.append(taken)
        words, peer, mine = model.corpus_total_words, Timing(theirs), Timing(ours)
        row = compared(f"{work}, 1 epoch", "gensim", peer, mine, "words/s", goal, amount=words)
        rows += [row, best_run(row, peer, mine, words)]
    return rows
