"""Encoders with random weights: shapes, masks, positions, independence of the batch, bad input.

What the numbers must be is in test_peers.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, arrays_of
from firth import FormatError, kernels
from firth.encoders import models
from firth.encoders.models import Model

AUTO = [
    firth.AutoModel,
    firth.AutoModelForMaskedLM,
    firth.AutoModelForSequenceClassification,
    firth.AutoModelForTokenClassification,
    firth.AutoModelForQuestionAnswering,
]
rng = np.random.default_rng(0)
IDS = rng.integers(3, 60, (4, 11))


def make(cls: type[Model] = firth.AutoModel, kind: str = "bert", **fields: Any) -> Any:
    config = SMALL[kind] | fields
    return cls(config, arrays_of(cls, config))


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("cls", AUTO)
def test_shapes(kind: str, cls: type[Model]) -> None:
    if (kind, cls) == ("nomic_bert", firth.AutoModelForQuestionAnswering):
        with pytest.raises(FormatError, match="nomic_bert has no head for AutoModelForQuestion"):
            cls.from_config(SMALL[kind])
        return
    labels = 2 if cls is firth.AutoModelForQuestionAnswering else 3
    model = make(cls, kind, num_labels=labels)
    out = model(IDS, output_hidden_states=True, output_attentions=True)
    layers = 6 if kind == "albert" else 4 if kind == "modernbert" else 3
    assert [state.shape for state in out.hidden_states] == [(4, 11, 32)] * (layers + 1)
    assert [weights.shape for weights in out.attentions] == [(4, 4, 11, 11)] * layers
    for weights in out.attentions:
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    wanted = {
        "AutoModel": {"last_hidden_state": (4, 11, 32)},
        "AutoModelForMaskedLM": {"logits": (4, 11, 60)},
        "AutoModelForSequenceClassification": {"logits": (4, 3)},
        "AutoModelForTokenClassification": {"logits": (4, 11, 3)},
        "AutoModelForQuestionAnswering": {"start_logits": (4, 11), "end_logits": (4, 11)},
    }[cls.__name__]
    if cls is firth.AutoModel and kind not in ("distilbert", "electra", "modernbert"):
        wanted = {**wanted, "pooler_output": (4, 32)}
    found = {k: v.shape for k, v in out.items() if k not in ("hidden_states", "attentions")}
    assert found == wanted
    for name in found:
        assert out[name].dtype == np.float32
    if cls is firth.AutoModel:
        np.testing.assert_array_equal(out.hidden_states[-1], out.last_hidden_state)


@pytest.mark.parametrize("kind", SMALL)
def test_a_text_is_the_same_in_any_batch(kind: str) -> None:
    """To the bit among texts of one length; with padding, as near as float32 sums allow."""
    model = make(firth.AutoModelForMaskedLM, kind)
    whole = model(IDS, output_hidden_states=True)
    alone = model(IDS[2:3], output_hidden_states=True)
    atol = 0 if kernels.active().startswith("native") else 1e-4  # NumPy's BLAS promises nothing
    np.testing.assert_allclose(whole.logits[2:3], alone.logits, atol=atol, rtol=0)
    for one, other in zip(whole.hidden_states, alone.hidden_states, strict=True):
        np.testing.assert_array_equal(one[2:3], other)
    padded = np.pad(IDS, ((0, 0), (0, 5)), constant_values=model.config.pad_token_id)
    mask = np.pad(np.ones_like(IDS), ((0, 0), (0, 5)))
    long = model(padded, mask).logits
    np.testing.assert_allclose(long[:, :11], whole.logits, atol=1e-4)


def test_inputs_of_any_kind() -> None:
    model = make()
    want = model(IDS, np.ones_like(IDS), np.zeros_like(IDS)).last_hidden_state
    for ids in (IDS.tolist(), IDS.astype(np.int32), IDS.astype(np.uint8), IDS[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(model(input_ids=ids).last_hidden_state, want)
    got = model(input_ids=IDS, attention_mask=np.ones(IDS.shape, bool)).last_hidden_state
    np.testing.assert_array_equal(got, want)
    got = model(IDS, attention_mask=np.ones(IDS.shape, np.float32)).last_hidden_state
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", SMALL)
def test_masks(kind: str) -> None:
    model = make(kind=kind)
    mask = np.ones_like(IDS)
    mask[1, 7:] = 0
    mask[2, ::3] = 0
    want = model(IDS, mask).last_hidden_state
    each = np.broadcast_to(mask[:, None], (4, 11, 11))
    np.testing.assert_allclose(model(IDS, each).last_hidden_state, want, atol=1e-5)
    four = model(IDS, each[:, None] != 0).last_hidden_state
    np.testing.assert_allclose(four, want, atol=1e-5)
    changed = IDS.copy()
    changed[mask == 0] = 3
    seen = model(changed, mask).last_hidden_state
    np.testing.assert_allclose(seen[mask == 1], want[mask == 1], atol=1e-5)
    assert np.abs(seen[mask == 0] - want[mask == 0]).max() > 1e-2
    assert np.abs(model(changed).last_hidden_state - want)[mask == 1].max() > 1e-2
    # Each token sees itself and those before: what comes later has no influence.
    causal = np.broadcast_to(np.tri(11), (4, 11, 11))
    first, second = (model(ids, causal).last_hidden_state for ids in (IDS, (IDS + 1) % 57 + 3))
    assert np.abs(first - second).max() > 1e-2
    later = IDS.copy()
    later[:, 6:] = 5
    got = model(later, causal).last_hidden_state
    np.testing.assert_allclose(got[:, :6], first[:, :6], atol=1e-5)


def test_attention_of_masked_tokens_is_nothing() -> None:
    mask = np.ones_like(IDS)
    mask[1, 7:] = 0
    out = make()(IDS, mask, output_attentions=True)
    for weights in out.attentions:
        assert (weights[1, :, :, 7:] == 0).all()
        assert (weights[0] > 0).all()


def test_segments() -> None:
    types = np.zeros_like(IDS)
    types[:, 5:] = 1
    model = make()
    assert np.abs(model(IDS, None, types)[0] - model(IDS)[0]).max() > 1e-2
    without = make(kind="distilbert")
    np.testing.assert_array_equal(without(IDS, None, types)[0], without(IDS)[0])


@pytest.mark.parametrize("kind", SMALL)
def test_positions(kind: str) -> None:
    model = make(kind=kind)
    first = 2 if kind in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    places = np.arange(11) + first
    want = model(IDS).last_hidden_state
    for given in (places, places[None], np.tile(places, (4, 1)), places.tolist()):
        np.testing.assert_array_equal(model(IDS, position_ids=given).last_hidden_state, want)
    # Rotary positions are relative: the same shift of all changes rounding only.
    shifted = np.abs(model(IDS, position_ids=places + 3).last_hidden_state - want).max()
    assert (shifted > 1e-2) == (kind not in ("modernbert", "nomic_bert"))
    assert np.abs(model(IDS, position_ids=places[::-1]).last_hidden_state - want).max() > 1e-2


def test_padding_keeps_its_position() -> None:
    """RoBERTa counts tokens, not places."""
    model = make(kind="roberta")
    left = np.full((1, 13), 1)
    left[0, 2:] = IDS[0]
    mask = (left != 1).astype(int)
    got = model(left, mask).last_hidden_state[:, 2:]
    np.testing.assert_allclose(got, model(IDS[:1]).last_hidden_state, atol=1e-5)


def test_layers_of_albert_are_shared() -> None:
    layers = make(kind="albert").stack.weights.layers
    assert [[one is other for other in layers] for one in layers[:2]] == [
        [True, False] * 2 + [False] * 2,
        [False, True] * 2 + [False] * 2,
    ]
    assert len({id(layer) for layer in layers}) == 4


def test_arrays_are_not_copied() -> None:
    arrays = arrays_of(firth.AutoModel, SMALL["bert"])
    model = firth.AutoModel(SMALL["bert"], arrays)
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.weight"):
        ours = [*model.stack.weights.outside.values(), *model.stack.weights.layers[1].values()]
        assert any(np.shares_memory(arrays[name], array) for array in ours)


def test_number_of_parameters() -> None:
    tables, layer = (60 + 40 + 2 + 2) * 32, 4 * (32 * 32 + 32) + 2 * 32 * 48 + 48 + 32 + 4 * 32
    pooler, body = 32 * 32 + 32, tables + 3 * layer
    assert make().num_parameters() == body + pooler
    assert make(firth.BertForMaskedLM).num_parameters() == body + pooler + 2 * 32 + 60
    assert make(firth.BertForPreTraining).num_parameters() == (
        body + 2 * pooler + 2 * 32 + 60 + 2 * 32 + 2
    )
    untied = make(firth.BertForMaskedLM, tie_word_embeddings=False)
    assert untied.num_parameters() == body + pooler + 2 * 32 + 60 + 60 * 32
    # Two groups of two layers, however often they run.
    albert = make(firth.AutoModelForQuestionAnswering, "albert")
    assert albert.num_parameters() == (
        (60 + 40 + 2 + 2) * 12 + 12 * 32 + 32 + 4 * layer + 2 * 32 + 2
    )


def test_untied_decoder() -> None:
    config = SMALL["bert"] | {"tie_word_embeddings": False}
    arrays = arrays_of(firth.BertForMaskedLM, config)
    out = firth.BertForMaskedLM(config, arrays)(IDS)
    arrays["cls.predictions.decoder.weight"] = arrays["embeddings.word_embeddings.weight"]
    tied = firth.BertForMaskedLM(SMALL["bert"], arrays)(IDS)
    assert np.abs(out.logits - tied.logits).max() > 0.1
    same = firth.BertForMaskedLM(config, arrays)(IDS)
    np.testing.assert_array_equal(same.logits, tied.logits)


def test_old_names() -> None:
    """Gamma and beta, the prefix of files with a head, arrays that are no weights."""
    arrays = arrays_of(firth.BertForPreTraining, SMALL["bert"])
    want = firth.BertForPreTraining(SMALL["bert"], arrays)(IDS)
    old = {"bert.embeddings.position_ids": np.arange(40)[None]}
    for name, array in arrays.items():
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        old[name if name.startswith("cls") else f"bert.{name}"] = array
    del old["cls.predictions.bias"]
    old["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"]
    got = firth.BertForPreTraining(SMALL["bert"], old)(IDS)
    np.testing.assert_array_equal(got.prediction_logits, want.prediction_logits)
    np.testing.assert_array_equal(got.seq_relationship_logits, want.seq_relationship_logits)
    assert firth.BertModel(SMALL["bert"], old)(IDS).pooler_output is not None
    for name in [name for name in old if "pooler" in name]:
        del old[name]
    assert firth.BertModel(SMALL["bert"], old)(IDS).pooler_output is None
    with pytest.raises(FormatError, match=r"weights: has no array 'pooler.dense.weight'"):
        firth.BertForPreTraining(SMALL["bert"], old)


def test_outputs() -> None:
    model = make()
    out = model(IDS)
    assert list(out) == list(out.keys()) == ["last_hidden_state", "pooler_output"]
    assert out["pooler_output"] is out.pooler_output is out[1]
    assert out[:2] == out.to_tuple() == (out.last_hidden_state, out.pooler_output)
    assert len(out) == 2
    assert "logits" not in out
    assert out.hidden_states is None
    assert out.attentions is None
    with pytest.raises(KeyError, match="'hidden_states' is not among"):
        out["hidden_states"]
    assert repr(out) == "ModelOutput(last_hidden_state=(4, 11, 32), pooler_output=(4, 32))"
    hidden, pooled, states = model(IDS, output_hidden_states=True, return_dict=False)
    np.testing.assert_array_equal(hidden, out.last_hidden_state)
    np.testing.assert_array_equal(pooled, out.pooler_output)
    assert len(states) == 4
    assert repr(model) == "AutoModel<bert, 3 layers of 32, float32>"
    assert model.eval() is model


def test_what_is_returned_may_be_configured() -> None:
    model = make(output_hidden_states=True, output_attentions=True)
    assert len(model(IDS).hidden_states) == 4
    assert len(model(IDS).attentions) == 3
    out = model(IDS, output_hidden_states=False, output_attentions=False)
    assert (out.hidden_states, out.attentions) == (None, None)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_of_modernbert(pooling: str) -> None:
    model = make(firth.AutoModelForSequenceClassification, "modernbert", classifier_pooling=pooling)
    mask = np.ones_like(IDS)
    mask[1, 7:] = 0
    out = model(IDS, mask, output_hidden_states=True)
    hidden = out.hidden_states[-1]
    means = np.stack([rows[seen == 1].mean(0) for rows, seen in zip(hidden, mask, strict=True)])
    head = models.AutoModelForSequenceClassification.needed[0]
    want = model.heads[head](hidden[:, 0].copy() if pooling == "cls" else means)
    np.testing.assert_allclose(out.logits, want, atol=1e-5)


def test_no_texts() -> None:
    out = make(output_attentions=True, output_hidden_states=True)(np.zeros((0, 5), int))
    assert out.last_hidden_state.shape == (0, 5, 32)
    assert out.pooler_output.shape == (0, 32)
    assert [one.shape for one in out.attentions] == [(0, 4, 5, 5)] * 3
    assert make(firth.BertForMaskedLM)(np.zeros((0, 5), int)).logits.shape == (0, 5, 60)


def test_one_token() -> None:
    model = make(firth.BertForSequenceClassification)
    assert model([[3]]).logits.shape == (1, 2)
    assert make(firth.BertForMaskedLM)([[3], [4]]).logits.shape == (2, 1, 60)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, TypeError, "input_ids must be given"),
        ({"input_ids": [3, 4]}, ValueError, r"input_ids must have shape \(B, S\), S at least 1"),
        ({"input_ids": []}, ValueError, r"got \(0,\)"),
        ({"input_ids": [[]]}, ValueError, "S at least 1"),
        ({"input_ids": [[3], [4, 5]]}, ValueError, "rows of one length.*padding=True"),
        ({"input_ids": [[3.0]]}, TypeError, "must be integers, got float64"),
        ({"input_ids": [["a"]]}, TypeError, "must be integers"),
        ({"input_ids": [[3, -1]]}, ValueError, "from 0 to 59, got -1"),
        ({"input_ids": [[3, 60]]}, ValueError, "from 0 to 59, got 60"),
        ({"input_ids": [[2**40]]}, ValueError, "from 0 to 59"),
        ({"input_ids": [[3] * 41]}, ValueError, "text of 41 tokens.*positions for 40.*trunc"),
        ({"token_type_ids": [[0, 2, 0]]}, ValueError, "token_type_ids must be from 0 to 1, got 2"),
        ({"token_type_ids": [[0, 0]]}, ValueError, r"token_type_ids must have shape \(1, 3\)"),
        ({"position_ids": [[0, 1, 40]]}, ValueError, "position_ids must be from 0 to 39, got 40"),
        ({"attention_mask": [[1, 1]]}, ValueError, r"attention_mask must have shape \(1, 3\) or"),
        ({"attention_mask": [[1, 1, 1]] * 2}, ValueError, "attention_mask must have shape"),
        ({"attention_mask": np.zeros((1, 1, 3, 3))}, ValueError, r"got \(1, 1, 3, 3\)"),
        ({"attention_mask": [["a", "b", "c"]]}, TypeError, "attention_mask must be numbers"),
        ({"labels": [1]}, TypeError, "labels"),
    ],
)  # fmt: skip
def test_bad_calls(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    given = {"input_ids": [[3, 4, 5]]} if arguments and "input_ids" not in arguments else {}
    with pytest.raises(error, match=text):
        make()(**given, **arguments)


def test_positions_run_out() -> None:
    with pytest.raises(ValueError, match="41 tokens, but the model has positions for 40"):
        make(kind="modernbert")([[3] * 41])
    with pytest.raises(ValueError, match="39 tokens, but the model has positions for 38"):
        make(kind="roberta")([[3] * 39])
    assert make(kind="roberta")([[3] * 38])[0].shape == (1, 38, 32)


def test_classes_take_what_they_say() -> None:
    with pytest.raises(FormatError, match="model_type is 'roberta', BertModel takes bert; AutoMod"):
        firth.BertModel.from_config(SMALL["roberta"])
    with pytest.raises(FormatError, match="AutoModelForMaskedLM takes any"):
        firth.BertForMaskedLM.from_config(SMALL["roberta"])
    with pytest.raises(FormatError, match=r"'gpt2' is not one of the encoders.*bert, roberta,"):
        firth.AutoModel.from_config({"model_type": "gpt2"})
    with pytest.raises(FormatError, match="model_type None"):
        firth.AutoModel.from_config({})
    with pytest.raises(ValueError, match="BertModel: compute_type must be one of"):
        firth.BertModel.from_config(SMALL["bert"], "float16")


def test_random_weights() -> None:
    one, same, other = (
        firth.BertModel.from_config(SMALL["bert"], seed=seed)(IDS).last_hidden_state
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_public_names() -> None:
    for name in firth.encoders.__all__:
        if name.startswith(("Auto", "Bert")):
            assert getattr(firth, name) is getattr(firth.encoders, name)


@pytest.mark.parametrize(("compute_type", "least"), [("bfloat16", 0.999), ("int8", 0.99)])
@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_other_precisions(compute_type: Any, least: float, kind: str) -> None:
    """The engine's tests say how near they must be; here, that they are asked for."""
    config = SMALL[kind]
    arrays = arrays_of(firth.AutoModel, config)
    want = firth.AutoModel(config, arrays)(IDS).last_hidden_state
    model = firth.AutoModel(config, arrays, compute_type)
    got = model(IDS).last_hidden_state
    assert repr(model).endswith(f"{compute_type}>")
    cosines = (got * want).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(want, axis=-1)
    assert cosines.min() > least
    if kernels.active().startswith("native"):  # the others compute in float64
        assert np.abs(got - want).max() > 1e-4
