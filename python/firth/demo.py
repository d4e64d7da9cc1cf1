"""``firth demo``: word vectors from the text that every Python installation has.

The corpus is the documentation of Python's standard library and of NumPy: the long strings of their
source files, which are read, not imported. Nothing is downloaded. `run` is the whole story; the
rest collects the corpus and draws the picture.
"""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from firth.formats.files import atomic
from firth.words.plot import figure_of, label, principal_axes

if TYPE_CHECKING:
    from firth.words import KeyedVectors

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_SKIPPED |= {"lib2to3", "ensurepip", "turtledemo", "idlelib"}
_SHORTEST = 40  # characters of a string that counts as documentation
_WORD = re.compile(r"[a-z_][a-z_0-9]*(?:['-][a-z]+)*")
_SENTENCE_END = re.compile(r"[.!?:;](?:\s|$)|\n\s*\n|\n\s*[-*+]\s")
_EXAMPLE = (">>>", "...", "|")  # lines that begin so are code and tables

_ASKED = ("dict", "file", "socket", "thread", "typeerror", "gzip", "matrix", "month", "true")
_ANALOGIES = (  # a - b + c
    ("argmax", "max", "min"),
    ("reading", "read", "write"),
    ("encoder", "encode", "decode"),
    ("lower", "upper", "uppercase"),
)
_GROUPS = {
    "types": "string bytes list tuple dict set integer float boolean sequence mapping iterator",
    "exceptions": "typeerror valueerror keyerror indexerror oserror runtimeerror "
    "attributeerror importerror exception",
    "threads": "thread threads lock queue process semaphore event coroutine",
    "network": "socket server client http smtp ssl tcp udp connection",
    "archives": "gzip bz2 lzma zip tar compressed archive",
    "mathematics": "matrix matrices eigenvalues polynomial sine cosine logarithm sum mean median",
    "calendar": "day week month year hours minutes date timezone",
}


def run(picture: str) -> None:
    """Train on the documentation, print neighbours and analogies, draw a ``picture`` (a file)."""
    import firth

    word2vec: Any = firth.Word2Vec
    print("Collecting the documentation of Python and NumPy ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="firth-demo-") as folder:
        corpus = os.path.join(folder, "corpus.txt")
        words = write_corpus(corpus)
        megabytes = os.path.getsize(corpus) / 1e6
        print(f"{words:,} words, {megabytes:.1f} MB of English. Training ...", flush=True)
        start = time.perf_counter()
        epochs = 20  # several times the default: the corpus is small
        vectors = word2vec(corpus_file=corpus, sg=1, epochs=epochs).wv
        seconds = time.perf_counter() - start
    print(
        f"{epochs} passes in {seconds:.1f} s, {words * epochs / seconds:,.0f} words/s; "
        f"{len(vectors):,} words have a vector of {vectors.vector_size} numbers.\n"
    )
    print(answers(vectors))
    try:
        draw(vectors, picture)
    except ImportError:
        print("\nFor a picture of these words: pip install matplotlib")
    else:
        print(f"\nA map of some words: {picture}")


def answers(vectors: KeyedVectors) -> str:
    """Neighbours of some words and the answers to some analogies, one per line."""
    lines = ["Nearest words:"]
    for word in _ASKED:
        if word in vectors:
            near = ", ".join(other for other, _ in vectors.most_similar(word, topn=6))
            lines.append(f"  {word:<10} {near}")
    lines.append("\nAnalogies:")
    for a, b, c in _ANALOGIES:
        if a in vectors and b in vectors and c in vectors:
            near = ", ".join(other for other, _ in vectors.most_similar([a, c], b, topn=3))
            lines.append(f"  {f'{a} - {b} + {c}':<26} {near}")
    return "\n".join(lines)


# The corpus


def write_corpus(path: str) -> int:
    """Write the sentences, one per line, and return the number of words.

    Raises FileNotFoundError where there are no source files to read.
    """
    words = 0
    with open(path, "w", encoding="utf-8") as file:
        for sentence in sentences(documentation(source_files())):
            file.write(" ".join(sentence) + "\n")
            words += len(sentence)
    if not words:
        raise FileNotFoundError("demo: this Python installation has no source files to read")
    return words


def source_files() -> Iterator[str]:
    """The Python files of the standard library and of NumPy without their tests, in fixed order."""
    for root in (sysconfig.get_path("stdlib"), os.path.dirname(np.__file__)):
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = sorted(set(subfolders) - _SKIPPED)
            for name in sorted(names):
                if name.endswith(".py"):
                    yield os.path.join(folder, name)


def documentation(paths: Iterator[str]) -> Iterator[str]:
    """The long strings of Python files, each once; mostly docstrings."""
    seen = set()
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the syntax of the file
                tree = ast.parse(file.read())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                if len(text) > _SHORTEST and " " in text and text not in seen:
                    seen.add(text)
                    yield text


def sentences(texts: Iterator[str]) -> Iterator[list[str]]:
    """Lower-case words of each sentence; code examples and very short pieces are left out."""
    for text in texts:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(_EXAMPLE)]
        for piece in _SENTENCE_END.split("\n".join(lines)):
            words = [word.strip("_'-") for word in _WORD.findall(piece.lower())]
            words = [word for word in words if len(word) > 1 or word in ("a", "i")]
            if len(words) > 3:
                yield words


# The picture


def draw(vectors: KeyedVectors, path: str) -> None:
    """Draw some well-known words (.png, .svg or .pdf): their two principal axes, coloured by group.

    ImportError where matplotlib is missing.
    """
    figure, axes = figure_of(11, 8)
    groups = {
        name: [word for word in words.split() if word in vectors] for name, words in _GROUPS.items()
    }
    words = [word for members in groups.values() for word in members]
    if len(words) < 3:
        return
    points = principal_axes(np.stack([vectors.get_vector(word, norm=True) for word in words]))
    colours: list[str] = []
    for index, (name, members) in enumerate(groups.items()):
        start = len(colours)
        colours += [f"C{index}"] * len(members)
        x, y = points[start : start + len(members)].T
        axes.scatter(x, y, s=36, color=f"C{index}", label=name)
    axes.set_title("Words in the documentation of Python and NumPy, as firth places them")
    axes.set_axis_off()
    axes.margins(0.08)
    axes.legend(loc="best", frameon=False)
    label(axes, points, words, colours)
    with atomic(path) as file:
        figure.savefig(file, format=os.path.splitext(path)[1][1:])
