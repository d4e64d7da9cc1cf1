"""Texts of files for `embed`, and the folder that it writes: what is planned, done and left.

Knows no Ray. A split of a file is what one reads at a time, its texts make one shard or several,
which are cut by the texts alone; a shard is a file of the folder, there whole or not at all. The
plan, ``_embedding.json``, is there before the first of them.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import os
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.distributed.splits import (
    Paths,
    Split,
    check_unchanged,
    files,
    local,
    opened_file,
    packed,
    state,
)
from firth.errors import FormatError
from firth.formats import npy
from firth.formats.files import COMPRESSED, PathLike, atomic, reading
from firth.optional import needs

PLAN = "_embedding.json"  # readers of Parquet pass over such names
FORMATS = ("parquet", "npy")
TEXT = 4 << 20  # characters of a shard: half a minute of work, and what memory has to hold
_PIECES, _SMALLEST = 256, 64 << 10  # splits of a small collection, so that all workers have some
_TASKS = 64  # that a split is dealt in at most: each reads it from its beginning
_LONGEST = 64 << 20  # bytes of a line
_OWN = ("source", "row", "embedding")  # columns that are added

# Texts of files


def kind_of(path: str) -> str:
    """What a file holds, by its name: "text", "jsonl", "csv", "tsv" or "parquet"."""
    name = path.lower()
    for suffix in (*COMPRESSED, ".zip"):
        name = name.removesuffix(suffix)
    last = name.rpartition(".")[2]
    if last == "ndjson":
        return "jsonl"
    return last if last in ("jsonl", "csv", "tsv", "parquet") else "text"


def plan(where: str, paths: Paths, column: str) -> list[Split]:
    """The splits of files in order, whatever the number of workers.

    Of lines they are bytes; of Parquet groups of rows (``start`` and ``stop`` count them); of a
    packed file, and of CSV, where a field may have several lines, there is one.

    Raises
    ------
    ValueError
        A Parquet file has no such column. FileNotFoundError: as `files`.
    """
    found = [(path, kind_of(path), *state(where, path)) for path in files(where, paths)]
    step = min(max(sum(size for _, _, size, _ in found) // _PIECES, _SMALLEST), TEXT)
    splits = []
    for path, kind, size, changed in found:
        last, by = size, step
        if kind == "parquet":
            last, by = _groups(where, path, column), 1
        elif kind in ("csv", "tsv") or packed(path):
            by = max(1, size)
        for start in range(0, last, by):
            splits.append(Split(path, start, min(last, start + by), size, changed))
    return splits


def _groups(where: str, path: str, column: str) -> int:
    arrow = needs("pyarrow", f"{where}: {path}")
    parquet = needs("pyarrow.parquet", f"{where}: {path}", "pyarrow")
    with opened_file(path) as file:
        try:
            opened = parquet.ParquetFile(file)
        except arrow.ArrowInvalid as error:
            raise FormatError(f"is no Parquet file: {error}", path) from None
        if column not in (names := opened.schema_arrow.names):
            raise ValueError(f"{where}: {path} has no column {column!r}, but {names}")
        return int(opened.num_row_groups)


def texts(split: Split, column: str) -> Generator[str, None, None]:
    """The texts of a split.

    A line of a text file is one, also where it is empty; of the other kinds it is what ``column``
    says in a row.

    Raises
    ------
    FormatError
        What is no UTF-8, no JSON or CSV, or no text; it says in which line or row.
    RuntimeError
        The file is another than when it was planned.
    """
    kind = kind_of(split.path)
    if kind == "parquet":
        yield from _of_parquet(split, column)
    elif kind in ("csv", "tsv"):
        yield from _of_csv(split, column, "," if kind == "csv" else "\t")
    else:
        for i, text in enumerate(_decoded(split)):
            if kind == "text":
                yield text.rstrip("\r\n")
            elif text.strip():
                yield _of_json(split, i, text, column)


def _lines(split: Split) -> Iterator[bytes]:
    with local(split) as (path, start, stop):
        if packed(split.path):
            with reading(path) as source:
                yield from (line for _, line in source.lines(_LONGEST))
            return
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop:
                line = file.readline(_LONGEST + 1)
                if len(line) > _LONGEST:
                    raise FormatError(f"has a line longer than {_LONGEST} bytes", split.path)
                if not line:
                    raise RuntimeError(f"{split.path}: became shorter while it was read")
                start += len(line)
                yield line


def _decoded(split: Split) -> Iterator[str]:
    marked = kind_of(split.path) != "text" and split.start == 0
    for i, line in enumerate(_lines(split)):
        try:
            yield line.decode("utf-8-sig" if marked and i == 0 else "utf-8")
        except UnicodeDecodeError:
            raise _wrong(split, i, "is not UTF-8 text") from None


def _wrong(split: Split, line: int, what: str) -> FormatError:
    """An error about a line of a split, as its number in the file."""
    before = 0
    with opened_file(split.path) as file:
        # The line that goes on where the split begins belongs to the one before, its end counts.
        position = split.start - 1
        while position > 0 and (block := file.read(min(position, 1 << 22))):
            before += block.count(b"\n")
            position -= len(block)
        if split.start:
            before += 1
    return FormatError(f"line {before + line + 1} {what}", split.path)


def _of_json(split: Split, line: int, text: str, column: str) -> str:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(split, line, f"is no JSON: {error}") from None
    if not isinstance(row, dict) or column not in row:
        raise _wrong(split, line, f"has no field {column!r}")
    if not isinstance(row[column], str):
        raise _wrong(split, line, f"has no text in {column!r}, but {type(row[column]).__name__}")
    return str(row[column])


def _of_csv(split: Split, column: str, delimiter: str) -> Iterator[str]:
    before = csv.field_size_limit(_LONGEST)
    try:
        rows = csv.reader(_decoded(split), delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            if column not in header:
                raise FormatError(f"has no column {column!r}, but {header}", split.path)
            place = header.index(column)
            for row in rows:
                if row and place >= len(row):
                    raise FormatError(f"line {rows.line_num} has no {column!r}", split.path)
                if row:
                    yield row[place]
        except csv.Error as error:
            raise FormatError(f"line {rows.line_num}: {error}", split.path) from None
    finally:
        csv.field_size_limit(before)


def _of_parquet(split: Split, column: str) -> Iterator[str]:
    check_unchanged(split)
    parquet = needs("pyarrow.parquet", f"reading {split.path}", "pyarrow")
    with opened_file(split.path) as file:
        rows = parquet.ParquetFile(file).iter_batches(
            1024, row_groups=range(split.start, split.stop), columns=[column]
        )
        number = itertools.count()
        for batch in rows:
            for text in batch.column(0).to_pylist():
                i = next(number)
                if not isinstance(text, str):
                    raise FormatError(
                        f"row {i} of group {split.start} has no text in {column!r}, but "
                        f"{type(text).__name__}",
                        split.path,
                    )
                yield text


def cut(found: Iterable[str], rows: int) -> list[int]:
    """How many texts each shard has: ``rows`` of them or `TEXT` characters, whichever is less."""
    sizes: list[int] = []
    length = 0
    for text in found:
        if not sizes or sizes[-1] == rows or length + len(text) > TEXT:
            sizes.append(0)
            length = 0
        sizes[-1] += 1
        length += len(text)
    return sizes


def survey(split: Split, column: str, rows: int) -> list[int]:
    """`cut` of a split's texts, all of which are read, so this finds what is wrong with them."""
    return cut(texts(split, column), rows)


def digest(found: Iterable[str]) -> str:
    """Of texts and where they end."""
    state = hashlib.blake2b(digest_size=16)
    for text in found:
        data = text.encode(errors="surrogatepass")
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


# The folder


@dataclass(frozen=True)
class Shard:
    """Some rows that follow each other, and the file that has their vectors.

    Attributes
    ----------
    number : int
        Its place among all.
    name : str
        Of the file, in the folder.
    source : str or None
        The file that the texts are from; None: a dataset.
    first, rows : int
        The first row, counted from 0 in its source, and how many there are.
    """

    number: int
    name: str
    source: str | None
    first: int
    rows: int
    split: int
    skipped: int  # texts of the split before it


@dataclass(frozen=True)
class Plan:
    """All that a folder will hold.

    ``settings`` are what must not change; ``splits`` are none for a dataset; ``sizes`` are the rows
    of each split's shards; ``digests`` (of a dataset) belong to the texts of each shard.
    """

    settings: dict[str, Any]
    splits: list[Split]
    sizes: list[list[int]]
    digests: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def rows(self) -> int:
        """Of all shards."""
        return sum(map(sum, self.sizes))

    def shards(self) -> list[Shard]:
        """In the order of the texts."""
        found: list[Shard] = []
        count, first = sum(map(len, self.sizes)), 0
        for i, sizes in enumerate(self.sizes):
            source = self.splits[i].path if self.splits else None
            if source is not None and self.splits[i].start == 0:
                first = 0
            skipped = 0
            for rows in sizes:
                name = f"part-{len(found):05}-of-{count:05}.{self.settings['format']}"
                found.append(Shard(len(found), name, source, first, rows, i, skipped))
                first, skipped = first + rows, skipped + rows
        return found

    def write(self, folder: str) -> None:
        """To ``_embedding.json``."""
        sources = list(dict.fromkeys((one.path, one.size, one.changed) for one in self.splits))
        place = {source: i for i, source in enumerate(sources)}
        content = {
            "complete": self.complete,
            "rows": self.rows,
            "settings": self.settings,
            "sources": sources,
            "splits": [
                [place[one.path, one.size, one.changed], one.start, one.stop] for one in self.splits
            ],
            "sizes": self.sizes,
            "digests": self.digests,
        }
        with atomic(os.path.join(folder, PLAN)) as file:
            file.write(json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape"))

    @staticmethod
    def read(folder: str) -> Plan:
        """From there. FormatError for what is none."""
        path = os.path.join(folder, PLAN)
        with open(path, "rb") as file:
            data = file.read()
        try:
            content = json.loads(data.decode(errors="surrogateescape"))
            sources = [(str(a), int(b), str(c)) for a, b, c in content["sources"]]
            splits = [
                Split(sources[i][0], int(start), int(stop), *sources[i][1:])
                for i, start, stop in content["splits"]
            ]
            sizes = [[int(rows) for rows in one] for one in content["sizes"]]
            settings = dict(content["settings"])
            if settings["format"] not in FORMATS or not int(settings["width"]) > 0:
                raise ValueError("settings")
            digests = [str(one) for one in content["digests"]]
            return Plan(settings, splits, sizes, digests, content["complete"] is True)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            raise FormatError("is no plan of embed", path) from None


def begun(where: str, folder: str, settings: dict[str, Any]) -> Plan | None:
    """The plan of a folder in which the same work was begun; None where it is empty or missing.

    Raises
    ------
    NotADirectoryError, FileExistsError
        There is something else. ValueError: another work was begun there.
    """
    if not os.path.exists(folder):
        return None
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{where}: {folder} is a file; out must be a folder")
    if not os.path.exists(os.path.join(folder, PLAN)):
        if any(not _is_leftover(name) for name in os.listdir(folder)):
            raise FileExistsError(f"{where}: {folder} has files but no {PLAN}; out must be empty")
        return None
    found = Plan.read(folder)
    for name, value in settings.items():
        if (old := found.settings.get(name)) != value:
            raise ValueError(
                f"{where}: {folder} was begun with {name} {old!r}, not {value!r}; give another out"
            )
    return found


def _is_leftover(name: str) -> bool:
    """Of a write that was killed; see `atomic`."""
    return re.fullmatch(r"\..*\.[0-9a-f]{8}\.tmp", name) is not None


def clean(folder: str) -> None:
    """Remove what killed writes left."""
    for name in os.listdir(folder):
        if _is_leftover(name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


def is_done(folder: str, shard: Shard, settings: dict[str, Any]) -> bool:
    """Whether a shard's file is there and whole, by its size and what it says of itself."""
    path = os.path.join(folder, shard.name)
    if not os.path.exists(path):
        return False
    if settings["format"] == "parquet":
        arrow = needs("pyarrow", f"reading {path}")
        parquet = needs("pyarrow.parquet", f"reading {path}", "pyarrow")
        try:
            return bool(parquet.read_metadata(path).num_rows == shard.rows)
        except (arrow.ArrowInvalid, OSError):
            return False
    try:
        found = npy.read(path, mmap="r")
    except (FormatError, OSError):
        return False
    return found.shape == (shard.rows, settings["width"]) and found.dtype == settings["dtype"]


def tasks(shards: Sequence[Shard], done: set[int]) -> list[list[Shard]]:
    """What is left, in parts for workers: shards of one split, in order."""
    found = []
    for _, group in itertools.groupby(shards, lambda one: (one.source, one.split)):
        several = list(group)
        step = -(-len(several) // _TASKS) if several[0].source is not None else 1
        for begin in range(0, len(several), step):
            left = [one for one in several[begin : begin + step] if one.number not in done]
            if left:
                found.append(left)
    return found


def own_columns(shard: Shard) -> dict[str, Any]:
    """What a file of Parquet says of each row: its number, and where it is from."""
    rows = np.arange(shard.first, shard.first + shard.rows)
    return ({} if shard.source is None else {"source": [shard.source] * shard.rows}) | {"row": rows}


def check_columns(where: str, column: str, names: Sequence[str] | None) -> None:
    """ValueError where a dataset lacks the column, or has one that is added."""
    if names is not None and column not in names:
        raise ValueError(f"{where}: the dataset has no column {column!r}, but {list(names)}")
    for name in ("row", "embedding") if names is not None else _OWN:
        if name in (names if names is not None else [column]):
            raise ValueError(f"{where}: the column {name!r} is one that is added; rename yours")


def write_shard(path: str, table: Any, vectors: NDArray[Any]) -> None:
    """Vectors (n, D) alone (.npy), or as a column of a table (Parquet)."""
    if path.endswith(".npy"):
        with atomic(path) as file:
            np.save(file, vectors, allow_pickle=False)
        return
    arrow = needs("pyarrow", "embed")
    parquet = needs("pyarrow.parquet", "embed", "pyarrow")
    flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1))
    column = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with atomic(path) as file:
        parquet.write_table(table.append_column("embedding", column), file)


def open_embedding(folder: PathLike) -> Iterator[tuple[Shard, NDArray[Any]]]:
    """The shards that `firth.distributed.embed` wrote, in the order of the texts.

    ``ShardedIndex.build((vectors for _, vectors in open_embedding(folder)), ...)`` builds an index
    of them whose ids are the numbers of the texts.

    Parameters
    ----------
    folder : path-like

    Yields
    ------
    shard : Shard
        Its ``name``, ``source``, ``first`` and ``rows``.
    vectors : ndarray (rows, D)
        float32, or of the precision; of .npy files mapped.

    Raises
    ------
    FileNotFoundError
        `embed` wrote nothing there. ValueError: it has not finished.
    FormatError
        A file is damaged.
    """
    place = os.fspath(folder)
    if not os.path.exists(os.path.join(place, PLAN)):
        raise FileNotFoundError(f"open_embedding: {place} has no {PLAN}")
    found = Plan.read(place)
    if not found.complete:
        raise ValueError(f"open_embedding: {place} is not finished; call embed again as before")
    return _opened(place, found)


def _opened(folder: str, plan: Plan) -> Iterator[tuple[Shard, NDArray[Any]]]:
    for shard in plan.shards():
        path = os.path.join(folder, shard.name)
        if not is_done(folder, shard, plan.settings):
            raise FormatError("is missing or damaged; call embed again as before", path)
        if plan.settings["format"] == "npy":
            yield shard, npy.read(path, mmap="r")
            continue
        parquet = needs("pyarrow.parquet", "open_embedding", "pyarrow")
        column = parquet.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
        flat = column.flatten().to_numpy()
        yield shard, flat.reshape(shard.rows, plan.settings["width"])
