"""Marian's tokenizer: SentencePiece cuts a text, and ``vocab.json`` has the ids of its pieces.

Two models cut, one for each language (``source.spm``, ``target.spm``); they share the ids unless
there is a ``target_vocab.json``. To read one language and to write the other takes the first model
and the last vocabulary.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.generators import gguf_tokenizer, sentencepiece_model
from firth.generators.gguf_tokenizer import damage_named
from firth.tokenizers.files import read_object

_SPACE = "\u2581"
_LANGUAGE = re.compile(r">>.*?<<", re.DOTALL)  # which one to write, at the beginning of a text
_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL = (2, 3)  # the unknown piece and those that texts never have


class MarianTokenizer:
    """Text of one language to ids, ids to text of another.

    Parameters
    ----------
    path : path-like
        A folder with source.spm and vocab.json.

    Attributes
    ----------
    eos_token_id, unk_token_id : int
    pad_token_id : int or None
    eos_token_ids, control_ids : list of int
        As of `firth.generators.tokenizer.GeneratorTokenizer`.

    Raises
    ------
    FormatError
        A file is malformed.
    FileNotFoundError
        One is missing.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = pathlib.Path(path)
        config = read_object(self.path / "tokenizer_config.json")
        self._ids = self._vocabulary("vocab.json")
        written = "target_vocab.json" if config.get("separate_vocabs") else "vocab.json"
        self._tokens = {i: token for token, i in self._vocabulary(written).items()}
        self.eos_token_id = self._id("</s>")
        self.unk_token_id = self._id("<unk>")
        self.pad_token_id = self._ids.get("<pad>")
        self.eos_token_ids = [self.eos_token_id]
        roles = (self.eos_token_id, self.unk_token_id, self.pad_token_id)
        self.control_ids = sorted(i for i in roles if i is not None)
        self._library = self._cutter(self.path / "source.spm")

    def _vocabulary(self, name: str) -> dict[str, int]:
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(f"from_pretrained: {os.fspath(self.path)} has no {name}")
        found = read_object(path)
        if not all(type(i) is int and 0 <= i < 2**31 for i in found.values()):
            raise FormatError("an id is not a whole number", path)
        return found

    def _id(self, token: str) -> int:
        if token not in self._ids:
            raise FormatError(f"{token} is no token", self.path / "vocab.json")
        return self._ids[token]

    @staticmethod
    def _cutter(path: pathlib.Path) -> Any:
        metadata = sentencepiece_model.read(path)
        # names of control tokens that somebody writes are text
        metadata[_TOKENS] = [
            f"\U0010ffff{token}" if type in _CONTROL else token
            for token, type in zip(metadata[_TOKENS], metadata[_TYPES], strict=True)
        ]
        return gguf_tokenizer.read(metadata, path).library

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text; ``>>de<<`` at its beginning is one of them where it is a token.

        Parameters
        ----------
        text : str
        add_special_tokens : bool
            Whether the end stands behind it.
        """
        language = _LANGUAGE.match(text)
        pieces = [language.group()] if language else []
        with damage_named(self.path):
            rest = text[language.end() :] if language else text
            pieces += self._library.encode(rest, add_special_tokens=False).tokens
        ids = [self._ids.get(piece, self.unk_token_id) for piece in pieces]
        return [*ids, self.eos_token_id] if add_special_tokens else ids

    def token_bytes(self, token_id: int) -> bytes:
        """What an id adds to a text, in bytes of UTF-8; empty for an id that there is not."""
        return self._tokens.get(token_id, "").replace(_SPACE, " ").encode()

    def first_piece(self, piece: bytes) -> bytes:
        """The bytes of an id that begins a text: without the space that only says so."""
        return piece.lstrip(b" ")

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of ids.

        Parameters
        ----------
        token_ids : sequence of int, or array
        skip_special_tokens : bool
            Leave out control tokens.
        """
        skipped = self.control_ids if skip_special_tokens else ()
        kept = [self.token_bytes(int(i)) for i in token_ids if int(i) not in skipped]
        return self.first_piece(b"".join(kept)).decode("utf-8", "replace")
