"""What goes on in a network: sizes of its parts, of their results, of gradients; as data, pictures.

The pictures are matplotlib's: notebooks show them, ``.savefig("name.png")`` saves them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firth import kernels
from firth.nn import tape
from firth.nn.module import Module
from firth.nn.tape import Array, Call, Shape, Tensor, Traced, tensors_of
from firth.optional import needs

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")


@dataclass
class Row:
    """A module in a `Summary`; its numbers include those of the modules in it.

    Attributes
    ----------
    path : str
        As in ``named_modules``; "" for the whole.
    kind : str
        Its class.
    shapes : list of tuple
        Of its results.
    parameters : int
    operations : int
        Multiply-adds of products of matrices, in one forward pass.
    """

    path: str
    kind: str
    shapes: list[Shape]
    parameters: int
    operations: int


@dataclass
class Summary:
    """The modules of a network as a table: ``print(summary(...))``.

    Attributes
    ----------
    rows : list of Row
        The whole network first.
    trained : int
        Parameters that require a gradient.
    """

    rows: list[Row]
    trained: int

    @property
    def parameters(self) -> int:
        """All parameters, each once."""
        return self.rows[0].parameters

    @property
    def operations(self) -> int:
        """Multiply-adds of products of matrices in one forward pass."""
        return self.rows[0].operations

    def __str__(self) -> str:
        table = [("module", "output", "parameters", "multiply-adds")]
        for row in self.rows:
            depth = row.path.count(".") + 1 if row.path else 0
            name = row.path.rpartition(".")[2]
            title = "  " * depth + (f"{name}: {row.kind}" if name else row.kind)
            shapes = ", ".join(str(shape) for shape in row.shapes) or "-"
            table.append((title, shapes, f"{row.parameters:,}", f"{row.operations:,}"))
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in table
        ]
        lines.insert(1, "-" * len(lines[0]))
        if self.trained != self.parameters:
            lines.append(f"{self.trained:,} of {self.parameters:,} parameters are trained")
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


def summary(model: Module, *inputs: Any) -> Summary:
    """Shapes of results, numbers of parameters and of multiply-adds, for each module.

    Parameters
    ----------
    model : Module
    *inputs : array_like or Tensor
        An example of what `forward` gets. Nothing is changed; dropout is off.
    """
    calls: list[Traced] = []
    shapes: dict[int, list[Shape]] = {}
    operations: dict[int, int] = {}

    def watch(module: Module, arguments: Any, named: Any, forward: Any) -> Any:
        begin = len(calls)
        result = forward(*arguments, **named)
        shapes[id(module)] = [x.shape for x in tensors_of(result)]
        count = sum(multiply_adds(call) for call in calls[begin:] if isinstance(call, Call))
        operations[id(module)] = operations.get(id(module), 0) + count
        return result

    # the tape lists calls of native code
    with kernels.use("native"), _watching(model, watch), tape.trace(calls):
        model(*_inputs(model, inputs))
    rows = [
        Row(
            path,
            type(module).__name__,
            shapes.get(id(module), []),
            sum(p.data.size for p in module.parameters()),
            operations.get(id(module), 0),
        )
        for path, module in model.named_modules()
    ]
    return Summary(rows, sum(p.data.size for p in model.parameters() if p.requires_grad))


def multiply_adds(call: Call) -> int:
    """Multiply-adds of the products of matrices of an operation, forward."""
    inputs, outputs = ([_shape(x) for x in arrays] for arrays in (call.inputs, call.outputs))
    first, weight = inputs[0], inputs[1] if len(inputs) > 1 else ()
    out = math.prod(outputs[0]) if outputs else 0
    if call.gradients is not None:
        return 0
    if call.name in ("linear", "linear_cross_entropy"):
        return math.prod(first[:-1]) * math.prod(weight)
    if call.name == "projections":
        return sum(math.prod(shape) for shape in outputs) * first[-1]
    if call.name == "matmul":
        return out * first[-1]
    if call.name == "convolution":
        return out * math.prod(weight[1:])
    if call.name in ("rnn", "gru", "lstm"):  # input, lengths, states, weights and biases
        weights = inputs[4 if call.name == "lstm" else 3 :]
        return math.prod(first[:-1]) * sum(math.prod(w) for w in weights if len(w) == 2)
    if call.name == "attention":  # queries, keys, values; options: heads, key_heads, batch_first
        sequences_first = call.options[0] and not call.options[2]
        keys = weight[0 if sequences_first else -2]
        return (math.prod(first) + out) * keys
    return 0


def _shape(x: Array | Shape | None) -> Shape:
    return () if x is None else x.shape if isinstance(x, np.ndarray) else x


def activations(model: Module, *inputs: Any) -> dict[str, Array]:
    """Results of the modules that hold no others, by path, of one forward pass.

    Dropout is off. Of a module that is called several times it is the last result.
    """
    found: dict[str, Array] = {}
    paths = {id(module): path for path, module in model.named_modules()}

    def watch(module: Module, arguments: Any, named: Any, forward: Any) -> Any:
        result = forward(*arguments, **named)
        if not module._modules and (tensors := tensors_of(result)):
            found[paths[id(module)]] = tensors[0].data
        return result

    with _watching(model, watch):
        model(*_inputs(model, inputs))
    return {path: found[path] for path in paths.values() if path in found}


def gradients(model: Module) -> dict[str, float]:
    """Root mean squares of the gradients of parameters, by name; those without are left out.

    A dict in the order of ``model.named_parameters()``, to ask for after ``backward``.
    """
    return {
        name: float(np.sqrt(np.mean(np.square(p.grad, dtype=np.float64))))
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.size
    }


def gradients_by_step(layer: Module, input: ArrayLike) -> Array:
    """How much the last result of a recurrent layer depends on its input at each step.

    Parameters
    ----------
    layer : Module
        As RNN, GRU and LSTM: its result, or the first of several, is (T, B, H), or (B, T, H) where
        it has ``batch_first``. Gradients of its parameters are left as they are.
    input : array_like, shape (T, B, I) or (B, T, I)

    Returns
    -------
    ndarray, shape (T,)
        Norms of the gradients by the steps of the input, of a random direction of the last result,
        root mean squares over the sequences. They fall where gradients vanish.
    """
    axis = int(bool(getattr(layer, "batch_first", False)))
    kept = [(p, p.grad, p.requires_grad) for p in layer.parameters()]
    (x,) = _inputs(layer, [input])
    x = Tensor(x.data, requires_grad=True)
    try:
        for p, _, _ in kept:
            p.requires_grad = False
        result = tensors_of(layer(x))[0]
        direction = np.zeros(result.shape)
        last = np.random.default_rng(0).normal(size=(result.shape[1 - axis], result.shape[2]))
        last /= np.linalg.norm(last, axis=1, keepdims=True)
        direction[(slice(None),) * axis + (-1,)] = last
        result.backward(direction)
    finally:
        for p, gradient, requires in kept:
            p.grad, p.requires_grad = gradient, requires
    assert x.grad is not None
    wide = np.moveaxis(x.grad.astype(np.float64), axis, 0)
    norms: Array = np.sqrt((wide**2).sum(axis=2).mean(axis=1))
    return norms


def plot_history(history: Any) -> Any:
    """Losses of the epochs of a `History`; below them metrics, and learning rates that change.

    A matplotlib Figure.
    """
    panels: list[tuple[str, dict[str, list[float]]]] = [
        ("loss", {"training": history.loss, "validation": history.validation_loss})
    ]
    if history.metrics:
        panels.append(("metrics", history.metrics))
    if len(set(history.lr)) > 1:
        panels.append(("learning rate", {"": history.lr}))
    heights = [3.0] + [1.5] * (len(panels) - 1)
    figure = _figure(7, 1.2 + sum(heights))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
    for axes, (title, curves) in zip(all_axes[:, 0], panels, strict=True):
        for i, (name, values) in enumerate(curves.items()):
            if values:
                epochs = range(1, len(values) + 1)
                axes.plot(epochs, values, color=_COLOURS[i % len(_COLOURS)], label=name, lw=1.8,
                          marker="o" if len(values) == 1 else None)  # fmt: skip
        axes.set_ylabel(title)
        _plain(axes)
        if any(name and values for name, values in curves.items()):
            axes.legend(frameon=False, fontsize=9)
    top = all_axes[0, 0]
    values = [v for v in history.loss + history.validation_loss if np.isfinite(v)]
    if values and min(values) > 0 and max(values) > 20 * min(values):
        top.set_yscale("log")
    if history.best_epoch is not None and history.validation_loss:
        best = history.validation_loss[history.best_epoch]
        top.axvline(history.best_epoch + 1, color="#999999", lw=0.8, ls=":")
        top.set_title(f"Lowest validation loss: {best:.4g}, epoch {history.best_epoch + 1}",
                      fontsize=11)  # fmt: skip
    bottom = all_axes[-1, 0]
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(
        needs("matplotlib.ticker", "plot").MaxNLocator("auto", integer=True)
    )
    return figure


def plot_gradients(model: Module) -> Any:
    """Sizes of the gradients of all parameters, layer by layer: after ``backward``.

    Raises
    ------
    ValueError
        No parameter has a gradient.
    """
    found = gradients(model)
    if not found:
        raise ValueError("plot_gradients: no parameter has a gradient, call backward first")
    names, values = list(found), np.array(list(found.values()))
    figure = _figure(7, 1.3 + 0.26 * len(names))
    axes = figure.subplots()
    rows = np.arange(len(names))
    positive = values[values > 0]
    # whole powers of 10
    least = 10.0 ** np.floor(np.log10(positive.min() / 2)) if positive.size else 1e-12
    most = 10.0 ** np.ceil(np.log10(positive.max() * 1.1)) if positive.size else 1.0
    weights = np.array([name.rpartition(".")[2].startswith("weight") for name in names])
    for chosen, colour, kind in (
        (weights, _COLOURS[0], "weights"),
        (~weights, _COLOURS[4], "others"),
    ):
        if chosen.any():
            ends = np.maximum(values[chosen], least)
            axes.hlines(rows[chosen], least, ends, color=colour, lw=2)
            axes.scatter(ends, rows[chosen], color=colour, s=28, zorder=3, label=kind)
    for row, value in zip(rows, values, strict=True):
        if value == 0:
            axes.annotate("0", (least, row), xytext=(7, 0), textcoords="offset points",
                          va="center", fontsize=9)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(least, most)
    axes.set_yticks(rows, names, fontsize=9)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_xlabel("root mean square of the gradient")
    axes.set_title("Gradients, from the input (top) to the output", fontsize=11)
    _plain(axes)
    return figure


def plot_gradients_by_step(norms: Mapping[str, ArrayLike]) -> Any:
    """Curves of `gradients_by_step` of several layers: which of them vanish or explode.

    ``norms`` has one (T,) by each name of the legend. A matplotlib Figure; zeros are gaps.
    """
    figure = _figure(7, 4)
    axes = figure.subplots()
    for i, (name, values) in enumerate(norms.items()):
        row = np.asarray(values, np.float64)
        steps = np.arange(len(row)) - len(row) + 1
        shown = np.where(row > 0, row, np.nan)  # 0 has no place on a logarithmic axis
        axes.plot(steps, shown, color=_COLOURS[i % len(_COLOURS)], label=name, lw=1.8)
    axes.set_yscale("log")
    axes.set_xlabel("step of the input, before the last")
    axes.set_ylabel("norm of the gradient")
    axes.set_title("What the last result still depends on", fontsize=11)
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def plot_activations(model: Module, *inputs: Any) -> Any:
    """How the results of each module are spread, in one forward pass.

    Layers whose results are all 0, or all at the ends of tanh, do not learn.
    """
    found = {
        path: values[np.isfinite(values)].astype(np.float64)
        for path, values in activations(model, *inputs).items()
        if values.size
    }
    found = {path: values for path, values in found.items() if values.size}
    if not found:
        raise ValueError("plot_activations: there are no finite results")
    kinds = {path: type(module).__name__ for path, module in model.named_modules()}
    figure = _figure(7, 1.2 + 0.55 * len(found))
    axes = figure.subplots()
    ends = [np.quantile(values, [0.005, 0.995]) for values in found.values()]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    if low == high:
        low, high = low - 1, high + 1
    edges = np.linspace(low, high, 81)
    middles = (edges[1:] + edges[:-1]) / 2
    for row, values in enumerate(found.values()):
        counts, _ = np.histogram(np.clip(values, low, high), edges)
        heights = 0.85 * counts / counts.max()
        axes.fill_between(middles, row, row - heights, step="mid", color=_COLOURS[0], alpha=0.6,
                          lw=0)  # fmt: skip
        axes.axhline(row, color="#bbbbbb", lw=0.6)
        note = f"mean {values.mean():.2g}, spread {values.std():.2g}"
        if (zeros := float((values == 0).mean())) >= 0.005:
            note += f", {zeros:.0%} are 0"
        axes.annotate(note, (1.01, row - 0.25), xycoords=("axes fraction", "data"), fontsize=9)
    axes.set_yticks(
        range(len(found)), [f"{path}: {kinds[path]}" if path else kinds[path] for path in found],
        fontsize=9,
    )  # fmt: skip
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(len(found) - 0.9, -1)
    axes.set_xlim(low, high)
    axes.set_title("Results of the modules, from the input (top) to the output", fontsize=11)
    _plain(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def plot_filters(weight: Any, most: int = 64) -> Any:
    """Kernels of a convolution as pictures: what each filter looks for.

    Parameters
    ----------
    weight : Tensor or array_like, shape (O, C, kh, kw)
        One row of pictures for each of the first filters where C is not 1 or 3; with 3 channels
        each filter is one picture in colours.
    most : int
        Pictures at most.
    """
    try:
        array = np.asarray(weight.data if isinstance(weight, Tensor) else weight, np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            "plot_filters: weight must be that of a convolution, as conv.weight, "
            f"got {type(weight).__name__}"
        ) from None
    if array.ndim != 4 or not array.size:
        raise ValueError(f"plot_filters: weight must have shape (O, C, kh, kw), got {array.shape}")
    filters, channels = array.shape[:2]
    if channels == 3:
        count = min(filters, most)
        columns = int(np.ceil(np.sqrt(count)))
        pictures = [np.moveaxis(one, 0, -1) for one in array[:count]]
    elif channels == 1:
        count = min(filters, most)
        columns = int(np.ceil(np.sqrt(count)))
        pictures = [one[0] for one in array[:count]]
    else:
        columns = min(channels, max(1, most // min(filters, 8)))
        pictures = [one for row in array[: max(1, most // columns)] for one in row[:columns]]
    rows = -(-len(pictures) // columns)
    figure = _figure(max(2.5, 0.8 * columns + 1), max(2.0, 0.8 * rows + 0.6))
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    greatest = float(abs(array).max()) or 1.0
    image = None
    for axes, picture in zip(all_axes, pictures, strict=False):
        if picture.ndim == 3:
            axes.imshow(0.5 + picture / (2 * greatest), interpolation="nearest")
        else:
            image = axes.imshow(picture, cmap="RdBu_r", vmin=-greatest, vmax=greatest,
                                interpolation="nearest")  # fmt: skip
    for axes in all_axes:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in all_axes[len(pictures) :]:
        axes.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=all_axes.tolist(), shrink=0.7)
    title = f"{filters} filters of {channels} channel{'s' * (channels > 1)}"
    if channels not in (1, 3):
        figure.supylabel("filters", fontsize=9)
        figure.supxlabel("channels", fontsize=9)
        if len(pictures) < filters * channels:
            title = f"{rows} of {filters} filters, {columns} of {channels} channels"
    elif len(pictures) < filters:
        title = f"{len(pictures)} of {title}"
    figure.suptitle(title, fontsize=11)
    return figure


def _figure(width: float, height: float) -> Any:
    module = needs("matplotlib.figure", "a plot")
    needs("matplotlib.backends.backend_agg", "a plot")
    return module.Figure(figsize=(width, height), dpi=120, layout="constrained")


def _plain(axes: Any) -> None:
    """No frame on the right and on top."""
    axes.spines[["top", "right"]].set_visible(False)


def _inputs(model: Module, inputs: Any) -> list[Any]:
    """Real numbers as tensors of the model's dtype, others as arrays."""
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    return [Tensor(x.astype(dtype, copy=False)) if x.dtype.kind == "f" else x for x in arrays]


@contextlib.contextmanager
def _watching(model: Module, watch: Any) -> Iterator[None]:
    """Inside of the block the model is in use, and ``watch(module, ...)`` calls each forward."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    own = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            forward = module.forward
            module.__dict__["training"] = False
            module.__dict__["forward"] = (
                lambda *arguments, _module=module, _forward=forward, **named: watch(
                    _module, arguments, named, _forward
                )
            )
        with tape.no_grad():
            yield
    finally:
        for module, mode, before in zip(modules, modes, own, strict=True):
            module.__dict__["training"] = mode
            del module.__dict__["forward"]
            if before is not None:
                module.__dict__["forward"] = before
