"""The package as installed: types, version, the cost of imports, errors of optional parts."""

from __future__ import annotations

import ast
import builtins
import itertools
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest

import firth
from firth.optional import needs
from firth.words import evaluation_file
from processes import printed


def test_types_are_shipped() -> None:
    root = resources.files("firth")
    for name in ("py.typed", "_native/__init__.pyi", "_native/kernels.pyi", "_corpus.pyi"):
        assert root.joinpath(name).is_file()


def test_questions_are_shipped() -> None:
    """Small, and complete: each ordered combination of two pairs of a section."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    for line in Path(evaluation_file("analogies")).read_text().splitlines():
        if line.startswith(": "):
            section = sections.setdefault(line[2:], [])
        else:
            section.append(tuple(line.split(" ")))
    assert len(sections) == 15
    for questions in sections.values():
        pairs = list(dict.fromkeys(question[:2] for question in questions))
        assert len(pairs) == 10
        assert questions == [a + b for a, b in itertools.permutations(pairs, 2)]
    pairs_file = Path(evaluation_file("pairs")).read_text()
    judged = [line.split("\t") for line in pairs_file.splitlines() if line[0] != "#"]
    assert len({frozenset(line[:2]) for line in judged}) == len(judged) == 209
    assert all(0 <= float(line[2]) <= 10 for line in judged)
    read_me = resources.files("firth").joinpath("data", "README.txt").read_text()
    assert "1350 questions" in read_me
    assert "209 pairs" in read_me
    with pytest.raises(ValueError, match="name must be one of"):
        evaluation_file("words")  # type: ignore[arg-type]


def test_the_playground_is_shipped() -> None:
    """All files that its page names, and those that these import."""
    static = resources.files("firth") / "serve" / "static"
    page = static.joinpath("index.html").read_text()
    named = set(re.findall(r'(?:src|href)="static/([\w.]+)"', page))
    for file in static.iterdir():
        named |= set(re.findall(r'from "\./([\w.]+)"', file.read_text()))
    assert {file.name for file in static.iterdir()} == named | {"index.html"}
    assert len(named) > 10


def test_no_sources_are_shipped() -> None:
    files = metadata.files("firth")
    assert files
    assert not [file for file in files if file.suffix in (".cpp", ".h", ".pyx")]


def test_version() -> None:
    assert metadata.version("firth") == firth.__version__
    done = subprocess.run(
        [sys.executable, "-m", "firth", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"firth {firth.__version__}"


def test_required_dependencies() -> None:
    required = [one for one in metadata.requires("firth") or [] if "extra ==" not in one]
    assert sorted(one.split(">")[0] for one in required) == ["numpy", "tqdm"]


def test_extras_are_used() -> None:
    """What a user's extra installs, the package imports."""
    root = Path(firth.__file__).parent
    imported = {
        name.partition(".")[0]
        for path in root.rglob("*.py")
        for name in re.findall(r'(?:needs\(\s*"|import )([\w.]+)', path.read_text())
    }
    extras = {"numba", "words", "models", "plot", "rag", "agents", "serve", "distributed"}
    assert extras | {"all", "test", "peer", "bench", "llama", "docs", "dev"} == set(
        metadata.metadata("firth").get_all("Provides-Extra") or []
    )
    wanted = [
        one
        for one in metadata.requires("firth") or []
        if one.split("extra == ")[-1][1:-1] in extras
    ]
    packages = {re.split(r"[^\w.-]", one)[0].replace("-", "_") for one in wanted}
    assert len(packages) >= 7
    assert {name.removeprefix("python_") for name in packages} <= imported


def test_import_is_light() -> None:
    """Only a first use loads NumPy, tqdm or compiled code."""
    heavy = [
        "numpy",
        "tqdm",
        "numba",
        "matplotlib",
        "firth._native",
        "firth.kernels",
        "firth.words",
    ]
    loaded = printed(f"import sys, firth; print([name for name in {heavy} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_optional_packages_are_not_imported() -> None:
    optional = [
        "numba",
        "matplotlib",
        "ml_dtypes",
        "threadpoolctl",
        "torch",
        "gensim",
        "scipy",
        "sklearn",
        "fastapi",
        "pydantic",
        "uvicorn",
        "ray",
    ]
    loaded = printed(
        "import sys, firth, firth.cli\n"
        "for name in firth.__all__: getattr(firth, name)\n"
        "firth.NearestNeighbors(n_neighbors=1).fit([[0.0], [1.0]]).kneighbors([[0.2]])\n"
        f"print([name for name in {optional} if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_what_is_missing_is_named_as_it_is_installed() -> None:
    with pytest.raises(ImportError, match=r"^plot needs nothing-such: pip install nothing-such$"):
        needs("nothing_such.module", "plot", "nothing-such")
    with pytest.raises(ImportError, match=r"^plot needs nothing_such: pip install nothing_such$"):
        needs("nothing_such.module", "plot")
    assert needs("firth.errors", "plot") is sys.modules["firth.errors"]
    root = Path(firth.__file__).parent
    hints = [path for path in root.rglob("*.py") if "firth[" in path.read_text()]
    assert not hints, "firth[extra] names a package of an index, where firth is not"


def test_public_names() -> None:
    for name in firth._HOME:
        assert getattr(firth, name) is not None
        assert name in dir(firth)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = firth.nonsense


def test_dir_shows_the_public_names() -> None:
    shown = [name for name in dir(firth) if not name.startswith("__")]
    assert shown == sorted(firth._HOME)
    hidden = set(firth._HOME) - set(firth.__all__)  # for `from firth import *`
    assert hidden == {name for name in firth._HOME if hasattr(builtins, name)}


def test_type_checkers_know_the_public_names_and_no_others() -> None:
    """If they saw `__getattr__`, every misspelt name would be an Any."""
    tree = ast.parse(Path(firth.__file__).read_text())
    blocks = {ast.unparse(node.test): node.body for node in tree.body if isinstance(node, ast.If)}
    typed = [name.name for node in blocks["TYPE_CHECKING"] for name in node.names]
    assert sorted(typed) == sorted(firth._HOME)
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["__dir__"]
    assert [node.name for node in blocks["not TYPE_CHECKING"]] == ["__getattr__"]


SUBINTERPRETER = """
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
code = '''
try:
    import firth, firth._native
except ImportError as error:
    print(error, flush=True)
'''
interpreters.run_string(interpreters.create(), code)
import firth
print(firth.kernels.dot([1.0], [2.0]))
"""


def test_a_subinterpreter_is_refused() -> None:
    """CPython before 3.12 hung there; later versions refuse compiled modules by themselves."""
    refusal, result = printed(SUBINTERPRETER).splitlines()
    assert "subinterpreter" in refusal
    assert result == "2.0"


@pytest.mark.parametrize(
    "start", ["firth.kernels.use('numba').__enter__()", "firth.kernels.dot.numba(x, x)"]
)
def test_missing_numba_is_named(start: str) -> None:
    message = printed(
        "import sys; sys.modules['numba'] = None\n"
        "import firth, numpy\n"
        "x = numpy.ones(3)\n"
        f"try: {start}\n"
        "except ImportError as error: print(error)\n"
    )
    assert "pip install numba" in message


def test_missing_numba_in_the_environment() -> None:
    message = printed(
        "import os, sys; sys.modules['numba'] = None; os.environ['FIRTH_BACKEND'] = 'numba'\n"
        "import firth, numpy\n"
        "try: firth.kernels.dot(numpy.ones(3), numpy.ones(3))\n"
        "except ImportError as error: print(error)\n"
    )
    assert message.startswith("FIRTH_BACKEND")
    assert "pip install numba" in message
