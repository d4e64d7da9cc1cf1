"""Which precision ``compute_type="auto"`` stands for."""

from __future__ import annotations

import platform
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

    int8 keeps 0.999 only. bfloat16 is faster where the level has products of it: the matrix tiles,
    and AVX-512's on AMD; on Intel these have half the rate of float32, so v4x widens there, as all
    other levels do.
    """
    level = active_level().name if active().startswith("native") else ""
    fast = level == "tiles" or (level == "v4x" and _is_amd())
    return "bfloat16" if fast else "float32"


def _is_amd() -> bool:
    if "AuthenticAMD" in platform.processor():
        return True
    try:
        with open("/proc/cpuinfo", encoding="latin-1") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False
