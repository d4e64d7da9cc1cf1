"""Walls: objects of ISA levels share no code, csrc knows no Python, imports point one way.

The first reads the symbols of the objects in `build/` with nm: a weak or foreign symbol in the
object of a level could replace the copy that every CPU runs. The instructions of one level are read
too, since few CPUs could show that it has others.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import firth
from conftest import CMAKE, REFINES
from firth.kernels import _dispatch

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "csrc" / "kernels"
ALLOWED_UNDEFINED = {"memcpy", "memset", "memmove", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
compiler = shutil.which("g++") or shutil.which("clang++")
needs_nm = pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
OF_X86, OF_ARM = {"v3", "v4", "v4x"}, {"dotprod", "i8mm"}
# Those that some compilers or builds lack.
OPTIONAL = {"tiles", "tiles_emulated", "v3x", "v3x_emulated"}
# The files of kernels that levels which refine another have of their own.
REFINED = set(re.search(r"set\(refined_sources ([\w\s]+)\)", CMAKE)[1].split())


def kernel_objects(level: str) -> list[Path]:
    """A level's object of each kernel's file, from a build of this checkout as users get it."""
    plain = {"FIRTH_SANITIZE:STRING=", "CMAKE_BUILD_TYPE:STRING=Release"}
    sources = sorted(KERNELS.glob("*.cpp"))
    if level in REFINES:
        sources = [source for source in sources if source.stem in REFINED]
        assert len(sources) == len(REFINED)
    assert len(sources) > 1
    for cache in ROOT.glob("build/*/CMakeCache.txt"):
        if not plain <= set(cache.read_text().splitlines()):
            continue
        folder = cache.parent / f"CMakeFiles/firth_{level}.dir/csrc/kernels"
        objects = [folder / f"{source.name}.o" for source in sources]
        if all(
            compiled.exists() and compiled.stat().st_mtime > source.stat().st_mtime
            for compiled, source in zip(objects, sources, strict=True)
        ):
            return objects
    message = f"build/ has no objects of {level} that are newer than the sources"
    pytest.fail(message) if "FIRTH_REQUIRE" in os.environ else pytest.skip(message)


def faults(level: str, compiled: Path) -> list[str]:
    """Symbols that an object of a level must not have."""
    found = []
    own = f"firth::{level}::"
    allowed = (own, f"firth::{REFINES.get(level)}::") if "table" in compiled.name else own
    symbols = subprocess.run(["nm", "-C", compiled], capture_output=True, text=True, check=True)
    for line in symbols.stdout.splitlines():
        kind, name = re.fullmatch(r"[0-9a-f ]{16} (\w) (.*)", line).groups()
        if name.startswith(("_GLOBAL__sub_I_", "_GLOBAL__I_")):
            found.append("runs code at load time")
        if kind in "tdrb":  # local to this object
            continue
        if kind not in "TDRUB":
            found.append(f"{name} is weak or common ({kind})")
        elif kind != "U":
            if not name.startswith(own):
                found.append(f"exports {name}")
        elif "firth::" in name:
            if not name.startswith(allowed):
                found.append(f"calls {name}")
        elif name not in ALLOWED_UNDEFINED:
            found.append(f"calls {name}")
    return found


@needs_nm
@pytest.mark.parametrize("level", sorted({"base", *OF_X86, *OF_ARM} | OPTIONAL))
def test_objects_export_only_their_level(level):
    if level in OPTIONAL and level not in _dispatch.compiled:
        pytest.skip("this build has no such level")
    of_x86 = platform.machine() in {"x86_64", "AMD64"}
    if level in (OF_ARM if of_x86 else OF_X86):
        pytest.skip("a level of other processors")
    for compiled in kernel_objects(level):
        assert faults(level, compiled) == [], compiled.name


def test_levels_that_refine_another_have_all_that_differs():
    """A file that sees what isa/ has for some levels alone must be compiled for each level."""
    of_levels = re.compile("FIRTH_(NATIVE|TILES|PAIR)|VNNI|BF16|DOTPROD|MATMUL")
    defined = re.compile(
        r"^(?:FIRTH_INLINE|constexpr|typedef|struct|#define).*?(\w+)(?= ?[={(;]| \d|$)"
    )
    differing = set()  # names that isa/ defines under a condition on the level
    for header in (ROOT / "csrc" / "isa").glob("*.h"):
        conditions = []
        for line in header.read_text().splitlines():
            if match := re.match(r"#if\w* (.*)", line):
                conditions.append(match[1])
            elif line.startswith("#endif"):
                conditions.pop()
            elif of_levels.search(" ".join(conditions)):
                differing |= set(defined.findall(line))
    assert {"dot_bytes", "kNativeBytes", "kCodeWords", "store_bf16", "kCodeUnits"} <= differing
    for source in KERNELS.glob("*.cpp"):
        words = set(re.findall(r"\w+", re.sub("//.*", "", source.read_text())))
        special = words & (differing | {"FIRTH_TILES"})
        assert bool(special) == (source.stem in REFINED), f"{source.name}: {special}"


def instructions(level: str) -> Iterator[tuple[bytes, str]]:
    """Bytes and text of each instruction of a level; without padding and without addresses."""
    for compiled in kernel_objects(level):
        command = ["objdump", "-d", "--insn-width=16", "--no-addresses", compiled]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            if match := re.fullmatch(r"\s+((?:[0-9a-f]{2} )+)\s*(.*)", line):
                text = re.sub(r"^(j\w+|call) .*|\s+#? <.*", r"\1", match[2]).strip()
                if not re.search(r"\bnop[lw]?\b|\bxchg +%ax,%ax", text):
                    yield bytes.fromhex(match[1]), text


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.skipif("v3x" not in _dispatch.compiled, reason="this build has no such level")
def test_v3x_has_no_instruction_of_avx512():
    """Its products of bytes have two encodings, of which CPUs without AVX-512 know the older."""
    v3x = list(instructions("v3x"))
    products = [code for code, text in v3x if "vpdpbusd" in text]
    assert len(products) > 100
    assert {code[0] for code in products} == {0xC4}
    # in 64-bit mode the first byte of an EVEX instruction, and of nothing else
    assert [text for code, text in v3x if code[0] == 0x62 or re.search("zmm|%k[0-7]", text)] == []
    if "v3x_emulated" in _dispatch.compiled:  # what the tests run here is the same program
        emulated = list(instructions("v3x_emulated"))
        assert {code[0] for code, text in emulated if "vpdpbusd" in text} == {0x62}
        assert [text.replace("{vex} ", "") for _, text in v3x] == [text for _, text in emulated]


@needs_nm
@pytest.mark.skipif(not compiler, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("namespace firth::v3 { void kernel() {} }", None),
        ("void kernel() {}", "exports"),
        ("namespace firth::v4 { void kernel() {} }", "exports"),
        ("inline int half(int x) { return x / 2; } int (*kernel)(int) = half;", "weak"),
        ("int puts(const char*); void kernel() { puts(0); }", "calls"),
        ("struct S { S(); ~S(); } s;", "load time"),
    ],
)
def test_a_hole_in_the_wall_is_seen(source, fault, tmp_path):
    (tmp_path / "kernel.cpp").write_text(source)
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-fPIC", "-c", "kernel.cpp"], check=True, cwd=tmp_path
    )
    found = " ".join(faults("v3", tmp_path / "kernel.o"))
    assert fault in found if fault else found == ""


def test_kernels_include_isa_and_their_list():
    for source in sorted(KERNELS.glob("*.cpp")):
        included = set(re.findall(r"#include [<\"](.*?)[>\"]", source.read_text()))
        lists = {name for name in included if re.fullmatch(r"list_\w+\.h", name)}
        if source.name == "table.cpp":
            lists = {"../kernels.h"}
        assert lists, f"{source.name} includes no list"
        shared = {header.name for header in KERNELS.glob("*.h") if "list" not in header.name}
        allowed = lists | shared | {"../isa.h", "../activations.h"}
        assert included <= allowed, f"{source.name} includes {included}"
    for header in shared:  # code of several kernels
        text = (KERNELS / header).read_text()
        assert re.findall(r"#include [<\"](.*?)[>\"]", text) == ["../isa.h"], header
    for header in (ROOT / "csrc" / "isa").glob("*.h"):
        included = set(re.findall(r"#include [<\"](.*?)[>\"]", header.read_text()))
        assert included <= {"types.h", "vector128.h", "immintrin.h", "arm_neon.h"}, header.name


def test_only_isa_h_includes_what_stands_in_isa():
    for source in [*(ROOT / "csrc").rglob("*"), *(ROOT / "src").rglob("*")]:
        if source.suffix in {".h", ".cpp"} and source.parent.name != "isa":
            includes = re.findall(r"#include [<\"].*?isa/.*?[>\"]", source.read_text())
            assert source.name == "isa.h" or not includes, f"{source.name}: {includes}"


def test_core_knows_no_python():
    for source in (ROOT / "csrc").rglob("*"):
        if source.suffix in {".h", ".cpp"}:
            assert not re.search(r"Python\.h|pybind11|numpy", source.read_text()), source.name


# Packages and modules right below firth, each importing only those before it and itself.
RANKS = [
    {"arguments", "errors", "interrupt", "optional", "progress"},
    {"formats", "kernels"},
    {"epochs", "estimator", "geometry", "spelling"},
    {"nn", "search", "tokenizers", "transformer"},
    {"optim", "utils"},
    {"networks"},
    {"words"},
    {"downloader", "encoders", "fasttext", "generators"},
    {"models"},
    {"rag"},
    {"agents"},
    {"serve", "system"},
    {"distributed"},
    {"demo", "doctor"},
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
