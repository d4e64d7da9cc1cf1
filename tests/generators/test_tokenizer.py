"""Tokenizers of generators: GGUF metadata and folders, control tokens, bytes, bad input."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from firth.errors import FormatError
from firth.generators import pretokenizers
from firth.generators.pieces import BYTES, Pieces
from firth.generators.tokenizer import GeneratorTokenizer
from generator_tokenizers import (
    CHATML,
    END,
    KINDS,
    STOP,
    TEXTS,
    WITH_CONTROL,
    folder,
    metadata,
)


@pytest.fixture(scope="module", params=["byte_level", "spaces_bpe"])
def of_gguf(request):
    return GeneratorTokenizer.from_gguf(metadata(request.param))


@pytest.fixture(scope="module")
def bpe():
    return GeneratorTokenizer.from_gguf(
        metadata("byte_level") | {"tokenizer.chat_template": CHATML}
    )


@pytest.mark.parametrize("text", TEXTS + WITH_CONTROL)
def test_text_comes_back(of_gguf, text):
    ids = of_gguf.encode(text)
    assert of_gguf.decode(ids, skip_special_tokens=True) == text
    assert not set(of_gguf.encode(text, False)) & set(of_gguf.control_ids)
    assert b"".join(map(of_gguf.token_bytes, of_gguf.encode(text, False))).decode().lstrip(
        " "
    ) == text.lstrip(" ")


@pytest.mark.parametrize("kind", KINDS)
def test_folders_and_texts(kind, tmp_path):
    ours = GeneratorTokenizer.from_pretrained(folder(tmp_path, kind))
    for text in TEXTS + WITH_CONTROL:
        ids = ours.encode(text)
        assert ids[: len(ours._before)] == ours._before
        if kind in ("byte_level", "spaces_bpe"):
            assert ours.decode(ids, skip_special_tokens=True) == text
        assert not set(ours.encode(text, False)) & (set(ours.control_ids) - {ours.unk_token_id})


def test_control_tokens_stay_text_unless_asked(bpe):
    text = f"a{STOP}b"
    assert bpe.encode(text, parse_special=True) == [*bpe.encode("a"), 2, *bpe.encode("b")]
    ids = bpe.encode(text)
    assert 2 not in ids
    assert bpe.decode(ids) == bpe.decode(bpe.encode(text, parse_special=True)) == text
    assert bpe.decode([2, 0], skip_special_tokens=True) == ""
    # as it is cut where no such token is known
    plain = metadata("byte_level")
    plain["tokenizer.ggml.token_type"] = [1] * len(plain["tokenizer.ggml.tokens"])
    plain["tokenizer.ggml.bos_token_id"] = plain["tokenizer.ggml.eos_token_id"] = 5
    assert ids == GeneratorTokenizer.from_gguf(plain).encode(text)


def test_an_unknown_token_that_ends_texts():
    """As SmolLM2 and GPT-2 have it."""
    found = metadata("byte_level") | {"tokenizer.ggml.unknown_token_id": 0}
    tokenizer = GeneratorTokenizer.from_gguf(found | {"tokenizer.chat_template": CHATML})
    for text in (END, f"a{END}b", f"{END}{STOP}"):
        assert not {0, 2} & set(tokenizer.encode(text))
        chat = [{"role": "user", "content": text}]
        assert 0 not in tokenizer.apply_chat_template(chat, tokenize=True)
    assert tokenizer.encode(END, parse_special=True) == [0]


def test_control_tokens_that_merges_could_make():
    """llama.cpp's merges by score make them of their parts."""
    found = metadata("spaces_bpe")
    tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    tokens += ["</", "s>"]
    types += [1, 1]
    found["tokenizer.ggml.scores"] = [*found["tokenizer.ggml.scores"], 9.0, 8.0]
    tokenizer = GeneratorTokenizer.from_gguf(found)
    assert tokens[2] == "</s>"
    assert types[2] == 3
    ids = tokenizer.encode("a</s>b", False)
    assert tokens.index("</") in ids
    assert 2 not in ids
    assert tokenizer.decode(ids) == "a</s>b"


def test_a_vocabulary_that_has_control_tokens_as_words(tmp_path):
    """Unigram finds them in its vocabulary, whatever is added."""
    tokenizer = GeneratorTokenizer.from_pretrained(folder(tmp_path, "unigram"))
    ids = tokenizer.encode(f"the {STOP} cat", False)
    assert not set(ids) & (set(tokenizer.control_ids) - {tokenizer.unk_token_id})
    assert tokenizer.encode(f"the {STOP} cat", False, parse_special=True) != ids


def test_what_ends_a_text(tmp_path):
    bpe = GeneratorTokenizer.from_gguf(metadata("byte_level"))
    assert (bpe.bos_token_id, bpe.eos_token_id) == (1, 2)
    assert bpe.eos_token_ids == [2, 0]  # what is called <|endoftext|> ends any text
    more = metadata("byte_level") | {
        "tokenizer.ggml.eot_token_id": 7,
        "tokenizer.ggml.eom_token_id": 9,
    }
    assert GeneratorTokenizer.from_gguf(more).eos_token_ids == [2, 7, 9, 0]
    folder(tmp_path, "spaces_bpe")
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    assert GeneratorTokenizer.from_pretrained(tmp_path).eos_token_ids[:2] == [2, 5]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert GeneratorTokenizer.from_pretrained(tmp_path).eos_token_ids[:3] == [2, 7, 8]
    for bad in ("[-1]", '"</s>"', "[99999]", "true"):
        (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": {bad}}}')
        with pytest.raises(FormatError, match="eos_token_id is"):
            GeneratorTokenizer.from_pretrained(tmp_path)


def test_around_a_text():
    spm = metadata("spaces_bpe")
    assert GeneratorTokenizer.from_gguf(spm).encode("a")[0] == 1
    found = GeneratorTokenizer.from_gguf(
        spm | {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True}
    )
    assert found.encode("a") == [*found.encode("a", False), 2]
    assert found.encode("") == [2]
    llama3 = GeneratorTokenizer.from_gguf(metadata("byte_level", "llama-bpe"))
    assert llama3.encode("a")[0] == 1
    assert GeneratorTokenizer.from_gguf(metadata("byte_level")).encode("a")[0] != 1


def test_spaces_before_a_text():
    """SentencePiece's: one more than the text has, unless the file says otherwise."""
    spm = metadata("spaces_bpe")
    tokenizer = GeneratorTokenizer.from_gguf(spm)
    bare = GeneratorTokenizer.from_gguf(spm | {"tokenizer.ggml.add_space_prefix": False})
    assert tokenizer.encode("cat") == [1, *bare.encode(" cat", False)]
    assert tokenizer.encode(" cat") == [1, *bare.encode("  cat", False)]
    assert bare.decode(bare.encode(" cat", False)) == " cat"
    assert tokenizer.decode(tokenizer.encode(" cat", False)) == " cat"
    assert tokenizer.encode("", False) == []


def test_spaces_before_unigram_texts():
    """Where the file does not say it there is none, as in llama.cpp."""
    found = {
        "tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": ["<pad>", "</s>", "<unk>", "▁", "a"],
        "tokenizer.ggml.scores": np.array([0, 0, 0, -2, -1], np.float32),
        "tokenizer.ggml.token_type": np.array([3, 3, 2, 1, 1], np.int32),
    }  # fmt: skip
    assert GeneratorTokenizer.from_gguf(found).encode("a") == [4, 1]
    prefix = {"tokenizer.ggml.add_space_prefix": True}
    assert GeneratorTokenizer.from_gguf(found | prefix).encode("a") == [3, 4, 1]


def test_phi3_takes_spaces_behind_its_tokens():
    found = metadata("spaces_bpe")
    tokens = found["tokenizer.ggml.tokens"]
    text = f"a{STOP} \n b{END} c"
    plain = GeneratorTokenizer.from_gguf(found)
    phi3 = GeneratorTokenizer.from_gguf(found | {"general.name": "Phi 3 or Phi-3 Mini"})
    end, stop = tokens.index(END), tokens.index(STOP)
    want = [*plain.encode("a", False), stop, *plain.encode("b", False), end]
    assert phi3.encode(text, False, True) == [*want, *plain.encode(" c", False)]
    assert plain.encode(text, False, True) != phi3.encode(text, False, True)
    assert phi3.decode(phi3.encode(text, False)) == text


def test_names_of_cuts():
    """Each of them cuts this text as its patterns say; an unknown one is told."""
    words = {
        "gpt-2": ["I", "'m", " here", "!!", " 1234", " ", " x", "\n"],
        "smollm": ["I", "'m", " here", "!!", " ", "1", "2", "3", "4", " ", " x", "\n"],
        "llama-bpe": ["I", "'m", " here", "!!", " ", "123", "4", " ", " x", "\n"],
        "qwen2": ["I", "'m", " here", "!!", " ", "1", "2", "3", "4", " ", " x", "\n"],
        "default": ["I", "'", "m", " here", "!!", " ", "123", "4", " ", " x", "\n"],
        "tekken": ["I", "'m", " here", "!!", " ", "1", "2", "3", "4", " ", " x", "\n"],
        "gpt-4o": ["I'm", " here", "!!", " ", "123", "4", " ", " x", "\n"],
        "deepseek-llm": ["I", "'", "m", " here", "!!", " ", "1", "2", "3", "4", " ", " x", "\n"],
    }
    from tokenizers import Regex, pre_tokenizers

    for name, want in words.items():
        cuts = pretokenizers.named(name)
        split = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cuts.patterns]
        )
        assert [word for word, _ in split.pre_tokenize_str("I'm here!! 1234  x\n")] == want, name
    for name in pretokenizers._FAMILY:
        tokenizer = GeneratorTokenizer.from_gguf(metadata("byte_level", name))
        for text in TEXTS:
            assert tokenizer.decode(tokenizer.encode(text), True) == text
    assert pretokenizers.named("nonsense") is None
    known = r"tokenizer\.ggml\.pre is 'nonsense', not one of default, gpt-2, .*, superbpe"
    with pytest.raises(FormatError, match=known):
        GeneratorTokenizer.from_gguf(metadata("byte_level", "nonsense"))
    with pytest.warns(UserWarning, match=r"tokenizer\.ggml\.pre is missing"):
        odd = GeneratorTokenizer.from_gguf(metadata("byte_level", ""))
    usual = GeneratorTokenizer.from_gguf(metadata("byte_level", "default"))
    assert [odd.encode(text) for text in TEXTS] == [usual.encode(text) for text in TEXTS]


def test_words_that_are_tokens_need_no_merges():
    found = metadata("byte_level", "llama-bpe")
    found["tokenizer.ggml.tokens"].append("xyzzy")
    found["tokenizer.ggml.token_type"].append(1)
    assert GeneratorTokenizer.from_gguf(found).encode("xyzzy", False) == [800]
    found["tokenizer.ggml.pre"] = "gpt-2"
    assert 800 not in GeneratorTokenizer.from_gguf(found).encode("xyzzy", False)


def test_wordpiece_of_gguf():
    made = json.loads(KINDS["wordpiece"]())["model"]["vocab"]
    tokens = sorted(made, key=made.__getitem__)
    types = [3 if i < 8 else 1 for i in range(len(tokens))]
    spelt = [
        token if type == 3 else token[2:] if token.startswith("##") else "▁" + token
        for token, type in zip(tokens, types, strict=True)
    ]
    tokenizer = GeneratorTokenizer.from_gguf({
        "tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": spelt,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    })  # fmt: skip
    import tokenizers

    theirs = tokenizers.Tokenizer.from_str(KINDS["wordpiece"]())
    for text in TEXTS:
        assert tokenizer.encode(text) == theirs.encode(text).ids


def test_gemma4_of_gguf():
    """Merges over characters; line ends are words of their own."""
    found = metadata("spaces_bpe")
    model = json.loads(KINDS["spaces_bpe"]())["model"]
    found |= {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
    }
    gemma = GeneratorTokenizer.from_gguf(found)
    llama = GeneratorTokenizer.from_gguf(
        metadata("spaces_bpe") | {"tokenizer.ggml.add_space_prefix": False}
    )
    for text in TEXTS:
        assert gemma.decode(gemma.encode(text), True) == text
        if "\n" not in text:
            assert gemma.encode(text) == llama.encode(text)


# Bytes


def test_the_bytes_of_byte_level_bpe():
    assert sorted(BYTES.values()) == list(range(256))
    assert BYTES["Ġ"] == 0x20
    assert BYTES["Ċ"] == 0x0A
    assert BYTES["!"] == 0x21


def test_bytes_that_are_no_text(bpe):
    ids = bpe.encode("é😀")
    pieces = [bpe.token_bytes(i) for i in ids]
    assert b"".join(pieces) == "é😀".encode()
    assert bpe.decode(ids[:1]) == "\ufffd"
    assert bpe.token_bytes(99_999) == b""
    assert bpe.decode(np.array(ids)) == "é😀"


def test_decoders_that_are_not_known():
    for decoder, problem in (
        ({"type": "CTC"}, "'CTC' is not known"),
        ({"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"}, "is not known"),
        ({}, "'type'"),
        ({"type": "Metaspace"}, "'replacement'"),
    ):
        with pytest.raises(FormatError, match=problem):
            Pieces(decoder)


@pytest.mark.parametrize("text", TEXTS + WITH_CONTROL)
def test_text_behind_other_text(of_gguf, text):
    ids = of_gguf.encode_after(text)
    assert b"".join(map(of_gguf.token_bytes, ids)) == text.encode()
    assert not set(ids) & set(of_gguf.control_ids)


# Bad input


def test_texts_that_are_none(of_gguf):
    for text in ("a\ud800b", "\udfff"):
        with pytest.raises(ValueError, match="lone surrogate"):
            of_gguf.encode(text)
    for text in (b"bytes", None, ["a"]):
        with pytest.raises(TypeError, match="must be a string"):
            of_gguf.encode(text)


TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "ab", "<0x0A>"]
GOOD = {
    "model": "llama", "tokens": TOKENS, "scores": np.zeros(7, np.float32),
    "token_type": np.array([2, 3, 3, 1, 1, 1, 6], np.int32), "merges": ["a b"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "rwkv"}, "model is 'rwkv', not one of gpt2"),
        ({"model": None}, "model is '', not one of"),
        ({"model": 3}, "model is 3, not of type str"),
        ({"tokens": None}, "tokens is missing or empty"),
        ({"tokens": []}, "tokens is missing or empty"),
        ({"tokens": np.arange(3)}, "tokens is of type ndarray, not of type list"),
        ({"tokens": ["a", 3]}, r"tokens \[1\] is 3, not a string"),
        ({"tokens": ["a", "b\udcff"]}, r"tokens \[1\] is not UTF-8"),
        ({"tokens": ["a", "b", "a"]}, r"tokens \[0\] and \[2\] are both 'a'"),
        ({"tokens": [*TOKENS[:6], "<0x-1>"]}, r"tokens \[6\] is '<0x-1>', not a byte"),
        ({"tokens": [*TOKENS[:6], "<0x100>"]}, r"tokens \[6\] is '<0x100>', not a byte"),
        ({"token_type": np.zeros(6, np.int32)}, "token_type has 6 values for 7 tokens"),
        ({"token_type": np.zeros(7, np.float32)}, "token_type has numbers of type float32"),
        ({"token_type": ["a"] * 7}, "token_type has numbers of type"),
        ({"scores": np.zeros(8, np.float32)}, "scores has 8 values for 7 tokens"),
        ({"scores": np.array([0, 0, np.nan, 0, 0, 0, 0])}, r"scores \[2\] is nan, not a finite"),
        ({"scores": np.array([0, 0, 0, 0, np.inf, 0, 0])}, r"scores \[4\] is inf, not a finite"),
        ({"scores": None, "merges": None}, "scores is missing"),
        ({"merges": ["ab"]}, r"merges \[0\] is 'ab', not two tokens"),
        ({"merges": ["a b", "a "]}, r"merges \[1\] is 'a ', not two tokens"),
        ({"merges": ["b a"]}, r"merges \[0\] needs 'ba', which is no token"),
        ({"merges": ["x b"]}, r"merges \[0\] needs 'x', which is no token"),
        ({"merges": [3]}, r"merges \[0\] is 3, not a string"),
        ({"merges": None, "model": "gpt2", "pre": "gpt-2"}, "merges is missing"),
        ({"bos_token_id": 7}, "bos_token_id is 7, not an id below 7"),
        ({"eot_token_id": -1}, "eot_token_id is -1, not an id below 7"),
        ({"eos_token_id": 2**32 - 1}, "eos_token_id is 4294967295, not an id"),
        ({"padding_token_id": "a"}, "padding_token_id is 'a', not of type int"),
        ({"bos_token_id": True}, "bos_token_id is True, not of type int"),
        ({"add_bos_token": 1}, "add_bos_token is 1, not of type bool"),
        ({"pre": 7, "model": "gpt2"}, "pre is 7, not of type str"),
        ({"model": "t5", "precompiled_charsmap": np.zeros(9, np.float32)}, "not an array of bytes"),
        ({"model": "t5", "precompiled_charsmap": np.full(9, 255, np.uint8)}, "is malformed"),
    ],
)  # fmt: skip
def test_malformed_metadata(changes, problem):
    found = {f"tokenizer.ggml.{key}": value for key, value in (GOOD | changes).items()}
    given = {key: value for key, value in found.items() if value is not None}
    with pytest.raises(FormatError, match=rf"^m.gguf: tokenizer.ggml.*{problem}"):
        GeneratorTokenizer.from_gguf(given, "m.gguf")


WEIRD = [
    -1, 2**64 - 1, 1.5, float("nan"), True, "", "x", "\udcff", [], ["a", "a"], [[1]], [None], {},
    np.zeros(0), np.zeros(3, np.int8), np.array(5), np.zeros((2, 2)), np.full(800, 2**31 - 1),
    b"a", object(),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*texts are cut as by 'default'")
@pytest.mark.parametrize("model", ["gpt2", "llama", "gemma4", "bert", "t5"])
def test_any_metadata(model):
    """Whatever a key holds: read, or refused by one line."""
    good = metadata("byte_level") | {
        "tokenizer.ggml.model": model, "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.scores": np.zeros(800, np.float32), "tokenizer.chat_template": CHATML,
        "tokenizer.ggml.merges": ["Ġ t", "Ġ a"],
    }  # fmt: skip
    GeneratorTokenizer.from_gguf(good)
    more = ("add_bos_token", "add_eos_token", "add_space_prefix", "precompiled_charsmap",
            "remove_extra_whitespaces", "eot_token_id", "normalizer.lowercase")  # fmt: skip
    refused = 0
    for key in (*good, *(f"tokenizer.ggml.{name}" for name in more)):
        for value in WEIRD:
            try:
                found = GeneratorTokenizer.from_gguf(good | {key: value}, "m.gguf")
                found.decode(found.encode(f"ab {STOP} c"))
            except FormatError as error:
                refused += 1
                assert re.fullmatch("m.gguf: tokenizer.ggml.*", str(error))  # noqa: PT017
    assert refused > 100


def test_metadata_that_are_good_enough():
    found = {f"tokenizer.ggml.{key}": value for key, value in GOOD.items()}
    tokenizer = GeneratorTokenizer.from_gguf(found | {"tokenizer.ggml.add_space_prefix": False})
    assert tokenizer.encode("abba") == [1, 5, 4, 3]
    assert len(tokenizer) == 7
    empty = GeneratorTokenizer.from_gguf(
        found | {"tokenizer.ggml.tokens": [*TOKENS[:4], "b", "ab", "<0x0A>"]}
    )
    assert empty.convert_ids_to_tokens([4, 5]) == ["b", "ab"]
    assert tokenizer.convert_tokens_to_ids(["ab", "zz"]) == [5, None]


def test_damaged_folders(tmp_path):
    with pytest.raises(FormatError, match="holds no tokenizer"):
        GeneratorTokenizer.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError):
        GeneratorTokenizer.from_pretrained(tmp_path / "none")
    folder(tmp_path, "byte_level")
    for name, content, problem in (
        ("tokenizer_config.json", "[1]", "not an object"),
        ("tokenizer_config.json", "{", "malformed JSON"),
        ("tokenizer_config.json", '{"eos_token": 3}', "'eos_token' is 3, not a token"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"a": "b"}}', "are not numbers"),
        ("tokenizer_config.json", '{"chat_template": [1]}', "chat_template is no text"),
        ("tokenizer.json", "{}", "malformed tokenizer"),
        ("tokenizer.json", "\xff", "malformed tokenizer"),
    ):
        folder(tmp_path, "byte_level")
        (tmp_path / name).write_text(content, encoding="latin-1")
        with pytest.raises(FormatError, match=re.escape(problem)):
            GeneratorTokenizer.from_pretrained(tmp_path)
    folder(tmp_path, "byte_level")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(FormatError, match="needs 'ab', which is no token"):
        GeneratorTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("word", ["a", "<|im_end|>", "<", " ", "\u0301"])
def test_long_words(of_gguf, word):
    """With work that grows with the square this would never end."""
    text = word * (400_000 // len(word))
    assert of_gguf.decode(of_gguf.encode(text, False)) == text


def test_ids_that_are_none(of_gguf):
    for bad in (-1, 10**6, 10**30):
        with pytest.raises(ValueError, match=f"decode: no token has the id {bad}"):
            of_gguf.decode([0, bad])
