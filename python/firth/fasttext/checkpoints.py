"""Checkpoints of training, in files of firth's own; here those of a classifier."""

from __future__ import annotations

import dataclasses
import os
import zlib
from typing import Any

import numpy as np

from firth.arguments import Real, Rules, Whole, check_all
from firth.errors import FormatError
from firth.fasttext.fit import fit
from firth.formats import container
from firth.formats.fasttext import Args, Content
from firth.formats.files import PathLike

_KIND = "classifier in training"
_ARRAYS = ("text", "ends", "counts", "input", "output")
_RUN: Rules = {
    "epochs": Whole(1), "epoch": Whole(), "block": Whole(), "pairs": Whole(0, 2**63 - 1),
    "loss": Real(-1e300, 1e300), "rate": Real(), "seed": Whole(0, 2**63 - 1),
    "crc32": Whole(0, 2**32 - 1),
}  # fmt: skip
GIVEN = ("label", "lr", "minCountLabel", "thread", "verbose", "pretrainedVectors", "seed")


def fingerprint(text: Any) -> int:
    """A checksum of a text, to recognise it when training is resumed."""
    return zlib.crc32(text, len(text) & 0xFFFFFFFF)


def train(
    content: Content,
    given: dict[str, Any],
    text: Any,
    run: dict[str, Any],
    checkpoint: PathLike | None,
) -> None:
    """`fit`, with the state in ``checkpoint`` where it is interrupted."""

    def save() -> None:
        assert checkpoint is not None
        run.setdefault("crc32", fingerprint(text))
        arrays = {name: np.asarray(getattr(content, name)) for name in _ARRAYS}
        meta = {
            "args": dataclasses.asdict(content.args), "labels": content.labels,
            "tokens": content.tokens, "run": run,
            "given": given | {"pretrainedVectors": os.fspath(given["pretrainedVectors"])},
        }  # fmt: skip
        container.write(checkpoint, _KIND, arrays, meta, {})

    label, thread, verbose = given["label"], given["thread"], given["verbose"]
    fit(content, label, text, run, thread, verbose, checkpoint, save)


def of_words(path: PathLike) -> bool:
    """Whether a checkpoint is one of `train_unsupervised`, which is a FastText model's and more."""
    found = container.read(path, mmap="r")
    return found.kind == "fasttext" and "asked" in found.meta


def read(path: PathLike) -> tuple[Content, dict[str, Any], dict[str, Any]]:
    """Content, arguments and run of a checkpoint; FormatError for another file."""
    found = container.read(path, _KIND)
    arrays, meta = found.arrays, found.meta
    try:
        args = Args(**meta["args"])
        content = Content(
            args, arrays["text"], arrays["ends"], arrays["counts"], int(meta["labels"]),
            int(meta["tokens"]), None, arrays["input"], arrays["output"],
        )  # fmt: skip
        given = {name: meta["given"][name] for name in GIVEN}
        run = {name: meta["run"][name] for name in _RUN}
        check_all("run", _RUN, run)
        shapes = (content.nwords + args.bucket, args.dim), (content.labels, args.dim)
        if (arrays["input"].shape, arrays["output"].shape) != shapes:
            raise ValueError("the matrices do not fit the dictionary")
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError(f"is not a whole checkpoint: {error}", path) from None
    return content, given, run
