"""Answers to the exercises of docs/course/17-tokenizers.md."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from firth.tokenizers import Tokenizer


def join(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """The symbols with each occurrence of a pair as one symbol."""
    joined: list[str] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined


def test_1_three_more_merges() -> None:
    """wi d, wid est_ (3 each), then low e (2); the text has 25, 22 and 20 tokens.

    "lowest" stays "low est_": when "low" and "e" are joined, the e is part of "est_" already.
    """
    text = {"low_": 5, "lower_": 2, "newest_": 6, "widest_": 3}
    words = {word: list(word) for word in text}
    merges, sizes = [], []
    for _ in range(13):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += text[word]
        best = max(pairs, key=lambda pair: pairs[pair])  # of equal ones the first
        words = {word: join(symbols, best) for word, symbols in words.items()}
        merges.append(best)
        sizes.append(sum(text[word] * len(symbols) for word, symbols in words.items()))
    assert merges[10:] == [("wi", "d"), ("wid", "est_"), ("low", "e")]
    assert sizes[9:] == [28, 25, 22, 20]

    symbols = list("lowest_")
    for pair in merges:
        symbols = join(symbols, pair)
    assert symbols == ["low", "est_"]


def test_2_greed_finds_no_cut() -> None:
    """Of abc, ab and ##cd greed takes abc, and no piece begins with d; ab ##cd is not tried.

    Unigram looks at all cuts, and finds the one that there is.
    """
    pieces = ["[UNK]", "abc", "ab", "##cd"]
    wordpiece = {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {piece: i for i, piece in enumerate(pieces)},
    }  # fmt: skip
    bert = {"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    greedy = Tokenizer(json.dumps({**bert, "model": wordpiece}))
    ids, _ = greedy.encode_batch(["abcd", "abc"])
    assert ids.tolist() == [pieces.index("[UNK]"), pieces.index("abc")]

    pytest.importorskip("tokenizers")
    shares = [["<unk>", -20.0], ["abc", -1.0], ["ab", -1.0], ["cd", -1.0]]
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": shares}
    best = Tokenizer(json.dumps({"model": unigram, "added_tokens": []}))
    assert best.library.encode("abcd").tokens == ["ab", "cd"]


P = {"l": 0.05, "o": 0.05, "w": 0.05, "e": 0.1, "s": 0.1, "t": 0.1, "lo": 0.04, "low": 0.08,
     "lowe": 0.01, "est": 0.1, "st": 0.06, "west": 0.02}  # fmt: skip


def cuts(word: str) -> Iterator[list[str]]:
    """All ways to cut a word into pieces."""
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        if word[:end] in P:
            yield from ([word[:end], *rest] for rest in cuts(word[end:]))


def test_3_expected_counts() -> None:
    """By hand: low stands before all cuts of "est", whose sum is est + e st + e s t = 0.107.

    So low has 0.08 * 0.107 / 0.010337 = 0.8281. Behind all cuts of "low", whose sum is 0.082125,
    stands est: 0.082125 * 0.1 / 0.010337 = 0.7944.
    """
    expected = defaultdict[str, float](float)
    found = list(cuts("lowest"))
    total = sum(math.prod(P[piece] for piece in cut) for cut in found)
    for cut in found:
        for piece in cut:
            expected[piece] += math.prod(P[one] for one in cut) / total
    assert round(total, 6) == 0.010337
    assert round(expected["low"], 4) == round(0.08 * 0.107 / total, 4) == 0.8281
    assert round(expected["est"], 4) == round(0.082125 * 0.1 / total, 4) == 0.7944
    assert round(sum(len(piece) * count for piece, count in expected.items()), 9) == 6  # letters
