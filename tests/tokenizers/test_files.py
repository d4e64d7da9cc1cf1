"""Folders of tokenizers: what is read, what wins, and what is refused by file and field."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tokenizer_folders as folders
from firth import BertTokenizer, FormatError
from tokenizer_folders import SPECIAL, TEXTS, special, vocab, wordpiece_json, write


def read(folder: Path, **changes: Any) -> BertTokenizer:
    return BertTokenizer.from_pretrained(folder, **changes)


def test_vocabulary_file(tmp_path: Path) -> None:
    folder = folders.bert(tmp_path / "folder")
    tokenizer = read(folder)
    assert tokenizer.get_vocab() == vocab()
    assert tokenizer.model_max_length == 64
    for same in (read(folder / "vocab.txt"), BertTokenizer(folder / "vocab.txt")):
        assert same(TEXTS[:11]) == tokenizer(TEXTS[:11])
    windows = (folder / "vocab.txt").read_text(encoding="utf-8").replace("\n", "\r\n")
    (folder / "vocab.txt").write_bytes(windows.encode())
    assert read(folder).get_vocab() == vocab()


def test_no_settings_at_all(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", vocab__txt="\n".join(vocab()))
    tokenizer = read(folder)
    assert tokenizer("The Cat")["token_type_ids"] == [0, 0, 0, 0]
    assert tokenizer.model_max_length == int(1e30)
    assert tokenizer.tokenize("THE cat") == ["the", "cat"]


def test_settings_of_the_file_and_of_the_call(tmp_path: Path) -> None:
    folder = folders.bert(tmp_path / "folder", do_lower_case=False, padding_side="left")
    assert read(folder).tokenize("The cat") == ["The", "cat"]
    assert read(folder).padding_side == "left"
    changed = read(
        folder, do_lower_case=True, padding_side="right", model_max_length=5, cls_token="the",
        use_fast=False, model_input_names=["input_ids"], truncation_side="left",
        clean_up_tokenization_spaces=True,
    )  # fmt: skip
    assert changed.tokenize("The cat") == ["the", "cat"]
    assert changed.padding_side == "right"
    assert changed.encode("cat") == [vocab()["the"], vocab()["cat"], 3]
    assert changed.model_max_length == 5
    assert list(changed("a")) == ["input_ids"]
    assert changed.clean_up_tokenization_spaces
    assert changed.tokenize("a b c", max_length=2, truncation=True) == ["b", "c"]


def test_settings_change_a_whole_tokenizer(tmp_path: Path) -> None:
    """As in transformers, where tokenizer_config.json and tokenizer.json differ."""
    folder = folders.bert_json(tmp_path / "folder", do_lower_case=False, strip_accents=True)
    assert read(folder).tokenize("The É") == ["The", "E"]
    assert read(folder, do_lower_case=True).tokenize("The É") == ["the", "e"]
    generic = folders.bert_json(
        tmp_path / "generic", do_lower_case=False, tokenizer_class="PreTrainedTokenizerFast"
    )
    assert read(generic).tokenize("The") == ["the"]
    assert list(read(generic)("a")) == ["input_ids", "attention_mask"]


def test_what_a_whole_tokenizer_lacks_is_added(tmp_path: Path) -> None:
    content = wordpiece_json(added_tokens=special("[PAD]"), post_processor=None)
    folder = write(
        tmp_path / "folder",
        tokenizer__json=content,
        tokenizer_config__json={"tokenizer_class": "BertTokenizer", "mask_token": "<new>",
                                "additional_special_tokens": ["[X]"]},
    )  # fmt: skip
    tokenizer = read(folder)
    assert tokenizer.encode("a <new> [X]") == [2, 5, len(vocab()), len(vocab()) + 1, 3]
    assert tokenizer.extra_special_tokens == ["[X]"]
    assert tokenizer.all_special_tokens[-1] == "[X]"
    assert tokenizer.decode([5, len(vocab()) + 1], skip_special_tokens=True) == "a"


def test_kind_comes_from_the_model(tmp_path: Path) -> None:
    for kind, names in (("bert", 3), ("distilbert", 2), ("nomic_bert", 3)):
        folder = write(
            tmp_path / kind, tokenizer__json=wordpiece_json(), config__json={"model_type": kind}
        )
        assert len(read(folder)("a")) == names


def test_added_tokens(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    plain = folders.bert(tmp_path / "a")
    write(plain, added_tokens__json={"[A]": 500, "[B]": 501})
    size = len(vocab())
    assert read(plain).convert_tokens_to_ids(["[A]", "[B]"]) == [size, size + 1]
    # They are met in lower case too, since their texts are normalised.
    assert read(plain).encode("a [b]", add_special_tokens=False) == [5, size + 1]
    decoder = {"600": {"content": "[A]", "special": True, "normalized": False}}
    listed = folders.bert(tmp_path / "b", added_tokens_decoder=decoder)
    write(listed, special_tokens_map__json={"cls_token": "ignored"})
    assert read(listed).tokenize("a [a] [A]") == ["a", "[", "a", "]", "[A]"]
    assert read(listed).cls_token == "[CLS]"
    legacy = folders.bert(tmp_path / "c")
    entry = {"content": "the", "lstrip": False, "normalized": False, "rstrip": False,
             "single_word": False}  # fmt: skip
    write(legacy, special_tokens_map__json={"sep_token": entry})
    assert read(legacy).encode("a") == [2, 5, vocab()["the"]]


def test_roberta_from_its_two_files(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    tokenizer = read(folders.roberta(tmp_path / "folder"))
    first, second = (tokenizer.encode(one, add_special_tokens=False) for one in "ab")
    assert tokenizer.encode("a", "b") == [0, *first, 2, 2, *second, 2]
    text = "The cats, 中!"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    spaced = read(folders.roberta(tmp_path / "spaced", add_prefix_space=True))
    assert spaced.tokenize("the") == tokenizer.tokenize(" the")
    assert tokenizer.pad_token_id == 1


def test_saved_and_read(tmp_path: Path) -> None:
    tokenizer = read(folders.bert(tmp_path / "folder", do_lower_case=False), padding_side="left")
    paths = tokenizer.save_pretrained(tmp_path / "saved" / "deep")
    assert [Path(path).name for path in paths] == ["tokenizer_config.json", "tokenizer.json"]
    again = read(tmp_path / "saved" / "deep")
    assert again(TEXTS[:11], padding=True) == tokenizer(TEXTS[:11], padding=True)
    assert again.model_max_length == 64
    assert json.loads(Path(paths[0]).read_text())["tokenizer_class"] == "BertTokenizer"


def test_a_package_that_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "some_words_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    folder = folders.bert(package / "model")
    monkeypatch.syspath_prepend(package.parent)
    assert read("some-words-v2")(TEXTS[0]) == read(folder)(TEXTS[0])


def test_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is asked first; a path is not taken for a name."""
    folder, asked = folders.bert(tmp_path / "folder"), []

    class Hub:
        @staticmethod
        def snapshot_download(name: str, **options: Any) -> str:
            asked.append((name, options["local_files_only"], set(options["allow_patterns"])))
            if name != "bert-base-uncased":
                raise FileNotFoundError("no such model")
            return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert read("bert-base-uncased")(TEXTS[0]) == read(folder)(TEXTS[0])
    assert [one[:2] for one in asked] == [("bert-base-uncased", True)]
    assert {"tokenizer.json", "vocab.txt", "tokenizer_config.json"} < asked[0][2]
    with pytest.raises(FileNotFoundError, match="does not give it: no such model"):
        read("some/model")
    for path in ("/some/model", "./model", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            read(path)
    assert [one[:2] for one in asked[1:]] == [("some/model", True), ("some/model", False)]


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere'"):
        read(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError, match=r"folder: holds no tokenizer: no tokenizer\.json, vocab"):
        read(tmp_path / "folder")
    (tmp_path / "folder" / "sentencepiece.bpe.model").write_bytes(b"\n")
    with pytest.raises(
        FormatError, match=r"folder: tokenizer\.json is missing; sentencepiece\.bpe"
    ):
        read(tmp_path / "folder")
    folder = folders.write(
        tmp_path / "gpt2", vocab__json={"a": 0}, merges__txt="",
        tokenizer_config__json={"tokenizer_class": "GPT2Tokenizer"},
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"gpt2: tokenizer\.json is missing; gpt2 is not read"):
        read(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cls_token", 3, "'cls_token' is 3, not a token"),
        ("cls_token", {"lstrip": True}, "'cls_token' is .*, not a token"),
        ("cls_token", "", "'cls_token' is '', not a token"),
        ("extra_special_tokens", 3, "'extra_special_tokens' is 3, not a list"),
        ("additional_special_tokens", [3], "'extra_special_tokens' is 3, not a token"),
        ("model_max_length", "512", "'model_max_length' is '512', not a number of tokens"),
        ("model_max_length", True, "'model_max_length' is True, not a number"),
        ("model_max_length", 0, "'model_max_length' is 0, not a number"),
        ("model_max_length", float("nan"), "'model_max_length' is nan, not a number"),
        ("padding_side", "up", "'padding_side' is 'up', not 'right' or 'left'"),
        ("truncation_side", 3, "'truncation_side' is 3, not 'right' or 'left'"),
        ("model_input_names", "input_ids", "'model_input_names' is 'input_ids', not a list"),
        ("model_input_names", [1], "'model_input_names' is .*, not a list"),
        ("do_lower_case", "yes", "'do_lower_case' is 'yes', not true or false"),
        ("strip_accents", 1, "'strip_accents' is 1, not true or false"),
        ("added_tokens_decoder", [1], "the ids of added tokens are not numbers"),
        ("added_tokens_decoder", {"a": 1}, "the ids of added tokens are not numbers"),
        ("added_tokens_decoder", {"1": {}}, "'added_tokens_decoder' is {}, not a token"),
    ],
)  # fmt: skip
def test_malformed_settings(field: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = folders.bert(tmp_path / "folder", **{field: value})
    with pytest.raises(FormatError, match=rf"tokenizer_config\.json: {message}") as raised:
        read(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", b"{", "malformed JSON"),
        ("tokenizer_config.json", b"[1]", "holds a JSON list, not an object"),
        ("tokenizer_config.json", b"\xff", "is not UTF-8 text"),
        ("tokenizer_config.json", b"[" * 100_000, "malformed JSON"),
        ("config.json", b"3", "holds a JSON int, not an object"),
        ("special_tokens_map.json", b"nonsense", "malformed JSON"),
        ("added_tokens.json", b'{"a": "b"}', "the ids of added tokens are not numbers"),
        ("vocab.txt", b"\xff", "is not UTF-8 text"),
        ("tokenizer.json", b"{}", "malformed tokenizer"),
        ("tokenizer.json", b"\xff", "is not UTF-8 text"),
    ],
)
def test_malformed_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    folder = folders.bert(tmp_path / "folder")
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError, match=rf"{name}: {message}"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("merges.txt", "a b\na b c\n", "line 2 holds 3 tokens, not 2"),
        ("merges.txt", "ab\n", "line 1 holds 1 tokens, not 2"),
        ("vocab.json", '{"a": "b"}', "an id is not a whole number"),
        ("vocab.json", "[]", "holds a JSON list, not an object"),
    ],
)
def test_malformed_roberta(name: str, content: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    folder = folders.roberta(tmp_path / "folder")
    (folder / name).write_text(content)
    with pytest.raises(FormatError, match=rf"{name}: {message}"):
        read(folder)


def test_merges_that_do_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    folder = folders.roberta(tmp_path / "folder")
    (folder / "merges.txt").write_text("nosuch token\n")
    with pytest.raises(FormatError, match=r"vocab\.json: malformed tokenizer"):
        read(folder)("a")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"])
def test_random_damage_raises_nothing_else(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    folder = folders.bert_json(
        tmp_path / "folder", added_tokens_decoder={"0": {"content": "[PAD]"}}
    )
    if name == "added_tokens.json":
        (folder / "tokenizer.json").unlink()
        folders.bert(folder)
        write(folder, added_tokens__json={"[A]": 1, "[B]": 2})
    whole = (folder / name).read_text(encoding="utf-8")
    rng = np.random.default_rng(0)
    read_well = 0
    for _ in range(150):
        text = list(whole)
        for place in rng.integers(0, len(text), 2):
            text[place] = chr(rng.integers(32, 127))
        (folder / name).write_text("".join(text), encoding="utf-8")
        with contextlib.suppress(FormatError):
            tokenizer = read(folder)
            tokenizer(["the cat", "a [MASK] b"], return_offsets_mapping=True)
            read_well += 1
    assert 0 < read_well < 150


def test_unknown_word_that_is_no_token(tmp_path: Path) -> None:
    """As the library: what has no id cannot be read, and that is said when it is met."""
    pytest.importorskip("tokenizers")
    content = wordpiece_json()
    content["model"]["unk_token"] = "nowhere"
    tokenizer = read(write(tmp_path / "folder", tokenizer__json=content))
    assert tokenizer.tokenize("the") == ["the"]
    with pytest.raises(FormatError, match=r"tokenizer\.json: malformed tokenizer"):
        tokenizer("§")


def test_special_tokens_have_their_names(tmp_path: Path) -> None:
    assert read(folders.bert(tmp_path / "a")).all_special_tokens == [
        SPECIAL[i] for i in (1, 3, 0, 2, 4)
    ]
    pytest.importorskip("tokenizers")
    assert read(folders.unigram(tmp_path / "b")).special_tokens_map == {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
        "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>",
    }  # fmt: skip
