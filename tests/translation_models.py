"""A Marian that translates word by word, its weights written by hand; and small random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from firth.formats import safetensors
from sentencepiece_files import field, piece

WORDS = {
    "the": "die", "cat": "Katze", "mouse": "Maus", "sleeps": "schläft", "sees": "sieht", ".": ".",
}  # fmt: skip
TOKENS = ["</s>", "<unk>", *(f"▁{word}" for pair in WORDS.items() for word in pair)]
TOKENS = [*dict.fromkeys(TOKENS), "<pad>"]
END, PAD, PLACES = 0, len(TOKENS) - 1, 12
WIDTH = len(TOKENS) + PLACES


def write(folder: Path, **generation: Any) -> Path:
    """A folder as of a Marian model.

    A state is a token, one of the first dimensions, and a place, one of the others. Each place of
    the text that is written attends to the same place of the one that is read, and takes the word
    that stands there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = len(TOKENS)
    eye = np.eye(WIDTH, dtype=np.float32)
    places, words = eye.copy(), np.zeros((WIDTH, WIDTH), np.float32)
    places[:count] = 0
    for i, token in enumerate(TOKENS[:-1]):
        own = WORDS.get(token.removeprefix("▁"))
        words[i if own is None else TOKENS.index(f"▁{own}"), i] = 1
    zeros, ones = np.zeros((WIDTH, WIDTH), np.float32), np.ones(WIDTH, np.float32)
    arrays: dict[str, Any] = {"shared.weight": 4 * eye[:count]}
    for side in ("encoder", "decoder"):
        arrays[f"{side}.embed_positions.weight"] = 4 * eye[count:]
        place = f"{side}.layers.0"
        attentions = {"self_attn": (zeros, zeros, zeros, zeros)}
        if side == "decoder":
            attentions["encoder_attn"] = (9 * places, places, words, 9 * eye)
        for name, matrices in attentions.items():
            for letter, matrix in zip(("q", "k", "v", "out"), matrices, strict=True):
                arrays[f"{place}.{name}.{letter}_proj.weight"] = matrix
                arrays[f"{place}.{name}.{letter}_proj.bias"] = 0 * ones
            arrays[f"{place}.{name}_layer_norm.weight"] = ones
            arrays[f"{place}.{name}_layer_norm.bias"] = 0 * ones
        for name in ("fc1", "fc2"):
            arrays[f"{place}.{name}.weight"], arrays[f"{place}.{name}.bias"] = zeros, 0 * ones
        arrays[f"{place}.final_layer_norm.weight"] = ones
        arrays[f"{place}.final_layer_norm.bias"] = 0 * ones
    arrays = {f"model.{name}": array for name, array in arrays.items()}
    arrays["final_logits_bias"] = np.zeros((1, count), np.float32)
    safetensors.write(folder / "model.safetensors", arrays)
    config = {
        "model_type": "marian", "vocab_size": count, "d_model": WIDTH, "encoder_layers": 1,
        "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1,
        "encoder_ffn_dim": WIDTH, "decoder_ffn_dim": WIDTH, "max_position_embeddings": PLACES,
        "decoder_start_token_id": PAD, "eos_token_id": END, "pad_token_id": PAD,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    usual = {
        "decoder_start_token_id": PAD, "eos_token_id": END, "forced_eos_token_id": END,
        "bad_words_ids": [[PAD]], "max_length": PLACES, "num_beams": 4, "renormalize_logits": True,
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(usual | generation))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    pieces = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3)]
    pieces += [piece(f"▁{word}", -1.0) for word in WORDS]
    (folder / "source.spm").write_bytes(b"".join(pieces) + field(3, field(1, "identity")))
    return folder
