"""CBOW with negative sampling: one update batch.

V = words of the vocabulary, D = dimensions, B = windows of the batch, C = widest window,
K = negatives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays, _word_windows
from firth.kernels._dispatch import kernel


@kernel
def cbow_negative_sampling(
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: Any,
    contexts: Any,
    negatives: Any,
    learning_rate: float,
    cbow_mean: bool = True,
    weight: float = 1.0,
) -> float:
    """Update ``w_in`` and ``w_out`` in place by one batch; return the loss from before the updates.

    A window's contexts (rows of ``w_in``, repeated words as often as they occur) have the mean or
    sum h. With its centre o and negatives n it has the loss
    ``-log s(h.v_o) - sum_n weight log s(-h.v_n)``, where v are rows of ``w_out`` and s the logistic
    function. A step ``g = learning_rate * (label - s(h.v))``, times ``weight`` for a negative, adds
    ``g v`` to what h gains and ``g h`` to v. Every context then gains all that h gained; where h is
    a sum, that divided by the number of contexts, as in gensim. A negative equal to a window's
    centre is skipped there, not redrawn. A window without contexts does nothing.

    **Independent mode** (``negatives`` is 2-D): each window has its own negatives. Windows follow
    one another; within one the outputs follow one another, each updated before the next is scored.
    Where |h.v| >= 6 nothing is updated, as in gensim.

    **Shared mode** (``negatives`` is 1-D): the batch is one group whose windows share all
    negatives. All h and all scores are taken first. Then each window meets its centre, in order:
    windows with one centre see what those before them changed. Then all meet the negatives, with
    rows from before this last step, repeated negatives as often as they occur. There is no cut.

    Parameters
    ----------
    w_in : ndarray, shape (V, D), float32, rows contiguous
    w_out : ndarray, shape (V', D), float32, rows contiguous, not overlapping ``w_in``
    centers : integer array, shape (B,), rows of ``w_out``
    contexts : integer array, shape (B, C), rows of ``w_in``; -1 fills up short windows
    negatives : integer array, shape (B, K) or (K,), rows of ``w_out``; K may be 0
    learning_rate : float
    cbow_mean : bool
        Whether h is the mean of the contexts or their sum.
    weight : float
        How much each negative counts; 1 in independent mode. `firth.Word2Vec` draws twice as many
        for a group as for one window and counts each half.

    Returns
    -------
    float
        The loss summed over the batch (all outputs, those with |h.v| >= 6 too), each part taken
        from the scores of its update. Accumulated in double from float32 scores.

    Raises
    ------
    TypeError
        A weight matrix is not a float32 array, or an index array is not of integers.
    ValueError
        Shapes do not fit, a matrix is read-only or overlaps the other, ``learning_rate`` or
        ``weight`` is not finite, or ``weight`` is not 1 in independent mode.
    IndexError
        An index is out of range. All checks come before the first update.

    Notes
    -----
    Sources: Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space";
    independent mode after gensim 4's ``word2vec_inner.pyx``, with the logistic function computed
    instead of looked up; negatives for neighbouring windows as Ji et al. 2016, "Parallelizing
    Word2Vec in Shared and Distributed Memory", have them for the contexts of one.
    """
    w_in, w_out = np.asarray(w_in), np.asarray(w_out)
    negatives = np.asarray(negatives, np.int64)
    windows = [np.asarray(context)[np.asarray(context) >= 0] for context in contexts]
    given = [b for b, inputs in enumerate(windows) if len(inputs)]
    loss = 0.0

    def combine(b: int) -> NDArray[Any]:
        total: NDArray[Any] = w_in[windows[b]].sum(0)
        return total / (len(windows[b]) if cbow_mean else 1)

    def distribute(b: int, change: NDArray[Any]) -> None:
        np.add.at(w_in, windows[b], change / (1 if cbow_mean else len(windows[b])))

    if negatives.ndim == 2:
        for b in given:
            outputs = np.array([centers[b], *(n for n in negatives[b] if n != centers[b])])
            labels = np.arange(len(outputs)) == 0
            change, part = _word_windows.update_in_turn(
                combine(b), w_out, outputs, labels, learning_rate
            )
            distribute(b, change)
            loss += part
        return loss
    hidden = np.array([combine(b) for b in given]).reshape(-1, w_in.shape[1])
    positives = np.array([centers[b] for b in given], np.int64)
    times = weight * (negatives != positives[:, None])
    positive_scores = (hidden * w_out[positives]).sum(1)
    scores = hidden @ w_out[negatives].T
    loss += _word_windows.softplus(-positive_scores).sum()
    loss += (times * _word_windows.softplus(scores)).sum()
    positive_steps = learning_rate * (1 - np.exp(-_word_windows.softplus(-positive_scores)))
    steps = -learning_rate * times * np.exp(-_word_windows.softplus(-scores))
    changes = np.zeros_like(hidden)
    for i, positive in enumerate(positives):
        changes[i] = positive_steps[i] * w_out[positive]
        w_out[positive] += positive_steps[i] * hidden[i]
    changes += steps @ w_out[negatives]
    np.add.at(w_out, negatives, steps.T @ hidden)
    for b, change in zip(given, changes, strict=True):
        distribute(b, change)
    return float(loss)


@cbow_negative_sampling.prepare
def _(
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: Any,
    contexts: Any,
    negatives: Any,
    learning_rate: float,
    cbow_mean: bool = True,
    weight: float = 1.0,
) -> tuple[Any, ...]:
    function = "cbow_negative_sampling"
    w_in, w_out = _word_windows.matrices(function, w_in=w_in, w_out=w_out)
    centers = _arrays.indices(function, "centers", centers, 0, len(w_out))
    contexts = _arrays.indices(function, "contexts", contexts, -1, len(w_in))
    negatives = _arrays.indices(function, "negatives", negatives, 0, len(w_out))
    shared = negatives.ndim == 1
    if (
        centers.ndim != 1
        or contexts.ndim != 2
        or negatives.ndim not in (1, 2)
        or len(contexts) != len(centers)
        or not (shared or len(negatives) == len(centers))
    ):
        raise ValueError(
            f"{function}: want centers (B,), contexts (B, C), negatives (B, K) or (K,), "
            f"got {centers.shape}, {contexts.shape}, {negatives.shape}"
        )
    rate = _word_windows.finite(function, "learning_rate", learning_rate)
    weight = _word_windows.finite(function, "weight", weight)
    if weight != 1 and not shared:
        raise ValueError(f"{function}: weight must be 1 where negatives are (B, K), got {weight}")
    negatives = np.atleast_2d(negatives)
    return None, w_in, w_out, centers, contexts, negatives, shared, rate, bool(cbow_mean), weight


@cbow_negative_sampling.numba
def _(
    w_in: Any,
    w_out: Any,
    centers: Any,
    contexts: Any,
    negatives: Any,
    shared: bool,
    learning_rate: float,
    cbow_mean: bool,
    weight: float,
) -> float:
    # negatives: (1, K) in shared mode, else (B, K); a group is the batch or one window.
    dim, width, count = w_in.shape[1], contexts.shape[1], negatives.shape[1] + 1
    group = max(1, len(centers)) if shared else 1
    hidden = np.empty((group, dim), np.float32)
    change = np.empty((group, dim), np.float32)
    steps = np.empty((group, count), np.float32)
    sizes = np.empty(group, np.int64)
    rate = np.float32(learning_rate)
    one = np.float32(1)
    loss = 0.0
    for first in range(0, len(centers), group):
        # pass 1: the mean or sum of each window's contexts
        for i in range(group):
            sizes[i] = 0
            hidden[i] = 0
            change[i] = 0
            for c in range(width):
                row = contexts[first + i, c]
                if row < 0:
                    continue
                sizes[i] += 1
                for d in range(dim):
                    hidden[i, d] += w_in[row, d]
            if cbow_mean and sizes[i] > 0:
                for d in range(dim):
                    hidden[i, d] *= one / np.float32(sizes[i])
        # pass 2: scores and steps; independent mode updates each output at once
        for i in range(group):
            for j in range(count):
                steps[i, j] = 0
                row = centers[first + i] if j == 0 else negatives[0 if shared else first, j - 1]
                if sizes[i] == 0 or (j > 0 and row == centers[first + i]):
                    continue
                v = w_out[row]
                score = np.float32(0)
                for d in range(dim):
                    score += hidden[i, d] * v[d]
                times = one if j == 0 else np.float32(weight)
                loss += times * np.logaddexp(0.0, -score if j == 0 else score)
                if not shared and abs(score) >= 6:
                    continue
                label = one if j == 0 else np.float32(0)
                steps[i, j] = times * rate * (label - one / (one + np.exp(-score)))
                if shared:
                    continue
                for d in range(dim):
                    change[i, d] += steps[i, j] * v[d]
                    v[d] += steps[i, j] * hidden[i, d]
        # pass 3, shared mode: the centres in order, then all negatives from their old rows
        if shared:
            for i in range(group):
                v = w_out[centers[first + i]]
                for d in range(dim):
                    change[i, d] += steps[i, 0] * v[d]
                    v[d] += steps[i, 0] * hidden[i, d]
            for i in range(group):
                for j in range(1, count):
                    for d in range(dim):
                        change[i, d] += steps[i, j] * w_out[negatives[0, j - 1], d]
            for j in range(1, count):
                for i in range(group):
                    for d in range(dim):
                        w_out[negatives[0, j - 1], d] += steps[i, j] * hidden[i, d]
        # pass 4: what each context gains
        for i in range(group):
            scale = one if cbow_mean or sizes[i] == 0 else one / np.float32(sizes[i])
            for c in range(width):
                row = contexts[first + i, c]
                if row < 0:
                    continue
                for d in range(dim):
                    w_in[row, d] += scale * change[i, d]
    return loss


@cbow_negative_sampling.native
def _(
    level: _native.Level,
    w_in: Any,
    w_out: Any,
    centers: Any,
    contexts: Any,
    negatives: Any,
    shared: bool,
    learning_rate: float,
    cbow_mean: bool,
    weight: float,
) -> float:
    return _native.kernels.cbow_negative_sampling(
        level, w_in, w_out, centers, contexts, negatives, shared, learning_rate, cbow_mean, weight
    )
