"""What src/bind_networks.cpp refuses so that memory stays safe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.networks.rule import Problems, Samples

N, D, K = 5, 3, 2
INT = np.int32
SAMPLES = Samples(zeros(N, D), None, None, zeros(N, dtype=INT), zeros(N), zeros(N, dtype=np.uint8))
PROBLEMS = Problems(
    zeros(K, dtype=INT), zeros(K, 2, dtype=float), zeros(K, dtype=np.uint32), zeros(K, D),
    *(zeros(K, dtype=float), zeros(K, N, dtype=INT), zeros(K, dtype=float), zeros(K, dtype=float)),
    *(zeros(K, dtype=INT) for _ in range(3)),
)  # fmt: skip
SPARSE = replace(
    SAMPLES, values=zeros(4), columns=np.array([0, 2, 1, 0], INT),
    starts=np.array([0, 1, 1, 3, 3, 4], INT),
)  # fmt: skip
RULE = {"rate": 1.0, "intercept_decay": 1.0, "fit_intercept": True, "shuffle": True, "tol": 0.0,
        "patience": 5, "most": 2}  # fmt: skip
SIZE = ": perceptron_epochs wants another size"


def changed(given, **changes):
    """A case's change of samples or problems."""
    return {"samples" if isinstance(given, Samples) else "problems": replace(given, **changes)}


@pytest.mark.parametrize(
    "case",
    [
        ("dense", changed(SAMPLES, weights=zeros(4)), ValueError, "weights" + SIZE),
        ("dense", changed(SAMPLES, held_out=zeros(6, dtype=np.uint8)), ValueError, SIZE),
        ("dense", changed(SAMPLES, labels=zeros(5)), TypeError, "labels: want a contiguous array"),
        ("dense", changed(SAMPLES, values=zeros(4, D)), ValueError,
         "perceptron_epochs: values must be (n, d)"),
        ("dense", changed(SAMPLES, values=zeros(0, D), labels=zeros(0, dtype=INT), weights=zeros(0),
                          held_out=zeros(0, dtype=np.uint8)), ValueError,
         "perceptron_epochs: want from 1 to 2^31 - 1 samples and features"),
        ("dense", changed(PROBLEMS, coef=zeros(K * D)), ValueError,
         "perceptron_epochs: coef must be (K, d)"),
        ("dense", changed(PROBLEMS, coef=zeros(K, D, dtype=float)), TypeError, "coef: want"),
        ("dense", changed(PROBLEMS, coef=zeros(K, 0)), ValueError, "samples and features"),
        *(("dense", changed(PROBLEMS, **{name: zeros(9, dtype=getattr(PROBLEMS, name).dtype)}),
           ValueError, name + SIZE)
          for name in vars(PROBLEMS) if name != "coef"),
        ("dense", changed(PROBLEMS, order=np.full((K, N), 5, INT)), IndexError,
         "perceptron_epochs: a sample is out of range"),
        ("dense", changed(PROBLEMS, order=np.full((K, N), -1, INT)), IndexError,
         "perceptron_epochs: a sample is out of range"),
        ("sparse", changed(SPARSE, columns=zeros(3, dtype=INT)), ValueError, "columns" + SIZE),
        ("sparse", changed(SPARSE, starts=zeros(5, dtype=INT)), ValueError, "starts" + SIZE),
        *(("sparse", changed(SPARSE, starts=np.array(starts, INT)), ValueError,
           "perceptron_epochs: starts must rise within the values")
          for starts in ([0, 1, 1, 3, 3, 5], [-1, 1, 1, 3, 3, 4], [0, 2, 1, 3, 3, 4])),
        *(("sparse", changed(SPARSE, columns=np.array([0, 2, column, 0], INT)), IndexError,
           "perceptron_epochs: a column is out of range") for column in (-1, 3)),
    ],
)  # fmt: skip
def test_refused(case):
    given = SAMPLES if case[0] == "dense" else SPARSE
    good = {"samples": given, "problems": PROBLEMS, **RULE}
    refused(native("perceptron_epochs"), good, case)


def test_what_may_not_be_written_is_refused():
    coef = zeros(K, D)
    coef.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        native("perceptron_epochs")(samples=SAMPLES, problems=replace(PROBLEMS, coef=coef), **RULE)
