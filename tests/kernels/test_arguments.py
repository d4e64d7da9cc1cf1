"""One rule for the arguments of every kernel: see the head of firth/kernels/_arrays.py."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import unavailable
from firth import kernels
from firth.kernels import _dispatch
from processes import printed

A = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 0.5]], np.float32)
B = np.array([[2.0, 0.25, 1.0], [0.0, -1.0, 8.0]], np.float32)
S = np.array([0.5, -2.0], np.float32)

# Of each kernel: a call with its arrays of numbers one after the other.
CALLS = {
    "dot": (kernels.dot, A, B),
    "softmax": (kernels.softmax, A),
    "log_softmax": (kernels.log_softmax, A),
    "matmul": (kernels.matmul, A, B.T.copy()),
    "matmul with bias and residual": (
        lambda a, b, bias, residual: kernels.matmul(a, b, bias=bias, residual=residual),
        A, B.T.copy(), S, S[:, None] + S,
    ),
    "matmul of coded numbers": (
        lambda rows, offsets, columns, sums: kernels.matmul(
            np.uint8([[1, 2], [3, 4]]), np.int8([[1, 2], [3, 4]]), row_scales=rows,
            row_offsets=offsets, column_scales=columns, column_sums=sums,
        ),
        S, S, S, S,
    ),
    "layer_norm": (kernels.layer_norm, A, A[0], B[0]),
    "rms_norm": (kernels.rms_norm, A, A[0]),
    "quantize_rows": (kernels.quantize_rows, A),
    "quantize_weights": (kernels.quantize_weights, A),
    "gated": (kernels.gated, A, B),
    "to_bfloat16": (kernels.to_bfloat16, A),
    "rotary": (lambda x: kernels.rotary(x, [0, 3], rotated=2), np.stack([A, B])),
    "pack": (lambda b: kernels.matmul(A, kernels.pack(b)), B.T.copy()),
    "scaled_dot_product_attention": (kernels.scaled_dot_product_attention, A, B, B, S[:, None] + S),
    "cosine_topk": (lambda q, keys: kernels.cosine_topk(q, keys, 2), A, B),
    "cosine_scores": (lambda q, keys, n: kernels.cosine_scores(q, keys, norms=n), A, B, S),
    "row_norms": (kernels.row_norms, A),
    "byte_codes": (lambda rows, centre: kernels.byte_codes(rows, centre), A, A[0]),
    "may_reach": (lambda q, s: kernels.may_reach(q, kernels.byte_codes(A), s), B, S),
    "embedding_bag": (
        lambda table, weights: kernels.embedding_bag([0, 1], table, [0, 2], weights=weights),
        A, S,
    ),
    "glove_adagrad": (
        lambda logs, weights: kernels.glove_adagrad(*state(), [0, 1], [1, 0], logs, weights),
        S, S,
    ),
}  # fmt: skip
DOUBLES = {"dot", "softmax", "log_softmax", "layer_norm", "rms_norm"}  # kernels of float64 too


def state() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((2, 2, 4), np.float32), np.ones((2, 2, 4), np.float32)


def flat(result: object) -> list[np.ndarray]:
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def same(backend: str, one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    if backend == "numpy" and one.dtype.kind == "f":  # NumPy computes with lists in float64
        np.testing.assert_allclose(one, other, rtol=1e-6)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CALLS)
def test_lists_are_numbers_of_the_kernels_own_dtype(backend, name):
    call, *arrays = CALLS[name]
    dtype = np.float64 if name in DOUBLES else np.float32
    want = call(*[array.astype(dtype) for array in arrays])
    for convert in (np.ndarray.tolist, lambda array: tuple(array.tolist())):
        got = call(*map(convert, arrays))
        for one, other in zip(flat(got), flat(want), strict=True):
            same(backend, one, other)


@pytest.mark.parametrize("name", CALLS)
def test_a_list_takes_the_dtype_of_the_array_beside_it(backend, name):
    call, first, *rest = CALLS[name]
    for mixed in ([first, *(array.tolist() for array in rest)], [first.tolist(), *rest]):
        got = flat(call(*mixed))
        for one, other in zip(got, flat(call(first, *rest)), strict=True):
            if rest or mixed[0] is first:
                same(backend, one, other)


@pytest.mark.parametrize("dtype", ["float16", "int64", ">f4", "bool"])
@pytest.mark.parametrize("name", CALLS)
def test_arrays_of_another_dtype_are_refused_with_the_cure(name, dtype):
    call, *arrays = CALLS[name]
    for place, array in enumerate(arrays):
        if (name, place, dtype) in TAKEN:
            continue
        given = list(arrays)
        given[place] = array.astype(dtype)
        cure = r"pass (\w+).astype\(np.float32\)"
        with pytest.raises(TypeError, match=rf"^{name.split()[0]}: .* got .*: {cure}$"):
            call(*given)


TAKEN = {
    ("cosine_topk", 1, "float16"), ("cosine_scores", 1, "float16"), ("row_norms", 0, "float16"),
    ("embedding_bag", 0, "float16"), ("scaled_dot_product_attention", 3, "bool"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "value",
    [["a", "b"], [[1.0], [1.0, 2.0]], [None], [1j], [10**400], np.array(["a"]), np.array([1j])],
    ids=["str", "ragged", "None", "complex", "huge", "array of str", "array of complex"],
)
def test_what_is_no_number_is_refused_by_name(name, value):
    call, *arrays = CALLS[name]
    for place in range(len(arrays)):
        given = [*arrays[:place], value, *arrays[place + 1 :]]
        with pytest.raises(TypeError, match=f"^{name.split()[0]}: "):
            call(*given)


FACTORS = {
    "matmul": lambda scale: kernels.matmul(A, B.T, scale=scale),
    "scaled_dot_product_attention": lambda scale: kernels.scaled_dot_product_attention(
        A, B, B, scale=scale
    ),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("bad", ["a", [1.0], 1j, np.ones(1), {}], ids=repr)
def test_a_factor_must_be_a_real_number(backend, name, bad):
    with pytest.raises(TypeError, match=f"^{name}: scale must be a finite real number, got "):
        FACTORS[name](bad)
    for good in (2, 2.0, np.float32(2), np.float64(2), np.int64(2)):
        np.testing.assert_array_equal(FACTORS[name](good), FACTORS[name](2.0))


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39, 10**400, np.float32("inf")])
def test_a_factor_must_be_finite(name, bad):
    with pytest.raises(ValueError, match=f"^{name}: scale must be finite in float32, got "):
        FACTORS[name](bad)


def test_a_factor_of_float64_has_its_range(backend):
    one = np.ones((1, 1))
    assert kernels.matmul(one, one, scale=1e300) == 1e300
    with pytest.raises(ValueError, match=r"^matmul: scale must be finite in float64, got inf"):
        kernels.matmul(one, one, scale=np.inf)


def test_epilogue_arguments_of_float64_name_their_cure(backend):
    wide = np.ones((2, 2))
    for name in ("bias", "residual"):
        with pytest.raises(TypeError, match=rf"^matmul: {name} .*pass {name}.astype\(np.float64\)"):
            kernels.matmul(wide, wide, **{name: np.ones(2, np.float32)})
    got = kernels.matmul(wide, wide, bias=[0.1, 0.2], residual=[[0.1, 0.2], [0, 1]])
    np.testing.assert_array_equal(got, (2 + np.array([0.1, 0.2])) + np.array([[0.1, 0.2], [0, 1]]))


@pytest.mark.parametrize("name", ["softmax", "dot", "scaled_dot_product_attention", "row_norms"])
def test_numpy_bfloat16_names_its_cure(name):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    call, *arrays = CALLS[name]
    if name == "scaled_dot_product_attention":
        call(*[array.astype(bfloat16) for array in arrays])  # a dtype of this kernel
        return
    with pytest.raises(TypeError, match=rf"^{name}: .*got bfloat16.*pass \w+.astype\(np.float"):
        call(*[array.astype(bfloat16) for array in arrays])


@pytest.mark.parametrize("name", CALLS)
def test_torch_bfloat16_names_its_cure(name):
    torch = pytest.importorskip("torch")
    call, *arrays = CALLS[name]
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    for one, other in zip(flat(call(*tensors)), flat(call(*arrays)), strict=True):
        np.testing.assert_array_equal(one, other)
    for place in range(len(arrays)):
        given = [*tensors[:place], tensors[place].bfloat16(), *tensors[place + 1 :]]
        with pytest.raises(
            TypeError, match=rf"^{name.split()[0]}: .*got torch.bfloat16: pass \w+\.float\(\)"
        ):
            call(*given)
    if name == "matmul":
        bits = [tensor.bfloat16().view(torch.uint16) for tensor in tensors]
        np.testing.assert_array_equal(call(*bits), call(*arrays))  # small numbers: exact


def integers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, shape)


# Of each kernel with indices: its arguments, and the places of the arrays of indices.
INDEXED = {
    "rotary": ([np.zeros((2, 1, 4), np.float32), integers(2)], (1,)),
    "skipgram_negative_sampling": (
        [A.copy(), B.copy(), integers(4), integers(4), integers(4, 3), 0.1], (2, 3, 4),
    ),
    "cbow_negative_sampling": (
        [A.copy(), B.copy(), integers(4), integers(4, 2), integers(3), 0.1], (2, 3, 4),
    ),
    "hierarchical_softmax": (
        [A.copy(), B.copy(), np.tile([0, 1], (4, 1)), integers(4, 2), integers(4), 0.1], (2, 3, 4),
    ),
    "glove_adagrad": ([*state(), integers(4), integers(4), [1.0] * 4, [1.0] * 4], (2, 3)),
    "embedding_bag": ([integers(4).astype(np.int32), A, np.array([0, 1, 4])], (0, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
def test_indices_are_copied_before_they_are_checked(name):
    """A thread that writes to the caller's array afterwards cannot affect a kernel."""
    arguments, places = INDEXED[name]
    _, *prepared = getattr(kernels, name)._prepare(*arguments)
    for array in [one for one in prepared if isinstance(one, np.ndarray)]:
        for place in places:
            assert not np.shares_memory(array, arguments[place]), place
    mapped = np.arange(2, dtype=np.int32)
    _, *prepared = kernels.embedding_bag._prepare([0, 1], A, [0, 2], rows=mapped)
    assert not any(np.shares_memory(one, mapped) for one in prepared if isinstance(one, np.ndarray))


WRITER = """
import threading, time
import numpy as np
from firth import kernels

ids, offsets = np.zeros(20_000, np.int32), np.arange(0, 20_001, 10)
mapping, table = np.zeros(100, np.int32), np.ones((100, 16), np.float32)
w_in, w_out = np.zeros((100, 16), np.float32), np.zeros((100, 16), np.float32)
centers, contexts = np.zeros(2000, np.int64), np.zeros((2000, 4), np.int64)
negatives = np.zeros((2000, 5), np.int64)
done = False


def write():
    while not done:
        for array in (ids, offsets, mapping, centers, contexts, negatives):
            kept = array.copy()
            array[:] = 2**30
            array[:] = kept


thread = threading.Thread(target=write)
thread.start()
ran = 0
with kernels.use("{backend}"):
    until = time.monotonic() + 1
    while ran < 20 or time.monotonic() < until:
        try:
            kernels.embedding_bag(ids, table, offsets, rows=mapping)
            kernels.skipgram_negative_sampling(w_in, w_out, centers, contexts, negatives, 0.01)
        except (IndexError, ValueError):
            pass
        ran += 1
done = True
thread.join()
print("ran")
"""


@pytest.mark.parametrize("name", ["numba", "native"])
def test_indices_beside_a_writer(name):
    if unavailable(name if name == "numba" else f"native:{next(iter(_dispatch.levels))}"):
        pytest.skip(f"{name} is not available")
    assert printed(WRITER.replace("{backend}", name)) == "ran\n"
