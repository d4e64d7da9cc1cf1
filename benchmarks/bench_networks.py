"""Networks that train, against scikit-learn; the same bits are checked before anything is timed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import Perceptron

import firth
from harness import THREADS, Row, Timing, compared, interleave, size


def perceptron(dtype: type, settings: dict[str, Any]) -> dict[str, Timing]:
    """Epochs over the digits."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(dtype)
    subjects = {
        "firth": lambda: firth.Perceptron(**settings).fit(X, y),
        "scikit-learn": lambda: Perceptron(**settings).fit(X, y),
        "scikit-learn, 2 jobs": lambda: Perceptron(**settings, n_jobs=THREADS).fit(X, y),
    }
    ours, *theirs = (subject() for subject in subjects.values())
    for other in theirs:
        np.testing.assert_array_equal(ours.coef_, other.coef_)
        np.testing.assert_array_equal(ours.intercept_, other.intercept_)
    return interleave(subjects)


def run() -> list[Row]:
    """About 30 seconds."""
    firth.set_num_threads(THREADS)
    rows, epochs = [], size(1000)
    for dtype in (np.float64, np.float32):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            timed = perceptron(dtype, {"max_iter": epochs, "tol": None})
        work = f"perceptron, {epochs} epochs over digits, {dtype.__name__}"
        for peer, threads in (("scikit-learn", 1), ("scikit-learn, 2 jobs", THREADS)):
            rows.append(
                compared(work, peer, timed[peer], timed["firth"], "ms", 2.0,
                         threads=f"{threads} / {THREADS}")
            )  # fmt: skip
    return rows
