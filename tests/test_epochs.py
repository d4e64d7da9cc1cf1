"""The loop of every training: what stops it, and the state after that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import firth
from firth import fasttext
from firth.epochs import new_run, run_epochs


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("checkpoint", [None, "state"])
@pytest.mark.parametrize("where", ["train", "begin", "end"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_signal_at_any_time(number: int, checkpoint: str | None, where: str, epoch: int) -> None:
    """In the last call of the last epoch, too, which nothing comes after."""
    run, trained, saved = new_run(3), [], []

    def strike(place: str, at: int) -> None:
        if (place, at) == (where, epoch) and not saved:
            os.kill(os.getpid(), number)

    def train(first: int, last: int) -> None:
        trained.extend((run["epoch"], block) for block in range(first, last))
        run["loss"], run["pairs"] = run["loss"] + 1, run["pairs"] + 1
        strike("train", run["epoch"])

    def go_on() -> None:
        run_epochs(
            train, run, 2, float, unit="", workers=1, progress=False, cure="",
            checkpoint=checkpoint, save=lambda: saved.append(dict(run)),
            on_epoch_begin=lambda: strike("begin", run["epoch"]),
            on_epoch_end=lambda _: strike("end", run["epoch"] - 1),
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt, match="is in state; resume" if checkpoint else "^$"):
        go_on()
    assert saved == ([run] if checkpoint else [])
    stopped: dict[str, Any] = dict(run)
    saved.append(stopped)
    go_on()
    assert trained == [(one, block) for one in range(3) for block in range(2)]
    assert run["epoch"] == 3


_TRAINERS: list[Callable[..., object]] = [
    lambda **more: firth.Word2Vec(corpus_file="none", **more),
    lambda **more: firth.FastText(corpus_file="none", **more),
    lambda **more: firth.GloVe(corpus_file="none", **more),
    lambda **more: firth.Word2Vec().train([["a"]], **more),
    lambda **more: firth.GloVe().train([["a"]], **more),
    lambda **more: firth.Word2Vec.resume("none", [["a"]], **more),
    lambda **more: firth.FastText.resume("none", [["a"]], **more),
    lambda **more: firth.GloVe.resume("none", [["a"]], **more),
    lambda **more: fasttext.train_supervised("none", **more),
    lambda **more: fasttext.train_unsupervised("none", **more),
    lambda **more: fasttext.resume("none", "none", **more),
]


@pytest.mark.parametrize("train", _TRAINERS)
def test_a_checkpoint_that_cannot_be_written(train: Callable[..., object], tmp_path: Path) -> None:
    """It is refused before the corpus is read: Ctrl-C would be too late."""
    with pytest.raises(FileNotFoundError, match=r"checkpoint=.*nowhere does not exist"):
        train(checkpoint=tmp_path / "nowhere" / "state")
    with pytest.raises(IsADirectoryError, match=r"checkpoint=.* is a folder"):
        train(checkpoint=tmp_path)
    other = tmp_path / "other"
    other.write_text("of somebody")
    with pytest.raises(FileExistsError, match=r"other' is a file, but none of firth's: give"):
        train(checkpoint=other)
    with pytest.raises(TypeError, match="checkpoint must be a path, got 3"):
        train(checkpoint=3)
