"""From a model's content to native code: its model there, and training in place."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from firth import _native
from firth.formats import fasttext as files
from firth.formats.fasttext import Content, Quantised
from firth.formats.files import Path
from firth.interrupt import deferred_interrupt
from firth.kernels._dispatch import active_level
from firth.progress import progress_bar

_BLOCKS_A_CALL = 64  # of training: how often Ctrl-C and the progress bar are looked after


def native_model(content: Content, label: str) -> _native.fasttext.FastTextModel:
    """The model in native code, over the content's own matrices."""
    args, matrix, output = content.args, content.input, content.output
    supervised = files.MODELS[args.model] == "supervised"
    quantiser: Any = None
    codes: Any = matrix
    if isinstance(matrix, Quantised):
        quantiser = (matrix.centroids, matrix.dsub, matrix.norm_codes, matrix.norm_centroids)
        codes = matrix.codes
    if isinstance(output, Quantised):
        output = output.rows()
    return _native.fasttext.FastTextModel(
        active_level(), content.text, content.ends, content.counts, content.labels, label,
        max(args.minn, 0), max(args.maxn, 0), args.bucket, args.wordNgrams,
        content.pruned, args.loss, supervised, codes,
        np.require(output, np.float32, ["C", "A"]) if supervised else None, quantiser,
    )  # fmt: skip


def mapped(path: Path) -> Any:
    """The bytes of a file; they leave memory with the last reference."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def fit(
    content: Content,
    label: str,
    path: Path,
    rate: float,
    thread: int | None,
    verbose: int | None,
    seed: int,
) -> None:
    """Train both matrices in place."""
    model = native_model(content, label)
    args = content.args
    workers = thread or _native.num_threads()
    text = mapped(path)
    trainer = _native.fasttext.FastTextTrainer(
        model, text, args.loss, args.neg, args.epoch, rate, seed
    )
    shown = False if verbose == 0 else None
    with (
        deferred_interrupt() as interrupted,
        progress_bar(args.epoch * len(text), "B", "training", shown) as bar,
    ):
        for epoch in range(args.epoch):
            for first in range(0, trainer.blocks, _BLOCKS_A_CALL):
                last = min(first + _BLOCKS_A_CALL, trainer.blocks)
                loss, examples = trainer.train(epoch, first, last, workers)
                bar.set_postfix(loss=f"{loss / max(examples, 1):.4f}", refresh=False)
                bar.update(len(text) * last // trainer.blocks - len(text) * first // trainer.blocks)
                if interrupted.is_set():
                    raise KeyboardInterrupt
    if not np.isfinite(np.asarray(content.output)).all():
        raise RuntimeError("Encountered NaN.")
