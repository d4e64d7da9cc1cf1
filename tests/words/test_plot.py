"""Pictures of words: labels that do not overlap, and errors."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import KeyedVectors
from firth.cli import main
from firth.words.plot import principal_axes
from keyed import make


@pytest.mark.parametrize("words", [None, ["w1", "w2", "w3"]])
def test_labels_do_not_overlap(words: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = make(300, 20).plot(words)
    boxes = [
        text.get_window_extent(figure.canvas.get_renderer()).extents
        for text in figure.axes[0].texts
    ]
    assert len(boxes) > 20
    for place, one in enumerate(boxes):
        for other in boxes[:place]:
            assert (one[:2] >= other[2:] - 1).any() or (one[2:] <= other[:2] + 1).any()
    if words:
        bold = [text for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
        assert [text.get_text() for text in bold] == words


def longer(count: int, seed: int) -> KeyedVectors:
    """Random vectors of words of very different lengths."""
    kv, rng = KeyedVectors(20), np.random.default_rng(seed)
    words = [f"w{row}" + "o" * int(rng.integers(0, 60)) for row in range(count)]
    kv.add_vectors(words, rng.standard_normal((count, 20)))
    return kv


@pytest.mark.parametrize("asked", [1, 4, 20, 40])
def test_all_is_inside_the_picture(asked: int) -> None:
    pytest.importorskip("matplotlib")
    for seed in range(3):
        kv = longer(300, seed)
        figure = kv.plot(kv.index_to_key[:asked])
        axes, renderer = figure.axes[0], figure.canvas.get_renderer()
        for text in [*axes.texts, axes.title]:
            box = text.get_window_extent(renderer)
            assert len(text.get_text()) < 150
            assert box.x0 >= -1, text
            assert box.y0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert box.y1 <= figure.bbox.y1 + 1, text


def test_lines_to_labels_cross_no_words() -> None:
    pytest.importorskip("matplotlib")
    lines = crossed = 0
    for seed in range(3):
        kv, rng = KeyedVectors(20), np.random.default_rng(seed)
        rows = rng.standard_normal((300, 20)) + 2 * np.eye(20)[rng.integers(0, 3, 300)]
        kv.add_vectors([f"word{row}" for row in range(300)], rows)
        figure = kv.plot(kv.index_to_key[:20])
        axes, renderer = figure.axes[0], figure.canvas.get_renderer()
        boxes = np.array([text.get_window_extent(renderer).extents for text in axes.texts])
        for line in axes.lines:
            start, end = axes.transData.transform(line.get_xydata())
            on_line = start + np.linspace(0, 1, 200)[:, None] * (end - start)
            inside = (on_line[:, None] > boxes[:, :2] + 1) & (on_line[:, None] < boxes[:, 2:] - 1)
            lines, crossed = lines + 1, crossed + int(inside.all(axis=2).any(axis=0).sum())
    assert lines > 5
    assert crossed <= 1  # where points are crowded, the last ones find no free way


def test_a_neighbour_has_the_colour_of_the_nearest_word() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    kv = KeyedVectors(3)
    words = ["cat", "saw", "dog", "hammer", "file"]
    rows = [[1, 0.3, 0], [0, 1, 0], [1, 0.1, 0.2], [0.1, 1, 0.1], [0.2, 1, 0]]
    kv.add_vectors(words, np.array(rows))
    for asked in (["cat", "saw"], ["saw", "cat"]):
        figure = kv.plot(asked)
        colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
        assert colours["dog"] == colours["cat"] != colours["saw"]
        assert colours["hammer"] == colours["file"] == colours["saw"]
        drawn = figure.axes[0].collections[0].get_facecolors()
        assert len({matplotlib.colors.to_hex(one) for one in drawn}) == 2
    kv = make(300, 20)
    figure = kv.plot(kv.index_to_key[:20])
    bold = {text.get_color() for text in figure.axes[0].texts if text.get_fontweight() == "bold"}
    assert len(bold) == 20


@pytest.mark.parametrize(
    ("asked", "title"),
    [
        ("w1", "w1"),
        (["w1", "w2"], "w1 and w2"),
        (["w1", "w2", "w3"], "w1, w2 and w3"),
        ([f"w{row}" for row in range(10, 40)],
         "w10, w11, w12, w13, w14, w15, w16, w17, w18, w19, w20, w21 and 18 more words"),
    ],
)  # fmt: skip
def test_titles(asked: Any, title: str) -> None:
    pytest.importorskip("matplotlib")
    kv = make(100, 20)
    assert kv.plot(asked).axes[0].get_title() == f"The neighbours of {title}"
    assert "similar contexts" in kv.plot().axes[0].get_title()


def test_words_are_no_formulas() -> None:
    pytest.importorskip("matplotlib")
    kv = make(20, 5)
    kv.add_vectors(["$\\bad{", "$1$"], np.eye(5)[:2], {"count": np.array([1, 1])})
    figure = kv.plot(["$\\bad{", "$1$"])
    figure.savefig(io.BytesIO(), format="png")
    assert figure.axes[0].get_title() == "The neighbours of $\\bad{ and $1$"


def test_vectors_of_one_dimension() -> None:
    rows = np.array([[1.0], [2.0], [4.0]])
    points = principal_axes(rows)
    np.testing.assert_allclose(np.abs(points - points[0]), [[0, 0], [1, 0], [3, 0]])
    kv = KeyedVectors(1)
    kv.add_vectors(list("abc"), [[1], [2], [-1]])
    assert {text.get_text() for text in kv.plot(["a", "b", "c"]).axes[0].texts} == set("abc")


def test_analogy_and_what_is_refused() -> None:
    pytest.importorskip("matplotlib")
    kv = make(100, 20)
    kv["queen"] = kv["w1"] / np.linalg.norm(kv["w1"]) * 1.0
    figure = kv.plot(analogy=("w1", "w2", "w3"))
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert {"w1", "w2", "w3"} < shown
    with pytest.raises(KeyError, match="'x' not present"):
        kv.plot(["w1", "x"])
    with pytest.raises(ValueError, match="method must be"):
        kv.plot(method="tsne")
    with pytest.raises(ValueError, match="at least three"):
        kv.plot(["w1", "w2"], topn=0)
    for wrong in (("w1", "w1", "w2"), ("w1", "w2")):
        with pytest.raises(ValueError, match="analogy must be three different words, got"):
            kv.plot(analogy=wrong)
    with pytest.raises(ValueError, match="vectors have none"):
        KeyedVectors(3).plot()
    with pytest.raises(ValueError, match="no word near w0 - w1"):
        make(3, 5).plot(analogy=("w0", "w1", "w2"))
    assert kv.plot("w1").axes[0].get_title() == kv.plot(["w1"]).axes[0].get_title()
    kv["w2"] = np.full(20, np.nan)
    with pytest.raises(ValueError, match=r"not finite numbers: \['w2'\]"):
        kv.plot(["w1", "w2", "w3"])
    shown = {text.get_text() for text in kv.plot().axes[0].texts}
    assert "w2" not in shown
    kv.vectors[:] = np.nan
    kv.fill_norms(force=True)
    with pytest.raises(ValueError, match="at least three"):
        kv.plot()


def test_umap() -> None:
    """Three groups that touch nowhere stay apart in the plane."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("umap", reason="umap-learn is not installed: it brings Numba and SciPy")
    rng = np.random.default_rng(0)
    kv = KeyedVectors(20)
    centres = 10 * np.eye(20)[:3]
    words = [f"{group}{row}" for group in "abc" for row in range(12)]
    kv.add_vectors(words, np.repeat(centres, 12, axis=0) + rng.standard_normal((36, 20)) / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn's own
        figures = [kv.plot(["a0", "b0", "c0"], "umap", topn=11, seed=seed) for seed in (0, 0, 1)]
    points = [np.asarray(figure.axes[0].collections[0].get_offsets()) for figure in figures]
    np.testing.assert_array_equal(points[0], points[1])
    assert (points[0] != points[2]).any()
    names = [text.get_text() for text in figures[0].axes[0].texts]
    assert sorted(names) == sorted(words)
    for one in points:
        for row in range(36):
            far = np.linalg.norm(one - one[row], axis=1)
            near = {names[other][0] for other in np.argsort(far)[:12]}
            assert near == {names[row][0]}


def test_umap_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        make(20, 5).plot(method="umap")


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_command(tmp_path: Path, name: str, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    make(100, 20).save(tmp_path / "v.firth")
    out = str(tmp_path / name)
    assert main(["plot", str(tmp_path / "v.firth"), "w1", "w2", "-o", out]) == 0
    assert Path(out).read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert main(["plot", str(tmp_path / "v.firth"), "-o", "a.gif"]) == 2
    assert "must end in .png, .svg or .pdf" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "v.firth"), "missing", "-o", out]) == 2


def test_eval_command(tmp_path: Path, capsys: Any) -> None:
    make(100, 20).save(tmp_path / "v.firth")
    (tmp_path / "a").write_text(": some\nw1 w2 w3 w4\n")
    (tmp_path / "p").write_text("w1\tw2\t1\nw3\tw4\t2\nw5\tw6\t0\n")
    assert main(["eval", str(tmp_path / "v.firth"), "--analogies", str(tmp_path / "a"),
                 "--pairs", str(tmp_path / "p")]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "Spearman" in out
    assert "Total accuracy" in out
