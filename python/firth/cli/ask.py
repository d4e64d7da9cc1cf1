"""``firth similar`` and ``firth analogy``: queries of word vectors."""

from __future__ import annotations

import argparse
from typing import Any

from firth.cli.common import ANY_FILE, at_least, check_word, command, load, say


def add(commands: Any) -> None:
    """Add the commands."""
    similar = command(commands, "similar", _similar, "The words most similar to a word.")
    analogy = command(
        commands, "analogy", _analogy, "What is to C as A is to B? The words nearest A - B + C.",
        epilog="firth analogy words.firth king man woman: king - man + woman.",
    )  # fmt: skip
    for one in (similar, analogy):
        one.add_argument("vectors", help=ANY_FILE)
        one.add_argument("-n", "--number", type=at_least(1), default=10, help="how many words [10]")
    similar.add_argument("word")
    for name in "abc":
        analogy.add_argument(name, metavar=name.upper())


def _similar(arguments: argparse.Namespace) -> None:
    _ask(arguments, [arguments.word], [])


def _analogy(arguments: argparse.Namespace) -> None:
    _ask(arguments, [arguments.a, arguments.c], [arguments.b])


def _ask(arguments: argparse.Namespace, positive: list[str], negative: list[str]) -> None:
    vectors = load(arguments.vectors)
    for word in positive + negative:
        check_word(vectors, word, arguments.vectors)
    for word, score in vectors.most_similar(positive, negative, topn=arguments.number):
        say(f"{score:.4f}  {word}")
