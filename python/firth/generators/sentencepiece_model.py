"""SentencePiece's ``tokenizer.model`` and ``spiece.model``, as the metadata of a GGUF file.

The file is a message of Protocol Buffers; the numbers of its fields are those of
``sentencepiece_model.proto``.
"""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from firth.errors import FormatError, TruncatedError

_BPE, _UNIGRAM = 2, 1
_USER_DEFINED = 4


def read(path: pathlib.Path) -> dict[str, Any]:
    """``tokenizer.ggml.*`` of a SentencePiece model.

    Raises
    ------
    FormatError
        It is malformed, or neither BPE nor Unigram.
    """
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(path.read_bytes(), path):
        if number == 1:
            piece = _message(value, path)
            token, type = piece.get(1, b""), piece.get(3, 1)
            if not isinstance(token, bytes) or not isinstance(type, int):
                raise FormatError(f"piece {len(tokens)} is malformed", path)
            try:
                text = token.decode()
            except UnicodeDecodeError:
                raise FormatError(f"piece {len(tokens)} is not UTF-8", path) from None
            # these are found in texts as they are written
            tokens.append(text.replace("\u2581", " ") if type == _USER_DEFINED else text)
            scores.append(_float(piece.get(2, 0), path))
            types.append(type)
        elif number == 2:
            trainer = _message(value, path)
        elif number == 3:
            normalizer = _message(value, path)
    kind = _number(trainer, 3, _UNIGRAM, path)
    if kind not in (_BPE, _UNIGRAM):
        raise FormatError(
            f"SentencePiece's model type {kind} is not read, only BPE and Unigram", path
        )
    found: dict[str, Any] = {
        "model": "llama" if kind == _BPE else "t5",
        "tokens": tokens,
        "scores": np.array(scores, np.float32),
        "token_type": np.array(types, np.int32),
        "add_space_prefix": bool(_number(normalizer, 3, 1, path)),
        "remove_extra_whitespaces": bool(_number(normalizer, 4, 1, path)),
    }
    charsmap = normalizer.get(2, b"")
    if not isinstance(charsmap, bytes):
        raise FormatError("a number stands where a normalizer is expected", path)
    found["precompiled_charsmap"] = np.frombuffer(charsmap, np.uint8)
    usual = {"unknown": (40, 0), "bos": (41, 1), "eos": (42, 2), "padding": (43, -1)}
    for role, (number, i) in usual.items():
        i = _number(trainer, number, i, path)
        if 0 <= i < 1 << 31:  # -1 is written as 2**64 - 1
            found[f"{role}_token_id"] = i
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


def _message(value: Any, path: pathlib.Path) -> dict[int, Any]:
    if not isinstance(value, bytes):
        raise FormatError("a number stands where a message is expected", path)
    return dict(_fields(value, path))


def _number(message: dict[int, Any], field: int, usual: int, path: pathlib.Path) -> int:
    value = message.get(field, usual)
    if not isinstance(value, int):
        raise FormatError(f"a text stands where the number of field {field} is expected", path)
    return value


def _float(value: Any, path: pathlib.Path) -> float:
    if isinstance(value, bytes):
        raise FormatError("a text stands where a score is expected", path)
    number: float = struct.unpack("<f", struct.pack("<I", value & 0xFFFFFFFF))[0]
    return number


def _fields(data: bytes, path: pathlib.Path) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a message; bytes where they have a length."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise TruncatedError("ends within a number", path, at)
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 0x80:
                return value

    while at < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            yield number, varint()
            continue
        sizes = {1: 8, 5: 4}
        if kind not in (1, 2, 5):
            raise FormatError(f"field {number} has kind {kind}", path, at)
        size = varint() if kind == 2 else sizes[kind]
        if size > len(data) - at:
            raise TruncatedError(f"field {number} has {size:,} bytes", path, at)
        value = data[at : at + size]
        at += size
        yield number, value if kind == 2 else int.from_bytes(value, "little")
