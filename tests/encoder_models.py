"""Small encoders: a configuration of each kind, and folders of them as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from firth.encoders import architectures, initial
from firth.encoders.models import Model
from firth.formats import safetensors

_COMMON = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,  # so that every array shows in the results
}
SMALL: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {"type_vocab_size": 1},
    "camembert": {"hidden_act": "gelu_new"},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "albert": {
        "embedding_size": 12, "num_hidden_groups": 2, "inner_group_num": 2,
    },
    "electra": {"embedding_size": 20},
    "mpnet": {},
    "modernbert": {
        "num_hidden_layers": 4, "local_attention": 6, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    },
    "nomic_bert": {},
}  # fmt: skip
_WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] he went to the bank deposit money . , river ##side ##s
and sat on it was wide closed ? who what where a b c d e f g h < / script > $"""
VOCABULARY = _WORDS.split()

for _kind, _config in SMALL.items():
    _fields = {"vocab_size", "max_position_embeddings", "initializer_range"}
    _common = {k: v for k, v in _COMMON.items() if _kind != "distilbert" or k in _fields}
    SMALL[_kind] = {"model_type": _kind, **_common, **_config}


def arrays_of(cls: type[Model], config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays for a class, biases and gains too, by the names of a file."""
    architecture, checked = architectures.find(config)
    arrays = initial.random_arrays(architecture, checked, (*cls.needed, *cls.optional), seed)
    rng = np.random.default_rng(seed + 1)
    for array in arrays.values():
        if array.ndim == 1:
            array += 0.2 * rng.standard_normal(array.shape, np.float32)
    return arrays


def write_folder(folder: Path, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
    """A folder of transformers' layout."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.write(folder / "model.safetensors", arrays)
    return folder
