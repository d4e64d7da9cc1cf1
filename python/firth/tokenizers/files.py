"""Folders of tokenizers, as transformers writes them: to a `Tokenizer` and its `Settings`.

================================== ================================================================
file                               what is taken from it
================================== ================================================================
tokenizer.json                     everything but the settings; if there is none:
vocab.txt                          a WordPiece vocabulary, cut as BERT does it
vocab.json, merges.txt             byte-level BPE as RoBERTa has it
tokenizer_config.json              special tokens, the model's longest input, the sides of padding
                                   and truncation, lower case and accents
special_tokens_map.json,           special and added tokens, where tokenizer_config.json has no
added_tokens.json                  ``added_tokens_decoder``
config.json                        ``model_type``, where tokenizer_config.json names no class
================================== ================================================================
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from firth.errors import FormatError
from firth.formats import hub, packages
from firth.formats.files import PathLike
from firth.tokenizers.settings import (
    GENERIC,
    ROLES,
    TYPED,
    Config,
    Settings,
    kind_of,
    settings_of,
    text_of,
)
from firth.tokenizers.tokenizer import Tokenizer

_ROBERTA = ("roberta", "mpnet")
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "config.json",
)  # fmt: skip
"""All names that a folder may have, to be asked for on a hub."""


def read(path: PathLike, changes: Mapping[str, Any]) -> tuple[Tokenizer, Settings]:
    """Read a folder, or one file of it, with ``changes`` to what tokenizer_config.json says.

    Raises
    ------
    FileNotFoundError
        There is no such folder or package, and no model of that name on the Hugging Face hub.
    FormatError
        It holds no tokenizer, or a file of it is malformed.
    """
    given = pathlib.Path(path)
    if not given.exists() and (found := _in_package(os.fspath(path))):
        given = pathlib.Path(found)
    elif not given.exists():
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", os.fspath(path)):  # nor a name of the hub
            raise FileNotFoundError(f"there is no folder {os.fspath(path)!r}")
        given = pathlib.Path(hub.folder(os.fspath(path), FILES))
    folder = given.parent if given.is_file() else given
    path = folder / "tokenizer_config.json"
    values = read_object(path)
    if "added_tokens_decoder" not in values:
        values |= read_object(folder / "special_tokens_map.json")
    values |= changes
    config = Config(
        values, path, kind_of(values, read_object(folder / "config.json").get("model_type"))
    )
    whole = given if given.is_file() else folder / "tokenizer.json"
    words = given if given.name == "vocab.txt" else folder / "vocab.txt"
    if whole.suffix == ".json" and whole.is_file():
        tokenizer = Tokenizer.from_file(whole)
        settings = settings_of(config, tokenizer.settings, tokenizer.ids, None)
        return _completed(tokenizer, settings, config), settings
    if words.is_file():
        return from_vocabulary(read_words(words), words, config, _added(config, folder))
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if not vocab.is_file() or not merges.is_file():
        raise _missing(folder)
    if config.kind not in ("roberta", ""):
        raise FormatError(f"tokenizer.json is missing; {config.kind} is not read without", folder)
    config = Config(values, path, "roberta")
    parts = _bpe(
        read_object(vocab), read_merges(merges), bool(values.get("add_prefix_space", False))
    )
    if not all(type(i) is int for i in parts["model"]["vocab"].values()):
        raise FormatError("an id is not a whole number", vocab)
    settings = settings_of(config, parts, parts["model"]["vocab"], 1)
    return _build(parts, vocab, settings, config, _added(config, folder)), settings


def from_vocabulary(
    vocab: Mapping[str, int], path: PathLike | None, config: Config, added: Sequence[Any] = ()
) -> tuple[Tokenizer, Settings]:
    """BERT's tokenizer around a WordPiece vocabulary.

    Parameters
    ----------
    vocab : dict of str to int
    path : path-like, optional
        Where it comes from, for messages.
    config : Config
    added : sequence of str or dict
        Tokens to be added to the vocabulary.
    """
    parts = _wordpiece(vocab)
    settings = settings_of(config, parts, vocab, 0)
    parts["model"]["unk_token"] = settings.tokens["unk_token"]
    return _build(parts, path, settings, config, added), settings


def _in_package(name: str) -> str | None:
    """The folder of an installed package that has a tokenizer."""
    whole = ("tokenizer.json", "vocab.txt", "vocab.json")
    return next(
        (one for one in packages.folders(name) if not set(whole).isdisjoint(os.listdir(one))), None
    )


def _missing(folder: pathlib.Path) -> FormatError:
    for name in ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model"):
        if (folder / name).is_file():
            return FormatError(
                f"tokenizer.json is missing; {name} alone is not read (transformers' "
                "AutoTokenizer makes one of the other with from_pretrained and save_pretrained)",
                folder,
            )
    return FormatError(
        "holds no tokenizer: no tokenizer.json, vocab.txt, or vocab.json with merges.txt", folder
    )


# The files


def read_text(path: pathlib.Path) -> str:
    """The text of a file, or FormatError."""
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FormatError("is not UTF-8 text", path, error.start) from None


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"malformed JSON: {error}", path) from None
    if not isinstance(found, dict):
        raise FormatError(f"holds a JSON {type(found).__name__}, not an object", path)
    return found


def read_words(path: pathlib.Path) -> dict[str, int]:
    """The tokens of a vocab.txt, a line each."""
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return {line.rstrip(): i for i, line in enumerate(lines)}


def _wordpiece(vocab: Mapping[str, int]) -> dict[str, Any]:
    """A tokenizer.json around a WordPiece vocabulary, which `_build` completes."""
    return {
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": dict(vocab),
        },
    }  # fmt: skip


def read_merges(path: pathlib.Path) -> list[list[str]]:
    """The pairs of tokens of a merges.txt, a line each."""
    merges = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2:
            raise FormatError(f"line {number} holds {len(pair)} tokens, not 2", path)
        merges.append(pair)
    return merges


def _bpe(vocab: Mapping[str, int], merges: list[list[str]], space: bool) -> dict[str, Any]:
    """A tokenizer.json around RoBERTa's vocabulary and merges, which `_build` completes."""
    level = {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True}
    return {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {**level, "use_regex": True},
        "post_processor": None,
        "decoder": {**level, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": dict(vocab), "merges": merges,
        },
    }  # fmt: skip


def _added(config: Config, folder: pathlib.Path) -> list[Any]:
    """Tokens that files add to a vocabulary, in the order of their ids."""
    path = folder / "added_tokens.json"
    entries, where = config.values.get("added_tokens_decoder"), config.path
    try:
        if entries is None:
            found, where = read_object(path), path
            return sorted(found, key=lambda token: int(found[token]))
        return [entry for _, entry in sorted(entries.items(), key=lambda item: int(item[0]))]
    except (TypeError, ValueError, AttributeError):
        raise FormatError("the ids of added tokens are not numbers", where) from None


# Completing what the files leave open


def _completed(tokenizer: Tokenizer, settings: Settings, config: Config) -> Tokenizer:
    """A tokenizer.json with what the settings add or change; mostly they say the same."""
    parts = tokenizer.settings
    known = {token["content"] for token in parts.get("added_tokens") or ()}
    normalizer = parts.get("normalizer")
    if (
        known >= {*settings.tokens.values(), *settings.extra}
        and (parts.get("post_processor") is not None or config.kind not in TYPED)
        and _normalized(normalizer, config) == normalizer
    ):
        return tokenizer
    return _build(json.loads(tokenizer.json), tokenizer.path, settings, config, ())


def _build(
    parts: dict[str, Any],
    source: PathLike | None,
    settings: Settings,
    config: Config,
    added: Sequence[Any],
) -> Tokenizer:
    """A tokenizer of the content of a tokenizer.json, and what settings add to it.

    ``source`` is named in messages; ``added`` tokens come before the special ones.
    """
    parts["normalizer"] = _normalized(parts.get("normalizer"), config)
    vocab, entries = parts["model"]["vocab"], list(parts.get("added_tokens") or ())
    ids = {entry["content"]: entry["id"] for entry in entries}
    ids |= vocab if isinstance(vocab, dict) else {token: i for i, (token, _) in enumerate(vocab)}
    known = {entry["content"] for entry in entries}
    special = {*settings.tokens.values(), *settings.extra}
    roles = [config.values.get(role) or settings.tokens.get(role) for role in ROLES]
    for token in (*added, *filter(None, roles), *config.extra):
        if (text := text_of(token, "added_tokens_decoder", config.path)) in known:
            continue
        known.add(text)
        ids.setdefault(text, max(ids.values(), default=-1) + 1)
        entries.append({"id": ids[text], "content": text, **_flags(token, text in special)})
    parts["added_tokens"] = entries
    cls, sep = (settings.tokens.get(role) for role in ("cls_token", "sep_token"))
    framed = config.kind in TYPED or config.kind in ("", "distilbert", *_ROBERTA)
    if parts.get("post_processor") is None and framed and cls in ids and sep in ids:
        frame = {"sep": [sep, ids[sep]], "cls": [cls, ids[cls]]}
        space = bool(config.values.get("add_prefix_space", False))
        parts["post_processor"] = (
            {"type": "RobertaProcessing", **frame, "trim_offsets": True, "add_prefix_space": space}
            if config.kind in _ROBERTA
            else {"type": "BertProcessing", **frame}
        )
    return Tokenizer(json.dumps(parts), source)


def _flags(token: Any, special: bool) -> dict[str, bool]:
    """How an added token is met in texts."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    flags |= {"normalized": not special, "special": special}
    if isinstance(token, dict):
        flags |= {flag: bool(token[flag]) for flag in flags if flag in token}
    return flags | {"special": special or flags["special"]}


def _normalized(normalizer: Any, config: Config) -> Any:
    """A normalizer with the letter case, accents and Chinese characters of the settings."""
    bert = isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"
    if not bert or config.kind in GENERIC:
        return normalizer
    changed = dict(normalizer)
    for field, name in _NORMALIZER.items():
        value = config.values.get(field)
        if not isinstance(value, (bool, type(None))):
            raise FormatError(f"{field!r} is {value!r}, not true or false", config.path)
        if value is not None or (name == "strip_accents" and field in config.values):
            changed[name] = value
    return changed
