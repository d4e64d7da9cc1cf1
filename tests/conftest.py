"""Fixtures and helpers of all tests: backends by name, tolerances as formulas, shared data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firth.kernels import _dispatch

# A job that a shell starts in the background ignores SIGINT, and so would the tests of Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

BACKENDS = ["numpy", "numba", "native:base", "native:v3", "native:v4", "native:v4x"]
SHARED = Path(__file__).resolve().parents[2] / "shared"

# Lengths around every vector width (4 to 16 floats, 2 to 8 doubles) and around unrolled loops.
LENGTHS = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 130, 1000]


def unavailable(backend: str) -> str | None:
    """Why this machine cannot run the backend, or None where it can."""
    if backend == "numba":
        try:
            import numba  # noqa: F401
        except ImportError:
            return "Numba is not installed"
        return None
    return None if backend in _dispatch.backends() else f"this CPU does not run {backend}"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on each backend; fail it if it never called the backend that it names."""
    name: str = request.param
    reason = unavailable(name)
    if reason is not None:
        if name in os.environ.get("FIRTH_REQUIRE", "").split(","):
            pytest.fail(f"FIRTH_REQUIRE names {name}, but {reason}")
        pytest.skip(reason)
    before = _dispatch.calls[name]
    with _dispatch.use(name):
        yield name
    assert _dispatch.calls[name] > before, f"the test never ran a kernel on {name}"


@pytest.fixture
def shared() -> Path:
    """The folder of corpora beside the checkout."""
    return needs_shared("")


def needs_shared(name: str) -> Path:
    """A file of the shared folder; skips where it is missing, fails where CI must have it."""
    path = SHARED / name
    if not path.exists():
        if os.environ.get("FIRTH_REQUIRE_DATA"):
            pytest.fail(f"FIRTH_REQUIRE_DATA is set, but {path} is missing")
        pytest.skip(
            f"needs {path.name or 'the shared folder'}: ../shared is not beside this checkout"
        )
    return path


def spiky(rng: np.random.Generator, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Normal values with a few large ones among them, so that a lost lane shows."""
    x = rng.standard_normal(shape)
    spikes = rng.random(shape) < 0.05
    x[spikes] *= 50
    return x.astype(dtype)


def sum_tolerance(terms: np.ndarray, n: int, dtype: type = np.float32) -> np.ndarray:
    """Bound on the error of a sum of n products in `dtype`, in any order.

    ``terms`` is sum(|products|) per result. Higham, Accuracy and Stability, (3.5): n products and
    n - 1 sums err by at most n * eps/2 * sum(|products|) to first order; eps (twice that) covers
    the second order and an unfused multiplication. The smallest denormal covers underflow.
    """
    info = np.finfo(dtype)
    return (n + 1) * float(info.eps) * terms + float(info.smallest_subnormal)


def update_tolerance(dim: int, length: float, updates: int, rate: float) -> float:
    """Bound on the difference of word vectors from a float64 reference after `updates` a row.

    A score of D products errs by D eps |u||v|; the logistic function has slope <= 1/4 and errs by
    about 4 eps itself. So a step errs by rate * that, times the `length` of the longest vector that
    takes part, for each update that a row gets; errors of earlier updates grow by at most
    rate * |row|^2 each, a factor below 2 where these stay small. Rounding of the sums themselves
    adds one eps an update.
    """
    eps = float(np.finfo(np.float32).eps)
    step = rate * (dim * eps * length**2 / 4 + 4 * eps) * length
    return 2 * updates * (step + eps * length)


def ulp_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest error of `got` against float64 `want`, in units in the last place of got's dtype."""
    rounded = want.astype(got.dtype)
    spacing = np.spacing(np.abs(rounded)).astype(np.float64)
    error = np.abs(got.astype(np.float64) - want) / spacing
    return float(error.max(initial=0.0))


def with_canary(shape: tuple[int, ...], dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """An output array in the middle of a larger one, and that larger one's guard cells (a copy of
    which the test compares afterwards: nothing but `out` may be written)."""
    guard = 16
    size = int(np.prod(shape))
    whole = np.full(size + 2 * guard, 12345.0, dtype)
    return whole[guard : guard + size].reshape(shape), whole


def canary_intact(whole: np.ndarray) -> bool:
    """Whether the guard cells around the array of `with_canary` are untouched."""
    return bool((whole[:16] == 12345).all() and (whole[-16:] == 12345).all())
