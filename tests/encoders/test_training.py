"""BERT in training: gradients, folders, compiled steps, and errors; without peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL
from firth.encoders.training import Bert, BertClassifier, BertPreTraining
from firth.formats import safetensors
from firth.nn import tape
from firth.nn.operations.cross_entropy import cross_entropy
from firth.nn.program import TrainingStep
from firth.nn.tape import Tensor
from firth.optim import AdamW

CONFIG = {**SMALL["bert"], "num_hidden_layers": 2, "hidden_dropout_prob": 0.0,
          "attention_probs_dropout_prob": 0.0}  # fmt: skip


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.ones((3, 7), np.int64)
    mask[1, 4:] = 0
    mask[2, :1] = 0
    return {
        "input_ids": rng.integers(1, 60, (3, 7)),  # not the row of padding, which is not trained
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, (3, 7)),
    }


def targets(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((3, 7)) < 0.4, rng.integers(0, 60, (3, 7)), -100)
    return {"labels": labels, "next_sentence_label": rng.integers(0, 2, 3)}


def shaken(model: Any) -> Any:
    """The same model with random numbers in every array."""
    rng = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data += 0.2 * rng.standard_normal(parameter.shape).astype(parameter.dtype)
    return model


def total(model: BertPreTraining, *given: Any) -> Tensor:
    words, sentences = model.losses(*given)
    return words + sentences


def test_random_direction_in_float64() -> None:
    """The loss along a random direction has the slope that the gradients say."""
    model = shaken(BertPreTraining(CONFIG).double())
    given = [*batch().values(), *targets().values()]
    total(model, *given).backward()
    rng = np.random.default_rng(1)
    steps = [rng.standard_normal(p.shape) for p in model.parameters()]
    slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), steps, strict=True))
    before = [p.data.copy() for p in model.parameters()]

    def at(t: float) -> float:
        for p, x, d in zip(model.parameters(), before, steps, strict=True):
            p.data[...] = x + t * d
        with tape.no_grad():
            return total(model, *given).item()

    h = 1e-5
    measured = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert slope == pytest.approx(measured, rel=1e-8)


def test_losses_are_those_of_the_scores() -> None:
    model = shaken(BertPreTraining(CONFIG))
    words, sentences = model(**batch())
    one, other = model.losses(**batch(), **targets())
    aim = targets()
    assert one.item() == pytest.approx(cross_entropy(words, aim["labels"]).item(), rel=1e-5)
    want = cross_entropy(sentences, aim["next_sentence_label"]).item()
    assert other.item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_saved_opens_for_use(tied: bool, tmp_path: Path) -> None:
    model = shaken(BertPreTraining({**CONFIG, "tie_word_embeddings": tied}))
    model.save_pretrained(tmp_path)
    given = batch()
    found = firth.BertForPreTraining.from_pretrained(tmp_path)(**given)
    with tape.no_grad():
        words, sentences = model(**given)
    np.testing.assert_allclose(found.prediction_logits, words.data, atol=1e-5)
    np.testing.assert_allclose(found.seq_relationship_logits, sentences.data, atol=1e-5)
    masked = firth.BertForMaskedLM.from_pretrained(tmp_path)(**given).logits
    np.testing.assert_allclose(masked, words.data, atol=1e-5)
    again = BertPreTraining.from_pretrained(tmp_path)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    names = set(safetensors.read(tmp_path / "model.safetensors"))
    assert ("cls.predictions.decoder.weight" in names) != tied
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [
        "BertForPreTraining"
    ]


def test_states_pooled_and_mean(tmp_path: Path) -> None:
    model = shaken(Bert(CONFIG))
    model.save_pretrained(tmp_path)
    given = batch()
    found = firth.BertModel.from_pretrained(tmp_path)(**given)
    states = model(**given)
    np.testing.assert_allclose(states.data, found.last_hidden_state, atol=1e-5)
    np.testing.assert_allclose(model.pooled(states).data, found.pooler_output, atol=1e-5)
    mask = given["attention_mask"]
    want = [row[seen > 0].mean(0) for row, seen in zip(states.data, mask, strict=True)]
    np.testing.assert_allclose(model.mean(states, mask).data, want, atol=1e-6)
    np.testing.assert_allclose(model.mean(states).data, states.data.mean(1), atol=1e-6)
    assert (model.mean(states, np.zeros_like(mask)).data == 0).all()


def test_padding_changes_nothing() -> None:
    model = shaken(Bert(CONFIG))
    ids = batch()["input_ids"][:, :5]
    wide = np.pad(ids, ((0, 0), (0, 3)), constant_values=7)
    seen = np.pad(np.ones_like(ids), ((0, 0), (0, 3)))
    np.testing.assert_allclose(model(wide, seen).data[:, :5], model(ids).data, atol=1e-6)
    assert np.abs(model(wide).data[:, :5] - model(ids).data).max() > 1e-3


def test_a_classifier_of_a_bare_encoder(tmp_path: Path) -> None:
    Bert(CONFIG).save_pretrained(tmp_path / "bare")
    with pytest.warns(UserWarning, match=r"new, as the file has none: classifier\.weight, class"):
        model = BertClassifier.from_pretrained(tmp_path / "bare", num_labels=3)
    model.eval().save_pretrained(tmp_path / "fine")
    found = firth.BertForSequenceClassification.from_pretrained(tmp_path / "fine")
    want = model(**batch()).data
    assert want.shape == (3, 3)
    np.testing.assert_allclose(found(**batch()).logits, want, atol=1e-5)
    again = BertClassifier.from_pretrained(tmp_path / "fine").eval()
    np.testing.assert_array_equal(again(**batch()).data, want)


def test_compiled_steps_are_those_of_the_tape() -> None:
    """Masks and lengths change from batch to batch; the compiled step reads them anew."""

    def train(compiled: bool) -> dict[str, np.ndarray]:
        tape.manual_seed(3)
        model = BertPreTraining(CONFIG)
        optimizer = AdamW(model.parameters(), lr=1e-2)
        step = TrainingStep(model, total, optimizer)
        for i in range(4):
            arrays = [*batch(i).values(), *targets(i).values()]
            arrays[1] = np.roll(arrays[1], i, axis=1)
            if compiled:
                step(*arrays)
            else:
                optimizer.zero_grad()
                total(model, *arrays).backward()
                optimizer.step()
        return model.state_dict()

    one, other = train(True), train(False)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_a_mean_in_a_compiled_step() -> None:
    """What `mean` makes of the mask is made anew for each batch."""
    model = Bert(CONFIG)
    optimizer = AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    step = TrainingStep(
        model, lambda bert, ids, mask: bert.mean(bert(ids, mask), mask).square().mean(), optimizer
    )
    for i in range(3):
        ids, mask = batch(i)["input_ids"], np.roll(batch()["attention_mask"], i, axis=1)
        want = (model.mean(model(ids, mask), mask).data ** 2).mean()
        assert step(ids, mask) == pytest.approx(want, rel=1e-5)


def test_padding_row_is_not_trained() -> None:
    model = BertClassifier(CONFIG)
    words = model.bert.embeddings.word_embeddings.weight
    assert (words.data[0] == 0).all()
    model(np.zeros((2, 4), np.int64)).backward(np.ones((2, 2)))
    assert (words.grad[0] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', Bert takes bert"),
        ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob must be in \[0, 1\), got 1.5"),
        ({"hidden_size": 33}, "33"),
        ({"hidden_act": "cos"}, "hidden_act must be one of"),
    ],
)
def test_bad_configurations(change: dict[str, Any], message: str) -> None:
    with pytest.raises(firth.FormatError, match=message):
        Bert({**CONFIG, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": np.zeros(4, np.int64)}, r"input_ids must have shape \(B, S\)"),
        ({"input_ids": np.zeros((1, 41), np.int64)}, "S from 1 to 40"),
        ({"input_ids": np.full((3, 7), 60)}, r"input\[0, 0\] is 60"),
        ({"attention_mask": np.ones((3, 6))}, r"attention_mask must have the shape of input_ids"),
        ({"token_type_ids": np.ones((2, 7), int)}, r"token_type_ids must have the shape"),
        ({"token_type_ids": np.full((3, 7), 2)}, r"input\[0, 0\] is 2"),
    ],
)
def test_bad_inputs(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bert(CONFIG)(**{**batch(), **change})


def test_files_of_another_shape_or_without_layers(tmp_path: Path) -> None:
    Bert(CONFIG).save_pretrained(tmp_path)
    with pytest.raises(firth.FormatError, match="word_embeddings"):
        Bert.from_pretrained(tmp_path, vocab_size=61)
    with pytest.raises(firth.FormatError, match=r"encoder\.layer\.2"):
        Bert.from_pretrained(tmp_path, num_hidden_layers=3)
