"""Lengths, directions and cosines against whole numbers, at both ends of float64's range."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from conftest import LENGTHS, spiky
from firth import geometry

# Powers of two: what they multiply keeps its digits.
SCALES = [2.0**-1060, 2.0**-700, 2.0**-30, 1.0, 2.0**60, 2.0**700, 2.0**1020]
EPS = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize("scale", SCALES)
def test_any_magnitude_is_as_good_as_one(backend: str, scale: float) -> None:
    rows = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [4.0, -3.0, 0.0], [5.0, 0.0, 12.0]])
    np.testing.assert_array_equal(geometry.lengths(rows * scale), np.array([5, 0, 5, 13]) * scale)
    np.testing.assert_array_equal(geometry.unit(rows * scale)[:3], rows[:3] / 5)
    want = [1, 0, 0, 15 / 65]
    for other in SCALES:
        got = geometry.cosines(rows[0] * other, rows * scale)
        np.testing.assert_allclose(got, want, rtol=4 * EPS, atol=0)
        assert geometry.cosine(rows[0] * other, rows[3] * scale) == pytest.approx(15 / 65, rel=EPS)
    np.testing.assert_array_equal(geometry.mean(rows * scale, [1, 1, 0, 2]), [
        3.25 * scale, scale, 6 * scale
    ])  # fmt: skip


@pytest.mark.parametrize("d", LENGTHS)
def test_lengths_against_hypot(backend: str, d: int) -> None:
    rng = np.random.default_rng(d)
    rows = spiky(rng, (9, d), np.float64) * 10.0 ** rng.integers(-300, 300, (9, 1))
    want = [math.hypot(*row) for row in rows.tolist()]
    np.testing.assert_allclose(geometry.lengths(rows), want, rtol=(d / 2 + 4) * EPS)
    lengths = geometry.lengths(geometry.unit(rows))
    np.testing.assert_allclose(lengths, np.ones(9) * (d > 0), rtol=(d / 2 + 4) * EPS)


@pytest.mark.parametrize("d", [1, 2, 3, 17, 300])
def test_parallel_vectors_have_cosine_one(backend: str, d: int) -> None:
    rng = np.random.default_rng(d)
    rows = rng.standard_normal((40, d))
    factors = np.concatenate([np.arange(1, 40), [1e200]])
    for row in rows[:5]:
        parallel = row * factors[:, None] / 7
        assert (geometry.cosines(row, parallel) == 1).all()
        assert (geometry.cosines(row, -parallel) == -1).all()
        assert geometry.cosine(row, row) == geometry.cosine(row, row * 3) == 1
        assert geometry.cosine(row, row / -3) == -1
        assert (geometry.distances_of_directions(row[None], parallel) == 0).all()


def test_cosines_stay_within_one_and_are_symmetric(backend: str) -> None:
    rows = np.random.default_rng(0).standard_normal((300, 5)) * 1e-3 + 1
    table = np.stack([geometry.cosines(row, rows) for row in rows])
    assert table.max() == 1
    assert (np.diag(table) == 1).all()
    for a, b in itertools.pairwise(rows):
        assert geometry.cosine(a, b) == geometry.cosine(b, a) <= 1


def test_near_parallel_vectors_keep_their_distance() -> None:
    # cos of an angle t is 1 - t^2 / 2: a dot product of unit vectors loses it
    for angle in (1e-6, 1e-5, 1e-3):
        cosine = geometry.cosine([1.0, 0.0], [math.cos(angle), math.sin(angle)])
        assert 1 - cosine == pytest.approx(2 * math.sin(angle / 2) ** 2, abs=EPS)


def test_what_has_no_cosine(backend: str) -> None:
    rows = np.array([[1.0, 1.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, -1.0]])
    np.testing.assert_array_equal(geometry.cosines([2.0, 2.0], rows), [1, 0, np.nan, np.nan, 0])
    assert np.isnan(geometry.cosines([np.inf, 1.0], rows)).all()
    assert (geometry.cosines([0.0, 0.0], rows[:2]) == 0).all()
    norms = geometry.lengths(rows)
    norms[0] = np.nan  # left out
    np.testing.assert_array_equal(
        geometry.cosines([2.0, 2.0], rows, norms), [np.nan, 0, np.nan, np.nan, 0]
    )
    assert geometry.cosines([1.0, 2.0], np.zeros((0, 2))).shape == (0,)


def test_normed_keeps_the_dtype_and_the_ends_of_its_range(backend: str) -> None:
    for dtype, magnitudes in (
        (np.float16, [6e-8, 1, 6e4]),
        (np.float32, [1.5e-45, 1e-38, 1, 1e30, 3.4e38]),
        (np.float64, [5e-324, 1e-308, 1, 1e200, 1.7e308]),
    ):
        rows = np.ones((len(magnitudes), 4), dtype) * np.array(magnitudes, dtype)[:, None]
        got = geometry.normed(rows, geometry.lengths(rows))
        np.testing.assert_array_equal(got, np.full(rows.shape, 0.5))
        assert got.dtype == (np.float32 if dtype == np.float16 else dtype)


def normed(rows: np.ndarray) -> np.ndarray:
    return geometry.normed(rows, geometry.lengths(rows))


@pytest.mark.parametrize("d", [1, 2, 3, 7, 17, 100, 301])
def test_a_row_has_the_same_bits_in_any_company(backend: str, d: int) -> None:
    rng = np.random.default_rng(d)
    odd = np.array([0, np.nan, np.inf, *SCALES])
    rows = rng.standard_normal((40 + len(odd), d))
    vector = rng.standard_normal(d)
    with np.errstate(invalid="ignore"):
        rows[40:] *= odd[:, None]
        rows = rows[rng.permutation(len(rows))]
        for block in (rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2]):
            for function in (geometry.unit, geometry.lengths, normed):
                for row, got in zip(rows, function(block), strict=True):
                    np.testing.assert_array_equal(got, function(row[None])[0])
                    np.testing.assert_allclose(got, function(row), rtol=(d / 2 + 4) * EPS)
            for row, got in zip(rows, geometry.cosines(vector, block), strict=True):
                np.testing.assert_array_equal(got, geometry.cosines(vector, row[None])[0])


def test_distances() -> None:
    a, b = np.array([[0.0, 3.0], [1e200, 0.0]]), np.array([[4.0, 0.0], [1e200, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(geometry.distances(a, b), [[5, 1e200, 0], [1e200, 0, 1e200]])
    directions = geometry.distances_of_directions(a, b)
    np.testing.assert_allclose(directions, [[2**0.5, 2**0.5, 0], [0, 0, 2**0.5]], rtol=EPS)
