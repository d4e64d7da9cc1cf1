"""Helpers of the command line's tests: vectors, ways to run it, a stand-in for training."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from firth import KeyedVectors
from firth.cli import main
from firth.formats import container
from firth.words.corpus import Corpus

WORDS = ["king", "queen", "man", "woman", "apple", "naïve"]


VECTORS = [[0.8, 0.65, 0.1], [0.78, 0.66, 0.12], [0.9, 0.1, 0.1], [0.88, 0.12, 0.12],
           [0.1, 0.8, 0.9], [-1, 0, 0]]  # fmt: skip


def vectors() -> KeyedVectors:
    kv = KeyedVectors(3)
    kv.add_vectors(WORDS, np.array(VECTORS), {"count": np.arange(6, 0, -1)})
    return kv


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firth", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail properly: one line, exit code 2. Returns the message."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    prefix, end = "firth: error: ", "\n"
    assert printed.err.startswith(prefix)
    assert printed.err.endswith(end)
    message = printed.err[len(prefix) : -len(end)]
    assert "\n" not in message
    return message


class Trainer:
    """Stands in for Word2Vec: remembers how it was called, ends as the test says."""

    calls: list[dict[str, Any]]
    outcome: BaseException | None
    checkpoint: bool
    kind = "word2vec"

    def __init__(self, **options: Any) -> None:
        self.options = options

    def build_vocab(self, text: Corpus) -> None:
        assert text.count().total_words
        self.wv = vectors()

    def train(self, text: Corpus, checkpoint: str) -> None:
        options = {**self.options, "checkpoint": checkpoint}
        type(self).calls.append(options)
        if self.checkpoint:
            container.write(checkpoint, self.kind, {})
        if self.outcome is not None:
            raise self.outcome

    @classmethod
    def resume(cls, path: str, text: Corpus, **options: Any) -> Trainer:
        model = cls(resumed=True, **options)
        model.build_vocab(text)
        model.train(text, path)
        return model
