"""Plots of the benchmarks, from benchmarks/results: one for each run."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

import report

MET, MISSED, GOAL = "#2a6f97", "#c8553d", "#111111"


def sections(folder: Path) -> str:
    """Draw every run into `folder`; the Markdown that shows them, for benchmarks.md beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts, out = report.read_all(), ""
    for name, title in report.PARTS.items():
        found = [part for part in parts if part.name == name and part.lines]
        if found:
            out += f"\n## {title}\n"
        for part in found:
            cpu = report.cpus(parts)[part.cpu]
            picture = f"{part.cpu}-{part.name}.svg"
            with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "firth"}):
                figure = draw(part, f"{title}: {cpu}")
                figure.savefig(folder / picture, bbox_inches="tight", metadata={"Date": None})
            met = sum(not line.missed for line in part.lines if line.goal)
            goals = sum(bool(line.goal) for line in part.lines)
            out += (
                f"\n![{title} on {cpu}: {met} of {goals} goals met](benchmarks/{picture})\n\n"
                f"{cpu}: {met} of {goals} goals met. Measured {part.date} at commit {part.commit} "
                f"on {part.machine}.\n"
            )
    return out


def spread(line: report.Line) -> float:
    """Half of what both sides' spreads, (max - min) / median, make the ratio move."""
    sides = (line.spread, line.their_spread)
    return sum(float(one.split()[0].replace(",", "")) / 200 for one in sides if one)


def draw(part: report.Part, title: str) -> Figure:
    """Ratios as bars, with the goal of each and how far it moves."""
    lines = part.lines[::-1]
    rows = range(len(lines))
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(lines)))
    axes = figure.subplots()
    axes.barh(
        rows, [line.ratio for line in lines], 0.6,
        color=[MISSED if line.missed else MET for line in lines],
        xerr=[
            [line.ratio * min(spread(line), 0.9) for line in lines],
            [line.ratio * spread(line) for line in lines],
        ],
        error_kw={"ecolor": "#666666", "elinewidth": 1.2, "capsize": 2},
    )  # fmt: skip
    for row, line in zip(rows, lines, strict=True):
        if line.goal:
            goal = float(line.goal.split()[0].replace(",", ""))
            axes.plot([goal, goal], [row - 0.4, row + 0.4], color=GOAL, linewidth=2)
        end = f" {line.ratio:.2f}" + (" missed" if line.missed else "")
        axes.text(line.ratio * (1 + spread(line)), row, end, va="center", fontsize=8)
    axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
    ratios = [line.ratio for line in lines]
    if max(ratios) > 8 * min(ratios):
        axes.set_xscale("log")
    axes.margins(x=0.15, y=0.01)
    threads = [f", {line.threads} threads" if line.threads != "2" else "" for line in lines]
    labels = [f"{line.work} against {line.peer}{n}" for line, n in zip(lines, threads, strict=True)]
    axes.set_yticks(rows, [textwrap.fill(label, 46) for label in labels], fontsize=7)
    axes.set_xlabel("times as good as the other (above 1: firth is faster or smaller)", fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
