"""The progress bar of long work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(total: int, unit: str, label: str, progress: bool | None = None) -> tqdm[Any]:
    """A bar with rate and ETA: always, never, or (None) only on a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        desc=label,
        disable=None if progress is None else not progress,
        mininterval=0.2,
    )
