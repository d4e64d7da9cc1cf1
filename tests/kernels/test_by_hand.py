"""Results of each kernel, worked out by hand.

The other tests take the NumPy reference for the truth, so the backend "numpy" is only compared with
itself there; this is the truth of the references.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from firth import kernels

LOG3 = math.log(3)


def f32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def close(got: object, want: object) -> None:
    # a few roundings in float32 of numbers of the same size
    assert_allclose(np.asarray(got, np.float64), want, rtol=1e-6, atol=1e-7)


def test_dot(backend):
    assert_array_equal(kernels.dot(f32([[1, 2, 3], [1, 0, 0]]), f32([4, -5, 6])), [12, 4])


def test_softmax(backend):
    close(kernels.softmax(f32([[0, LOG3], [7, 7]])), [[1 / 4, 3 / 4], [1 / 2, 1 / 2]])
    close(kernels.softmax(f32([[0], [LOG3]]), 0), [[1 / 4], [3 / 4]])


def test_log_softmax(backend):
    close(kernels.log_softmax(f32([0, LOG3])), [-math.log(4), LOG3 - math.log(4)])


def test_matmul(backend):
    a, b = f32([[1, 2], [3, 4]]), f32([[5, 6, 0], [7, 8, 1]])
    assert_array_equal(kernels.matmul(a, b), [[19, 22, 2], [43, 50, 4]])


def test_matmul_of_coded_numbers(backend):
    # Rows 10 + 2 (1, 3) and 0 + (4, 0), columns 3 (1, -1) and (2, 2).
    a, b = np.uint8([[1, 3], [4, 0]]), np.int8([[1, 2], [-1, 2]])
    got = kernels.matmul(
        a, b, row_scales=f32([2, 1]), row_offsets=f32([10, 0]), column_scales=f32([3, 1]),
        column_sums=f32([0, 4]),
    )  # fmt: skip
    assert_array_equal(got, [[-12, 56], [12, 8]])


def test_quantize_rows(backend):
    codes, scales, offsets = kernels.quantize_rows(f32([[-1, 0, 254, 100.5], [7, 7, 7, 7]]))
    assert_array_equal(codes, [[0, 1, 255, 102], [0, 0, 0, 0]])  # 101.5 is a tie
    assert_array_equal(scales, [1, 0])
    assert_array_equal(offsets, [-1, 7])


def test_quantize_weights(backend):
    codes, scales, sums = kernels.quantize_weights(f32([[-254, 5, 7, 0], [0, 0, 0, 0]]))
    assert_array_equal(codes, [[-127, 2, 4, 0], [0, 0, 0, 0]])  # 2.5 and 3.5 are ties
    assert_array_equal(scales, [2, 0])
    assert_array_equal(sums, [-121, 0])


def test_layer_norm(backend):
    # mean 3, variance 4
    x = f32([[1, 5, 1, 5]])
    assert_array_equal(kernels.layer_norm(x, eps=0), [[-1, 1, -1, 1]])
    got = kernels.layer_norm(x, f32([1, 2, 3, 4]), f32([10, 20, 30, 40]), eps=12)
    assert_array_equal(got, [[9.5, 21, 28.5, 42]])


def test_rms_norm(backend):
    x = f32([[1, 7, 5, 5]])  # mean square 25
    close(kernels.rms_norm(x, eps=0), [[0.2, 1.4, 1, 1]])
    close(kernels.rms_norm(x, f32([2, 1, 1, 1]), eps=75), [[0.2, 0.7, 0.5, 0.5]])


def test_rotary(backend):
    # theta 1/16: the angles of the two pairs are p and p 16^(1/2) = 4 p.
    x = f32([[[1, 2, 3, 4, 9]]])
    c, s = math.cos(5), math.sin(5)
    d, t = math.cos(20), math.sin(20)
    got = kernels.rotary(x, [5], theta=1 / 16, rotated=4)
    close(got, [[[c - 3 * s, 2 * d - 4 * t, 3 * c + s, 4 * d + 2 * t, 9]]])
    got = kernels.rotary(x, [5], theta=1 / 16, rotated=4, interleaved=True)
    close(got, [[[c - 2 * s, 2 * c + s, 3 * d - 4 * t, 4 * d + 3 * t, 9]]])


def test_gated(backend):
    gate, up = f32([-LOG3, 0, LOG3, 2]), f32([4, 7, 4, 1])  # sigmoid 1/4, 1/2, 3/4
    close(kernels.gated(gate, up, "silu")[:3], [-LOG3, 0, 3 * LOG3])
    assert_array_equal(kernels.gated(gate, up, "relu")[[0, 3]], [0, 2])
    assert_array_equal(kernels.gated(gate, up, None), gate * up)


def test_to_bfloat16(backend):
    # 1 + 2^-8 is a tie, to the even 1; 1 + 3 2^-8 is one to 1 + 2^-6
    got = kernels.to_bfloat16(f32([1, -2, 1 + 2**-8, 1 + 3 * 2**-8]))
    assert_array_equal(got, [0x3F80, 0xC000, 0x3F80, 0x3F82])


def test_scaled_dot_product_attention(backend):
    # Scores 0 and log 3 are weights 1/4 and 3/4 of the values 4 and 8; the depth 4 scales by 1/2.
    query = f32([[1, 0, 0, 0], [1, 0, 0, 0]])
    key, value = f32([[0, 0, 0, 0], [2 * LOG3, 0, 0, 0]]), f32([[4, 1], [8, 1]])
    attention = kernels.scaled_dot_product_attention
    close(attention(query, key, value), [[7, 1], [7, 1]])
    close(attention(query, key, value, is_causal=True), [[4, 1], [7, 1]])
    mask = np.array([[False, True], [True, True]])
    close(attention(query, key, value, mask), [[8, 1], [7, 1]])
    close(attention(query, key, value, scale=0.0), [[6, 1], [6, 1]])


def test_cosine_topk(backend):
    # Cosines 24/25, -1, 4/5 and, of a row of zeros, 0.
    keys = f32([[4, 3], [-3, -4], [0, 2], [0, 0]])
    scores, indices = kernels.cosine_topk(f32([3, 4]), keys, 3)
    assert_array_equal(indices, [0, 2, 3])
    close(scores, [24 / 25, 4 / 5, 0])


def test_cosine_scores(backend):
    keys = f32([[4, 3], [-3, -4], [0, 2], [0, 0]])
    close(kernels.cosine_scores(f32([[3, 4]]), keys), [[24 / 25, -1, 4 / 5, 0]])


def test_row_norms(backend):
    assert_array_equal(kernels.row_norms(f32([[3, 4], [-5, 12], [0, 0]])), [5, 13, 0])
    keys = np.array([[3, 4], [6, 8]], np.int8)
    assert_array_equal(kernels.row_norms(keys, scales=f32([2, 0.5])), [10, 5])


def test_embedding_bag(backend):
    table = f32([[1, 2], [3, 4], [5, 6]])
    call = kernels.embedding_bag
    assert_array_equal(call([0, 2, 1], table, [0, 2, 2, 3]), [[3, 4], [0, 0], [3, 4]])
    close(call([0, 2, 1], table, [0, 2, 2, 3], normalize=True), [[0.6, 0.8], [0, 0], [0.6, 0.8]])
    got = call([0, 1], table, [0, 2], rows=[2, 0], weights=f32([1, 3]))
    assert_array_equal(got, [[(5 + 3) / 2, (6 + 6) / 2]])


def test_byte_codes(backend):
    coded = kernels.byte_codes(f32([[127, -64, 0, 1]]), metric="ip")  # the step is 1
    assert_array_equal(coded.codes[0, 0, 0], [255, 64, 128, 129])
    scale, bias, bound = coded.bounds[0, :, 0]
    assert (scale, bias) == (1, 0)
    length = math.sqrt(127**2 + 64**2 + 1)  # nothing is lost: B is |y| / 128, a little rounded up
    assert length / 128 <= bound <= length / 128 * (1 + 2.0**-10)
    assert (coded.codes[0, 0, 1:] == 128).all(), "padding"


def test_may_reach(backend):
    coded = kernels.byte_codes(f32([[127, -64, 0, 1], [1, 127, 0, 0]]), metric="ip")
    # The first row scores 127 and the second 1; a bound of |y| / 128 and of the query's own lies
    # between what they score and what they may.
    for score, want in ((0, [True, True]), (127, [True, False]), (140, [False, False])):
        got = kernels.may_reach(f32([[1, 0, 0, 0]]), coded, f32([score]))
        assert_array_equal(got, [want])


# u.v = 0 in what follows, so the logistic function is 1/2, a loss log 2, and a step +-0.05.


def test_skipgram_negative_sampling(backend):
    for contexts in ([0], [[0]]):
        w_in, w_out = f32([[1, 0]]), f32([[0, 1], [0, 2]])
        loss = kernels.skipgram_negative_sampling(w_in, w_out, [0], contexts, [[1]], 0.1)
        close(loss, 2 * math.log(2))
        close(w_in, [[1, 0.05 * 1 - 0.05 * 2]])
        close(w_out, [[0.05, 1], [-0.05, 2]])


def test_cbow_negative_sampling(backend):
    for negatives in ([1], [[1]]):
        # The mean of (2, 0) and (0, 0), and the sum of (1, 0) and (0, 0), are (1, 0).
        for mean, first, gain in ((True, 2, -0.05), (False, 1, -0.025)):
            w_in, w_out = f32([[first, 0], [0, 0]]), f32([[0, 1], [0, 2]])
            loss = kernels.cbow_negative_sampling(
                w_in, w_out, [0], [[0, 1, -1]], negatives, 0.1, cbow_mean=mean
            )
            close(loss, 2 * math.log(2))
            close(w_in, [[first, gain], [0, gain]])
            close(w_out, [[0.05, 1], [-0.05, 2]])


def test_hierarchical_softmax(backend):
    for contexts in ([0], [[0]]):
        w_in, w_tree = f32([[1, 0]]), f32([[0, 1], [0, 2]])
        loss = kernels.hierarchical_softmax(w_in, w_tree, [[0, 1]], [[0, 1]], contexts, 0.1)
        close(loss, 2 * math.log(2))
        close(w_in, [[1, 0.05 * 1 - 0.05 * 2]])
        close(w_tree, [[0.05, 1], [-0.05, 2]])


def test_glove_adagrad(backend):
    words = f32([[[2, 0.5], [4, 9]]])  # vector and bias; below, the sums of their squared gradients
    contexts = f32([[[3, -0.5], [16, 25]]])
    cost = kernels.glove_adagrad(words, contexts, [0], [0], [5.0], [0.5], 0.1)
    close(cost, 0.5 * 0.5 * 1**2)  # diff = 2 * 3 + 0.5 - 0.5 - 5 = 1
    close(words, [[[2 - 0.15 / 2, 0.5 - 0.5 / 3], [4 + 0.15**2, 9 + 0.5**2]]])
    close(contexts, [[[3 - 0.1 / 4, -0.5 - 0.5 / 5], [16 + 0.1**2, 25 + 0.5**2]]])
