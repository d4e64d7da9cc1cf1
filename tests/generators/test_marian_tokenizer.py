"""Marian's tokenizer: pieces of one vocabulary, ids of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firth.errors import FormatError
from firth.generators.marian_tokenizer import MarianTokenizer
from sentencepiece_files import field, piece

SOURCE = [
    piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3), piece("▁the", -1.0),
    piece("▁cat", -1.5), piece("▁", -3.0), piece("c", -4.0), piece("a", -4.0), piece("t", -4.0),
    piece("<", -4.0), piece("/", -4.0), piece("s", -4.0), piece(">", -4.0), piece("q", -4.0),
]  # fmt: skip
NORMALIZER = field(3, field(1, "identity"))
VOCAB = {
    "</s>": 0, "<unk>": 1, "▁die": 2, "▁Katze": 3, "▁the": 4, "▁cat": 5, "▁": 6, "a": 7,
    ">>de<<": 8, "s": 9, "ß": 10, "/": 11, "<": 12, ">": 13, "c": 14, "t": 15, "<pad>": 16,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source.spm").write_bytes(b"".join(SOURCE) + NORMALIZER)
    (tmp_path / "vocab.json").write_text(json.dumps(VOCAB))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("the cat", [4, 5, 0]),
        ("the  cat ", [4, 5, 0]),
        ("", [0]),
        ("act", [6, 7, 14, 15, 0]),
        ("the q", [4, 6, 1, 0]),  # a piece that is no token
        ("the ß", [4, 6, 10, 0]),  # a token that is no piece
        ("the ßß", [4, 6, 1, 0]),
        (">>de<< the", [8, 4, 0]),
        (">>fr<< the", [1, 4, 0]),
        (">>de", [6, 13, 13, 1, 0]),
        ("the</s>", [4, 12, 11, 9, 13, 0]),
    ],
)
def test_texts_to_ids(folder, text, ids):
    tokenizer = MarianTokenizer(folder)
    assert tokenizer.encode(text) == ids
    assert tokenizer.encode(text, add_special_tokens=False) == ids[:-1]


def test_ids_to_texts(folder):
    tokenizer = MarianTokenizer(folder)
    assert len(tokenizer) == 17
    assert (tokenizer.eos_token_ids, tokenizer.control_ids) == ([0], [0, 1, 16])
    assert tokenizer.decode([2, 3, 10, 0]) == "die Katzeß</s>"
    assert tokenizer.decode([16, 2, 1, 3, 99, 0], skip_special_tokens=True) == "die Katze"
    assert tokenizer.decode([]) == ""


def test_a_vocabulary_for_each_language(folder):
    (folder / "tokenizer_config.json").write_text('{"separate_vocabs": true}')
    with pytest.raises(FileNotFoundError, match=r"has no target_vocab\.json"):
        MarianTokenizer(folder)
    (folder / "target_vocab.json").write_text('{"</s>": 0, "<unk>": 1, "▁le": 2, "▁chat": 3}')
    tokenizer = MarianTokenizer(folder)
    assert tokenizer.encode("the cat") == [4, 5, 0]
    assert tokenizer.decode([2, 3]) == "le chat"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", '{"</s>": 0}', "<unk> is no token"),
        ("vocab.json", '{"</s>": 0, "<unk>": "1"}', "an id is not a whole number"),
        ("vocab.json", '{"</s>": 0, "<unk>": -1}', "an id is not a whole number"),
        ("vocab.json", "[]", "not an object"),
        ("source.spm", "\x0a\xff", "ends within a number|has .* bytes"),
    ],
)
def test_malformed_files(folder, name, content, message):
    (folder / name).write_text(content, encoding="latin-1")
    with pytest.raises(FormatError, match=message):
        MarianTokenizer(folder)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no vocab\.json"):
        MarianTokenizer(tmp_path)
