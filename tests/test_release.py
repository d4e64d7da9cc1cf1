"""What a release consists of: one version, a wheel for each Python, all names for type checkers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import firth

ROOT = Path(__file__).resolve().parents[1]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place() -> None:
    """And CITATION.cff, which no build reads, repeats it."""
    stated = subprocess.run(
        ["git", "grep", "-lF", f'"{firth.__version__}"', "--", "python", "*.toml", "*.txt"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if stated.returncode != 128:  # a checkout
        assert stated.stdout.splitlines() == ["python/firth/__init__.py"]
    assert f"\nversion: {firth.__version__}\n" in read("CITATION.cff")
    assert f"## {firth.__version__}, " in read("CHANGELOG.md")


def test_what_is_forgotten_is_named(tmp_path: Path) -> None:
    for path in ("python/firth/__init__.py", "CITATION.cff", "CHANGELOG.md", "pyproject.toml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "tests").mkdir()
    check = tmp_path / "tests" / "release_check.py"
    check.write_text(read("tests/release_check.py"))
    for path, text in {
        "python/firth/__init__.py": '__version__ = "1.2.3"\n',
        "CITATION.cff": "version: 1.2.3\n",
        "CHANGELOG.md": "## 1.2.3, 2027-01-31\n\n## 1.2.2, 2026-12-31\n",
        "pyproject.toml": 'Homepage = "https://firth.test"\n',
    }.items():
        (tmp_path / path).write_text(text)

    def faults(tag: str) -> str:
        command = [sys.executable, str(check), tag]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (1 if done.stderr else 0)
        return done.stderr

    assert faults("v1.2.3") == ""
    assert len(faults("v1.2.4").splitlines()) == 3
    (tmp_path / "CHANGELOG.md").write_text("## 1.2.3, not released yet\n\n## 1.2.2, 2026-12-31\n")
    assert faults("v1.2.3").startswith("CHANGELOG.md: '## 1.2.2, 2026-12-31' does not say")
    (tmp_path / "pyproject.toml").write_text('Homepage = "https://example.org/firth"\n')
    assert faults("v1.2.3").splitlines()[1].startswith("pyproject.toml: ")


def test_every_python_that_is_promised_gets_a_wheel() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    settings = tomllib.loads(read("pyproject.toml"))
    classifiers = " ".join(settings["project"]["classifiers"])
    promised = re.findall(r"Python :: (3\.\d+)\b", classifiers)
    assert len(promised) >= 5
    built = re.findall(r"cp3(\d+)-", settings["tool"]["cibuildwheel"]["build"])
    assert [f"3.{minor}" for minor in built] == promised
    (found,) = re.findall(r"for version in (.*); do", read("tests/wheels.sh"))
    assert [one for one in found.split() if not one.endswith("t")] == promised
    assert settings["project"]["requires-python"] == f">={promised[0]}"


def test_wheels_are_tested_beside_the_oldest_numpy() -> None:
    (least,) = re.findall(r'"numpy>=([\d.]+)"', read("pyproject.toml"))
    assert f"*) oldest={least}.0 ;;" in read("tests/wheels.sh")


def test_type_checkers_see_every_public_name() -> None:
    """tests/typed_names.py, which `make lint` checks, uses each."""
    source = read("tests/typed_names.py")
    assert [name for name in firth.__all__ if not re.search(rf"\bfirth\.{name}\b", source)] == []


def test_workflows_run_what_there_is() -> None:
    """Each file and make target that a workflow names exists."""
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    named: dict[str, Any] = {"make": set(), "file": set()}
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        text = workflow.read_text(encoding="utf-8")
        named["make"] |= set(re.findall(r"run: make ([\w-]+)", text))
        named["file"] |= set(re.findall(r"(?:[ @\"]|\./)((?:tests|\.ci|\.github)/[\w./-]+)", text))
    assert named["make"] == {"test", "docs", "sdist"} <= targets
    assert len(named["file"]) >= 4
    assert [name for name in named["file"] if not (ROOT / name).exists()] == []
