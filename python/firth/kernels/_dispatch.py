"""Which code runs a kernel: the `kernel` decorator, the backends, and `use`.

A kernel is one page (``firth/kernels/<name>.py``)::

    @kernel
    def name(x, *, out=None): ...    # the public signature, its contract, the NumPy reference

    @name.prepare
    def _(x, *, out=None): ...       # checks arguments; returns (result, *arguments)

    @name.numba
    def _(arguments...): ...         # plain loops, compiled by Numba on first use

    @name.native
    def _(level, arguments...): ...  # the call into firth._native

    @name.for_numba                  # where there are many kinds of arguments
    def _(arguments...): ...         # returns those of the Numba version, of few types

A call runs ``prepare`` whatever the backend is, so bad input is refused before anything is written;
then the active implementation gets ``arguments``. It fills arrays among them, or returns a value
that is then the result in place of the prepared one. An argument of a type that Numba does not know
has an attribute ``for_numba``: what the Numba version gets in its place. Numba compiles a version,
for seconds, for each combination of dtypes, numbers of axes, layouts and None; ``for_numba`` on the
page makes these few.

The gradient of a kernel is on the same page, as a kernel of its own with the same four parts::

    @kernel
    def name_backward(gradient, ...): ...

    @differentiable(name_backward)
    def name(x, *, out=None): ...

and is reached as ``name.backward``; a kernel without one has no such attribute. It stands first so
that type checkers know the signatures of both.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from firth import _native
from firth.kernels import _arrays
from firth.optional import needs

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")  # those of a kernel's gradient
S = TypeVar("S")

compiled: dict[str, _native.Level] = {level.name: level for level in _native.levels()}
"""All ISA levels of this build by name, best first."""

levels = {name: level for name, level in compiled.items() if level.obstacle is None}
"""Those that this machine runs. The system may yet refuse one at its first use: `refusal`."""

calls: Counter[str] = Counter()
"""How often each backend ran since import; the tests check that the one they name was called."""


def backends() -> list[str]:
    """Legal backend names on this machine: numpy, numba, native, and native:<level>.

    The names are for `use` and FIRTH_BACKEND; "native" is the level of FIRTH_ISA, or the best one.
    """
    return ["numpy", "numba", "native", *(f"native:{name}" for name in levels)]


asked: dict[str, str | None] = {}
"""Why the system refused each level that was about to run, or None where it did not."""


def refusal(level: str) -> str | None:
    """Why a level of this build does not run here, or None.

    The first call for a level asks the system for what it needs (matrix tiles: a permission that
    all threads of the process then have), so it comes when the level is about to run, and not for
    levels below it. The answer stays: results never change in the middle of a process.
    """
    return asked[level] if level in asked else asked.setdefault(level, compiled[level].refused())


def granted() -> list[str]:
    """The levels that run here, best first, without those that the system has refused."""
    return [name for name in levels if not asked.get(name)]


def _best() -> str:
    """The best level that the system grants."""
    return next(name for name in levels if refusal(name) is None)


def _parse(name: str, source: str) -> str:
    """Complete and check a backend name; ``source`` says where it came from."""
    if name == "native":
        isa = os.environ.get("FIRTH_ISA", "")
        if not isa:
            return f"native:{_best()}"
        if isa not in compiled:
            raise ValueError(
                f"FIRTH_ISA: unknown or unavailable level {isa!r}; this machine runs {granted()}"
            )
        name, source = f"native:{isa}", "FIRTH_ISA"
    kind, _, level = name.partition(":")
    if kind == "native" and level in compiled:
        if why := refusal(level):
            raise ValueError(
                f"{source}: level {level!r} does not run here: {why}; this machine runs {granted()}"
            )
    elif name not in backends():
        raise ValueError(
            f"{source}: unknown or unavailable backend {name!r}; legal names are {backends()}"
        )
    if name == "numba":
        needs("numba", f"{source}: backend 'numba'")
    return name


_active: ContextVar[str | None] = ContextVar("firth_backend", default=None)


@functools.cache
def _default() -> str:
    return _parse(os.environ.get("FIRTH_BACKEND", "native"), "FIRTH_BACKEND")


def active() -> str:
    """Name of the backend that a kernel called now would run on, as ``native:v4``.

    That of the `use` block around the call, else FIRTH_BACKEND's, else the best native level.
    ValueError where an environment variable names what is not there.
    """
    return _active.get() or _default()


def active_level() -> _native.Level:
    """The ISA level for code that exists in C++ only: the active one, else what "native" means."""
    name = active()
    if not name.startswith("native:"):
        name = _parse("native", "FIRTH_BACKEND")
    return compiled[name.partition(":")[2]]


def use(backend: str) -> AbstractContextManager[str]:
    """Run kernels on ``backend`` inside a ``with`` block; safe with threads and async code.

    It applies to the thread (or task) that entered the block; a thread started inside has the
    default.

    Parameters
    ----------
    backend : str
        ``"numpy"``, ``"numba"``, ``"native"`` or ``"native:<level>"``.

    Raises
    ------
    ValueError
        At the call already: the name is unknown or this machine cannot run it; the legal names are
        listed.
    ImportError
        Numba is requested and not installed.

    Warns
    -----
    RuntimeWarning
        The result is thrown away and no ``with`` block entered: that changes nothing.
    """
    return _Using(_parse(backend, "use"))


class _Using(AbstractContextManager[str]):
    """What `use` returns: one ``with`` block on a backend."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._token: Token[str | None] | None = None

    def __enter__(self) -> str:
        if self._token is not None:
            raise RuntimeError("use: each `with` block needs its own kernels.use(...)")
        self._token = _active.set(self._name)
        return self._name

    def __exit__(self, *exception: object) -> None:
        assert self._token is not None
        _active.reset(self._token)

    def __del__(self) -> None:
        if self._token is None:
            warnings.warn(
                f"kernels.use({self._name!r}) alone changes nothing: "
                f"use it as `with kernels.use({self._name!r}):`",
                RuntimeWarning,  # shown by default, as that of a coroutine never awaited
                stacklevel=2,
            )


def _quiet(reference: Callable[P, R]) -> Callable[P, R]:
    """`reference` without NumPy's warnings about inf and NaN.

    Kernels propagate them and say so; compiled code is silent. Which operations of NumPy warn
    depends on the BLAS kernels that it picks for the CPU, so there is nothing to rely on either.
    """

    @functools.wraps(reference)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return reference(*args, **kwargs)

    return quiet


class Kernel(Generic[P, R]):
    """A public kernel with its three implementations; made by the `kernel` decorator."""

    def __init__(self, reference: Callable[P, R]) -> None:
        functools.update_wrapper(self, reference)
        self.reference = _quiet(reference)
        """The NumPy definition of the truth, callable with the public arguments."""
        self._prepare: Callable[P, tuple[Any, ...]]
        self._numba: Callable[..., Any]
        self._native: Callable[..., Any]
        self._for_numba: Callable[..., tuple[Any, ...]] = lambda *arguments: arguments

    def __repr__(self) -> str:
        return f"<firth kernel {self.reference.__name__}>"

    def __reduce__(self) -> str:
        return self.reference.__name__  # pickled by name, as a function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(active(), args, kwargs)

    def _run(self, backend: str, args: Any, kwargs: Any) -> R:
        result, *arguments = self._prepare(*args, **kwargs)
        calls[backend] += 1
        kind, _, level = backend.partition(":")
        if kind == "numpy":
            value: Any = self.reference(*args, **kwargs)
            if isinstance(result, np.ndarray) and isinstance(value, (np.ndarray, np.generic)):
                # Lists are float64 to NumPy, float32 to a kernel that knows nothing else.
                value = value.astype(result.dtype, copy=False)
            defined: R = value
            return defined
        if kind == "numba":
            known = [getattr(a, "for_numba", a) for a in arguments]
            returned = self._compiled(*self._for_numba(*known))
        else:
            returned = self._native(compiled[level], *arguments)
        final: R = _arrays.deliver(result if returned is None else returned, kwargs.get("out"))
        return final

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        import numba

        compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True)(self._numba)
        return compiled

    def prepare(self, function: Callable[P, tuple[Any, ...]]) -> None:
        """Register the check that runs before every backend."""
        # Python's errors about arguments then name the kernel.
        function.__name__ = function.__qualname__ = self.reference.__name__
        self._prepare = function

    def for_numba(self, function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        """Register what brings the arguments of the Numba version into few types."""
        self._for_numba = function
        return function  # for the next kernel's

    # `numba` and `native` serve twice: on the page as decorators that register an implementation,
    # afterwards as callables with the public arguments that run it whatever backend is active.

    @overload
    def numba(self, function: Callable[..., Any], /) -> None: ...
    @overload
    def numba(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def numba(self, *args: Any, **kwargs: Any) -> Any:
        """Run the Numba version (on its page: register it)."""
        if not hasattr(self, "_numba"):
            self._numba = args[0]
            return None
        return self._run(_parse("numba", "numba"), args, kwargs)

    @overload
    def native(self, function: Callable[..., Any], /) -> None: ...
    @overload
    def native(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def native(self, *args: Any, **kwargs: Any) -> Any:
        """Run the C++ version at the active level (on its page: register it)."""
        if not hasattr(self, "_native"):
            self._native = args[0]
            return None
        return self._run(f"native:{active_level().name}", args, kwargs)


class Differentiable(Kernel[P, R], Generic[P, R, Q, S]):
    """A kernel with a gradient; made by the `differentiable` decorator."""

    def __init__(self, reference: Callable[P, R], backward: Kernel[Q, S]) -> None:
        super().__init__(reference)
        self.backward = backward
        """The gradient, a kernel itself."""


def kernel(reference: Callable[P, R]) -> Kernel[P, R]:
    """Turn a NumPy reference into a public kernel; see the head of this module."""
    return Kernel(reference)


def differentiable(
    backward: Kernel[Q, S],
) -> Callable[[Callable[P, R]], Differentiable[P, R, Q, S]]:
    """As `kernel`, for one that has a gradient."""
    return lambda reference: Differentiable(reference, backward)
