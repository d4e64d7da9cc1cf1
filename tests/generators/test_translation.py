"""Seq2SeqLM on a Marian that translates word by word, and on random models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError, Seq2SeqLM, _native
from firth.kernels import use
from translation_models import END, PAD, PLACES, TOKENS, write

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Seq2SeqLM:
    return Seq2SeqLM.from_pretrained(write(tmp_path_factory.mktemp("model")))


def test_what_a_model_says_of_itself(model: Seq2SeqLM) -> None:
    assert repr(model) == "Seq2SeqLM<marian, 1 and 1 layers of 26>"
    assert model.context == PLACES
    config = model.generation_config
    assert (config.num_beams, config.bad_words_ids, config.max_length) == (4, ((PAD,),), PLACES)


TEXT, WANT = "the cat sees the mouse .", "die Katze sieht die Maus ."


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_texts(model: Seq2SeqLM, backend: str) -> None:
    with use(backend):
        for beams in (None, 1, 2):
            assert model.generate(TEXT, num_beams=beams) == WANT
            texts = ["the cat", TEXT, "sleeps"]
            assert model.generate(texts, num_beams=beams) == ["die Katze", WANT, "schläft"]
    assert model.generate([]) == []
    assert model.generate(["the cat"]) == ["die Katze"]


def test_ids(model: Seq2SeqLM) -> None:
    ids = model.tokenizer.encode("the cat")
    want = [TOKENS.index("▁die"), TOKENS.index("▁Katze"), END]
    for given in (ids, np.array(ids), tuple(ids), "the cat"):
        assert model.generate(given, return_ids=True) == want
    assert model.generate([ids, ids], return_ids=True) == [want, want]
    assert model.logits("the cat", [PAD, *want[:2]]).argmax(axis=1).tolist() == want
    assert model.logits(ids, [PAD, *want[:2]]).shape == (3, len(TOKENS))


def test_ends(model: Seq2SeqLM) -> None:
    assert model.generate(TEXT, max_new_tokens=0) == ""
    for beams in (1, 4):
        # the last token that fits is the end, whatever the model says
        assert model.generate(TEXT, 3, num_beams=beams) == "die Katze"
        assert model.generate(TEXT, num_beams=beams, stop="sieht") == "die Katze "
        assert model.generate(TEXT, num_beams=beams, stop=["x", "e K"]) == "di"
    free = dataclasses.replace(model.generation_config, forced_eos_token_id=())
    other = Seq2SeqLM(model._model, free, model.tokenizer)
    assert other.generate(TEXT, 3) == "die Katze sieht"
    longest = " ".join(["cat"] * (PLACES - 1))
    assert other.generate(longest, 99) == " ".join(["Katze"] * (PLACES - 1))
    assert len(other.generate(longest, 99, return_ids=True)) == PLACES
    assert len(other.generate(longest, return_ids=True)) == PLACES - 1  # its max_length


def test_samples(model: Seq2SeqLM) -> None:
    options: dict[str, Any] = {"temperature": 9.0, "seed": 5, "return_ids": True}
    texts = ["the cat", TEXT]
    found = model.generate(texts, n=9, **options)
    assert found == [model.generate(text, n=9, **options) for text in texts]
    assert len({tuple(one) for one in found[1]}) > 5
    assert found[1][3] == model.generate(TEXT, **options | {"seed": 8})
    assert all(one[-1] == END or len(one) == PLACES - 1 for one in found[1])
    assert not any(PAD in one for one in found[1])
    assert model.generate(TEXT, temperature=1e-3, seed=1) == WANT
    biased = model.generate("the cat", logit_bias={TOKENS.index("▁Katze"): -99.0}, num_beams=1)
    assert biased.startswith("die")
    assert "Katze" not in biased


def test_many_texts_and_hypotheses(model: Seq2SeqLM) -> None:
    texts = [("the cat", "the", "sleeps .")[i % 3] for i in range(100)]
    want = [("die Katze", "die", "schläft .")[i % 3] for i in range(100)]
    assert model.generate(texts) == want
    assert model.generate(texts, num_beams=1) == want
    many = model.generate("the cat", temperature=1.0, seed=0, n=150)
    assert len(many) == 150
    assert many.count("die Katze") > 100


@pytest.mark.parametrize("beams", [1, 4])
def test_company_and_threads_change_no_text(model: Seq2SeqLM, beams: int) -> None:
    rng, before = np.random.default_rng(0), _native.num_threads()
    # words that are none make logits that say little
    texts = [rng.integers(0, PAD + 1, rng.integers(1, PLACES)).tolist() for _ in range(30)]
    options: dict[str, Any] = {"num_beams": beams, "return_ids": True, "no_repeat_ngram_size": 2}
    alone = [model.generate(text, **options) for text in texts]
    try:
        for count in (1, 3):
            firth.set_num_threads(count)
            assert model.generate(texts, **options) == alone
    finally:
        firth.set_num_threads(before)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ([0] * 13, {}, "a text has 13 tokens, the model reads 12"),
        ([[]], {}, "a text is empty"),
        ([99], {}, r"a token must be a whole number from 0 to 13, got 99"),
        ([1.5], {}, "a token must be a whole number from 0 to 13, got 1.5"),
        (5, {}, "a text must be a str or ids, got 5"),
        ("the", {"num_beams": 0}, "num_beams must be a whole number from 1"),
        ("the", {"num_beams": 2, "temperature": 1.0}, "a temperature draws, num_beams search"),
        ("the", {"n": 5}, "n must be a whole number from 1 to 4"),
        ("the", {"early_stopping": "soon"}, "early_stopping must be a bool or 'never'"),
        ("the", {"length_penalty": "1"}, "length_penalty must be a number"),
        ("the", {"length_penalty": 1000}, "length_penalty must be a number from -5 to 5"),
        (b"the", {}, "a text must be a str or ids, got b'the'"),
        ({"the": 1}, {}, "a text must be a str or ids, got {'the': 1}"),
        (["the", 1], {}, "want a text or its ids, or a list of these, not of both"),
        ("the", {"logit_bias": {14: 1.0}}, "an id of logit_bias"),
        ("the", {"max_new_tokens": -1}, "max_new_tokens must be"),
        ("the", {"stop": ""}, "stop must be strings"),
    ],
)
def test_bad_arguments(model: Seq2SeqLM, text: Any, options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        model.generate(text, **options)


def test_stop_strings_of_an_iterator_count_for_all_texts(model: Seq2SeqLM) -> None:
    texts = ["the cat sees the mouse .", "the cat sees the cat ."]
    want = model.generate(texts, stop=["sieht"], num_beams=1)
    assert want == ["die Katze ", "die Katze "]
    assert model.generate(texts, stop=iter(["sieht"]), num_beams=1) == want
    assert model.generate(texts, stop=iter(["sieht"])) == want


def test_logits_of_ids_that_are_none(model: Seq2SeqLM) -> None:
    for ids in ([PAD, 1.5], [PAD, 99], [PAD, "a"]):
        with pytest.raises((TypeError, ValueError), match="a token must be a whole number"):
            model.logits("the cat", ids)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "source.spm").unlink()
    model = Seq2SeqLM.from_pretrained(tmp_path)
    assert model.generate([2, END], return_ids=True) == [3, END]
    for text, options in (([2], {}), ("the", {"return_ids": True}), ([2], {"stop": "x"})):
        with pytest.raises(ValueError, match="the model has no tokenizer"):
            model.generate(text, **options)


def test_without_generation_config(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    model = Seq2SeqLM.from_pretrained(tmp_path)
    assert model.generation_config.decoder_start_token_id == PAD
    assert model.generation_config.num_beams == 1
    assert model.generate(TEXT) == WANT
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_beams": 3, "max_length": 3}))
    assert Seq2SeqLM.from_pretrained(tmp_path).generate(TEXT) == "die Katze"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("decoder_start_token_id", 99, "decoder_start_token_id must be .* from 0 to 13, got 99"),
        ("decoder_start_token_id", [1, 2], "decoder_start_token_id must be one id"),
        ("eos_token_id", "x", "eos_token_id must be a whole number"),
        ("bad_words_ids", [3], "bad_words_ids must be lists of ids"),
        ("bad_words_ids", [[-1]], "bad_words_ids must be a whole number"),
        ("num_beams", 0, "num_beams must be a whole number from 1"),
        ("length_penalty", "x", "length_penalty must be a number"),
        ("early_stopping", "x", "early_stopping must be a bool or 'never'"),
        ("max_length", 0, "max_length must be a whole number from 1"),
    ],
)
def test_malformed_generation_config(tmp_path: Path, field: str, value: Any, message: str) -> None:
    write(tmp_path, **{field: value})
    with pytest.raises(FormatError, match=message):
        Seq2SeqLM.from_pretrained(tmp_path)


def test_fields_that_are_not_there_are_told(tmp_path: Path) -> None:
    write(tmp_path, encoder_no_repeat_ngram_size=3)
    with pytest.warns(UserWarning, match="encoder_no_repeat_ngram_size is 3"):
        Seq2SeqLM.from_pretrained(tmp_path)
