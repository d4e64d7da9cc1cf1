"""What src/bind_nn.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth import _native
from firth.kernels import _dispatch

LINEAR = {
    "name": "linear", "options": (0.0, 0.0), "inputs": (zeros(2, 3), zeros(4, 3), zeros(4)),
    "outputs": (zeros(2, 4),), "saved": (), "f64": False,
}  # fmt: skip
BACKWARD = {
    **LINEAR, "output_gradients": (zeros(2, 4),),
    "input_gradients": (zeros(2, 3), zeros(4, 3), None), "add": 0,
}  # fmt: skip
FORTRAN = np.asfortranarray(zeros(2, 3))
FITS = "operation: arrays and options do not fit linear"


def read_only(array):
    array.flags.writeable = False
    return array


def with_inputs(*inputs):
    return {"inputs": inputs}


BAD = [
    ("name", {"name": "linea"}, KeyError, "operation: there is none named linea"),
    ("axes", with_inputs(zeros(1, 1, 1, 1, 1, 1), zeros(4, 3), None), ValueError,
     "operation: an array has too many axes"),
    ("type", with_inputs([[0.0]], zeros(4, 3), None), TypeError, "operation: want arrays"),
    ("order", with_inputs(FORTRAN, zeros(4, 3), None), ValueError,
     "operation: arrays must be contiguous and aligned"),
    ("dtype", with_inputs(zeros(2, 3, dtype=np.float16), zeros(4, 3), None), TypeError,
     "operation: an array has another dtype than the others"),
    ("whole", with_inputs(zeros(2, 3, dtype=np.int64), zeros(4, 3), None), ValueError, FITS),
    ("doubles", with_inputs(zeros(2, 3), zeros(4, 3, dtype=np.float64), None), ValueError, FITS),
    ("bytes", with_inputs(zeros(2, 3), zeros(4, 3), zeros(4, dtype=np.bool_)), ValueError, FITS),
    ("shape", with_inputs((2**40, 2**40), zeros(4, 3), None), ValueError,
     "operation: a shape is out of all range"),
    ("inner", with_inputs(zeros(2, 3), zeros(4, 2), zeros(4)), ValueError, "operation: "),
    ("missing", with_inputs(zeros(2, 3), (4, 3), None), ValueError, FITS),
    ("count", with_inputs(zeros(2, 3), zeros(4, 3)), ValueError, "operation: "),
    ("options", {"options": (0.0,)}, ValueError, FITS),
    ("activation", {"options": (99.0, 0.0)}, ValueError, FITS),
]  # fmt: skip


@pytest.mark.parametrize("case", [
    *BAD,
    ("output", {"outputs": (zeros(2, 5),)}, ValueError, FITS),
    ("written", {"outputs": (read_only(zeros(2, 4)),)}, ValueError,
     "operation: an array to be written is read-only"),
], ids=lambda case: case[0])  # fmt: skip
def test_forward(case):
    refused(native("forward"), LINEAR, case)


@pytest.mark.parametrize("case", [
    *BAD,
    ("gradient", {"input_gradients": (zeros(2, 4), None, None)}, ValueError,
     "operation: gradients do not have the shapes of what they are of"),
    ("gradients", {"output_gradients": ()}, ValueError, "operation: gradients do not have"),
    ("absent", {"output_gradients": (None,)}, ValueError, FITS),
    ("written", {"input_gradients": (read_only(zeros(2, 3)), None, None)}, ValueError,
     "operation: an array to be written is read-only"),
], ids=lambda case: case[0])  # fmt: skip
def test_backward(case):
    refused(native("backward"), BACKWARD, case)


def test_an_update_has_no_gradient():
    with pytest.raises(ValueError, match="operation: there is no gradient of accumulate"):
        native("backward")("accumulate", (), (zeros(2), zeros(2)), (), (), (), (None, None), add=0,
                           f64=False)  # fmt: skip


def test_an_update_of_a_read_only_array():
    with pytest.raises(ValueError, match="operation: an array to be written is read-only"):
        native("forward")("accumulate", (), (read_only(zeros(2)), zeros(2)), (), (), f64=False)


def call(**changes):
    """y = linear(x, w, b), of places 0 to 3."""
    whole = {"name": "linear", "backward": False, "bfloat16": False, "draws": False, "draw": 0,
             "add": 0, "options": (0.0, 0.0), "in": [0, 1, 2], "out": [3], "saved": [],
             "dout": [], "din": []}  # fmt: skip
    return tuple({**whole, **changes}.values())


PLACES = [(zeros(2, 3), None), (zeros(4, 3), None), (zeros(4), None), (zeros(2, 4), 0)]
PROGRAM = {"f64": False, "arena": 64, "places": PLACES, "calls": [call()]}


def program(**arguments):
    return _native.nn.Program(_dispatch.active_level(), **arguments)


@pytest.mark.parametrize("case", [
    ("arena", {"arena": 0}, ValueError, "program: an array is not in the arena"),
    ("offset", {"places": [*PLACES[:3], (zeros(2, 4), 32)]}, ValueError, "not in the arena"),
    ("number", {"calls": [call(out=[4])]}, ValueError,
     "program: an array has a number out of range"),
    ("negative", {"calls": [call(out=[-2])]}, ValueError, "number out of range"),
    ("fit", {"calls": [call(out=[0])]}, ValueError, "program: a call does not fit linear"),
    ("gradient", {"calls": [call(backward=True, dout=[0], din=[-1, -1, -1])]}, ValueError,
     "program: a call does not fit linear"),
    ("read-only", {"places": [*PLACES[:3], (read_only(zeros(2, 4)), None)]}, ValueError,
     "program: an array to be written is read-only"),
    ("update", {"places": [(read_only(zeros(2)), None), (zeros(2), None)],
                "calls": [call(name="accumulate", options=(), out=[], **{"in": [0, 1]})]},
     ValueError, "program: an array to be written is read-only"),
    ("name", {"calls": [call(name="none")]}, KeyError, "there is none named none"),
], ids=lambda case: case[0])  # fmt: skip
def test_program(case):
    refused(program, PROGRAM, case)


@pytest.mark.parametrize("case", [
    ("count", {"arrays": []}, ValueError, "Program.run: want an array for each place"),
    ("place", {"places": [9]}, IndexError, "Program.run: a place is out of range"),
    ("inside", {"places": [3], "arrays": [zeros(2, 4)]}, IndexError, "a place is out of range"),
    ("shape", {"arrays": [zeros(3, 2)]}, ValueError,
     "Program.run: an array has another shape or dtype than its place"),
    ("dtype", {"arrays": [zeros(2, 3, dtype=np.int64)]}, ValueError, "another shape or dtype"),
    ("absent", {"arrays": [None]}, ValueError, "another shape or dtype"),
], ids=lambda case: case[0])  # fmt: skip
def test_program_run(case):
    refused(program(**PROGRAM).run, {"places": [0], "arrays": [zeros(2, 3)], "seed": 0}, case)


def test_a_program_writes_to_no_read_only_array():
    made = program(**{**PROGRAM, "places": [*PLACES[:3], (zeros(2, 4), None)]})
    made.run([0, 3], [read_only(zeros(2, 3)), zeros(2, 4)], 0)
    with pytest.raises(ValueError, match="operation: an array to be written is read-only"):
        made.run([3], [read_only(zeros(2, 4))], 0)


def test_a_program_computes_what_its_calls_do():
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((2, 3), (4, 3), 4))
    y = zeros(2, 4)
    made = program(f64=False, arena=0, calls=[call()],
                   places=[(zeros(2, 3), None), (w, None), (b, None), (y, None)])  # fmt: skip
    made.run([0], [x], 0)
    np.testing.assert_allclose(y, x @ w.T + b, rtol=1e-6)
    made.run([0], [2 * x], 0)
    np.testing.assert_allclose(y, 2 * x @ w.T + b, rtol=1e-6)
