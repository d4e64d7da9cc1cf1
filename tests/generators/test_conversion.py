"""Folders as GGUF files: the same logits and tokens of every family, and what has no place there.

llama.cpp reads them in test_conversion_peers.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import CausalLM, FormatError
from firth.formats import gguf, safetensors
from firth.generators import architectures
from firth.generators.loading import load
from firth.generators.pretokenizers import named, names
from firth.generators.quantize import lossy, quantize_file
from firth.generators.tokenizer import GeneratorTokenizer
from firth.generators.vocabulary import PROBE, metadata
from firth.transformer.plan import layer_shapes
from firth.transformer.weights import Part

tokenizers = pytest.importorskip("tokenizers")
from generator_tokenizers import CHATML, KINDS, TEXTS, WITH_CONTROL  # noqa: E402
from generator_tokenizers import folder as tokenizer_folder  # noqa: E402

SMALL = {
    "vocab_size": 910, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
WIDE = SMALL | {"head_dim": 16}
GEMMA = WIDE | {"query_pre_attn_scalar": 16, "sliding_window": 7, "num_hidden_layers": 7}
ROPE = {"rope_theta": 500.0, "original_max_position_embeddings": 16, "factor": 4.0}
LONG = {"rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 5],
        "partial_rotary_factor": 0.5}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"vocab_size": 910, "n_embd": 32, "n_layer": 2, "n_head": 4,
                      "n_positions": 64}),
    "llama": ("llama", SMALL),
    "llama, biases": ("llama", WIDE | {
        "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama, linear": ("llama", SMALL | {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama, llama3": ("llama", SMALL | {"rope_parameters": ROPE | {
        "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
    "llama, yarn": ("llama", SMALL | {"rope_parameters": ROPE | {
        "rope_type": "yarn", "beta_fast": 9, "attention_factor": 1.5}}),
    "mistral": ("mistral", SMALL | {"sliding_window": 7}),
    "qwen2": ("qwen2", SMALL),
    "qwen3": ("qwen3", WIDE | {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", GEMMA),
    "gemma3": ("gemma3_text", GEMMA),
    "phi3": ("phi3", SMALL | {"sliding_window": 9}),
    "phi3, part of a head": ("phi3", WIDE | {"partial_rotary_factor": 0.5}),
    "phi3, long": ("phi3", SMALL | {
        "rope_parameters": LONG, "original_max_position_embeddings": 24}),
    "smollm3": ("smollm3", SMALL | {"num_hidden_layers": 5}),
    "olmo2": ("olmo2", SMALL),
    "olmo3": ("olmo3", SMALL | {"num_hidden_layers": 5, "sliding_window": 7, "rope_parameters": {
        "full_attention": {"rope_type": "yarn"} | ROPE,
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0}}}),
}  # fmt: skip


def model(path: Path, family: str, tokenizer: str = "byte_level", **more: Any) -> Path:
    """A folder with random weights under the names that a family has in folders."""
    kind, fields = FAMILIES[family]
    values = {"model_type": kind} | fields | more
    architecture, config = architectures.find(values)
    plan, rng = architecture.plan(config), np.random.default_rng(0)
    shapes = {name: shape for name, shape, _ in layer_shapes(plan)}
    outside = architecture.outside(config)
    rows = {"tokens": config.vocab_size, "positions": config.max_position_embeddings}
    arrays: dict[str, np.ndarray] = {}

    def put(source: Any, shape: tuple[int, ...]) -> None:
        part = Part(source) if isinstance(source, str) else source
        shape = (part.of or shape[0], *shape[1:])
        shape = shape[::-1] if part.transposed else shape
        arrays.setdefault(part.name, rng.standard_normal(shape).astype(np.float32) / 4)

    for name, source in outside.items():
        put(source, (rows[name], plan.width) if name in rows else (plan.width,))
    for layer in architecture.layers(config):
        for name, source in layer.items():
            put(source, shapes[name])
    if not config.tie_word_embeddings:
        put("lm_head.weight", (config.vocab_size, plan.width))
    tokenizer_folder(path, tokenizer, chat_template=CHATML)
    (path / "config.json").write_text(json.dumps(values))
    safetensors.write(path / "model.safetensors", arrays)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str, tmp_path: Path) -> None:
    source, target = model(tmp_path / "model", family), tmp_path / "model.gguf"
    assert not lossy(source)
    quantize_file(source, target, "F32", progress=False)
    before, after = load(source), load(target)
    for length in (50, 5):
        ids = np.random.default_rng(length).integers(0, 910, length)
        want = before.logits(ids)
        assert want.std() > 0.1
        np.testing.assert_allclose(after.logits(ids), want, atol=1e-5, rtol=0)
    assert after.metadata["general.name"].endswith("model")
    one, other = CausalLM.from_pretrained(source), CausalLM.from_pretrained(target)
    assert other.context == one.context
    assert other.generate("The cat", 9, return_ids=True) == one.generate(
        "The cat", 9, return_ids=True
    )
    turns = [{"role": "user", "content": "Hello <|im_end|>"}]
    assert other.tokenizer.apply_chat_template(
        turns, tokenize=True
    ) == one.tokenizer.apply_chat_template(turns, tokenize=True)


@pytest.mark.parametrize("kind", ["byte_level", "spaces_bpe", "first_space_bpe"])
def test_tokenizers(kind: str, tmp_path: Path) -> None:
    source = model(tmp_path / "model", "llama", kind)
    quantize_file(source, tmp_path / "model.gguf", "Q8_0", progress=False)
    ours = CausalLM.from_pretrained(source).tokenizer
    again = CausalLM.from_pretrained(tmp_path / "model.gguf").tokenizer
    texts = [*TEXTS, *WITH_CONTROL]
    if kind == "first_space_bpe":  # it puts no space before another one, or behind a control token
        texts = [text for text in TEXTS if not text.startswith(" ")]
    for text in texts:
        for special in (True, False):
            assert again.encode(text, parse_special=special) == ours.encode(
                text, parse_special=special
            ), text
        ids = ours.encode(text)
        assert again.decode(ids) == ours.decode(ids)
    assert again.eos_token_ids == ours.eos_token_ids
    assert again.bos_token_id == ours.bos_token_id
    assert again.control_ids[:3] == ours.control_ids[:3]


def test_metadata_and_arrays(tmp_path: Path) -> None:
    source = model(tmp_path / "model", "llama, biases", eos_token_id=[2, 700, 701, 702])
    counts = quantize_file(source, tmp_path / "model.gguf", "Q4_K", progress=False)
    assert counts == {"Q5_0": 14, "Q8_0": 1, "float32": 19}
    got = gguf.read(tmp_path / "model.gguf")
    rest = {key: value for key, value in got.metadata.items() if not key.startswith("tokenizer")}
    assert rest == pytest.approx({
        "general.architecture": "llama", "general.type": "model", "general.name": "model",
        "general.file_type": 14, "general.quantization_version": 2, "llama.vocab_size": 910,
        "llama.block_count": 2, "llama.context_length": 64, "llama.embedding_length": 32,
        "llama.feed_forward_length": 64, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.attention.key_length": 16, "llama.attention.value_length": 16,
        "llama.rope.dimension_count": 16, "llama.rope.freq_base": 10000.0,
    })  # fmt: skip
    said = {key[15:]: value for key, value in got.metadata.items() if "ggml" in key}
    made = json.loads(KINDS["byte_level"]())["model"]
    assert said.pop("tokens")[800:] == [f"[UNUSED_{i}]" for i in range(800, 910)]
    assert said.pop("token_type").tolist() == [3] * 3 + [1] * 797 + [5] * 110
    assert said.pop("merges") == [" ".join(pair) for pair in made["merges"]]
    assert said == {
        "model": "gpt2", "pre": "gpt-2", "bos_token_id": 0, "eos_token_id": 2, "eot_token_id": 700,
        "eom_token_id": 701, "add_bos_token": False, "add_eos_token": False,
    }  # fmt: skip
    arrays = safetensors.read(source / "model.safetensors")
    bias = arrays["layers.1.self_attn.k_proj.bias"].reshape(2, 2, 8)
    permuted = bias.swapaxes(1, 2).ravel()
    assert (got.arrays["blk.1.attn_k.bias"] == permuted).all()


def test_bfloat16_and_halves(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    source = model(tmp_path / "model", "gemma3", "spaces_bpe")
    arrays = safetensors.read(source / "model.safetensors")
    some = {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}
    safetensors.write(source / "model.safetensors", some)
    quantize_file(source, tmp_path / "model.gguf", "BF16", progress=False)
    got = gguf.read(tmp_path / "model.gguf").arrays
    name = "layers.1.self_attn.q_norm.weight"
    assert (got["blk.1.attn_q_norm.weight"] == some[name].astype(np.float32) + 1).all()
    assert (got["token_embd.weight"] == some["embed_tokens.weight"]).all()
    ids = np.arange(20)
    want = load(source).logits(ids)
    np.testing.assert_allclose(load(tmp_path / "model.gguf").logits(ids), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", names())
def test_names_of_cuts(name: str, tmp_path: Path) -> None:
    """The probe tells all families apart."""
    source, want = tokenizer_folder(tmp_path, "byte_level"), named(name)
    library = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    parts = tokenizers.pre_tokenizers
    splits = [parts.Split(tokenizers.Regex(one), "isolated") for one in want.patterns]
    level = parts.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = parts.Sequence([*splits, level])
    library.model.ignore_merges = want.ignore_merges
    library.save(str(source / "tokenizer.json"))
    found = metadata(source, 800)["tokenizer.ggml.pre"]
    assert named(found)[:2] == want[:2]
    assert found == name or names().index(found) < names().index(name)


def test_what_has_no_place(tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"

    def fails(family: str, tokenizer: str = "byte_level", **more: Any) -> str:
        with pytest.raises(FormatError) as caught:
            quantize_file(model(tmp_path / "model", family, tokenizer, **more), target, "F32")
        assert not target.exists()
        return str(caught.value)

    assert "GGUF files of gpt2 cannot say that activation is 'relu'" in fails(
        "gpt2", activation_function="relu"
    )
    assert "of qwen2 cannot say that windows is (-1, 6)" in fails(
        "qwen2", use_sliding_window=True, sliding_window=7, max_window_layers=1
    )
    assert "of gemma2 cannot say that scale is 0.5: it would be read as 0.25" in fails(
        "gemma2", query_pre_attn_scalar=4
    )
    assert "final_logit_softcapping is 0.0" in fails("gemma2", final_logit_softcapping=None)
    assert "its tokenizer is Unigram" in fails("llama", "unigram")
    for path in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / path).unlink()
    with pytest.raises(FormatError, match="holds no tokenizer"):
        quantize_file(tmp_path / "model", target, "F32")


def test_tokenizers_that_have_no_place(tmp_path: Path) -> None:
    def fails(change: Any, kind: str = "byte_level") -> str:
        made = json.loads(KINDS[kind]())
        change(made)
        tokenizer_folder(tmp_path, kind)
        (tmp_path / "tokenizer.json").write_text(json.dumps(made))
        with pytest.raises(FormatError) as caught:
            metadata(tmp_path, 910)
        return str(caught.value)

    def cut(made: Any) -> None:
        made["pre_tokenizer"]["use_regex"] = False

    def lower(made: Any) -> None:
        made["normalizer"] = {"type": "Lowercase"}

    def two(made: Any) -> None:
        made["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "<s>", "type_id": 0}})

    assert "in a way that no name in GGUF files stands for" in fails(cut)
    assert "in a way that GGUF files do not have" in fails(lower)
    assert "puts ['<s>', '<s>'] around texts" in fails(two, "spaces_bpe")


def test_control_tokens_that_take_line_ends(tmp_path: Path) -> None:
    """Phi-3's."""
    made = json.loads(KINDS["spaces_bpe"]())
    for token in made["added_tokens"]:
        token["rstrip"] = token["content"].startswith("<|im")
    tokenizer_folder(tmp_path / "small", "spaces_bpe")
    (tmp_path / "small" / "tokenizer.json").write_text(json.dumps(made))
    found = metadata(tmp_path / "small", 910)
    assert found["general.name"] == "Phi-3 small"
    again = GeneratorTokenizer.from_gguf(found)
    ours = GeneratorTokenizer.from_pretrained(tmp_path / "small")
    text = "<|im_start|>\n\nuser<|im_end|> \n a"
    ids = ours.encode(text, parse_special=True)
    assert again.encode(text, parse_special=True) == ids
    assert len(ids) < len(ours.encode(text))


def test_tokens_without_embeddings(tmp_path: Path) -> None:
    """Gemma 3's for pictures."""
    tokenizer_folder(tmp_path, "byte_level", additional_special_tokens=["<image>"])
    found = metadata(tmp_path, 800)
    assert "<image>" not in found["tokenizer.ggml.tokens"]
    assert metadata(tmp_path, 801)["tokenizer.ggml.tokens"][800] == "<image>"
    assert len(PROBE) > 300
