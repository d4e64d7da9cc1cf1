"""Small folders of sentence-transformers: a random BERT, a WordPiece of some words, modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from encoder_models import SMALL, arrays_of, write_folder
from firth.encoders.models import AutoModel, Model
from firth.formats import safetensors

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "cat", "dog", "sat", "ran", "on",
    "mat", "in", "sun", "rain", "bank", "river", "money", "##s", "##ing", "##ed", "query", ":",
    ".", ",", "b", "c", "d", "e", "f",
]  # fmt: skip
TEXTS = [
    "the cat sat on the mat.", "a dog ran in the rain", "money in the bank, the bank", "",
    "dogs, cats: sun", "river bank", "the cat sat on the mat.", "a b c d e f", "unheardof cat",
]  # fmt: skip
KIND = "sentence_transformers.models."


def write_tokenizer(folder: Path) -> None:
    """A ``tokenizer.json`` of BERT's kind over `WORDS`."""
    vocab = {word: i for i, word in enumerate(WORDS)}
    special = [
        {"id": i, "content": WORDS[i], "special": True, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for i in range(5)
    ]  # fmt: skip

    def token(name: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), token("[SEP]", 1)],
            "special_tokens": {
                name: {"id": name, "ids": [vocab[name]], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": 40, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def transformer(folder: Path, cls: type[Model] = AutoModel, **fields: Any) -> Path:
    """A folder without modules.json: a random BERT and its tokenizer."""
    config = {**SMALL["bert"], "vocab_size": len(WORDS), "architectures": ["BertModel"], **fields}
    write_folder(folder, config, arrays_of(cls, config))
    write_tokenizer(folder)
    return folder


def module(folder: Path, place: int, kind: str, config: Any = None, **arrays: np.ndarray) -> None:
    """Add a module to the folder's modules.json."""
    path = folder / "modules.json"
    known = json.loads(path.read_text()) if path.exists() else []
    name = f"{place}_{kind}" if place else ""
    known.append({"idx": place, "name": str(place), "path": name, "type": KIND + kind})
    path.write_text(json.dumps(known))
    (folder / name).mkdir(exist_ok=True)
    if config is not None:
        (folder / name / "config.json").write_text(json.dumps(config))
    if arrays:
        named = {key.replace("__", "."): value for key, value in arrays.items()}
        safetensors.write(folder / name / "model.safetensors", named)


def dense(outputs: int, inputs: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a Dense module."""
    rng = np.random.default_rng(seed)
    return {
        "linear__weight": rng.standard_normal((outputs, inputs), np.float32) / inputs**0.5,
        "linear__bias": rng.standard_normal(outputs, np.float32),
    }


def sentence_folder(
    folder: Path, pooling: dict[str, Any] | None = None, normalize: bool = True, most: int = 12
) -> Path:
    """A whole folder: transformer, pooling, normalization, at most ``most`` tokens."""
    transformer(folder)
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": most, "do_lower_case": False})
    )
    module(folder, 0, "Transformer")
    module(
        folder,
        1,
        "Pooling",
        pooling or {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    )
    if normalize:
        module(folder, 2, "Normalize")
    return folder
