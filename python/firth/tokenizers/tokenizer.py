"""``tokenizer.json``: text to token ids, exactly as the `tokenizers` package does it.

What most BERT-like models have (BertNormalizer, BertPreTokenizer, WordPiece) runs in native code
for almost any text. Every other tokenizer, and the rare text that native code does not promise to
cut in the same way, goes to the `tokenizers` package, which is needed for these only: characters
that Unicode has added or changed since its version 3.2 (emoji are native), combining marks without
a place of their own, and added tokens that take spaces with them or must be whole words.

B = texts, N = ids of all of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.arguments import check_text, shortened
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.optional import needs
from firth.tokenizers.characters import Normalizer, page_of

Encoded = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Ids of all texts (N,), and where each text starts, with N at the end (B + 1,)."""


class Pieces(NamedTuple):
    """Texts as ids, and where these are in the texts.

    Attributes
    ----------
    ids : ndarray, shape (N,), int32
    offsets : ndarray, shape (B + 1,), int64
        Text b has ``ids[offsets[b]:offsets[b + 1]]``.
    spans : ndarray, shape (N, 2), int64
        The characters ``text[start:end]`` of each id; no rows where places were not asked for.
    words : ndarray, shape (N,), int32
        Which word of its text an id belongs to; empty where places were not asked for.
    tokens : ndarray, shape (N,), object
        What the `tokenizers` package calls the ids, which for unknown pieces is the text; None
        for ids of native code. Empty where that has found all, or places were not asked for.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    spans: NDArray[np.int64]
    words: NDArray[np.int32]
    tokens: NDArray[np.object_] = np.zeros(0, object)

    def filled(self, at: NDArray[np.int64], others: Pieces) -> Pieces:
        """With ``others`` as the texts at these numbers, which have no ids yet."""
        lengths, inserted = np.diff(self.offsets), np.zeros(len(self.offsets) - 1, bool)
        lengths[at], inserted[at] = np.diff(others.offsets), True
        offsets = np.zeros_like(self.offsets)
        np.cumsum(lengths, out=offsets[1:])
        new = np.repeat(inserted, lengths)

        def joined(mine: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
            if not len(mine) + len(more):
                return mine
            both = np.empty((len(new), *mine.shape[1:]), mine.dtype)
            both[new], both[~new] = more, mine
            return both

        return Pieces(
            joined(self.ids, others.ids),
            offsets,
            joined(self.spans, others.spans),
            joined(self.words, others.words),
            joined(np.full(len(self.ids), None), others.tokens)
            if others.tokens.size
            else self.tokens,
        )


_OBJECTS = (
    "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder",
)  # fmt: skip


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
    settings : dict
        What the text says, without the vocabulary.
    vocabulary : dict of str to int
        The tokens of the model, without added ones.
    ids : dict of str to int
        All tokens.
    tokens : tuple of str
        All tokens by id.
    unk_id : int or None
        The id for unknown words.

    Raises
    ------
    FormatError
        The text is no JSON, or lacks what every tokenizer has.
    """

    def __init__(self, text: str, path: PathLike | None = None) -> None:
        self.json, self.path = text, path
        try:
            settings = json.loads(text)
            model = settings["model"]
            for name in _OBJECTS:
                if not isinstance(settings.get(name), (dict, type(None))):
                    raise ValueError(f"{name} is {shortened(settings[name])}, not an object")
            vocab = model.pop("vocab")
            model.pop("merges", None)
            if isinstance(vocab, list):  # Unigram: pairs of token and score
                vocab = {token: i for i, (token, _) in enumerate(vocab)}
            added = [
                (token["content"], token["id"]) for token in settings.get("added_tokens") or ()
            ]
            ids = dict(added) | vocab  # the model's own id counts
            for token, i in (*vocab.items(), *added):
                if type(i) is not int or not 0 <= i < 2**31:
                    raise ValueError(f"token {token!r} has id {i!r}")
                token.encode()
            unk_id = model.get("unk_id")
            self.unk_id: int | None = ids.get(model.get("unk_token"), unk_id)
            if not ids:
                raise ValueError("the vocabulary is empty")
            if type(self.unk_id) not in (int, type(None)):
                raise ValueError(f"unk_id is {self.unk_id!r}")
            self.settings, self.vocabulary, self.ids = settings, vocab, ids
            self._native = self._make_native()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"malformed tokenizer: {error}", path) from None
        self.tokens = tuple(sorted(ids, key=ids.__getitem__))

    @classmethod
    def from_file(cls, path: PathLike) -> Tokenizer:
        """Read a ``tokenizer.json``; FormatError where it is malformed."""
        with open(path, "rb") as file:
            content = file.read()
        try:
            return cls(content.decode(), path)
        except UnicodeDecodeError as error:
            raise FormatError("is not UTF-8 text", path, error.start) from None

    def __reduce__(self) -> Any:
        return Tokenizer, (self.json, self.path)

    @functools.cached_property
    def library(self) -> Any:
        """The same tokenizer as a ``tokenizers.Tokenizer``, without padding and truncation."""
        tokenizers = needs("tokenizers", "this tokenizer (or this text)")
        with self.damage_named():
            tokenizer = tokenizers.Tokenizer.from_str(self.json)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Turns what the package raises, Exception itself or a Rust panic, into a FormatError."""
        try:
            yield
        except BaseException as error:
            if type(error) is Exception or type(error).__name__ == "PanicException":
                raise FormatError(f"malformed tokenizer: {error}", self.path) from None
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
        TypeError, ValueError
            A text is no string, or no Unicode.
        ImportError
            The `tokenizers` package is needed and not installed.
        FormatError
            The `tokenizers` package refuses the JSON, or fails with it.
        """
        pieces = self.encode(texts, max_length, max_characters)
        return pieces.ids, pieces.offsets

    def encode(
        self,
        texts: Sequence[str],
        max_length: int | None = None,
        max_characters: int | None = None,
        *,
        places: bool = False,
    ) -> Pieces:
        """As `encode_batch`, with the places of the ids in their texts where they are asked for."""
        if self._native is None:
            return self._encode_by_library(texts, max_length, max_characters, places)
        most_ids = sys.maxsize if max_length is None else max_length
        most_characters = sys.maxsize if max_characters is None else max_characters
        ids, offsets, skipped, missing, spans, words = self._native.encode(
            tuple(texts), most_characters, most_ids, places
        )
        found = Pieces(ids, offsets, spans, words)
        if not skipped.size:
            return found
        rest = [texts[i] for i in skipped]
        if missing:  # characters that native code has not been told about
            self._learn(missing)
            return found.filled(
                skipped, self.encode(rest, max_length, max_characters, places=places)
            )
        return found.filled(
            skipped, self._encode_by_library(rest, max_length, max_characters, places)
        )

    def _encode_by_library(
        self,
        texts: Sequence[str],
        max_length: int | None,
        max_characters: int | None,
        places: bool,
    ) -> Pieces:
        for text in texts:
            check_text("a text", text)
        library = self.library
        with self.damage_named():
            encode = library.encode_batch if places else library.encode_batch_fast
            encodings = encode([text[:max_characters] for text in texts], add_special_tokens=False)
        lists = [encoding.ids[:max_length] for encoding in encodings]
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(ids) for ids in lists], out=offsets[1:])
        count = int(offsets[-1])
        ids = np.fromiter((i for ids in lists for i in ids), np.int32, count)
        if not places:
            return Pieces(ids, offsets, np.zeros((0, 2), np.int64), np.zeros(0, np.int32))
        pairs = (pair for e in encodings for span in e.offsets[:max_length] for pair in span)
        words = (word for e in encodings for word in e.word_ids[:max_length])
        tokens = (token for e in encodings for token in e.tokens[:max_length])
        return Pieces(
            ids,
            offsets,
            np.fromiter(pairs, np.int64, 2 * count).reshape(-1, 2),
            np.fromiter(words, np.int32, count),
            np.fromiter(tokens, object, count),
        )

    def _make_native(self) -> _native.text.WordPiece | None:
        """The native tokenizer, where it does the same as the settings say."""
        model, added = self.settings["model"], self.settings.get("added_tokens") or ()
        normalizer = self.settings.get("normalizer") or {}
        pre_tokenizer = self.settings.get("pre_tokenizer") or {}
        prefix = model.get("continuing_subword_prefix")
        longest = model.get("max_input_chars_per_word")
        vocab = self.vocabulary
        if (
            model.get("type") != "WordPiece"
            or model.get("unk_token") not in vocab
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
        self._normalizer = Normalizer(
            normalizer.get("clean_text", True),
            normalizer.get("handle_chinese_chars", True),
            lower if strip is None else strip,
            lower,
        )
        flags = ("single_word", "lstrip", "rstrip")
        reserved = [
            (content, -1 if any(token.get(flag) for flag in flags) else self.ids[content])
            for token in added
            if (content := token["content"])
        ]
        self._starts = {ord(content[0]) for content, _ in reserved}
        native = _native.text.WordPiece(
            [token.encode() for token in vocab],
            np.fromiter(vocab.values(), np.int32, len(vocab)),
            prefix.encode(),
            vocab[model["unk_token"]],
            longest,
            reserved,
        )
        native.set_page(0, *page_of(0, self._normalizer, self._starts))
        return native

    def _learn(self, pages: Iterable[int]) -> None:
        """Tell native code about the characters of these pages."""
        assert self._native is not None
        for page in pages:
            self._native.set_page(page, *page_of(page, self._normalizer, self._starts))
