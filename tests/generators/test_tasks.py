"""Perplexity by windows, labels of texts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_models import CONTEXT, write
from firth import CausalLM
from firth.generators import causal, classify, perplexity
from firth.transformer.cached import extend

pytest.importorskip("tokenizers")

TEXT = "Some text, of which each byte is a token, and some of it is left out. " * 12
BEGIN = {"tokenizer.ggml.bos_token_id": 257, "tokenizer.ggml.add_bos_token": True}


def scored(model: CausalLM, ids: list[int], size: int) -> list[float]:
    """What each token in the second half of each window is given, by its logits."""
    found = []
    for start in range(0, len(ids) - size + 1, size):
        window = [*ids[:1], *ids[start + 1 : start + size]] if ids[0] == 257 else None
        window = window or ids[start : start + size]
        rows = model.logits(window).astype(np.float64)
        for at in range(size // 2 + 1, size):
            row = rows[at - 1]
            found.append(row[window[at]] - row.max() - math.log(np.exp(row - row.max()).sum()))
    return found


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("size", [4, 65, 128])
def test_perplexity(tmp_path: Path, begin: bool, size: int) -> None:
    path = write(tmp_path / "model.gguf", more=BEGIN if begin else None)
    model = CausalLM.from_pretrained(path)
    ids = model.tokenizer.encode(TEXT)
    assert (ids[0] == 257) == begin
    want = scored(model, ids, size)
    found = perplexity(model, TEXT, size)
    assert found.value == pytest.approx(math.exp(-np.mean(want)), rel=1e-9)
    spread = np.std(want) / math.sqrt(len(want) - 1)
    assert found.error == pytest.approx(found.value * spread, rel=1e-6)
    assert found[2:] == (len(want), len(ids) // size, size)


def test_windows(tmp_path: Path) -> None:
    model = CausalLM.from_pretrained(write(tmp_path / "model.gguf"))
    assert perplexity(model, TEXT, progress=False).context == 512
    assert perplexity(model, TEXT, CONTEXT).windows == 1
    with pytest.raises(ValueError, match="the text has 3 tokens and a window 512"):
        perplexity(model, "abc")
    for size in (3, CONTEXT + 1, 4.5):
        with pytest.raises((ValueError, TypeError), match="context must be a whole number"):
            perplexity(model, TEXT, size)  # type: ignore[arg-type]


def test_labels(tmp_path: Path) -> None:
    model = CausalLM.from_pretrained(write(tmp_path / "model.gguf"))
    labels = ["cat", "category", "dog"]
    found = classify(model, "a {label}", labels, "{text}: {label}.", [("x", "dog"), ("y", "cat")])
    head = "x: dog.\ny: cat.\na {label}: "
    want = [
        model.score(f"{head}{label}.").logprobs[len(head) - 1 :].sum() for label in labels
    ]  # a byte is a token
    assert list(found) == labels
    shares = np.exp(np.array(want) - max(want))
    assert list(found.values()) == (shares / shares.sum()).tolist()  # to the bit
    assert list(found.values()) == pytest.approx(np.exp(want) / np.exp(want).sum(), rel=1e-9)
    assert sum(found.values()) == pytest.approx(1)


def test_labels_share_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalLM.from_pretrained(write(tmp_path / "model.gguf"))
    taken = []

    def counted(stack: Any, texts: Any, caches: Any) -> Any:
        taken.append(sum(map(len, texts)))
        return extend(stack, texts, caches)

    monkeypatch.setattr(causal, "extend", counted)
    text = "a text that is longer than its label, " * 4
    found = classify(model, text, ["yes", "no", "maybe"], "{text}: {label}.")
    assert taken[0] > len(text)
    assert taken[1:] == [len(" no."), len(" maybe.")]
    monkeypatch.undo()
    assert classify(model, text, ["yes", "no", "maybe"], "{text}: {label}.") == found


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        (["a"], "{text}{label}", "two or more different"),
        (["a", "a"], "{text}{label}", "two or more different"),
        (["a", "b"], "{text}", "must have {text} and {label}"),
        (["a", "b"], "{label} {text}", "must have {text} and {label}"),
        (["a", "b" * CONTEXT], "{text}{label}", "the text has 701 tokens and the context 700"),
    ],
)
def test_bad_labels(tmp_path: Path, labels: list[str], template: str, message: str) -> None:
    model = CausalLM.from_pretrained(write(tmp_path / "model.gguf"))
    with pytest.raises(ValueError, match=message):
        classify(model, "x", labels, template)
