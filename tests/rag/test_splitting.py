"""Passages are exact slices that cover a document and keep their limits."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firth.rag.splitting import Section, Span, split


def words(text: str) -> list[int]:
    """A token for each word and for each other sign."""
    return [match.start() for match in re.finditer(r"\w+|[^\w\s]", text)]


def cut(text: str, size: int = 8, overlap: int = 0, sections: list[Section] | None = None):
    return split(text, sections or [], words(text), size, overlap)


PIECES = st.lists(
    st.sampled_from(
        ["ab", "c.", "d? ", "\n", "\n\n", " ", "\n \n", "éß", "。", "😀", "x" * 30, "-"]
    ),
    max_size=120,
)


@given(PIECES, st.integers(2, 12), st.integers(0, 5), st.lists(st.integers(0, 200), max_size=3))
@example(["ab", " "] * 60, 4, 1, [])
def test_slices_cover_the_text_within_their_limits(pieces, size, overlap, starts) -> None:
    text, overlap = "".join(pieces), min(overlap, (size - 1) // 2)
    sections = [Section(min(s, len(text)), str(i)) for i, s in enumerate(sorted(starts))]
    tokens = words(text)
    spans = split(text, sections, tokens, size, overlap)
    covered = [False] * len(text)
    for span in spans:
        part = text[span.start : span.end]
        assert part
        assert part == part.strip()
        assert span.tokens == bisect_left(tokens, span.end) - bisect_left(tokens, span.start)
        assert span.tokens <= size
        assert len(part) <= 16 * size
        covered[span.start : span.end] = [True] * len(part)
        inside = [s for s in sections if span.start < s.start < span.end]
        assert not inside, "a passage goes over the beginning of a section"
    assert all(covered[i] or text[i].isspace() for i in range(len(text)))
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start
        repeated = bisect_left(tokens, before.end) - bisect_left(tokens, after.start)
        assert repeated <= overlap


def test_cuts_are_made_at_the_strongest_place_of_the_second_half() -> None:
    text = "one two. three four five\n\nsix seven. eight nine ten"
    assert [text[s.start : s.end] for s in cut(text, 8)] == [
        "one two. three four five",
        "six seven. eight nine ten",
    ]
    text = "one two three four. five six seven eight nine ten eleven twelve"
    assert [text[s.start : s.end] for s in cut(text, 7)] == [
        "one two three four.",
        "five six seven eight nine ten eleven",
        "twelve",
    ]


def test_a_passage_repeats_whole_sentences_where_it_can() -> None:
    text = "A b c. D e f. G h i. J k l."
    shown = [text[s.start : s.end] for s in cut(text, 12, 4)]
    assert shown == ["A b c. D e f. G h i.", "G h i. J k l."]
    text = " ".join("abcdefghijkl")
    assert [text[s.start : s.end] for s in cut(text, 6, 2)] == [
        "a b c d e f", "e f g h i j", "i j k l",
    ]  # fmt: skip


def test_sections_keep_their_headings() -> None:
    text = "intro\n\nfirst part\n\nsecond part"
    sections = [Section(7, "First"), Section(19, "First > Second")]
    assert split(text, sections, words(text), 8, 0) == [
        Span(0, 5, 1, ""), Span(7, 17, 2, "First"), Span(19, 30, 2, "First > Second"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_nothing_gives_nothing(text: str) -> None:
    assert cut(text) == []


def test_text_without_spaces_is_cut_between_tokens() -> None:
    text = "天気" * 30
    spans = split(text, [], list(range(len(text))), 7, 2)
    assert all(span.tokens <= 7 for span in spans)
    assert spans[-1].end == len(text)
    assert spans[0] == Span(0, 7, 7, "")


def test_text_without_tokens_is_cut_between_characters() -> None:
    """WordPiece has one token for any long word, and none for white space."""
    text = "start " + "x" * 200_000 + " end"
    spans = split(text, [], words(text), 8, 3)
    assert max(span.end - span.start for span in spans) == 16 * 8
    assert len(spans) < 200_000 / (16 * 4)
    assert (spans[0].start, spans[-1].end) == (0, len(text))
    assert all(after.start <= before.end for before, after in itertools.pairwise(spans))
    blanks = "one" + " " * 5000 + "two"
    assert [blanks[s.start : s.end] for s in cut(blanks, 8, 3)] == ["one", "two"]
    assert cut(" " * 5000, 8, 3) == []
    assert split("\1" * 1000, [], [], 8, 3)[-1].end == 1000


def test_a_passage_repeats_few_words_where_they_are_long() -> None:
    text = " ".join("y" * 40 for _ in range(60))
    spans = cut(text, 8, 3)
    assert all(before.end - after.start <= 16 * 3 for before, after in itertools.pairwise(spans))
    assert sum(span.end - span.start for span in spans) < 2 * len(text)
