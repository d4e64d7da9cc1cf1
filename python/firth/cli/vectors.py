"""``firth info``, ``vectors info`` and ``convert``: files of vectors."""

from __future__ import annotations

import argparse
import os
import warnings
from typing import Any

from firth import formats
from firth.cli import index
from firth.cli.common import (
    ANY_FILE,
    UserError,
    check_output,
    command,
    complain,
    group,
    load,
    megabytes,
    say,
    table,
)


def add(commands: Any) -> None:
    """Add the commands."""
    info = command(commands, "info", _info, "About a file, or about this installation.")
    info.add_argument("file", nargs="?", help="an index, or " + ANY_FILE)

    about = command(
        group(commands, "vectors", "About files of vectors."),
        "info",
        _info,
        "Format, size and first words of a file, without reading all of it where possible.",
    )
    about.add_argument("file", help=ANY_FILE)

    convert = command(commands, "convert", _convert, "Write vectors in another format.")
    convert.add_argument("vectors", help=ANY_FILE)
    convert.add_argument(
        "output",
        help="the suffix selects the format: .firth, .txt, .vec, .bin, .npy (the words "
        "go to .words.txt beside it); also .gz, ...",
    )
    convert.add_argument("--format", choices=formats.WRITABLE, help="if the suffix does not tell")


def _info(arguments: argparse.Namespace) -> None:
    path = arguments.file
    if path is None:
        from firth.system import info

        for line in str(info()).splitlines():
            say(line)
        return
    from firth.search.storage import is_sharded

    if is_sharded(path):
        index.show_sharded(path)
        return
    kind, facts = _kind_and_facts(path)
    if kind == "index":
        index.show_stats(path)
        return
    if facts:
        table({"file": f"{path}, {megabytes(path)}", **facts})
        return
    from firth.words.vector_files import describe

    found = describe(path)
    table(
        {
            "file": f"{path}, {megabytes(path)}",
            "format": found.format,
            "words": "not counted" if found.words is None else f"{found.words:,}",
            "dimensions": f"{found.dimensions} ({found.dtype})",
            "first": ", ".join(found.first),
            **found.more,
        }
    )


def _kind_and_facts(path: str) -> tuple[str | None, dict[str, str]]:
    """The kind of a file of firth's own, and facts about a file that holds no word vectors."""
    from firth.epochs import interrupted
    from firth.formats import container, npy
    from firth.words.vector_files import words_beside

    if not os.path.isfile(path):
        return None, {}
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"\x93NUMPY"):
        array = npy.read(path, mmap="r")
        shape = " x ".join(f"{extent:,}" for extent in array.shape)
        facts = {"format": "array of NumPy (.npy)", "numbers": f"{shape} ({array.dtype})"}
        if os.path.exists(words_beside(path)):
            facts["words"] = f"in {words_beside(path)}"
        return None, facts
    if head != container.MAGIC:
        return None, {}
    held = container.read(path, mmap="r", decode=False)
    facts = {"format": f"firth: {container.nature(held.kind)}"}
    if held.kind == "phrases":
        return held.kind, facts | {
            "class": str(held.meta.get("class")),
            "entries": f"{len(held.arrays.get('values', ())):,}",
        }
    if held.kind == "classifier in training":
        return held.kind, facts | interrupted(held.meta)
    return held.kind, {}


def _convert(arguments: argparse.Namespace) -> None:
    from firth.words.vector_files import format_of_name, words_beside

    output, format = arguments.output, arguments.format
    os.stat(arguments.vectors)
    if format != "spacy":
        check_output(output, arguments.vectors)
    if format_of_name(output) is None and format is None:
        raise UserError(
            f"{output}: the suffix is not one of .firth, .txt, .vec, .bin, .npy; "
            f"give --format ({', '.join(formats.WRITABLE)})"
        )
    vectors = load(arguments.vectors)
    save(vectors, output, format)
    say(f"{output}: {len(vectors):,} words, {vectors.vector_size} dimensions")
    if (format or format_of_name(output)) == "npy":
        say(f"{words_beside(output)}: the words, in the order of the rows")


def save(vectors: Any, output: str, format: str | None) -> None:
    """Save vectors, by default in the format of the suffix; warnings are lines on stderr."""
    from firth.words.vector_files import save_vectors

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        save_vectors(vectors, output, format)
    for warning in warned:
        complain(f"warning: {' '.join(str(warning.message).split())}")
