"""The trainer of word vectors against a plain walk over the corpus with the reference kernels.

The decisions of csrc/engines/words/word_windows.cpp (blocks, random numbers, sub-sampling, windows,
groups, parts, the order of updates) are repeated here in Python; the updates of a window are those
of `firth.kernels`' references in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

from conftest import update_tolerance
from firth import Word2Vec
from firth.kernels import (
    cbow_negative_sampling,
    hierarchical_softmax,
    skipgram_negative_sampling,
)
from firth.words import training
from texts import encoded

DIM = 20
BLOCK = 10_000  # tokens


class SplitMix64:
    def __init__(self, state):
        self.state = state

    def next(self):
        def wrap(x):
            return x & (2**64 - 1)

        z = self.state = wrap(self.state + 0x9E3779B97F4A7C15)
        z = wrap((z ^ z >> 30) * 0xBF58476D1CE4E5B9)
        z = wrap((z ^ z >> 27) * 0x94D049BB133111EB)
        return z ^ z >> 31

    def below(self, n):
        return (self.next() >> 32) * n >> 32


def alias_table(weights):
    """Vose 1991: place i gives i where a 32-bit draw is below the threshold, else the alias."""
    n, total = len(weights), sum(weights)
    scaled = [w / total * n for w in weights]
    small = [i for i in range(n) if scaled[i] < 1]
    large = [i for i in range(n) if scaled[i] >= 1]
    table = [(2**32 - 1, i) for i in range(n)]
    while small and large:
        s, rest = small.pop(), large[-1]
        table[s] = (int(scaled[s] * 4294967295.0), rest)
        scaled[rest] -= 1 - scaled[s]
        if scaled[rest] < 1:
            small.append(large.pop())
    return table


def blocks(ids):
    """Blocks begin behind the first end of a sentence at or behind every 10,000th token."""
    starts = [0]
    for nominal in range(BLOCK, len(ids), BLOCK):
        starts.append(next(t for t in range(nominal, len(ids) + 1) if ids[t - 1] < 0))
    return list(zip(starts, [*starts[1:], len(ids)], strict=True))


class Walk:
    """One training; `loss` and `pairs` are those of the last epoch."""

    def __init__(self, net, ids, epochs, start_alpha, end_alpha):
        self.net = net
        self.w_in, self.w_out, self.w_tree, self.sub = (
            None if m is None else m.astype(np.float64)[:, :DIM]
            for m in (net.w_in, net.w_out, net.w_tree, net.subwords and net.subwords.vectors)
        )
        self.met = np.zeros(len(net.w_in), np.int64)  # how often each word occurred in a window
        self.table = alias_table((net.counts.astype(np.float64) ** net.ns_exponent).tolist())
        for epoch in range(epochs):
            self.loss = self.pairs = 0
            for block, (begin, end) in enumerate(blocks(ids)):
                done = (epoch * len(ids) + begin) / (epochs * len(ids))
                self.rate = np.float32(
                    max(end_alpha, start_alpha - (start_alpha - end_alpha) * done)
                )
                self.random = SplitMix64(net.seed)
                for place in (epoch, block, 0):
                    self.random = SplitMix64(self.random.next() + place)
                self.walk(ids[begin:end])

    def matrices(self):
        return [m for m in (self.w_in, self.w_out, self.w_tree, self.sub) if m is not None]

    def walk(self, ids):
        net, rate = self.net, self.rate
        kept, sentence, ends = [], [], 0
        for i in ids.tolist():
            word = ~i if i < 0 else i
            if not net.sample or self.random.next() >> 32 <= net.keep[word]:
                kept.append(word)
                sentence.append(ends)
            ends += i < 0
        reach = [net.window] * len(kept)
        if net.shrink_windows:
            reach = [1 + self.random.below(net.window) for _ in kept]
        self.kept = np.array(kept, np.int64)
        self.windows = [
            [
                j
                for j in range(max(0, i - reach[i]), min(len(kept), i + reach[i] + 1))
                if j != i and sentence[j] == sentence[i]
            ]
            for i in range(len(kept))
        ]
        for window in self.windows:
            np.add.at(self.met, self.kept[window], 1)
        # a position has its word's row or, where words have further rows, a vector of its own
        self.rows = self.kept if self.sub is None else np.arange(len(kept))
        self.vectors = self.w_in if self.sub is None else np.zeros((len(kept), DIM))
        self.entered, self.left = {}, 0
        window, group, self.part = min(net.window, max(1, len(kept))), 1, 64
        if not net.sg and net.shared and net.negative:
            summed = 2 * rate * np.float32(window)  # what a group's contexts may learn together
            group = 8 if 8 * summed <= np.float32(2.05) else max(1, int(np.float32(2.05) / summed))
        if 64 * rate > np.float32(0.4):
            self.part = max(1, int(np.float32(0.4) / rate))
        self.rate = float(rate)
        for first in range(0, len(kept), group):
            last = min(len(kept), first + group)
            if self.sub is not None:
                self.move_to(first - window, last + window)
            self.skip_gram(first) if net.sg else self.cbow(range(first, last))
        if self.sub is not None:
            self.move_to(len(kept), len(kept))

    def move_to(self, low, high):
        """Positions below `low` pass their gains to their rows; those below `high` begin."""
        for p in range(self.left, low):
            own, further, count = self.further(p)
            gain = (self.vectors[p] - self.entered[p]) / (1 if self.net.sg else count)
            self.w_in[own] += gain
            np.add.at(self.sub, further, gain)
        self.left = max(self.left, low)
        for p in range(len(self.entered), min(high, len(self.kept))):
            own, further, count = self.further(p)
            total = self.w_in[own] + self.sub[further].sum(0)
            self.vectors[p] = self.entered[p] = total / (count if self.net.sg else 1)

    def further(self, p):
        start, ids = self.net.subwords.start, self.net.subwords.ids
        further = ids[start[self.kept[p]] : start[self.kept[p] + 1]]
        return self.kept[p], further, 1 + len(further)

    def path(self, i):
        tree = self.net.tree
        mine = slice(tree.start[self.kept[i]], tree.start[self.kept[i] + 1])
        return tree.points[mine][None], tree.codes[mine][None].astype(np.int64)

    def draw(self, count):
        drawn = []
        for _ in range(count):
            bits = self.random.next()
            i = (bits >> 32) * len(self.table) >> 32
            threshold, alias = self.table[i]
            drawn.append(i if bits & (2**32 - 1) < threshold else alias)
        return drawn

    def update(self, kernel, *arguments):
        """Update the positions' vectors; a locked row takes its share of what it would gain."""
        old = self.vectors.copy()
        self.loss += kernel.reference(self.vectors, *arguments, self.rate)
        if self.net.lockf is not None:
            self.vectors[:] = old + self.net.lockf[:, None] * (self.vectors - old)

    def skip_gram(self, i):
        net, window = self.net, self.windows[i]
        self.pairs += len(window)
        size = self.part if net.shared else 1
        negatives = self.draw(net.negative) if net.shared and window else None
        for start in range(0, len(window), size):
            rows = self.rows[window[start : start + size]]
            contexts = rows[None] if net.shared else rows
            if self.w_tree is not None:
                self.update(hierarchical_softmax, self.w_tree, *self.path(i), contexts)
            if self.w_out is not None:
                drawn = negatives or self.draw(net.negative)
                center = self.kept[i : i + 1]
                self.update(skipgram_negative_sampling, self.w_out, center, contexts, [drawn])

    def combine(self, i):
        """The mean or sum of all rows of centre i's contexts, and how many rows they are."""
        count = sum(1 if self.sub is None else self.further(j)[2] for j in self.windows[i])
        total = self.vectors[self.rows[self.windows[i]]].sum(0)
        return total / (count if self.net.cbow_mean else 1), count

    def distribute(self, i, change, count):
        """Each of those rows takes the change; of a sum, its mean."""
        for j in self.windows[i]:
            scale = self.further(j)[2] if self.sub is not None else 1
            if self.net.lockf is not None:
                scale = self.net.lockf[self.kept[j]]
            self.vectors[self.rows[j]] += scale * change / (1 if self.net.cbow_mean else count)

    def cbow(self, group):
        net = self.net
        negatives = self.draw(2 * net.negative if net.shared else net.negative)
        given = [i for i in group if self.windows[i]]
        self.pairs += len(given)
        for i in given:
            if self.w_tree is not None:
                contexts = [[0]] if net.shared else [0]
                self.together([i], hierarchical_softmax, self.w_tree, *self.path(i), contexts)
            if self.w_out is not None and not net.shared:
                center = self.kept[i : i + 1]
                self.together([i], cbow_negative_sampling, self.w_out, center, [[0]], [negatives])
        if self.w_out is not None and net.shared:
            places = np.arange(len(given))[:, None]
            self.together(
                given, cbow_negative_sampling, self.w_out, self.kept[given], places, negatives,
                weight=0.5,
            )  # fmt: skip

    def together(self, centers, kernel, *arguments, **weight):
        """Run means (or sums) of some centres' contexts, one row each, through a kernel."""
        combined = [self.combine(i) for i in centers]
        hidden = np.array([h for h, _ in combined]).reshape(-1, DIM)
        moved = hidden.copy()
        self.loss += kernel.reference(moved, *arguments, self.rate, **weight)
        for i, change, (_, count) in zip(centers, moved - hidden, combined, strict=True):
            self.distribute(i, change, count)


def sentences(words, tokens, seed=0):
    """Sentences of up to 20 words, frequent ones among them."""
    rng = np.random.default_rng(seed)
    text = []
    while tokens > 0:
        text.append([f"w{int(i)}" for i in words * rng.power(0.5, rng.integers(1, 20))])
        tokens -= len(text[-1])
    return text


def network(text, hs, negative, further=False, locked=False, **settings):
    model = Word2Vec(vector_size=DIM, min_count=1, sample=0.05, hs=hs, negative=negative)
    model.build_vocab(text)
    rng = np.random.default_rng(1)
    words = len(model.wv)

    def matrix(count):
        rows = training.rows(count, DIM)
        rows[:, :DIM] = rng.standard_normal((count, DIM)) * 0.15
        return rows

    subwords = None
    if further:  # word i has i % 3 further rows out of 20 that words share
        start = np.concatenate([[0], (np.arange(words) % 3).cumsum()]).astype(np.int64)
        ids = rng.integers(0, 20, start[-1]).astype(np.int32)
        subwords = training.Subwords(matrix(20), start, ids)
    net = training.Network(
        matrix(words), matrix(words) if negative else None, model.wv.expandos["count"],
        model.wv.expandos["sample_int"], 5, negative, 3, w_tree=matrix(words) if hs else None,
        tree=model._tree() if hs else None, subwords=subwords, whole_loss=True,
        lockf=rng.random(words).astype(np.float32) if locked else None, **settings,
    )  # fmt: skip
    return net, encoded(text, model.wv.index_to_key)


def check(net, ids, epochs, notices=False):
    """Train with both; each matrix is that of the walk within the bound.

    A row gets a step of each of its window's outputs (inner nodes, 1 + negatives) as often as its
    word occurs in a window, which the walk counts; the rows of frequent words are also the most
    drawn. With `notices` the bound must be so narrow that it notices a rate 1e-4 too high.
    """
    start_alpha, end_alpha = 0.047, 0.01
    walk = Walk(net, ids, epochs, start_alpha, end_alpha)
    wrong = None
    if notices:
        wrong = Walk(net, ids, epochs, start_alpha * (1 + 1e-4), end_alpha * (1 + 1e-4))
    losses = []
    run = training.new_run(epochs, start_alpha, end_alpha)
    training.train(net, ids, run, raw_words=len(ids), workers=1, on_epoch_end=losses.append)
    outputs = (1 + net.negative if net.negative else 0) + (
        np.diff(net.tree.start).max() if net.tree else 0
    )
    met = walk.met
    if net.subwords:  # further rows are met with each word that has them
        words = np.repeat(np.arange(len(met)), np.diff(net.subwords.start))
        met = np.concatenate([met, np.bincount(net.subwords.ids, met[words]).astype(np.int64)])
    length = max(np.linalg.norm(m, axis=1).max() for m in walk.matrices())
    if not net.sg and not net.cbow_mean:
        length *= np.sqrt(2 * net.window)  # a sum of contexts
    largest = max(np.abs(m).max() for m in walk.matrices())
    bound = update_tolerance(length, largest, int(met.max() * outputs), start_alpha)
    ours = [net.w_in, net.w_out, net.w_tree, net.subwords and net.subwords.vectors]
    ours = [m[:, :DIM] for m in ours if m is not None]
    for one, want in zip(ours, walk.matrices(), strict=True):
        assert np.abs(one - want).max() <= bound
    if wrong:
        errors = [np.abs(one - m).max() for one, m in zip(ours, wrong.matrices(), strict=True)]
        assert max(errors) > bound, "the bound has no teeth"
    # the loss has slope <= 1 in each score, which errs by up to D bounds times a length
    assert losses[-1] == pytest.approx(walk.loss / walk.pairs, abs=outputs * DIM * bound * length)


MODELS = [
    {"hs": hs, "negative": negative, "sg": sg, "cbow_mean": mean, "shared": shared}
    for hs, negative in ((0, 5), (1, 0), (1, 5))
    for sg, mean in ((True, True), (False, True), (False, False))
    for shared in (True, False)
]


@pytest.mark.parametrize("settings", MODELS)
@pytest.mark.parametrize("rows", ["one", "further", "locked"])
def test_trainer_is_the_walk(settings, rows):
    text = sentences(30, 300)
    net, ids = network(text, **settings, further=rows == "further", locked=rows == "locked")
    check(net, ids, epochs=3, notices=rows == "one")


def test_blocks_follow_one_another():
    """Three blocks with their own random numbers and rates; many words, so that errors stay low."""
    text = sentences(3000, 22_000)
    net, ids = network(text, 0, 5, sg=False)
    assert len(blocks(ids)) == 3
    check(net, ids, epochs=1)
