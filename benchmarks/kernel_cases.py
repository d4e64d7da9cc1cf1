"""Cases of test_kernels.py: one or more inputs for each kernel, and the tolerance of results."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from firth import kernels
from firth.kernels._dispatch import Kernel
from harness import size

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A call of a kernel."""

    kernel: str  # a name of firth.kernels, or "name.backward"
    shape: str
    arguments: Callable[[np.random.Generator], Arguments]
    tolerance: float  # by the largest number of the answer
    updates: tuple[int, ...] = ()  # which arguments are changed in place

    @property
    def group(self) -> str:
        return f"{self.kernel}, {self.shape}"

    @property
    def function(self) -> Kernel[Any, Any]:
        return operator.attrgetter(self.kernel)(kernels)


def kernel_names() -> Iterator[str]:
    """Every kernel of firth.kernels, its backward too."""
    for name in kernels.__all__:
        found = getattr(kernels, name)
        if isinstance(found, Kernel):
            yield name
            if isinstance(getattr(found, "backward", None), Kernel):
                yield f"{name}.backward"


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def arrays(*shapes: tuple[int, ...], dtype: Any = np.float32, **options: Any) -> Callable[..., Any]:
    """Arguments that are normal numbers of these shapes."""
    return lambda rng: (tuple(normal(rng, *shape).astype(dtype) for shape in shapes), options)


# Windows as training has them: 64 of 8 contexts and 5 negatives, or 512 single pairs, 100 numbers.
ROWS, DIM, WINDOWS, CONTEXTS, NEGATIVES, DEPTH = 10_000, 100, 64, 8, 5, 14
RATE = 0.025


def training(kernel: str, shared: bool) -> Callable[..., Any]:
    """Two matrices and a batch of one of the three updates of word vectors."""

    def make(rng: np.random.Generator) -> Arguments:
        w_in, w_out = (normal(rng, ROWS, DIM) / np.float32(DIM**0.5) for _ in range(2))

        def words(*shape: int) -> NDArray[np.int64]:
            return rng.integers(ROWS, size=shape)

        n = WINDOWS if shared else WINDOWS * CONTEXTS
        if kernel == "hierarchical_softmax":
            paths = np.array([rng.choice(ROWS, DEPTH, replace=False) for _ in range(n)])
            turns = rng.integers(2, size=(n, DEPTH))
            return (w_in, w_out, paths, turns, words(n, CONTEXTS) if shared else words(n), RATE), {}
        if kernel == "cbow_negative_sampling":
            negatives = words(NEGATIVES) if shared else words(WINDOWS, NEGATIVES)
            return (w_in, w_out, words(WINDOWS), words(WINDOWS, CONTEXTS), negatives, RATE), {}
        contexts = words(n, CONTEXTS) if shared else words(n)
        return (w_in, w_out, words(n), contexts, words(n, NEGATIVES), RATE), {}

    return make


def glove(rng: np.random.Generator) -> Arguments:
    planes = [np.ones((ROWS, 2, DIM + 1), np.float32) for _ in range(2)]
    for plane in planes:
        plane[:, 0] = normal(rng, ROWS, DIM + 1) / DIM
    rows, columns = rng.integers(ROWS, size=(2, 512))
    return (*planes, rows, columns, normal(rng, 512), rng.random(512, np.float32), RATE), {}


def byte_operands(m: int, n: int, k: int, left: type) -> Callable[..., Any]:
    """uint8 or int8 by int8."""

    def make(rng: np.random.Generator) -> Arguments:
        ends = np.iinfo(left)
        a = rng.integers(ends.min, ends.max + 1, (m, k), left)
        return (a, rng.integers(-128, 128, (k, n), np.int8)), {}

    return make


def coded_operands(m: int, n: int, k: int) -> Callable[..., Any]:
    """A product as an encoder's layer has it: rows and weights coded, a bias and an activation."""

    def make(rng: np.random.Generator) -> Arguments:
        rows = kernels.quantize_rows(normal(rng, m, k))
        weights = kernels.quantize_weights(normal(rng, n, k))
        options = {
            "row_scales": rows.scales, "row_offsets": rows.offsets,
            "column_scales": weights.scales, "column_sums": weights.sums,
            "bias": normal(rng, n), "activation": "gelu",
        }  # fmt: skip
        return (rows.codes, np.ascontiguousarray(weights.codes.T)), options

    return make


def heads(rng: np.random.Generator) -> Arguments:
    """Queries of 512 tokens, 12 heads of 64."""
    return (normal(rng, 512, 12, 64), np.arange(512)), {}


def bags(dtype: Any) -> Callable[..., Any]:
    """1000 texts of 25 tokens, a table of 30,000 x 256."""

    def make(rng: np.random.Generator) -> Arguments:
        table = normal(rng, size(30_000), 256).astype(dtype)
        ids = rng.integers(len(table), size=25_000)
        return (ids, table, np.arange(0, 25_001, 25)), {}

    return make


def coded(rng: np.random.Generator) -> Arguments:
    rows = normal(rng, size(20_000), 384)
    centre = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    # The scores of the best one in a hundred, roughly: a cosine of 2.3 / sqrt(384).
    scores = np.full(16, 2.3 / 384**0.5, np.float32)
    return (normal(rng, 16, 384), kernels.byte_codes(rows, centre), scores), {}


SEARCHED = size(20_000), 384
ATTENTION = (1, 12, 512, 64), (1, 12, 512, 64), (1, 12, 512, 64)
BFLOAT16 = ml_dtypes.bfloat16
TRAINING = ("skipgram_negative_sampling", "cbow_negative_sampling", "hierarchical_softmax")
TO_BYTES = ("quantize_rows", "quantize_weights")
CASES = [
    Case("dot", "(10000, 384)", arrays((10_000, 384), (384,)), 1e-5),
    *(
        Case(name, str(shape), arrays(shape), 1e-5)
        for name in ("softmax", "log_softmax")
        for shape in ((512, 1024), (8, 50257), (20_000, 16))
    ),
    *(
        Case(f"{name}.backward", str(shape), arrays(shape, shape), 1e-5)
        for name in ("softmax", "log_softmax")
        for shape in ((512, 1024), (20_000, 16))
    ),
    *(
        Case("matmul", f"{np.dtype(dtype).name} {m} x {n} x {k}",
             arrays((m, k), (k, n), dtype=dtype), 1e-5)
        for dtype in (np.float32, np.float64, BFLOAT16)
        for m, n, k in ((256, 256, 256), (1, 1024, 768))
    ),
    *(
        Case("matmul", f"{left.__name__} {m} x {n} x {k}", byte_operands(m, n, k, left), 0)
        for left in (np.uint8, np.int8)
        for m, n, k in ((256, 256, 256), (1, 1024, 768))
    ),
    Case("matmul", "uint8 256 x 1536 x 384, scaled, gelu", coded_operands(256, 1536, 384), 1e-5),
    *(
        Case(name, "(512, 384)", arrays((512, 384), (384,)), 1e-5)
        for name in ("layer_norm", "rms_norm")
    ),
    Case("rotary", "512 tokens, 12 heads of 64", heads, 1e-6),
    *(Case(name, "(512, 384)", arrays((512, 384)), 0) for name in TO_BYTES),
    Case("gated", "(512, 1536)", arrays((512, 1536), (512, 1536)), 1e-5),
    Case("to_bfloat16", "(512, 384)", arrays((512, 384)), 0),
    *(
        Case("scaled_dot_product_attention", f"{np.dtype(dtype).name} {ATTENTION[0]}{note}",
             arrays(*ATTENTION, dtype=dtype, is_causal=bool(note)), tolerance)
        for dtype, tolerance in ((np.float32, 1e-5), (BFLOAT16, 2**-7))
        for note in ("", " causal")
    ),
    Case("row_norms", f"{SEARCHED}", arrays(SEARCHED), 1e-6),
    *(
        Case(name, f"{count} of {SEARCHED}", arrays((count, 384), SEARCHED, **options), 1e-6)
        for name, options in (("cosine_scores", {}), ("cosine_topk", {"k": 10}))
        for count in (1, 16)
    ),
    Case("byte_codes", f"{SEARCHED}", arrays(SEARCHED), 1e-6),
    Case("may_reach", f"16 of {SEARCHED}", coded, 0),
    *(
        Case("embedding_bag", f"1000 bags of 25, {np.dtype(dtype).name}", bags(dtype), 1e-5)
        for dtype in (np.float32, BFLOAT16)
    ),
    *(
        Case(name, "shared" if shared else "independent", training(name, shared), 1e-5, (0, 1))
        for name in TRAINING for shared in (True, False)
    ),
    Case("glove_adagrad", "512 pairs", glove, 1e-5, (0, 1)),
]  # fmt: skip


def for_timing(case: Case, arguments: Arguments) -> Arguments:
    """The same with arrays that may be changed, and a rate so small that calls do not change them.

    Thousands of calls train the same few words; at the rate of training these would run away.
    """
    positional = list(arguments[0])
    for place in case.updates:
        positional[place] = positional[place].copy()
    if case.updates:
        assert positional[-1] == RATE
        positional[-1] = 1e-9
    return tuple(positional), arguments[1]


def answer(case: Case, function: Callable[..., Any], arguments: Arguments) -> list[Any]:
    """The results and changed arguments of a call, as arrays; its own arguments stay unchanged."""
    positional = list(arguments[0])
    for place in case.updates:
        positional[place] = positional[place].copy()
    given = function(*positional, **arguments[1])
    if isinstance(given, kernels.TopK):
        given = given.scores
    if isinstance(given, kernels.ByteCodes):
        given = given.codes, given.bounds
    parts = given if isinstance(given, tuple) else (given,)
    return [*parts, *(positional[place] for place in case.updates)]


def check(case: Case, arguments: Arguments, want: list[Any]) -> None:
    """The active backend's answer is the reference's, within the case's tolerance."""
    for got, wanted in zip(answer(case, case.function, arguments), want, strict=True):
        a, b = (np.asarray(x).astype(np.float64) for x in (got, wanted))
        if case.kernel == "may_reach":
            # Levels differ in which rows pass beside those that must: tests/kernels looks at each.
            assert 0 < a.mean() < 0.1, "a filter that lets all pass is not measured"
            assert abs(a.mean() - b.mean()) < 0.02
            continue
        bound = case.tolerance * np.abs(b[np.isfinite(b)]).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=case.group)
