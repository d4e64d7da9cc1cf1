"""Recurrent operations: every backend against the page's NumPy, gradients, threads, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.modules import recurrent as modules
from firth.nn.operations.recurrent import Gru, Lstm, Recurrent, Rnn, gru, lstm, rnn
from firth.nn.tape import Spec, Tensor, bfloat16_products

CELLS: dict[str, Recurrent] = {
    "rnn": Rnn(), "relu": Rnn(activation="relu"), "gru": Gru(), "lstm": Lstm(),
}  # fmt: skip
FIRST = {name: type(cell)(True, *([cell.activation] if isinstance(cell, Rnn) else []))
         for name, cell in CELLS.items()}  # fmt: skip
"""The same with batch_first."""

# steps, sequences, inputs, states
SIZES = [(1, 1, 1, 1), (3, 2, 5, 7), (5, 9, 3, 17), (7, 13, 20, 33), (2, 3, 4, 130), (4, 0, 2, 3)]


def inputs(
    operation: Recurrent,
    size: tuple[int, int, int, int],
    dtype: type = np.float64,
    *,
    directions: int = 1,
    bias: bool = True,
    first: bool = True,
    lengths: bool = False,
) -> list[np.ndarray | None]:
    steps, batch, wide, n = size
    rng = np.random.default_rng(steps + 10 * n)
    lead = (batch, steps) if operation.batch_first else (steps, batch)
    given: list[np.ndarray | None] = [rng.normal(size=(*lead, wide))]
    given.append(np.resize([steps, 1, steps // 2 + 1], batch).astype(np.int64) if lengths else None)
    for _ in operation.states:
        given.append(rng.normal(size=(directions, batch, n)) if first else None)
    gates = operation.gates * n
    for _ in range(directions):
        given += [rng.normal(size=(gates, wide)) / np.sqrt(wide)]
        given += [rng.normal(size=(gates, n)) / np.sqrt(n)]
        given += [rng.normal(size=gates), rng.normal(size=gates)] if bias else [None, None]
    return [x if x is None or x.dtype == np.int64 else x.astype(dtype) for x in given]


def compare(operation: Recurrent, given: list[np.ndarray | None], size: tuple[int, ...]) -> None:
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    steps, _, wide, n = size
    eps = np.finfo(given[0].dtype).eps
    # A state errs by some eps per term of its sums, and hands its error on with a factor of about
    # 2 a step at most, since rows of W_hh have length 1. Gradients are sums over steps and rows.
    error = 4 * eps * (wide + n + 8) * 2**steps
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=error, atol=error)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            scale = 1 + np.abs(want).max(initial=0)
            np.testing.assert_allclose(got, want, rtol=error, atol=4 * error * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_cells(backend, cell, size, dtype):
    compare(CELLS[cell], inputs(CELLS[cell], size, dtype), size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_lengths_and_directions(backend, cell, lengths, directions, dtype):
    for operation in (CELLS[cell], FIRST[cell]):
        given = inputs(operation, SIZES[2], dtype, directions=directions, lengths=lengths)
        compare(operation, given, SIZES[2])
        given = inputs(
            operation, SIZES[1], dtype, directions=directions, first=False, bias=False,
            lengths=lengths,
        )  # fmt: skip
        compare(operation, given, SIZES[1])


@pytest.mark.parametrize("cell", CELLS)
def test_a_single_sequence(backend, cell):
    operation = CELLS[cell]
    given = inputs(operation, (5, 1, 3, 6), directions=2)
    alone = [given[0][:, 0], None, *(x[:, 0] for x in given[2 : 2 + len(operation.states)])]
    alone += given[2 + len(operation.states) :]
    outputs, gradients = checks.run(operation, given)
    outputs_alone, gradients_alone = checks.run(operation, alone)
    for a, b in zip(outputs, outputs_alone, strict=True):
        np.testing.assert_array_equal(np.squeeze(a, 1), b)
    for a, b in zip(gradients, gradients_alone, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a.reshape(b.shape), b)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell, lengths):
    for operation in (CELLS[cell], FIRST[cell]):
        for size in SIZES[1:3]:
            checks.check_gradients(operation, inputs(operation, size, lengths=lengths))
        checks.check_gradients(
            operation, inputs(operation, SIZES[1], lengths=lengths, directions=2, bias=False)
        )


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_behind_the_end_is_not_read(backend, cell):
    operation = CELLS[cell]
    given = inputs(operation, (6, 3, 4, 5), directions=2, lengths=True)
    other = [None if x is None else x.copy() for x in given]
    for b, length in enumerate(given[1]):
        other[0][length:, b] = 99
    outputs, gradients = checks.run(operation, given)
    outputs_other, gradients_other = checks.run(operation, other)
    for a, b in zip(outputs + gradients, outputs_other + gradients_other, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a, b)
    for b, length in enumerate(given[1]):
        assert not outputs[0][length:, b].any()
        assert not gradients[0][length:, b].any()
        # a shorter sequence is what it is alone
        cut = [given[0][:length, b : b + 1], None]
        cut += [x[:, b : b + 1] for x in given[2 : 2 + len(operation.states)]]
        alone, _ = checks.run(operation, cut + given[2 + len(operation.states) :])
        np.testing.assert_allclose(outputs[0][:length, b], alone[0][:, 0], rtol=1e-12)
        for a, c in zip(outputs[1:], alone[1:], strict=True):
            np.testing.assert_allclose(a[:, b], c[:, 0], rtol=1e-12)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_bits_do_not_depend_on_threads(cell, bfloat16):
    before = _native.num_threads()
    for size in [(3, 1, 40, 300), (3, 7, 40, 150), (4, 19, 30, 97), (2, 31, 65, 66)]:
        for directions in (1, 2):
            given = inputs(CELLS[cell], size, np.float32, directions=directions)
            found = []
            try:
                for threads in (1, 2, 3):
                    firth.set_num_threads(threads)
                    with bfloat16_products(bfloat16):
                        outputs, gradients = checks.run(CELLS[cell], given)
                    found.append(outputs + [g for g in gradients if g is not None])
            finally:
                firth.set_num_threads(before)
            for other in found[1:]:
                for a, b in zip(found[0], other, strict=True):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_products(backend, cell):
    size = (5, 9, 40, 33)
    given = inputs(CELLS[cell], size, np.float32, directions=2)
    with bfloat16_products():
        outputs, gradients = checks.run(CELLS[cell], given)
    wanted, wanted_gradients = checks.reference(CELLS[cell], given)
    # Operands are rounded by 2^-9 of themselves at most. Errors of terms are independent, so a sum
    # errs by about 2^-9 of the length of its terms, which is of order 1; 8 of it over 5 steps. The
    # gradient of relu jumps at 0: where a sum is so near to it, about 1 of 2^8, all of it is wrong.
    error = 2 * 2**-4 if cell == "relu" else 8 * 2**-8
    for got, want in zip(outputs, wanted, strict=True):
        assert np.abs(got - want).max() <= 8 * 2**-8
    for got, want in zip(gradients, wanted_gradients, strict=True):
        if want is not None:
            assert np.linalg.norm(got - want) <= error * np.linalg.norm(want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gates_are_accurate_everywhere(backend, dtype):
    """An RNN and an LSTM of one step with no weights: tanh and the logistic function alone."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=500) * s for s in (1e-3, 0.3, 1, 5, 20)]).astype(dtype)
    x = np.concatenate([x, np.array([0, -0.0, 0.3, -0.3, 1e-30, 100, -80, np.inf], dtype)])
    n = len(x)
    none, square = np.zeros((n, 1), dtype), np.zeros((n, n), dtype)
    wide = x.astype(np.longdouble)
    (y, *_), _ = checks.run(
        Rnn(), [np.zeros((1, 1, 1), dtype), None, None, none, square, x, np.zeros(n, dtype)]
    )
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y[0, 0], np.tanh(wide), rtol=3 * eps)
    # of a GRU with n = 0 what is left of h = 1 is z
    zero = np.zeros(n, dtype)
    bias = np.concatenate([zero, x, zero])
    (y, *_), _ = checks.run(
        Gru(),
        [np.zeros((1, 1, 1), dtype), None, np.ones((1, 1, n), dtype), np.tile(none, (3, 1)),
         np.tile(square, (3, 1)), bias, np.zeros(3 * n, dtype)],
    )  # fmt: skip
    np.testing.assert_allclose(y[0, 0], 1 / (1 + np.exp(-wide)), rtol=4 * eps, atol=1e-38)


def test_nan_stays(backend):
    given = inputs(Lstm(), SIZES[1])
    given[0][1, 1, 0] = np.nan
    outputs, _ = checks.run(Lstm(), given)
    assert np.isnan(outputs[0][1:, 1]).all()
    assert not np.isnan(outputs[0][:, 0]).any()


def weights(gates: int, size: int, inputs: int) -> list[Tensor]:
    shapes = [(gates * size, inputs), (gates * size, size), (gates * size,), (gates * size,)]
    return [Tensor(np.zeros(shape)) for shape in shapes]


def test_functions_and_bad_input():
    x = Tensor(np.ones((5, 2, 3)))
    w = weights(4, 6, 3)
    y, h, c = lstm(x, None, w)
    assert (y.shape, h.shape, c.shape) == ((5, 2, 6), (1, 2, 6), (1, 2, 6))
    y, h = gru(x, None, weights(3, 6, 3) * 2, batch_first=True, lengths=[2, 1, 1, 1, 2])
    assert (y.shape, h.shape) == ((5, 2, 12), (2, 5, 6))
    y, h = rnn(Tensor(np.ones((5, 3))), Tensor(np.ones((1, 6))), weights(1, 6, 3))
    assert (y.shape, h.shape) == ((5, 6), (1, 6))
    state = Tensor(np.ones((1, 2, 6)))
    with pytest.raises(ValueError, match="lstm: input must have 2 or 3 axes, got shape"):
        lstm(Tensor(np.ones(3)), None, w)
    with pytest.raises(ValueError, match=r"lstm: weight_ih must have shape \(24, 4\), got"):
        lstm(Tensor(np.ones((5, 2, 4))), None, w)
    with pytest.raises(ValueError, match=r"gru: weight_ih must have shape \(18, 3\), got \(24, 3"):
        gru(x, None, w)
    with pytest.raises(ValueError, match="weight_hh must have 2 axes"):
        lstm(x, None, [w[0], w[2], w[2], w[3]])
    with pytest.raises(ValueError, match=r"lstm: bias_hh must have shape \(24,\)"):
        lstm(x, None, [w[0], w[1], w[2], w[0]])
    with pytest.raises(ValueError, match="lstm: bias_ih and bias_hh must both be there"):
        lstm(x, None, [w[0], w[1], w[2], None])
    with pytest.raises(ValueError, match="lstm: want 4 weights for each of 1 or 2 directions"):
        lstm(x, None, w[:3])
    with pytest.raises(ValueError, match=r"lstm: c_0 must have shape \(1, 2, 6\), got \(1, 6\)"):
        lstm(x, (state, Tensor(np.ones((1, 6)))), w)
    with pytest.raises(ValueError, match=r"lstm: lengths must have shape \(2,\), got \(3,\)"):
        lstm(x, None, w, lengths=[1, 2, 3])
    with pytest.raises(ValueError, match="lstm: lengths must be from 1 to 5, got 1 to 6"):
        lstm(x, None, w, lengths=[1, 6])
    with pytest.raises(ValueError, match="lstm: lengths must be from 1 to 2, got 0 to 1"):
        lstm(x, None, w, lengths=[0, 1, 1, 1, 1], batch_first=True)
    with pytest.raises(ValueError, match="lstm: lengths must be a list of whole numbers"):
        lstm(x, None, w, lengths=[1.5, 2])
    with pytest.raises(ValueError, match="rnn: activation must be 'tanh' or 'relu', got 'gelu'"):
        rnn(x, None, weights(1, 6, 3), activation="gelu")


@pytest.mark.parametrize("cell", CELLS)
def test_native_checks(cell):
    """What would read or write where nothing is."""
    operation = CELLS[cell]
    count = len(operation.states)
    given = inputs(operation, SIZES[1], directions=2, lengths=True)
    arrays = list(given)
    specs, kept = operation.results(*(None if x is None else Spec(x.shape) for x in arrays))
    outputs, saved = [np.empty(s.shape) for s in specs], [np.empty(s.shape) for s in kept]
    into = [None if x is None or x.dtype == np.int64 else np.empty_like(x) for x in arrays]

    def call(way, change=None, where=0, value=None, options=None):
        options = operation.options() if options is None else options
        lists = [list(arrays), list(outputs), list(saved)]
        if way == "backward":
            lists += [list(outputs), list(into)]
        if change is not None:
            lists[change][where] = value
        more = {"add": 0} if way == "backward" else {}
        getattr(_native.nn, way)(active_level(), operation.name, options, *lists, f64=True, **more)

    for way in ("forward", "backward"):
        call(way)
        cases = [
            (0, 0, np.empty((3, 2))), (0, 0, np.empty((3, 2, 4))), (0, 0, np.empty(3)),
            (0, 0, None), (0, 0, np.empty((4, 2, 5))), (0, 0, np.empty((3, 2, 5), np.int64)),
            (0, 1, np.empty(2)), (0, 1, np.empty(3, np.int64)), (0, 1, (2,)),
            (0, 2, np.empty((1, 2, 7))), (0, 2, np.empty((2, 2, 6))),
            (0, 2 + count, np.empty((6, 5))), (0, 3 + count, np.empty((7, 7, 1))),
            (0, 3 + count, (operation.gates * 7, 7)), (0, 3 + count, None),
            (0, 4 + count, None), (0, 5 + count, np.empty(6)), (0, 8 + count, np.empty(6)),
            (1, 0, np.empty((3, 2, 7))), (1, 1, np.empty((2, 2, 6))), (1, 1, None),
            (2, 0, np.empty((3, 2, 6))), (2, 0, (3, 2, operation.gates * 7)),
            (2, 1, np.empty((3, 2, 8))), (2, 1, np.empty((3, 2, 7), np.int64)), (2, 0, None),
        ]  # fmt: skip
        if way == "forward":
            cases += [
                (0, 0, (3, 2, 5)), (0, 2, (2, 2, 7)), (0, 2 + count, (operation.gates * 7, 5)),
                (0, 4 + count, (operation.gates * 7,)), (1, 0, (3, 2, 14)), (1, 1, (2, 2, 7)),
            ]  # fmt: skip
        else:
            cases += [(0, 0, (3, 2, 5)), (0, 2 + count, (operation.gates * 7, 5))]
        for change, where, value in cases:
            with pytest.raises(ValueError, match=r"operation: .* not (fit|have)"):
                call(way, change, where, value)
        with pytest.raises(ValueError, match="do not fit"):
            call(way, options=(0.0, 0.0, 0.0))
        if cell in ("rnn", "relu"):
            with pytest.raises(ValueError, match="do not fit"):
                call(way, options=(0.0, 2.0))
        arrays.pop()
        with pytest.raises(ValueError, match=r"not (fit|have)"):
            call(way)
        arrays.append(given[-1])


def test_modules():
    x = Tensor(np.ones((5, 2, 3), np.float32))
    output, (h_n, c_n) = modules.LSTM(3, 6, 2, bidirectional=True)(x)
    assert (output.shape, h_n.shape, c_n.shape) == ((5, 2, 12), (4, 2, 6), (4, 2, 6))
    np.testing.assert_array_equal(h_n.data[2], output.data[-1, :, :6])
    np.testing.assert_array_equal(h_n.data[3], output.data[0, :, 6:])
    output, h_n = modules.GRU(3, 6, batch_first=True, dtype=np.float64)(
        Tensor(np.ones((5, 2, 3))), lengths=Tensor(np.array([1, 2, 2, 1, 2]))
    )
    assert not output.data[0, 1].any()
    np.testing.assert_array_equal(h_n.data[0, 0], output.data[0, 0])
    assert modules.RNN(3, 6, bias=False)(x, None)[0].shape == (5, 2, 6)
    h, c = modules.LSTMCell(3, 6)(Tensor(np.ones(3, np.float32)))
    assert (h.shape, c.shape) == ((6,), (6,))


def test_bad_arguments_of_modules():
    with pytest.raises(ValueError, match="LSTM: proj_size must be 0"):
        modules.LSTM(3, 6, proj_size=2)
    with pytest.raises(ValueError, match="GRU: dropout is between layers, but num_layers is 1"):
        modules.GRU(3, 6, dropout=0.1)
    with pytest.raises(ValueError, match=r"GRU: dropout must be in \[0, 1\], got 2"):
        modules.GRU(3, 6, 2, dropout=2)
    with pytest.raises(ValueError, match="input_size, hidden_size and num_layers must be 1 or"):
        modules.GRU(3, 0)
    with pytest.raises(ValueError, match="RNN: nonlinearity must be 'tanh' or 'relu', got 'elu'"):
        modules.RNN(3, 6, nonlinearity="elu")
    with pytest.raises(ValueError, match="RNN: input must have 2 or 3 axes, the last of 3, got"):
        modules.RNN(3, 6)(Tensor(np.ones((5, 2, 4))))
    x, h, c = (Tensor(np.ones(s, np.float32)) for s in ((5, 2, 3), (2, 2, 6), (1, 2, 6)))
    with pytest.raises(ValueError, match=r"LSTM: c_0 must have shape \(2, 2, 6\), got \(1, 2, 6\)"):
        modules.LSTM(3, 6, 2)(x, (h, c))
    with pytest.raises(ValueError, match="GRU: proj_size must be 0"):
        modules.GRU(3, 6, proj_size=2)
