"""Devices, so that scripts that ask for one run: there is only the CPU."""

from __future__ import annotations

from typing import Any


class device:
    """The CPU.

    Raises
    ------
    ValueError
        Another device.
    """

    type = "cpu"
    index = None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if str(type) not in ("cpu", "cpu:0") or index:
            raise ValueError(f"device: firth runs on the CPU only, got {str(type)!r}")

    def __str__(self) -> str:
        return "cpu"

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device)

    def __hash__(self) -> int:
        return hash("cpu")


class cuda:
    """What scripts ask before they use a GPU."""

    @staticmethod
    def is_available() -> bool:
        """False: firth runs on the CPU only."""
        return False

    @staticmethod
    def device_count() -> int:
        """0."""
        return 0


def check_device(given: Any) -> None:
    """Raise ValueError where a device is given that is not the CPU."""
    if given is not None:
        device(given)
