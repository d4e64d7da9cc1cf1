"""What tokens add to a text: bytes, so that a character may be made of several tokens.

The ``decoder`` of a tokenizer says how; those of all common models are read. Bytes that are not
UTF-8 become U+FFFD, as Python's and Rust's decoders put it.
"""

from __future__ import annotations

import re
from typing import Any

from firth.errors import FormatError
from firth.formats.files import PathLike

# Byte-level BPE writes each byte as a character: visible ones of Latin-1 as themselves, the others
# as the characters from U+0100 on.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
BYTES = {chr(byte): byte for byte in _VISIBLE} | {
    chr(0x100 + i): byte for i, byte in enumerate(_HIDDEN)
}
"""The byte of each character of byte-level BPE."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_CLEANED = [
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
]  # fmt: skip


def byte_token(token: str) -> int | None:
    """The byte that ``<0x0A>`` stands for; None for other tokens."""
    found = _BYTE_TOKEN.fullmatch(token)
    return int(found[1], 16) if found else None


class Pieces:
    """Bytes of tokens.

    Parameters
    ----------
    decoder : dict or None
        The ``decoder`` of a ``tokenizer.json``.
    path : path-like, optional
        For messages.

    Raises
    ------
    FormatError
        The decoder is not known.
    """

    def __init__(self, decoder: Any, path: PathLike | None = None) -> None:
        self._bytes = self._fallback = self._cleaned = False
        self._replaced: list[tuple[str, str]] = []
        self._inner: str | None = None  # what tokens within a word begin with
        self._strip, self._strip_first = 0, ""
        try:
            if decoder is None:
                self._inner, self._strip = "", 1
            else:
                self._read(decoder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"malformed tokenizer: decoder: {error}", path) from None

    def _read(self, decoder: dict[str, Any]) -> None:
        kind = decoder["type"]
        if kind == "Sequence":
            for one in decoder["decoders"]:
                self._read(one)
        elif kind == "ByteLevel":
            self._bytes = True
        elif kind == "ByteFallback":
            self._fallback = True
        elif kind == "Replace" and "String" in decoder["pattern"]:
            self._replaced.append((decoder["pattern"]["String"], decoder["content"]))
        elif kind == "Metaspace":
            replacement = decoder["replacement"]
            self._replaced.append((replacement, " "))
            if decoder.get("prepend_scheme", "always") != "never":
                self._strip_first = " "
        elif kind == "Strip" and decoder["content"] == " " and not decoder["stop"]:
            self._strip = decoder["start"]
        elif kind == "WordPiece":
            self._inner, self._strip = decoder["prefix"], 1
            self._cleaned = decoder["cleanup"]
        elif kind != "Fuse":
            raise ValueError(f"type {kind!r} is not known")

    def of(self, token: str) -> bytes:
        """The bytes of a token."""
        if self._bytes:
            try:
                return bytes([BYTES[character] for character in token])
            except KeyError:  # an added token
                return token.encode()
        if self._fallback and (byte := byte_token(token)) is not None:
            return bytes([byte])
        for old, new in self._replaced:
            token = token.replace(old, new)
        if self._inner is not None:
            inner = self._inner and token.startswith(self._inner)
            token = token.removeprefix(self._inner) if inner else f" {token}"
        if self._cleaned:
            for old, new in _CLEANED:
                token = token.replace(old, new)
        return token.encode()

    def first(self, piece: bytes) -> bytes:
        """The bytes of the token that begins a text: without the space that stands for that."""
        if self._strip_first:
            return piece.lstrip(b" ")
        for _ in range(self._strip):
            piece = piece.removeprefix(b" ")
        return piece
