"""Names of gensim 3, in calls and as attributes: errors that give today's names."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def renamed(
    **names: str,
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Decorator: keyword arguments of gensim 3 are errors that give the present names."""

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(function)
        def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            for old in names.keys() & kwargs.keys():
                where = function.__qualname__.removesuffix(".__init__")
                raise TypeError(
                    f"{where}: got an unexpected keyword argument {old!r}: that is gensim 3's "
                    f"name; did you mean {names[old]!r}?"
                )
            return function(*args, **kwargs)

        return checked

    return decorate


def gone(old: str, instead: str) -> property:
    """An attribute that gensim 4 removed: an AttributeError says what to use."""

    def refuse(self: object) -> NoReturn:
        raise AttributeError(f"{old} is gone since gensim 4: use {instead}")

    refuse.__doc__ = "Gone since gensim 4: AttributeError says what to use."
    return property(refuse)


class VectorsInWv:
    """Base of models whose vectors are in ``wv``, and not in the model as before gensim 4."""

    if not TYPE_CHECKING:  # type checkers must see these names as missing

        def __getattr__(self, name):
            kind, wv = type(self).__name__, self.__dict__.get("wv")
            if not name.startswith("_") and (hasattr(type(wv), name) or name in vars(wv or self)):
                raise AttributeError(f"{kind} has no {name!r}: use model.wv.{name}")
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")

        def __getitem__(self, key):
            raise TypeError(f"{type(self).__name__} holds no vectors itself: use model.wv[key]")


def deprecated(old: str, new: str) -> None:
    """Warn the caller of a function that has another name in gensim 4."""
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)
