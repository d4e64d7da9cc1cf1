"""What a tokenizer has beside its vocabulary: special tokens by role, limits, sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firth.errors import FormatError
from firth.formats.files import PathLike

NO_LIMIT = int(1e30)
"""transformers' ``model_max_length`` where a model's longest input is not known."""

ROLES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip

# What a role is called where no file says so: BERT's name, RoBERTa's name.
NAMES = {
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}

# Kinds of tokenizers whose models take token types.
TYPED = frozenset((
    "bert", "convbert", "deberta", "debertav2", "electra", "ernie", "funnel", "layoutlm",
    "megatronbert", "mobilebert", "nezha", "nomicbert", "qdqbert", "squeezebert",
))  # fmt: skip
# transformers' classes that take tokenizer.json as it is.
GENERIC = frozenset(("tokenizersbackend", "pretrained"))

_PLAIN_NAMES = ("input_ids", "attention_mask")
_TYPED_NAMES = ("input_ids", "token_type_ids", "attention_mask")


@dataclass
class Settings:
    """What a tokenizer has beside its vocabulary.

    Attributes
    ----------
    tokens : dict of str to str
        The special tokens by role: "cls_token", ...
    extra : list of str
        Further special tokens.
    model_max_length : int
    padding_side, truncation_side : "right" or "left"
    model_input_names : tuple of str
    clean_up_tokenization_spaces : bool
    tokenizer_class : str
        transformers' name.
    """

    tokens: dict[str, str]
    extra: list[str]
    model_max_length: int = NO_LIMIT
    padding_side: str = "right"
    truncation_side: str = "right"
    model_input_names: tuple[str, ...] = _TYPED_NAMES
    clean_up_tokenization_spaces: bool = False
    tokenizer_class: str = "BertTokenizer"


@dataclass(frozen=True)
class Config:
    """A tokenizer_config.json, with what the caller and other files add to it.

    Attributes
    ----------
    values : dict
    path : path-like or None
        For messages.
    kind : str
        Of the tokenizer, such as "bert" or "roberta"; empty where nothing says it.
    """

    values: Mapping[str, Any]
    path: PathLike | None
    kind: str

    @property
    def extra(self) -> list[Any]:
        """Special tokens without a role."""
        for field in ("extra_special_tokens", "additional_special_tokens"):
            found = self.values.get(field)
            if isinstance(found, dict):
                return list(found.values())
            if isinstance(found, (list, tuple)):
                return list(found)
            if found is not None:
                raise FormatError(f"{field!r} is {found!r}, not a list", self.path)
        return []


def kind_of(config: Mapping[str, Any], model_type: Any) -> str:
    """The kind of a tokenizer by its class in transformers, or by the ``model_type``."""
    name = config.get("tokenizer_class")
    if isinstance(name, str):
        name = name.removesuffix("Fast").removesuffix("Tokenizer")
    else:
        name = model_type
    return name.replace("_", "").replace("-", "").lower() if isinstance(name, str) else ""


def settings_of(
    config: Config, parts: Mapping[str, Any], ids: Mapping[str, int], invented: int | None
) -> Settings:
    """Settings from a tokenizer_config.json.

    Parameters
    ----------
    config : Config
    parts : dict
        The tokenizer.json.
    ids : dict of str to int
        Tokens that there are.
    invented : int or None
        Which of `NAMES` a role gets where none of them is a token; None: the role stays empty.

    Raises
    ------
    FormatError
        A field is not what it must be; the message names it.
    """
    values, path, kind = config.values, config.path, config.kind
    tokens = {
        role: text_of(values[role], role, path) for role in ROLES if values.get(role) is not None
    }
    padding, truncation = parts.get("padding") or {}, parts.get("truncation") or {}
    if isinstance(padding.get("pad_token"), str):
        tokens.setdefault("pad_token", padding["pad_token"])
    if kind not in GENERIC:
        for role, both in NAMES.items():
            known = [name for name in both if name in ids]
            if known or invented is not None:
                tokens.setdefault(role, known[0] if known else both[invented or 0])
    bert = (parts.get("normalizer") or {}).get("type") == "BertNormalizer"
    usual = "BertTokenizer" if bert else "TokenizersBackend"
    typed = kind in TYPED or (not kind and parts["model"].get("type") == "WordPiece")
    names = values.get("model_input_names") or (_TYPED_NAMES if typed else _PLAIN_NAMES)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"'model_input_names' is {names!r}, not a list of names", path)
    return Settings(
        tokens,
        [text_of(one, "extra_special_tokens", path) for one in config.extra],
        _longest(values.get("model_max_length", values.get("max_len")), path),
        _side("padding_side", config, padding),
        _side("truncation_side", config, truncation),
        tuple(names),
        bool(values.get("clean_up_tokenization_spaces")),
        given if isinstance(given := values.get("tokenizer_class"), str) else usual,
    )


def text_of(token: Any, field: str, path: PathLike | None) -> str:
    """The text of a special token, which files give as such or with its properties."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str) or not text:
        raise FormatError(f"{field!r} is {token!r}, not a token", path)
    return text


def _longest(value: Any, path: PathLike | None) -> int:
    if value is None:
        return NO_LIMIT
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
        raise FormatError(f"'model_max_length' is {value!r}, not a number of tokens", path)
    return NO_LIMIT if value >= NO_LIMIT else int(value)


def _side(field: str, config: Config, parts: Mapping[str, Any]) -> str:
    side = config.values.get(field)
    if side is None and isinstance(parts.get("direction"), str):
        side = parts["direction"].lower()
    if side not in ("right", "left", None):
        raise FormatError(f"{field!r} is {side!r}, not 'right' or 'left'", config.path)
    return side or "right"
