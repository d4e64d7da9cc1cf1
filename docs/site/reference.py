"""The reference: a page for each public module with all its public names, from their docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import firth
from firth.arguments import shortened
from firth.cli import _parser

# Pages: title, modules. A name of `firth` itself is on the page of the module that has it too.
PAGES = {
    "words": ("Words", ["firth.words", "firth.downloader"]),
    "search": ("Search", ["firth.search"]),
    "fasttext": ("Texts in classes", ["firth.fasttext"]),
    "networks": ("Perceptron and MLP", ["firth.networks"]),
    "encoders": ("Encoders", ["firth.encoders", "firth.encoders.training"]),
    "tokenizers": ("Tokenizers", ["firth.tokenizers"]),
    "generators": ("Generators", [
        "firth.generators", "firth.generators.sampling", "firth.generators.pictures",
        "firth.generators.quantize",
    ]),
    "rag": ("Answers from documents", ["firth.rag", "firth.rag.evaluation"]),
    "agents": ("Agents", ["firth.agents", "firth.agents.tools"]),
    "serve": ("Server", ["firth.serve"]),
    "distributed": ("Many machines", ["firth.distributed"]),
    "nn": ("Networks: layers", ["firth.nn", "firth.nn.init", "firth.nn.utils"]),
    "functional": ("Networks: functions", ["firth.nn.functional"]),
    "optim": ("Networks: optimizers, data", [
        "firth.optim", "firth.optim.lr_scheduler", "firth.utils.data",
    ]),
    "kernels": ("Kernels", ["firth.kernels"]),
    "formats": ("Files of weights, errors", [
        "firth.formats.gguf", "firth.formats.blocks", "firth.formats.safetensors", "firth.errors",
    ]),
}  # fmt: skip
REST = "firth"  # the page of what is in `firth` alone: tensors, settings


def public(module: ModuleType) -> list[str]:
    """Its ``__all__``, or what it defines without an underscore."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip


def homes() -> dict[str, str]:
    """For each public name of `firth` the page and anchor where it is described."""
    found: dict[str, str] = {}
    modules = {name: page for page, (_, names) in PAGES.items() for name in names}
    for name in firth.__all__:
        value = getattr(firth, name)
        if inspect.ismodule(value):
            pages = [page for module, page in modules.items() if module.startswith(value.__name__)]
            found[name] = f"{pages[0]}.md" if pages else f"{REST}.md"
            continue
        for module, page in modules.items():
            if vars(importlib.import_module(module)).get(name) is value and name in public(
                importlib.import_module(module)
            ):
                found[name] = f"{page}.md#{module}.{name}"
                break
        else:
            found[name] = f"{REST}.md#firth.{name}"
    return found


def first_line(value: Any) -> str:
    """What a docstring begins with; nothing for values, whose type's it would be."""
    if not (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)):
        value = getattr(value, "__wrapped__", None)
    return (inspect.getdoc(value) or "").partition("\n")[0]


def entry(path: str, value: Any) -> str:
    """What stands on a page for one name: its docstring, or of a value what it is."""
    if callable(value):
        inherited = "true"
        if path.startswith("firth.nn."):  # nn.Module has many
            inherited = "false"
        elif path.startswith("firth.encoders.training."):
            inherited = "[from_pretrained, save_pretrained]"
        return f"::: {path}\n    options:\n      inherited_members: {inherited}"
    head = f"### `{path.rpartition('.')[2]}` {{ #{path} }}\n\n"
    return head + (first_line(value) if inspect.ismodule(value) else f"`{shortened(value)}`")


def write(folder: Path) -> None:
    """Write all pages."""
    folder.mkdir(parents=True)
    for page, (title, names) in PAGES.items():
        parts = [f"# {title}"]
        for name in names:
            module = importlib.import_module(name)
            parts += [f"## {name}", (inspect.getdoc(module) or "").partition("\n\n")[0]]
            parts += [entry(f"{name}.{one}", getattr(module, one)) for one in public(module)]
        (folder / f"{page}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    places = homes()
    rest = [name for name, place in places.items() if place.startswith(f"{REST}.md#")]
    parts = ["# Tensors and settings", "Names that are in `firth` itself.", "## firth"]
    parts += [entry(f"firth.{name}", getattr(firth, name)) for name in rest]
    (folder / f"{REST}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    rows = []
    for name, place in places.items():
        what = first_line(getattr(firth, name)).replace("|", "\\|")
        rows.append(f"| [`firth.{name}`]({place}) | {what} |")
    text = [
        "# Reference", "All public names of `firth`; modules have more names on their pages.",
        "\n".join(["| name | what it is |", "|---|---|", *rows]),
    ]  # fmt: skip
    (folder / "index.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    (folder / "cli.md").write_text(commands(), encoding="utf-8")


def commands() -> str:
    """The page of the command line: what `--help` says, command by command."""
    parser = _parser()
    (choices,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    parts = ["# Command line", f"```text\n{parser.format_help()}```"]
    for name, command in choices.items():
        parts += [f"## firth {name}", f"```text\n{command.format_help()}```"]
    return "\n\n".join(parts) + "\n"
