"""What a model expects, as numbers and as a picture; that people can read it was looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causal_models import write
from firth import CausalLM
from firth.generators import probabilities
from firth.generators.pictures import shares_of

pytest.importorskip("tokenizers")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    return CausalLM.from_pretrained(write(tmp_path_factory.mktemp("model") / "small.gguf"))


def test_numbers(model: CausalLM) -> None:
    text = "a b$c$"
    found = probabilities(model, text, most=4)
    assert repr(found) == "Probabilities<6 tokens, 4 behind each>"
    assert found.tokens == list(text)
    shares = shares_of(model.logits(model.tokenizer.encode(text)))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(found.shares, -np.sort(-shares, axis=1)[:, :4])
    score = model.score(text)
    np.testing.assert_allclose(np.log(found.followed), score.logprobs, atol=1e-9)
    for row, tokens in zip(shares, found.likely, strict=True):
        assert tokens[0] == model.tokenizer.decode([int(row.argmax())])


def test_temperature() -> None:
    logits = np.array([0, 1, 2], np.float32)
    np.testing.assert_allclose(shares_of(logits, 0.5), np.exp([0, 2, 4]) / np.exp([0, 2, 4]).sum())


def test_the_picture(model: CausalLM, tmp_path: Path) -> None:
    found = probabilities(model, "a b\n$x$", most=3)
    (axes,) = found.figure.axes
    shown = [text.get_text() for text in axes.texts]
    assert len(shown) == 7 * 3
    assert f"{found.shares[0, 0]:.0%}" in shown[0]
    assert [label.get_text() for label in axes.get_xticklabels()][1:4] == ["␣", "b", "⏎"]
    frames = sum(found.tokens[i + 1] in found.likely[i] for i in range(6))
    assert len(axes.patches) == frames
    for name in ("picture.png", "picture.svg"):
        found.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_bad_arguments(model: CausalLM) -> None:
    for text in ("", "x" * 65):
        with pytest.raises(ValueError, match="want a text of 1 to 64 tokens"):
            probabilities(model, text)
    with pytest.raises(ValueError, match="most must be a whole number from 1 to 20"):
        probabilities(model, "x", most=0)
