"""What several commands need: parsers, kinds of numbers, checks, and the two ways of printing."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from firth.spelling import did_you_mean

if TYPE_CHECKING:
    from firth.words import KeyedVectors

ANY_FILE = "vectors: of firth, gensim, word2vec (text or binary), GloVe, fastText, spaCy, model2vec"
# Control characters (colours, the cursor), line and paragraph separators, directions of writing.
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class UserError(Exception):
    """The user asked for something impossible; the message is one line."""


# Printing. Only here, so that no word of a file reaches the terminal as a control sequence


def say(line: str) -> None:
    """Print a line of results on stdout."""
    print(shown(line))


def write(text: str) -> None:
    """Print a part of a text on stdout at once, with its line breaks and tabs."""
    kept = (part if part in "\n\t" else shown(part) for part in re.split("([\n\t])", text))
    print("".join(kept), end="", flush=True)


# Of words, one after the other: cyan, yellow, green, magenta, blue.
_COLOURS = ("36", "33", "32", "35", "34")


def say_in_colours(pieces: Iterable[tuple[str, int | None]]) -> None:
    """Print pieces of words on a line of stdout, each with the number of its word.

    On a terminal those of a word share a colour, and those of no word (None) are dim; not where
    the variable NO_COLOR is set.
    """
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        say(" ".join(text for text, _ in pieces))
        return
    coloured = (
        f"\x1b[{'2' if word is None else _COLOURS[word % len(_COLOURS)]}m{shown(text)}\x1b[0m"
        for text, word in pieces
    )
    print(" ".join(coloured))


def complain(message: str) -> None:
    """Print a message on stderr."""
    with contextlib.suppress(OSError, ValueError):  # stderr is closed: the exit code must do
        print(f"firth: {shown(message)}", file=sys.stderr, flush=True)


def table(lines: dict[str, str]) -> None:
    """Print facts with their names."""
    for name, value in lines.items():
        say(f"{name:<11}  {value}")


def shown(text: str) -> str:
    r"""The text with each control character as an escape such as ``\x1b``."""
    return _NOT_SHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


# Parsers and kinds of arguments


class Parser(argparse.ArgumentParser):
    """A parser whose errors end in one line, as all errors do.

    Where it has commands, ``usual`` is the one that is meant by arguments without its name.
    """

    commands: Any = None
    usual = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse.ArgumentParser`'s."""
        if self.usual and args and args[0] not in (*self.commands.choices, "-h", "--help"):
            args = [self.usual, *args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `UserError`."""
        raise UserError(f"{message} (see {self.prog} --help)")


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], summary: str,
    **more: Any,
) -> Any:  # fmt: skip
    """Add a command that calls ``run``, which may return an exit code; return its parser."""
    added = commands.add_parser(name, help=summary, description=summary, **more)
    added.set_defaults(run=run)
    return added


def group(commands: Any, name: str, summary: str, usual: str = "") -> Any:
    """Add a command that has commands of its own, and return what they are added to."""
    added: Any = command(commands, name, lambda _: added.print_help(), summary)
    added.commands, added.usual = added.add_subparsers(title="commands", metavar="command"), usual
    return added.commands


def at_least(minimum: int) -> Callable[[str], int]:
    """A whole number that is not below this."""

    def whole(text: str) -> int:
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {text}")
        return int(text)

    whole.__name__ = "whole number"
    return whole


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def not_negative(text: str) -> float:
    """A number that is 0 or above."""
    return 0.0 if float(text) == 0 else positive(text)


def options(names: Iterable[str]) -> str:
    """Names of settings as they are typed."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


# Clusters


def ray_option(to: argparse.ArgumentParser, unit: str, what: str) -> None:
    """Add ``--ray``, and how many of what it is to be, as a parameter of `firth.distributed`."""
    to.add_argument(
        "--ray", metavar="auto|local|HOST:PORT",
        help="work on a Ray cluster: this machine's, one that is started for this, or another; "
        "files must be where all its nodes see them",
    )  # fmt: skip
    to.add_argument(f"--{unit}", type=at_least(1), metavar="N", help=f"with --ray: {what}")


@contextlib.contextmanager
def on_ray(address: str) -> Iterator[None]:
    """The block works on a cluster; what cannot be done there is an error of the user."""
    from firth.distributed import cluster

    try:
        with cluster.using(address):
            yield
    except (MemoryError, RuntimeError) as error:
        raise UserError(str(error)) from None


def only_with_ray(arguments: argparse.Namespace, names: Iterable[str]) -> None:
    """Refuse options that mean nothing on one machine."""
    given = [name for name in names if getattr(arguments, name) is not None]
    if given and arguments.ray is None:
        raise UserError(f"{options(given)}: only with --ray")


# Files


def check_output(path: str, *inputs: str) -> None:
    """Refuse an output that cannot be written, or is an input, before any work is done."""
    folder = os.path.dirname(os.path.realpath(path))
    if not path or os.path.isdir(path):
        raise UserError(f"{path or 'the output'}: is a folder, or no name")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{path}: the folder {folder} cannot be written to")
    if os.path.exists(path) and any(os.path.samefile(path, one) for one in inputs):
        raise UserError(f"{path} is the input; it would be overwritten")


def checkpoint_of(output: str, resume: bool, given: Iterable[str]) -> str:
    """The checkpoint beside an output; refuses what contradicts it: ``given`` are settings."""
    checkpoint = f"{output}.checkpoint"
    if resume and given:
        raise UserError(f"--resume takes {options(given)} from the checkpoint; leave it out")
    if resume and not os.path.exists(checkpoint):
        raise UserError(f"there is no {checkpoint} to resume from")
    if os.path.exists(checkpoint) and not resume:
        raise UserError(
            f"{checkpoint} is left from an interrupted run: "
            "--resume continues it; remove the file to start anew"
        )
    return checkpoint


@contextlib.contextmanager
def continued_by(checkpoint: str, command: list[str]) -> Iterator[None]:
    """Ctrl-C inside the block says where the state is, and the command that continues."""
    try:
        yield
    except KeyboardInterrupt:
        if not os.path.exists(checkpoint):
            raise KeyboardInterrupt("; nothing was saved") from None
        raise KeyboardInterrupt(
            f"; the state is in {checkpoint}; continue with: {shlex.join([*command, '--resume'])}"
        ) from None


def picture_format(path: str) -> str:
    """The format of a picture by its suffix: png, svg or pdf."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"{path}: the name must end in .png, .svg or .pdf")
    return suffix[1:]


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Errors about a file begin with its name."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error) if path in str(error) else f"{path}: {error}") from None


def read_lines(source: Any) -> Iterator[list[bytes]]:
    """Lists of lines of a pipe or a binary file, each as soon as it can be read."""
    rest = b""
    while data := source.read1(1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def megabytes(path: str) -> str:
    """Size of a file, or of those in a folder."""
    files = [path]
    if os.path.isdir(path):
        files = [entry.path for entry in os.scandir(path) if entry.is_file()]
    return f"{sum(map(os.path.getsize, files)) / 1e6:,.1f} MB"


# Vectors and their words


def load(path: str) -> KeyedVectors:
    """The vectors of a file of any format."""
    from firth.words.vector_files import load_vectors

    return load_vectors(path)


def check_word(vectors: KeyedVectors, word: str, path: str) -> None:
    """Refuse a word without a vector, and name words that are spelt alike."""
    if word not in vectors:
        raise UserError(
            f"{word!r} is not among the {len(vectors):,} words of {path}"
            + did_you_mean(word, vectors.index_to_key, vectors)
        )


def installed_by_kind() -> dict[str, list[str]]:
    """Of the models on this machine the first for each of chat, embed and rerank."""
    from firth.encoders import architectures as encoders
    from firth.generators import architectures as generators
    from firth.transformer.files import read_json
    from firth.transformer.where import installed

    found: dict[str, list[str]] = {}
    for one in installed():
        if one.kind == "GGUF" or one.kind in generators.KINDS:
            kind = "chat"
        elif one.kind in encoders.KINDS:
            config = read_json(os.path.join(one.folder, "config.json"))
            heads = config.get("architectures") or [""]
            kind = "rerank" if str(heads[0]).endswith("ForSequenceClassification") else "embed"
        else:
            continue
        found.setdefault(kind, [one.name])
    return found
