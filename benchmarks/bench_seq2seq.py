"""A training step of an encoder-decoder transformer against PyTorch's nn.Transformer.

Both begin with the same weights and see the same sequences; without dropout they must have the same
losses before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench_training import RATE, ROUNDS, floor, threads
from firth import nn, optim
from firth.nn import functional
from harness import THREADS, Row, compared, interleave, size

WIDTH, HEADS, LAYERS, HIDDEN, SYMBOLS = 256, 8, 3, 1024, 256
BATCH, LENGTH = size(64, 4), 32


def run() -> list[Row]:
    """About 2 minutes."""
    flops = 2 * 3 * BATCH * LENGTH * multiply_adds()
    rows = []
    for dropout in (0.1, 0.0):
        subjects = steps(dropout)
        if dropout == 0:
            for _ in range(5):
                losses = [float(step()) for step in subjects.values()]
                np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
        with threads(THREADS):
            times = interleave(subjects, ROUNDS)
        work = (
            f"encoder-decoder transformer, width {WIDTH}, {LAYERS} + {LAYERS} layers, {BATCH} x "
            f"{LENGTH}, step of Adam, dropout {dropout}"
        )
        rows += [
            compared(work, "torch", times["torch"], times["firth"], "ms", 1.5),
            floor(work, flops, times["firth"], THREADS),
        ]
    return rows


def multiply_adds() -> int:
    """Of a position of the source and one of the target, forward, without attention's scores."""
    attention, network = 4 * WIDTH * WIDTH, 2 * WIDTH * HIDDEN
    return LAYERS * (3 * attention + 2 * network) + WIDTH * SYMBOLS


def steps(dropout: float) -> dict[str, Callable[[], Any]]:
    """A step of each library."""
    import torch
    from torch.nn import functional as torch_functional

    rng = np.random.default_rng(0)
    source, read, written = rng.integers(SYMBOLS, size=(3, BATCH, LENGTH))
    written = written.reshape(-1)

    def model_of(module: Any, zeros: Any) -> Any:
        class Net(module.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.symbols = module.Embedding(SYMBOLS, WIDTH)
                self.places = module.Parameter(zeros((LENGTH, WIDTH)))
                self.transformer = module.Transformer(
                    WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, dropout, batch_first=True
                )
                self.scores = module.Linear(WIDTH, SYMBOLS)
                self.mask = module.Transformer.generate_square_subsequent_mask(LENGTH)

            def forward(self, source: Any, target: Any) -> Any:
                x, y = self.symbols(source) + self.places, self.symbols(target) + self.places
                x = self.transformer(x, y, tgt_mask=self.mask, tgt_is_causal=True)
                return self.scores(x).reshape((BATCH * LENGTH, SYMBOLS))

        return Net()

    theirs = model_of(torch.nn, torch.zeros)
    ours = model_of(nn, lambda shape: np.zeros(shape, np.float32))
    ours.load_state_dict({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    step = nn.TrainingStep(
        ours,
        lambda model, x, y, wanted: functional.cross_entropy(model(x, y), wanted),
        optim.Adam(ours.parameters(), RATE),
    )
    optimizer = torch.optim.Adam(theirs.parameters(), RATE, fused=True)
    x, y, wanted = (torch.tensor(array) for array in (source, read, written))

    def torch_step() -> Any:
        optimizer.zero_grad()
        loss = torch_functional.cross_entropy(theirs(x, y), wanted)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return {"firth": lambda: step(source, read, written), "torch": torch_step}
