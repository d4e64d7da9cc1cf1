"""What a folder of sentence-transformers holds, loaded: texts in, vectors out.

B = texts, N = tokens of all, S = of one, E = dimensions of their vectors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders import saved
from firth.encoders.batches import Packing, batches, checked_text
from firth.encoders.models import AutoModel
from firth.encoders.modules import Floats
from firth.formats.files import PathLike
from firth.tokenizers import AutoTokenizer
from firth.transformer.plan import Batch
from firth.transformer.stack import Precision, Stack


class Pipeline:
    """A tokenizer, a transformer, a pooling and what follows.

    Parameters
    ----------
    folder : path-like
    precision : {"float32", "bfloat16", "int8"}

    Attributes
    ----------
    tokenizer : AutoTokenizer
    auto_model : AutoModel
        The transformer alone.
    path : str
        The folder that it was read from.
    """

    def __init__(self, folder: str, precision: Precision) -> None:
        self._content = saved.read(folder)
        self.path = folder
        self.auto_model = AutoModel.from_pretrained(self._content.transformer, precision)
        self.tokenizer = AutoTokenizer.from_pretrained(self._content.transformer)
        self._pooling, self._modules = self._content.read_modules(self._stack.plan.width)
        limits = self._content.limits
        self._lowers = bool(limits.get("do_lower_case", False))
        known = [self._stack.most_tokens, self.tokenizer.model_max_length]
        most = min((one for one in known if one is not None), default=None)
        self.max_seq_length = limits.get("max_seq_length") or most
        self._told = False

    @property
    def _stack(self) -> Stack:
        return self.auto_model.stack

    @property
    def _width(self) -> int:
        """E."""
        return self._modules[-1].width if self._modules else self._pooling.width

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a text that count, special ones included; at most the model's positions.

        It can be assigned: None for as many as there are; ValueError for what is no int from 1.
        """
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"max_seq_length must be a number from 1 or None, got {value!r}")
        most = self._stack.most_tokens
        self._max_seq_length = most if value is None else min(value, most or value)

    def get_max_seq_length(self) -> int | None:
        """`max_seq_length`."""
        return self.max_seq_length

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether the tokens of a prompt are pooled, or only seen by the others."""
        self._pooling.include_prompt = include_prompt

    def tokenize(self, texts: Iterable[str]) -> dict[str, NDArray[np.int64]]:
        """Tokens as the model gets them, cut at `max_seq_length` and padded behind to the longest.

        Parameters
        ----------
        texts : iterable of str

        Returns
        -------
        dict of str to ndarray (B, S) int64
            ``input_ids``, ``attention_mask`` (1, and 0 for padding) and, where the model has
            segments, ``token_type_ids``.
        """
        given = [self._prepared("tokenize", text) for text in texts]
        packing = Packing(self.tokenizer, given, None, self.max_seq_length, True)
        ids, offsets, types = packing(0, len(given))
        counts = np.diff(offsets)
        mask = np.arange(counts.max(initial=0)) < counts[:, None]
        found: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "attention_mask": np.ones(len(ids), np.int64),
        }
        if "types" in self._stack.weights.outside:
            found["token_type_ids"] = np.zeros(len(ids), np.int32) if types is None else types
        padded = {}
        for name, values in found.items():
            fill = self.tokenizer.pad_token_id if name == "input_ids" else 0
            padded[name] = np.full(mask.shape, fill or 0, np.int64)
            padded[name][mask] = values
        return padded

    preprocess = tokenize

    def _prepared(self, where: str, text: Any, front: str = "") -> str:
        whole: str = front + checked_text(where, text)
        return whole.lower() if self._lowers else whole

    def _prompt_tokens(self, front: str) -> int:
        """How many tokens a prompt has, the special ones before it included, if that matters."""
        if self._pooling.include_prompt or not front:
            return 0
        ids = self.tokenizer.encode_packed([front], None, self.max_seq_length)[0]
        plain = self.tokenizer.encode_packed([""], None, None)[0]
        return len(ids) - (len(plain) > 1)  # a special token behind it

    def _batches(self, texts: list[str], progress: bool | None) -> Iterator[tuple[slice, Batch]]:
        """Batches of texts; says once how many were cut."""
        types = "types" in self._stack.weights.outside
        packing = Packing(self.tokenizer, texts, None, self.max_seq_length, types)
        with contextlib.closing(
            batches(self._stack, packing, [len(text) for text in texts], "encoding", progress)
        ) as found:
            yield from found
        if not self._told:
            self._told = packing.report()

    def _vectors(self, texts: list[str], before: int, progress: bool | None) -> Floats:
        """Vectors of different texts."""
        out = np.empty((len(texts), self._width), np.float32)
        for place, batch in self._batches(texts, progress):
            out[place] = self._through(self._pooling.run(self._stack, batch, before))
        return out

    def _through(self, rows: Floats) -> Floats:
        for module in self._modules:
            rows = module(rows)
        return rows

    def _tokens(self, texts: list[str], before: int, progress: bool | None) -> list[dict[str, Any]]:
        """For different texts all that there is of each."""
        found: list[dict[str, Any]] = []
        for _, batch in self._batches(texts, progress):
            hidden = self._stack.run(batch).hidden
            vectors = self._through(self._pooling.run(self._stack, batch, before))
            for i, (begin, end) in enumerate(pairwise(batch.offsets)):
                found.append(
                    {
                        "input_ids": batch.ids[begin:end],
                        "attention_mask": np.ones(end - begin, np.int64),
                        "token_embeddings": hidden[begin:end],
                        "sentence_embedding": vectors[i : i + 1],
                    }
                )
        return found

    def _save(self, path: PathLike, settings: dict[str, Any]) -> None:
        """Write a folder with these settings in config_sentence_transformers.json."""
        limits = {"max_seq_length": self.max_seq_length, "do_lower_case": self._lowers}
        saved.write(path, self._content, self._pooling, self._modules, settings, limits)
