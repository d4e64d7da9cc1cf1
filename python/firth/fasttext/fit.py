"""From a model's content to native code: its model there, and training in place."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from firth import _native
from firth.epochs import run_epochs
from firth.formats import fasttext as files
from firth.formats.fasttext import Content, Quantised
from firth.formats.files import PathLike, plain
from firth.kernels._dispatch import active_level


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


def mapped(path: PathLike) -> Any:
    """The bytes of a file, decompressed if necessary; unmapped with the last reference.

    A pipe will do, and "-" for standard input.
    """
    with plain(path) as file:
        if not os.fstat(file.fileno()).st_size:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def fit(
    content: Content,
    label: str,
    text: Any,
    run: dict[str, Any],
    thread: int | None,
    verbose: int | None,
    checkpoint: PathLike | None = None,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train both matrices in place.

    ``text`` as of `mapped`, ``run`` of `new_run` with ``rate`` and ``seed``; ``checkpoint`` and
    ``save`` as of `run_epochs`.
    """
    args = content.args
    workers = thread or _native.num_threads()
    trainer = _native.fasttext.FastTextTrainer(
        native_model(content, label), text, args.loss, args.neg, run["epochs"], run["rate"],
        run["seed"],
    )  # fmt: skip

    def train(first: int, last: int) -> None:
        loss, examples = trainer.train(run["epoch"], first, last, workers)
        run["loss"], run["pairs"] = run["loss"] + loss, run["pairs"] + examples

    with contextlib.suppress(FloatingPointError):
        run_epochs(
            train, run, trainer.blocks, lambda block: len(text) * block / trainer.blocks, unit="B",
            workers=workers, progress=False if verbose == 0 else None, cure="take a lower lr",
            checkpoint=checkpoint, save=save,
        )  # fmt: skip
        if np.isfinite(np.asarray(content.output)).all():
            return
    raise RuntimeError("Encountered NaN.")
