"""The wall: objects compiled with ISA flags export only their own namespace and share no code.

Builds csrc once from this checkout (no Python needed) and reads the symbols with nm: a weak or
foreign symbol in a level's object could replace the copy that every CPU runs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {
    "base": [],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4"],
    "v4x": ["-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16"],
}
ALLOWED_UNDEFINED = {"memcpy", "memset", "memmove", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
compiler = shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(not compiler or not shutil.which("nm"), reason="needs a C++ compiler and nm")
@pytest.mark.parametrize("level", FLAGS)
def test_objects_export_only_their_level(level, tmp_path):
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True)
    if level != "base" and not machine.stdout.startswith("x86_64"):
        pytest.skip("x86-64 levels only")
    sources = sorted((ROOT / "csrc" / "kernels").glob("*.cpp"))
    assert len(sources) > 1
    for source in sources:
        included = set(re.findall(r"#include [<\"](.*?)[>\"]", source.read_text()))
        assert included <= {"../isa.h", "../kernels.h"}, f"{source.name} includes {included}"
        made = tmp_path / f"{source.stem}.o"
        subprocess.run(
            [
                compiler, "-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-fno-exceptions",
                "-fno-rtti", "-fvisibility=hidden", "-w", f"-DFIRTH_LEVEL={level}",
                *FLAGS[level], "-c", str(source), "-o", str(made),
            ],
            check=True,
        )  # fmt: skip
        symbols = subprocess.run(
            ["nm", "-C", str(made)], capture_output=True, text=True, check=True
        ).stdout
        for line in symbols.splitlines():
            kind, name = re.fullmatch(r"[0-9a-f ]{16} (\w) (.*)", line).groups()
            if kind in "tdrb":  # local to this object
                continue
            assert kind in "TDRUB", f"{source.name}: {name} is weak or common ({kind})"
            if kind != "U" or "firth::" in name:
                assert name.startswith(f"firth::{level}::"), f"{source.name} exports {name}"
            else:
                assert name in ALLOWED_UNDEFINED, f"{source.name} calls {name}"
        sections = subprocess.run(
            ["nm", "-a", str(made)], capture_output=True, text=True, check=True
        ).stdout
        assert ".init_array" not in sections, f"{source.name} runs code at load time"


def test_core_knows_no_python():
    for source in (ROOT / "csrc").rglob("*"):
        if source.suffix in {".h", ".cpp"}:
            assert not re.search(r"Python\.h|pybind11|numpy", source.read_text()), source.name


def test_imports_point_one_way():
    """formats, kernels <- words, search, nn <- models <- rag <- serve, cli."""
    layers = [
        {"errors", "interrupt", "progress", "system", "geometry", "kernels", "formats"},
        {"words", "search", "nn", "downloader", "fasttext"},
        {"models"},
        {"rag"},
        {"serve", "distributed", "demo", "cli"},
    ]
    rank = {name: i for i, layer in enumerate(layers) for name in layer}
    package = ROOT / "python" / "firth"
    seen = set()
    for source in package.rglob("*.py"):
        own = source.relative_to(package).with_suffix("").parts[0]
        if own in {"__init__", "__main__"}:
            continue
        assert own in rank, f"{own}: add it to a layer"
        seen.add(own)
        for line in source.read_text().splitlines():
            found = re.match(r"\s*(?:from|import) firth\.(\w+)", line)
            if found and not found[1].startswith("_"):
                assert rank[found[1]] <= rank[own], f"{source.name}: {line.strip()}"
    assert {"kernels", "errors"} <= seen
