"""``firth eval``: vectors compared with human judgements."""

from __future__ import annotations

import argparse
import os
from typing import Any

from firth.cli.common import ANY_FILE, at_least, command, load, named, say


def add(commands: Any) -> None:
    """Add the command."""
    evaluate = command(
        commands, "eval", _evaluate, "How well vectors agree with human judgements.",
        epilog="Without files, the analogies and pairs that come with firth are used.",
    )  # fmt: skip
    evaluate.add_argument("vectors", help=ANY_FILE)
    evaluate.add_argument(
        "--analogies", metavar="FILE", help="lines 'a b c d' in sections ': name', as Google's"
    )
    evaluate.add_argument(
        "--pairs", metavar="FILE", nargs="+", default=[], help="lines 'word<tab>word<tab>number'"
    )
    evaluate.add_argument(
        "--restrict", type=at_least(1), default=300000, metavar="N",
        help="use the first N words [300000]",
    )  # fmt: skip


def _evaluate(arguments: argparse.Namespace) -> None:
    analogies, pairs = arguments.analogies, arguments.pairs
    if analogies is None and not pairs:
        from firth.words import evaluation_file

        analogies, pairs = evaluation_file("analogies"), [evaluation_file("pairs")]
    for path in [*pairs, *([] if analogies is None else [analogies])]:
        os.stat(path)  # a missing one is an error before vectors are read
    vectors, limit = load(arguments.vectors), arguments.restrict
    for path in pairs:
        with named(path):
            pearson, spearman, unknown = vectors.evaluate_word_pairs(path, restrict_vocab=limit)
        say(
            f"{os.path.basename(path):<32} Spearman {spearman.statistic:6.3f}   "
            f"Pearson {pearson.statistic:6.3f}   unknown {unknown:.1f} %"
        )
    if analogies is None:
        return
    with named(analogies):
        _, sections = vectors.evaluate_word_analogies(analogies, restrict_vocab=limit)
        if len(sections) == 1:  # the total
            raise ValueError("has no sections of analogies")
    for section in sections:
        right, wrong = len(section["correct"]), len(section["incorrect"])
        share = f"{100 * right / (right + wrong):5.1f} %" if right + wrong else "   no words"
        say(f"{section['section']:<32} {share}   {right:,} of {right + wrong:,}")
