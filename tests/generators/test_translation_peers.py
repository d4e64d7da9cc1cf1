"""transformers on PyTorch as oracle: logits and greedy texts of random encoder-decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import FormatError
from firth.generators.translation import load
from firth.kernels import use

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4  # of values of the order of 1, after some layers of float32
T5 = {
    "vocab_size": 96, "d_model": 32, "d_kv": 6, "d_ff": 40, "num_layers": 3, "num_heads": 4,
    "num_decoder_layers": 2, "relative_attention_max_distance": 40, "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "vocab_size": 96, "d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4,
    "encoder_ffn_dim": 40, "decoder_layers": 2, "decoder_attention_heads": 8,
    "decoder_ffn_dim": 24, "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 2,
    "bos_token_id": 0, "decoder_start_token_id": 2, "forced_eos_token_id": None,
}  # fmt: skip
MODELS = {
    "t5": ("t5", T5 | {"feed_forward_proj": "relu"}),
    "t5, gated, not scaled": (
        "t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "marian": (
        "marian",
        BART | {
            "scale_embedding": True, "activation_function": "swish", "decoder_start_token_id": 1,
        },
    ),
    "bart": ("bart", BART),
}  # fmt: skip


def saved(folder: Path, name: str) -> Any:
    """A random model of theirs, every array of which shows in the results, saved to the folder."""
    kind, fields = MODELS[name]
    torch.manual_seed(1)
    model = transformers.AutoModelForSeq2SeqLM.from_config(
        transformers.AutoConfig.for_model(kind, **fields)
    )
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            if "embed_positions" not in own or kind == "bart":
                noise = 0.3 if kind == "t5" else 0.15
                parameter.add_(noise * torch.randn_like(parameter))
        tokens = model.get_input_embeddings().weight  # small: else a token is followed by itself
        tokens.mul_(0.05 / tokens.std())
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias += 0.1 * torch.randn_like(model.final_logits_bias)
    model.save_pretrained(folder)
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_text(name: str, tmp_path: Path) -> None:
    theirs, ours = saved(tmp_path, name), load(tmp_path)
    rng = np.random.default_rng(0)
    ids, written = rng.integers(3, 96, 50), rng.integers(3, 96, 45)
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(ids[None]), decoder_input_ids=torch.tensor(written[None])
        ).logits[0].numpy()  # fmt: skip
        text = theirs.generate(
            torch.tensor(ids[None]), num_beams=1, do_sample=False, max_new_tokens=25,
            forced_eos_token_id=None,
        )[0].tolist()  # fmt: skip
    assert want.std() > 0.05
    assert len(set(text)) > 2
    for backend in ("numpy", "native"):
        with use(backend):
            got = ours.logits(written, ours.encode(ids))
            np.testing.assert_allclose(got, want, atol=TOLERANCE, rtol=0, err_msg=backend)
            assert ours.greedy(ids, 25) == text[1:]


def test_what_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path, "bart")
    config = tmp_path / "config.json"
    whole = config.read_text()
    for old, new, message in (
        ('"bart"', '"pegasus"', "not one of the encoder-decoders that firth knows: t5, marian"),
        ('"decoder_layers": 2', '"decoder_layers": 1', "arrays that no bart has, such as"),
        ('"encoder_ffn_dim": 40', '"encoder_ffn_dim": 41', r"fc1\.weight' has shape \(40, 32\)"),
        ('"encoder_ffn_dim": 40', '"encoder_ffn_dim": 0', "encoder_ffn_dim must be a whole"),
        ('"max_position_embeddings": 64', '"max_position_embeddings": 65', "embed_positions"),
    ):
        assert old in whole
        config.write_text(whole.replace(old, new))
        with pytest.raises(FormatError, match=message):
            load(tmp_path)
