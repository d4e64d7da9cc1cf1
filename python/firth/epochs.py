"""The loop of every training: epochs, progress, checkpoints, Ctrl-C, divergence."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from firth.arguments import shortened
from firth.errors import warn
from firth.formats import container
from firth.formats.files import PathLike
from firth.interrupt import deferred_interrupt
from firth.progress import progress_bar

_CHECKPOINT_SECONDS = 600.0
_SLICE_SECONDS = 0.2  # between looks at Ctrl-C and at the progress bar


def new_run(epochs: int, **more: Any) -> dict[str, Any]:
    """The state of a training that has not begun; `run_epochs` keeps it up to date.

    Plain numbers only, so that a checkpoint holds it as JSON: ``epochs``, the ``epoch`` and
    ``block`` that come next, ``loss`` and ``pairs`` of the epoch so far, and what the model adds.
    """
    return {"epochs": epochs, "epoch": 0, "block": 0, "loss": 0.0, "pairs": 0, **more}


def interrupted(meta: Mapping[str, Any]) -> dict[str, str]:
    """How far the training of a checkpoint got, for people; nothing for a finished model."""
    run = meta.get("run")
    if not isinstance(run, dict):
        return {}
    return {"training": f"interrupted after {run.get('epoch')} of {run.get('epochs')} epochs"}


def run_epochs(
    train: Callable[[int, int], None],
    run: dict[str, Any],
    blocks: int,
    done: Callable[[int], float],
    *,
    unit: str,
    workers: int,
    progress: bool | None,
    cure: str,
    checkpoint: PathLike | None = None,
    save: Callable[[], None] = lambda: None,
    on_epoch_begin: Callable[[], None] = lambda: None,
    on_epoch_end: Callable[[float], None] = lambda _: None,
) -> None:
    """Train over all epochs from ``run["epoch"]``, ``run["block"]`` on.

    Parameters
    ----------
    train : callable
        ``train(first, last)`` trains blocks of epoch ``run["epoch"]`` and adds to ``run["loss"]``
        the sum of the losses of their pairs, and to ``run["pairs"]`` the number of pairs.
    run : dict
        From `new_run` or a checkpoint.
    blocks : int
        Blocks per epoch. One worker trains a block from start to end, and checkpoints are written
        between blocks.
    done : callable
        ``done(block)``: the work of an epoch that comes before a block, in ``unit``.
    workers : int
        The least number of blocks per call of ``train``.
    progress : bool, optional
        As for `progress_bar`.
    cure : str
        Advice for the error when training diverges: "take a lower alpha".
    checkpoint : path-like, optional
        Where ``save()`` writes the state: every ten minutes, and on Ctrl-C, SIGTERM or SIGHUP.
    on_epoch_begin, on_epoch_end : callable
        Called around each epoch (on_epoch_begin only where it starts at its first block), the
        latter with its mean loss, NaN where nothing had one.

    Raises
    ------
    FloatingPointError
        The loss is not finite any more.
    KeyboardInterrupt
        On Ctrl-C, SIGTERM or SIGHUP; with a checkpoint after it is written, and with its name.
    """
    epochs, work = run["epochs"], done(blocks)
    begun = round(run["epoch"] * work + done(run["block"]))
    count = max(1, workers)  # of blocks in a call: long enough, but not too long
    saved = time.monotonic()
    with (
        deferred_interrupt() as interrupted,
        progress_bar(round(epochs * work), unit, "training", progress, begun) as bar,
    ):

        def stop_if_interrupted() -> None:
            if not interrupted.is_set():
                return
            if checkpoint is None:
                raise KeyboardInterrupt
            save()
            raise KeyboardInterrupt(
                f"the state of training is in {os.fspath(checkpoint)}; resume goes on"
            )

        while run["epoch"] < epochs:
            if not run["block"]:
                on_epoch_begin()
            while run["block"] < blocks:
                first, last = run["block"], min(run["block"] + count, blocks)
                start = time.monotonic()
                train(first, last)
                if not math.isfinite(run["loss"]):
                    raise diverged(run["epoch"], cure)
                run["block"] = last
                loss = run["loss"] / max(1, run["pairs"])
                bar.note(f"epoch {run['epoch'] + 1}/{epochs}, loss {loss:.4f}")
                bar.update(round(run["epoch"] * work + done(last)) - bar.n)
                now = time.monotonic()
                if now - start < _SLICE_SECONDS / 2:
                    count *= 2
                stop_if_interrupted()
                if checkpoint is not None and now - saved > _CHECKPOINT_SECONDS:
                    try:
                        save()
                    except OSError as error:  # training itself need not stop for it
                        warn(f"no checkpoint was written: {error}")
                    saved = time.monotonic()
            mean = run["loss"] / run["pairs"] if run["pairs"] else math.nan
            run.update(epoch=run["epoch"] + 1, block=0, loss=0.0, pairs=0)
            on_epoch_end(mean)
            stop_if_interrupted()  # it may have taken long


def check_checkpoint(where: str, path: PathLike | None) -> None:
    """Refuse a checkpoint that could not be written, before any work that it is to save.

    ``where`` is the function, for messages. OSError for a folder that does not exist or takes no
    file, and where the path is a folder itself, or a file that is not firth's and would be lost;
    TypeError where it is no path.
    """
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{where}: checkpoint must be a path, got {shortened(path)}")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    name = f"{where}: checkpoint={os.fspath(path)!r}"
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: the folder {folder} does not exist")
    if os.path.isdir(target):
        raise IsADirectoryError(f"{name} is a folder, it must be a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{name}: the folder {folder} cannot be written to")
    if os.path.isfile(target) and os.path.getsize(target) and not container.is_container(target):
        raise FileExistsError(f"{name} is a file, but none of firth's: give another name")


def diverged(epoch: int, cure: str) -> FloatingPointError:
    """For losses and parameters that are not finite any more after this epoch, from 0."""
    return FloatingPointError(f"training diverged in epoch {epoch + 1}: {cure}")


def remove_checkpoint(path: PathLike) -> None:
    """Remove a checkpoint whose training is complete, if it is still there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
