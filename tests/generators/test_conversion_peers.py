"""llama.cpp reads what is written of a folder: the same tokens, the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import CausalLM
from firth.generators.loading import load
from firth.generators.quantize import quantize_file
from generator_tokenizers import CHATML, TEXTS, folder

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
llama_cpp = pytest.importorskip("llama_cpp")

SMALL = {
    "vocab_size": 960, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WIDE = SMALL | {"head_dim": 32}
GEMMA = WIDE | {"query_pre_attn_scalar": 32, "num_hidden_layers": 7, "sliding_window": 16}
ROPE = {"rope_theta": 500.0, "original_max_position_embeddings": 64, "factor": 4.0}
SPACES, BYTES = "spaces_bpe", "byte_level"
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", SPACES, SMALL),
    "llama, biases": ("llama", BYTES, WIDE | {"tie_word_embeddings": True, "attention_bias": True}),
    "llama, llama3": ("llama", BYTES, SMALL | {"rope_parameters": ROPE | {
        "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
    "llama, yarn": ("llama", BYTES, SMALL | {"rope_parameters": {"rope_type": "yarn"} | ROPE}),
    "qwen2": ("qwen2", BYTES, SMALL),
    "qwen3": ("qwen3", BYTES, WIDE | {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", SPACES, GEMMA),
    "gemma3": ("gemma3_text", SPACES, GEMMA),
    "phi3": ("phi3", SPACES, SMALL),
    "phi3, long": ("phi3", SPACES, SMALL | {
        "max_position_embeddings": 512, "original_max_position_embeddings": 256,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 100.0,
            "short_factor": [1.0 + i / 9 for i in range(8)],
            "long_factor": [1.0 + i for i in range(8)]}}),
    "gpt2": ("gpt2", BYTES, {"vocab_size": 960, "n_embd": 64, "n_layer": 3, "n_head": 4,
                             "n_positions": 256, "bos_token_id": 1, "eos_token_id": 2}),
    "olmo2": ("olmo2", BYTES, SMALL),
}  # fmt: skip
PROMPTS = ["Once upon a time there were 12 cats.", "The  number\n\nis 1234; naïve 日本 😀"]


def saved(path: Path, family: str, dtype: Any = None) -> Path:
    """A random model of theirs that says something, with a tokenizer."""
    kind, tokenizer, fields = FAMILIES[family]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **fields)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    (model.to(dtype) if dtype else model).save_pretrained(path)
    return folder(path, tokenizer, chat_template=CHATML)


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_reads_a_converted_folder(family: str, tmp_path: Path) -> None:
    source, target = saved(tmp_path / "model", family), tmp_path / "model.gguf"
    quantize_file(source, target, "F32", progress=False)
    ours, again = CausalLM.from_pretrained(source), CausalLM.from_pretrained(target)
    # where it has two kinds of angles, it chooses by the context and not by the text
    context = FAMILIES[family][2].get("original_max_position_embeddings", 256)
    theirs = llama_cpp.Llama(
        str(target), n_ctx=context, logits_all=True, verbose=False, n_threads=2, n_batch=64
    )
    for text in [*PROMPTS, *TEXTS]:
        ids = ours.tokenizer.encode(text)
        assert again.tokenizer.encode(text) == ids, text
        if text:
            assert theirs.tokenize(text.encode(), add_bos=True) == ids, text
    for text in PROMPTS:
        ids = ours.tokenizer.encode(text)
        want = load(source).logits(ids)
        np.testing.assert_allclose(load(target).logits(ids), want, atol=1e-5, rtol=0)
        theirs.reset()
        theirs.eval(ids)
        got = np.array(theirs.scores[: len(ids)])
        assert want.std() > 0.3
        bound = 0.02 * want.std()  # keys and values are float16 there
        np.testing.assert_allclose(got, want, atol=bound, rtol=0)
        options = {"return_ids": True, "ignore_eos": True}
        new = ours.generate(text, 16, **options)
        assert again.generate(text, 16, **options) == new
        theirs.reset()
        theirs.eval([*ids, *new])
        scores = np.array(theirs.scores[len(ids) - 1 : len(ids) + 15])
        missed = scores.max(axis=1) - scores[np.arange(16), new]  # ties may fall either way
        assert missed.max() < bound
        assert (missed == 0).sum() >= 14
    assert again.tokenizer.eos_token_ids == ours.tokenizer.eos_token_ids
    assert theirs.token_eos() == ours.tokenizer.eos_token_id
    assert theirs.metadata["tokenizer.chat_template"] == CHATML == again.tokenizer.chat_template
