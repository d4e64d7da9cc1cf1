"""The file of an index: its live rows as one segment that is mapped, not read.

It is a file of `firth.formats.container` of kind "index": ``vectors`` (C, dim), C a multiple of 32,
with ``scales``; ``codes``, ``bounds`` and ``centre``; ``labels`` unless they are consecutive; the
strings ``names``, where ids are str; where there are cells, ``centroids``, ``order`` and
``cell_blocks``, with the codes in that order. Once written it never changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike
from firth.kernels._dispatch import active_level
from firth.search.cells import MOST, Cells, cells_of, order_by_cell
from firth.search.segments import BLOCK, STORAGES, Mapped, Segment
from firth.search.state import State
from firth.search.table import Table

KIND = "index"
CELL_NUMBERS: dict[str, Any] = {
    "trained": int,
    "probe": int,
    "recall": float,
    "k": int,
}  # of `Cells`
_PART = 1 << 22  # bytes of rows that are assembled at a time

Coded = Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]


class Names(Sequence[str]):
    """The str of each label: those of a file, decoded on use, and new ones."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64], path: PathLike) -> None:
        self._text, self._ends, self._path = text.data, ends.data, path
        self._new: list[str] = []

    def __len__(self) -> int:
        return len(self._ends) + len(self._new)

    def __getitem__(self, label: Any) -> Any:
        count = len(self._ends)
        if count <= label < len(self):
            return self._new[label - count]
        if not 0 <= label < count:
            raise FormatError(f"there is no name for label {label}", self._path)
        start, end = (self._ends[label - 1] if label else 0), self._ends[label]
        if not 0 <= start <= end <= len(self._text):
            raise FormatError(f"the name of label {label} has no place in the text", self._path)
        return _decoded(bytes(self._text[start:end]), self._path)

    def __iter__(self) -> Iterator[str]:
        start, size = 0, len(self._text)
        for end in self._ends:
            if not start <= end <= size:
                raise FormatError("names have ends that do not fit their text", self._path)
            yield _decoded(bytes(self._text[start:end]), self._path)
            start = end
        yield from self._new

    def __setitem__(self, labels: slice, names: Iterable[str]) -> None:
        """Names of all labels from ``labels.start`` on, which is not below those of the file."""
        self._new[labels.start - len(self._ends) :] = names


def _decoded(name: bytes, path: PathLike) -> str:
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise FormatError(f"a name is not UTF-8: {error}", path) from None


def write(path: PathLike, table: Table, state: State, key: bytes, replaces: bytes) -> None:
    """Write the live rows of a state to a file, atomically."""
    table.check()
    rows, dim = state.live, table.dim
    blocks = -(-rows // BLOCK)
    capacity = blocks * BLOCK
    dtype = np.dtype(STORAGES[table.storage])
    step = max(1, _PART // (dim * dtype.itemsize * BLOCK)) * BLOCK
    names = state.names
    labels = state.live_labels()
    if names is not None:  # removed ones are dropped, the others keep their order
        used, every = np.sort(labels), list(state.each_name())
        if rows and not 0 <= used[0] <= used[-1] < len(every):
            raise FormatError("has labels without names", path)
        names = [every[label] for label in used.tolist()]
        labels = np.searchsorted(used, labels)
    run = 0
    if rows:
        breaks = np.flatnonzero(np.diff(labels) != 1)
        run = int(breaks[0]) + 1 if len(breaks) else rows

    def vectors() -> Iterator[NDArray[Any]]:
        for part, _ in _live_parts(state, step):
            yield part
        yield np.zeros((capacity - rows, dim), dtype)

    arrays: dict[str, Any] = {"vectors": container.Parts(dtype, (capacity, dim), vectors)}
    if table.storage == "int8":
        found = [part for _, part in _live_parts(state, step) if part is not None]
        arrays["scales"] = np.concatenate([*found, np.zeros(capacity - rows, np.float32)])
    if run < rows:
        arrays["labels"] = np.concatenate([labels, np.zeros(capacity - rows, np.int64)])
    centre = state.centre
    cells = state.cells if rows else None
    if centre is not None:
        order = None
        if cells is not None:
            order, cell_blocks = _order(state, cells)
            blocks = len(order) // BLOCK
            arrays["centroids"] = cells.centroids
            arrays["order"], arrays["cell_blocks"] = order, cell_blocks
        shape = (blocks, -(-dim // 4), BLOCK, 4)
        bounds = np.zeros((blocks, 3, BLOCK), np.float32)

        def codes() -> Iterator[NDArray[np.uint8]]:
            first = 0
            coded = (
                _coded(state, table, centre, step)
                if order is None
                else _coded_by_cell(state, table, centre, order, step)
            )
            for part_codes, its_bounds in coded:
                bounds[first : first + len(part_codes)] = its_bounds
                first += len(part_codes)
                yield part_codes

        arrays["codes"] = container.Parts(np.dtype(np.uint8), shape, codes)
        arrays["bounds"] = container.Parts(bounds.dtype, bounds.shape, lambda: [bounds])
        arrays["centre"] = centre
    meta = {
        "key": key.hex(), "replaces": replaces.hex(), "metric": table.metric,
        "storage": table.storage, "rows": rows, "run": run,
        "first_label": int(labels[0]) if run else 0, "centred": state.centred,
        "next_label": state.next_label if names is None else len(names), "cells": table.cells,
        "ids": None if state.id_type is None else state.id_type.__name__,
    }  # fmt: skip
    if cells is not None:
        meta |= {name: getattr(cells, name) for name in CELL_NUMBERS}
    container.write(path, KIND, arrays, meta, None if names is None else {"names": names})


def _coded(state: State, table: Table, centre: NDArray[np.float32], step: int) -> Coded:
    """Codes and bounds of the live rows in order, ``step`` at a time."""
    if _as_they_stand(state, centre):
        for segment in state.segments:
            assert segment.codes is not None
            assert segment.bounds is not None
            for first in range(0, segment.coded // BLOCK, step // BLOCK):
                some = slice(first, min(first + step // BLOCK, segment.coded // BLOCK))
                yield segment.codes[some], segment.bounds[some]
        if state.live % BLOCK:  # the last block is coded when it is full
            codes = np.zeros((1, -(-table.dim // 4), BLOCK, 4), np.uint8)
            yield codes, np.zeros((1, 3, BLOCK), np.float32)
        return
    for part, scales in _live_parts(state, step):
        full, blocks = len(part) // BLOCK, -(-len(part) // BLOCK)
        codes = np.zeros((blocks, -(-table.dim // 4), BLOCK, 4), np.uint8)
        bounds = np.zeros((blocks, 3, BLOCK), np.float32)
        _native.kernels.code_rows(
            active_level(),
            part[: full * BLOCK], None if scales is None else scales[: full * BLOCK],
            table.metric, centre, codes[:full], bounds[:full],
        )  # fmt: skip
        yield codes, bounds


def _as_they_stand(state: State, centre: NDArray[np.float32]) -> bool:
    """Whether the codes of all segments, one after the other, are those of the live rows."""
    return all(
        segment.died is None
        and segment.order is None
        and segment.centre is centre
        and segment.coded == segment.rows // BLOCK * BLOCK
        and (segment.rows == segment.capacity or segment is state.segments[-1])
        for segment in state.segments
    )


def _order(state: State, cells: Cells) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`Segment.order` and `Segment.cell_blocks` of the live rows, all of them in cells."""
    parts = []
    for segment in state.segments:
        alive = segment.alive(state.version)
        cell = cells_of(segment)[alive]
        new = np.flatnonzero(cell < 0)
        cell[new] = cells.of_rows(segment, alive[new])
        parts.append(cell)
    cell = np.concatenate(parts)
    order, cell_blocks = order_by_cell(np.arange(len(cell)), cell, len(cells.centroids))
    return order, np.append(cell_blocks, cell_blocks[-1])  # the tail is empty


def _coded_by_cell(
    state: State, table: Table, centre: NDArray[np.float32], order: NDArray[np.int32], step: int
) -> Coded:
    """Codes and bounds of the live rows in an order, ``step`` at a time."""
    slots = np.concatenate([one.alive(state.version) + one.first_slot for one in state.segments])
    for first in range(0, len(order), step):
        rows = order[first : first + step]
        there = rows >= 0
        lanes = np.full(len(rows), -1, np.int32)
        lanes[there] = np.arange(there.sum())
        codes = np.empty((len(rows) // BLOCK, -(-table.dim // 4), BLOCK, 4), np.uint8)
        bounds = np.empty((len(rows) // BLOCK, 3, BLOCK), np.float32)
        _native.kernels.code_rows(
            active_level(),
            state.floats(slots[rows[there]], table.dim), None, table.metric, centre, codes, bounds,
            lanes,
        )  # fmt: skip
        yield codes, bounds


def _live_parts(
    state: State, step: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32] | None]]:
    """Stored vectors and scales of the live rows, ``step`` at a time."""
    parts: list[tuple[Segment, Any]] = []
    count = 0
    for segment in state.segments:
        alive = None if segment.died is None else segment.alive(state.version)
        rows = segment.rows if alive is None else len(alive)
        done = 0
        while done < rows:
            take = min(step - count, rows - done)
            part = slice(done, done + take)
            parts.append((segment, part if alive is None else alive[part]))
            done, count = done + take, count + take
            if count == step:
                yield _joined(parts)
                parts, count = [], 0
    if parts:
        yield _joined(parts)


def _joined(parts: list[tuple[Segment, Any]]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    vectors = [segment.vectors[rows] for segment, rows in parts]
    scales = [segment.scales[rows] for segment, rows in parts if segment.scales is not None]
    joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
    return joined, np.concatenate(scales) if scales else None


class File:
    """What a file of an index holds, checked: ``table`` (empty), ``state``, ``key``, ``replaces``.

    FormatError for parts that do not fit together. Values within mapped arrays are checked with
    ``verify`` only: wrong ones can give wrong results, but do no other harm.
    """

    def __init__(self, path: PathLike, mmap: bool, verify: bool) -> None:
        content = container.read(
            path, KIND, mmap="r" if mmap else None, verify=True if verify else None, decode=False
        )
        self.path = path
        meta, arrays = content.meta, content.arrays
        self._arrays = {name: array.view(np.ndarray) for name, array in arrays.items()}
        self.key, self.replaces = self._key(meta, "key"), self._key(meta, "replaces")
        storage, metric = str(meta.get("storage")), str(meta.get("metric"))
        self._check(storage in STORAGES, f"unknown storage {storage!r}")
        vectors = self._arrays.get("vectors", np.zeros(0))
        self._check(vectors.ndim == 2 and vectors.shape[1:] > (0,), f"vectors {vectors.shape}")
        capacity, dim = vectors.shape
        numbers = {"rows": capacity, "run": capacity, "next_label": 2**63, "centred": 2**63}
        for name, most in numbers.items():
            value = meta.get(name)
            self._check(type(value) is int and 0 <= value <= most, f"{name} {value!r}")
        rows, run, first = meta["rows"], meta["run"], meta.get("first_label", "")
        self._check(-(-rows // BLOCK) * BLOCK == capacity, f"{rows} rows, {capacity} with padding")
        self._check(type(first) is int and -(2**63) <= first <= meta["next_label"] - run, "labels")
        self._check(run <= rows and (run == rows) == ("labels" not in arrays), f"a run of {run}")

        blocks = capacity // BLOCK
        named = "names" in content.strings or "names.ends" in arrays
        names = None
        if named:
            text = self._array("names.text", np.uint8, None)
            ends = self._array("names.ends", np.int64, meta["next_label"])
            names = Names(text, ends, path)
            self._check(first >= 0, f"first_label {first}, though ids are str")
        ids = meta.get("ids", "str" if named else "int" if rows or meta["next_label"] else None)
        self._check(ids in ((None, "int") if not named else ("str",)), f"ids {ids!r}")
        self._check(ids is not None or not (rows or meta["next_label"]), "ids of no type")
        coded = "codes" in arrays
        segment = Segment(
            self._array("vectors", STORAGES[storage], capacity, dim),
            rows=rows,
            scales=self._array("scales", np.float32, capacity) if storage == "int8" else None,
            first_label=first,
            run=run,
            labels=self._array("labels", np.int64, capacity) if run < rows else None,
        )
        cells = None
        if coded:
            in_order = rows // BLOCK * BLOCK
            if "centroids" in arrays:
                cells = self._cells(meta, metric, dim)
                segment, blocks = self._ordered(segment, len(cells.centroids))
                in_order = rows
            segment = replace(
                segment,
                codes=self._array("codes", np.uint8, blocks, -(-dim // 4), BLOCK, 4),
                bounds=self._array("bounds", np.float32, blocks, 3, BLOCK),
                centre=self._array("centre", np.float32, dim).copy(),
                coded=in_order,
            )
        try:
            self.table = Table(dim, metric, storage, meta.get("cells"))
        except (TypeError, ValueError) as error:
            raise FormatError(f"not a valid index file: {error}", path) from None
        self.table.key = self.key
        for array in arrays.values():
            if isinstance(array, np.memmap):
                held = array._mmap  # type: ignore[attr-defined]
                self.table.mapped = Mapped(os.fspath(path), held, held.size())
        self.state = State(
            segments=(segment,) if rows else (),
            live=rows,
            next_label=meta["next_label"],
            names=names,
            id_type={"int": int, "str": str, None: None}[ids],
            centre=segment.centre,
            centred=meta["centred"] if coded else 0,
            cells=cells,
        )
        self._check(
            cells is None or self.table.cells is not None, "has cells but was saved with cells=None"
        )
        if verify:
            self._verify(segment, names)

    def _check(self, holds: bool, problem: str) -> None:
        if not holds:
            raise FormatError(f"not a valid index file: {problem}", self.path)

    def _key(self, meta: dict[str, Any], name: str) -> bytes:
        try:
            key = bytes.fromhex(meta[name])
        except (KeyError, TypeError, ValueError):
            key = b""
        self._check(len(key) == 16, f"{name} {meta.get(name)!r}")
        return key

    def _array(self, name: str, dtype: Any, *shape: int | None) -> NDArray[Any]:
        array = self._arrays.get(name)
        if array is None:
            raise FormatError(f"not a valid index file: there is no array {name!r}", self.path)
        fits = array.dtype == dtype and array.ndim == len(shape)
        fits = fits and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        self._check(fits, f"{name} has shape {array.shape}, dtype {array.dtype}")
        return array

    def _cells(self, meta: dict[str, Any], metric: str, dim: int) -> Cells:
        for name, kind in CELL_NUMBERS.items():
            value: Any = meta.get(name)
            self._check(type(value) is kind and 0 < value < 2**63, f"{name} {value!r}")
        centroids = self._array("centroids", np.float32, None, dim).copy()
        self._check(0 < len(centroids) <= MOST, f"{len(centroids)} centroids")
        self._check(bool(np.isfinite(centroids).all()), "centroids that are not finite")
        return Cells(centroids, metric, **{name: meta[name] for name in CELL_NUMBERS})

    def _ordered(self, segment: Segment, cells: int) -> tuple[Segment, int]:
        cell_blocks = self._array("cell_blocks", np.int64, cells + 2).copy()
        rising = cell_blocks[0] == 0 and bool((cell_blocks[1:] >= cell_blocks[:-1]).all())
        self._check(rising, "blocks of cells that do not follow each other")
        order = self._array("order", np.int32, None)
        self._check(len(order) == int(cell_blocks[-1]) * BLOCK, f"{len(order)} lanes")
        fits = len(order) == 0 or -1 <= order.min() <= order.max() < segment.rows
        self._check(bool(fits), "an order with rows beyond the last one")
        segment = replace(segment, order=order, cell_blocks=cell_blocks, ordered=segment.rows)
        return segment, len(order) // BLOCK

    def _verify(self, segment: Segment, names: Names | None) -> None:
        """Check the values in the arrays: right checksums do not make them consistent."""
        labels = np.sort(segment.labels_of(np.arange(segment.rows)))
        self._check(not (labels[1:] == labels[:-1]).any(), "a label occurs twice")
        if len(labels):
            self._check(labels[-1] < self.state.next_label, f"label {labels[-1]}")
            self._check(names is None or labels[0] >= 0, f"label {labels[0]}")
        if segment.order is not None:
            there = np.sort(segment.order[segment.order >= 0])
            self._check(np.array_equal(there, np.arange(segment.rows)), "rows that have no place")
        if names is not None:
            seen = set(names)  # decodes them all
            self._check(len(seen) == len(names), "a name occurs twice")
        step = max(1, _PART // (4 * segment.vectors.shape[1]))
        for row in range(0, segment.rows, step):
            values = segment.floats(slice(row, min(row + step, segment.rows)))
            self._check(bool(np.isfinite(values).all()), f"rows from {row} on are not finite")
