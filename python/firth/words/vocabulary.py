"""Vocabularies: which words of a corpus a model knows, with their counts and attributes.

`Vocabulary` is the base of `Word2Vec` and `FastText`, with gensim's names. A model provides the
settings (``min_count``, ``sample``, ...), ``wv``, and `init_weights` and `update_weights`, which
make the arrays that belong to the words. V = words of the vocabulary.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Real, Rules, Whole, check_all
from firth.errors import warn
from firth.formats.files import PathLike
from firth.words import corpus, training
from firth.words.corpus import Sentences
from firth.words.gensim3 import renamed
from firth.words.keyedvectors import KeyedVectors

# Results of a trim rule.
RULE_DEFAULT = 0  # as without a rule
RULE_DISCARD = 1
RULE_KEEP = 2

TrimRule = Callable[[Any, int, int], int]

# Parameters of all window models; count**ns_exponent stays finite for any counts and vocabulary.
PARAMETERS: Rules = {
    "vector_size": Whole(1, 2**20),
    "window": Whole(1),
    "epochs": Whole(1),
    "batch_words": Whole(1),
    "workers": Whole(1, 1024, optional=True),
    "negative": Whole(0, 2**16),
    "min_count": Whole(0, 2**63 - 1),
    "max_vocab_size": Whole(0, 2**63 - 1, optional=True),
    "max_final_vocab": Whole(0, 2**63 - 1, optional=True),
    "seed": Whole(0, 2**63 - 1),
    "alpha": Real(),
    "min_alpha": Real(),
    "sample": Real(most=1e18),
    "ns_exponent": Real(-10, 10),
}
_NULL_WORD = "\0"


def keep_vocab_item(
    word: Any, count: int, min_count: int, trim_rule: TrimRule | None = None
) -> bool:
    """Whether a word stays: as the rule says, else where it occurs ``min_count`` times.

    Parameters
    ----------
    word : hashable
    count, min_count : int
    trim_rule : function of (word, count, min_count), optional
        Returns RULE_KEEP, RULE_DISCARD or RULE_DEFAULT of `firth.words`.
    """
    answer = RULE_DEFAULT if trim_rule is None else trim_rule(word, count, min_count)
    return answer == RULE_KEEP or (answer != RULE_DISCARD and count >= min_count)


def prune_vocab(vocab: dict[Any, int], min_reduce: int, trim_rule: TrimRule | None = None) -> int:
    """Remove the words that do not stay from ``vocab``; returns the sum of their counts."""
    dropped = {
        word: count
        for word, count in vocab.items()
        if not keep_vocab_item(word, count, min_reduce, trim_rule)
    }
    for word in dropped:
        del vocab[word]
    return sum(dropped.values())


class Vocabulary:
    """Counting, choosing and numbering words; the base of models that are trained on text.

    Attributes
    ----------
    raw_vocab : dict of word to int, or None
        Words and counts of the last scan; emptied once the vocabulary is built, unless
        ``keep_raw_vocab``.
    corpus_count, corpus_total_words : int
        Sentences and words of the corpus of the last scan, those outside the vocabulary too.
    effective_min_count : int
        ``min_count``, or what ``max_final_vocab`` made of it.
    cum_table : ndarray (V,), uint32, or None
        Cumulative shares of the words among the negatives, in units of 1 / (2**31 - 1).
    """

    wv: KeyedVectors
    vector_size: int
    layer1_size: int
    window: int
    epochs: int
    batch_words: int
    workers: int | None
    seed: int
    alpha: float
    min_alpha: float
    min_count: int
    max_vocab_size: int | None
    max_final_vocab: int | None
    sample: float
    sorted_vocab: int
    null_word: int
    hs: int
    negative: int
    ns_exponent: float
    progress: bool | None

    def __init__(self) -> None:
        self.raw_vocab: dict[Any, int] | None = None
        self.corpus_count: int | None = 0
        self.corpus_total_words: int | None = 0
        self.effective_min_count = self.min_count
        self.cum_table: NDArray[np.uint32] | None = None

    def init_weights(self) -> None:
        """Make new vectors for all words, and zeros as output layers."""
        raise NotImplementedError

    def update_weights(self) -> None:
        """Add rows for the words that are new; the others keep theirs."""
        raise NotImplementedError

    # From a corpus

    @renamed(sentences="corpus_iterable")
    def build_vocab(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: PathLike | None = None,
        update: bool = False,
        progress_per: int = 10000,
        keep_raw_vocab: bool = False,
        trim_rule: TrimRule | None = None,
        **prepare: Any,
    ) -> None:
        """Count the words of a corpus and make the vocabulary and its arrays of them.

        Parameters
        ----------
        corpus_iterable, corpus_file
            One of the two, as for the class; read once, so it may be a generator.
        update : bool
            Extend the present vocabulary: its words keep rows and vectors (and gain counts), new
            ones follow. Else everything starts anew.
        progress_per : int
            Has no effect; files show a bar.
        keep_raw_vocab : bool
            Keep ``raw_vocab``.
        trim_rule : callable, optional
            ``trim_rule(word, count, min_count)`` gives RULE_KEEP, RULE_DISCARD or RULE_DEFAULT.
        **prepare
            Further arguments of `prepare_vocab`.

        Raises
        ------
        TypeError
            Not exactly one corpus, or one of a wrong kind; a token that is neither str nor int.
        RuntimeError
            ``update`` without a vocabulary.
        """
        where = f"{type(self).__name__}.build_vocab"
        with corpus.opened(where, corpus_iterable, corpus_file, progress=self.progress) as text:
            self._check_update(update)
            words, sentences = self.scan_vocab(text, trim_rule=trim_rule)
        different = len(self.raw_vocab or ())
        self.prepare_vocab(update, keep_raw_vocab, trim_rule, **prepare)
        self.corpus_count, self.corpus_total_words = sentences, words
        self.prepare_weights(update)
        if not len(self.wv):
            why = (
                f"no word occurs min_count={self.effective_min_count} times; the corpus has "
                f"{words:,} words, {different:,} different ones"
            )
            warn(f"the vocabulary is empty: {why if words else 'the corpus has no words'}")

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[Any, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: TrimRule | None = None,
        update: bool = False,
    ) -> None:
        """Build the vocabulary from given counts, as `build_vocab` does from a corpus.

        ``corpus_count`` is the number of sentences of the corpus, if known.
        """
        self._check_update(update)
        self.raw_vocab = dict(word_freq)
        total = sum(self.raw_vocab.values())
        self.prepare_vocab(update, keep_raw_vocab, trim_rule)
        self.corpus_count, self.corpus_total_words = corpus_count or 0, total
        self.prepare_weights(update)

    def _check_update(self, update: bool) -> None:
        if update and not len(self.wv.vectors):
            raise RuntimeError(
                f"{type(self).__name__}.build_vocab: update=True needs a vocabulary; "
                "first build one without"
            )

    def scan_vocab(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: PathLike | None = None,
        progress_per: int = 10000,
        workers: int | None = None,
        trim_rule: TrimRule | None = None,
    ) -> tuple[int, int]:
        """Count the words of a corpus into ``raw_vocab``.

        With ``max_vocab_size``, once a sentence leaves more words than that, those that occur less
        than once, the next time less than twice, and so on, are forgotten (a trim rule applies).
        A file is then read by one thread. ``progress_per`` and ``workers`` have no effect.

        Returns
        -------
        tuple of int
            Words and sentences of the corpus.
        """
        where = f"{type(self).__name__}.scan_vocab"
        with corpus.opened(where, corpus_iterable, corpus_file, progress=self.progress) as text:
            if not self.max_vocab_size:
                found = text.count()
                self.raw_vocab = dict(zip(found.words, found.counts.tolist(), strict=True))
                return found.total_words, found.sentences
            vocab: dict[Any, int] = {}
            min_reduce = 0

            def prune() -> None:
                nonlocal min_reduce
                min_reduce += 1
                prune_vocab(vocab, min_reduce, trim_rule)

            sentences, words = corpus.count_into(text, vocab, prune, self.max_vocab_size)
        self.raw_vocab = vocab
        return words, sentences

    def prepare_vocab(
        self,
        update: bool = False,
        keep_raw_vocab: bool = False,
        trim_rule: TrimRule | None = None,
        min_count: int | None = None,
        sample: float | None = None,
        dry_run: bool = False,
    ) -> dict[str, int]:
        """Choose and number the words of ``raw_vocab``; sets "count" and "sample_int" of each.

        Words are ordered by falling count (``sorted_vocab``; of equal ones the later comes first,
        as in gensim), else as they came. "sample_int" is the chance to survive sub-sampling, in
        units of 2**-32; after an update it follows the new corpus alone, as in gensim, and words
        that are not in it keep theirs.

        Parameters
        ----------
        update, keep_raw_vocab, trim_rule
            As for `build_vocab`.
        min_count, sample : optional
            New values for the model's settings.
        dry_run : bool
            Change nothing, only report.

        Returns
        -------
        dict
            "drop_unique": words left out; "retain_total": occurrences of those that stay;
            "downsample_unique", "downsample_total": words that sub-sampling thins out, occurrences
            it leaves; "num_retained_words".
        """
        if self.raw_vocab is None:
            raise RuntimeError(f"{type(self).__name__}.prepare_vocab: call scan_vocab first")
        given = vars(self) | {
            "min_count": min_count or self.min_count, "sample": sample or self.sample
        }  # fmt: skip
        given = check_all(f"{type(self).__name__}.prepare_vocab", PARAMETERS, given)
        min_count, sample = int(given["min_count"]), float(given["sample"])
        raw = list(self.raw_vocab)
        counts = np.fromiter(self.raw_vocab.values(), np.int64, len(raw))
        effective = self._effective_min_count(min_count, counts)
        if trim_rule is None:
            kept = np.flatnonzero(counts >= effective)
        else:
            pairs = zip(raw, counts.tolist(), strict=True)
            stay = [keep_vocab_item(word, n, effective, trim_rule) for word, n in pairs]
            kept = np.flatnonzero(np.array(stay, bool))
        total = int(counts[kept].sum())
        sample_ints = training.keep_thresholds(np.maximum(counts[kept], 1), sample)
        chance = sample_ints / (2**32 - 1)
        report = {
            "drop_unique": len(raw) - len(kept),
            "retain_total": total,
            "downsample_unique": int((chance < 1).sum()),
            "downsample_total": int((chance * counts[kept]).sum()),
            "num_retained_words": len(kept),
        }
        if dry_run:
            return report

        wv = self.wv
        if update:
            known = dict(wv.key_to_index)
            words = list(wv.index_to_key)
        else:
            known, words = {}, []
        old = len(words)
        for i in kept.tolist():
            if raw[i] not in known:
                known[raw[i]] = len(words)
                words.append(raw[i])
        rows = np.array([known[raw[i]] for i in kept.tolist()], np.int64)
        attributes = {
            name: _grown(values, len(words)) for name, values in wv.expandos.items() if update
        }
        count = attributes.get("count", np.zeros(len(words), np.int64))
        if update:  # known words gain the new counts even if a rule drops them now
            for row, word in enumerate(words[:old]):
                count[row] += self.raw_vocab.get(word, 0)
            new = rows >= old
            count[rows[new]] = counts[kept][new]
        else:
            count[rows] = counts[kept]
        sampled = attributes.get("sample_int", np.zeros(len(words), np.uint32))
        sampled[rows] = sample_ints
        attributes |= {"count": count, "sample_int": sampled}
        if self.null_word and _NULL_WORD not in known:
            words.append(_NULL_WORD)
            attributes = {name: _grown(values, len(words)) for name, values in attributes.items()}
            attributes["count"][-1] = 1
        if self.sorted_vocab and not update:
            order = np.lexsort((-np.arange(len(words)), -attributes["count"]))
            words = [words[i] for i in order]
            attributes = {name: values[order] for name, values in attributes.items()}

        self.min_count, self.sample, self.effective_min_count = min_count, sample, effective
        wv._adopt(words)
        wv.expandos = attributes
        if not keep_raw_vocab:
            self.raw_vocab = {}
        if self.hs:
            self.create_binary_tree()
        if self.negative:
            self.make_cum_table()
        return report

    def _effective_min_count(self, min_count: int, counts: NDArray[np.int64]) -> int:
        if self.max_final_vocab is None:
            return min_count
        if self.max_final_vocab < len(counts):  # one more than the first word that is too many
            return max(min_count, int(np.sort(counts)[::-1][self.max_final_vocab]) + 1)
        return max(min_count, 1)

    def prepare_weights(self, update: bool = False) -> None:
        """`update_weights` or `init_weights`."""
        if update:
            self.update_weights()
        else:
            self.init_weights()

    def add_null_word(self) -> None:
        """Add the word NUL with a count of 1, which no text contains."""
        wv = self.wv
        wv.key_to_index[_NULL_WORD] = len(wv)
        wv.index_to_key.append(_NULL_WORD)
        wv.next_index = len(wv)
        wv.expandos = {name: _grown(values, len(wv)) for name, values in wv.expandos.items()}
        wv.expandos["count"][-1] = 1

    # Tables for random draws

    def make_cum_table(self, domain: int = 2**31 - 1) -> None:
        """Set ``cum_table``: the words' shares among the negatives, count**ns_exponent each."""
        check_all(f"{type(self).__name__}.make_cum_table", PARAMETERS, {
            "ns_exponent": self.ns_exponent
        })  # fmt: skip
        exponent = float(self.ns_exponent)
        powers = [  # libm's pow of each, as gensim: NumPy's of an array may round otherwise
            float(count) ** exponent if count or exponent >= 0 else 0.0
            for count in self.wv.expandos["count"].tolist()
        ]
        sums = np.cumsum(powers)
        shares = sums / sums[-1] if len(sums) else sums
        self.cum_table = np.rint(shares * domain).astype(np.uint32)

    def create_binary_tree(self) -> None:
        """Set "code" and "point" of each word: its way through the Huffman tree of the counts.

        "code" (uint8) holds 0 for left and 1 for right, "point" (uint32) the inner nodes passed.
        Which of equal counts goes where is a matter of Python's heap, as in gensim.
        """
        size = len(self.wv)
        heap = [_Node.make(n, i) for i, n in enumerate(self.wv.expandos["count"].tolist())]
        heapq.heapify(heap)
        for i in range(size - 1):
            left, right = heapq.heappop(heap), heapq.heappop(heap)
            heapq.heappush(heap, _Node.make(left + right, size + i, (left, right)))
        codes, points = (np.empty(size, object) for _ in range(2))
        stack: list[tuple[_Node, bytes, tuple[int, ...]]] = [(root, b"", ()) for root in heap]
        while stack:
            node, code, way = stack.pop()
            if node.index < size:
                codes[node.index] = np.frombuffer(code, np.uint8)
                points[node.index] = np.array(way, np.uint32)
                continue
            way += (node.index - size,)
            stack += [(node.children[0], code + b"\0", way), (node.children[1], code + b"\1", way)]
        self.wv.expandos |= {"code": codes, "point": points}

    def _tree(self) -> training.Tree:
        """The paths of all words, one after the other."""
        codes, points = (  # keys added after training have 0 instead of a path
            [way if np.ndim(way) else np.zeros(0, np.uint8) for way in self.wv.expandos[name]]
            for name in ("code", "point")
        )
        start = np.zeros(len(codes) + 1, np.int64)
        np.cumsum([len(code) for code in codes], out=start[1:])
        return training.Tree(
            start,
            np.concatenate([*points, np.zeros(0, np.int32)]).astype(np.int32),
            np.concatenate([*codes, np.zeros(0, np.uint8)]).astype(np.uint8),
        )

    def _set_tree(self, tree: training.Tree) -> None:
        """The inverse; ValueError for an invalid set of paths."""
        size, (start, points, codes) = len(self.wv), (tree.start, tree.points, tree.codes)
        if (
            start.shape != (size + 1,)
            or points.shape != codes.shape
            or points.ndim != 1
            or start[0] != 0
            or start[-1] != len(codes)
            or (np.diff(start) < 0).any()
            or (len(points) and not 0 <= points.min() <= points.max() < max(1, size - 1))
            or (len(codes) and codes.max() > 1)
        ):
            raise ValueError("the tree of hierarchical softmax is damaged")
        for name, values in (("code", codes), ("point", points.astype(np.uint32))):
            column = np.empty(size, object)
            for i, part in enumerate(np.split(values, start[1:-1]) if size else ()):
                column[i] = part
            self.wv.expandos[name] = column

    def estimate_memory(
        self, vocab_size: int | None = None, report: dict[str, int] | None = None
    ) -> dict[str, int]:
        """Bytes that a model with this vocabulary size needs, by part; "total" is their sum.

        Parameters
        ----------
        vocab_size : int, optional
            By default that of the vocabulary.
        report : dict of str to int, optional
            Parts to begin with.

        Returns
        -------
        dict of str to int
            gensim's figures: 500 bytes for a word, 700 with ``hs``, and 4 for each number.
        """
        size = vocab_size or len(self.wv)
        parts = dict(report or {})
        parts["vocab"] = size * (700 if self.hs else 500)
        parts["vectors"] = size * self.vector_size * 4
        for name, used in (("syn1", self.hs), ("syn1neg", self.negative)):
            if used:
                parts[name] = size * self.layer1_size * 4
        parts["total"] = sum(parts.values())
        return parts


class _Node(int):
    """A node of the Huffman tree: a count that compares as one, and what hangs on it."""

    index: int
    children: tuple[Any, ...]

    @classmethod
    def make(cls, count: int, index: int, children: tuple[Any, ...] = ()) -> _Node:
        node = cls(count)
        node.index, node.children = index, children
        return node


def _grown(values: NDArray[Any], size: int) -> NDArray[Any]:
    """A copy with zeros behind the values, ``size`` long."""
    grown = np.zeros(size, values.dtype)
    grown[: len(values)] = values[:size]
    return grown
