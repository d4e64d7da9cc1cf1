"""The tokenizer of a model's folder as the metadata of a GGUF file.

What was written is read again and must cut texts as the folder's does; that it normalizes them to
NFC, as Qwen's does, has no place in the file, for llama.cpp neither.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.generators import folder_tokenizer, pretokenizers
from firth.generators.gguf_tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Described,
)
from firth.generators.pieces import byte_token
from firth.generators.tokenizer import ENDS, GeneratorTokenizer
from firth.optional import needs

# Cuts that families of tokenizers make in different ways.
PROBE = (
    "Hello, world! I'll DON'T o'tis 1  12 123 1234567 ½²Ⅷ ٣٤٥ 3.14 "
    " two   three\n\n\n \t x\r\n\r\n y \n"
    "CamelCase HTTPServer's isn'T it's' 中文字。 日本語のテキスト カタカナ 한국어 "
    "हिन्दी में ภาษาไทย мир e\u0301x\u0323 😀👍🏽 "
    "(a) [b] {c} <d> !== --- ... ~~ #1 $5 50% a_b a-b `q` \"z\" |p| ^k +1 =2 "
    "http://a.b/c?d=e&f#g def f(x):\n    return x**2/3  # ok//\n/* \u200b\u2028 …!? \u00a0end 。\n "
)  # fmt: skip


def metadata(folder: PathLike, rows: int) -> dict[str, Any]:
    """``tokenizer.*`` and the name of a GGUF file.

    Parameters
    ----------
    folder : path-like
    rows : int
        How many tokens have embeddings. Tokens above have no place, missing ones are unused.

    Raises
    ------
    FormatError
        The folder holds no tokenizer, or one that GGUF files do not have.
    """
    where = pathlib.Path(folder)
    described = folder_tokenizer.read(where)
    ours = GeneratorTokenizer(described, where)
    state = json.loads(described.library.to_str())
    model = state["model"]
    if model["type"] != "BPE" or model.get("end_of_word_suffix"):
        raise FormatError(f"its tokenizer is {model['type']}, which firth writes no GGUF of", where)
    tokens = [f"[UNUSED_{i}]" for i in range(rows)]
    types = np.full(rows, UNUSED, np.int32)

    def put(i: int, token: str, type: int) -> None:
        if i < rows:
            tokens[i], types[i] = token, type

    for token, i in model["vocab"].items():
        put(i, token, BYTE if model["byte_fallback"] and byte_token(token) is not None else NORMAL)
    for token in state["added_tokens"]:
        put(token["id"], token["content"], CONTROL if token["special"] else USER_DEFINED)
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    found: dict[str, Any] = {"tokens": tokens, "token_type": types, "merges": merges}
    if "ByteLevel" in json.dumps(state["decoder"]):
        found |= {"model": "gpt2", "pre": _pre(described.library, model, where)}
    else:
        unknown = model["vocab"].get(model["unk_token"])
        if unknown is not None:
            put(unknown, model["unk_token"], UNKNOWN)
            found["unknown_token_id"] = unknown
        prefix = described.library.encode("a", add_special_tokens=False).tokens[0] != "a"
        found |= {"model": "llama", "add_space_prefix": prefix}
        found["scores"] = _scores(tokens, merges)
    found |= _roles(ours, described, where)
    title = where.resolve().name
    rstrip = any(token["rstrip"] for token in state["added_tokens"] if token["special"])
    if rstrip and found["model"] == "llama" and "phi-3" not in title.lower():
        title = f"Phi-3 {title}"  # by which llama.cpp knows that control tokens take line ends
    templates = {
        "" if name == "default" else f".{name}": text for name, text in described.templates.items()
    }
    written = {"general.name": title}
    written |= {f"tokenizer.ggml.{key}": value for key, value in found.items()}
    written |= {f"tokenizer.chat_template{name}": text for name, text in templates.items()}
    again = GeneratorTokenizer.from_gguf(written, where)
    for text in (PROBE, "a", "Once upon a time,"):
        if again.encode(text) != ours.encode(text):
            raise FormatError(
                "its tokenizer cuts texts in a way that GGUF files do not have", where
            )
    return written


def _pre(library: Any, model: dict[str, Any], where: pathlib.Path) -> str:
    """The name of how byte-level BPE cuts texts."""
    package = needs("tokenizers", "the tokenizer of a GGUF file")
    parts = package.pre_tokenizers
    cuts: dict[tuple[str, ...], bool] = {}
    wanted, whole = _cut(library.pre_tokenizer), bool(model.get("ignore_merges"))
    alike = []
    for name in pretokenizers.names():
        known = pretokenizers.named(name)
        assert known is not None
        key = tuple(known.patterns)
        if key not in cuts:
            splits = [parts.Split(package.Regex(one), "isolated") for one in known.patterns]
            level = parts.ByteLevel(add_prefix_space=False, use_regex=False)
            cuts[key] = _cut(parts.Sequence([*splits, level])) == wanted
        if cuts[key]:
            alike.append((known.ignore_merges != whole, name))
    if not alike:
        raise FormatError(
            "its tokenizer cuts texts into words in a way that no name in GGUF files stands for",
            where,
        )
    return min(alike, key=lambda one: one[0])[1]


def _cut(pre_tokenizer: Any) -> list[Any]:
    return [] if pre_tokenizer is None else list(pre_tokenizer.pre_tokenize_str(PROBE))


def _scores(tokens: list[str], merges: list[str]) -> np.ndarray:
    """What SentencePiece's BPE goes by: the place of the first merge that makes a token."""
    places: dict[str, int] = {}
    for i, merge in enumerate(merges):
        places.setdefault(merge.replace(" ", ""), i)
    return np.array([-places.get(token, len(merges)) for token in tokens], np.float32)


def _roles(ours: GeneratorTokenizer, described: Described, where: pathlib.Path) -> dict[str, Any]:
    """Ids by role, and whether a text begins and ends with them."""
    bos = ours.bos_token_id
    if bos is None and len(described.before) == 1:
        bos = described.before[0]
    eos = ours.eos_token_id
    for ids, role in ((described.before, bos), (described.after, eos)):
        if ids not in ([], [role]):
            names = ours.convert_ids_to_tokens(ids)
            raise FormatError(
                f"its tokenizer puts {names} around texts: GGUF files have one token", where
            )
    known = ours.convert_tokens_to_ids(ENDS)
    others = [i for i in ours.eos_token_ids[1:] if i not in known]
    roles = {
        "bos": bos, "eos": eos, "unknown": ours.unk_token_id, "padding": ours.pad_token_id,
        **dict(zip(("eot", "eom"), others, strict=False)),
    }  # fmt: skip
    found: dict[str, Any] = {f"{role}_token_id": i for role, i in roles.items() if i is not None}
    return found | {
        "add_bos_token": bool(described.before),
        "add_eos_token": bool(described.after),
    }
