"""What models are called with: arrays of any kind, checked, as a batch for the stack.

B = texts, S = tokens of each, N = tokens of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders.architecture import Architecture
from firth.transformer.config import Config
from firth.transformer.plan import Batch
from firth.transformer.stack import Stack


class Inputs:
    """Makes batches for a model, whose class has the name ``where``, for errors."""

    def __init__(
        self, where: str, architecture: Architecture, config: Config, stack: Stack
    ) -> None:
        self._where, self._config, self._stack = where, config, stack
        self._places = architecture.positions
        table = stack.weights.outside.get("types")
        self._segments = None if table is None else len(table)

    def rectangle(
        self, ids: Any, mask: Any = None, types: Any = None, positions: Any = None
    ) -> tuple[Batch, tuple[int, int]]:
        """Texts of one length, padding included, and (B, S); arguments as of `Model.__call__`."""
        ids = self._integers("input_ids", ids, None, self._config.vocab_size)
        count, length = shape = ids.shape
        if positions is not None:
            most = self._stack.plan.positions or len(self._stack.weights.outside["positions"])
            positions = self._integers("position_ids", positions, shape, most).ravel()
        else:
            self._check_length(length)
            if self._places is not None:
                positions = self._places(self._config, ids).ravel()
        if types is not None and self._segments is not None:
            types = self._integers("token_type_ids", types, shape, self._segments).ravel()
        else:
            types = None
        seen, masks = self._masks(mask, count, length)
        offsets = np.arange(count + 1, dtype=np.int64) * length
        return Batch(ids.ravel(), offsets, types, positions, seen, masks), shape

    def packed(self, texts: Iterable[Any], types: Iterable[Any] | None = None) -> Batch:
        """Texts of any lengths, without padding.

        Parameters
        ----------
        texts : iterable of sequences of int
            Ids of each text.
        types : iterable of sequences of int, optional
            Segments of each text, which models without segments ignore.
        """
        rows = [self._integers("ids", [ids], None, self._config.vocab_size) for ids in texts]
        offsets = np.cumsum([0, *(row.size for row in rows)], dtype=np.int64)
        self._check_length(max((row.size for row in rows), default=0))
        segments = positions = None
        if types is not None and self._segments is not None:
            parts = zip(types, rows, strict=True)
            segments = _joined(
                self._integers("types", [one], row.shape, self._segments) for one, row in parts
            )
        if self._places is not None:
            positions = _joined(self._places(self._config, row) for row in rows)
        return Batch(_joined(rows), offsets, segments, positions)

    def _integers(
        self, name: str, value: Any, shape: tuple[int, int] | None, count: int
    ) -> NDArray[np.int32]:
        """An argument as integers (B, S) from 0 to count - 1."""
        where = f"{self._where}: {name}"
        if value is None:
            raise TypeError(f"{where} must be given")
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(
                f"{where} must have rows of one length; tokenizers have padding=True for that"
            ) from None
        if shape is not None and array.shape in (shape[1:], (1, *shape[1:])):
            array = np.broadcast_to(array, shape)
        if array.ndim != 2 or (shape is not None and array.shape != shape) or not array.shape[1]:
            wanted = "(B, S), S at least 1" if shape is None else shape
            raise ValueError(f"{where} must have shape {wanted}, got {array.shape}")
        if array.dtype.kind not in "iu":
            raise TypeError(f"{where} must be integers, got {array.dtype}")
        if array.size and not 0 <= array.min() <= array.max() < count:
            worst = array.min() if array.min() < 0 else array.max()
            raise ValueError(f"{where} must be from 0 to {count - 1}, got {worst}")
        return np.ascontiguousarray(array, np.int32)

    def _check_length(self, length: int) -> None:
        most = self._stack.most_tokens
        if most is not None and length > most:
            raise ValueError(
                f"{self._where}: a text of {length} tokens, but the model has positions for "
                f"{most}; tokenizers have truncation=True for that"
            )

    def _masks(
        self, mask: Any, count: int, length: int
    ) -> tuple[NDArray[np.bool_] | None, list[NDArray[np.bool_]] | None]:
        """Which tokens are seen, by all (N,), or by each in its text, B arrays (S, S)."""
        if mask is None:
            return None, None
        array = np.asarray(mask)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self._where}: attention_mask must be numbers, got {array.dtype}")
        if array.shape == (count, 1, length, length) and array.dtype == np.bool_:
            array = array[:, 0]  # as transformers' models take it
        if array.shape == (count, length):
            seen = np.ascontiguousarray(array != 0).ravel()
            return (None if seen.all() else seen), None
        if array.shape == (count, length, length):
            return None, list(np.ascontiguousarray(array != 0))
        raise ValueError(
            f"{self._where}: attention_mask must have shape {(count, length)} or "
            f"{(count, length, length)}, got {array.shape}"
        )


def _joined(rows: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Rows (1, S) of any lengths, one behind the other (N,)."""
    return np.concatenate([np.empty(0, np.int32), *(row.ravel() for row in rows)])
