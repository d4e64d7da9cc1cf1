"""Checks of the arguments of an `Index`: vectors, ids, thresholds."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels._arrays import readable


def whole(where: str, value: Any, least: int, most: int | None = None) -> int:
    """An int within its bounds; ``where`` begins errors: "search: k"."""
    try:
        number = operator.index(value)
    except TypeError:
        got = repr(value) if isinstance(value, (str, float)) else f"a {type(value).__name__}"
        raise TypeError(f"{where} must be an int, got {got}") from None
    if number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{where} must be {bounds}, got {number}")
    return number


def real_rows(where: str, given: Any, dim: int) -> tuple[NDArray[Any], bool]:
    """Vectors (n, dim) of any real dtype, if possible as a view; whether it was one (dim,).

    ``where`` begins errors: "search: queries".
    """
    array = np.asarray(readable(given))
    if array.size == 0 and isinstance(given, (list, tuple)):
        array = np.empty((0, dim), np.float32)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"{where} must be real numbers, got {array.dtype}")
    if not array.dtype.isnative:
        raise TypeError(f"{where} must be in native byte order, got {array.dtype.str!r}")
    if array.shape != (dim,) and (array.ndim != 2 or array.shape[1] != dim):
        raise ValueError(f"{where} must have shape (n, {dim}) or ({dim},), got {array.shape}")
    return array.reshape(-1, dim), array.ndim == 1


def float_rows(where: str, given: Any, dim: int) -> tuple[NDArray[np.float32], bool]:
    """The same as contiguous float32; ValueError with the row's number for NaN and infinity."""
    rows, single = real_rows(where, given, dim)
    with np.errstate(over="ignore", invalid="ignore"):
        floats = np.ascontiguousarray(rows, np.float32)
    function, _, name = where.partition(": ")
    refuse_infinite(f"{function}: row {{}} of {name}", np.isfinite(floats), rows, 0, "float32")
    return floats, single


def refuse_infinite(
    where: str, finite: NDArray[np.bool_], given: NDArray[Any], first: int, storage: str
) -> None:
    """ValueError that names the first row of ``given`` that is not finite (once stored).

    ``where`` begins it, with "{}" for the number of the row; row 0 has the number ``first``.
    """
    if finite.all():
        return
    row = int(np.flatnonzero(~finite.all(axis=1))[0])
    values = given[row].astype(np.float64)
    what = f"a number beyond the range of {storage}"
    if not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
    raise ValueError(f"{where.format(first + row)} has {what}")


def checked_ids(where: str, given: Any) -> tuple[NDArray[np.int64] | list[str], bool]:
    """Ids as an int64 array, or as a list of str; and whether it was a single id."""
    if isinstance(given, Set) and where.startswith("add"):
        raise TypeError(
            f"{where} must be in the order of the vectors, got a {type(given).__name__}"
        )
    single = isinstance(given, (str, int, np.integer))
    if single:
        given = [given]
    if isinstance(given, np.ndarray) and given.dtype.kind in "UO":
        given = given.tolist()
    elif isinstance(given, Iterable) and not isinstance(given, (np.ndarray, list, bytes)):
        given = list(given)
    if isinstance(given, list) and given and isinstance(given[0], str):
        for one in given:
            if not isinstance(one, str):
                raise TypeError(f"{where} must be all int or all str, got {one!r}")
        return given, single
    array = np.asarray(given)
    if array.ndim != 1:
        raise ValueError(f"{where} must have shape (n,), got {array.shape}")
    if len(array) == 0:
        return np.empty(0, np.int64), single
    if array.dtype.kind in "U":
        raise TypeError(f"{where} must be all int or all str, got both")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{where} must be int (of 64 bits) or str, got {array.dtype}")
    if array.dtype == np.uint64 and array.max() > np.uint64(2**63 - 1):
        raise ValueError(f"{where} must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64), single


def thresholds(where: str, given: Any, queries: int) -> NDArray[np.float32]:
    """One threshold for each query: the least float32 that is not below what was given."""
    values = np.asarray(readable(given), np.float64)
    if values.shape not in ((), (queries,)):
        raise ValueError(f"{where} must be a number or have shape ({queries},), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{where} is NaN")
    with np.errstate(over="ignore"):
        rounded = np.broadcast_to(values, queries).astype(np.float32)
    low = rounded < values
    rounded[low] = np.nextafter(rounded[low], np.float32(np.inf))
    return rounded


def checked_probe(probe: Any, cells: Any) -> Any:
    """``probe``, checked: a number of cells or "all", only in an index with ``cells``."""
    if cells is None:
        raise ValueError("search: probe is for an index with cells, such as Index(cells='auto')")
    if isinstance(probe, str) and probe == "all":
        return probe
    return whole("search: probe ('all', or a number)", probe, 1)
