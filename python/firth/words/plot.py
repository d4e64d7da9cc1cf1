"""Pictures of word vectors: a map of words on which every label can be read.

`plot` is a method of `KeyedVectors`; `figure_of`, `principal_axes` and `label` serve the demo too.
Needs matplotlib, and umap-learn for ``method="umap"``. D = dimensions.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.optional import needs
from firth.words.similarity import Similarity
from firth.words.vectors import KEY

_SEEDS, _NEAR = 9, 6  # words that the default picture shows, and neighbours of each
_FREQUENT = 2000  # keys among which these are chosen
_TITLE, _LONGEST = 60, 40  # characters of the words in a title, and of one word
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf",
            "#7f7f7f", "#bcbd22")  # fmt: skip


def plot(
    self: Similarity,
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
        Each is drawn in bold in a colour of its own, with its nearest words; a neighbour has the
        colour of the word that it is nearest to. By default some frequent words that are far from
        one another.
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
        matplotlib or umap-learn is missing; the message says how to install it.
    """
    if method not in ("pca", "umap"):
        raise ValueError(f"plot: method must be 'pca' or 'umap', got {method!r}")
    if not len(self):
        raise ValueError("plot: at least three words are needed, the vectors have none")
    if isinstance(words, KEY):
        words = [words]
    if analogy is not None and (len(analogy) != 3 or len(set(analogy)) != 3):
        raise ValueError(f"plot: analogy must be three different words, got {analogy!r}")
    figure, axes = figure_of(10, 7.5)
    corners: list[Any] = []
    title = "Words used in similar contexts are near one another"
    if analogy is not None:
        a, b, c = analogy
        nearest = self.most_similar([a, c], [b], topn=1)
        if not nearest:
            raise ValueError(f"plot: there is no word near {a} - {b} + {c}")
        d = nearest[0][0]
        corners, title = [a, b, d, c], f"{_name(a)} - {_name(b)} + {_name(c)} = {_name(d)}"
        asked = list(dict.fromkeys([*corners, *(words or [])]))
    else:
        asked = list(dict.fromkeys(words if words is not None else _sample(self)))
        title = f"The neighbours of {_listed(asked)}" if words else title
    if topn is None:
        topn = 0 if corners else int(np.clip(60 // max(1, len(asked)), 2, 12))
    lists = self.most_similar_batch(asked, topn=topn)
    shown = list(dict.fromkeys([*asked, *(word for near in lists for word, _ in near)]))
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
    palette = _palette(len(asked))
    palette[: len(corners)] = ["#222222"] * len(corners)
    # Each neighbour has the colour of the word that it is nearest to.
    owner = np.argmax(unit @ unit[: len(asked)].T, axis=1)
    owner[: len(asked)] = np.arange(len(asked))
    colours = [palette[one] for one in owner]

    bold = [place < len(asked) for place in range(len(shown))]
    lines = np.zeros((0, 2))  # points on lines, which labels keep off
    x, y = points.T
    axes.scatter(x, y, s=[60 if one else 22 for one in bold], color=colours, zorder=3)
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
    axes.set_title(title, fontsize=14, parse_math=False)
    axes.set_axis_off()
    axes.margins(0.12)
    label(axes, points, [_name(word) for word in shown], colours, bold, lines)
    width = axes.title.get_window_extent(figure.canvas.get_renderer()).width
    axes.title.set_fontsize(14 * min(1.0, 0.97 * figure.bbox.width / width))
    return figure


def _name(word: Any) -> str:
    """A word for display, truncated if it is longer than words of a language are."""
    text = str(word)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"


def _listed(words: Sequence[Any]) -> str:
    """Words as in a sentence, as many as a title has room for."""
    names, shown = [_name(word) for word in words], 0
    while shown < len(names) and len(", ".join(names[: shown + 1])) <= _TITLE:
        shown += 1
    rest = len(names) - shown
    if rest:
        more = f"{rest} {'more ' * (shown > 0)}word{'s' * (rest > 1)}"
        return " and ".join(filter(None, [", ".join(names[:shown]), more]))
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _palette(count: int) -> list[str]:
    """Distinct colours: well-known ones for a few words, evenly spaced hues for many."""
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    hues = (count + 1) // 2
    rgb = [
        colorsys.hls_to_rgb(place // 2 / hues, 0.25 + 0.17 * (place % 2), 0.8)
        for place in range(count)
    ]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in one) for one in rgb]


def _sample(self: Similarity) -> list[Any]:
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

    With ``count``, the directions in which the first ``count`` rows vary most.
    """
    centred = rows - rows[:count].mean(axis=0)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 2 - centred.shape[1])))
    _, _, directions = np.linalg.svd(centred[:count], full_matrices=False)
    # The sign of a direction is arbitrary; this choice makes the picture the same each time.
    largest = np.abs(directions[:2]).argmax(axis=1)
    directions[:2] *= np.sign(directions[[0, 1], largest])[:, None]
    coordinates: NDArray[Any] = centred @ directions[:2].T
    return coordinates


def figure_of(width: float, height: float) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes. ImportError where matplotlib is missing."""
    module = needs("matplotlib.figure", "plot")
    backend = needs("matplotlib.backends.backend_agg", "plot")
    figure = module.Figure(figsize=(width, height), dpi=120, layout="constrained")
    backend.FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def label(
    axes: Any,
    points: NDArray[Any],
    words: Sequence[str],
    colours: Sequence[str],
    bold: Sequence[bool] | None = None,
    lines: NDArray[Any] | None = None,
) -> None:
    """Write each word beside its point, inside the axes, where it covers the least.

    What is covered, by the word or by a line that leads to it, costs: other words and the legend
    most, then points and lines, and the distance. ``lines`` (N, 2) are further points to keep off.
    """
    figure, strong = axes.figure, bold or [False] * len(words)
    figure.canvas.draw()  # settles the layout, which the sizes of the labels depend on
    renderer = figure.canvas.get_renderer()
    gap = 6 * figure.dpi / 72
    near = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    between = [(a * x, b * y) for x, y in ((1, 0.5), (0.5, 1)) for a in (1, -1) for b in (1, -1)]
    far = (2.5, 4, 6, 9, 13, 18)
    steps = np.array(near + [(one * x, one * y) for one in far for x, y in near + between])
    distance = np.abs(steps).max(axis=1)
    frame = axes.get_window_extent(renderer).extents  # boxes are x0 y0 x1 y1, in pixels
    dots = axes.transData.transform(points)
    legend = axes.get_legend()
    written = [legend.get_window_extent(renderer).extents] if legend is not None else []
    marks = np.column_stack([dots - gap / 2, dots + gap / 2])
    on_lines = [np.zeros((0, 4))]  # of lines, some pixels apart
    if lines is not None and len(lines):
        on_lines.append(_around(axes.transData.transform(lines)))
    for dot, word, colour, one in zip(dots, words, colours, strong, strict=True):
        text = axes.text(
            0, 0, word, transform=None, color=colour, va="bottom", parse_math=False,
            fontsize=13 if one else 10, fontweight="bold" if one else "normal",
        )  # fmt: skip
        size = np.array(text.get_window_extent(renderer).size)
        corners = dot + steps * gap + (np.sign(steps) - 1) * size / 2
        corners = np.clip(corners, frame[:2], np.maximum(frame[2:] - size, frame[:2]))
        boxes = np.column_stack([corners, corners + size])
        ends = np.clip(dot, boxes[:, :2], boxes[:, 2:])  # where a line from the point arrives
        leads = np.abs(ends - dot).max(axis=1) > 1.5 * gap
        others = np.array(written).reshape(-1, 4)
        cost = distance / 6 + 60 * _covered(boxes, others) + 4 * _covered(boxes, marks)
        cost += 20 * _covered(boxes, np.concatenate(on_lines))
        best, least = 0, np.inf
        for place in np.argsort(cost, kind="stable"):
            total = cost[place]
            if total >= least:  # a line only adds to it
                break
            if leads[place]:
                on_line = _around(_between(dot, ends[place]))
                total += 30 * np.count_nonzero(_covered(others, on_line))
                total += np.count_nonzero(_covered(marks, on_line))
            if total < least:
                best, least = int(place), total
        text.set_transform(axes.transData)
        text.set_position(axes.transData.inverted().transform(corners[best]))
        if leads[best]:
            line = _between(dot, ends[best])
            axes.plot(
                *axes.transData.inverted().transform(line[[0, -1]]).T,
                color=colour, lw=0.6, alpha=0.6, zorder=1, scalex=False, scaley=False,
            )  # fmt: skip
            on_lines.append(_around(line))
        written.append(boxes[best])
    figure.set_layout_engine("none")


def _between(start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """Points on a line (N, 2), some pixels apart."""
    count = 2 + int(np.abs(end - start).max() / 4)
    return np.linspace(start, end, count)


def _around(points: NDArray[Any]) -> NDArray[Any]:
    """A small box around each point."""
    return np.column_stack([points - 1, points + 1])


def _covered(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    """How many of the others (M, 4) share area with each box (N, 4); all are x0, y0, x1, y1."""
    one, other = boxes[:, None], others[None]
    apart = (one[..., :2] >= other[..., 2:]) | (one[..., 2:] <= other[..., :2])
    count: NDArray[np.int64] = (~apart.any(axis=2)).sum(axis=1)
    return count
