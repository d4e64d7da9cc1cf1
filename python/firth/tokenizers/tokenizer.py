"""``tokenizer.json``: text to token ids, exactly as the `tokenizers` package does it.

What most BERT-like models have (BertNormalizer, BertPreTokenizer, WordPiece) runs in native code
for almost any text. Every other tokenizer, and the rare text that native code does not promise to
cut in the same way, goes to the `tokenizers` package, which is needed for these only.

B = texts, N = ids of all of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.optional import needs

Encoded = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Ids of all texts (N,), and where each text starts, with N at the end (B + 1,)."""


class Tokenizer:
    """A tokenizer read from JSON.

    Parameters
    ----------
    text : str
        The content of a ``tokenizer.json``.
    path : path-like, optional
        For messages of errors.

    Attributes
    ----------
    json : str
        The text as it was given.
    tokens : tuple of str
        The vocabulary with the added tokens, by id.
    unk_id : int or None
        The id for unknown words.

    Raises
    ------
    FormatError
        The text is no JSON, or lacks what every tokenizer has.
    """

    def __init__(self, text: str, path: PathLike | None = None) -> None:
        self.json, self._path = text, path
        try:
            settings = json.loads(text)
            model = settings["model"]
            vocab = model["vocab"]
            if isinstance(vocab, list):  # Unigram: pairs of token and score
                vocab = {token: i for i, (token, _) in enumerate(vocab)}
            ids = dict(vocab)
            for added in settings.get("added_tokens") or ():
                ids[added["content"]] = added["id"]
            for token, i in ids.items():
                if type(i) is not int or not 0 <= i < 2**31:
                    raise ValueError(f"token {token!r} has id {i!r}")
                token.encode()
            unk_id = model.get("unk_id")
            self.unk_id: int | None = ids.get(model.get("unk_token"), unk_id)
            if not ids:
                raise ValueError("the vocabulary is empty")
            if type(self.unk_id) not in (int, type(None)):
                raise ValueError(f"unk_id is {self.unk_id!r}")
            self._native = self._make_native(settings)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"malformed tokenizer: {error}", path) from None
        self.tokens = tuple(sorted(ids, key=ids.__getitem__))
        self._ids = ids
        self._pages: set[int] = set()

    @classmethod
    def from_file(cls, path: PathLike) -> Tokenizer:
        """Read a ``tokenizer.json``."""
        with open(path, "rb") as file:
            content = file.read()
        try:
            return cls(content.decode(), path)
        except UnicodeDecodeError as error:
            raise FormatError("is not UTF-8 text", path, error.start) from None

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, or None."""
        return self._ids.get(token)

    @functools.cached_property
    def library(self) -> Any:
        """The same tokenizer as a ``tokenizers.Tokenizer``, without padding and truncation."""
        tokenizers = needs("tokenizers", "this tokenizer (or this text)")
        with self._damage_named():
            tokenizer = tokenizers.Tokenizer.from_str(self.json)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turns what the package raises, Exception itself or a Rust panic, into a FormatError."""
        try:
            yield
        except BaseException as error:
            if type(error) is Exception or type(error).__name__ == "PanicException":
                raise FormatError(f"malformed tokenizer: {error}", self._path) from None
            raise

    def encode_batch(
        self,
        texts: Sequence[str],
        max_length: int | None = None,
        max_characters: int | None = None,
    ) -> Encoded:
        """Ids of texts, without special tokens around them; on all threads.

        Parameters
        ----------
        texts : sequence of str, length B
        max_length : int, optional
            Keep the first ids of each text only.
        max_characters : int, optional
            Look at the first characters of each text only.

        Returns
        -------
        ids : ndarray, shape (N,), int32
        offsets : ndarray, shape (B + 1,), int64
            Text b has ``ids[offsets[b]:offsets[b + 1]]``.

        Raises
        ------
        TypeError
            A text is no string.
        ImportError
            The `tokenizers` package is needed and not installed.
        FormatError
            The `tokenizers` package refuses the JSON, or fails with it.
        """
        if self._native is None:
            return self._encode_by_library(texts, max_length, max_characters)
        most_ids = sys.maxsize if max_length is None else max_length
        most_characters = sys.maxsize if max_characters is None else max_characters
        ids, offsets, skipped = self._native.encode(tuple(texts), most_characters, most_ids)
        if not skipped.size:
            return ids, offsets
        rest = [texts[i] for i in skipped]
        encode = self.encode_batch if self._learn(rest) else self._encode_by_library
        more, more_offsets = encode(rest, max_length, max_characters)
        # The ids of the skipped texts go between those of the others.
        pieces = np.split(ids, offsets[skipped])
        inserts = np.split(more, more_offsets[1:-1])
        merged = [pieces[0]]
        for insert, piece in zip(inserts, pieces[1:], strict=True):
            merged += [insert, piece]
        lengths = np.diff(offsets, prepend=0)
        lengths[skipped + 1] = np.diff(more_offsets)
        return np.concatenate(merged), np.cumsum(lengths)

    def _encode_by_library(
        self, texts: Sequence[str], max_length: int | None, max_characters: int | None
    ) -> Encoded:
        library = self.library
        with self._damage_named():
            encodings = library.encode_batch_fast(
                [text[:max_characters] for text in texts], add_special_tokens=False
            )
        lists = [encoding.ids[:max_length] for encoding in encodings]
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(ids) for ids in lists], out=offsets[1:])
        ids = np.fromiter((i for ids in lists for i in ids), np.int32, int(offsets[-1]))
        return ids, offsets

    def _make_native(self, settings: Any) -> _native.text.WordPiece | None:
        """The native tokenizer, where it does the same as the settings say."""
        model, added = settings["model"], settings.get("added_tokens") or ()
        normalizer = settings.get("normalizer") or {}
        pre_tokenizer = settings.get("pre_tokenizer") or {}
        prefix = model.get("continuing_subword_prefix")
        longest = model.get("max_input_chars_per_word")
        if (
            model.get("type") != "WordPiece"
            or model.get("unk_token") not in model["vocab"]
            or not isinstance(prefix, str)
            or type(longest) is not int
            or not 0 <= longest <= 10_000
            or normalizer.get("type") != "BertNormalizer"
            or pre_tokenizer.get("type") != "BertPreTokenizer"
            or any(token.get("normalized") is not False for token in added)
        ):
            return None
        lower = normalizer.get("lowercase", True)
        strip = normalizer.get("strip_accents")
        self._normalizer = (
            normalizer.get("clean_text", True),
            normalizer.get("handle_chinese_chars", True),
            lower if strip is None else strip,
            lower,
        )
        self._reserved = [token["content"] for token in added if token["content"]]
        vocab = model["vocab"]
        return _native.text.WordPiece(
            [token.encode() for token in vocab],
            np.fromiter(vocab.values(), np.int32, len(vocab)),
            prefix.encode(),
            vocab[model["unk_token"]],
            longest,
            self._reserved,
        )

    def _learn(self, texts: Iterable[str]) -> bool:
        """Tell native code about the characters of these texts; False where there is no news."""
        assert self._native is not None
        pages = {ord(c) >> 8 for c in set().union(*texts)} - self._pages
        starts = {ord(content[0]) for content in self._reserved}
        for page in pages:
            entries, more = np.zeros(256, np.uint32), list[int]()
            for i in range(256):
                normalized = _normalized(chr(256 * page + i), *self._normalizer)
                if normalized is None:
                    continue
                parts = [_entry(c) for c in normalized]
                if len(parts) == 1:
                    entries[i] = parts[0]
                elif parts:
                    entries[i] = _SEVERAL << 24 | len(more) << 4 | len(parts)
                    more += parts
                else:
                    entries[i] = _NOTHING << 24
                if 256 * page + i in starts:
                    entries[i] |= 1 << 31
            self._native.set_page(page, entries, more)
        self._pages |= pages
        return bool(pages)


# The kinds of entries in csrc/engines/text/wordpiece.h.
_NOTHING, _SPACE, _LETTER, _PUNCTUATION, _SEVERAL = range(1, 6)

# Unicode's White_Space, which is what Rust splits at; Python's str.isspace adds four separators.
_SPACES = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000")
_SPACES |= {chr(c) for c in range(0x2000, 0x200B)}
_ASCII_PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_CHINESE = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def _entry(char: str) -> int:
    """How BertPreTokenizer takes a character."""
    if char in _SPACES:
        return _SPACE << 24
    if char in _ASCII_PUNCTUATION or unicodedata.category(char).startswith("P"):
        return _PUNCTUATION << 24 | ord(char)
    return _LETTER << 24 | ord(char)


def _normalized(char: str, clean: bool, chinese: bool, strip: bool, lower: bool) -> str | None:
    """What BertNormalizer makes of a character; None where the `tokenizers` package must say.

    The package and Python may know different versions of Unicode. What version 3.2 knew and today's
    Python sees in the same way is the same for all; so are Latin-1 (which changed long ago) and
    symbols such as emoji. The tests compare all code points.
    """
    category = unicodedata.category(char)
    stable = category == unicodedata.ucd_3_2_0.category(char) or char < "\u0100"
    if category in ("Cn", "Cs") or not (stable or (category == "So" and char > "\uffff")):
        return None
    text = char
    if clean:
        if char in "\t\n\r":
            text = " "
        elif category.startswith("C") or char == "\ufffd":
            text = ""
        elif char in _SPACES:
            text = " "
    if chinese and any(first <= ord(char) <= last for first, last in _CHINESE):
        text = f" {char} "
    if strip:
        text = unicodedata.normalize("NFD", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        if any(unicodedata.combining(c) for c in text):
            return None  # its place depends on its neighbours
    # One by one: as in the package, no rule looks at the neighbours.
    return "".join(c.lower() for c in text) if lower else text
