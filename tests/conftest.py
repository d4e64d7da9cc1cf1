"""Fixtures and helpers of all tests: backends by name, tolerances as formulas, shared data."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from firth import _native
from firth.kernels import _dispatch

# A job that a shell starts in the background ignores SIGINT, one under nohup SIGHUP, and so would
# the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

REQUIRED = os.environ.get("FIRTH_REQUIRE", "").split(",")
BACKENDS = ["numpy", "numba", "native:base"]
BACKENDS += [
    f"native:{name}"
    for name in ("v3", "v4", "v4x", "dotprod", "i8mm")  # those of this processor's family
    if f"native:{name}" in REQUIRED or name in _dispatch.compiled
]
# Few CPUs have matrix tiles or AVX-VNNI, few builds emulate them: where they are missing, that is
# said once, by test_dispatch, and not by a skip of each test.
BACKENDS += [
    f"native:{name}"
    for name in ("v3x", "v3x_emulated", "tiles", "tiles_emulated")
    if f"native:{name}" in {*REQUIRED, *_dispatch.backends()}
]
CMAKE = (Path(__file__).resolve().parents[1] / "CMakeLists.txt").read_text()
REFINES = dict(re.findall(r"firth_level\((\w+) REFINES (\w+)", CMAKE))  # a level, and which one
# v4x has two ways of multiplying bfloat16, of which a CPU's vendor chooses one; tests of what
# multiplies them run the other too, as a level of its own name.
OTHER_V4X = "v4x-other"
if (other := _native.other_v4x()) is not None:
    _dispatch.compiled[OTHER_V4X] = _dispatch.levels[OTHER_V4X] = other
BFLOAT16_BACKENDS = [*BACKENDS, f"native:{OTHER_V4X}"]
SHARED = Path(__file__).resolve().parents[2] / "shared"

# Lengths around every vector width (4 to 16 floats, 2 to 8 doubles) and around unrolled loops.
LENGTHS = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 130, 1000]

# (M, N, K) around the register tiles (6, 14 or 32 rows; 8, 16 or 32 columns), the blocks of rows
# (224), of columns (128) and of K (384; 192 for float64, 768 for bfloat16; on tiles 2048, cut at
# 384), and odd K, where a unit of several elements is partly empty.
MATMUL_SIZES = [
    (1, 1, 1), (1, 31, 2), (1, 200, 33), (2, 33, 7), (3, 64, 385), (5, 7, 9), (6, 8, 16),
    (7, 9, 17), (13, 32, 64), (14, 65, 3), (15, 97, 130), (29, 130, 767), (33, 17, 769),
    (57, 300, 100), (225, 31, 40), (300, 161, 801), (40, 20, 193), (49, 129, 2081), (0, 5, 3),
    (4, 0, 3), (4, 5, 0),
]  # fmt: skip


def unavailable(backend: str) -> str | None:
    """The reason why this machine cannot run the backend, or None if it can."""
    if backend == "numba":
        try:
            import numba  # noqa: F401
        except ImportError:
            return "Numba is not installed"
        return None
    return None if backend in _dispatch.backends() else f"this CPU does not run {backend}"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on each backend; fail it if it never called the backend that it names.

    Networks have no Numba. Of a level that refines another they call its products of floats alone,
    whose code is the same and which tests/kernels runs.
    """
    name = request.param
    if request.path.parent.name in ("nn", "optim") and (
        name == "numba" or name.removeprefix("native:") in REFINES
    ):
        pytest.skip("not for networks")
    yield from on_backend(name)


def on_backend(name: str) -> Iterator[str]:
    """What `backend` does for one of them."""
    reason = unavailable(name)
    if reason is not None:
        if name in REQUIRED:
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


def needs_package(name: str) -> Path:
    """The folder of a package with real weights, which is not imported.

    Skips where it is not installed, fails where CI must have it.
    """
    found = find_spec(name)
    if found is None or found.origin is None:
        if "models" in REQUIRED:
            pytest.fail(f"FIRTH_REQUIRE names models, but {name} is not installed")
        pytest.skip(f"needs {name}: `make .venv/models.stamp` installs it")
    return Path(found.origin).parent


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


def update_tolerance(length: float, largest: float, updates: int, rate: float) -> float:
    """Bound on an element of word vectors against a float64 reference after `updates` of its row.

    A score of vectors of `length` errs by about eps length^2: its products are summed in lanes, and
    their roundings largely cancel. The logistic function has slope <= 1/4 and errs by up to 4 eps
    itself. So a step errs by rate * (length^2 / 4 + 4) eps, times the `largest` element of the
    vector that it multiplies; the sum with the old element adds eps / 2 of that. Roundings are as
    likely up as down: an error within +-b has a standard deviation of b / sqrt(3), n of them one of
    b sqrt(n / 3), and six of these are never met by chance.
    """
    eps = float(np.finfo(np.float32).eps)
    one = (rate * (length**2 / 4 + 4) + 0.5) * eps * largest
    return 6 * one * float(np.sqrt(updates / 3))


def check_updates(
    ours: tuple[np.ndarray, np.ndarray],
    reference: Callable[[float], tuple[np.ndarray, np.ndarray]],
    rate: float,
    bound: float,
) -> None:
    """Both matrices are the reference's within the bound, which notices a rate 1e-4 too high."""

    def error(rate: float) -> float:
        return max(
            float(np.abs(one - want).max()) for one, want in zip(ours, reference(rate), strict=True)
        )

    assert error(rate) <= bound
    assert error(rate * (1 + 1e-4)) > bound, "the bound has no teeth"


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
