"""Which precision ``compute_type="auto"`` stands for."""

from __future__ import annotations

from typing import Literal

from firth.kernels._dispatch import active, active_level
from firth.transformer.stack import PRECISIONS, Precision

ComputeType = Literal["auto", "float32", "bfloat16", "int8"]


def chosen(compute_type: str) -> Precision:
    """The precision; ValueError for an unknown one."""
    if compute_type == "auto":
        return _best()
    if compute_type not in PRECISIONS:
        raise ValueError(
            f"compute_type must be 'auto' or one of {PRECISIONS}, got {compute_type!r}"
        )
    return compute_type  # type: ignore[return-value]


def _best() -> Precision:
    """The fastest that keeps a cosine of 0.9999 with float32 here.

    int8 keeps 0.999 only. bfloat16 is faster where the level multiplies it without widening it to
    float32 first.
    """
    fast = active().startswith("native") and active_level().bfloat16_is_fast
    return "bfloat16" if fast else "float32"
