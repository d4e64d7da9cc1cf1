"""Skip-gram with hierarchical softmax: one update batch.

V = words of the vocabulary, N = inner nodes of the tree, D = dimensions, B = paths of the batch,
L = longest path, C = widest window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays, _word_windows
from firth.kernels._dispatch import kernel


@kernel
def hierarchical_softmax(
    w_in: NDArray[Any],
    w_tree: NDArray[Any],
    points: Any,
    codes: Any,
    contexts: Any,
    learning_rate: float,
) -> float:
    """Update ``w_in`` and ``w_tree`` in place by one batch; return the loss before the updates.

    A centre word is the path from the root of a binary (Huffman) tree to it: inner nodes p and
    turns c. With a context i it has the loss ``-sum_p log s((1 - 2 c_p) u_i.v_p)``, where u are
    rows of ``w_in``, v rows of ``w_tree`` and s the logistic function. With
    ``g = learning_rate * (1 - c_p - s(u.v))`` a step adds ``g v`` to u and ``g u`` to v.

    **Independent mode** (``contexts`` is 1-D): one context a path. Pairs follow one another; within
    a pair the nodes follow one another and u is updated at the end with the sum. Where |u.v| >= 6
    nothing is updated, as in gensim.

    **Shared mode** (``contexts`` is 2-D): all contexts of a window are updated together. All scores
    of a window are taken first, then all updates are added, repeated words as often as they occur.
    Windows follow one another. There is no cut.

    CBOW is the same with the mean (or sum) of a window's contexts as the only row of ``w_in``.

    Parameters
    ----------
    w_in : ndarray, shape (V, D), float32, rows contiguous
    w_tree : ndarray, shape (N, D), float32, rows contiguous, not overlapping ``w_in``
    points : integer array, shape (B, L), rows of ``w_tree``, none twice on a path
        -1 fills up paths with fewer than L nodes.
    codes : integer array, shape (B, L), 0 or 1
        Values at a -1 of ``points`` do not matter.
    contexts : integer array, shape (B,) or (B, C), rows of ``w_in``
        In shared mode -1 fills up windows with fewer than C words.
    learning_rate : float

    Returns
    -------
    float
        The loss summed over the batch (over all nodes, those with |u.v| >= 6 too), each part taken
        right before its own update. Accumulated in double from float32 scores.

    Raises
    ------
    TypeError
        A weight matrix is not a float32 array, or another array is not of integers.
    ValueError
        Shapes do not fit, a matrix is read-only or overlaps the other, a node is twice on a path,
        ``learning_rate`` is not finite.
    IndexError
        An index or code is out of range. All checks come before the first update.

    Notes
    -----
    Sources: Morin and Bengio 2005, "Hierarchical Probabilistic Neural Network Language Model";
    Mikolov et al. 2013, "Distributed Representations of Words and Phrases"; independent mode after
    gensim 4's ``word2vec_inner.pyx``, with the logistic function computed instead of looked up.
    """
    w_in, w_tree, contexts = np.asarray(w_in), np.asarray(w_tree), np.asarray(contexts)
    loss = 0.0
    for point, code, context in zip(np.asarray(points), np.asarray(codes), contexts, strict=True):
        path = point[point >= 0]
        labels = 1 - code[point >= 0]
        if contexts.ndim == 2:
            inputs = context[context >= 0]
            loss += _word_windows.update_together(w_in, w_tree, inputs, path, labels, learning_rate)
            continue
        change, part = _word_windows.update_in_turn(
            w_in[context].copy(), w_tree, path, labels, learning_rate
        )
        w_in[context] += change
        loss += part
    return loss


@hierarchical_softmax.prepare
def _(
    w_in: NDArray[Any],
    w_tree: NDArray[Any],
    points: Any,
    codes: Any,
    contexts: Any,
    learning_rate: float,
) -> tuple[Any, ...]:
    function = "hierarchical_softmax"
    w_in, w_tree = _word_windows.matrices(function, w_in=w_in, w_tree=w_tree)
    shared = np.ndim(contexts) == 2
    points = _arrays.indices(function, "points", points, -1, len(w_tree))
    contexts = _arrays.indices(function, "contexts", contexts, -1 if shared else 0, len(w_in))
    if (
        points.ndim != 2
        or np.shape(codes) != points.shape
        or contexts.ndim not in (1, 2)
        or len(contexts) != len(points)
    ):
        raise ValueError(
            f"{function}: want points and codes (B, L), contexts (B,) or (B, C), "
            f"got {points.shape}, {np.shape(codes)}, {contexts.shape}"
        )
    turns = np.where(points >= 0, codes, 0)
    turns = _arrays.indices(function, "codes", turns, 0, 2).astype(np.uint8)
    sorted_points = np.sort(points, axis=1)
    twice = (sorted_points[:, 1:] == sorted_points[:, :-1]) & (sorted_points[:, 1:] >= 0)
    if twice.any():
        node = sorted_points[:, 1:][twice][0]
        raise ValueError(f"{function}: points must be different on a path, got {node} twice")
    rate = _word_windows.finite(function, "learning_rate", learning_rate)
    grid = contexts if shared else contexts[:, None]
    return None, w_in, w_tree, points, turns, grid, shared, rate


@hierarchical_softmax.numba
def _(
    w_in: Any,
    w_tree: Any,
    points: Any,
    codes: Any,
    contexts: Any,
    shared: bool,
    learning_rate: float,
) -> float:
    # contexts: (B, 1) in independent mode
    dim, width, length = w_in.shape[1], contexts.shape[1], points.shape[1]
    steps = np.empty((width, length), np.float32)
    change = np.empty((width, dim), np.float32)
    rate = np.float32(learning_rate)
    one = np.float32(1)
    loss = 0.0
    for b in range(len(points)):
        # pass 1: scores and steps; independent mode updates each node at once
        for i in range(width):
            change[i] = 0
            if contexts[b, i] < 0:
                continue
            u = w_in[contexts[b, i]]
            for j in range(length):
                steps[i, j] = 0
                if points[b, j] < 0:
                    continue
                v = w_tree[points[b, j]]
                score = np.float32(0)
                for d in range(dim):
                    score += u[d] * v[d]
                label = one - np.float32(codes[b, j])
                loss += np.logaddexp(0.0, -score if codes[b, j] == 0 else score)
                if not shared and abs(score) >= 6:
                    continue
                step = rate * (label - one / (one + np.exp(-score)))
                steps[i, j] = step
                for d in range(dim):
                    change[i, d] += step * v[d]
                if not shared:
                    for d in range(dim):
                        v[d] += step * u[d]
        # pass 2, shared mode: the nodes from the old inputs
        if shared:
            for j in range(length):
                if points[b, j] < 0:
                    continue
                for i in range(width):
                    if contexts[b, i] < 0:
                        continue
                    for d in range(dim):
                        w_tree[points[b, j], d] += steps[i, j] * w_in[contexts[b, i], d]
        # pass 3: the inputs
        for i in range(width):
            if contexts[b, i] < 0:
                continue
            for d in range(dim):
                w_in[contexts[b, i], d] += change[i, d]
    return loss


@hierarchical_softmax.native
def _(
    level: _native.Level,
    w_in: Any,
    w_tree: Any,
    points: Any,
    codes: Any,
    contexts: Any,
    shared: bool,
    learning_rate: float,
) -> float:
    return _native.kernels.hierarchical_softmax(
        level, w_in, w_tree, points, codes, contexts, shared, learning_rate
    )
