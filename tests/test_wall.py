"""Walls: objects of ISA levels share no code, csrc knows no Python, imports point one way.

The first reads the symbols of csrc's objects with nm: a weak or foreign symbol in a level's object
could replace the copy that every CPU runs.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import firth

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {
    "base": [],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4"],
    "v4x": ["-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16"],
}
ALLOWED_UNDEFINED = {"memcpy", "memset", "memmove", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
compiler = shutil.which("g++") or shutil.which("clang++")


def built_objects(level: str) -> dict[str, Path]:
    """The objects of the build that was installed, by source; none where it is not there or old."""
    sources = [*(ROOT / "csrc" / "kernels").glob("*.cpp"), *(ROOT / "csrc").glob("*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    for cache in (ROOT / "build").glob("*/CMakeCache.txt"):
        plain = {
            "FIRTH_BREAK:BOOL=OFF",
            "FIRTH_SANITIZE:STRING=",
            "CMAKE_BUILD_TYPE:STRING=Release",
        }
        objects = {
            path.name.removesuffix(".cpp.o"): path
            for path in (cache.parent / "CMakeFiles" / f"firth_{level}.dir").rglob("*.cpp.o")
            if path.stat().st_mtime > newest
        }
        if plain <= set(cache.read_text().splitlines()) and objects:
            return objects
    return {}


@pytest.mark.skipif(not compiler or not shutil.which("nm"), reason="needs a C++ compiler and nm")
@pytest.mark.parametrize("level", FLAGS)
def test_objects_export_only_their_level(level, tmp_path):
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True)
    if level != "base" and not machine.stdout.startswith("x86_64"):
        pytest.skip("x86-64 levels only")
    sources = sorted((ROOT / "csrc" / "kernels").glob("*.cpp"))
    assert len(sources) > 1
    built = built_objects(level)
    for source in sources:
        included = set(re.findall(r"#include [<\"](.*?)[>\"]", source.read_text()))
        assert included <= {"../isa.h", "../kernels.h"}, f"{source.name} includes {included}"
        made = built.get(source.stem) or tmp_path / f"{source.stem}.o"
        if source.stem not in built:
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


# Packages and modules right below firth, each importing only those before it and itself.
RANKS = [
    {"arguments", "errors", "interrupt", "optional", "progress"},
    {"formats", "kernels"},
    {"geometry", "spelling"},
    {"search", "tokenizers"},
    {"words"},
    {"fasttext", "downloader"},
    {"nn", "models"},
    {"rag"},
    {"serve", "distributed", "system"},
    {"demo"},
    {"cli"},
    {"__main__"},
]

# Imports that point upwards or close a circle, still to be taken out: this list only gets shorter.
KNOWN = {
    ("firth.fasttext.meter", "firth.fasttext.model"),
}


def imports(package: Path) -> set[tuple[str, str]]:
    """Every import of one module of the package by another: lazy ones and those for types too."""
    modules = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    homes = firth._HOME  # `from firth import X` is an import of X's module
    found = set()
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are absolute"
                targets = [
                    f"{node.module}.{alias.name}"
                    if f"{node.module}.{alias.name}" in modules
                    else homes.get(alias.name, "firth") if node.module == "firth"
                    else node.module
                    for alias in node.names
                ]  # fmt: skip
            else:
                continue
            found |= {(name, target) for target in targets if target in modules}
    # the package itself names everything and imports nothing until asked
    return {(own, other) for own, other in found if other != own and "firth" not in (own, other)}


def reachable(edges: set[tuple[str, str]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        found = {other for own, other in edges if own == module} - seen
        seen |= found
        waiting += found
    return seen


def offends(edges: set[tuple[str, str]], edge: tuple[str, str]) -> bool:
    """Whether an import points upwards or is part of a circle."""
    rank = {name: i for i, names in enumerate(RANKS) for name in names}
    own, other = (module.split(".")[1] for module in edge)
    beside = rank[own] == rank[other] and own != other
    return rank[other] > rank[own] or beside or edge[0] in reachable(edges, edge[1])


def test_imports_point_one_way():
    """Between packages as RANKS says, and without circles inside a package."""
    edges = imports(ROOT / "python" / "firth")
    named = {module.split(".")[1] for edge in edges for module in edge}
    assert named <= set().union(*RANKS), "a new package needs a place in RANKS"
    assert len(edges) > 150
    gone = {edge for edge in KNOWN if edge not in edges or not offends(edges, edge)}
    assert not gone, "no longer at fault: take them out of KNOWN"
    rest = edges - KNOWN
    assert {edge for edge in rest if offends(rest, edge)} == set()


def test_imports_of_every_kind_are_seen(tmp_path):
    package = tmp_path / "firth"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text("def f():\n    from firth import Index, cli\n")
    (package / "search.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import firth.words\n"
        "from firth import kernels as k\n"
    )
    (package / "kernels.py").write_text("from firth.errors import FormatError\n")
    (package / "errors.py").write_text("")
    (package / "cli.py").write_text("")
    edges = imports(package)
    assert edges == {
        ("firth.words", "firth.search"),
        ("firth.words", "firth.cli"),
        ("firth.search", "firth.words"),
        ("firth.search", "firth.kernels"),
        ("firth.kernels", "firth.errors"),
    }
    assert {edge for edge in edges if offends(edges, edge)} == {
        ("firth.words", "firth.search"),
        ("firth.words", "firth.cli"),
        ("firth.search", "firth.words"),
    }
