"""``firth fill-mask``: the likeliest words in place of ``[MASK]``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from firth.cli.common import UserError, at_least, command, read_lines, say


def add(commands: Any) -> None:
    """Add the command."""
    fill = command(
        commands, "fill-mask", _fill_mask, "The likeliest tokens in place of [MASK] in texts.",
        epilog='firth fill-mask "He went to the [MASK]." --model bert-base-uncased. Prints '
        "probabilities and tokens, the best first; an empty line between several masks or texts.",
    )  # fmt: skip
    fill.add_argument(
        "text", help="with the mask of the model, [MASK] or <mask>; -: each line of stdin"
    )
    fill.add_argument(
        "--model",
        required=True,
        help="a folder, or a name; `firth models` lists those there are",
    )
    fill.add_argument("-k", "--number", type=at_least(1), default=5, help="tokens for a mask [5]")


def _fill_mask(arguments: argparse.Namespace) -> None:
    from firth import AutoModelForMaskedLM, AutoTokenizer
    from firth.encoders import fill_mask
    from firth.transformer.where import folder_of

    folder = folder_of(arguments.model)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def show(text: str, first: bool) -> None:
        found = fill_mask(model, tokenizer, text, arguments.number)
        for best in found if isinstance(found[0], list) else [found]:
            if not first:
                say("")
            for one in best:
                say(f"{one['score']:.4f}  {one['token_str']}")
            first = False
        sys.stdout.flush()  # a program that writes line by line gets an answer to each

    if arguments.text != "-":
        show(os.fsencode(arguments.text).decode("utf-8", "replace"), True)
        return
    number = 0
    for lines in read_lines(sys.stdin.buffer):
        for line in lines:
            number += 1
            try:
                show(line.decode("utf-8", "replace").rstrip("\r"), number == 1)
            except ValueError as error:
                raise UserError(f"line {number}: {error}") from None
