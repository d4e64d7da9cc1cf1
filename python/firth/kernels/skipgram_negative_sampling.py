"""Skip-gram with negative sampling: one update batch.

V = words of the vocabulary, D = dimensions, B = pairs or windows of the batch, C = widest window,
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
def skipgram_negative_sampling(
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: Any,
    contexts: Any,
    negatives: Any,
    learning_rate: float,
) -> float:
    """Update ``w_in`` and ``w_out`` in place by one batch; return the loss from before the updates.

    A pair (centre o, context i) has the loss ``-log s(u_i.v_o) - sum_n log s(-u_i.v_n)``, where u
    are rows of ``w_in``, v rows of ``w_out``, n its negatives and s the logistic function. As in
    gensim the *centre* word is the output row and the *context* word the input row. With
    ``g = learning_rate * (label - s(u.v))``, label 1 for the centre and 0 for a negative, a step
    adds ``g v`` to u and ``g u`` to v. A negative equal to the centre is skipped, not redrawn.

    **Independent mode** (``contexts`` is 1-D): each pair has its own negatives. Pairs follow one
    another; within a pair the outputs follow one another, each updated before the next is scored,
    and u is updated at the end with the sum. Where |u.v| >= 6 nothing is updated, as in gensim
    (``word2vec_inner.pyx``, which does not say so; word2vec.c updates with a clamped label).

    **Shared mode** (``contexts`` is 2-D): one set of negatives serves all contexts of a window. All
    scores of a window are taken first, then all updates are added, repeated words as often as they
    occur: with U (m x D) and V (n x D) the window's rows and G (m x n) the steps, ``U += G V`` and
    ``V += G^T U`` with the old U and V. Windows follow one another. Large scores are updated like
    any other: s saturates smoothly and there is no cut.

    Parameters
    ----------
    w_in : ndarray, shape (V, D), float32, rows contiguous
    w_out : ndarray, shape (V', D), float32, rows contiguous, not overlapping ``w_in``
    centers : integer array, shape (B,), rows of ``w_out``
    contexts : integer array, shape (B,) or (B, C), rows of ``w_in``
        In shared mode -1 fills up windows with fewer than C words.
    negatives : integer array, shape (B, K), rows of ``w_out``; K may be 0
    learning_rate : float

    Returns
    -------
    float
        The loss summed over the batch (over all pairs, those with |u.v| >= 6 too), each part taken
        right before its own update. Accumulated in double from float32 scores.

    Raises
    ------
    TypeError
        A weight matrix is not a float32 array, or an index array is not of integers.
    ValueError
        Shapes do not fit, a matrix is read-only or overlaps the other, ``learning_rate`` is not
        finite.
    IndexError
        An index is out of range. All checks come before the first update.

    Notes
    -----
    Sources: Mikolov et al. 2013, "Distributed Representations of Words and Phrases"; independent
    mode after gensim 4's ``word2vec_inner.pyx``, with the logistic function computed instead of
    looked up in its 1000-entry table; shared mode after Ji et al. 2016, "Parallelizing Word2Vec in
    Shared and Distributed Memory" (pWord2Vec), without its clamp at 6.
    """
    w_in, w_out = np.asarray(w_in), np.asarray(w_out)
    contexts = np.asarray(contexts)
    shared = contexts.ndim == 2
    loss = 0.0
    for center, context, drawn in zip(centers, contexts, np.asarray(negatives), strict=True):
        outputs = np.array([center, *(n for n in drawn if n != center)], np.int64)
        labels = np.zeros(len(outputs))
        labels[0] = 1
        if shared:
            inputs = context[context >= 0]
            loss += _word_windows.update_together(
                w_in, w_out, inputs, outputs, labels, learning_rate
            )
            continue
        change, part = _word_windows.update_in_turn(
            w_in[context].copy(), w_out, outputs, labels, learning_rate
        )
        w_in[context] += change
        loss += part
    return loss


@skipgram_negative_sampling.prepare
def _(
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: Any,
    contexts: Any,
    negatives: Any,
    learning_rate: float,
) -> tuple[Any, ...]:
    function = "skipgram_negative_sampling"
    w_in, w_out = _word_windows.matrices(function, w_in=w_in, w_out=w_out)
    low = -1 if np.ndim(contexts) == 2 else 0
    contexts = _arrays.indices(function, "contexts", contexts, low, len(w_in))
    centers = _arrays.indices(function, "centers", centers, 0, len(w_out))
    negatives = _arrays.indices(function, "negatives", negatives, 0, len(w_out))
    if (
        centers.ndim != 1
        or contexts.ndim not in (1, 2)
        or negatives.ndim != 2
        or not len(centers) == len(contexts) == len(negatives)
    ):
        raise ValueError(
            f"{function}: want centers (B,), contexts (B,) or (B, C), negatives (B, K), "
            f"got {centers.shape}, {contexts.shape}, {negatives.shape}"
        )
    rate = _word_windows.finite(function, "learning_rate", learning_rate)
    return None, w_in, w_out, centers, contexts, negatives, rate


@skipgram_negative_sampling.numba
def _(
    w_in: Any, w_out: Any, centers: Any, contexts: Any, negatives: Any, learning_rate: float
) -> float:
    # contexts: (B,) or (B, C); both modes by one loop over windows and their pairs.
    shared = contexts.ndim == 2
    grid = contexts.reshape(len(centers), -1)
    dim, width, count = w_in.shape[1], grid.shape[1], negatives.shape[1] + 1
    steps = np.empty((width, count), np.float32)
    old = np.empty((width, dim), np.float32)
    rate = np.float32(learning_rate)
    one = np.float32(1)
    loss = 0.0
    for b in range(len(centers)):
        # pass 1, shared mode: all scores and steps of the window from the old rows
        if shared:
            for i in range(width):
                if grid[b, i] < 0:
                    continue
                u = w_in[grid[b, i]]
                old[i] = u
                for j in range(count):
                    row = centers[b] if j == 0 else negatives[b, j - 1]
                    steps[i, j] = 0
                    if j > 0 and row == centers[b]:
                        continue
                    v = w_out[row]
                    score = np.float32(0)
                    for d in range(dim):
                        score += u[d] * v[d]
                    label = one if j == 0 else np.float32(0)
                    steps[i, j] = rate * (label - one / (one + np.exp(-score)))
                    loss += np.logaddexp(0.0, -score if j == 0 else score)
            # pass 2: inputs from the old outputs, then outputs from the old inputs
            for i in range(width):
                if grid[b, i] < 0:
                    continue
                for j in range(count):
                    row = centers[b] if j == 0 else negatives[b, j - 1]
                    for d in range(dim):
                        w_in[grid[b, i], d] += steps[i, j] * w_out[row, d]
            for j in range(count):
                row = centers[b] if j == 0 else negatives[b, j - 1]
                for i in range(width):
                    if grid[b, i] < 0:
                        continue
                    for d in range(dim):
                        w_out[row, d] += steps[i, j] * old[i, d]
            continue
        # independent mode: output after output, the input at the end
        u = w_in[grid[b, 0]]
        change = old[0]
        change[:] = 0
        for j in range(count):
            row = centers[b] if j == 0 else negatives[b, j - 1]
            if j > 0 and row == centers[b]:
                continue
            v = w_out[row]
            score = np.float32(0)
            for d in range(dim):
                score += u[d] * v[d]
            loss += np.logaddexp(0.0, -score if j == 0 else score)
            if abs(score) >= 6:
                continue
            label = one if j == 0 else np.float32(0)
            step = rate * (label - one / (one + np.exp(-score)))
            for d in range(dim):
                change[d] += step * v[d]
                v[d] += step * u[d]
        for d in range(dim):
            u[d] += change[d]
    return loss


@skipgram_negative_sampling.native
def _(
    level: _native.Level,
    w_in: Any,
    w_out: Any,
    centers: Any,
    contexts: Any,
    negatives: Any,
    learning_rate: float,
) -> float:
    return _native.kernels.skipgram_negative_sampling(
        level, w_in, w_out, centers, contexts, negatives, learning_rate
    )
