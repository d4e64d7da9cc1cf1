"""Pictures of classifiers of two features: their ``plot``, and `Trace.animate`; matplotlib."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.optional import needs

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
_GRID = 300  # points on a side at which classes are asked for


def plot(self: Any, X: Any, y: Any) -> Any:
    """Draw samples of two features and where the classes meet.

    Parameters
    ----------
    X : array_like (n_samples, 2)
    y : array_like (n_samples,)
        Their classes, those of `fit`.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it; ``.savefig("boundary.png")`` saves it.

    Raises
    ------
    ValueError
        Not fitted, another number of features than two, a class that is none of `fit`'s, or tables
        of labels.
    ImportError
        matplotlib is missing; the message says how to install it.
    """
    self._check_fitted("classes_", "plot")
    points = np.asarray(self._like_fitted(X), np.float64)
    labels = np.asarray(y)
    if points.shape[1] != 2:
        raise ValueError(f"plot: X must have 2 features, got {points.shape[1]}")
    if labels.shape != points.shape[:1] or not np.isin(labels, self.classes_).all():
        raise ValueError(f"plot: y must be one of {self.classes_.tolist()} for each row of X")
    figure, axes = _axes(points, getattr(self, "feature_names_in_", ("x1", "x2")))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    across, up = np.meshgrid(np.linspace(left, right, _GRID), np.linspace(low, high, _GRID))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the grid's features have no names
        winners = self.predict(np.column_stack([across.ravel(), up.ravel()]))
    if winners.ndim != 1:
        raise ValueError("plot: the model predicts tables of labels, a picture shows one class")
    for place, label in enumerate(self.classes_):
        colour = _COLOURS[place % len(_COLOURS)]
        share = (winners == label).reshape(across.shape).astype(float)
        axes.contourf(across, up, share, levels=[0.5, 1], colors=[colour], alpha=0.15)
        axes.scatter(*points[labels == label].T, color=colour, s=60, zorder=3, label=str(label))
    if len(getattr(self, "coef_", ())) == 1:
        axes.plot(*_line(self.coef_[0], self.intercept_[0], axes), color="#222222")
    axes.legend()
    return figure


def animate(self: Any) -> Any:
    """The line moving step by step, for a trace of samples with two features.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        ``.save("and.gif")`` saves it, ``.to_jshtml()`` is for notebooks. The first frame shows the
        weights at the start, each further one a step: its sample has a ring, which is red where it
        was wrong.

    Raises
    ------
    ValueError
        Another number of features than two.
    ImportError
        matplotlib is missing; the message says how to install it.
    """
    if len(self.coef) != 2:
        raise ValueError(f"animate: samples must have 2 features, got {len(self.coef)}")
    animation = needs("matplotlib.animation", "animate")
    points = np.array([step.x for step in self.steps])
    targets = np.array([step.target for step in self.steps])
    figure, axes = _axes(points, ("x1", "x2"))
    for target in (0, 1):
        axes.scatter(*points[targets == target].T, color=_COLOURS[target], s=60, label=str(target))
    axes.legend()
    (line,) = axes.plot([], [], color="#222222")
    ring = axes.scatter([], [], s=260, facecolors="none", linewidths=2)

    def draw(frame: int) -> list[Any]:
        w1, w2, b = self._weights(frame - 1)
        line.set_data(*_line(np.array([w1, w2]), b, axes))
        text = "start"
        if frame:
            step = self.steps[frame - 1]
            ring.set_offsets([step.x])
            ring.set_edgecolor("#d62728" if step.error else "#2ca02c")
            text = (
                f"epoch {step.epoch}: z = {step.z:.6g}, output {step.output}, target {step.target}"
            )
        axes.set_title(f"{text}\nw = ({w1:.6g}, {w2:.6g}), b = {b:.6g}")
        return [line, ring]

    return animation.FuncAnimation(figure, draw, frames=len(self.steps) + 1, interval=600)


def _axes(points: NDArray[Any], names: Any) -> tuple[Any, Any]:
    """A figure with room around points (n, 2), and its axes."""
    module = needs("matplotlib.figure", "plot")
    needs("matplotlib.backends.backend_agg", "plot").FigureCanvasAgg(
        figure := module.Figure(figsize=(6, 5), dpi=120, layout="constrained")
    )
    axes = figure.add_subplot()
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.25 * np.where(high > low, high - low, 1)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    axes.set_xlabel(names[0], parse_math=False)
    axes.set_ylabel(names[1], parse_math=False)
    return figure, axes


def _line(w: NDArray[Any], b: float, axes: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two points of w.x + b = 0 at the edges of the picture; none where w is 0."""
    if not w.any():
        return np.empty(0), np.empty(0)
    if abs(w[1]) >= abs(w[0]):
        x = np.array(axes.get_xlim())
        return x, -(w[0] * x + b) / w[1]
    y = np.array(axes.get_ylim())
    return -(w[1] * y + b) / w[0], y
