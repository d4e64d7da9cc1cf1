"""How costs grow: with the corpus, the index, the dimension, the context; curves and slopes.

A slope is the exponent s of time ~ x^s, fitted by least squares to the logarithms: 1 is
proportional growth, 2 quadratic.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import gensim.models
import matplotlib
import ml_dtypes
import numpy as np
import torch

import firth
from bench_search import K, index_of, normal, set_threads
from bench_words import SETTINGS, corpus_file
from firth.kernels import scaled_dot_product_attention
from harness import QUICK, THREADS, Timing, interleave

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

Subjects = dict[str, Callable[[], object]]


@dataclass
class Curve:
    """Times of some subjects as one thing grows."""

    work: str
    grows: str
    timings: dict[str, dict[int, Timing]] = field(default_factory=dict)  # subject -> x -> time

    def measure(self, sizes: Iterable[int], subjects: Callable[[int], Subjects]) -> Curve:
        """Time the subjects of every size; those of one size in turn."""
        for x in sizes:
            for name, timing in interleave(subjects(x), repeats=3).items():
                self.timings.setdefault(name, {})[x] = timing
        return self

    def slope(self, name: str) -> float:
        points = self.timings[name]
        seconds = [timing.median for timing in points.values()]
        return float(np.polyfit(np.log(list(points)), np.log(seconds), 1)[0])


def doubling(first: int, last: int) -> list[int]:
    """first, 2 first, 4 first, ... up to last; in a trial the first three."""
    sizes = [first << i for i in range(40) if first << i <= last]
    return sizes[:3] if QUICK else sizes


def head(words: int, folder: Path) -> Path:
    """The first lines of the corpus, up to this number of words."""
    path = folder / f"{words}.txt"
    with open(corpus_file(), encoding="utf-8") as source, open(path, "w", encoding="utf-8") as out:
        for line in source:
            out.write(line)
            words -= line.count(" ") + 1
            if words <= 0:
                break
    return path


def trainings(path: Path, **changes: int) -> Subjects:
    """Vocabulary and one epoch of skip-gram, 100 dimensions unless changed."""
    settings = {"vector_size": 100, "epochs": 1, **SETTINGS, **changes}
    return {
        "firth": lambda: firth.Word2Vec(corpus_file=path, negatives="shared", **settings),
        "gensim": lambda: gensim.models.Word2Vec(corpus_file=str(path), **settings),
    }


def searches(n: int, d: int, queries: int, cells: bool) -> Subjects:
    """Exact search and FAISS's, and cells if `cells`."""
    keys, asked = normal(n, d), normal(queries, d, seed=1)
    flat = faiss.IndexFlatIP(d)
    flat.add(keys)
    index = index_of(keys)
    subjects: Subjects = {
        "firth": lambda: index.search(asked, K),
        "FAISS IndexFlatIP": lambda: flat.search(asked, K),
    }
    if cells:
        parted = index_of(keys, cells="auto")
        parted.search(asked[:1], K)
        subjects["firth, cells, probe 16"] = lambda: parted.search(asked, K, probe=16)
    return subjects


def attentions(length: int) -> Subjects:
    """8 heads of 64 numbers."""
    q, k, v = (
        np.random.default_rng(i).standard_normal((1, 8, length, 64), np.float32) for i in range(3)
    )
    small = [x.astype(ml_dtypes.bfloat16) for x in (q, k, v)]
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    halves = [tensor.bfloat16() for tensor in tensors]
    theirs = torch.nn.functional.scaled_dot_product_attention
    return {
        "firth float32": lambda: scaled_dot_product_attention(q, k, v),
        "firth bfloat16": lambda: scaled_dot_product_attention(*small),
        "torch float32": lambda: theirs(*tensors),
        "torch bfloat16": lambda: theirs(*halves),
    }


def curves(folder: Path) -> list[Curve]:
    million = head(100_000 if QUICK else 1_000_000, folder)
    found = [
        Curve("skip-gram with its vocabulary, dim 100", "words of the corpus").measure(
            doubling(50_000 if QUICK else 500_000, 4_000_000),
            lambda n: trainings(head(n, folder)),
        ),
        Curve("skip-gram, a million words", "dimension").measure(
            doubling(25, 400), lambda d: trainings(million, vector_size=d)
        ),
        Curve("skip-gram, a million words, dim 100", "window").measure(
            doubling(2, 16), lambda window: trainings(million, window=window)
        ),
        Curve("attention, 8 heads of 64", "context length").measure(
            doubling(128, 8192), attentions
        ),
    ]
    for queries, named in ((1, "1 query"), (256, "256 queries")):
        found += [
            Curve(f"search of rows x 100, {named}", "rows").measure(
                doubling(15_625, 1_000_000), lambda n, q=queries: searches(n, 100, q, True)
            ),
            Curve(f"search of 100,000 rows, {named}", "dimension").measure(
                doubling(32, 2048), lambda d, q=queries: searches(100_000, d, q, False)
            ),
        ]
    return found


def draw(found: list[Curve], path: Path) -> None:
    """A panel for each curve, both axes logarithmic; peers dashed, spreads as bars."""
    columns = 4
    figure, panels = plt.subplots(
        -(-len(found) // columns), columns, figsize=(16, 7.5), layout="constrained"
    )
    for curve, panel in zip(found, panels.flat, strict=True):
        for name, points in curve.timings.items():
            ours = name.startswith("firth")
            middle = [1e3 * timing.median for timing in points.values()]
            ends = [
                [1e3 * pick(timing.seconds) for timing in points.values()] for pick in (min, max)
            ]
            bars = np.abs(np.array(ends) - middle)
            line, marker = ("-", "o") if ours else ("--", "s")
            panel.errorbar(
                list(points), middle, bars, label=f"{name}, slope {curve.slope(name):.2f}",
                linestyle=line, marker=marker, markersize=3, linewidth=1.2, capsize=2,
            )  # fmt: skip
            places = list(points)[:: 1 + len(points) // 5]
        panel.set(xscale="log", yscale="log", xlabel=curve.grows, ylabel="ms")
        panel.set_xticks(places, [f"{x:,}" for x in places])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_title(curve.work, fontsize=10)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def run(folder: Path) -> str:
    """Table and picture, which goes into `folder`; about 10 minutes."""
    set_threads()
    with tempfile.TemporaryDirectory() as texts:
        found = curves(Path(texts))
    draw(found, folder / "growth.png")
    lines = [
        "| what is timed | what grows | from | to | of | at the first | at the last | slope |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for curve in found:
        for name, points in curve.timings.items():
            first, last = min(points), max(points)
            lines.append(
                f"| {curve.work} | {curve.grows} | {first:,} | {last:,} | {name} | "
                f"{1e3 * points[first].median:.4g} ms | {1e3 * points[last].median:.4g} ms | "
                f"**{curve.slope(name):.2f}** |"
            )
    return "\n".join([
        "![Time against size, both axes logarithmic](growth.png)", "", *lines, "",
        "A slope is the exponent s of time ~ x^s over the whole range: 1 is proportional growth.",
        f"{THREADS} threads for all; three rounds in turn, bars are their smallest and largest.",
    ])  # fmt: skip
