"""Sequences of different lengths, named as in torch.nn.utils.rnn.

A `PackedSequence` is the padded tensor and the lengths: recurrent layers take these as they are, so
nothing is sorted and nothing moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firth.nn.operations.masks import masked_fill
from firth.nn.operations.shapes import index, pad, stack, transpose
from firth.nn.tape import Array, Tensor, tracing


@dataclass(frozen=True, eq=False)
class PackedSequence:
    """Sequences and their lengths, for `firth.nn.RNN`, ``GRU`` and ``LSTM``.

    Attributes
    ----------
    padded : Tensor, shape (T, B, ...), or (B, T, ...) where batch_first
    lengths : int64 ndarray, shape (B,)
    batch_first : bool
    """

    padded: Tensor
    lengths: Array
    batch_first: bool

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"PackedSequence has no {name!r}: it has the sequences as they were padded, `padded`, "
            "and their `lengths`"
        )

    def laid(self, batch_first: bool) -> Tensor:
        """The padded sequences, with the batch as the first or the second axis."""
        return self.padded if batch_first == self.batch_first else transpose(self.padded, 0, 1)


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences of different lengths as one tensor.

    Parameters
    ----------
    sequences : sequence of Tensor, shapes (t, ...)
        The axes behind the first are those of all.
    batch_first : bool
    padding_value : float
        What stands where a sequence has nothing.
    padding_side : {"right", "left"}

    Returns
    -------
    Tensor, shape (T, B, ...), or (B, T, ...) where batch_first
        T is the longest length.

    Raises
    ------
    ValueError
        There are no sequences, or their other axes differ.
    TypeError
        A sequence is no tensor.
    """
    parts = list(sequences)
    if padding_side not in ("right", "left"):
        raise ValueError(
            f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}"
        )
    for x in parts:
        if not isinstance(x, Tensor):
            raise TypeError(f"pad_sequence: sequences must be tensors, got {type(x).__name__}")
    if len({x.shape[1:] for x in parts}) != 1 or not all(x.ndim for x in parts):
        raise ValueError(
            "pad_sequence: sequences must have one shape but for their first axis, got "
            f"{sorted({x.shape for x in parts})}"
        )
    longest = max(len(x) for x in parts)
    padded = []
    for x in parts:
        more = [0, longest - len(x)] if padding_side == "right" else [longest - len(x), 0]
        padded.append(pad(x, [0, 0] * (x.ndim - 1) + more, value=padding_value))
    return stack(padded, 0 if batch_first else 1)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences with their lengths, behind which recurrent layers do not look.

    A compiled step cannot have it, for shapes depend on the lengths then: there layers take
    ``lengths=``.

    Parameters
    ----------
    input : Tensor, shape (T, B, ...), or (B, T, ...) where batch_first
    lengths : array_like of int, shape (B,)
        From 1 to T.
    batch_first : bool
    enforce_sorted : bool
        Of no effect: sequences need no order.

    Raises
    ------
    ValueError, TypeError
        Lengths are no whole numbers, out of range, or not as many as sequences.
    """
    if tracing():
        raise RuntimeError(
            "pack_padded_sequence: shapes depend on the lengths, which a step that is being "
            "compiled cannot have; give the layer lengths="
        )
    if input.ndim < 2:
        raise ValueError(
            f"pack_padded_sequence: input must have 2 axes or more, got shape {input.shape}"
        )
    batch, steps = input.shape[:2] if batch_first else input.shape[1::-1]
    array = np.array(lengths.data if isinstance(lengths, Tensor) else lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"pack_padded_sequence: lengths must be whole numbers, got {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(
            f"pack_padded_sequence: lengths must have shape {(batch,)}, got {array.shape}"
        )
    if not batch or array.min() < 1 or array.max() > steps:
        raise ValueError(
            f"pack_padded_sequence: lengths must be from 1 to {steps}, got {array.tolist()}"
        )
    longest = slice(0, int(array.max()))
    if longest.stop < steps:
        input = index(input, (slice(None), longest) if batch_first else longest)
    return PackedSequence(input, array.astype(np.int64), batch_first)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded sequences and their lengths.

    Parameters
    ----------
    sequence : PackedSequence
    batch_first : bool
        How the result lies.
    padding_value : float
        What stands behind the sequences.
    total_length : int, optional
        The length of the result, at least that of the longest.

    Returns
    -------
    Tensor, shape (T, B, ...), or (B, T, ...) where batch_first
    Tensor of int64, shape (B,)

    Raises
    ------
    TypeError
        `sequence` is no PackedSequence.
    ValueError
        ``total_length`` is less than the longest.
    """
    if not isinstance(sequence, PackedSequence):
        raise TypeError(
            f"pad_packed_sequence: sequence must be a PackedSequence, got {type(sequence).__name__}"
        )
    x, lengths = sequence.laid(batch_first), sequence.lengths
    axis = int(batch_first)
    more = 0 if total_length is None else total_length - x.shape[axis]
    if more < 0:
        raise ValueError(
            f"pad_packed_sequence: total_length must be at least {x.shape[axis]}, "
            f"got {total_length}"
        )
    x = pad(x, [0, 0] * (x.ndim - 1 - axis) + [0, more])
    over = np.arange(x.shape[axis]) >= lengths[:, None]
    if over.any():
        mask = over if batch_first else over.T
        x = masked_fill(x, mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), padding_value)
    return x, Tensor(lengths)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of different lengths, packed: `pad_sequence` and `pack_padded_sequence`."""
    lengths = [len(x) for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, False, enforce_sorted)
