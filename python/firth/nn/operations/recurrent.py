r"""Recurrent layers over whole sequences: RNN, GRU and LSTM, in one or both directions.

What the three have in common. A layer reads x_1 ... x_T and has a state h, of H numbers:

    h_t = step(a_t, h_{t-1}),    a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh,    y_t = h_t.

Backward. h_t has an effect on the loss by y_t, and by all later steps through h_{t+1}; so the
gradient by it is known when that step's is, and the steps are walked from the last to the first:

    dh_t = dy_t + (what step t+1 gives back).

The gradient by the sums, da_t, is the cell's own (see `Rnn`, `Gru`, `Lstm`). The sums are those of
a linear layer, so each step gives W_hh^T da_t back to h_{t-1}, and with the rows of all steps and
sequences beneath each other,

    dx = dA W_ih,  dW_ih = dA^T X,  dW_hh = dA^T H_before,  db_ih = db_hh = sum of the rows of dA.

That h is multiplied by W_hh^T at every step is why gradients of a long past vanish or explode in
an RNN. The other direction is the same from x_T to x_1, with weights of its own.

A sequence that is over (t >= its length) does nothing: h and c stay, y is 0, gradients by y are
not read, and those by the states go past. In the reverse direction it begins at its own end.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from firth.nn.operations import activation as activations
from firth.nn.tape import Array, Operation, Spec, Tensor, apply_all, check_values


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), by e^-|x|, which cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Recurrent(Operation):
    """The walk along the steps; a subclass is a cell.

    Inputs: x (T, B, I), or (B, T, I) where batch_first, or (T, I) of a single sequence; lengths
    (B) of int64 or None; the first states (D, B, H), or (D, H), or None for zeros: h, of an LSTM
    c too; for each of D directions weight_ih (G H, I), weight_hh (G H, H), bias_ih and bias_hh
    (G H) or None, for a cell of G gates.

    Outputs: y (T, B, D H), as x lies; the last states.
    """

    batch_first: bool = False

    gates: ClassVar[int]
    """Parts of H numbers that the sums of a state have."""
    states: ClassVar[tuple[str, ...]] = ("h",)
    keeps: ClassVar[tuple[int, ...]]
    """The arrays of each direction that forward keeps, in multiples of H."""

    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1, 3, 4, 7, 8)

    @abc.abstractmethod
    def step(self, a: Array, hidden: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        """New states and what is kept, of the two parts of the sums: (B, G H) each, (B, H)."""

    @abc.abstractmethod
    def step_backward(
        self, saved: list[Array], gradients: list[Array]
    ) -> tuple[Array, Array, list[Array]]:
        """Gradients by the two parts of the sums and, but for the product, by the states."""

    def options(self) -> tuple[float, ...]:
        return (self.batch_first,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        count = len(self.states)
        x, lengths, states, weights = (
            inputs[0],
            inputs[1],
            inputs[2 : 2 + count],
            inputs[2 + count :],
        )
        name = self.name
        if len(weights) not in (4, 8):
            raise ValueError(f"{name}: want 4 weights for each of 1 or 2 directions, got {weights}")
        directions = len(weights) // 4
        if len(x.shape) not in (2, 3):
            raise ValueError(f"{name}: input must have 2 or 3 axes, got shape {x.shape}")
        if len(weights[1].shape) != 2:
            raise ValueError(f"{name}: weight_hh must have 2 axes, got shape {weights[1].shape}")
        size = weights[1].shape[1]
        wide = self.gates * size
        shapes = [(wide, x.shape[-1]), (wide, size), (wide,), (wide,)]
        labels = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        for i, weight in enumerate(weights):
            if weight is None and i % 4 > 1:
                continue
            if weight is None or weight.shape != shapes[i % 4]:
                got = None if weight is None else weight.shape
                raise ValueError(
                    f"{name}: {labels[i % 4]} must have shape {shapes[i % 4]}, got {got}"
                )
        for bias_ih, bias_hh in (weights[2:4], weights[6:8])[:directions]:
            if (bias_ih is None) != (bias_hh is None):
                raise ValueError(f"{name}: bias_ih and bias_hh must both be there, or both be None")
        batch = () if len(x.shape) == 2 else (x.shape[0 if self.batch_first else 1],)
        if lengths is not None and (not batch or lengths.shape != batch):
            raise ValueError(f"{name}: lengths must have shape {batch}, got {lengths.shape}")
        state = (directions, *batch, size)
        for label, given in zip(self.states, states, strict=True):
            if given is not None and given.shape != state:
                raise ValueError(f"{name}: {label}_0 must have shape {state}, got {given.shape}")
        lead = x.shape[:-1]
        outputs = [Spec((*lead, directions * size))] + [Spec(state)] * count
        return outputs, [Spec((*lead, k * size)) for k in self.keeps] * directions

    def _by_steps(self, x: Array) -> Array:
        """A view (T, B, ...) of an array as x lies."""
        if x.ndim == 2:
            return x[:, None]
        return x.swapaxes(0, 1) if self.batch_first else x

    def _over(self, lengths: Array | None, steps: int, batch: int) -> Array:
        """Which sequences are over at each step: (T, B, 1)."""
        if lengths is None:
            return np.zeros((steps, batch, 1), bool)
        return np.arange(steps)[:, None, None] >= lengths[:, None]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, lengths = inputs[:2]
        count = len(self.states)
        weights = inputs[2 + count :]
        specs, kept = self.results(*(None if a is None else Spec(a.shape) for a in inputs))
        y, *last = (np.empty(spec.shape, x.dtype) for spec in specs)
        saved = [np.empty(spec.shape, x.dtype) for spec in kept]
        sequences, size = self._by_steps(x), weights[1].shape[1]
        steps, batch = sequences.shape[:2]
        over = self._over(lengths, steps, batch)
        for d in range(len(weights) // 4):
            weight_ih, weight_hh, bias_ih, bias_hh = weights[4 * d : 4 * d + 4]
            out = self._by_steps(y)[..., d * size : (d + 1) * size]
            keep = [self._by_steps(a) for a in saved[d * len(self.keeps) :][: len(self.keeps)]]
            states = [
                np.zeros((batch, size), x.dtype) if a is None else a[d].reshape(batch, size)
                for a in inputs[2 : 2 + count]
            ]
            for t in range(steps)[:: -1 if d else 1]:
                a = sequences[t] @ weight_ih.T + (0 if bias_ih is None else bias_ih)
                hidden = states[0] @ weight_hh.T + (0 if bias_hh is None else bias_hh)
                new, values = self.step(a, hidden, states)
                states = [np.where(over[t], a, b) for a, b in zip(states, new, strict=True)]
                out[t] = np.where(over[t], 0, states[0])
                for array, value in zip(keep, values, strict=True):
                    array[t] = value
            for array, state in zip(last, states, strict=True):
                array[d] = state.reshape(array[d].shape)
        return [y, *last], saved

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, lengths = inputs[:2]
        count = len(self.states)
        weights = inputs[2 + count :]
        sequences, size = self._by_steps(x), weights[1].shape[1]
        steps, batch = sequences.shape[:2]
        over = self._over(lengths, steps, batch)
        shape = (len(weights) // 4, *([] if x.ndim == 2 else [batch]), size)
        first = [np.empty(shape, x.dtype) for _ in self.states]
        dx = np.zeros_like(x)
        by_weights: list[Array | None] = []
        for d in range(len(weights) // 4):
            weight_ih, weight_hh, bias, _ = weights[4 * d : 4 * d + 4]
            keep = [self._by_steps(a) for a in saved[d * len(self.keeps) :][: len(self.keeps)]]
            by_states = [
                np.zeros((batch, size), x.dtype) if g is None else g[d].reshape(batch, size)
                for g in gradients[1:]
            ]
            by_a = np.empty((steps, batch, self.gates * size), x.dtype)
            by_hidden = np.empty_like(by_a)
            for t in range(steps)[:: 1 if d else -1]:
                before = by_states
                now = list(before)
                if gradients[0] is not None:
                    dy = self._by_steps(gradients[0])[t][:, d * size : (d + 1) * size]
                    now[0] = now[0] + dy
                da, dhidden, by_states = self.step_backward([a[t] for a in keep], now)
                by_a[t], by_hidden[t] = np.where(over[t], 0, da), np.where(over[t], 0, dhidden)
                by_states[0] = by_states[0] + by_hidden[t] @ weight_hh
                by_states = [
                    np.where(over[t], a, b) for a, b in zip(before, by_states, strict=True)
                ]
            for array, gradient in zip(first, by_states, strict=True):
                array[d] = gradient.reshape(array[d].shape)
            into = self._by_steps(dx)
            into += by_a @ weight_ih
            rows, hidden_rows, x_rows, h_rows = (
                array.reshape(steps * batch, array.shape[2])
                for array in (by_a, by_hidden, sequences, keep[1])
            )
            by_weights += [
                rows.T @ x_rows,
                hidden_rows.T @ h_rows,
                None if bias is None else rows.sum(axis=0),
                None if bias is None else hidden_rows.sum(axis=0),
            ]
        by_first = [
            None if shape is None else g
            for shape, g in zip(inputs[2 : 2 + count], first, strict=True)
        ]
        return [dx, None, *by_first, *by_weights]


@dataclass(frozen=True)
class Rnn(Recurrent):
    """h_t = f(a_t) for f = tanh or relu.

    Backward: da = dh f'(a), with f' computed of f(a) = h.
    """

    activation: str = "tanh"

    name: ClassVar[str] = "rnn"
    gates: ClassVar[int] = 1
    keeps: ClassVar[tuple[int, ...]] = (1, 1)  # h, h before

    def options(self) -> tuple[float, ...]:
        return self.batch_first, activations.NUMBERS[self.activation]

    def step(self, a: Array, hidden: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        h = activations.function(a + hidden, self.activation)
        return [h], [h, states[0]]

    def step_backward(
        self, saved: list[Array], gradients: list[Array]
    ) -> tuple[Array, Array, list[Array]]:
        h, _ = saved
        da = gradients[0] * activations.gradient(None, h, self.activation)
        return da, da, [np.zeros_like(h)]


@dataclass(frozen=True)
class Gru(Recurrent):
    r"""Gates r (reset), z (update); n, the state that is offered (Cho et al., arXiv:1406.1078).

    With a and u the sums W_ih x + b_ih and W_hh h + b_hh, in three parts each:

        r = s(a_r + u_r),  z = s(a_z + u_z),  n = tanh(a_n + r u_n),  h' = (1 - z) n + z h,

    s the logistic function, s' = s (1 - s). (PyTorch's form: r multiplies u_n, and not h.)

    Backward. h' is linear in n, in z and in h, and n is a function of r u_n, so

        da_n = dh' (1 - z) (1 - n^2),   da_z = dh' (h - n) z (1 - z),   da_r = da_n u_n r (1 - r),
        du_r = da_r,  du_z = da_z,  du_n = da_n r,   dh = dh' z + W_hh^T du.

    The way by dh' z has no weights: with z near 1 the past is kept as it is.
    """

    name: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
    keeps: ClassVar[tuple[int, ...]] = (3, 1, 1)  # r, z, n; h before; u_n

    def step(self, a: Array, hidden: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        a_r, a_z, a_n = np.split(a, 3, axis=1)
        u_r, u_z, u_n = np.split(hidden, 3, axis=1)
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = np.tanh(a_n + r * u_n)
        return [(1 - z) * n + z * states[0]], [np.concatenate([r, z, n], 1), states[0], u_n]

    def step_backward(
        self, saved: list[Array], gradients: list[Array]
    ) -> tuple[Array, Array, list[Array]]:
        values, h, u_n = saved
        r, z, n = np.split(values, 3, axis=1)
        dh = gradients[0]
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * u_n * r * (1 - r)
        return np.concatenate([dr, dz, dn], 1), np.concatenate([dr, dz, dn * r], 1), [dh * z]


@dataclass(frozen=True)
class Lstm(Recurrent):
    r"""Gates i (input), f (forget), o (output); g, the values that are offered; a second state c.

    The sums have four parts, in this order (Hochreiter and Schmidhuber 1997, with Gers' f):

        i = s(a_i),  f = s(a_f),  g = tanh(a_g),  o = s(a_o),
        c' = f c + i g,   h' = o tanh(c'),

    s the logistic function, s' = s (1 - s).

    Backward. c' has an effect by h' and, through the next step, by dc':

        dc' += dh' o (1 - tanh(c')^2),
        da_i = dc' g i (1 - i),   da_f = dc' c f (1 - f),   da_g = dc' i (1 - g^2),
        da_o = dh' tanh(c') o (1 - o),   dc = dc' f,   dh = W_hh^T da.

    The way by dc' f has no weights: while f is near 1 gradients neither vanish nor explode.
    """

    name: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    keeps: ClassVar[tuple[int, ...]] = (4, 1, 1)  # i, f, g, o; h before; c before
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1, 4, 5, 8, 9)

    def step(self, a: Array, hidden: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        a_i, a_f, a_g, a_o = np.split(a + hidden, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * states[1] + i * g
        return [o * np.tanh(c), c], [np.concatenate([i, f, g, o], 1), *states]

    def step_backward(
        self, saved: list[Array], gradients: list[Array]
    ) -> tuple[Array, Array, list[Array]]:
        values, _, c = saved
        i, f, g, o = np.split(values, 4, axis=1)
        dh, dc = gradients
        tanh_c = np.tanh(f * c + i * g)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        da = np.concatenate(
            [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g),
             dh * tanh_c * o * (1 - o)], 1,
        )  # fmt: skip
        return da, da, [np.zeros_like(dh), dc * f]


def _lengths(name: str, lengths: Tensor | ArrayLike | None, steps: int) -> Array | None:
    if lengths is None:
        return None
    array = lengths.data if isinstance(lengths, Tensor) else np.asarray(lengths)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: lengths must be a list of whole numbers, got {array.dtype} of shape "
            f"{array.shape}"
        )
    array = np.ascontiguousarray(array, np.int64)
    check_values(array, functools.partial(_in_range, name, steps))
    return array


def _in_range(name: str, steps: int, lengths: Array) -> None:
    if lengths.size and not (lengths.min() >= 1 and lengths.max() <= steps):
        raise ValueError(
            f"{name}: lengths must be from 1 to {steps}, got {lengths.min()} to {lengths.max()}"
        )


def _run(
    operation: Recurrent,
    input: Tensor,
    states: Sequence[Tensor | None],
    weights: Sequence[Tensor | None],
    lengths: Tensor | ArrayLike | None,
) -> tuple[Tensor, ...]:
    steps = input.shape[1 if operation.batch_first and input.ndim == 3 else 0] if input.ndim else 0
    return apply_all(operation, input, _lengths(operation.name, lengths, steps), *states, *weights)


def rnn(
    input: Tensor,
    h_0: Tensor | None,
    weights: Sequence[Tensor | None],
    *,
    activation: str = "tanh",
    lengths: Tensor | ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """A layer of `Rnn` over whole sequences.

    Parameters
    ----------
    input : Tensor, shape (T, B, I), or (B, T, I) where batch_first, or (T, I)
    h_0 : Tensor, shape (D, B, H), or (D, H), optional
        The first states, else zeros.
    weights : sequence of Tensor
        For each of D directions, of which there are 1 or 2: weight_ih (H, I), weight_hh (H, H),
        bias_ih and bias_hh (H) or None.
    activation : "tanh" or "relu"
    lengths : array_like of int, shape (B,), optional
        Steps of each sequence, from 1 to T; what is behind is not read, and the output there is 0.
    batch_first : bool

    Returns
    -------
    output : Tensor, shape (T, B, D H), as input lies
    h_n : Tensor, shape (D, B, H), or (D, H)

    Raises
    ------
    ValueError
        Shapes do not fit, ``lengths`` are out of range, ``activation`` is another.
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f"rnn: activation must be 'tanh' or 'relu', got {activation!r}")
    output, h_n = _run(Rnn(batch_first, activation), input, [h_0], weights, lengths)
    return output, h_n


def gru(
    input: Tensor,
    h_0: Tensor | None,
    weights: Sequence[Tensor | None],
    *,
    lengths: Tensor | ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """A layer of `Gru` over whole sequences; as `rnn`, with weights of 3 H rows (r, z, n)."""
    output, h_n = _run(Gru(batch_first), input, [h_0], weights, lengths)
    return output, h_n


def lstm(
    input: Tensor,
    states: Sequence[Tensor | None] | None,
    weights: Sequence[Tensor | None],
    *,
    lengths: Tensor | ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer of `Lstm` over whole sequences; as `rnn`, with weights of 4 H rows (i, f, g, o).

    ``states`` are h_0 and c_0; what is returned is output, h_n and c_n.
    """
    output, h_n, c_n = _run(Lstm(batch_first), input, states or (None, None), weights, lengths)
    return output, h_n, c_n
