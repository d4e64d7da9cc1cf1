"""``where`` of a search: conditions on metadata, as SQL that gives documents.

    {"year": 1990}                          equal; of a field with several values, one of them
    {"year": {">=": 1990, "<": 2000}}       a range; "<", "<=", ">", ">=" and "!="
    {"kind": {"in": ["myth", "tale"]}}      one of several
    {"kind": "myth", "year": 1990}          all of these
    {"and": [...]}, {"or": [...]}, {"not": {...}}

The field "document" is the name of a document.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from firth.arguments import check_text, shortened

JOINED = ("and", "or", "not")  # no names of fields
_RANGES = ("<", "<=", ">", ">=")
_MOST_DEEP, _MOST_VALUES = 50, 10_000
_FIELD = "SELECT document FROM fields WHERE name = ? AND "

Query = tuple[str, list[Any]]


def to_sql(where: Any, deep: int = 0) -> Query:
    """A query for the ids of documents that meet a condition, and its values.

    TypeError or ValueError for what is no condition.
    """
    if not isinstance(where, Mapping):
        raise TypeError(f"search: where must be a dict, got {shortened(where)}")
    if not where or deep > _MOST_DEEP:
        raise ValueError(f"search: where must have 1 to {_MOST_DEEP} levels of conditions")
    parts = [_part(name, value, deep) for name, value in where.items()]
    return _joined(" INTERSECT ", parts)


def _joined(how: str, parts: list[Query]) -> Query:
    text = how.join(f"SELECT * FROM ({query})" for query, _ in parts)
    return text, [value for _, values in parts for value in values]


def _part(name: Any, value: Any, deep: int) -> Query:
    if not isinstance(name, str):
        raise TypeError(f"search: where must have names of fields, got {shortened(name)}")
    check_text("search: where: a name", name)
    if name in ("and", "or"):
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError(f"search: where: {name!r} must have a list of conditions")
        how = " INTERSECT " if name == "and" else " UNION "
        return _joined(how, [to_sql(one, deep + 1) for one in value])
    if name == "not":
        query, values = to_sql(value, deep + 1)
        return f"SELECT id FROM documents EXCEPT SELECT * FROM ({query})", values
    if not isinstance(value, Mapping):
        return _one_of(name, [value])
    if not value:
        raise ValueError(f"search: where: {name!r} has no condition")
    return _joined(" INTERSECT ", [_compared(name, how, one) for how, one in value.items()])


def _compared(name: str, how: Any, value: Any) -> Query:
    if how == "in":
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
            raise TypeError(f"search: where: 'in' must have a list, got {shortened(value)}")
        return _one_of(name, list(value))
    if how == "!=":
        query, values = _one_of(name, [value])
        return f"SELECT id FROM documents EXCEPT {query}", values
    if how not in _RANGES:
        known = ", ".join(("in", "!=", *_RANGES))
        raise ValueError(f"search: where: {name!r} must have one of {known}, got {shortened(how)}")
    value = plain("search: where", name, value)
    if value is None:
        raise TypeError(f"search: where: {name!r} {how} must have a number or str, got None")
    # SQLite has all numbers before all texts
    of_type = "= 'text'" if isinstance(value, str) else "!= 'text'"
    return f"{_FIELD}typeof(value) {of_type} AND value {how} ?", [name, value]


def _one_of(name: str, values: list[Any]) -> Query:
    if len(values) > _MOST_VALUES:
        raise ValueError(f"search: where: {name!r} has more than {_MOST_VALUES} values")
    values = [plain("search: where", name, value) for value in values]
    marks = ", ".join("?" * len(values))
    null = " OR value IS NULL" if None in values else ""
    return f"{_FIELD}(value IN ({marks}){null})", [name, *values]


def plain(where: str, name: str, value: Any) -> Any:
    """A value as SQLite takes it; TypeError for what it cannot compare."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of NumPy
        value = value.item()
    if value is not None and not isinstance(value, (str, int, float)):
        kind = type(value).__name__
        raise TypeError(f"{where}: {name!r} must be a str, a number or None, got {kind}")
    if isinstance(value, str):
        check_text(f"{where}: {name!r}", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {name!r} must be finite, got {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where}: {name!r} must fit 64 bits, got {shortened(value)}")
    return int(value) if isinstance(value, bool) else value
