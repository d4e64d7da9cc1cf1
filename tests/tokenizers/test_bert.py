"""BertTokenizer by hand: the course's sentence, bad input, texts of every kind."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
import tokenizer_folders as folders
from firth import BertTokenizer
from firth.tokenizers import BatchEncoding, CharSpan, TokenSpan
from tokenizer_folders import TEXTS, vocab

SENTENCE = "He went to the bank to deposit money."
TOKENS = ["[CLS]", "he", "went", "to", "the", "bank", "to", "deposit", "money", ".", "[SEP]"]


@pytest.fixture(scope="module")
def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab())


def test_the_courses_sentence(tokenizer: BertTokenizer) -> None:
    inputs = tokenizer(SENTENCE, return_tensors="np")
    assert list(inputs) == ["input_ids", "token_type_ids", "attention_mask"]
    assert inputs.tokens() == TOKENS
    for value in inputs.values():
        assert value.shape == (1, 11)
        assert value.dtype == np.int64
    assert inputs["input_ids"][0].tolist() == [vocab()[token] for token in TOKENS]
    assert inputs.input_ids is inputs["input_ids"]
    assert inputs["attention_mask"].all()
    assert not inputs["token_type_ids"].any()
    assert {**inputs}.keys() == inputs.keys()
    assert firth.AutoTokenizer is firth.BertTokenizer


def test_needs_no_other_package(tmp_path: Path) -> None:
    """Neither transformers nor tokenizers nor PyTorch, for the texts that people have."""
    folder = folders.bert(tmp_path / "folder")
    code = f"""
import sys
for name in ("tokenizers", "transformers", "torch", "sentencepiece", "regex"):
    sys.modules[name] = None
import firth
tokenizer = firth.BertTokenizer.from_pretrained({str(folder)!r})
found = tokenizer(["the [MASK] sat", "naïve 中文 😀"], ["a", "b"], padding=True,
                  return_offsets_mapping=True, return_tensors="np")
print(found["input_ids"].shape, found.tokens(1), found["offset_mapping"][1].tolist())
print(tokenizer.decode(found["input_ids"][0]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(2, 8) ['[CLS]', 'naive', '中', '文', '😀', '[SEP]', 'b', '[SEP]'] "
        "[[0, 0], [0, 5], [6, 7], [7, 8], [9, 10], [0, 0], [0, 1], [0, 0]]",
        "[CLS] the [MASK] sat [SEP] a [SEP] [PAD]",
    ]


def test_places(tokenizer: BertTokenizer) -> None:
    text = "The unaffable cats"
    found = tokenizer("a", text, return_offsets_mapping=True)
    assert [text[start:end] for start, end in found["offset_mapping"][3:-1]] == [
        "The", "un", "aff", "able", "cat", "s",
    ]  # fmt: skip
    assert found.word_ids() == [None, 0, None, 0, 1, 1, 1, 2, 2, None]
    assert found.sequence_ids() == [None, 0, None, 1, 1, 1, 1, 1, 1, None]
    assert found.char_to_token(0, text.index("aff"), 1) == 5
    assert found.char_to_token(0, 3, 1) is None
    assert found.char_to_word(0, text.index("able"), 1) == 1
    assert found.char_to_token(0) == 1
    assert found.token_to_chars(5) == CharSpan(6, 9)
    assert found.token_to_chars(0) is None
    assert found.token_to_word(0, 5) == 1
    assert found.token_to_sequence(3) == 1
    assert found.word_to_tokens(0, 1, 1) == TokenSpan(4, 7)
    assert found.word_to_tokens(0, 9, 1) is None
    assert found.word_to_chars(0, 1, 1) == CharSpan(4, 13)
    assert found[0].tokens == found.tokens(-1)
    assert found.data == {name: found[name] for name in found}
    assert tokenizer(["a", "b"])[:1]["input_ids"] == [tokenizer("a")["input_ids"]]
    with pytest.raises(AttributeError, match="the encoding has no 'nonsense'"):
        _ = found.nonsense
    with pytest.raises(KeyError):
        found["nonsense"]
    with pytest.raises(IndexError):
        found[1]
    with pytest.raises(ValueError, match="only what a tokenizer's call returns"):
        BatchEncoding({"input_ids": [1]}).tokens()


def test_pickled(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    found = tokenizer(SENTENCE, padding="max_length", max_length=14, return_offsets_mapping=True)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.tokens() == found.tokens()
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy(TEXTS[:5]) == tokenizer(TEXTS[:5])
    assert copy.special_tokens_map == tokenizer.special_tokens_map


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None,), TypeError, "text must be a string, or a list of them, got None"),
        ((b"a",), TypeError, "text must be a string, or a list of them, got bytes"),
        ((3,), TypeError, "text must be a string, or a list of them, got int"),
        (({"a": 1},), TypeError, "text must be a string, or a list of them, got dict"),
        ((["a", None],), TypeError, r"text\[1\] must be a string, got None"),
        (([b"a"],), TypeError, r"text\[0\] must be a string, got bytes"),
        (([("a", "b", "c")],), TypeError, r"text\[0\] must be a string, got tuple"),
        (("a", 3), TypeError, "text_pair must be a string, as text is, got int"),
        (("a", ["b"]), TypeError, "text_pair must be a string, as text is, got list"),
        ((["a"], "b"), TypeError, "text_pair must be a string, or a list of them, got str"),
        ((["a"], [3]), TypeError, r"text_pair\[0\] must be a string, got int"),
        ((["a"], ["b", "c"]), ValueError, "text_pair must have 1 texts, as text has, not 2"),
        (([("a", "b")], ["c"]), ValueError, "text_pair must be None, since text has pairs"),
        (("\ud800",), ValueError, r"a text has the lone surrogate '\\ud800' at character 0"),
    ],
)  # fmt: skip
def test_bad_texts(
    tokenizer: BertTokenizer, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        tokenizer(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": "nonsense"}, "padding must be True, False, 'longest' or 'max_length', got"),
        ({"truncation": "nonsense"}, "truncation must be True, False or one of longest_first,"),
        ({"return_tensors": "tf"}, "return_tensors must be 'np', 'pt' or None, got 'tf'"),
        ({"padding": True, "padding_side": "up"}, "padding_side must be 'right' or 'left'"),
        ({"max_length": -1}, "max_length must be at least 0, got -1"),
        ({"max_length": 1}, "max_length must be at least 2, for the special tokens, got 1"),
        ({"truncation": True, "max_length": 5, "stride": 3, "return_overflowing_tokens": True},
         "stride must be below the 3 tokens that max_length leaves to a text, got 3"),
        ({"stride": -1}, "stride must be at least 0, got -1"),
        ({"padding": True, "pad_to_multiple_of": 0}, "pad_to_multiple_of must be at least 1"),
        ({"padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 8},
         "max_length must be a multiple of pad_to_multiple_of=8, got 9"),
    ],
)  # fmt: skip
def test_bad_arguments(tokenizer: BertTokenizer, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(SENTENCE, **arguments)


def test_arguments_that_there_are_not(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        tokenizer("a", nonsense=3)
    with pytest.raises(TypeError, match="nonsense"):
        tokenizer.encode("a", nonsense=3)
    with pytest.raises(TypeError, match="nonsense"):
        tokenizer.decode([1], nonsense=3)
    with pytest.raises(TypeError, match="'nonsense' must be one of bos_token"):
        BertTokenizer.from_pretrained(tmp_path, nonsense=3)


def test_nothing(tokenizer: BertTokenizer) -> None:
    assert tokenizer([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    assert tokenizer([], padding=True, return_tensors="np")["input_ids"].shape == (0, 0)
    assert tokenizer([], truncation=True, max_length=5, return_overflowing_tokens=True,
                     return_offsets_mapping=True)["overflow_to_sample_mapping"] == []  # fmt: skip
    packed = tokenizer.encode_packed([])
    assert packed.ids.tolist() == []
    assert packed.offsets.tolist() == [0]
    assert tokenizer.encode("") == [2, 3]
    assert tokenizer.tokenize("") == []
    assert tokenizer.decode([]) == ""


def test_pad_by_hand(tokenizer: BertTokenizer) -> None:
    found = tokenizer.pad(
        [{"input_ids": [2, 5, 3], "labels": 1}, {"input_ids": [2, 3], "labels": 0}]
    )
    assert found == {
        "input_ids": [[2, 5, 3], [2, 3, 0]], "labels": [1, 0],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
    }  # fmt: skip
    arrays = tokenizer.pad([{"input_ids": np.array([2, 5, 3])}, {"input_ids": np.array([2, 3])}])
    assert arrays["input_ids"].tolist() == [[2, 5, 3], [2, 3, 0]]
    with pytest.raises(ValueError, match="pad: the input must have 'input_ids', got"):
        tokenizer.pad({"labels": [1]})
    with pytest.raises(ValueError, match="pad: the inputs differ in the number of rows"):
        tokenizer.pad({"input_ids": [[1], [2]], "labels": [1]})
    lonely = BertTokenizer(vocab())
    lonely.pad_token = None
    with pytest.raises(ValueError, match="the tokenizer has no pad_token"):
        lonely(["a"], padding=True)
    with pytest.warns(UserWarning, match="max_length has no effect with padding=True"):
        tokenizer(["a"], padding=True, max_length=8)


def test_a_long_text_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = BertTokenizer(vocab(), model_max_length=8)
    with caplog.at_level(logging.WARNING, "firth"):
        tokenizer("a b c d e f")
        tokenizer(["a b c d e f g h"], truncation=True)
        tokenizer(["a b c d e f g h"], verbose=False)
        assert caplog.messages == []
        tokenizer(["a", "a b c d e f g h"])
        tokenizer("a b c d e f g h")
    assert caplog.messages == [
        "a text has 10 tokens, more than the 8 that the model takes: truncation=True cuts"
    ]


@pytest.mark.parametrize("word", ["a", "é", "中", "[MASK]", " ", "a,", "\u0301", "\x00"])
def test_ten_megabytes_of_one_word(tokenizer: BertTokenizer, word: str) -> None:
    text = word * (10_000_000 // len(word))
    start = time.perf_counter()
    found = tokenizer(text, truncation=True, max_length=16)
    packed = tokenizer.encode_packed([text, "a"], max_length=16)
    assert time.perf_counter() - start < 30  # it takes 0.1 s
    assert len(found["input_ids"]) <= 16
    assert packed.ids[: packed.offsets[1]].tolist() == found["input_ids"]


def test_threads_and_company_do_not_matter(tokenizer: BertTokenizer) -> None:
    texts = [text for text in TEXTS if "\u0378" not in text] * 30
    alone = [tokenizer(text)["input_ids"] for text in texts]
    assert tokenizer(texts)["input_ids"] == alone
    packed = tokenizer.encode_packed(texts)
    assert [part.tolist() for part in np.split(packed.ids, packed.offsets[1:-1])] == alone


def test_texts_of_every_type(tokenizer: BertTokenizer) -> None:
    wanted = tokenizer(["the cat", "a"])["input_ids"]
    for several in (("the cat", "a"), np.array(["the cat", "a"]), iter(["the cat", "a"]),
                    {"the cat": 0, "a": 0}.keys()):  # fmt: skip
        assert tokenizer(several)["input_ids"] == wanted
    assert tokenizer(np.array(["the cat", "a"])[0])["input_ids"] == wanted[0]
    pairs = tokenizer(["the cat", "a"], ["b", "c"])
    assert tokenizer([("the cat", "b"), ["a", "c"]]) == pairs
    words = tokenizer([["the", "cat"], ["a"]], is_split_into_words=True)
    assert words["input_ids"] == wanted
    with pytest.raises(TypeError, match=r"text\[0\] must be a list of words, got str"):
        tokenizer((text for text in ["a b"]), is_split_into_words=True)
    with pytest.raises(TypeError, match="text must be a list of words, or a list of them, got str"):
        tokenizer("a b", is_split_into_words=True)


def test_special_tokens(tokenizer: BertTokenizer) -> None:
    assert (tokenizer.cls_token, tokenizer.cls_token_id) == ("[CLS]", 2)
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == (None, None)
    assert tokenizer.all_special_ids == [1, 3, 0, 2, 4]
    assert tokenizer.num_special_tokens_to_add() == 2
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    assert "WordPiece" in repr(tokenizer)
    more = BertTokenizer({"a": 0, "[UNK]": 1}, mask_token="<m>")
    assert more.get_vocab() == {"a": 0, "[UNK]": 1, "[SEP]": 2, "[PAD]": 3, "[CLS]": 4, "<m>": 5}
    assert (len(more), more.vocab_size, bool(more)) == (6, 2, True)
    assert more("a <m> b")["input_ids"] == [4, 0, 5, 1, 2]
    assert more.convert_ids_to_tokens([4, 0, 2], skip_special_tokens=True) == ["a"]
    assert more.get_special_tokens_mask([4, 0, 2]) == [1, 0, 1]
    with pytest.raises(ValueError, match="must have special tokens already"):
        more.get_special_tokens_mask([0], already_has_special_tokens=False)


def test_decode_by_hand(tokenizer: BertTokenizer) -> None:
    ids = tokenizer(SENTENCE)["input_ids"]
    assert tokenizer.decode(ids) == "[CLS] he went to the bank to deposit money. [SEP]"
    assert tokenizer.decode(ids, skip_special_tokens=True) == SENTENCE.replace("He", "he")
    assert tokenizer.decode([[5, 6], [7]]) == tokenizer.batch_decode([[5, 6], [7]])
    assert (
        tokenizer.convert_tokens_to_string(["un", "##aff", "##able", "cat", "!"])
        == "unaffable cat!"
    )
    for bad in ([1.5], ["a"]):
        with pytest.raises(TypeError):
            tokenizer.decode(bad)
