"""Configurations: what is refused, by the name of its field."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, arrays_of
from firth import FormatError
from firth.encoders import architectures
from firth.encoders.architectures import KINDS


def find(kind: str, **fields: Any) -> Any:
    return architectures.find(SMALL[kind] | fields, "config.json")[1]


def test_every_kind_is_tested() -> None:
    assert set(SMALL) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "field", "value", "text"),
    [
        ("bert", "hidden_size", 33, "4 heads do not divide a width of 33"),
        ("bert", "hidden_size", 0, "must be a whole number from 1"),
        ("bert", "hidden_size", -32, "must be a whole number"),
        ("bert", "hidden_size", 32.5, "must be a whole number"),
        ("bert", "hidden_size", "32", "must be a whole number"),
        ("bert", "hidden_size", None, "must be a whole number"),
        ("bert", "hidden_size", True, "must be a number, got True"),
        ("bert", "hidden_size", [32], "must be a whole number"),
        ("bert", "hidden_size", 10**30, "must be a whole number"),
        ("bert", "num_hidden_layers", 513, "from 0 to 512"),
        ("bert", "num_attention_heads", 0, "must be a whole number"),
        ("bert", "intermediate_size", 2**40, "must be a whole number"),
        ("bert", "vocab_size", 0, "must be a whole number"),
        ("bert", "max_position_embeddings", 10**9, "must be a whole number"),
        ("bert", "layer_norm_eps", float("nan"), "must be a number from 0 to 1"),
        ("bert", "layer_norm_eps", -1e-12, "must be a number from 0 to 1"),
        ("bert", "layer_norm_eps", "1e-12", "must be a number from 0 to 1"),
        ("bert", "hidden_act", "quick_gelu", "must be one of ['gelu', "),
        ("bert", "hidden_act", ["gelu"], "must be one of"),
        ("bert", "position_embedding_type", "relative_key", "'absolute': firth has no other, got"),
        ("bert", "is_decoder", True, "must be False: firth has no other"),
        ("bert", "add_cross_attention", True, "must be False: firth has no other"),
        ("bert", "tie_word_embeddings", "yes", "must be true or false"),
        ("bert", "problem_type", "ranking", "must be one of"),
        ("bert", "id2label", {"0": "a", "2": "b"}, "labels with the numbers 0, 1, ..."),
        ("bert", "id2label", {"a": 0}, "labels with the numbers"),
        ("bert", "id2label", ["a", "b"], "labels with the numbers"),
        ("bert", "id2label", {}, "labels with the numbers"),
        ("bert", "num_labels", 0, "must be a whole number from 1"),
        ("bert", "output_attentions", 1, "must be true or false"),
        ("roberta", "pad_token_id", None, "must be a number, got None"),
        ("roberta", "pad_token_id", -1, "must be a whole number from 0"),
        ("distilbert", "dim", 33, "do not divide"),
        ("distilbert", "n_heads", 0, "must be a whole number"),
        ("distilbert", "activation", "tanh", "must be one of"),
        ("albert", "num_hidden_groups", 4, "must be at most the 3 layers"),
        ("mpnet", "relative_attention_num_buckets", 64, "from 32 to 32"),
        ("modernbert", "norm_eps", "small", "must be a number"),
        ("modernbert", "norm_bias", None, "must be true or false"),
        ("modernbert", "classifier_pooling", "max", "must be cls or mean"),
        ("modernbert", "layer_types", ["full_attention"], "for each of 4 layers"),
        ("modernbert", "layer_types", ["full"] * 4, "must list one of"),
        ("modernbert", "layer_types", "full_attention", "must list one of"),
        ("modernbert", "layer_types", [[]] * 4, "must list one of"),
        ("modernbert", "global_rope_theta", 0, "must be a number above 1"),
        ("modernbert", "rope_parameters", 3, "must be of the type 'default'"),
        ("nomic_bert", "rope_parameters", {"rope_type": "yarn"}, "must be of the type 'default'"),
        ("nomic_bert", "rope_parameters", {"rope_theta": "x"}, "must be a number"),
        ("nomic_bert", "rope_parameters", {"rope_theta": True}, "must be a number"),
        ("nomic_bert", "rotary_emb_fraction", 0.1, "rotated must be even"),
        ("nomic_bert", "prenorm", True, "must be False"),
    ],
)
def test_bad_fields(kind: str, field: str, value: Any, text: str) -> None:
    with pytest.raises(FormatError, match=re.escape(text)) as caught:
        firth.AutoModelForSequenceClassification.from_config(SMALL[kind] | {field: value})
    named = {"hidden_size": "width", "dim": "width", "rotary_emb_fraction": "rotated"}
    named |= {"global_rope_theta": "rope_parameters['full_attention']"}
    assert field in str(caught.value) or named[field] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_path_is_named() -> None:
    with pytest.raises(FormatError, match=r"^config\.json: config: vocab_size must be"):
        find("bert", vocab_size=0)
    with pytest.raises(FormatError, match=r"^config\.json: config: Plan: 4 heads do not divide"):
        find("bert", hidden_size=30)


def test_attributes() -> None:
    config = find("bert", id2label={"1": "good", "0": "bad"}, problem_type=None)
    assert (config.hidden_size, config.vocab_size, config.type_vocab_size) == (32, 60, 2)
    assert config.id2label == {0: "bad", 1: "good"}
    assert config.label2id == {"bad": 0, "good": 1}
    assert config.num_labels == 2
    assert config.problem_type is None
    with pytest.raises(AttributeError, match="this config has no 'rope'"):
        config.rope  # noqa: B018
    assert find("bert", num_labels=3).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    distil = find("distilbert")
    assert (distil.dim, distil.hidden_size, distil.num_attention_heads) == (32, 32, 4)
    assert '"hidden_size": 32' in repr(distil)


def test_defaults_are_the_first_models() -> None:
    plan = architectures.find({"model_type": "bert"})[0].plan
    base = plan(architectures.find({"model_type": "bert"})[1])
    assert (base.width, base.layers, base.heads, base.hidden) == (768, 12, 12, 3072)


def test_modernbert_of_both_kinds() -> None:
    """Configurations before and since transformers 5."""
    old = {"global_rope_theta": 1000.0, "local_rope_theta": 50.0, "global_attn_every_n_layers": 2}
    new = {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    }
    for fields in (old, new):
        architecture, config = architectures.find(SMALL["modernbert"] | fields)
        plan = architecture.plan(config)
        assert plan.thetas == (1000.0, 50.0, 1000.0, 50.0)
        assert plan.windows == (-1, 3, -1, 3)


def test_files_of_nomic() -> None:
    """Their own names of fields and arrays, and one matrix for query, key and value."""
    ours = SMALL["nomic_bert"]
    theirs = {
        "model_type": "nomic_bert", "vocab_size": 60, "n_embd": 32, "n_layer": 3, "n_head": 4,
        "n_inner": 48, "n_positions": 40, "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000,
        "activation_function": "swiglu", "rotary_emb_fraction": 1.0, "prenorm": False,
        "rotary_emb_interleaved": False, "rotary_scaling_factor": None, "causal": False,
    }  # fmt: skip
    architecture, config = architectures.find(ours)
    assert architectures.find(theirs)[0].plan(find("nomic_bert")) == architecture.plan(config)
    arrays = arrays_of(firth.AutoModelForMaskedLM, ours)
    old = {}
    for name, array in arrays.items():
        for new_name, old_name in (
            ("embeddings.LayerNorm", "emb_ln"), ("self_attn.o_proj", "attn.out_proj"),
            ("gate_proj", "fc12"), ("up_proj", "fc11"), ("down_proj", "fc2"),
            ("post_attention_layernorm", "norm1"), ("post_mlp_layernorm", "norm2"),
        ):  # fmt: skip
            name = name.replace(new_name, old_name)
        name = f"encoder.{name}" if name.startswith("layers.") else name
        old[name] = array
    for i in range(3):
        parts = [old.pop(f"encoder.layers.{i}.self_attn.{p}_proj.weight") for p in "qkv"]
        old[f"encoder.layers.{i}.attn.Wqkv.weight"] = np.concatenate(parts)
    ids = np.arange(3, 13).reshape(2, 5)
    got = firth.AutoModelForMaskedLM(theirs, old)(ids).logits
    want = firth.AutoModelForMaskedLM(ours, arrays)(ids).logits
    np.testing.assert_array_equal(got, want)
    # Longer texts would need other angles.
    limited = theirs | {"rotary_scaling_factor": 2.0, "max_trained_positions": 20}
    assert architectures.find(limited)[0].plan(architectures.find(limited)[1]).positions == 20
