"""Recurrent layers, and cells that take one step."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.operations import recurrent
from firth.nn.operations.dropout import dropout as drop
from firth.nn.operations.shapes import cat, index, reshape
from firth.nn.tape import Tensor
from firth.nn.utils.rnn import PackedSequence


class _Recurrent(Module):
    """Layers of one or two directions; a subclass says how one of them is run."""

    _gates: ClassVar[int]
    _states: ClassVar[tuple[str, ...]] = ("h_0",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if input_size < 1 or hidden_size < 1 or num_layers < 1:
            raise ValueError(
                f"{name}: input_size, hidden_size and num_layers must be 1 or more, got "
                f"{input_size}, {hidden_size} and {num_layers}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout must be in [0, 1], got {dropout}")
        if dropout and num_layers == 1:
            raise ValueError(f"{name}: dropout is between layers, but num_layers is 1")
        if proj_size:
            raise ValueError(f"{name}: proj_size must be 0, projections are not supported")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional = bidirectional
        self._names: list[list[str]] = []
        width = self._gates * hidden_size
        for layer in range(num_layers):
            wide = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            shapes = [(width, wide), (width, hidden_size), (width,), (width,)]
            names = []
            for end in ("", "_reverse")[: 1 + bidirectional]:
                kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if bias else 2]
                for kind, shape in zip(kinds, shapes, strict=False):
                    name = f"{kind}_l{layer}{end}"
                    _add(self, name, shape, hidden_size, dtype)
                    names.append(name)
            self._names.append(names)

    def _weights(self, layer: int) -> list[Tensor | None]:
        found: list[Tensor | None] = [getattr(self, name) for name in self._names[layer]]
        if self.bias:
            return found
        return [w for i in range(0, len(found), 2) for w in (found[i], found[i + 1], None, None)]

    def _layer(
        self, input: Tensor, states: list[Tensor | None], layer: int, lengths: Any
    ) -> tuple[Tensor, ...]:
        raise NotImplementedError(f"{type(self).__name__} has no _layer")

    def _run(
        self, input: Any, states: list[Tensor | None], lengths: Any
    ) -> tuple[Any, list[Tensor]]:
        """The output of the last layer, packed where the input is, and the last states of all."""
        name, directions = type(self).__name__, 1 + self.bidirectional
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError(f"{name}: lengths must be None, a packed sequence has its own")
            steps = input.lengths
            output, last_states = self._run(input.laid(self.batch_first), states, steps)
            return PackedSequence(output, steps, self.batch_first), last_states
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: input must have 2 or 3 axes, the last of {self.input_size}, got shape "
                f"{input.shape}"
            )
        batch = () if input.ndim == 2 else (input.shape[0 if self.batch_first else 1],)
        shape = (self.num_layers * directions, *batch, self.hidden_size)
        for label, state in zip(self._states, states, strict=True):
            if state is None:
                continue
            if not isinstance(state, (Tensor, np.ndarray)):
                raise TypeError(f"{name}: {label} must be a tensor, got {type(state).__name__}")
            if state.shape != shape:
                raise ValueError(f"{name}: {label} must have shape {shape}, got {state.shape}")
        last = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                input = drop(input, self.dropout, self.training)
            own = slice(layer * directions, (layer + 1) * directions)
            mine = states
            if self.num_layers > 1:
                mine = [None if s is None else index(s, own) for s in states]
            input, *new = self._layer(input, mine, layer, lengths)
            last.append(new)
        return input, [x[0] if len(x) == 1 else cat(x) for x in zip(*last, strict=True)]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += ", bias=False"
        if self.batch_first:
            text += ", batch_first=True"
        if self.dropout:
            text += f", dropout={self.dropout}"
        if self.bidirectional:
            text += ", bidirectional=True"
        return text


def _add(module: Module, name: str, shape: tuple[int, ...], size: int, dtype: Any) -> None:
    """A parameter that is uniform within 1 / sqrt(size), as PyTorch has it."""
    parameter = Parameter(np.empty(shape, dtype or np.float32))
    bound = 1 / math.sqrt(size)
    init.uniform_(parameter, -bound, bound)
    module.register_parameter(name, parameter)


class RNN(_Recurrent):
    """Layers of h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    nonlinearity : "tanh" or "relu"
    bias : bool
    batch_first : bool
        Whether inputs and outputs are (B, T, ...) and not (T, B, ...); states never are.
    dropout : float
        Of what goes from layer to layer, in training.
    bidirectional : bool
    dtype : float32 or float64

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_ih_l0_reverse, ... : Parameter
        Shapes (H, I), (H, H), (H,), (H,), and inputs of D H in layers behind the first; uniform
        within 1 / sqrt(H) at first.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first,
            dropout=dropout, bidirectional=bidirectional, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    def _layer(
        self, input: Tensor, states: list[Tensor | None], layer: int, lengths: Any
    ) -> tuple[Tensor, ...]:
        return recurrent.rnn(
            input, states[0], self._weights(layer), activation=self.nonlinearity,
            lengths=lengths, batch_first=self.batch_first,
        )  # fmt: skip

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | ArrayLike | None = None,
    ) -> tuple[Any, Tensor]:
        """Output and last states.

        Parameters
        ----------
        input : Tensor, shape (T, B, I), (B, T, I) where batch_first, or (T, I)
            Or a `firth.nn.utils.rnn.PackedSequence`; then output is one, too.
        hx : Tensor, shape (layers D, B, H), or (layers D, H), optional
            First states, else zeros; layer by layer, each direction in turn.
        lengths : array_like of int, shape (B,), optional
            Steps of each sequence, which need no order; behind them output is 0.

        Returns
        -------
        output : Tensor, shape (T, B, D H), as input lies
            Of the last layer.
        h_n : Tensor, as hx
        """
        output, (h_n,) = self._run(input, [hx], lengths)
        return output, h_n


class GRU(_Recurrent):
    """Layers of gated recurrent units (Cho et al., arXiv:1406.1078), as torch.nn.GRU.

    For each step t, with the logistic function s:

        r = s(W_ir x + b_ir + W_hr h + b_hr)
        z = s(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h = (1 - z) n + z h

    As in PyTorch r multiplies the sum of n, not the state. Parameters, attributes and errors are
    those of `RNN`, without ``nonlinearity``; weights and biases have 3 H rows, for r, z and n.
    """

    _gates = 3

    def _layer(
        self, input: Tensor, states: list[Tensor | None], layer: int, lengths: Any
    ) -> tuple[Tensor, ...]:
        return recurrent.gru(
            input, states[0], self._weights(layer), lengths=lengths, batch_first=self.batch_first
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | ArrayLike | None = None,
    ) -> tuple[Any, Tensor]:
        """Output and last states; see `RNN.forward`."""
        output, (h_n,) = self._run(input, [hx], lengths)
        return output, h_n


class LSTM(_Recurrent):
    """Layers of long short-term memory (Hochreiter and Schmidhuber, 1997).

    As torch.nn.LSTM, with the forget gate f of Gers. For each step t, with the logistic function s:

        i = s(W_ii x + b_ii + W_hi h + b_hi),    f = s(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg), o = s(W_io x + b_io + W_ho h + b_ho)
        c = f c + i g,                           h = o tanh(c)

    Parameters, attributes and errors are those of `RNN`, without ``nonlinearity``; weights and
    biases have 4 H rows, for i, f, g and o. ``proj_size`` must be 0: projections are not supported.
    """

    _gates = 4
    _states = ("h_0", "c_0")

    def _layer(
        self, input: Tensor, states: list[Tensor | None], layer: int, lengths: Any
    ) -> tuple[Tensor, ...]:
        return recurrent.lstm(
            input, states, self._weights(layer), lengths=lengths, batch_first=self.batch_first
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | ArrayLike | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Output and last states (h_n, c_n); hx is (h_0, c_0). See `RNN.forward`."""
        output, (h_n, c_n) = self._run(input, [None, None] if hx is None else list(hx), lengths)
        return output, (h_n, c_n)


class _Cell(Module):
    """One step of one layer: a sequence of length 1."""

    _gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        width = self._gates * hidden_size
        _add(self, "weight_ih", (width, input_size), hidden_size, dtype)
        _add(self, "weight_hh", (width, hidden_size), hidden_size, dtype)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, None)
            if bias:
                _add(self, name, (width,), hidden_size, dtype)

    def _step(
        self, function: Any, input: Tensor, *states: Tensor | None, **options: Any
    ) -> list[Tensor]:
        """Last states of a layer's function, as (B, H), or (H,)."""
        sequence = reshape(input, (1, *input.shape))
        first = [None if s is None else reshape(s, (1, *s.shape)) for s in states]
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        _, *last = function(sequence, first if len(first) > 1 else first[0], weights, **options)
        return [reshape(s, s.shape[1:]) for s in last]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of an `RNN`, h' = f(W_ih x + b_ih + W_hh h + b_hh), as torch.nn.RNNCell.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
    nonlinearity : {"tanh", "relu"}
        f. Another name is a ValueError when the cell is called.
    dtype : float32 or float64

    Attributes
    ----------
    weight_ih : Parameter, shape (H, I)
    weight_hh : Parameter, shape (H, H)
    bias_ih, bias_hh : Parameter, shape (H,), or None
        All uniform within 1 / sqrt(H) at first.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state.

        Parameters
        ----------
        input : Tensor, shape (B, I), or (I,)
        hx : Tensor, shape (B, H), or (H,), optional
            The state; zeros by default.

        Returns
        -------
        Tensor, shape (B, H), or (H,)

        Raises
        ------
        ValueError
            A shape does not fit.
        TypeError
            Input or state has another dtype than the weights.
        """
        return self._step(recurrent.rnn, input, hx, activation=self.nonlinearity)[0]


class GRUCell(_Cell):
    """One step of a `GRU`, which has the formula, as torch.nn.GRUCell.

    Input x (B, I) and state h (B, H), or (I,) and (H,); returns the next state, of h's shape.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
    dtype : float32 or float64

    Attributes
    ----------
    weight_ih : Parameter, shape (3 H, I)
    weight_hh : Parameter, shape (3 H, H)
    bias_ih, bias_hh : Parameter, shape (3 H,), or None
        Rows for r, z and n; all uniform within 1 / sqrt(H) at first.
    """

    _gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state (B, H) or (H,); arguments and errors as of `RNNCell.forward`."""
        return self._step(recurrent.gru, input, hx)[0]


class LSTMCell(_Cell):
    """One step of an `LSTM`, which has the formula, as torch.nn.LSTMCell.

    Input x (B, I) and states (h, c), (B, H) each, or (I,) and (H,); returns the next (h, c).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
    dtype : float32 or float64

    Attributes
    ----------
    weight_ih : Parameter, shape (4 H, I)
    weight_hh : Parameter, shape (4 H, H)
    bias_ih, bias_hh : Parameter, shape (4 H,), or None
        Rows for i, f, g and o; all uniform within 1 / sqrt(H) at first.
    """

    _gates = 4

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The next states (h, c), (B, H) or (H,) each.

        Those before are ``hx``, such a pair, or zeros; input and errors as of `RNNCell.forward`.
        """
        h, c = self._step(recurrent.lstm, input, *(hx or (None, None)))
        return h, c
