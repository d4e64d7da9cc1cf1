"""The choice of ids: distributions against exact probabilities, seeds, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.generators.sampling import Sampler, Sampling, _drawn, _nucleus, largest, logprobs

LOGITS = np.array([1.0, 2.5, -1.0, 2.0, 0.0, 2.5, -3.0, 1.5], np.float32)
FLAT = np.zeros(500, np.float32)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = np.asarray(logits, np.longdouble) / temperature
    weights = np.exp(scaled - scaled.max())
    return (weights / weights.sum()).astype(float)


def counts(sampling: Sampling, logits: np.ndarray, draws: int = 8_000) -> np.ndarray:
    choose = Sampler(sampling)
    return np.bincount([choose._choose(logits) for _ in range(draws)], minlength=len(logits))


def agrees(found: np.ndarray, wanted: np.ndarray) -> None:
    """Chi-square against exact probabilities: beyond 5 standard deviations it is no chance."""
    draws, possible = found.sum(), wanted > 0
    assert not found[~possible].any()
    expected = draws * wanted[possible]
    statistic = ((found[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1
    assert statistic < freedom + 5 * np.sqrt(2 * freedom) + 5


def kept(probabilities: np.ndarray, ids: list[int]) -> np.ndarray:
    found = np.zeros_like(probabilities)
    found[ids] = probabilities[ids]
    return found / found.sum()


@pytest.mark.parametrize(
    ("options", "ids", "temperature"),
    [
        ({}, range(8), 1.0),
        ({"temperature": 0.5}, range(8), 0.5),
        ({"temperature": 3.0}, range(8), 3.0),
        ({"top_k": 3}, [1, 5, 3], 1.0),
        ({"top_k": 1}, [1, 5], 1.0),  # two are equal
        ({"top_k": 8}, range(8), 1.0),
        ({"top_k": 99}, range(8), 1.0),
        ({"top_p": 0.30}, [1], 1.0),
        ({"top_p": 0.35}, [1, 5], 1.0),
        ({"top_p": 0.75}, [1, 5, 3], 1.0),
        ({"top_p": 0.9999999}, range(8), 1.0),
        ({"top_p": 1e-9}, [1], 1.0),
        ({"min_p": 0.3}, [1, 5, 3, 7], 1.0),
        ({"min_p": 1.0}, [1, 5], 1.0),
        ({"temperature": 2.0, "min_p": 0.5}, [1, 5, 3, 7], 2.0),
        ({"top_k": 3, "top_p": 0.5}, [1, 5], 1.0),
        ({"top_k": 4, "top_p": 0.95, "min_p": 0.5}, [1, 5, 3], 1.0),
    ],
)  # fmt: skip
def test_distributions(options, ids, temperature):
    wanted = kept(softmax(LOGITS, temperature), list(ids))
    agrees(counts(Sampling(seed=7, **options), LOGITS), wanted)


def test_chances_are_what_is_drawn():
    for options in ({"temperature": 0.0}, {"temperature": 2.0, "min_p": 0.5}, {"top_p": 0.75}, {}):
        sampler = Sampler(Sampling(seed=7, **options))
        chances = sampler.chances(LOGITS)
        assert chances.shape == LOGITS.shape
        # weights are float32 and one division in float64
        np.testing.assert_allclose(chances.sum(), 1, rtol=1e-6)
        agrees(counts(sampler.sampling, LOGITS), chances)
    flat = Sampler(Sampling(logit_bias={1: -np.inf})).chances(LOGITS)
    np.testing.assert_allclose(
        flat, softmax(np.where(np.arange(8) == 1, -np.inf, LOGITS)), rtol=1e-6
    )


def test_a_large_vocabulary():
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, 49_152).astype(np.float32)
    probabilities = softmax(logits)
    order = np.argsort(-probabilities)
    nucleus = order[: int(np.searchsorted(np.cumsum(probabilities[order]), 0.9)) + 1]
    assert len(nucleus) > 1000
    choose = Sampler(Sampling(seed=1, top_p=0.9))
    drawn = {choose(logits) for _ in range(1000)}
    assert drawn <= set(nucleus.tolist())
    assert len(drawn) > 300
    choose = Sampler(Sampling(seed=1, top_k=40))
    drawn = {choose(logits) for _ in range(1000)}
    assert drawn <= set(order[:40].tolist())
    assert len(drawn) > 30


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([-2.0, -0.3, 0.0, 0.01, 1.5, 3.0, 40.0]), min_size=1, max_size=30),
    st.floats(1e-6, 0.999999),
    st.sampled_from([1, 50]),
)
def test_the_nucleus(logits, top_p, copies):
    """The fewest of the largest, equal ones by their number: by plain sorting."""
    depths = max(logits) - np.array(logits)
    weights = np.tile(np.exp(-depths), copies)
    order = sorted(range(len(weights)), key=lambda i: (-weights[i], i))
    sums = np.cumsum(weights[order]) / weights.sum()
    near = np.abs(sums - top_p) < 1e-12  # a matter of rounding
    count = int(np.searchsorted(sums, top_p)) + 1
    kept = _nucleus(weights, top_p).tolist()
    assert kept == sorted(kept)
    assert kept == sorted(order[:count]) or near.any()


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 49_152])
def test_the_largest(size):
    random = np.random.default_rng(size)
    for logits in (
        random.normal(size=size).astype(np.float32),
        random.integers(0, 5, size).astype(np.float32),
        np.full(size, -np.inf, np.float32),
    ):
        for most in {1, min(5, size), min(50, size), size // 2 + 1, size}:
            assert largest(logits, most) == np.sort(logits)[size - most]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 1e-6, 0.3]), min_size=1, max_size=300).filter(any),
    st.floats(0, 1, exclude_max=True),
)
def test_what_a_number_draws(weights, number):
    found = _drawn(np.array(weights, np.float32), number)
    sums = np.cumsum(np.array(weights, np.float32), dtype=np.longdouble)
    assert weights[found] > 0
    below = sums[found - 1] if found else 0
    assert below - 1e-12 * sums[-1] <= number * sums[-1] <= sums[found] * (1 + 1e-12)


def test_equal_logits():
    """All are as likely; of a nucleus those with the lowest ids are kept, like greedy's."""
    found = counts(Sampling(seed=5), FLAT)
    agrees(found, np.full(500, 1 / 500))
    found = counts(Sampling(seed=5, top_p=0.1), FLAT)
    assert np.flatnonzero(found).tolist() == list(range(50))
    assert Sampler(Sampling(temperature=0))(FLAT) == 0


def test_greedy():
    choose = Sampler(Sampling(temperature=0, seed=3))
    assert [choose(LOGITS) for _ in range(5)] == [1] * 5
    assert choose(LOGITS[::-1]) == 2
    tiny = Sampler(Sampling(temperature=5e-324, seed=3))
    assert {tiny(np.array([1, 2, 3, 2], np.float32)) for _ in range(50)} == {2}


def test_the_same_seed_gives_the_same_ids():
    random = np.random.default_rng(0)
    steps = random.normal(0, 2, (50, 1000)).astype(np.float32)

    def drawn(**options: object) -> list[int]:
        choose = Sampler(Sampling(**options))
        return [choose(logits) for logits in steps]

    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=-1) == drawn(seed=2**64 - 1)
    assert drawn(seed=-9007199254740991, top_p=0.9) == drawn(seed=-9007199254740991, top_p=0.9)
    assert drawn() != drawn()
    # a number a choice: the same ids follow whatever was kept before
    free, narrow = Sampler(Sampling(seed=4)), Sampler(Sampling(seed=4))
    for logits in steps[:10]:
        free(logits)
        narrow(logits, np.arange(1000) < 3)
    assert free(steps[11]) == narrow(steps[11])


def test_logits_are_not_changed():
    logits = LOGITS.copy()
    choose = Sampler(
        Sampling(seed=0, logit_bias={1: 5.0}, repetition_penalty=2, frequency_penalty=1), [1, 2]
    )
    for _ in range(5):
        choose(logits, np.arange(8) != 3)
    np.testing.assert_array_equal(logits, LOGITS)
    logits.flags.writeable = False
    choose(logits)


def test_penalties():
    choose = Sampler(Sampling(temperature=0, repetition_penalty=2.0), [1, 2])
    want = LOGITS.copy()
    want[1], want[2] = 1.25, -2.0
    np.testing.assert_array_equal(choose.processed(LOGITS), want)
    assert choose(LOGITS) == 5
    want[5] = 1.25
    np.testing.assert_array_equal(choose.processed(LOGITS), want)
    choose = Sampler(Sampling(temperature=0, frequency_penalty=0.5, presence_penalty=0.25), [3])
    np.testing.assert_array_equal(choose.processed(LOGITS), LOGITS)  # the prompt does not count
    for token_id in (1, 5, 1):
        choose.accept(token_id)
    want = LOGITS.copy()
    want[1] -= 1.25
    want[5] -= 0.75
    np.testing.assert_array_equal(choose.processed(LOGITS), want)


def test_bias_and_what_is_allowed():
    banned = Sampler(Sampling(temperature=0, logit_bias={1: -100, 5: -np.inf}), vocabulary=8)
    assert banned(LOGITS) == 3
    forced = Sampler(Sampling(seed=1, logit_bias={6: 100}))
    assert {forced(LOGITS) for _ in range(20)} == {6}
    allowed = np.zeros(8, bool)
    allowed[[2, 6]] = True
    choose = Sampler(Sampling(seed=1, top_p=0.99, top_k=5))
    found = np.bincount([choose(LOGITS, allowed) for _ in range(5000)], minlength=8)
    agrees(found, kept(softmax(LOGITS), [2, 6]))
    with pytest.raises(ValueError, match="are all forbidden"):
        choose(LOGITS, np.zeros(8, bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers(bad):
    logits = LOGITS.copy()
    logits[3] = bad
    for temperature in (0, 1):
        with pytest.raises(ValueError, match=f"have {bad} among them"):
            Sampler(Sampling(temperature=temperature))(logits)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"temperature": -1}, "temperature must be a number from 0"),
        ({"temperature": np.nan}, "temperature must be a number"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"top_p": 0}, "top_p must be a number above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p must be a number above 0 and at most 1"),
        ({"top_k": -1}, "top_k must be a whole number from 0"),
        ({"top_k": 2.5}, "top_k must be a whole number"),
        ({"min_p": 2}, "min_p must be a number from 0 to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0"),
        ({"frequency_penalty": np.inf}, "frequency_penalty must be a number"),
        ({"seed": 2**64}, "seed must be a whole number"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"logit_bias": [1]}, "logit_bias must be a dict of id to number"),
        ({"logit_bias": {-1: 2.0}}, "an id of logit_bias must be a whole number"),
        ({"logit_bias": {"a": 2.0}}, "an id of logit_bias must be a whole number"),
        ({"logit_bias": {1: np.nan}}, r"logit_bias\[1\] must be a number"),
        ({"logit_bias": {1: "a"}}, r"logit_bias\[1\] must be a number"),
    ],
)  # fmt: skip
def test_bad_values(options, problem):
    with pytest.raises((TypeError, ValueError), match=f"^Sampling: {problem}"):
        Sampling(**options)


def test_ids_of_bias_beyond_the_vocabulary():
    with pytest.raises(ValueError, match="an id of logit_bias must be a whole number from 0 to 7"):
        Sampler(Sampling(logit_bias={8: 1.0}), vocabulary=8)
    with pytest.raises(ValueError, match=r"from 0 to 7, got 8$"):
        Sampler(Sampling(logit_bias={np.int64(8): np.float32(1)}), vocabulary=8)


def test_logprobs():
    exact = np.log(softmax(LOGITS))
    own, top = logprobs(LOGITS, 2, 3)
    assert own == pytest.approx(exact[2], abs=1e-12)
    assert [one.id for one in top] == [1, 5, 3]
    assert [one.logprob for one in top] == pytest.approx(exact[[1, 5, 3]], abs=1e-12)
    assert logprobs(LOGITS, 0) == (pytest.approx(exact[0], abs=1e-12), [])
    assert [one.id for one in logprobs(LOGITS, 0, 8)[1]] == [1, 5, 3, 7, 0, 4, 2, 6]
    assert [one.id for one in logprobs(FLAT, 0, 3)[1]] == [0, 1, 2]
    large = np.array([1e30, 0, -1e30], np.float32)
    assert logprobs(large, 0)[0] == 0
    with pytest.raises(ValueError, match="most must be a whole number from 0 to 8"):
        logprobs(LOGITS, 0, 9)
