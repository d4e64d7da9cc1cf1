"""Pages of the course as notebooks: the text between the blocks is text, the blocks are cells."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

CELL = re.compile(r"^```(python|console)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
# A notebook is read away from the site: of a link to another page the text stays.
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)")


def of_page(page: Path) -> NotebookNode:
    """The notebook of a page, not yet executed."""
    whole = page.read_text(encoding="utf-8")
    commands = re.findall(r"`pip install [^`]+`", whole)  # as the page itself says
    if not any('"firth[' in command for command in commands):
        commands.insert(0, '`pip install "firth[plot]"`')
    cells = [nbformat.v4.new_markdown_cell(f"This notebook needs {', '.join(commands)}.")]
    parts = CELL.split(whole)
    for text, language, code in zip(
        parts[::3], [*parts[1::3], ""], [*parts[2::3], ""], strict=True
    ):
        if text.strip():
            cells.append(nbformat.v4.new_markdown_cell(LINK.sub(r"\1", text).strip()))
        if language:
            cells.append(nbformat.v4.new_code_cell(cell_of(language, code).strip()))
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # and not a random one: the same page is the same file
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def cell_of(language: str, code: str) -> str:
    """A block as Python reads it in a notebook: no prompts, no output."""
    if language == "console":
        commands = re.findall(r"^\$ firth (.*)$", code, re.M)
        return "import sys\n\n" + "\n".join(
            f"!{{sys.executable}} -m firth {one}" for one in commands
        )
    if ">>>" in code:
        return "".join(one.source for one in doctest.DocTestParser().get_examples(code))
    return code


def write(notebook: NotebookNode, path: Path) -> None:
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in a folder; the first that fails raises CellExecutionError."""
    resources = {"metadata": {"path": str(folder)}}
    quiet = ["--log-level=ERROR"]  # it warns that its sockets are not encrypted
    NotebookClient(
        notebook, timeout=300, startup_timeout=300, resources=resources, extra_arguments=quiet
    ).execute()
