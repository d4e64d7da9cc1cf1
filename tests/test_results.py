"""RESULTS.md and the README's table agree with benchmarks/results/, which is complete."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import report

PARTS = report.read_all()
LINES = [(part, line) for part in PARTS for line in part.lines]
# Whose package a peer is; GloVe's C tools and ik_llama.cpp have a commit instead of a version.
PACKAGES = {
    "NumPy": "numpy", "torch": "torch", "gensim": "gensim", "FAISS": "faiss-cpu",
    "usearch": "usearch", "hnswlib": "hnswlib", "turbovec": "turbovec", "NumKong": "NumKong",
    "fasttext": "fasttext-numpy2", "fastText": "fasttext-numpy2", "model2vec": "model2vec",
    "GloVe": "GloVe-C", "tokenizers": "tokenizers", "transformers": "transformers",
    "sentence-transformers": "sentence-transformers", "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino", "CTranslate2": "ctranslate2",
    "OpenVINO GenAI": "openvino-genai", "llama.cpp": "llama-cpp-python",
    "ONNX Runtime GenAI": "onnxruntime-genai", "ik_llama.cpp": "ik_llama.cpp",
    "scikit-learn": "scikit-learn", "JAX": "jax", "LanceDB": "lancedb", "txtai": "txtai",
}  # fmt: skip


def test_files_are_functions_of_results() -> None:
    assert report.stale() == [], "run `python benchmarks/run.py --write`"


def test_every_part_is_known() -> None:
    assert PARTS
    assert {part.name for part in PARTS} <= set(report.PARTS)


def test_every_peer_has_its_version() -> None:
    for part, line in LINES:
        if line.kind == "peer":
            package = PACKAGES[report.library(line.peer)]
            assert package in part.versions, f"{part.cpu}/{part.name}: {line.peer}"


def test_ratios_and_goals_follow_from_the_figures() -> None:
    for part, line in LINES:
        theirs, ours = (float(cell.split()[0].replace(",", "")) for cell in line[4:7:2])
        # Figures have three digits or more, a few by hand only two: 1.6 and 5.3 ms.
        assert min(abs(ours / theirs - line.ratio), abs(theirs / ours - line.ratio)) < (
            0.006 + 0.001 * line.ratio
        ), f"{part.cpu}/{part.name}: {line}"
        if line.goal:
            goal = float(line.goal.split()[0])
            if abs(goal - line.ratio) > 0.006:
                assert line.missed == (line.ratio < goal), f"{part.cpu}/{part.name}: {line}"


def test_summaries_leave_no_row_out() -> None:
    entries = [entry for group in report.SUMMARY.values() for entry in group]
    for part, line in LINES:
        if line.kind == "peer":
            homes = [e for e in entries if report.of_summary(line, part.name, e)]
            assert len(homes) == 1, f"{part.cpu}/{part.name}: {line.work} is in {homes}"


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        report.Row("a", "torch", 3.0, 2.0, "ms", 1.6, False, 0.1, 0.25, threads="1 / 2"),
        report.Row("b", "NumPy", 1234.0, 4936.0, "words/s", 2, True, note="fitted"),
        report.Row("c", "what is allowed", 10, 5, "MB", 1, kind="budget"),
        report.Row("d", "firth v4", 1, 2, "ms", 0.4, kind="self"),
    ]
    path = tmp_path / "zen9" / "softmax.md"
    path.parent.mkdir()
    path.write_text(
        report.tables(rows) + "\n\nMeasured 2030-01-01 at commit abc (dirty) on A CPU, 2 threads; "
        "numpy 2.4.6, torch 2.13.0+cpu.\n"
    )
    (part,) = report.read_all(tmp_path)
    assert (part.cpu, part.date, part.commit) == ("zen9", "2030-01-01", "abc (dirty)")
    assert part.machine == "A CPU, 2 threads"
    assert part.versions == {"numpy": "2.4.6", "torch": "2.13.0+cpu"}
    assert [line.kind for line in part.lines] == ["peer", "peer", "budget", "self"]
    first, second, third, fourth = part.lines
    assert first.missed
    assert first.threads == "1 / 2"
    assert (first.their_spread, first.spread) == ("25 %", "10 %")
    assert (second.ratio, second.note, second.missed) == (4.0, "fitted", False)
    assert (third.ratio, fourth.ratio, fourth.missed) == (2.0, 0.5, False)
    columns = report.side_by_side([part], "peer").splitlines()[0]
    assert columns.endswith("| Granite Rapids | Emerald Rapids, tiles hidden | zen9 |")
    assert "not measured" in report.side_by_side([part], "peer")
    assert "| 1.50 to 4.00 (1 missed) |" in report.summary_table([part])
    assert "| torch, NumPy | 1.50 | 2.75 | 4.00 | 1 of 2 | zen9 |" in report.readme_table([part])


def test_a_part_says_how_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "softmax.md"
    path.write_text(report.tables([report.Row("a", "torch", 3.0, 2.0, "ms")]) + "\n")
    with pytest.raises(ValueError, match="no line 'Measured"):
        report.read(path)


def test_a_changed_figure_is_noticed(tmp_path: Path) -> None:
    results = Path(shutil.copytree(report.HERE / "results", tmp_path / "results"))
    assert report.results_md(report.read_all(results)) == report.results_md(PARTS)
    path = results / "zen4" / "fasttext.md"
    path.write_text(re.sub(r"\*\*\d\.\d\d x\*\*", "**9.99 x**", path.read_text(), count=1))
    changed = report.read_all(results)
    assert report.results_md(changed) != report.results_md(PARTS)
    assert report.summary_table(changed) != report.summary_table(PARTS)
    assert report.readme_table(changed) != report.readme_table(PARTS)
