"""Word pairs and analogies: gensim's results, SciPy's statistics."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import KeyedVectors
from firth.words.evaluation import incomplete_beta, pearsonr, spearmanr
from keyed import gensim_twin, make

WORDS = "king queen man woman King boy girl paris france rome italy Paris x y z".split()  # noqa: SIM905


@pytest.fixture
def kv() -> KeyedVectors:
    kv = make(400, 12)
    for row, word in enumerate(WORDS):
        kv.key_to_index[word] = kv.key_to_index.pop(kv.index_to_key[row])
        kv.index_to_key[row] = word
    rng = np.random.default_rng(4)
    royal, female, capital = rng.standard_normal((3, 12))
    for word, vector in {
        "king": royal, "queen": royal + female, "man": 0 * royal, "woman": female,
        "france": 2 * rng.standard_normal(12), "italy": 2 * rng.standard_normal(12),
    }.items():  # fmt: skip
        kv[word] = vector + 0.05 * rng.standard_normal(12)
    kv["paris"], kv["rome"] = kv["france"] + capital, kv["italy"] + capital
    kv["King"] = kv["king"] * 1.5
    return kv


def analogies(path: Path, rng: Any) -> Path:
    lines = [": family", "man king woman queen", "king man queen woman", "short line", ": capitals"]
    lines += ["france paris italy rome", "FRANCE Paris italy rome", "france paris missing rome"]
    lines += [": random"]
    names = [*WORDS, *(f"w{row}" for row in range(20, 399)), "out", "of", "vocabulary"]
    lines += [" ".join(rng.choice(names, 4)) for _ in range(300)]
    lines += [": empty"]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_analogies(kv: KeyedVectors, tmp_path: Path, caplog: Any) -> None:
    path = analogies(tmp_path / "questions", np.random.default_rng(0))
    with caplog.at_level(logging.INFO):
        score, sections = kv.evaluate_word_analogies(path)
    assert [one["section"] for one in sections] == [
        "family", "capitals", "random", "empty", "Total accuracy"
    ]  # fmt: skip
    assert ("MAN", "KING", "WOMAN", "QUEEN") in sections[0]["correct"]
    assert len(sections[1]["correct"]) + len(sections[1]["incorrect"]) == 2
    total = sections[-1]
    count = len(total["correct"]) + len(total["incorrect"])
    assert score == len(total["correct"]) / count
    assert "family: " in caplog.text
    assert kv.evaluate_word_analogies(path, dummy4unknown=True)[0] < score
    (tmp_path / "bad").write_text("a b c d\n")
    with pytest.raises(ValueError, match="missing section before line #0"):
        kv.evaluate_word_analogies(tmp_path / "bad")
    with pytest.raises(ValueError, match="similarity_function must be"):
        kv.evaluate_word_analogies(path, similarity_function="cosine")
    assert kv.log_accuracy(total) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
def test_analogies_are_those_of_single_questions(
    kv: KeyedVectors, tmp_path: Path, dtype: Any
) -> None:
    kv = kv.astype(dtype)
    path = analogies(tmp_path / "questions", np.random.default_rng(1))
    differ = 0
    results = {}
    for name, ask in (
        ("most_similar", kv.most_similar),
        ("most_similar_cosmul", kv.most_similar_cosmul),
    ):
        _, sections = kv.evaluate_word_analogies(
            path, case_insensitive=False, similarity_function=name
        )
        results[name] = sections
        for kind in ("correct", "incorrect"):
            for a, b, c, d in sections[-1][kind]:
                near = [key for key, _ in ask([b, c], [a], topn=5)]
                near = [key for key in near if key not in (a, b, c)]
                assert (near[0] == d) == (kind == "correct")
                differ += near[0] != kv.most_similar([b, c], [a], topn=1)[0][0]
    assert differ  # 3CosMul is not 3CosAdd


@pytest.mark.peer
@pytest.mark.parametrize("insensitive", [True, False])
@pytest.mark.parametrize("restrict", [300000, 100, 9, None])
@pytest.mark.parametrize("dummy", [True, False])
def test_gensim_solves_the_same_analogies(
    kv: KeyedVectors, tmp_path: Path, insensitive: bool, restrict: Any, dummy: bool
) -> None:
    twin = gensim_twin(kv)
    path = analogies(tmp_path / "questions", np.random.default_rng(2))
    options = {"restrict_vocab": restrict, "case_insensitive": insensitive, "dummy4unknown": dummy}
    assert kv.evaluate_word_analogies(path, **options) == twin.evaluate_word_analogies(
        str(path), **options
    )


@pytest.mark.peer
@pytest.mark.parametrize("options", [{}, {"dummy4unknown": True}, {"case_insensitive": False},
                                     {"restrict_vocab": 60}])  # fmt: skip
def test_gensim_correlates_the_same_pairs(
    kv: KeyedVectors, tmp_path: Path, options: dict[str, Any]
) -> None:
    twin = gensim_twin(kv)
    rng = np.random.default_rng(3)
    names = [*WORDS, *(f"w{row}" for row in range(20, 399)), "missing", "KING"]
    lines = ["# comment", "no number\there\tx", "two\tfields"]
    lines += [f"{a}\t{b}\t{rng.integers(0, 8)}" for a, b in rng.choice(names, (200, 2))]
    path = tmp_path / "pairs"
    path.write_text("\n".join(lines))
    ours = kv.evaluate_word_pairs(path, **options)
    theirs = twin.evaluate_word_pairs(str(path), **options)
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        # Similarities of the peer are float32.
        assert mine[0] == pytest.approx(other[0], abs=2e-6)
        assert mine[1] == pytest.approx(other[1], rel=1e-4)
        coefficient, pvalue = mine
        for one, number in ((coefficient, mine.statistic), (pvalue, mine.pvalue)):
            assert isinstance(one, float)
            assert one == number
        for name in ("statistic", "pvalue", "correlation"):
            assert getattr(mine, name) == pytest.approx(getattr(other, name), abs=2e-6, rel=1e-4)
    assert ours[2] == theirs[2]


def test_pairs_that_cannot_be_used(kv: KeyedVectors, tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text("a\tb\t1\n")
    with pytest.raises(ValueError, match="no pair that can be used"):
        kv.evaluate_word_pairs(tmp_path / "pairs")


@pytest.mark.peer
def test_statistics_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(0)
    for n in (2, 3, 4, 5, 10, 50, 353, 20000):
        for strength in (0, 0.1, 0.9):
            x = rng.standard_normal(n)
            y = np.round(strength * x + rng.standard_normal(n), 1)
            for ours, theirs in ((pearsonr(x, y), stats.pearsonr(x, y)),
                                 (spearmanr(x, y), stats.spearmanr(x, y))):  # fmt: skip
                assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-12)
                if n > 2:
                    assert ours.pvalue == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-300)
    for a, b in ((0.5, 0.5), (1, 0.5), (175.5, 0.5), (3, 7)):
        for x in (0, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-9, 1):
            assert incomplete_beta(a, b, x) == pytest.approx(
                float(special.betainc(a, b, x)), rel=1e-10, abs=1e-300
            )


def test_statistics_of_odd_samples() -> None:
    assert np.isnan(pearsonr([1, 1, 1], [1, 2, 3])).all()
    assert pearsonr([1, 2], [4, 3]) == (-1, 1)
    assert spearmanr([1, 2, 3, 4], [10, 20, 30, 31]) == pytest.approx((1, 0), abs=1e-14)
    with pytest.raises(ValueError, match="at least 2"):
        pearsonr([1], [1])


@pytest.mark.parametrize("function", ["most_similar", "most_similar_cosmul"])
def test_analogies_without_an_answer(tmp_path, function):
    """No word known; no row but the question's own; keys that are equal in upper case."""
    path = tmp_path / "questions"
    path.write_text(": s\na b c d\nx y z x\n")
    kv = KeyedVectors(2)
    for restrict in (None, 0):
        score, sections = kv.evaluate_word_analogies(
            path, restrict_vocab=restrict, similarity_function=function
        )
        assert (score, sections[-1]["correct"], sections[-1]["incorrect"]) == (0.0, [], [])
    kv.add_vectors(["x", "y", "z"], [[1, 0], [0, 1], [1, 1]])
    score, sections = kv.evaluate_word_analogies(path, similarity_function=function)
    assert sections[-1]["incorrect"] == [("X", "Y", "Z", "X")]
    # "A" is equal to "a" here, so it is no answer; "d" is
    kv = KeyedVectors(2)
    kv.add_vectors(["a", "b", "c", "A", "d"], [[1, 0], [0, 1], [1, 0.1], [0.1, 1], [0.2, 1]])
    score, _ = kv.evaluate_word_analogies(path, similarity_function=function)
    assert score == 1.0
