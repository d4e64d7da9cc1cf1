"""Cross-entropy of logits, log-probabilities and linear layers: every backend against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level, use
from firth.nn.module import Parameter
from firth.nn.modules.losses import CrossEntropyLoss, NLLLoss
from firth.nn.operations import cross_entropy as page
from firth.nn.operations.cross_entropy import (
    CrossEntropy,
    LinearCrossEntropy,
    cross_entropy,
    linear_cross_entropy,
    masked_lm_loss,
    next_token_loss,
    nll_loss,
)
from firth.nn.tape import Operation, Tensor, apply, no_grad, trace

SHAPES = [(1, 1), (3, 2), (17, 5), (9, 33), (20, 130), (2, 3, 65), (0, 4), (3, 1001)]
OPTIONS = [
    {}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1},
    {"label_smoothing": 1.0, "reduction": "sum"}, {"ignore_index": 0},
    {"shift": True}, {"shift": True, "reduction": "none", "label_smoothing": 0.2},
]  # fmt: skip


def logits(shape: tuple[int, ...], dtype: type, scale: float = 5) -> np.ndarray:
    return (scale * np.random.default_rng(sum(shape)).normal(size=shape)).astype(dtype)


def targets(shape: tuple[int, ...], classes: int, ignored: int = -100) -> np.ndarray:
    rng = np.random.default_rng(classes)
    ids = rng.integers(0, classes, shape)
    return np.where(rng.random(shape) < 0.2, ignored, ids)


def weights(classes: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.2, 2, classes).astype(dtype)


def run(operation: Operation, *inputs: np.ndarray | None, wanted: int = 1) -> list[np.ndarray]:
    """The output, and the gradients by the first `wanted` inputs; other real ones are constants."""
    tensors = [
        Tensor(x, requires_grad=i < wanted) if x is not None and x.dtype.kind == "f" else x
        for i, x in enumerate(inputs)
    ]
    y = apply(operation, *tensors)
    y.backward(checks.output_gradients([y.data])[0])
    return [y.data, *(x.grad for x in tensors[:wanted] if x is not None)]


def compare(operation: Operation, inputs: list, wanted: int, dtype: type, n: int) -> None:
    """A result and gradients against the page's NumPy in float64.

    A row's sum of n terms that add up to the sum errs by n eps of it at most (by far less: chains
    are short); a logit of size 30 enters a difference that is rounded once, so a term errs by
    30 eps. Losses are of the size of logits; sums over rows are made in float64.
    """
    found = run(operation, *inputs, wanted=wanted)
    want, gradients = checks.reference(operation, inputs)
    want = [want[0], *(g for g in gradients if g is not None)]
    assert len(found) == len(want)
    eps = np.finfo(dtype).eps
    for got, right in zip(found, want, strict=True):
        scale = max(1.0, float(np.nan_to_num(np.abs(right)).max(initial=0)))
        np.testing.assert_allclose(got, right, rtol=8 * eps, atol=(30 + n) * eps * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(backend, options, weighted, dtype):
    for shape in SHAPES:
        target = targets(shape[:-1], shape[-1], options.get("ignore_index", -100))
        weight = weights(shape[-1], dtype) if weighted else None
        given = [logits(shape, dtype), target, weight]
        compare(CrossEntropy(**{"reduction": "mean"} | options), given, 1, dtype, shape[-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss(backend, reduction, weighted, dtype):
    for shape in SHAPES:
        target = targets(shape[:-1], shape[-1])
        weight = weights(shape[-1], dtype) if weighted else None
        compare(page.NLLLoss(reduction), [logits(shape, dtype), target, weight], 1, dtype, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("reduction") != "none"], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_linear_cross_entropy(backend, options, bias, dtype):
    for *rows, k, n in [(1, 1, 1), (5, 3, 4), (2, 9, 17, 33), (0, 3, 4), (300, 5, 66)]:
        shape = tuple(rows)
        weight = logits((n, k), dtype, 1)
        x, b = logits((*shape, k), dtype, 1), weights(n, dtype) if bias else None
        given = [x, weight, b, targets(shape, n, options.get("ignore_index", -100))]
        operation = LinearCrossEntropy(**options)
        # products of k (rows, n) numbers of order 1 on top of what `compare` says
        compare(operation, given, 3, dtype, 8 * (k + n + int(np.prod(shape))))


@pytest.mark.parametrize("ignored", [0, 3])
def test_chunks_of_logits_add_up(backend, ignored):
    # 64 MB of logits of 60,000 classes in float64 are fewer rows than the least of a chunk, 256.
    # Rows that do not count have no logits: those that do are gathered from between them.
    rng = np.random.default_rng(0)
    rows = 300 if not ignored else 450
    x, w = rng.normal(size=(rows, 2)), rng.normal(size=(60_000, 2))
    b, target = rng.normal(size=60_000), rng.integers(0, 60_000, rows)
    if ignored:
        target[::ignored] = -100
    compare(LinearCrossEntropy(), [x, w, b, target], 3, np.float64, 300)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients(options):
    shape = (4, 3, 7)
    target = targets(shape[:-1], 7, options.get("ignore_index", -100))
    for weight in (None, weights(7, np.float32)):  # float32: a constant to check_gradients
        checks.check_gradients(CrossEntropy(**options), [logits(shape, np.float64), target, weight])
    if options.get("reduction") == "none":
        return
    x, w, b = (logits(s, np.float64, 1) for s in ((4, 3, 5), (7, 5), (7,)))
    operation = LinearCrossEntropy(**options)
    checks.check_gradients(operation, [x, w, b, target])
    checks.check_gradients(operation, [x, w, None, target])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_of_nll_loss(reduction):
    given = [logits((4, 3, 7), np.float64), targets((4, 3), 7), weights(7, np.float32)]
    checks.check_gradients(page.NLLLoss(reduction), given)


def test_one_row_by_hand(backend):
    x = Tensor(np.log([[1.0, 2.0, 5.0]]), requires_grad=True)
    loss = cross_entropy(x, [1])
    loss.backward()
    assert loss.item() == pytest.approx(np.log(4))
    np.testing.assert_allclose(x.grad, [[1 / 8, 1 / 4 - 1, 5 / 8]], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_and_infinite_logits(backend, dtype):
    huge = dtype(1e30)
    x = Tensor(np.array([[huge, 0, -huge], [0, 1, -np.inf]], dtype), requires_grad=True)
    loss = cross_entropy(x, [0, 1], reduction="none")
    loss.backward(np.ones(2))
    np.testing.assert_allclose(loss.data, [0, np.log1p(np.exp(-1))], rtol=1e-6)
    p = 1 / (1 + np.exp(1))
    np.testing.assert_allclose(x.grad, [[0, 0, 0], [p, -p, 0]], rtol=1e-6, atol=0)
    assert np.isnan(cross_entropy(Tensor(np.array([[0, np.nan]], dtype)), [0]).item())
    assert cross_entropy(Tensor(np.array([[0, -np.inf]], dtype)), [1]).item() == np.inf


def test_nothing_that_counts_is_nan(backend):
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    w = Tensor(np.ones((3, 3)), requires_grad=True)
    for loss in (
        cross_entropy(x, [-100, -100]),
        nll_loss(x, [-100, -100]),
        linear_cross_entropy(x, w, [-100, -100]),
        next_token_loss(x, [1, -100]),
        cross_entropy(Tensor(np.ones((0, 3))), np.zeros(0, np.int64)),
    ):
        assert np.isnan(loss.item())
    cross_entropy(x, [-100, -100]).backward()
    assert not x.grad.any()
    assert cross_entropy(x, [-100, -100], reduction="sum").item() == 0


def test_next_and_masked_tokens(backend):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 11, (2, 6))
    x, w, b = (rng.normal(size=s) for s in ((2, 6, 4), (11, 4), (11,)))
    z = Tensor(x @ w.T + b)
    want = cross_entropy(Tensor(z.data[:, :-1].copy()), ids[:, 1:]).item()
    assert next_token_loss(z, ids).item() == pytest.approx(want, rel=1e-13)
    got = next_token_loss(Tensor(x), ids, Tensor(w), Tensor(b))
    assert got.item() == pytest.approx(want, rel=1e-13)
    labels = np.where(rng.random(ids.shape) < 0.5, ids, -100)
    want = cross_entropy(z, labels).item()
    assert masked_lm_loss(z, labels).item() == want
    got = masked_lm_loss(Tensor(x), labels, Tensor(w), Tensor(b))
    assert got.item() == pytest.approx(want, rel=1e-13)
    with no_grad():  # nothing is kept, the loss is the same
        again = masked_lm_loss(Tensor(x), labels, Parameter(w), Tensor(b))
    assert again.item() == got.item()


def test_gradients_are_kept_where_somebody_wants_them():
    x, w = Tensor(np.ones((2, 3))), Parameter(np.ones((4, 3)))

    def kept(*inputs: Tensor) -> int:
        with trace(steps := []):
            linear_cross_entropy(*inputs, [0, 1])
        return len(steps[-1].saved)

    assert kept(x, w) == 2
    assert kept(x, w.detach()) == 0
    loss = linear_cross_entropy(x, w, [0, 1])
    loss.backward(np.asarray(3.0))
    once = w.grad.copy()
    linear_cross_entropy(x, w, [0, 1]).backward()  # added
    np.testing.assert_allclose(w.grad, once * 4 / 3, rtol=1e-14)


def test_threads_do_not_change_bits():
    x, w = logits((700, 33), np.float32), logits((300, 33), np.float32)
    target = targets((700,), 300)
    found = []
    before = firth.info().threads
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            fused = run(LinearCrossEntropy(label_smoothing=0.1), x, w, None, target, wanted=2)
            plain = run(CrossEntropy(), x @ w.T, target, weights(300, np.float32))
            found.append([*fused, *plain, *run(page.NLLLoss(), x @ w.T, target, None)])
    finally:
        firth.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_labels_that_are_no_class_are_named():
    x = Tensor(np.ones((2, 2, 3)))
    with pytest.raises(ValueError, match=r"target\[1, 0\] is 3, must be from 0 to 2 or ignore_ind"):
        cross_entropy(x, [[0, 1], [3, 4]])
    with pytest.raises(ValueError, match=r"nll_loss: target\[0, 1\] is -1, must be from 0 to 2"):
        nll_loss(x, [[0, -1], [2, -100]])
    with pytest.raises(ValueError, match=r"next_token_loss: ids\[1, 1\] is 9, must be"):
        next_token_loss(x, [[0, 1], [2, 9]])
    with pytest.raises(ValueError, match=r"masked_lm_loss: labels\[0, 0\] is 3, must be"):
        masked_lm_loss(x, [[3, 1], [2, 0]], Tensor(np.ones((3, 3))))


def test_bad_input_is_refused():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"cross_entropy: target must have the shape of input wit"):
        cross_entropy(x, [0, 1, 2])
    with pytest.raises(ValueError, match=r"cross_entropy: target must have the shape of input"):
        cross_entropy(Tensor(np.ones((2, 3, 4))), np.zeros((2, 5), int))
    with pytest.raises(TypeError, match=r"cross_entropy: target must hold integers, got float64"):
        cross_entropy(x, np.ones(2))
    with pytest.raises(TypeError, match=r"nll_loss: target must hold integers"):
        nll_loss(x, Tensor(np.ones(2)))
    with pytest.raises(ValueError, match=r"cross_entropy: weight must have shape \(3,\), got"):
        cross_entropy(x, [0, 1], np.ones(2))
    with pytest.raises(TypeError, match=r"cross_entropy: weight has no gradient, pass weight.det"):
        cross_entropy(x, [0, 1], Parameter(np.ones(3)))
    with pytest.raises(ValueError, match=r"cross_entropy: reduction must be none, mean or sum"):
        cross_entropy(x, [0, 1], reduction="batchmean")
    with pytest.raises(ValueError, match=r"cross_entropy: label_smoothing must be from 0 to 1"):
        cross_entropy(x, [0, 1], label_smoothing=2)
    with pytest.raises(ValueError, match=r"linear_cross_entropy: reduction must be mean or sum"):
        linear_cross_entropy(x, Tensor(np.ones((4, 3))), [0, 1], reduction="none")
    with pytest.raises(ValueError, match=r"linear_cross_entropy: linear_bias must have shape"):
        linear_cross_entropy(x, Tensor(np.ones((4, 3))), [0, 1], linear_bias=Tensor(np.ones(3)))
    with pytest.raises(ValueError, match=r"linear_cross_entropy: the last axis of input must be"):
        linear_cross_entropy(x, Tensor(np.ones((4, 2))), [0, 1])
    with pytest.raises(ValueError, match=r"cross_entropy: ids must have an axis"):
        next_token_loss(Tensor(np.ones(3)), 1)
    with pytest.raises(ValueError, match=r"CrossEntropyLoss: reduction must be"):
        CrossEntropyLoss(reduction="all")


def test_classes_in_axis_1_or_the_last():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 4, 3)), rng.integers(3, size=(2, 4))
    last = cross_entropy(Tensor(x), y, reduction="none").data
    np.testing.assert_array_equal(
        cross_entropy(Tensor(x.transpose(0, 2, 1)), y, reduction="none").data, last
    )
    with pytest.raises(ValueError, match=r"cross_entropy: classes may be in axis 1 or in the last"):
        cross_entropy(Tensor(x[:, :3]), y[:, :3])
    with pytest.raises(ValueError, match=r"nll_loss: classes may be in axis 1 or in the last one"):
        nll_loss(Tensor(x[:, :3]), y[:, :3])


def test_modules_hold_their_weight():
    x, target = Tensor(np.ones((2, 3), np.float32)), [0, 2]
    loss = CrossEntropyLoss([1, 2, 3], label_smoothing=0.1, ignore_index=2, reduction="sum")
    assert list(loss.state_dict()) == ["weight"]
    assert loss.weight.dtype == np.float32
    assert loss(x, target).item() == pytest.approx(np.log(3) * (0.9 + 0.1 * 2), rel=1e-6)
    assert NLLLoss()(x, target).item() == -1
    assert not NLLLoss().state_dict()


def native(name: str, options: tuple, arrays: list, saved: list, out: np.ndarray | None = None):
    out = np.zeros(()) if out is None else out
    _native.nn.forward(active_level(), name, options, arrays, [out], saved, f64=True)
    return out


def test_native_code_refuses_what_does_not_fit():
    x, target, sums = np.ones((2, 3)), np.zeros(2, np.int64), np.zeros((2, 3))
    good = (1, -100, 0, 0)
    assert native("cross_entropy", good, [x, target, None], [sums]) == pytest.approx(np.log(3))
    for options, arrays, saved in [
        ((1, -100, 0), [x, target, None], [sums]),
        ((3, -100, 0, 0), [x, target, None], [sums]),
        ((0.5, -100, 0, 0), [x, target, None], [sums]),
        ((0, -100, 0, 0), [x, target, None], [sums]),
        ((1, np.nan, 0, 0), [x, target, None], [sums]),
        ((1, -100, 2, 0), [x, target, None], [sums]),
        ((1, -100, 0, 2), [x, target, None], [sums]),
        (good, [x, target.astype(np.float64), None], [sums]),
        (good, [x, np.zeros(3, np.int64), None], [sums]),
        (good, [x, (2,), None], [sums]),
        (good, [x, target, np.ones(2)], [sums]),
        (good, [x, target, target], [sums]),
        (good, [x, target], [sums]),
        (good, [x, target, None], []),
        (good, [x, target, None], [np.zeros((2, 2))]),
        (good, [x, target, None], [np.zeros((2, 3), np.int64)]),
        (good, [None, target, None], [sums]),
        (good, [np.ones((2, 0)), target, None], [sums]),
    ]:
        with pytest.raises(ValueError, match="do not fit cross_entropy"):
            native("cross_entropy", options, arrays, saved)
    w = np.ones((3, 3))
    kept = [np.zeros((2, 3)), np.zeros((3, 3))]
    fine = (1, -100, 0, 0, 1)
    got = native("linear_cross_entropy", fine, [x, w, None, target], kept)
    assert got == pytest.approx(np.log(3))
    for options, arrays, saved in [
        ((0, -100, 0, 0, 1), [x, w, None, target], kept),
        ((1, -100, 0, 0, 0), [x, w, None, target], kept),
        (fine, [x, w, None, target], kept[:1]),
        (fine, [x, w, np.ones(3), target], kept),
        (fine, [x, np.ones((3, 2)), None, target], kept),
        (fine, [x, w, None, target], [np.zeros((2, 3)), np.zeros((2, 3))]),
        (fine, [x, w, None, None], kept),
    ]:
        with pytest.raises(ValueError, match="do not fit linear_cross_entropy"):
            native("linear_cross_entropy", options, arrays, saved)
    for options, arrays in [
        ((1,), [x, target, None]), ((1, -100), [x, target]), ((1, -100), [x, w, None]),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="do not fit nll_loss"):
            native("nll_loss", options, arrays, [])


def test_native_code_never_reads_past_the_classes():
    # what Python checks before; a compiled step may get such a batch
    x, target, sums = np.ones((2, 3)), np.array([0, 3]), np.zeros((2, 3))
    assert np.isnan(native("cross_entropy", (1, -100, 0, 0), [x, target, None], [sums]))
    assert np.isnan(native("nll_loss", (1, -100), [x, target, None], []))
    dx = np.ones((2, 3))
    _native.nn.backward(
        active_level(), "cross_entropy", (1, -100, 0, 0), [x, target, None], [()], [sums],
        [np.ones(())], [dx, None, None], add=0, f64=True,
    )  # fmt: skip
    assert not dx[1].any()
    with use("numpy"), pytest.raises(IndexError):
        apply(CrossEntropy(), Tensor(x), target, None)
