"""Training of GloVe by blocks in one process, as a cluster does it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from firth import GloVe
from firth.distributed import splits
from firth.distributed.cooccurrences import (
    Counting,
    Work,
    bands,
    count_splits,
    divided,
    part_starts,
    summed,
)
from firth.distributed.glove_blocks import (
    Blocking,
    Records,
    Step,
    blocked,
    dealt_states,
    schedule,
    train_blocks,
)
from firth.distributed.vocabulary import joined

SETTINGS: dict[str, Any] = {
    "vector_size": 12, "window": 6, "min_count": 2, "x_max": 10.0, "workers": 1,
}  # fmt: skip


def write_corpus(path: Path, sentences: int = 600, seed: int = 0) -> None:
    """Sentences in which words of one topic occur together, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(sentences):
        topic = rng.integers(0, 5)
        ranks = (rng.zipf(1.4, rng.integers(2, 40)) - 1) % 60
        lines.append(
            " ".join(f"w{5 * rank + topic}" if rank > 2 else f"the{rank}" for rank in ranks)
        )
    path.write_text("\n".join(lines))


def blocks_of(
    model: GloVe, path: Path, parts: int, work: Work, size: int = 5000
) -> dict[tuple[int, int], list[Records]]:
    """All records, by their parts, as the tasks of the cluster compute them."""
    counts = model.wv.expandos["count"]
    cuts = bands(counts, model.window, model.symmetric, work, parts=parts, block=model._block)
    counting = Counting(
        model.window, model.symmetric, model.distance_weighting, work.budget, parts, cuts
    )
    words = joined(model.wv.index_to_key)
    counted = [
        list(count_splits([split], words, counting))[1:]
        for split in splits.plan("test", path, size)
    ]
    settings = Blocking(counting, model._block, model.x_max, model.alpha, model.seed)
    starts = part_starts(len(counts), parts)
    blocks: dict[tuple[int, int], list[Records]] = {}
    for first, *several in zip(cuts[:-1].tolist(), *counted, strict=True):
        rows = divided(summed(counting, several), counting)
        row = int(np.searchsorted(starts, first, "right")) - 1
        for column, records in enumerate(blocked(settings, first, rows)):
            blocks.setdefault((row, column), []).append(records)
    return blocks


def trained(model: GloVe, path: Path, parts: int, budget: int = 1 << 30, workers: int = 3) -> GloVe:
    """`glove.train` in one process."""
    model.build_vocab(corpus_file=path)
    work = Work([], workers, workers, budget)
    blocks = blocks_of(model, path, parts, work)
    settings = Step(model.vector_size, model.symmetric, model.eta, model.grad_clip, model.seed)
    given = list(dealt_states(model, parts))
    for epoch in range(model.epochs):
        total = 0.0
        seen = 0
        for job in itertools.chain(*schedule(parts, model.seed, epoch)):
            places, records = [], []
            for block in job.blocks(model.symmetric):
                some = blocks.get(block, [])
                places += [block] * len(some)
                records += some
            cost, pairs, after = train_blocks(
                settings, epoch, job.parts, [given[part] for part in job.parts], places, records
            )
            for part, state in zip(job.parts, after, strict=True):
                given[part] = state
            total, seen = total + cost, seen + pairs
        model.epoch_losses.append(total / seen)
    for part, (words, contexts) in enumerate(given):
        model._words[part::parts], model._contexts[part::parts] = words, contexts
    model._update_wv()
    return model
