"""What a perceptron is given, checked: labels, weights, samples, and random numbers.

Messages are scikit-learn's, and so is the order in which random numbers are drawn.
n = samples, d = features, K = problems.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.estimator import check_finite, integer, warning
from firth.kernels._arrays import readable
from firth.networks.rule import Samples

_MOST = np.iinfo(np.int32).max


def labels_of(y: Any, name: str) -> NDArray[Any]:
    """Labels (n,) as given; an error where they are none. ``name`` is the estimator's."""
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    if hasattr(y, "toarray"):
        raise TypeError("Sparse data was passed for y, but dense data is required.")
    y = np.asarray(readable(y))
    if y.ndim == 2 and y.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples, ), for example using ravel().",
            warning("DataConversionWarning"),
            stacklevel=3,
        )
        y = y.ravel()
    if y.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {y.shape} instead.")
    if y.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{y}\n")
    check_finite(y, "y")
    if y.dtype.kind == "O" and (y != y).any():
        raise ValueError("Input y contains NaN.")
    labels: NDArray[Any] = y
    return labels


def classes_of(y: NDArray[Any]) -> NDArray[Any]:
    """The different labels in order; an error where they are no labels."""
    first = y[0] if len(y) else None
    if isinstance(first, bytes):
        raise TypeError(
            "Support for labels represented as bytes is not supported. Convert the labels to a "
            "string or integer format."
        )
    if y.dtype.kind == "O" and not isinstance(first, str):
        raise ValueError(f"Unknown label type: {type(first).__name__}")
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise ValueError("Unknown label type: continuous. Labels are whole numbers or strings.")
    classes: NDArray[Any] = np.unique(y)
    return np.array(classes.tolist()) if y.dtype.kind == "O" else classes


def places_of(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int32]:
    """The place (n,) of each label among the classes."""
    places = {label: place for place, label in enumerate(classes.tolist())}
    found, inverse = np.unique(y, return_inverse=True)
    try:
        known = [places[label] for label in found.tolist()]
    except KeyError:
        raise ValueError("classes should include all valid labels that can be in y") from None
    return np.array(known, np.int32)[inverse]


def class_weights(
    given: Any, labels: NDArray[np.int32], classes: NDArray[Any]
) -> NDArray[np.float64]:
    """The factor (n_classes,) of updates by samples of each class."""
    weights = np.ones(len(classes))
    if not given:
        return weights
    if given == "balanced":
        counts = np.bincount(labels, minlength=len(classes))
        if not counts.all():
            raise ValueError("classes should have valid labels that are in y")
        return np.asarray(len(labels) / (len(classes) * counts), np.float64)
    missing = []
    for place, name in enumerate(classes.tolist()):
        key = name if isinstance(name, str) else int(name)
        if key in given:
            weights[place] = given[key]
        else:
            missing.append(name)
    if missing and len(classes) - len(missing) != len(given):
        raise ValueError(f"The classes, {missing}, are not in class_weight")
    return weights


def sample_weights(given: Any, n: int, dtype: Any, zeros: bool) -> NDArray[Any]:
    """The factor (n,) of updates by each sample; with ``zeros`` all may be 0."""
    if given is None or isinstance(given, numbers.Number):
        weights = np.full(n, 1 if given is None else given, dtype)
    else:
        weights = np.array(given, dtype)
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Expected "
            f"either a scalar value or a 1D array of length {n}."
        )
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    check_finite(weights, "sample_weight")
    if not zeros and not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def initial(name: str, given: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Weights to begin with, a copy: ``given``, rounded to the dtype, or zeros.

    Those of a single problem may have any shape. Intercepts, ``shape`` (K,), become float64.
    """
    if hasattr(given, "toarray"):
        given = given.toarray()
    weights = np.zeros(shape, dtype) if given is None else np.array(given, dtype, order="C")
    if weights.shape != shape and not (shape[0] == 1 and weights.size == math.prod(shape)):
        raise ValueError(
            f"Provided {name} does not match dataset: want shape {shape}, got {weights.shape}"
        )
    check_finite(weights, name)
    weights = weights.reshape(shape)
    return weights if len(shape) > 1 else weights.astype(np.float64)


def samples_of(
    data: Any,
    dtype: Any,
    labels: NDArray[np.int32],
    weights: NDArray[Any],
    held_out: NDArray[np.uint8],
) -> Samples:
    """Samples for the rule: rows of an array, or of a sparse matrix in CSR format."""
    if not hasattr(data, "toarray"):
        values = np.require(data, dtype, ["C", "A"])
        return Samples(values, None, None, labels, weights, held_out)
    if len(data.data) > _MOST:
        raise ValueError(f"X: sparse data may have {_MOST} numbers at most, got {len(data.data)}")
    values = np.require(data.data, dtype, ["C", "A"])
    columns, starts = (
        np.require(part, np.int32, ["C", "A"]) for part in (data.indices, data.indptr)
    )
    return Samples(values, columns, starts, labels, weights, held_out)


def draw(
    state: Any,
    count: int,
    fraction: float | None,
    labels: NDArray[np.int32],
    weights: NDArray[Any],
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Which samples (n,) are held out, and a seed for each of ``count`` problems.

    Nothing is held out where ``fraction`` is None. A seed is the second number of a generator; the
    first one has a purpose in scikit-learn that a perceptron does not have.
    """
    if count == 1:
        random = generator(state)
        random.randint(1, _MOST)
        held_out = _held_out(state, fraction, labels, weights)
        return held_out, np.array([random.randint(_MOST)], np.uint32)
    held_out = _held_out(state, fraction, labels, weights)
    seeds = []
    for seed in generator(state).randint(_MOST, size=count):
        random = np.random.RandomState(seed)
        random.randint(1, _MOST)
        seeds.append(random.randint(_MOST))
    return held_out, np.array(seeds, np.uint32)


def generator(state: Any) -> Any:
    """A generator as scikit-learn's check_random_state gives: None is that of `numpy.random`."""
    if state is None or state is np.random:
        return np.random.mtrand._rand
    return np.random.RandomState(state) if integer(state) else state


def _held_out(
    state: Any, fraction: float | None, labels: NDArray[np.int32], weights: NDArray[Any]
) -> NDArray[np.uint8]:
    """1 for the samples (n,) of validation: of each class about the same share, by chance."""
    chosen = np.zeros(len(labels), np.uint8)
    if fraction is None:
        return chosen
    chosen[hold_out(len(labels), fraction, labels, generator(state))[1]] = 1
    if not (weights[chosen == 1] > 0).any():
        raise ValueError(
            "The sample weights for validation set are all zero, consider using a different random "
            "state."
        )
    return chosen


def hold_out(
    n: int, fraction: float, labels: NDArray[Any] | None, random: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows for validation, by chance; of each label about the same share.

    scikit-learn's train_test_split, with its order and its random numbers.
    """
    tested = math.ceil(fraction * n)
    learnt = n - tested
    if labels is None:
        order = random.permutation(n)
        return order[tested:], order[:tested]
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            "early_stopping: The least populated classes in y have only 1 member, which is too few "
            "to learn from it and to hold it out"
        )
    if min(learnt, tested) < len(present):
        raise ValueError(
            f"early_stopping: validation_fraction={fraction} of {n} samples leaves {learnt} to "
            f"learn and {tested} to hold out, fewer than the {len(present)} classes"
        )
    to_learn = shares(counts, learnt, random)
    to_test = shares(counts - to_learn, tested, random)
    train, test = [], []
    for label, count, first, size in zip(present, counts, to_learn, to_test, strict=True):
        rows = np.flatnonzero(labels == label)[random.permutation(count)]
        train.append(rows[:first])
        test.append(rows[first : first + size])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def shares(counts: NDArray[Any], total: int, random: Any) -> NDArray[np.int64]:
    """``total`` samples divided among classes as their ``counts`` are, fractions by chance."""
    wanted = counts / counts.sum() * total
    found: NDArray[np.float64] = np.floor(wanted)
    rests, missing = wanted - found, int(total - found.sum())
    for rest in np.unique(rests)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(rests == rest)
        more = min(len(equal), missing)
        found[random.choice(equal, size=more, replace=False)] += 1
        missing -= more
    whole: NDArray[np.int64] = found.astype(np.int64)
    return whole
