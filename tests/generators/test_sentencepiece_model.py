"""SentencePiece's files, written here byte for byte, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from firth.errors import FormatError
from firth.generators import sentencepiece_model
from firth.generators.tokenizer import GeneratorTokenizer
from sentencepiece_files import field, piece

PIECES = [
    piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3), piece("▁▁", 0.0, 4),
    piece("a", -1.0), piece("b", -2.0), piece("ab", -0.5), piece("▁", -3.0),
]  # fmt: skip
TRAINER = field(2, field(3, 2) + field(43, 2**64 - 1))
NORMALIZER = field(3, field(1, "identity") + field(3, 0) + field(4, 0))
GOOD = b"".join(PIECES) + TRAINER + NORMALIZER


def test_fields(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(GOOD)
    found = sentencepiece_model.read(tmp_path / "tokenizer.model")
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.tokens"][2:5] == ["</s>", "  ", "a"]
    assert found["tokenizer.ggml.token_type"].tolist() == [2, 3, 3, 4, 1, 1, 1, 1]
    assert found["tokenizer.ggml.scores"].tolist()[4:] == [-1.0, -2.0, -0.5, -3.0]
    assert found["tokenizer.ggml.eos_token_id"] == 2
    assert "tokenizer.ggml.padding_token_id" not in found
    assert found["tokenizer.ggml.add_space_prefix"] is False


@pytest.mark.parametrize(
    ("config", "after"),
    [
        ("{}", []),
        ('{"tokenizer_class": "LlamaTokenizer"}', []),
        ('{"tokenizer_class": "T5Tokenizer"}', [2]),
        ('{"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}', [2]),
    ],
)
def test_the_end_of_unigram_texts(config, after, tmp_path):
    unigram = b"".join(PIECES) + field(2, field(3, 1)) + NORMALIZER
    (tmp_path / "tokenizer.model").write_bytes(unigram)
    (tmp_path / "tokenizer_config.json").write_text(config)
    tokenizer = GeneratorTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("a") == [*tokenizer.encode("a", False), *after]


def test_the_model_type_says_what_ends_texts(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"".join(PIECES) + field(2, field(3, 1)) + NORMALIZER)
    (tmp_path / "config.json").write_text('{"model_type": "mt5"}')
    assert GeneratorTokenizer.from_pretrained(tmp_path).encode("a") == [4, 2]


def test_tokenizers(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(GOOD)
    tokenizer = GeneratorTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("abb") == [1, 6, 5]
    assert tokenizer.encode("a  b a", False) == [4, 3, 5, 7, 4]
    assert tokenizer.decode([4, 3, 5]) == "a  b"
    (tmp_path / "tokenizer_config.json").write_text(
        '{"add_bos_token": false, "add_eos_token": true, "added_tokens_decoder":'
        ' {"8": {"content": "<x>", "special": true}}}'
    )
    tokenizer = GeneratorTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("ab") == [6, 2]
    assert tokenizer.encode("ab<x>", parse_special=True) == [6, 8, 2]
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"9": "<x>"}}')
    with pytest.raises(FormatError, match="'<x>' has id 9, but comes to be 8"):
        GeneratorTokenizer.from_pretrained(tmp_path)
    unigram = b"".join(PIECES) + field(2, field(3, 1)) + NORMALIZER
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.model").rename(tmp_path / "spiece.model")
    (tmp_path / "spiece.model").write_bytes(unigram)
    assert GeneratorTokenizer.from_pretrained(tmp_path).encode("abb") == [6, 5, 2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "tokens is missing or empty"),
        (field(1, 3), "a number stands where a message"),
        (field(1, field(1, b"\xff")), "piece 0 is not UTF-8"),
        (field(1, field(1, 3)), "piece 0 is malformed"),
        (field(1, field(3, "a")), "piece 0 is malformed"),
        (field(1, field(1, "a") + field(2, "b")), "a text stands where a score"),
        (field(2, field(3, 4)), "model type 4 is not read"),
        (field(2, field(3, "a")), "a text stands where the number of field 3"),
        (field(3, field(2, 7)), "a number stands where a normalizer"),
        (GOOD + field(2, field(41, 99)), "bos_token_id is 99, not an id below 8"),
        (GOOD + piece("c", float("nan")), r"scores \[8\] is nan"),
        (piece("<0x-1>", 0.0, 6), "not a byte"),
        (b"\x0a\xff\xff\xff\xff\x7f", "has 34,359,738,367 bytes"),
        (b"\x80" * 20, "ends within a number"),
        (b"\x0b", "field 1 has kind 3"),
        (b"\x0a", "ends within a number"),
    ],
)  # fmt: skip
def test_malformed(content, problem, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(FormatError, match=problem):
        GeneratorTokenizer.from_pretrained(tmp_path)


def test_any_damage(tmp_path: Path):
    """Each byte changed or cut off: read, or refused by one line."""
    path, refused = tmp_path / "tokenizer.model", 0
    for at in range(len(GOOD)):
        for damaged in (
            GOOD[:at],
            *(GOOD[:at] + bytes([GOOD[at] ^ bit]) + GOOD[at + 1 :] for bit in (1, 8, 128)),
        ):
            path.write_bytes(damaged)
            try:
                GeneratorTokenizer.from_pretrained(tmp_path).encode("ab ba")
            except FormatError as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017
    assert refused > len(GOOD)
