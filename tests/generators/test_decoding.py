"""Texts that go on: the same tokens alone and together, with and without guesses and caches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from causal_stacks import PLAN, TOKENS, ids_of, make
from firth.generators.decoding import CHUNK, Decoder, Text, common
from firth.transformer import Stack
from firth.transformer.cached import Cache, extend, scores


@pytest.fixture(scope="module")
def stack() -> Stack:
    return Stack(PLAN, make(PLAN, ("Q4_1", "Q8_0")), "stored")


def greedy(row):
    return int(row.argmax()), None


def run(decoder: Decoder, texts: list[Text]) -> list[list[int]]:
    while going := [text for text in texts if not text.finished]:
        decoder.step(going)
    return [text.ids[text.prompt :] for text in texts]


def written(stack: Stack, ids: list[int], most: int) -> list[int]:
    """One token after the other, all computed anew each time."""
    ids, begin = list(ids), len(ids)
    for _ in range(most):
        states = extend(stack, [ids], [Cache(stack)])
        ids.append(int(scores(stack, states[-1:])[0].argmax()))
    return ids[begin:]


PROMPTS = [ids_of(40), ids_of(1, 1), [3, 4, 5, 6] * 10, ids_of(CHUNK + 90, 2)]


def test_each_text_is_what_it_would_be_alone(stack):
    want = [written(stack, ids, 24) for ids in PROMPTS]
    for guesses in (False, True):
        decoder = Decoder(stack)
        alone = [run(decoder, [decoder.start(ids, greedy, 24, guesses=guesses, reuse=False)])[0]
                 for ids in PROMPTS]  # fmt: skip
        assert alone == want
        texts = [decoder.start(ids, greedy, 24, guesses=guesses) for ids in PROMPTS]
        assert run(decoder, texts) == want
        assert [text.finished for text in texts] == ["length"] * 4


def test_right_guesses_save_steps(stack):
    counts = []
    for guesses in (False, True):
        decoder, steps = Decoder(stack), 0
        # A text that repeats itself, whatever the model says.
        ids = [7, 8, 9] * 20
        state = {"at": 0}

        def choose(row, state=state):
            state["at"] += 1
            return [7, 8, 9][(state["at"] - 1) % 3], None

        text = decoder.start(ids, choose, 30, guesses=guesses)
        while not text.finished:
            decoder.step([text])
            steps += 1
        assert text.ids == [7, 8, 9] * 30
        counts.append(steps)
    assert counts[0] == 30
    assert counts[1] <= 10


@pytest.mark.parametrize(("together", "steps"), [(1, 4), (2, 5), (3, 7), (5, 13)])
def test_texts_that_go_on_together_share_guesses(stack, together, steps):
    """A step brings 4 tokens of one text (3 guessed, the period), 3 of each of two, then 2, 1."""
    decoder = Decoder(stack)

    def turning():
        turn = itertools.cycle([7, 8, 9])
        return lambda row: (next(turn), None)

    texts = [decoder.start([7, 8, 9] * 20, turning(), 13, reuse=False) for _ in range(together)]
    count = 0
    while not all(text.finished for text in texts):
        decoder.step(texts)
        count += 1
    assert all(text.ids == [*[7, 8, 9] * 24, 7] for text in texts)
    assert count == steps


def test_wrong_guesses_are_given_up(stack):
    decoder, rng, sizes = Decoder(stack), np.random.default_rng(0), []
    text = decoder.start(ids_of(400), lambda row: (int(rng.integers(0, 5)), None), 400)
    guess = text.guess

    def counted(most: int) -> list[int]:
        sizes.append(len(found := guess(most)))
        return found

    text.guess = counted
    run(decoder, [text])
    assert 0 < sum(size > 0 for size in sizes) < len(sizes) / 2


def test_what_another_text_has_left_is_used(stack):
    decoder, common_part = Decoder(stack), ids_of(100)
    first = decoder.start([*common_part, 1, 2], greedy, 5)
    run(decoder, [first])
    decoder.keep(first.cache)
    for ids, reused in (
        ([*common_part, 3, 4], 100),
        (common_part[:50], 49),
        ([*common_part, 1, 2], 101),
        ([(common_part[0] + 1) % TOKENS, *common_part], 0),
    ):
        text = decoder.start(ids, greedy, 6)
        assert text.reused == reused
        assert run(decoder, [text])[0] == written(stack, ids, 6)
        assert decoder.start(ids, greedy, 1, reuse=False).reused == 0


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens go through the stack in each step."""
    counts: list[int] = []

    def counted(stack, texts, *rest):
        counts.append(sum(map(len, texts)))
        return extend(stack, texts, *rest)

    monkeypatch.setattr("firth.generators.decoding.extend", counted)
    return counts


def test_a_prompt_of_several_texts_is_computed_once(stack, monkeypatch):
    ids = ids_of(CHUNK + 90, 2)
    prompts = [ids, ids, [*ids[:-10], *ids_of(20)], ids[: CHUNK // 2], ids_of(30, 5)]
    want = [written(stack, one, 6) for one in prompts]
    counts, decoder = computed(monkeypatch), Decoder(stack)
    texts = [decoder.start(one, greedy, 6, guesses=False) for one in prompts]
    assert run(decoder, texts) == want
    assert [one.reused for one in texts] == [0, len(ids) - 1, len(ids) - 10, CHUNK // 2 - 1, 0]
    assert sum(counts) == len(ids) + 1 + 20 + 1 + 30 + 5 * 5
    # not where they must be computed anew, nor for a small part
    counts.clear()
    texts = [decoder.start(one, greedy, 1, reuse=False) for one in prompts[:2]]
    texts.append(decoder.start([*ids[:40], *ids_of(60)], greedy, 1))
    run(decoder, texts)
    assert [one.reused for one in texts] == [0, 0, 0]
    assert sum(counts) == 2 * len(ids) + 100


def test_who_waits_goes_on_where_the_other_one_leaves(stack):
    ids = ids_of(CHUNK * 2 + 9, 3)
    decoder = Decoder(stack)
    gone, left = decoder.start(ids, greedy, 3), decoder.start(ids, greedy, 3)
    assert decoder.step([gone, left]) == [[], []]
    assert (len(gone.cache), len(left.cache)) == (CHUNK, 0)
    decoder.keep(gone.cache)
    assert run(decoder, [left])[0] == written(stack, ids, 3)
    assert left.reused == CHUNK
    none, after = decoder.start(ids, greedy, 0), decoder.start(ids, greedy, 3)
    assert none.finished
    while not after.finished:
        decoder.step([none, after])
    assert after.ids == left.ids


def test_caches_are_bounded(stack):
    decoder = Decoder(stack, kept=3 * Cache(stack).nbytes + 1)
    one = decoder.start(ids_of(70), greedy, 1)
    run(decoder, [one])
    decoder = Decoder(stack, kept=2 * one.cache.nbytes)
    for seed in range(5):
        text = decoder.start(ids_of(70, seed), greedy, 1)
        run(decoder, [text])
        decoder.keep(text.cache)
    assert [decoder.start(ids_of(70, seed), greedy, 1).reused for seed in range(5)] == [
        0, 0, 0, 69, 69,
    ]  # fmt: skip


def test_ends(stack):
    decoder = Decoder(stack)
    text = decoder.start(ids_of(9), lambda row: (4, "stop"), 5)
    assert decoder.step([text]) == [[4]]
    assert text.finished == "stop"
    assert decoder.step([text]) == [[]]
    assert decoder.start([1], greedy, 0).finished == "length"
    assert decoder.step([]) == []


def test_softcap(stack):
    states = np.random.default_rng(0).standard_normal((3, PLAN.width)).astype(np.float32)
    plain, capped = Decoder(stack).scores(states), Decoder(stack, softcap=2.0).scores(states)
    np.testing.assert_allclose(capped, 2 * np.tanh(plain / 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "n"),
    [([], [], 0), ([1], [], 0), ([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([2], [1], 0),
     (list(range(99)), list(range(99)), 99)],
)  # fmt: skip
def test_common(a, b, n):
    assert common(a, b) == common(b, a) == n
