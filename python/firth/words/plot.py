"""Pictures of word vectors: a map of words on which every label can be read.

`plot` is a method of `KeyedVectors`; `principal_axes` and `label` serve the demo too. Needs
matplotlib, and umap-learn for ``method="umap"``. D = dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.optional import needs
from firth.words.vectors import KEY

if TYPE_CHECKING:
    from firth.words.keyedvectors import KeyedVectors

_SEEDS, _NEAR = 9, 6  # words that a picture of nothing in particular begins with, and near each
_FREQUENT = 2000  # keys among which these are chosen
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf",
            "#7f7f7f", "#bcbd22")  # fmt: skip


def plot(
    self: KeyedVectors,
    words: Sequence[Any] | None = None,
    method: Literal["pca", "umap"] = "pca",
    *,
    analogy: Sequence[Any] | None = None,
    topn: int | None = None,
    seed: int = 0,
) -> Any:
    """Draw words as points of a plane, near one another where their vectors are.

    Parameters
    ----------
    words : list of keys, or one key, optional
        Each is drawn in bold in a colour of its own, with its nearest words in the same colour. By
        default some frequent words that are far from one another.
    method : {"pca", "umap"}
        The two directions in which the vectors vary most, or UMAP (which keeps neighbours).
    analogy : (a, b, c), optional
        Draw a : b as c : d instead, where d is the nearest word to a - b + c, as
        ``("king", "man", "woman")`` with its parallelogram; ``words`` join the picture.
    topn : int, optional
        Neighbours of each word [as many as can be read].
    seed : int
        Of UMAP.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it; ``.savefig("words.png")`` or ``.svg`` saves it.

    Raises
    ------
    KeyError
        A word is missing.
    ValueError
        Less than three words, or vectors that are not finite; an analogy of other than three
        different words; another method.
    ImportError
        matplotlib or umap-learn is missing; it says how to get it.
    """
    if method not in ("pca", "umap"):
        raise ValueError(f"plot: method must be 'pca' or 'umap', got {method!r}")
    if not len(self):
        raise ValueError("plot: at least three words are needed, the vectors have none")
    if isinstance(words, KEY):
        words = [words]
    if analogy is not None and (len(analogy) != 3 or len(set(analogy)) != 3):
        raise ValueError(f"plot: analogy must be three different words, got {analogy!r}")
    matplotlib = needs("matplotlib.figure", "plot")
    backend = needs("matplotlib.backends.backend_agg", "plot")
    corners: list[Any] = []
    title = "Words that are used alike stand near one another"
    if analogy is not None:
        a, b, c = analogy
        nearest = self.most_similar([a, c], [b], topn=1)
        if not nearest:
            raise ValueError(f"plot: there is no word near {a} - {b} + {c}")
        d = nearest[0][0]
        corners, title = [a, b, d, c], f"{a} - {b} + {c} = {d}"
        asked = [*corners, *(words or [])]
    else:
        asked = list(dict.fromkeys(words if words is not None else _sample(self)))
        title = ", ".join(map(str, words)) + " and their neighbours" if words else title
    if topn is None:
        topn = 0 if corners else int(np.clip(60 // max(1, len(asked)), 2, 12))
    colour = {word: _COLOURS[place % len(_COLOURS)] for place, word in enumerate(asked)}
    if corners:
        colour |= dict.fromkeys(corners, "#222222")
    for word, near in zip(asked, self.most_similar_batch(asked, topn=topn), strict=True):
        for other, _ in near:
            colour.setdefault(other, colour[word])
    shown = list(colour)
    if len(shown) < 3:
        raise ValueError(f"plot: at least three words are needed, got {len(shown)}")
    unit = np.stack([self.get_vector(word, norm=True) for word in shown])
    strange = [word for word, row in zip(shown, unit, strict=True) if not np.isfinite(row).all()]
    if strange:
        raise ValueError(f"plot: the vectors of some words are not finite numbers: {strange[:5]}")
    if method == "umap":
        points = _umap(unit, seed)
    else:
        # The axes of an analogy are those of its four words.
        points = principal_axes(unit, len(corners) or len(unit))

    figure = matplotlib.Figure(figsize=(10, 7.5), dpi=120, layout="constrained")
    canvas: Any = backend.FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bold = [word in asked for word in shown]
    lines = np.zeros((0, 2))  # points on lines, which labels keep off
    x, y = points.T
    sizes = [60 if one else 22 for one in bold]
    axes.scatter(x, y, s=sizes, color=list(colour.values()), zorder=3)
    if corners:
        (king, man, queen, woman), across = points[:4], "#1f77b4"
        for start, end in ((man, king), (woman, queen)):
            axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#d62728",
                          "lw": 2, "shrinkA": 7, "shrinkB": 7})  # fmt: skip
        share = np.linspace(0, 1, 200)[:, None]
        ends = ((man, king), (woman, queen), (man, woman), (king, queen))
        lines = np.concatenate([start + share * (end - start) for start, end in ends])
        for start, end in ends[2:]:
            axes.plot(*zip(start, end, strict=True), ls="--", lw=1.2, color=across, zorder=1)
    axes.set_title(title, fontsize=14)
    axes.set_axis_off()
    axes.margins(0.12)
    canvas.draw()  # settles the layout, which the sizes of the labels depend on
    label(axes, canvas, points, [str(word) for word in shown], list(colour.values()), bold, lines)
    figure.set_layout_engine("none")
    return figure


def _sample(self: KeyedVectors) -> list[Any]:
    """Frequent words that are far from one another: each the farthest from those before it."""
    frequent = [
        key
        for key in self.index_to_key[:_FREQUENT]
        if not isinstance(key, str) or (key.isalpha() and len(key) > 3)
    ] or self.index_to_key[:_FREQUENT]
    unit = np.stack([self.get_vector(key, norm=True) for key in frequent])
    finite = np.isfinite(unit).all(axis=1)
    frequent = [key for key, good in zip(frequent, finite, strict=True) if good]
    if not frequent:
        return []
    unit = unit[finite]
    # Words without close neighbours make no picture: of each the third nearest must be near.
    near = np.partition(unit @ unit.T, -min(4, len(unit)), axis=1)[:, -min(4, len(unit))]
    inside = np.flatnonzero(near >= np.median(near))
    closest, chosen = np.full(len(unit), -1.0), [int(inside[0])]
    while len(chosen) < min(_SEEDS, len(inside)):
        closest = np.maximum(closest, unit @ unit[chosen[-1]])
        chosen.append(int(inside[np.argmin(closest[inside])]))
    return [frequent[row] for row in chosen]


def _umap(rows: NDArray[Any], seed: int) -> NDArray[Any]:
    umap = needs("umap", 'plot: method="umap"', "umap-learn")
    neighbours = min(15, len(rows) - 1)
    reducer = umap.UMAP(
        n_neighbors=neighbours, metric="cosine", init="random", random_state=seed, n_jobs=1
    )
    points: NDArray[Any] = np.asarray(reducer.fit_transform(rows), np.float64)
    return points


def principal_axes(rows: NDArray[Any], count: int | None = None) -> NDArray[Any]:
    """Coordinates (N, 2) of rows (N, D) along the two directions in which they vary most.

    With ``count``, in which the first so many vary most.
    """
    centred = rows - rows[:count].mean(axis=0)
    _, _, directions = np.linalg.svd(centred[:count], full_matrices=False)
    # The sign of a direction is arbitrary; this choice makes the picture the same each time.
    largest = np.abs(directions[:2]).argmax(axis=1)
    directions[:2] *= np.sign(directions[[0, 1], largest])[:, None]
    coordinates: NDArray[Any] = centred @ directions[:2].T
    return coordinates


def label(
    axes: Any,
    canvas: Any,
    points: NDArray[Any],
    words: Sequence[str],
    colours: Sequence[str],
    bold: Sequence[bool] | None = None,
    lines: NDArray[Any] | None = None,
) -> None:
    """Write each word beside its point, at the place that covers the fewest points and words.

    ``lines`` (N, 2) are further points to keep off.
    """
    ring = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    places = [(far * dx, far * dy) for far in (1, 2.5, 4, 6, 9, 13) for dx, dy in ring]
    gap = 6 * canvas.figure.dpi / 72
    dots = axes.transData.transform(points)
    taken = [np.column_stack([dots - gap / 2, dots + gap / 2])]  # x0 y0 x1 y1
    if lines is not None and len(lines):
        on_lines = axes.transData.transform(lines)
        taken.append(np.column_stack([on_lines - 1, on_lines + 1]))
    for (x, y), word, colour, strong in zip(
        dots, words, colours, bold or [False] * len(words), strict=True
    ):
        text = axes.text(
            0, 0, word, transform=None, color=colour, va="bottom", parse_math=False,
            fontsize=13 if strong else 10, fontweight="bold" if strong else "normal",
        )  # fmt: skip
        extent = text.get_window_extent(canvas.get_renderer())
        boxes = []
        for dx, dy in places:
            left = x + dx * gap + (np.sign(dx) - 1) * extent.width / 2
            bottom = y + dy * gap + (np.sign(dy) - 1) * extent.height / 2
            boxes.append([left, bottom, left + extent.width, bottom + extent.height])
        rest = np.concatenate(taken)
        place = min(range(len(boxes)), key=lambda one: _overlaps(np.array(boxes[one]), rest))
        best = boxes[place]
        text.set_transform(axes.transData)
        text.set_position(axes.transData.inverted().transform(best[:2]))
        if place >= len(ring):  # not beside its point: a line leads there
            near = np.clip((x, y), best[:2], best[2:])
            ends = axes.transData.inverted().transform([(x, y), near])
            axes.plot(*ends.T, color=colour, lw=0.6, alpha=0.6, zorder=1)
        taken.append(np.array([best]))


def _overlaps(box: NDArray[Any], others: NDArray[Any]) -> int:
    """How many of the others (N, 4) share area with the box; all are x0, y0, x1, y1."""
    apart = (box[:2] >= others[:, 2:]) | (box[2:] <= others[:, :2])
    return int((~apart.any(axis=1)).sum())
