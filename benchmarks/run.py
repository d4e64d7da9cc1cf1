"""Runs the benchmarks and writes RESULTS.md; `python benchmarks/run.py softmax words` only these.

Each part of RESULTS.md is kept in benchmarks/results/<name>.md, so that one can be measured anew
without the others.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import Row, machine

HERE = Path(__file__).resolve().parent
PARTS = {
    "words": "Word vectors",
    "words_models": "CBOW and hierarchical softmax",
    "quality": "Quality of the vectors (dev corpus, 5 epochs, dim 100, sample 1e-4)",
    "fasttext_words": "FastText's word vectors",
    "static": "Static embeddings of texts",
    "glove": "GloVe",
    "glove_quality": "Quality of GloVe's vectors (4.6 M words, 15 epochs, dim 100)",
    "files": "Files of vectors",
    "keyedvectors": "Questions to vectors",
    "fasttext": "fastText's Python module",
    "softmax": "Softmax",
    "matmul": "Matrix product",
    "scaled_dot_product_attention": "Attention",
    "cosine_topk": "Nearest rows by cosine",
    "search_flat": "Search: 500,000 x 384",
    "search_words_100": "Search: 1,000,000 word vectors of 100 numbers",
    "search_words_300": "Search: 1,000,000 word vectors of 300 numbers",
    "search_filters": "Search: a filter a query",
    "search_files": "Search: files and memory",
    "search_cells": "Search: cells against graphs",
    "search_identity": "Search: the same answer whatever the batch, threads and level",
    "levels": "The v3 level, forced, against the best level",
    "package": "Package",
}
# The parts that are not `run` of their own module.
ELSEWHERE = {
    "quality": ("bench_words", "quality"),
    "glove_quality": ("bench_glove", "quality"),
    "search_flat": ("bench_search", "flat"),
    "search_words_100": ("bench_search", "words_100"),
    "search_words_300": ("bench_search", "words_300"),
    "search_filters": ("bench_search", "filters"),
    "search_files": ("bench_search", "files"),
}
PEERS = [
    "numpy", "gensim", "fasttext-numpy2", "model2vec", "spacy", "torch", "faiss-cpu", "usearch",
    "hnswlib", "turbovec", "scikit-learn",
]  # fmt: skip


def number(value: float) -> str:
    """Three or four significant digits, no exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    lines = [
        "| work | peer | peer's | ours | ratio | goal | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g} x"
        spread = "" if row.spread is None else f"{100 * row.spread:.0f} %"
        lines.append(
            f"| {row.work} | {row.peer_name} | {number(row.peer)} {row.unit} | "
            f"{number(row.ours)} {row.unit} | **{row.ratio:.2f} x** | {goal} | {spread} |"
        )
    return "\n".join(lines)


def package() -> str:
    """Wheel size, build time and import time, measured on this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "-q",
                "--no-deps",
                "-w",
                folder,
                str(HERE.parent),
            ],
            check=True,
        )
        build = time.perf_counter() - start
        size = next(Path(folder).glob("*.whl")).stat().st_size

    def best(code: str) -> float:
        taken = []
        for _ in range(9):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append(time.perf_counter() - start)
        return sorted(taken)[4]

    nothing = best("pass")
    numpy = best("import numpy") - nothing
    firth = best("import firth") - nothing
    kernels = best("import firth; firth.kernels; firth.Word2Vec") - nothing
    lines = [
        "| what | measured | goal |",
        "|---|---|---|",
        f"| wheel | {size / 1e6:.2f} MB | below 3 MB |",
        f"| `pip wheel`, from nothing | {build:.0f} s | |",
        f"| `import firth` | {1e3 * firth:.0f} ms, {firth / numpy:.2f} x `import numpy` | 1.3 x |",
        f"| `import firth`, then `kernels` and `Word2Vec` used | {1e3 * kernels:.0f} ms, "
        f"{kernels / numpy:.2f} x `import numpy` ({1e3 * numpy:.0f} ms) | |",
    ]
    return "\n".join(lines)


def measure(name: str) -> str:
    """One part's text."""
    if name == "package":
        return package()
    module, function = ELSEWHERE.get(name, (f"bench_{name}", "run"))
    found = getattr(importlib.import_module(module), function)()
    return found if isinstance(found, str) else table(found)


def versions() -> str:
    """Versions of the peers that are installed."""
    found = []
    for peer in PEERS:
        try:
            found.append(f"{peer} {version(peer)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Measure the named parts (all by default) and write RESULTS.md from all there are."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}")
    names = parser.parse_args().part
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if not names:
        names = [n for n in PARTS if not n.startswith("glove") or "FIRTH_GLOVE_C" in os.environ]
        if len(names) < len(PARTS):
            print("without FIRTH_GLOVE_C GloVe is not measured", file=sys.stderr)
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        text = f"{measure(name)}\n\nMeasured on {machine()}; {versions()}.\n"
        (results / f"{name}.md").write_text(text)
        print(text, flush=True)
    write()


def write() -> None:
    """RESULTS.md and the README's table, from what has been measured."""
    results = HERE / "results"
    parts = [
        f"## {title}\n\n{(results / f'{name}.md').read_text()}"
        for name, title in PARTS.items()
        if (results / f"{name}.md").exists()
    ]
    head = (
        "# Results\n\nWritten by `make bench`: medians, firth and the peer in turn in one run with "
        "equal threads; a ratio above 1 means that firth is faster. Spread is (max - min) / median "
        "of ours. How each figure came about stands in NOTES.md.\n\n"
    )
    (HERE / "RESULTS.md").write_text(head + "\n".join(parts))
    summarise([name for name in PARTS if (results / f"{name}.md").exists()])


def summarise(names: list[str]) -> None:
    """Put the rows that have a goal, the level table aside, between the marks in the README."""
    lines, machines = ["| work | peer | peer's | firth | ratio |", "|---|---|---|---|---|"], []
    for name in names:
        text = (HERE / "results" / f"{name}.md").read_text()
        cells = [line.split(" | ") for line in text.splitlines() if "** | " in line]
        rows = [" | ".join(row[:5]) + " |" for row in cells if len(row) == 7 and row[5].strip()]
        if name != "levels":
            lines += rows
            machines += [line for line in text.splitlines() if line.startswith("Measured on")]
    readme = HERE.parent / "README.md"
    before, rest = readme.read_text().split("<!-- results -->\n")
    after = rest.split("<!-- /results -->")[1]
    table = "\n".join(lines)
    readme.write_text(
        f"{before}<!-- results -->\n{table}\n\n{machines[0]}\n<!-- /results -->{after}"
    )


if __name__ == "__main__":
    main()
