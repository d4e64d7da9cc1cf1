"""Neighbours and analogies against gensim: 1000 words in a batch, one word, Google's analogies.

gensim answers one question at a time, so all of them would take minutes to hours: its time for the
whole is fitted from two numbers of questions as fixed + marginal * questions, never scaled up from
one, which would multiply the fixed part (its evaluation of analogies begins with 24 ms of set-up
for 73,000 words).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gensim.models
import numpy as np
from gensim.test.utils import datapath

import firth
from harness import THREADS, Row, compared, extrapolated, fit_note, interleave, size

NEIGHBOURS = size(10), size(40, 2)  # queries to gensim in the fit
ANALOGIES = size(60, 5), size(600, 20)  # and analogies


def random_vectors(names: list[str], d: int) -> tuple[firth.KeyedVectors, Any]:
    """The same vectors as firth's and as gensim's KeyedVectors."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(names), d), dtype=np.float32)
    ours = firth.KeyedVectors(d)
    ours.add_vectors(names, vectors)
    peer = gensim.models.KeyedVectors(d)
    peer.index_to_key, peer.vectors = names, vectors
    peer.key_to_index = dict(ours.key_to_index)
    ours.fill_norms()
    peer.fill_norms()
    return ours, peer


def neighbours() -> list[Row]:
    n, d, batch = size(500_000), 300, 1000
    ours, peer = random_vectors([f"w{row}" for row in range(n)], d)
    queries = [f"w{row}" for row in range(0, n, n // batch)][:batch]
    for query, answer in zip(queries[:3], ours.most_similar_batch(queries[:3]), strict=True):
        assert [key for key, _ in answer] == [key for key, _ in peer.most_similar(query)]
    kinds = {"float32": ours} | {name: ours.astype(name) for name in ("float16", "int8")}
    for kv in kinds.values():
        kv.fill_norms()
    few, many = NEIGHBOURS
    times = interleave(
        {
            "few": lambda: [peer.most_similar(query) for query in queries[:few]],
            "many": lambda: [peer.most_similar(query) for query in queries[:many]],
            "one": lambda: [ours.most_similar(query) for query in queries[:few]],
            **{name: lambda kv=kv: kv.most_similar_batch(queries) for name, kv in kinds.items()},
        },
        3,
    )
    whole = extrapolated(times["few"], times["many"], NEIGHBOURS, batch)
    note = fit_note(times["few"], times["many"], NEIGHBOURS)
    work = f"most_similar, {batch} queries, {n:,} x {d}"
    return [
        compared(work, "gensim one by one", whole, times["float32"], "s", 20, note=note),
        compared(f"most_similar, one query, {n:,} x {d}", "gensim", times["few"] * (1 / few),
                 times["one"] * (1 / few), "ms"),
        *(compared(f"{work}, stored as {name}", "gensim one by one", whole, times[name], "s",
                   note=f"{note}; its vectors are float32") for name in ("float16", "int8")),
    ]  # fmt: skip


def analogies(count: int, d: int) -> Row:
    """All of Google's 19,544 questions."""
    whole_file = datapath("questions-words.txt")
    lines = Path(whole_file).read_text().splitlines()
    questions = [line for line in lines if line[0] != ":"]
    words = list(dict.fromkeys(word for line in questions for word in line.split()))
    ours, peer = random_vectors(words + [f"w{row}" for row in range(count - len(words))], d)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in ANALOGIES:
            path = Path(folder) / f"{number}.txt"
            some = questions[:: len(questions) // number][:number]
            path.write_text(": some\n" + "\n".join(some) + "\n")
            assert ours.evaluate_word_analogies(path) == peer.evaluate_word_analogies(str(path))
            paths.append(str(path))
        times = interleave(
            {
                "few": lambda: peer.evaluate_word_analogies(paths[0]),
                "many": lambda: peer.evaluate_word_analogies(paths[1]),
                "firth": lambda: ours.evaluate_word_analogies(whole_file),
            },
            3,
        )
    return compared(
        f"evaluate_word_analogies, all of Google's, {count:,} x {d}", "gensim",
        extrapolated(times["few"], times["many"], ANALOGIES, len(questions)), times["firth"], "s",
        25, note=fit_note(times["few"], times["many"], ANALOGIES),
    )  # fmt: skip


def run() -> list[Row]:
    """About 6 minutes."""
    firth.set_num_threads(THREADS)
    sizes = ((40_000, 300), (73_000, 100), (300_000, 300))
    return [*neighbours(), *(analogies(size(count, 2000), d) for count, d in sizes)]
