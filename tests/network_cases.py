"""A case of each operation of networks: a function of tensors and its arrays.

They are large enough for threads to share the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.nn import functional as F
from firth.nn.operations.projections import projections
from firth.nn.operations.recurrent import gru, lstm, rnn
from firth.nn.operations.shapes import cat

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 512, 256)
IDS = RNG.integers(0, 300, (64, 40))
ANGLES = F.rotary_angles(128, 32)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cell(function: Any, gates: int) -> tuple[Any, list[np.ndarray]]:
    shapes = [(gates * 32, 24), (gates * 32, 32), (gates * 32,), (gates * 32,)]
    return lambda x, *weights: function(x, None, weights), [
        normal(30, 16, 24), *[normal(*shape) / 8 for shape in shapes],
    ]  # fmt: skip


X, ROW, IMAGES, HEADS = normal(256, 512), normal(512), normal(4, 8, 40, 40), normal(2, 4, 128, 32)
CASES: dict[str, tuple[Any, list[np.ndarray]]] = {
    "activation": (F.gelu, [X]),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1),
        [HEADS, HEADS + 1, HEADS - 1],
    ),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2), [IMAGES]),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [IMAGES, ROW[:8], ROW[8:16]],
    ),
    "binary_cross_entropy_with_logits": (
        lambda x: F.binary_cross_entropy_with_logits(x, X > 0), [X],
    ),
    "combine": (lambda x, y, row: x * y + row, [X, X + 1, ROW]),
    "concatenate": (lambda x, y: cat([x, y], 1), [X, X + 1]),
    "convolution": (
        lambda x, w, b: F.conv2d(x, w, b, padding=1, activation="relu"),
        [IMAGES, normal(8, 8, 3, 3), ROW[:8]],
    ),
    "cross_entropy": (lambda x: F.cross_entropy(x, CLASSES), [X]),
    "difference_loss": (lambda x, y: F.mse_loss(x, y), [X, X + 1]),
    "dropout": (lambda x: F.dropout(x, 0.3), [X]),
    "embedding": (lambda table: F.embedding(IDS, table), [normal(300, 128)]),
    "expand": (lambda x: x.expand(64, 32, 512), [normal(64, 1, 512)]),
    "gru": cell(gru, 3),
    "info_nce": (lambda q, k: F.info_nce(q, k), [X, X + 1]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (512,), w, b), [X, ROW, ROW + 1]),
    "linear": (
        lambda x, w, b: F.linear(x, w, b, activation="tanh"), [X, normal(64, 512), ROW[:64]],
    ),
    "linear_cross_entropy": (
        lambda x, w: F.linear_cross_entropy(x, w, CLASSES), [X, normal(512, 512)],
    ),
    "lstm": cell(lstm, 4),
    "map": (lambda x: x.exp(), [X]),
    "masked_fill": (lambda x: x.masked_fill(X > 0, 7.0), [X]),
    "matmul": (lambda x, y: x @ y, [X, normal(512, 64)]),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2), [IMAGES]),
    "maximum": (lambda x: x.amax(1), [X]),
    "nll_loss": (lambda x: F.nll_loss(x, CLASSES), [X]),
    "permute": (lambda x: x.transpose(0, 1), [X]),
    "projections": (
        lambda x, y, w: projections([x, y], [32, 32], w), [X, X + 1, normal(64, 512)],
    ),
    "reshape": (lambda x: x.reshape(512, 256), [X]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (512,), w), [X, ROW]),
    "rnn": cell(rnn, 1),
    "rotary": (lambda x: F.rotary(x, *ANGLES), [HEADS]),
    "slice": (lambda x: x[1:, ::2], [X]),
    "softmax": (F.softmax, [X]),
    "sum": (lambda x: x.mean(0), [X]),
}  # fmt: skip
