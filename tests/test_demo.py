"""`firth demo`: its corpus, its neighbours and analogies, its picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import KeyedVectors, demo
from firth.cli import main
from firth.words.plot import label, principal_axes

SOURCE = '''
"""The King's file_name is read. It holds a list of words!

>>> code that is no English at all
    - the first point of a list: it has some words
"""
NAME = "short string, not taken"
def function():
    """This documentation string is in the file twice, taken once."""
def other():
    """This documentation string is in the file twice, taken once."""
add_newdoc("dot", "Documentation that is the argument of a call counts as well")
'''


def test_documentation_and_sentences(tmp_path: Path) -> None:
    good, bad, binary = tmp_path / "good.py", tmp_path / "bad.py", tmp_path / "binary.py"
    good.write_text(SOURCE)
    bad.write_text("not python at all")
    binary.write_bytes(b"\xff\0")
    paths = [str(path) for path in (bad, binary, good, tmp_path / "missing.py")]
    texts = list(demo.documentation(iter(paths)))
    assert len(texts) == 3
    assert [" ".join(words) for words in demo.sentences(iter(texts))] == [
        "the king's file_name is read",
        "it holds a list of words",
        "the first point of a list",
        "it has some words",
        "this documentation string is in the file twice taken once",
        "documentation that is the argument of a call counts as well",
    ]


def test_source_files_leave_out_tests() -> None:
    paths = list(demo.source_files())
    assert len(paths) == len(set(paths)) > 300
    assert any(path.endswith("argparse.py") for path in paths)
    assert any("numpy" in path for path in paths)
    assert not any("site-packages/pytest" in path for path in paths)
    assert not any("/tests/" in path for path in paths)


@pytest.mark.slow
def test_the_corpus_of_this_installation(tmp_path: Path) -> None:
    words = demo.write_corpus(str(tmp_path / "corpus.txt"))
    text = (tmp_path / "corpus.txt").read_text()
    assert words == len(text.split()) > 300_000
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-' \n")


def test_no_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "source_files", lambda: iter(()))
    with pytest.raises(FileNotFoundError, match="no source files"):
        demo.write_corpus(str(tmp_path / "corpus.txt"))


def made_up() -> KeyedVectors:
    """Random vectors for the words that the demo asks for."""
    words = sorted({word for group in demo._GROUPS.values() for word in group.split()})
    words += [word for words_ in demo._ANALOGIES for word in words_ if word not in words]
    kv = KeyedVectors(20)
    kv.add_vectors(words, np.random.default_rng(0).standard_normal((len(words), 20)))
    return kv


def test_answers() -> None:
    text = demo.answers(made_up())
    assert "  socket     " in text
    assert "argmax - max + min" in text
    assert demo.answers(KeyedVectors(3)).split() == ["Nearest", "words:", "Analogies:"]


def test_principal_axes() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 5)) * [1, 9, 0.1, 3, 0.1] + 7
    axes = principal_axes(rows)
    assert abs(np.corrcoef(axes[:, 0], rows[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(axes[:, 1], rows[:, 3])[0, 1]) > 0.98
    np.testing.assert_allclose(axes.mean(axis=0), 0, atol=1e-12)


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one.png", "two.png"):
        demo.draw(made_up(), str(tmp_path / name))
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG")
    assert len(one) > 20_000
    assert one == two


def test_labels_avoid_each_other() -> None:
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    backend = pytest.importorskip("matplotlib.backends.backend_agg")
    figure = matplotlib_figure.Figure(figsize=(8, 6))
    canvas = backend.FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = np.random.default_rng(0).random((20, 2))
    axes.scatter(*points.T)
    canvas.draw()
    label(axes, points, [f"word{row}" for row in range(20)], ["k"] * 20)
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(boxes) == 20
    assert overlaps <= 1


class Trainer:
    def __init__(self, corpus_file: str, **options: Any) -> None:
        assert Path(corpus_file).read_text().count("\n") > 5
        self.wv = made_up()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo over one source file, with made-up vectors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "source_files", lambda: iter([np.lib.__file__, demo.__file__]))
    monkeypatch.setattr(firth, "Word2Vec", Trainer, raising=False)


@pytest.mark.usefixtures("quick")
def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["demo", "-o", "map.png"]) == 0
    printed = capsys.readouterr().out
    assert "words/s" in printed
    assert "Nearest words:" in printed
    assert Path("map.png").exists()
    for wrong in ("map.gif", "no/folder/map.png"):
        assert main(["demo", "-o", wrong]) == 2


@pytest.mark.usefixtures("quick")
def test_command_without_matplotlib(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert main(["demo", "-o", "map.png"]) == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert not Path("map.png").exists()
