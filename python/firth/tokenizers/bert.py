"""`BertTokenizer`: texts to what a model takes, with the call of transformers' tokenizers.

WordPiece, of which BERT's family is made, runs in native code; other kinds of ``tokenizer.json``
(BPE, Unigram) are cut by the `tokenizers` package. Cutting to a length, special tokens, padding and
what follows a token to its characters are the same code for all, in `rows`.

B = samples (texts or pairs), N = tokens of all of them.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.formats.files import PathLike, atomic
from firth.tokenizers import files, template
from firth.tokenizers.batch import BatchEncoding
from firth.tokenizers.inputs import samples
from firth.tokenizers.padding import Padding
from firth.tokenizers.rows import Cut, Rows
from firth.tokenizers.settings import ROLES, Config, Settings
from firth.tokenizers.tokenizer import Pieces, Tokenizer


class Packed(NamedTuple):
    """Samples one after the other, special tokens included, without padding.

    Attributes
    ----------
    ids : ndarray, shape (N,), int32
    offsets : ndarray, shape (B + 1,), int64
        Sample b has ``ids[offsets[b]:offsets[b + 1]]``.
    types : ndarray, shape (N,), int32, or None
        The type of each token; None where all are 0.
    truncated : int
        How many samples were cut.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int32] | None
    truncated: int


class BertTokenizer(Padding):
    """Texts to ids and back, as transformers' ``BertTokenizer`` and ``AutoTokenizer`` do it.

    Made of a vocabulary here, of a folder by `from_pretrained`, which reads all kinds of
    tokenizers; ``firth.AutoTokenizer`` is the same class.

    Parameters
    ----------
    vocab : path-like or dict of str to int
        A ``vocab.txt``, or its tokens with their ids.
    do_lower_case : bool
    tokenize_chinese_chars : bool
        Whether each Chinese character is a word.
    strip_accents : bool, optional
        By default where ``do_lower_case`` is.
    unk_token, sep_token, pad_token, cls_token, mask_token : str
        Those that the vocabulary lacks are added to it.
    model_max_length : int, optional
        Tokens that the model takes.
    padding_side, truncation_side : "right" or "left"

    Examples
    --------
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat"]
    >>> tokenizer = BertTokenizer({word: i for i, word in enumerate(words)})
    >>> tokenizer("The cats sat")["input_ids"]
    [2, 5, 6, 7, 8, 3]
    """

    def __init__(
        self,
        vocab: PathLike | Mapping[str, int],
        do_lower_case: bool = True,
        unk_token: str = "[UNK]",
        sep_token: str = "[SEP]",
        pad_token: str = "[PAD]",
        cls_token: str = "[CLS]",
        mask_token: str = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        *,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "vocab")}
        path = None if isinstance(vocab, Mapping) else vocab
        words = vocab if isinstance(vocab, Mapping) else files.read_words(pathlib.Path(vocab))
        tokenizer, settings = files.from_vocabulary(words, path, Config(values, None, "bert"))
        self._start(tokenizer, settings)

    @classmethod
    def from_pretrained(
        cls,
        path: PathLike,
        *,
        use_fast: bool = True,
        do_lower_case: bool | None = None,
        tokenize_chinese_chars: bool | None = None,
        strip_accents: bool | None = None,
        add_prefix_space: bool | None = None,
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        model_input_names: Sequence[str] | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        **special_tokens: str,
    ) -> BertTokenizer:
        """Read the tokenizer of a model's folder.

        Parameters
        ----------
        path : path-like
            A folder with ``tokenizer.json``, else ``vocab.txt``, else ``vocab.json`` and
            ``merges.txt`` (RoBERTa's); or one of the first two files; or the name of an installed
            package with such a folder; or a name on the Hugging Face hub, where huggingface_hub
            is installed.
        use_fast : bool
            Has no effect: there is one kind of tokenizer.
        do_lower_case, tokenize_chinese_chars, strip_accents, add_prefix_space, \
model_max_length, padding_side, truncation_side, model_input_names, \
clean_up_tokenization_spaces : optional
            Instead of what ``tokenizer_config.json`` says.
        **special_tokens : str
            ``cls_token="[CLS]"``, ...

        Raises
        ------
        FileNotFoundError
            There is no such folder or package, and no model of that name on the hub.
        FormatError
            It holds no tokenizer, or a file of it is malformed.
        """
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("cls", "path", "use_fast", "special_tokens") and value is not None
        }
        if unknown := [name for name in special_tokens if name not in ROLES]:
            raise TypeError(f"from_pretrained: {unknown[0]!r} must be one of {', '.join(ROLES)}")
        tokenizer, settings = files.read(path, given | special_tokens)
        made = cls.__new__(cls)
        made._start(tokenizer, settings)
        return made

    def _start(self, tokenizer: Tokenizer, settings: Settings) -> None:
        super()._start(tokenizer, settings)
        self._template = template.read(tokenizer.settings.get("post_processor"), tokenizer.path)

    def save_pretrained(self, folder: PathLike) -> tuple[str, ...]:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which transformers reads too.

        Returns
        -------
        tuple of str
            The paths of the files.
        """
        root = pathlib.Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        normalizer = self._tokenizer.settings.get("normalizer") or {}
        config: dict[str, Any] = {
            "tokenizer_class": self._class,
            **self.special_tokens_map,
            "extra_special_tokens": self.extra_special_tokens,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "model_input_names": self.model_input_names,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
        }
        if normalizer.get("type") == "BertNormalizer":
            config |= {
                "do_lower_case": normalizer.get("lowercase", True),
                "strip_accents": normalizer.get("strip_accents"),
                "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", True),
            }
        texts = {
            "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False) + "\n",
            "tokenizer.json": self._tokenizer.json,
        }
        for name, text in texts.items():
            with atomic(root / name) as file:
                file.write(text.encode())
        return tuple(os.fspath(root / name) for name in texts)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._tokenizer.settings['model'].get('type')}, "
            f"{len(self):,} tokens, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )

    # Texts to ids

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Ids of a text or of several, and what else a model takes.

        Parameters
        ----------
        text : str or iterable of str
            One text or several. Several may be pairs: ``[("a question", "a text"), ...]``. With
            ``is_split_into_words`` a text is a list of words.
        text_pair : optional
            The second text, or that of each.
        add_special_tokens : bool
            Whether ``[CLS]``, ``[SEP]`` or what the model has go around the texts.
        padding : bool or str
            True or "longest": to the longest row. "max_length": to ``max_length``.
        truncation : bool or str, optional
            True or "longest_first" (the default where ``max_length`` is given without ``padding``),
            "only_first", "only_second": which text of a pair is cut.
        max_length : int, optional
            Tokens of a row, special ones included; by default ``model_max_length``.
        stride : int
            By how many tokens a row overlaps the one before it, with
            ``return_overflowing_tokens``.
        is_split_into_words : bool
        pad_to_multiple_of : int, optional
        padding_side : "right" or "left", optional
        return_tensors : "np" or "pt", optional
            Arrays of int64 (of arrays, where rows differ in length) or tensors of PyTorch; by
            default lists.
        return_token_type_ids, return_attention_mask : bool, optional
            By default as ``model_input_names`` says.
        return_overflowing_tokens : bool
            What was cut off becomes further rows; ``overflow_to_sample_mapping`` says of what text.
        return_special_tokens_mask : bool
        return_offsets_mapping : bool
            The characters ``(start, end)`` of each token as ``offset_mapping``.
        return_length : bool
        verbose : bool
            Whether a first text that is longer than ``model_max_length`` is reported.

        Returns
        -------
        BatchEncoding

        Raises
        ------
        TypeError, ValueError
            An argument is not what it must be; the message names it.
        """
        given = samples(text, text_pair, is_split_into_words)
        if stride < 0:
            raise ValueError(f"stride must be at least 0, got {stride}")
        plan = self._plan(
            padding, truncation, max_length, pad_to_multiple_of, padding_side, verbose
        )
        parts = self._template.parts(given.seconds is not None, add_special_tokens)
        room = plan.room(parts)
        left = self.truncation_side == "left"
        read = functools.partial(
            given.pieces,
            self._tokenizer,
            None if left or return_overflowing_tokens else room,
        )
        pieces = read(return_offsets_mapping)
        rows = Rows(
            parts,
            Cut(
                room, plan.truncation or "longest_first", left,
                stride if return_overflowing_tokens else None,
            ),
            pieces.ids,
            pieces.offsets,
            functools.partial(_same, pieces) if return_offsets_mapping
            else functools.partial(read, True),
            self.convert_ids_to_tokens,
            self.pad_token_id or 0,
        )  # fmt: skip
        longest = rows.layout.longest
        rows.width, rows.left = plan.width(longest), plan.left
        if max_length is None and verbose:
            self._report(longest)
        names = self.model_input_names
        wanted = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        fields = [one for one, yes in wanted.items() if (one in names if yes is None else yes)]
        found = BatchEncoding(rows=rows)
        for name in fields:
            array = None if return_tensors is None else rows.array(name)
            found[name] = rows.lists(name) if array is None else array
        if given.single and return_tensors is None and not return_overflowing_tokens:
            for name in fields:
                found[name] = found[name][0]
        if return_length:
            found["length"] = rows.lengths.tolist()
        if return_overflowing_tokens:
            found["overflow_to_sample_mapping"] = rows.layout.samples.tolist()
        return found.convert_to_tensors(return_tensors)

    def encode(self, text: Any, text_pair: Any = None, **arguments: Any) -> Any:
        """The ``input_ids`` of a call with the same arguments."""
        return self(text, text_pair, **arguments)["input_ids"]

    def tokenize(
        self, text: Any, pair: Any = None, add_special_tokens: bool = False, **arguments: Any
    ) -> list[str]:
        """The tokens of a text or a pair, a list of str; special ones if they are asked for."""
        return self(text, pair, add_special_tokens=add_special_tokens, **arguments).tokens()

    def encode_packed(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> Packed:
        """Ids of texts or pairs with special tokens, one after the other; on all threads.

        Parameters
        ----------
        texts : sequence of str, length B
        pairs : sequence of str, length B, optional
            The second text of each.
        max_length : int, optional
            Tokens of a sample, special ones included; by default ``model_max_length``. Longer ones
            are cut, the longer text of a pair first.
        """
        given = samples(list(texts), None if pairs is None else list(pairs), False)
        parts = self._template.parts(pairs is not None, True)
        room = self._plan(False, True, max_length, None, None).room(parts)
        left = self.truncation_side == "left"
        pieces = given.pieces(self._tokenizer, None if left else room, False)
        layout = Cut(room, "longest_first", left).layout(pieces.offsets, parts)
        types = None
        if "token_type_ids" in self.model_input_names and any(part.type for part in parts):
            types = layout.fill(None, [part.type for part in parts], None, False, 0)
        ids = layout.fill(pieces.ids, [part.id for part in parts], None, False, 0)
        return Packed(ids, layout.offsets, types, layout.truncated)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens go around a text or a pair."""
        return template.specials(self._template.parts(pair, True))


def _same(pieces: Pieces) -> Pieces:
    return pieces


AutoTokenizer = BertTokenizer
