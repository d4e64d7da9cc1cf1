"""RESULTS.md and the README's table as functions of results/<cpu>/<part>.md; imports nothing else.

A part's file is written by `part_text` after a run, or by hand where figures come from elsewhere:
up to three tables of rows (against peers; against budgets and floors; firth against itself), other
text, and a line "Measured <date> at commit <commit> on <CPU, threads, system>; <versions>". Each
run's file says its own date, commit, CPU and versions; a folder belongs to one kind of CPU, so that
a run on one never replaces another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PARTS = {
    "words": "Word vectors",
    "words_models": "CBOW and hierarchical softmax",
    "quality": "Quality of the vectors (dev corpus, 5 epochs, dim 100, sample 1e-4)",
    "fasttext_words": "FastText's word vectors",
    "static": "Static embeddings of texts",
    "vectorizers": "Bags of words and TF-IDF",
    "tokenizers": "Tokenizing",
    "encoders": "Encoders: sentence vectors",
    "encoders_base": "Encoders of base size",
    "generators": "Generators: SmolLM2-135M-Instruct",
    "generators_growth": "Generators: speed and memory against context length",
    "rag": "Answers from documents: indexing and retrieval",
    "rag_latency": "Answers from documents: search among 100,000 passages",
    "serve": "firth serve: streams, embeddings, start, memory",
    "glove": "GloVe",
    "glove_quality": "Quality of GloVe's vectors (4.6 M words, 15 epochs, dim 100)",
    "files": "Files of vectors",
    "keyedvectors": "Neighbours and analogies of word vectors",
    "fasttext": "fastText's Python module",
    "softmax": "Softmax",
    "matmul": "Matrix product",
    "scaled_dot_product_attention": "Attention",
    "cosine_topk": "Nearest rows by cosine",
    "search_flat": "Search: 500,000 x 384",
    "search_words_100": "Search: 1,000,000 word vectors of 100 numbers",
    "search_words_300": "Search: 1,000,000 word vectors of 300 numbers",
    "search_filters": "Search: one filter for each query",
    "search_files": "Search: files and memory",
    "search_cells": "Search: cells against inverted files and graphs",
    "search_identity": "Search: the same answer whatever the batch, threads and level",
    "networks": "Perceptron",
    "training": "Networks that train: MLP, LSTM, CNN, backward alone",
    "seq2seq": "Encoder-decoder transformer: a step of training",
    "gpt": "GPT: steps of training, memory",
    "gpt_minutes": "GPT: the loss after the same minutes",
    "distributed": "On a Ray cluster: one worker against none",
    "distributed_cost": "On a Ray cluster: cost and memory",
    "distributed_quality": "On a Ray cluster: quality of word vectors by replicas and interval",
    "distributed_faults": "On a Ray cluster: failures",
    "growth": "Growth",
    "levels": "The v3 level, forced, against v4",
    "package": "Package",
    "release": "Release: every target of a fresh clone, from nothing",
}
CPUS = {
    "zen3": "Zen 3, without AVX-512",
    "zen4": "Zen 4",
    "zen5": "Zen 5",
    "granite-rapids": "Granite Rapids",
    "emerald-rapids": "Emerald Rapids, tiles hidden",
}
KINDS = {
    "peer": ("Against peers", "peer"),
    "budget": ("Against budgets and floors", "budget or floor"),
    "self": ("firth against itself: levels and settings", "against"),
}
HEAD = "| work | {} | threads | its | spread | firth's | spread | ratio | goal | note |"
RULE = "|---|---|---|---|---|---|---|---|---|---|"

# The summaries' rows: title, parts, the beginning of the works that belong to it. Every row against
# a peer belongs to exactly one, so that no unflattering row is left out. RESULTS.md has a line for
# each, README one for each group.
Entry = tuple[str, tuple[str, ...], str]
SUMMARY: dict[str, list[Entry]] = {
    "word vectors": [
        ("vocabulary and encoding of a corpus", ("words",), "vocabulary"),
        ("skip-gram, 100 and 300 dimensions", ("words",), "skip-gram"),
        ("CBOW, hierarchical softmax", ("words_models",), ""),
        ("FastText vectors: training, loading, unseen words", ("fasttext_words",), ""),
        ("GloVe: counting, training", ("glove",), ""),
    ],
    "bags of words, static embeddings, tokenizing": [
        ("StaticModel.encode, bags of words, TF-IDF", ("static", "vectorizers"), ""),
        ("BertTokenizer", ("tokenizers",), ""),
    ],
    "text classification": [
        ("text classification", ("fasttext",), ""),
    ],
    "files of vectors, neighbours, analogies": [
        ("files of vectors", ("files",), ""),
        ("most_similar, analogies", ("keyedvectors",), ""),
    ],
    "sentence vectors of encoders": [
        ("SentenceTransformer.encode", ("encoders", "encoders_base"), ""),
    ],
    "writing text": [
        ("CausalLM.generate", ("generators", "generators_growth"), ""),
    ],
    "answers from documents": [
        ("KnowledgeBase: indexing, search", ("rag", "rag_latency"), ""),
    ],
    "server": [
        ("firth serve: streams, embeddings, start, memory", ("serve",), ""),
    ],
    "kernels: products, softmax, attention": [
        ("softmax", ("softmax",), ""),
        ("matrix product, float32", ("matmul",), "matmul float32"),
        ("matrix product, bfloat16", ("matmul",), "matmul bfloat16"),
        ("matrix product, bytes", ("matmul",), "matmul int8"),
        ("attention, float32", ("scaled_dot_product_attention",), "attention float32"),
        ("attention, bfloat16", ("scaled_dot_product_attention",), "attention bfloat16"),
    ],
    "exact search, filters, files": [
        ("cosine_topk", ("cosine_topk",), ""),
        ("Index, exact", ("search_flat", "search_words_100", "search_words_300"), ""),
        ("Index, a filter per query", ("search_filters",), ""),
        ("Index files: save, open and answer", ("search_files",), ""),
    ],
    "approximate search by cells": [
        ("Index with cells, recall 0.95: search, build", ("search_cells",), ""),
    ],
    "training networks": [
        ("Perceptron", ("networks",), ""),
        ("MLPClassifier, TrainingStep of an MLP", ("training",), "MLP"),
        ("LSTM, forward and backward", ("training",), "LSTM"),
        ("training step of a CNN", ("training",), "CNN"),
        ("training step of an encoder-decoder transformer", ("seq2seq",), ""),
        ("training a GPT: steps, memory, loss", ("gpt", "gpt_minutes"), ""),
        ("backward of single operations", ("training",), "backward"),
    ],
}

# Names of libraries that are more than a word; of two that begin alike the longer first.
WHOLE = ("ONNX Runtime GenAI", "ONNX Runtime", "OpenVINO GenAI", "ik_llama.cpp", "llama.cpp")


@dataclass(frozen=True)
class Row:
    """One line of a part. Figures are medians; a spread is (max - min) / median."""

    work: str
    peer_name: str
    peer: float
    ours: float
    unit: str  # "ms", "GFLOP/s", "words/s", ...
    goal: float | None = None  # how many times better than the peer; None where there is no goal
    higher_is_better: bool = False
    spread: float | None = None
    peer_spread: float | None = None
    kind: str = "peer"  # a key of KINDS
    threads: str = "2"  # "peer / firth" where they differ
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better than the peer: above 1 is faster (or smaller)."""
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours

    def __str__(self) -> str:
        cells = (
            self.work, self.peer_name, self.threads, f"{number(self.peer)} {self.unit}",
            percent(self.peer_spread), f"{number(self.ours)} {self.unit}", percent(self.spread),
            f"**{self.ratio:.2f} x**", goal_text(self.goal, self.ratio), self.note,
        )  # fmt: skip
        return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """Three or four significant digits, no exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def percent(spread: float | None) -> str:
    return "" if spread is None else f"{100 * spread:.0f} %"


def goal_text(goal: float | None, ratio: float) -> str:
    if goal is None:
        return ""
    return f"{goal:.3g} x" + ("" if ratio >= goal else ", **missed**")


def tables(rows: Iterable[Row]) -> str:
    """Rows as Markdown, a table for each kind that has any."""
    rows, parts = list(rows), []
    for kind, (title, what) in KINDS.items():
        lines = [str(row) for row in rows if row.kind == kind]
        if lines:
            parts.append("\n".join([f"**{title}**", "", HEAD.format(what), RULE, *lines]))
    return "\n\n".join(parts)


class Line(NamedTuple):
    """A row read from a part's file; `kind` is its table."""

    kind: str
    work: str
    peer: str
    threads: str
    theirs: str
    their_spread: str
    ours: str
    spread: str
    ratio: float
    goal: str
    note: str

    @property
    def missed(self) -> bool:
        return "missed" in self.goal


class Part(NamedTuple):
    """A part's file: its text, and what is read from it."""

    cpu: str
    name: str
    text: str
    lines: list[Line]
    date: str
    commit: str
    machine: str
    versions: dict[str, str]


MEASURED = re.compile(r"^Measured (.+?) at commit (.+?) on (.+?); (.+)\.$", re.MULTILINE)


def read(path: Path) -> Part:
    """A part from results/<cpu>/<name>.md; ValueError where it does not say how it was measured."""
    text = path.read_text(encoding="utf-8")
    if (found := MEASURED.search(text)) is None:
        raise ValueError(f"{path}: no line 'Measured <date> at commit ... on ...; <versions>.'")
    date, commit, machine, versions = found.groups()
    lines, kind = [], ""
    heads = {HEAD.format(what): kind for kind, (_, what) in KINDS.items()}
    for line in text.splitlines():
        if not line.startswith("|"):
            kind = ""
        elif line in heads:
            kind = heads[line]
        elif kind and line != RULE:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) != 10:
                raise ValueError(f"{path}: {len(cells)} cells where there are 10 columns: {line}")
            ratio = float(cells[7].strip("*x ").replace(",", ""))
            lines.append(Line(kind, *cells[:7], ratio, *cells[8:]))
    named = dict(one.rsplit(" ", 1) for one in versions.split(", "))
    return Part(path.parent.name, path.stem, text, lines, date, commit, machine, named)


def read_all(results: Path = HERE / "results") -> list[Part]:
    """Every part of every CPU, in the order of CPUS and PARTS; others come last."""

    def place(known: Iterable[str], name: str) -> tuple[int, str]:
        order = list(known)
        return (order.index(name) if name in order else len(order)), name

    parts = [read(path) for path in results.glob("*/*.md")]
    return sorted(parts, key=lambda p: (place(CPUS, p.cpu), place(PARTS, p.name)))


def cpus(parts: Sequence[Part]) -> dict[str, str]:
    """The columns: folder and title, known ones first."""
    return CPUS | {part.cpu: part.cpu for part in parts if part.cpu not in CPUS}


def side_by_side(parts: Sequence[Part], kind: str) -> str:
    """One table of the ratios of one kind of rows: a column for each CPU."""
    columns = cpus(parts)
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for part in sorted(parts, key=lambda part: list(PARTS).index(part.name)):
        for line in part.lines:
            if line.kind == kind:
                row = cells.setdefault((line.work, line.peer, line.threads), {})
                row[part.cpu] = f"**{line.ratio:.2f}**" + (f" ({line.goal})" if line.goal else "")
    out = [
        f"| work | {KINDS[kind][1]} | threads | {' | '.join(columns.values())} |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for key, row in cells.items():
        ratios = (row.get(cpu, "not measured") for cpu in columns)
        out.append(f"| {' | '.join(key)} | {' | '.join(ratios)} |")
    return "\n".join(out)


def results_md(parts: Sequence[Part]) -> str:
    """RESULTS.md."""
    out = [
        "# Results",
        "Written by `python benchmarks/run.py` from results/<cpu>/; do not edit. Figures are "
        "medians, firth and the peer in turn in one run. A ratio above 1: firth is faster (or "
        "smaller). Spread is (max - min) / median. Threads are the same for both unless two "
        "numbers, \"the peer's / firth's\", are given. How each was reached is described in "
        "NOTES.md.",
        "## Summary",
        summary_table(parts),
        "## All CPUs side by side",
        "Ratios, in brackets the goal. The runs behind them, with date, commit and versions, "
        "follow below; no two columns are of the same run.",
    ]
    for kind, (title, _) in KINDS.items():
        out += [f"### {title}", side_by_side(parts, kind)]
    out += ["### Goals missed", misses(parts)]
    for name, title in PARTS.items():
        out.append(f"## {title}")
        found = [part for part in parts if part.name == name]
        for part in found:
            text = part.text.strip().replace("](", f"](results/{part.cpu}/")
            out += [f"### {cpus(parts)[part.cpu]}", text]
        if not found:
            out.append("Not measured.")
    return "\n\n".join(out) + "\n"


def misses(parts: Sequence[Part]) -> str:
    """Every goal that was missed, by CPU."""
    out = []
    for cpu, title in cpus(parts).items():
        missed = [
            f"{line.work} against {line.peer} {line.ratio:.2f} ({line.goal.split(',')[0]})"
            for part in parts if part.cpu == cpu for line in part.lines if line.missed
        ]  # fmt: skip
        out.append(f"- {title}: {'; '.join(missed) or 'none'}.")
    return "\n".join(out)


def of_summary(line: Line, part: str, entry: Entry) -> bool:
    """Whether a row against a peer belongs to that row of a summary."""
    return part in entry[1] and line.kind == "peer" and line.work.startswith(entry[2])


def library(peer: str) -> str:
    """The first word of a peer's name, or one of `WHOLE`: whose code it is."""
    whole = (name for name in WHOLE if peer.startswith(name))
    return next(whole, re.split(r"[ ,.]", peer)[0])


def fastest(lines: Sequence[Line]) -> list[Line]:
    """For each work (and number of threads) the row of the fastest peer: the smallest ratio."""
    works: dict[tuple[str, str], Line] = {}
    for line in lines:
        key = line.work, line.threads
        if key not in works or line.ratio < works[key].ratio:
            works[key] = line
    return list(works.values())


def lines_of(parts: Sequence[Part], entry: Entry, cpu: str | None = None) -> list[Line]:
    """Rows against peers of one row of a summary, of one CPU or all."""
    return [
        line for part in parts if cpu in (None, part.cpu)
        for line in part.lines if of_summary(line, part.name, entry)
    ]  # fmt: skip


def fastest_by_cpu(parts: Sequence[Part], entry: Entry) -> dict[str, list[Line]]:
    """For each CPU that has any: for each work the row of the fastest peer."""
    found = {cpu: fastest(lines_of(parts, entry, cpu)) for cpu in cpus(parts)}
    return {cpu: lines for cpu, lines in found.items() if lines}


def peers(lines: Iterable[Line]) -> str:
    return ", ".join(dict.fromkeys(library(line.peer) for line in lines))


def summary_table(parts: Sequence[Part]) -> str:
    """The table at the head of RESULTS.md: a column for each CPU."""
    columns = cpus(parts)
    out = [
        f"| work | fastest peer | {' | '.join(columns.values())} |",
        "|---|---|" + "---|" * len(columns),
    ]
    for entry in (entry for entries in SUMMARY.values() for entry in entries):
        by_cpu = fastest_by_cpu(parts, entry)
        cells = []
        for cpu in columns:
            ratios = sorted({line.ratio for line in by_cpu.get(cpu, [])})
            cell = " to ".join(f"{ratio:.2f}" for ratio in (*ratios[:1], *ratios[1:][-1:]))
            missed = sum(line.missed for line in lines_of(parts, entry, cpu))
            cells.append(f"{cell} ({missed} missed)" if missed else cell or "not measured")
        names = peers(line for lines in by_cpu.values() for line in lines)
        out.append(f"| {entry[0]} | {names} | {' | '.join(cells)} |")
    out += [
        "",
        "Times as fast as the fastest peer of each work, smallest and largest over the works of a "
        "row (above 1: firth is faster); in brackets, how many goals were missed.",
        "",
    ]
    for cpu, title in columns.items():
        mine = [part for part in parts if part.cpu == cpu]
        commits = {part.commit: None for part in mine}
        dates = sorted({part.date for part in mine})
        goals = [line for part in mine for line in part.lines if line.goal]
        when = " to ".join((*dates[:1], *dates[1:][-1:]))
        out.append(
            f"- {title}: {sum(not line.missed for line in goals)} of {len(goals)} goals met; "
            f"measured {when} at {', '.join(commits)}."
            if mine else f"- {title}: not measured."
        )  # fmt: skip
    return "\n".join(out)


def readme_table(parts: Sequence[Part]) -> str:
    """The text between the marks in the README: a row for each group, over all CPUs."""
    columns = cpus(parts)
    out = [
        "| work | fastest peers | lowest | median | highest | goals met | measured on |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, entries in SUMMARY.items():
        by_cpu = [fastest_by_cpu(parts, entry) for entry in entries]
        chosen = [line for lines in by_cpu for of_cpu in lines.values() for line in of_cpu]
        goals = [line for entry in entries for line in lines_of(parts, entry) if line.goal]
        if not chosen:
            continue
        ratios = [line.ratio for line in chosen]
        names = [name.partition(",")[0] for cpu, name in columns.items()
                 if any(cpu in one for one in by_cpu)]  # fmt: skip
        met = sum(not line.missed for line in goals)
        figures = " | ".join(f"{f(ratios):.2f}" for f in (min, median, max))
        row = (title, peers(chosen), figures, f"{met} of {len(goals)}", ", ".join(names))
        out.append(f"| {' | '.join(row)} |")
    out += [
        "",
        "Times as fast as the fastest peer of each work, over all works and CPUs of a row (above "
        "1: firth is faster, or smaller). A goal is for one work and one peer.",
    ]
    return "\n".join(out)


START, END = "<!-- results -->\n", "<!-- /results -->"


def readme_with(readme: str, table: str) -> str:
    """The README with `table` between the marks."""
    before, rest = readme.split(START)
    return f"{before}{START}{table}\n{END}{rest.split(END)[1]}"


def outputs() -> dict[Path, str]:
    """The texts of RESULTS.md and the README that follow from results/."""
    parts, readme = read_all(), HERE.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    return {
        HERE / "RESULTS.md": results_md(parts),
        readme: readme_with(text, readme_table(parts)),
    }


def stale() -> list[Path]:
    """Those of the two that differ from results/."""
    return [path for path, text in outputs().items()
            if not path.exists() or path.read_text(encoding="utf-8") != text]  # fmt: skip


def write() -> None:
    """Write RESULTS.md and the README's table."""
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
