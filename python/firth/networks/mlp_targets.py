"""What multilayer perceptrons learn: classes as numbers, and how well they were learnt.

Messages are scikit-learn's. n = samples, K = outputs.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.estimator import check_finite, warning
from firth.kernels._arrays import readable
from firth.networks.inputs import classes_of, labels_of, places_of

Array = NDArray[Any]


class Classes(NamedTuple):
    """What the outputs of a classifier stand for."""

    kind: str  # binary: one output; multiclass: one of K; multilabel: any of K
    labels: Array  # sorted; of multilabel the numbers of the columns


def read_labels(y: Any, name: str) -> Array:
    """Labels (n,), or a table (n, K) of 0 and 1; an error where they are neither."""
    table = None if y is None or hasattr(y, "toarray") else np.asarray(readable(y))
    if table is None or table.ndim != 2 or table.shape[1] == 1:
        return labels_of(y, name)
    if table.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{table}\n")
    check_finite(table, "y")
    if table.dtype.kind not in "biuf" or table.ndim != 2 or not np.isin(table, (0, 1)).all():
        raise ValueError("Multioutput target data is not supported: a table y has 0 and 1 only")
    return table


def find_classes(y: Array) -> Classes:
    """The classes that labels have, in order."""
    if y.ndim == 2:
        return Classes("multilabel", np.arange(y.shape[1]))
    labels = classes_of(y)
    return Classes("multiclass" if len(labels) > 2 else "binary", labels)


def targets_of(y: Array, classes: Classes) -> NDArray[np.bool_]:
    """Whether each output (n, K) should be 1."""
    if classes.kind == "multilabel" or y.ndim == 2:
        if y.ndim != 2 or classes.kind != "multilabel":
            raise ValueError(
                f"y: labels of {classes.kind} kind were fitted, got shape {y.shape}"
                if y.ndim == 2
                else "y: a table (n_samples, n_outputs) of 0 and 1 was fitted, got labels"
            )
        if y.shape[1] != len(classes.labels):
            raise ValueError(f"y has {y.shape[1]} columns, but {len(classes.labels)} were fitted")
        return y.astype(bool)
    places = places_of(y, classes.labels)
    if classes.kind == "multiclass":
        return np.asarray(places[:, None] == np.arange(len(classes.labels)))
    return np.asarray(places[:, None] == 1)


def labels_from(outputs: Array, classes: Classes) -> Array:
    """The predicted labels (n,), or a table (n, K), of outputs (n, K)."""
    if classes.kind == "multilabel":
        return (outputs > 0.5).astype(int)
    if classes.kind == "multiclass":
        places = outputs.argmax(axis=1)
    else:  # of a single class there is no other
        places = ((outputs[:, 0] > 0.5) & (len(classes.labels) > 1)).astype(np.int64)
    labels: Array = classes.labels[places]
    return labels


def accuracy(outputs: Array, targets: Array, output: str, weights: Array | None) -> float:
    """The share of the samples, both (n, K), of which everything is predicted.

    ``output`` is the function of the last layer: of softmax the greatest output counts, of logistic
    the side of 1/2 on which each is.
    """
    if output == "softmax":
        right = outputs.argmax(axis=1) == targets.argmax(axis=1)
    else:
        right = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
    return float(np.average(right, weights=weights))


def read_numbers(y: Any, name: str) -> Array:
    """Targets (n,) or (n, K) of a regression, as real numbers."""
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    if hasattr(y, "toarray"):
        raise TypeError("Sparse data was passed for y, but dense data is required.")
    values = np.asarray(readable(y))
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{values}\n")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"y must have shape (n,) or (n, outputs), got {values.shape}")
    if values.ndim == 2 and values.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples, ), for example using ravel().",
            warning("DataConversionWarning"),
            stacklevel=3,
        )
        values = values.ravel()
    check_finite(values, "y")
    return values


def r2(y: Array, predicted: Array, weights: Array | None) -> float:
    """The share of the variance of y that is predicted, the mean over outputs."""
    if len(y) < 2:
        warnings.warn(
            "R^2 score is not well-defined with less than two samples.",
            warning("UndefinedMetricWarning"),
            stacklevel=3,
        )
        return math.nan
    y, predicted = (np.asarray(x, np.float64).reshape(len(y), -1) for x in (y, predicted))
    of = np.ones((len(y), 1)) if weights is None else np.asarray(weights, np.float64)[:, None]
    missed = (of * (y - predicted) ** 2).sum(axis=0)
    spread = (of * (y - (of * y).sum(axis=0) / of.sum()) ** 2).sum(axis=0)
    scores = np.where(missed == 0, 1.0, 0.0)  # of an output that is constant
    varied = spread != 0
    scores[varied] = 1 - missed[varied] / spread[varied]
    return float(scores.mean())
