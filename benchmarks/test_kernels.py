"""Every kernel on every backend and level of this machine, grouped by kernel and shape.

`make bench-kernels` times them and keeps the run; `--benchmark-compare` compares the next one with
it. Ratios to peers are measured by run.py, whose timing is interleaved. Results are checked against
the reference before they are timed, and with `--benchmark-disable` nothing else happens.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import firth
from firth.kernels import backends, use
from harness import THREADS
from kernel_cases import CASES, Arguments, Case, answer, check, for_timing

BACKENDS = [
    name
    for name in backends()
    if name not in ("native", "native:tiles_emulated")  # not meant to be fast
    and (name != "numba" or importlib.util.find_spec("numba"))
]


@pytest.fixture(params=CASES, ids=lambda case: case.group, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Case, Arguments, list[Any]]:
    """A case with its arguments and the reference's answer."""
    found: Case = request.param
    arguments = found.arguments(np.random.default_rng(0))
    return found, arguments, answer(found, found.function.reference, arguments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_kernel(benchmark: Any, case: tuple[Case, Arguments, list[Any]], backend: str) -> None:
    which, arguments, want = case
    benchmark.group = which.group
    firth.set_num_threads(THREADS)
    with use(backend):
        check(which, arguments, want)
        positional, options = for_timing(which, arguments)
        benchmark(which.function, *positional, **options)
