"""Which code runs here: levels, threads, versions; and the thread count."""

from __future__ import annotations

import operator
import platform
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Info:
    """What `info` returns; prints as one line a field."""

    version: str
    backend: str
    usable_levels: list[str]
    compiled_levels: list[str]
    unused_levels: dict[str, str]
    threads: int
    python: str
    numpy: str
    machine: str

    def __str__(self) -> str:
        width = max(len(name) for name in asdict(self))
        lines = []
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                value = [f"{level} ({why})" for level, why in value.items()] or ["none"]
            text = ", ".join(value) if isinstance(value, list) else value
            lines.append(f"{name.replace('_', ' '):<{width}}  {text}")
        return "\n".join(lines)


def info() -> Info:
    """Versions, the active backend and ISA level, and the number of threads.

    It names the level in use, so it asks the system for what that level needs, as a kernel would.

    Returns
    -------
    Info
        Fields ``version``, ``backend`` (as ``native:v4``), ``usable_levels`` (best first),
        ``compiled_levels``, ``unused_levels`` (of each level above the one in use, why it is not),
        ``threads``, ``python``, ``numpy``, ``machine``.
    """
    import numpy

    import firth
    from firth import _native
    from firth.kernels import _dispatch

    in_use = _dispatch.active_level().name
    names, compiled, asked = list(_dispatch.compiled), _dispatch.compiled, _dispatch.asked
    return Info(
        version=firth.__version__,
        backend=_dispatch.active(),
        usable_levels=_dispatch.granted(),
        compiled_levels=names,
        unused_levels={
            name: compiled[name].obstacle or asked.get(name) or "a lower level was chosen"
            for name in names[: names.index(in_use)]
        },
        threads=_native.num_threads(),
        python=platform.python_version(),
        numpy=numpy.__version__,
        machine=f"{platform.system()} {platform.machine()}",
    )


def set_num_threads(count: int) -> None:
    """Let native code use ``count`` threads, the calling one included.

    The default is ``FIRTH_NUM_THREADS`` (the first kernel raises ValueError where that is not a
    number in the same range), else the first number of ``OMP_NUM_THREADS``, else the physical cores
    that this process may use. No result of a kernel depends on it.

    Parameters
    ----------
    count : int
        From 1 to 1024.

    Raises
    ------
    TypeError
        ``count`` is not an integer.
    ValueError
        ``count`` is out of range.
    """
    from firth import _native

    try:
        number = operator.index(count)
    except TypeError:
        raise TypeError(
            f"set_num_threads: count must be an integer, got {type(count).__name__}"
        ) from None
    if not 1 <= number <= _native.MOST_THREADS:
        raise ValueError(
            f"set_num_threads: count must be from 1 to {_native.MOST_THREADS}, got {number}"
        )
    _native.set_num_threads(number)


def register_threadpoolctl() -> None:
    """Make ``threadpoolctl`` see and limit firth's pool; ImportError where it is missing."""
    from firth.optional import needs

    threadpoolctl = needs("threadpoolctl", "register_threadpoolctl")

    base: Any = threadpoolctl.LibController

    class FirthController(base):  # type: ignore[misc]
        user_api = "firth"
        internal_api = "firth"
        filename_prefixes = ("_native",)
        check_symbols = ("firth_get_num_threads", "firth_set_num_threads")

        def get_num_threads(self) -> int:
            return int(self.dynlib.firth_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.firth_set_num_threads(num_threads)

        def get_version(self) -> str:
            import firth

            return firth.__version__

        def set_additional_attributes(self) -> None:
            pass

    threadpoolctl.register(FirthController)
