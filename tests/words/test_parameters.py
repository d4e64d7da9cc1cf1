"""Parameters of trainers: both ends of each range, values beyond, and other types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth.fasttext
from firth import FastText, FormatError, GloVe, Word2Vec
from firth.arguments import Real, Whole, check_all
from firth.fasttext import training as fasttext_training
from firth.words import fasttext, glove
from firth.words.vocabulary import PARAMETERS

TABLES: dict[Any, Any] = {
    Word2Vec: PARAMETERS,
    FastText: PARAMETERS | fasttext._NGRAMS,
    GloVe: glove._RANGES,
}
CASES = [(kind, name) for kind, rules in TABLES.items() for name in rules]
TEXT = [["the", "cat", "sat", "on", "the", "mat"], ["a", "dog", "saw", "the", "cat"]] * 3
SMALL = {"vector_size": 4, "min_count": 1, "epochs": 1}


def beyond(rule: Whole | Real) -> list[Any]:
    values: list[Any] = [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)]
    values += ["x", "5", [1], {}, object, 1j, np.array([1, 2])]
    values += [] if getattr(rule, "optional", False) else [None]
    if isinstance(rule, Whole):
        return [*values, rule.least - 1, rule.most + 1, rule.least + 0.5]
    values += [rule.least] if rule.above else []
    return [*values, np.nextafter(rule.least, -np.inf), np.nextafter(rule.most, np.inf)]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_constructors(kind: Any, name: str) -> None:
    rule = TABLES[kind][name]
    for value in beyond(rule):
        with pytest.raises((ValueError, TypeError), match=f"^{kind.__name__}: {name} must be a "):
            kind(**{name: value})
    least = (
        np.nextafter(rule.least, np.inf) if isinstance(rule, Real) and rule.above else rule.least
    )
    for value in (least, rule.most, np.float64(least)):
        model = kind(**{name: value})
        if name in vars(model):
            assert getattr(model, name) == value
            assert type(getattr(model, name)) is (int if isinstance(rule, Whole) else float)


@pytest.mark.parametrize(
    ("kind", "name"), [case for case in CASES if case[1] not in ("min_n", "max_n", "bucket")]
)
def test_attributes_that_were_assigned(kind: Any, name: str, tmp_path: Path) -> None:
    """Training refuses them before it changes anything."""
    model = kind(TEXT, **SMALL)
    before, losses = model.wv.vectors.copy(), list(model.epoch_losses)
    for value in beyond(TABLES[kind][name]):
        setattr(model, name, value)
        with pytest.raises((ValueError, TypeError), match=rf"^{kind.__name__}\.train: .* must be"):
            model.train(TEXT)
    assert model.epoch_losses == losses
    np.testing.assert_array_equal(model.wv.vectors, before)
    if name == "vector_size":
        return
    setattr(model, name, np.float32(2))
    model.save(tmp_path / "model")
    assert getattr(kind.load(tmp_path / "model"), name) == (None if name == "workers" else 2)


@pytest.mark.parametrize(
    "extreme",
    [
        {"window": 2**31 - 1},
        {"window": 2**31 - 1, "sg": 1, "negatives": "independent"},
        {"negative": 2**16, "sg": 1},
        {"negative": 2**16},
        {"ns_exponent": 10},
        {"ns_exponent": -10.0},
        {"sample": 1e18},
        {"sample": 1},
        {"sample": np.nextafter(0, 1)},
        {"alpha": 0, "min_alpha": 0},
        {"workers": 1024},
        {"max_vocab_size": 2**63 - 1, "max_final_vocab": np.int64(5)},
        {"min_count": 0, "batch_words": 1},
        {"seed": 2**63 - 1},
    ],
)
def test_training_with_the_ends_of_ranges(extreme: dict[str, Any]) -> None:
    for kind in (Word2Vec, FastText):
        more = {"bucket": 50} if kind is FastText else {}
        model = kind(TEXT, **SMALL | more | extreme)
        assert np.isfinite(model.wv.vectors).all()
    same = {name: value for name, value in extreme.items() if name in ("window", "workers", "seed")}
    assert np.isfinite(GloVe(TEXT, **SMALL | same).wv.vectors).all()


def test_training_arguments() -> None:
    for kind in (Word2Vec, FastText, GloVe):
        model = kind(TEXT, **SMALL)
        before = model.wv.vectors.copy()
        names = ["epochs"] if kind is GloVe else ["epochs", "start_alpha", "end_alpha"]
        for name in names:
            for value in (-1, "x", float("nan"), 10**400, [2]):
                with pytest.raises(
                    (ValueError, TypeError), match=rf"^{kind.__name__}\.train: {name}"
                ):
                    model.train(TEXT, **{name: value})
        np.testing.assert_array_equal(model.wv.vectors, before)


def test_an_integer_exponent_is_that_float() -> None:
    counts = {f"w{i}": 3_000_000 - 1000 * i for i in range(50)} | {"rare": 1}
    for exponent in (-10, -1, 0, 1, 2, 3, 10):
        tables = []
        for value in (exponent, float(exponent)):
            model = Word2Vec(min_count=1, ns_exponent=value)
            model.build_vocab_from_freq(counts)
            tables.append(model.cum_table)
        assert tables[0] is not None
        np.testing.assert_array_equal(*tables)
        shares = np.diff(tables[0].astype(np.int64), prepend=0) / (2**31 - 1)
        powers = model.wv.expandos["count"].astype(np.float64) ** exponent
        np.testing.assert_allclose(shares, powers / powers.sum(), atol=1e-9)


@pytest.mark.parametrize("name", fasttext_training._RANGES)
def test_fasttext_module(name: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("__label__a the cat\n__label__b a dog\n" * 5)
    for function in ("train_supervised", "train_unsupervised"):
        train = getattr(firth.fasttext, function)
        for value in beyond(fasttext_training._RANGES[name]):
            with pytest.raises((ValueError, TypeError), match=f"^{function}: {name} must be a "):
                train(path, **{name: value})


@pytest.mark.parametrize(
    "state",
    [
        {"_draws": 2**62}, {"_draws": -1}, {"_draws": "x"}, {"corpus_count": "x"},
        {"corpus_total_words": -5}, {"train_count": 1.5}, {"ns_exponent": 100}, {"window": 0},
    ],
)  # fmt: skip
def test_numbers_in_a_file(state: dict[str, Any], tmp_path: Path) -> None:
    model = Word2Vec(TEXT, **SMALL)  # type: ignore[arg-type]
    path = tmp_path / "model"
    if set(state) <= set(PARAMETERS):
        vars(model).update(state)
        with pytest.raises(ValueError, match=r"Word2Vec\.save: "):
            model.save(path)
        return
    vars(model).update(state)
    model.save(path)
    with pytest.raises(FormatError, match="is not a whole model"):
        Word2Vec.load(path)


def test_check_all_gives_pythons_numbers() -> None:
    rules = {"a": Whole(optional=True), "b": Real(), "c": Whole()}
    got = check_all("f", rules, {"a": None, "b": np.float32(0.5), "c": np.int8(3), "d": "x"})
    assert got == {"a": None, "b": 0.5, "c": 3}
    assert [type(value) for value in got.values()] == [type(None), float, int]
    with pytest.raises(ValueError, match=r"f: c must be .*, got an integer of 33220 bits"):
        check_all("f", rules, {"c": 10**10000})
