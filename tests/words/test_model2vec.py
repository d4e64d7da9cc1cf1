"""Folders of static embeddings: layouts, and files that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import safetensors
from firth.tokenizers import Tokenizer
from firth.words import model2vec

TOKENS = ("[UNK]", "a", "b", "##c")
TOKENIZER = Tokenizer(
    json.dumps(
        {
            "added_tokens": [],
            "normalizer": {"type": "BertNormalizer"},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {token: i for i, token in enumerate(TOKENS)},
            },
        }
    )
)
TABLE = np.arange(8, dtype=np.float32).reshape(4, 2)


def content(**changes: Any) -> model2vec.Content:
    fields = {"embeddings": TABLE, "weights": None, "mapping": None, "config": {"normalize": True}}
    return model2vec.Content(**{"tokenizer": TOKENIZER, **fields, **changes})


def test_round_trip(tmp_path: Path) -> None:
    weights, mapping = np.arange(4.0), np.array([0, 1, 1, 0])
    folder = tmp_path / "new" / "folder"
    model2vec.write(folder, content(embeddings=TABLE[:2], weights=weights, mapping=mapping))
    got = model2vec.read(folder)
    np.testing.assert_array_equal(got.embeddings, TABLE[:2])
    np.testing.assert_array_equal(got.weights, weights)
    np.testing.assert_array_equal(got.mapping, mapping)
    assert got.tokenizer.tokens == TOKENS
    assert got.config == {
        "normalize": True, "embedding_dtype": "float32", "vocabulary_quantization": 2
    }  # fmt: skip
    modules = json.loads((folder / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == [
        "StaticEmbedding", "Normalize"
    ]  # fmt: skip
    model2vec.write(folder, content(config=got.config))
    assert "vocabulary_quantization" not in model2vec.read(folder).config


@pytest.mark.parametrize("below", ["", "0_StaticEmbedding"])
def test_sentence_transformers(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "cosine"}')
    safetensors.write(tmp_path / below / "model.safetensors", {"embedding.weight": TABLE})
    (tmp_path / below / "tokenizer.json").write_text(TOKENIZER.json)
    got = model2vec.read(tmp_path)
    np.testing.assert_array_equal(got.embeddings, TABLE)
    assert got.config == {"similarity_fn_name": "cosine"}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_missing_and_truncated_files(tmp_path: Path, name: str) -> None:
    model2vec.write(tmp_path, content())
    whole = (tmp_path / name).read_bytes()
    for length in range(0, len(whole), 1 + len(whole) // 50):
        (tmp_path / name).write_bytes(whole[:length])
        error = TruncatedError if name == "model.safetensors" else FormatError
        with pytest.raises(error, match=name):
            model2vec.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FormatError, match="no model2vec"):
        model2vec.read(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"other": TABLE}, "holds no matrix"),
        ({"embeddings": TABLE[0]}, "holds no matrix"),
        ({"embeddings": TABLE[:3]}, "3 rows for 4 tokens"),
        ({"embeddings": TABLE, "weights": TABLE[:3, 0]}, "'weights' is float32 of shape"),
        ({"embeddings": TABLE, "weights": np.arange(4)}, "'weights' is int64"),
        ({"embeddings": TABLE, "mapping": TABLE[:, 0]}, "'mapping' is float32"),
        ({"embeddings": TABLE[:2], "mapping": np.array([0, 1, 2, 0])}, "points behind the 2 rows"),
        ({"embeddings": TABLE[:2], "mapping": np.array([0, 1, -1, 0])}, "points behind the 2 rows"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: Any, text: str) -> None:
    model2vec.write(tmp_path, content())
    safetensors.write(tmp_path / "model.safetensors", arrays)
    with pytest.raises(FormatError, match=text):
        model2vec.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "\xff", "[" * 100_000])
def test_malformed_config(tmp_path: Path, text: str) -> None:
    model2vec.write(tmp_path, content())
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=r"config\.json: malformed JSON"):
        model2vec.read(tmp_path)
