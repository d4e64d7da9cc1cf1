"""``firth doctor``: what it finds, and that it notices a kernel or a job that computes wrong."""

from __future__ import annotations

import json
import operator
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import firth
from firth import doctor, kernels
from firth.cli import main
from firth.kernels._dispatch import Kernel

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    info = firth.info()
    for name, value in {
        "firth": info.version, "Python": info.python, "NumPy": info.numpy, "runs on": info.backend,
    }.items():  # fmt: skip
        assert re.search(rf"^{name} +{re.escape(value)}$", printed, re.MULTILINE)
    assert re.search(rf"^levels +{', '.join(info.usable_levels)}", printed, re.MULTILINE)
    checks = len(doctor.KERNELS) + 2
    assert re.search(rf"^self-test: {checks} passed, 0 failed, \d+\.\d s$", printed, re.MULTILINE)
    assert "FAILED" not in printed


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["info"]["version"] == firth.__version__
    assert found["passed"] == [*doctor.KERNELS, "search", "training"]
    assert found["failed"] == {}
    assert set(found["missing"]) == set(doctor.EXTRAS)


def test_every_kernel_is_tested() -> None:
    names = set()
    for name in kernels.__all__:
        one = getattr(kernels, name)
        if isinstance(one, Kernel):
            names |= {name, *([f"{name}.backward"] if hasattr(one, "backward") else [])}
    assert set(doctor.KERNELS) == names


@pytest.mark.parametrize("name", list(doctor.KERNELS))
def test_a_lost_lane_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last number of each row of the answer, or of the first array updated, is 0."""
    kernel = operator.attrgetter(name)(kernels)
    whole = kernel.native

    def loses_a_lane(*arguments: Any, **options: Any) -> Any:
        answer = whole(*arguments, **options)
        if name == "cosine_topk":
            return answer._replace(scores=answer.scores * 0)
        if name == "may_reach":
            return answer & False
        array = answer
        while isinstance(array, tuple):
            array = array[0]
        if isinstance(array, float):  # the loss: rows have been updated
            array = arguments[0]
        array[..., -1] = 0
        return answer

    monkeypatch.setattr(kernel, "native", loses_a_lane)
    assert re.fullmatch(r"\d+ numbers differ from NumPy's", doctor.fault_of(name) or "")


def test_a_broken_kernel_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels.softmax, "_native", lambda level, x, out: out.fill(0))
    assert main(["doctor"]) == 1
    *_, failure, last = capsys.readouterr().out.splitlines()
    assert failure == "FAILED softmax: 185 numbers differ from NumPy's"
    assert ", 1 failed, " in last


def test_a_search_and_a_training_that_go_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise MemoryError("no memory for rows")

    monkeypatch.setattr(firth.Index, "search", refused)
    monkeypatch.setattr(firth.KeyedVectors, "similarity", lambda *_: 0.5)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == {
        "search": "MemoryError: no memory for rows",
        "training": "cat and dog are at 0.50, cat and drill 0.50",
    }


def test_a_missing_package_is_named_with_what_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("mcp", "docx"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^extra agents: not installed:\n(  .*\n)*?  pip install mcp +firth mcp$",
                     printed, re.MULTILINE)  # fmt: skip
    assert re.search(r"^  pip install python-docx +firth index of Word$", printed, re.MULTILINE)


def test_extras_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    (everything,) = declared["all"]
    assert set(doctor.EXTRAS) == set(re.search(r"\[(.*)\]", everything)[1].split(","))
    for extra, packages in doctor.EXTRAS.items():
        assert set(packages) == {re.match(r"[\w-]+", one)[0] for one in declared[extra]}
