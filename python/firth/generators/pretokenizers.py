"""How byte-level BPE cuts a text into words before it merges, by the name in a GGUF file.

A family is a list of patterns in the syntax of the `tokenizers` package. The first cuts the text,
each other one cuts what those before it have left; what a pattern does not match stays a word.
Sources: ``tokenizer.json`` of the models, and llama.cpp's ``llama-vocab.cpp``, which knows the
names. Where these two differ, the pattern is the model's own.
"""

from __future__ import annotations

from typing import NamedTuple

_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_ANY_CASE = rf"(?i:{_ENDINGS})"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

GPT2 = rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"


def _newer(
    digits: str,
    letters: str = r"\p{L}",
    first: str = r"\p{L}\p{N}",
    others: str = r"\p{L}\p{N}",
    endings: str = f"{_ANY_CASE}|",
    after: str = r"[\r\n]*",
) -> str:
    """The kind that came with GPT-4: words with the sign before them, digits in short groups."""
    return rf"{endings}[^\r\n{first}]?[{letters}]+|{digits}| ?[^\s{others}]+{after}|{_SPACES}"


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(digits: str, endings: str) -> str:
    """Words are cut before a capital letter that follows a small one, too."""
    start = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{start}{_UPPER}*{_LOWER}+{endings}|{start}{_UPPER}+{_LOWER}*{endings}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


_THREE = r"\p{N}{1,3}"
_GPT4O = _cased(_THREE, f"{_ANY_CASE}?")
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_SIGNS = r"\s?" + "[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
_DEEPSEEK3 = [
    _THREE,
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
]

_FAMILIES: dict[str, list[str]] = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "starcoder": [_DIGIT, GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama3": [_newer(_THREE)],
    "qwen2": [_newer(_DIGIT)],
    "qwen35": [_newer(_DIGIT, r"\p{L}\p{M}", others=r"\p{L}\p{M}\p{N}")],
    "seed-coder": [_newer(_DIGIT, others=r"\p{L}\p{N}\r\n", after="")],
    "ufakzeka": [_newer(_DIGIT, endings="")],
    "minicpm5": [_THREE, _newer(r"\p{N}+")],
    "tekken": [_cased(_DIGIT, "")],
    "gpt-4o": [_GPT4O],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O],
    "deepseek-v3": _DEEPSEEK3,
    "deepseek-llm": ["[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", _SIGNS, r"\s+$", _CJK, _DIGIT],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _DIGIT],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
    "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", _DIGIT],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
}  # fmt: skip

_NAMES = {
    "default": "default",
    "gpt-2": "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code gigachat "
    "a.x-4.0 mellum modern-bert roberta-bpe mpt olmo jais trillion granite-docling exaone4",
    "starcoder": "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
    "falcon": "falcon",
    "llama3": "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx "
    "smaug-bpe glm4 chatglm-bpe "
    "glm5",
    "qwen2": "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 "
    "bailingmoe bailingmoe2 llada-moe",
    "qwen35": "qwen35",
    "seed-coder": "seed-coder",
    "ufakzeka": "ufakzeka",
    "minicpm5": "minicpm5",
    "tekken": "tekken",
    "gpt-4o": "gpt-4o llama4 kanana2 talkie minimax-m2",
    "tiny_aya": "tiny_aya cohere2moe",
    "deepseek-v3": "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
    "deepseek-llm": "deepseek-llm",
    "deepseek-coder": "deepseek-coder",
    "bloom": "bloom gpt3-finnish poro-chat",
    "viking": "viking",
    "superbpe": "superbpe",
}
_FAMILY = {name: family for family, names in _NAMES.items() for name in names.split()}

_WITH_BOS = frozenset((
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano", "tekken",
))  # fmt: skip
_WHOLE_WORDS = _WITH_BOS | {"minicpm5"}


class PreTokenizer(NamedTuple):
    """How a name cuts texts.

    Attributes
    ----------
    patterns : list of str
    ignore_merges : bool
        A word that is a token is that token, whatever the merges make of it.
    add_bos : bool
        Whether a text begins with the token for that where the file does not say.
    """

    patterns: list[str]
    ignore_merges: bool
    add_bos: bool


def named(name: str) -> PreTokenizer | None:
    """What ``tokenizer.ggml.pre`` means; None for a name that is not known."""
    family = _FAMILY.get(name)
    if family is None:
        return None
    return PreTokenizer(_FAMILIES[family], name in _WHOLE_WORDS, name in _WITH_BOS)


def names() -> list[str]:
    """All names that are known, the usual one of a family first."""
    return list(_FAMILY)
