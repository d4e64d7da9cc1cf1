"""Quality of skip-gram vectors that replicas train on a Ray cluster, by the interval of averages.

The dev corpus, five epochs, D = 100, as `bench_words.quality`. Scores depend on seed, replicas and
interval alone, not on the machine, nor on how many processors it has. One process is firth with
one thread, which is what one replica gives, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import firth
from bench_distributed import cluster
from bench_words import QUALITY_HEAD, SETTINGS, corpus_file, scored
from harness import size

EPOCHS = size(5, 1)
SEEDS = (1, 2, 3)[: size(3, 1)]
ROWS: dict[int, tuple[int | None, ...]] = {
    2: (None, 300_000, 1_000_000, 8_500_000),
    4: (None, 300_000, 1_000_000, 4_250_000),
}
"""Replicas, and intervals in words; None: the default. The last are an epoch of each replica."""


def run() -> str:
    """The table; three seeds for one process and for the defaults, else one."""
    from firth.distributed import train

    path = str(corpus_file())
    settings: dict[str, Any] = SETTINGS | {"vector_size": 100, "epochs": EPOCHS, "workers": 1}

    def alone(seed: int) -> tuple[list[str], np.ndarray]:
        model = firth.Word2Vec(corpus_file=path, seed=seed, **settings)
        return model.wv.index_to_key, model.wv.vectors

    lines = [*QUALITY_HEAD, *scored("one process, one thread", SEEDS, alone)]
    with cluster(1, cpus=2):
        for replicas, intervals in ROWS.items():
            for interval in intervals:

                def on_ray(seed: int, replicas=replicas, interval=interval) -> Any:
                    model = firth.Word2Vec(seed=seed, **settings)
                    train(model, path, workers=replicas, interval=interval, progress=False)
                    return model.wv.index_to_key, model.wv.vectors

                label = f"{replicas} replicas, interval "
                label += "by default" if interval is None else f"{interval:,}"
                lines += scored(label, SEEDS if interval is None else SEEDS[:1], on_ray)
    return "\n".join(lines)
