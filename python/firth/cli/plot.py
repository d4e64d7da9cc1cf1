"""``firth plot``: words as a picture."""

from __future__ import annotations

import argparse
from typing import Any

from firth.cli.common import (
    ANY_FILE,
    check_output,
    check_word,
    command,
    load,
    picture_format,
    say,
)


def add(commands: Any) -> None:
    """Add the command."""
    plot = command(commands, "plot", _plot, "Draw words and their neighbours as a picture.")
    plot.add_argument("vectors", help=ANY_FILE)
    plot.add_argument("words", nargs="*", help="words to show with their neighbours [a sample]")
    plot.add_argument("-o", "--output", default="words.png", help=".png, .svg or .pdf [words.png]")
    plot.add_argument("--method", choices=("pca", "umap"), default="pca", help="[pca]")
    plot.add_argument("--analogy", nargs=3, metavar=("A", "B", "C"), help="draw A - B + C = ?")


def _plot(arguments: argparse.Namespace) -> None:
    output = arguments.output
    suffix = picture_format(output)
    check_output(output, arguments.vectors)
    vectors = load(arguments.vectors)
    for word in [*arguments.words, *(arguments.analogy or [])]:
        check_word(vectors, word, arguments.vectors)
    figure = vectors.plot(arguments.words or None, arguments.method, analogy=arguments.analogy)
    from firth.formats.files import atomic

    with atomic(output) as file:
        figure.savefig(file, format=suffix)
    say(output)
