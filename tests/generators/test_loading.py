"""Generators from files: what is there, and what is wrong with a file.

Whether the numbers are those of the models is in test_architectures_peers.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage import changed_head, cut_and_changed
from firth.errors import FormatError
from firth.formats import gguf, safetensors
from firth.formats.blocks import BlockArray, block_type, quantize
from firth.generators.architectures import KINDS, find
from firth.generators.loading import load

CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 20, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
}  # fmt: skip
METADATA: dict[str, Any] = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 16,
    "llama.embedding_length": 32, "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 8,
    "tokenizer.ggml.tokens": [f"<{i}>" for i in range(20)],
}  # fmt: skip
SHAPES = {
    "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32), "mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64), "input_layernorm": (32,), "post_attention_layernorm": (32,),
}  # fmt: skip
IN_GGUF = dict(
    zip(
        SHAPES,
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
         "attn_norm", "ffn_norm"],
        strict=True,
    )
)  # fmt: skip


def arrays() -> dict[str, np.ndarray]:
    """By the names of a folder's files."""
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens": (20, 32), "model.norm": (32,), "lm_head": (20, 32)}
    shapes |= {f"model.layers.{i}.{n}": shape for i in range(2) for n, shape in SHAPES.items()}
    return {
        f"{name}.weight": rng.standard_normal(shape).astype(np.float32) / 4
        for name, shape in shapes.items()
    }


def in_gguf() -> dict[str, np.ndarray]:
    """The same by the names of GGUF."""
    found, outside = {}, {"embed_tokens": "token_embd", "norm": "output_norm"}
    for name, array in arrays().items():
        own = name.removeprefix("model.").removesuffix(".weight")
        layer = own.split(".", 2)
        if layer[0] == "layers":
            found[f"blk.{layer[1]}.{IN_GGUF[layer[2]]}.weight"] = array
        else:
            found[f"{outside.get(own, 'output')}.weight"] = array
    return found


def folder(path: Path, config: Any = None, given: Any = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    safetensors.write(path / "model.safetensors", arrays() if given is None else given)
    return path


def file(path: Path, metadata: Any = None, given: Any = None) -> Path:
    values = {k: v for k, v in (METADATA | (metadata or {})).items() if v is not None}
    gguf.write(path, values, in_gguf() if given is None else given)
    return path


def test_what_a_folder_has(tmp_path: Path) -> None:
    found = load(folder(tmp_path))
    assert repr(found) == "Loaded<llama, 2 layers of 32>"
    assert found.config.rms_norm_eps == found.plan.epsilon == 1e-5
    assert not found.weights.outside["tokens"].flags.owndata  # mapped
    np.testing.assert_array_equal(found.output, arrays()["lm_head.weight"])
    assert found.metadata is None
    assert found.logits([1, 2, 3]).shape == (3, 20)
    assert found.logits([]).shape == (0, 20)
    with pytest.raises(ValueError, match="17 tokens, positions are for 16"):
        found.logits([1] * 17)
    with pytest.raises(ValueError, match="ids"):
        found.logits([20])


def test_names_without_a_prefix_and_what_nobody_needs(tmp_path: Path) -> None:
    given = {name.removeprefix("model."): array for name, array in arrays().items()}
    given["layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(4, np.float32)
    want = load(folder(tmp_path / "one")).logits([3, 4])
    np.testing.assert_array_equal(load(folder(tmp_path / "two", given=given)).logits([3, 4]), want)


def test_the_output_of_a_tied_model_is_not_read(tmp_path: Path) -> None:
    found = load(folder(tmp_path, {"tie_word_embeddings": True}))
    assert found.output is None
    hidden = found.logits([5, 6]) - load(folder(tmp_path)).logits([5, 6])
    assert abs(hidden).max() > 0.1


def test_a_gguf_file_keeps_its_blocks(tmp_path: Path) -> None:
    given: dict[str, Any] = in_gguf()
    wide = dict(given)
    for name, array in given.items():
        if array.ndim == 2:
            kind = block_type("Q8_0" if "ffn" in name else "Q4_0")
            given[name] = BlockArray(quantize(array, kind), kind)
            wide[name] = given[name].dequantize()
    found = load(file(tmp_path / "blocks.gguf", given=given))
    assert isinstance(found.output, BlockArray)
    assert isinstance(found.weights.layers[1]["attention.key.weight"], BlockArray)
    assert found.plan.interleaved
    assert found.metadata is not None
    assert found.metadata["general.architecture"] == "llama"
    want = load(file(tmp_path / "wide.gguf", given=wide)).logits([7, 8, 9])
    np.testing.assert_array_equal(found.logits([7, 8, 9]), want)


def test_query_key_and_value_in_one(tmp_path: Path) -> None:
    given = in_gguf()
    want = load(file(tmp_path / "apart.gguf", given=given)).logits([7, 8, 9])
    for i in range(2):
        parts = [given.pop(f"blk.{i}.attn_{which}.weight") for which in "qkv"]
        given[f"blk.{i}.attn_qkv.weight"] = np.concatenate(parts)
    found = load(file(tmp_path / "one.gguf", given=given))
    np.testing.assert_array_equal(found.logits([7, 8, 9]), want)


def test_a_folder_with_a_gguf_file(tmp_path: Path) -> None:
    file(tmp_path / "model.gguf")
    assert load(tmp_path).path == str(tmp_path / "model.gguf")
    file(tmp_path / "other.gguf")
    with pytest.raises(FileNotFoundError, match=r"several models.*model\.gguf, other\.gguf"):
        load(tmp_path)


def test_unknown_architectures_are_refused_by_name(tmp_path: Path) -> None:
    for kind in ("mixtral", "bert", None, 3):
        with pytest.raises(FormatError, match=r"not one of the generators.* gpt2, llama, mistral"):
            find({"model_type": kind})
    assert {"gpt2", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2"} <= set(KINDS)
    with pytest.raises(FormatError, match=r"general\.architecture 'mamba' is not one of"):
        load(file(tmp_path / "m.gguf", {"general.architecture": "mamba"}))
    with pytest.raises(FormatError, match=r"general\.architecture None is not one of"):
        load(file(tmp_path / "m.gguf", {"general.architecture": None}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 21}, r"embed_tokens.weight' has shape \(20, 32\).* says \(21, 32\)"),
        ({"num_hidden_layers": 3}, r"has no array 'layers\.2\."),
        ({"num_hidden_layers": 1}, r"arrays that no llama has, such as 'model\.layers\.1\."),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers must be a whole number from 0 to 512"),
        ({"num_attention_heads": 5}, "5 heads do not divide a width of 32"),
        ({"num_key_value_heads": 3}, "3 key_heads do not divide 4 heads"),
        ({"head_dim": 7}, "7 of 7 dimensions of a head turn: must be even"),
        ({"head_dim": 10}, r"q_proj.weight' has shape \(32, 32\).* says \(40, 32\)"),
        ({"hidden_act": "mish"}, "hidden_act must be one of"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a number"),
        ({"rope_theta": 0}, "rope_theta must be a number above 1"),
        ({"rope_parameters": 3}, "rope_parameters must be an object, got 3"),
        ({"rope_scaling": {"type": "ntk"}}, r"rope_scaling\.rope_type must be .*got 'ntk'"),
        ({"rope_scaling": {"type": "linear"}}, r"rope_scaling\.factor must be a number"),
        (
            {"rope_scaling": {"type": "linear", "factor": "8"}},
            r"rope_scaling\.factor must be a number from 0.001",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            r"rope_scaling\.low_freq_factor must be a number",
        ),
        (
            {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}},
            r"rope_scaling\.short_factor must list 4 numbers from 0",
        ),
        ({"quantization_config": {}}, "quantization_config must be None: firth has no other"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
        ({"attention_bias": True}, r"has no array 'layers\.0\.self_attn\.q_proj\.bias'"),
    ],
)
def test_configurations_that_do_not_fit(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=message):
        load(folder(tmp_path, change))


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    given = arrays()
    del given["lm_head.weight"]
    with pytest.raises(FormatError, match=r"has no array 'lm_head\.weight'"):
        load(folder(tmp_path, given=given))
    given = arrays() | {"lm_head.weight": np.zeros((19, 32), np.float32)}
    with pytest.raises(FormatError, match=r"'lm_head\.weight' has shape \(19, 32\)"):
        load(folder(tmp_path, given=given))
    given = arrays() | {"model.norm.weight": np.zeros(32, np.int32)}
    with pytest.raises(FormatError, match=r"norm\.weight' is int32, wanted floating point"):
        load(folder(tmp_path, given=given))
    given = arrays() | {"model.layers.0.mlp.experts.weight": np.zeros((3, 3), np.float32)}
    with pytest.raises(FormatError, match=r"has 1 arrays that no llama has.*mlp\.experts"):
        load(folder(tmp_path, given=given))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"llama.block_count": None}, r"has no llama\.block_count"),
        ({"llama.context_length": None}, r"has no llama\.context_length"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, r"has no llama\.attention\.layer_norm"),
        ({"llama.block_count": 513}, r"llama\.block_count must be a whole number from 0 to 512"),
        ({"llama.block_count": 3}, r"has no array 'blk\.2\."),
        ({"llama.block_count": 1}, r"arrays that no llama has, such as 'blk\.1\."),
        ({"llama.block_count": "2"}, r"llama\.block_count must be a whole number"),
        ({"llama.block_count": 2.5}, r"llama\.block_count must be a whole number"),
        ({"llama.block_count": True}, r"llama\.block_count must be a number"),
        ({"llama.block_count": np.array([2, 2])}, r"llama\.block_count must be a whole number"),
        ({"llama.embedding_length": 64}, r"token_embd.weight' has shape \(20, 32\).* says"),
        ({"llama.feed_forward_length": 65}, r"ffn_gate.weight' has shape \(64, 32\)"),
        ({"llama.attention.head_count": 0}, r"llama\.attention\.head_count must be a whole"),
        ({"llama.attention.head_count_kv": 4}, r"attn_k.weight' has shape \(16, 32\)"),
        ({"llama.attention.key_length": 16}, r"attn_q.weight' has shape .* says \(64, 32\)"),
        ({"llama.attention.value_length": 16}, r"llama\.attention\.value_length is not key_length"),
        ({"llama.rope.dimension_count": 10}, r"dimension_count must be a whole number from 2 to 8"),
        ({"llama.rope.dimension_count": 7}, "7 of 8 dimensions of a head turn"),
        ({"llama.rope.freq_base": -1.0}, r"llama\.rope\.freq_base must be a number above 1"),
        ({"llama.rope.scaling.type": "magic"}, "rope_type must be .*got 'magic'"),
        (
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 0.0},
            r"llama\.rope\.scaling\.factor must be a number from 0.001",
        ),
        ({"llama.expert_count": 8}, r"llama\.expert_count is above 0: .* no mixtures of experts"),
        ({"tokenizer.ggml.tokens": ["a"]}, r"has 1 tokens, 'token_embd\.weight' has 20 rows"),
    ],
)
def test_metadata_that_do_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        load(file(tmp_path / "m.gguf", change))


def test_gguf_arrays_that_do_not_fit(tmp_path: Path) -> None:
    given = in_gguf()
    del given["token_embd.weight"]
    with pytest.raises(FormatError, match=r"has no matrix 'token_embd\.weight'"):
        load(file(tmp_path / "m.gguf", given=given))
    given = in_gguf() | {"rope_freqs.weight": np.ones(5, np.float32)}
    with pytest.raises(FormatError, match=r"'rope_freqs\.weight' has shape \(5,\), .*4 pairs"):
        load(file(tmp_path / "m.gguf", given=given))
    given = in_gguf() | {"rope_freqs.weight": np.full(4, np.nan, np.float32)}
    with pytest.raises(FormatError, match="short_factor must list 4 numbers from 0"):
        load(file(tmp_path / "m.gguf", given=given))
    given = in_gguf()
    del given["blk.1.attn_k.weight"]
    with pytest.raises(FormatError, match=r"has no array 'blk\.1\.attn_k\.weight'"):
        load(file(tmp_path / "m.gguf", given=given))
    given = in_gguf()
    for which in "qkv":
        del given[f"blk.0.attn_{which}.weight"]
    given["blk.0.attn_qkv.weight"] = np.zeros((65, 32), np.float32)
    with pytest.raises(FormatError, match=r"attn_qkv\.weight' .* must have 64 rows"):
        load(file(tmp_path / "m.gguf", given=given))


def test_damaged_files(tmp_path: Path) -> None:
    """Every one is read, or refused in one line that names it."""
    whole = file(tmp_path / "whole.gguf").read_bytes()
    head = whole.index(b"blk.0.attn_q") + 1000
    path, loaded, messages = tmp_path / "damaged.gguf", 0, []
    for damaged in (*cut_and_changed(whole, 100), *changed_head(whole, head, 300)):
        path.write_bytes(damaged)
        try:
            load(path)
            loaded += 1
        except FormatError as error:
            messages.append(str(error))
    assert 0 < loaded < 400
    assert [text for text in messages if str(path) not in text or "\n" in text] == []
