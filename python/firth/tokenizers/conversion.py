"""`Conversion`: tokens to ids and back to text, with transformers' names."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from firth.tokenizers.settings import ROLES, Settings
from firth.tokenizers.tokenizer import Tokenizer

# What BERT's decoder joins again within a token, and transformers within a text.
_JOINED = [
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
]  # fmt: skip


class _Id:
    """The id of the special token of a role: ``cls_token_id`` belongs to ``cls_token``."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._role = name.removesuffix("_id")

    def __get__(self, instance: Any, owner: type) -> int | None:
        token = getattr(instance, self._role)
        return None if token is None else instance.convert_tokens_to_ids(token)


class Conversion:
    """The vocabulary of a tokenizer.

    Attributes
    ----------
    cls_token, sep_token, pad_token, unk_token, mask_token, bos_token, eos_token : str or None
        The special tokens. Each has an id: ``cls_token_id``, ...
    extra_special_tokens : list of str
        Special tokens without such a role.
    model_max_length : int
        Tokens that the model takes; 10**30 if that is not known.
    padding_side, truncation_side : "right" or "left"
    model_input_names : list of str
        What a call returns unless told otherwise.
    clean_up_tokenization_spaces : bool
        Whether `decode` removes spaces before punctuation.
    """

    bos_token_id, eos_token_id, unk_token_id, sep_token_id = _Id(), _Id(), _Id(), _Id()
    pad_token_id, cls_token_id, mask_token_id = _Id(), _Id(), _Id()
    pad_token_type_id = 0

    def _start(self, tokenizer: Tokenizer, settings: Settings) -> None:
        self._tokenizer = tokenizer
        self.bos_token, self.eos_token, self.unk_token, self.sep_token = map(
            settings.tokens.get, ROLES[:4]
        )
        self.pad_token, self.cls_token, self.mask_token = map(settings.tokens.get, ROLES[4:])
        self.extra_special_tokens = settings.extra
        self.model_max_length = settings.model_max_length
        self.padding_side = settings.padding_side
        self.truncation_side = settings.truncation_side
        self.model_input_names = list(settings.model_input_names)
        self.clean_up_tokenization_spaces = settings.clean_up_tokenization_spaces
        self._class = settings.tokenizer_class
        added = tokenizer.settings.get("added_tokens") or ()
        self._special = {token["content"] for token in added if token.get("special")}
        self._names = {i: token for token, i in tokenizer.ids.items()}

    def __len__(self) -> int:
        return len(self._tokenizer.ids)

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """The number of tokens without the added ones; ``len`` counts them all."""
        return len(self._tokenizer.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        """All tokens and their ids, a dict; the added ones, too."""
        return dict(self._tokenizer.ids)

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens by role."""
        return {role: token for role in ROLES if (token := getattr(self, role)) is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, each once."""
        return list(dict.fromkeys((*self.special_tokens_map.values(), *self.extra_special_tokens)))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the special tokens."""
        ids: list[int] = self.convert_tokens_to_ids(self.all_special_tokens)
        return ids

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or of each token; what is no token has that of ``unk_token``."""
        ids = self._tokenizer.ids
        unknown = None if self.unk_token is None else ids.get(self.unk_token)
        if isinstance(tokens, str):
            return ids.get(tokens, unknown)
        return [ids.get(token, unknown) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or of each of several; None for an id that there is not."""
        if isinstance(ids, int):
            return self._names.get(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._names.get(i) for i in map(operator.index, ids) if i not in skipped]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Join tokens to a text."""
        decoder = self._tokenizer.settings.get("decoder")
        if decoder is None:
            return " ".join(tokens)
        if decoder.get("type") != "WordPiece":
            with self._tokenizer.damage_named():
                return str(self._tokenizer.library.decoder.decode(list(tokens)))
        prefix, cleanup, parts = decoder.get("prefix", "##"), decoder.get("cleanup", True), []
        for number, token in enumerate(tokens):
            part = token
            if number:
                inner = token.startswith(prefix)
                part = token.removeprefix(prefix) if inner else f" {token}"
            parts.append(_joined(part) if cleanup else part)
        return "".join(parts)

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """The text of ids, or the texts of several lists (or rows) of ids.

        Parameters
        ----------
        token_ids : int, list of int, list of such lists, array or tensor
        skip_special_tokens : bool
            Leave out tokens such as ``[CLS]``.
        clean_up_tokenization_spaces : bool, optional
            Remove spaces before punctuation (not for BPE, whose spaces are those of the text). By
            default as the tokenizer's settings say.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, int):
            ids = [ids]
        ids = [one.tolist() if hasattr(one, "tolist") else one for one in ids]
        if ids and isinstance(ids[0], (list, tuple)):
            return [
                self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids
            ]
        tokens = (self._names.get(operator.index(i)) for i in ids)
        text = self.convert_tokens_to_string(
            token
            for token in tokens
            if token is not None and not (skip_special_tokens and token in self._special)
        )
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        if not clean_up_tokenization_spaces or self._tokenizer.settings["model"]["type"] == "BPE":
            return text
        return _joined(text, within_texts=True)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The text of each list (or row) of ids."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else list(texts)

    def get_special_tokens_mask(
        self, token_ids: Iterable[int], already_has_special_tokens: bool = True
    ) -> list[int]:
        """1 for each id of a special token, 0 for others."""
        if not already_has_special_tokens:
            raise ValueError("get_special_tokens_mask: the ids must have special tokens already")
        special = set(self.all_special_ids)
        return [int(i in special) for i in map(operator.index, token_ids)]


def _joined(text: str, within_texts: bool = False) -> str:
    for apart, together in _JOINED:
        if not (within_texts and apart == " do not"):
            text = text.replace(apart, together)
    return text
