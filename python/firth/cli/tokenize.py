"""``firth tokenize``: the pieces that a model's tokenizer cuts texts into, ids, counts."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from firth.cli.common import UserError, command, read_lines, say, say_in_colours
from firth.formats.files import plain

if TYPE_CHECKING:
    from firth import BertTokenizer

_LINES = 4096  # that are cut together, on all threads


def add(commands: Any) -> None:
    """Add the command."""
    tokenize = command(
        commands, "tokenize", _tokenize,
        "The pieces that a model's tokenizer cuts texts into, special tokens included. On a "
        "terminal the pieces of a word share a colour; NO_COLOR=1 prints them without.",
        epilog='firth tokenize "He went to the bank." --model all-MiniLM-L6-v2',
    )  # fmt: skip
    tokenize.add_argument("text", nargs="*", help="a line each; none, or -: each line of stdin")
    tokenize.add_argument("--file", help="UTF-8 file, one text a line, may be compressed")
    tokenize.add_argument(
        "--model",
        required=True,
        help="a folder, or a name; `firth models` lists those there are",
    )
    what = tokenize.add_mutually_exclusive_group()
    what.add_argument("--ids", action="store_true", help="ids instead of pieces")
    what.add_argument(
        "--count", action="store_true",
        help="how many tokens each text has, and all; how many are too long for the model",
    )  # fmt: skip


def _tokenize(arguments: argparse.Namespace) -> None:
    if arguments.file and arguments.text:
        raise UserError("give texts or --file, not both")
    tokenizer = _tokenizer(arguments.model)
    with contextlib.closing(_texts(arguments)) as texts:
        if arguments.count:
            _count(tokenizer, texts)
            return
        for some in texts:
            found = tokenizer(some)
            for i in range(len(some)):
                row = found[i]
                pieces = map(str, row.ids) if arguments.ids else row.tokens
                say_in_colours(zip(pieces, row.word_ids, strict=True))
            sys.stdout.flush()  # a program that writes line by line gets an answer to each


def _count(tokenizer: BertTokenizer, texts: Iterator[list[str]]) -> None:
    most, total, lines, over = tokenizer.model_max_length, 0, 0, 0
    for some in texts:
        counts = np.diff(tokenizer.encode_packed(some, max_length=sys.maxsize).offsets)
        for count in counts.tolist():
            say(str(count))
        total, lines = total + int(counts.sum()), lines + len(some)
        over += int((counts > min(most, sys.maxsize)).sum())
        sys.stdout.flush()
    limit = f"; {over:,} longer than the model's {most:,}" if most < sys.maxsize else ""
    say(f"{total:,} tokens in {lines:,} line{'s' * (lines != 1)}{limit}")


def _tokenizer(model: str) -> BertTokenizer:
    from firth import AutoTokenizer
    from firth.transformer.where import folder_of

    if not os.path.exists(model):
        model = folder_of(model, owner="sentence-transformers")
    return AutoTokenizer.from_pretrained(model)


def _texts(arguments: argparse.Namespace) -> Generator[list[str]]:
    """The lines, some at a time."""
    if arguments.file:
        with plain(arguments.file) as file:
            file.seek(0)
            for lines in _batches(file):
                yield [_text(line.rstrip(b"\n")) for line in lines]
    elif arguments.text in ([], ["-"]):
        for lines in read_lines(sys.stdin.buffer):
            for some in _batches(iter(lines)):
                yield [_text(line) for line in some]
    else:
        yield [_text(os.fsencode(one)) for one in arguments.text]


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while some := list(itertools.islice(lines, _LINES)):
        yield some


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
