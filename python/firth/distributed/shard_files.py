"""The folder of a sharded index: its files, which of them has an id, and what changes them.

Knows no Ray. A folder holds

- ``shard-000.firth``, ...: an `Index` each, with the ids and vectors that are its part. An id
  belongs to one shard, which follows from the id alone (`shard_of`);
- ``ids.firth``: an `Index` too, of all ids, with vectors of one number that means nothing. It
  knows what no shard does: the order of all rows, which masks go by; the number of each str, by
  which equal scores are sorted; the next automatic id. It also refuses what `Index` refuses;
- ``change.firth``, from the begin to the end of an addition or removal: all of it. Where it is
  found, a program was ended meanwhile, and the change is made again, which is the same as making
  it once: it replaces rows by themselves and removes what is left;
- ``manifest.json``, written last of all: without it a folder holds no index.

Each index has a log beside its file while there is one (`firth.search.storage`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike, atomic, held
from firth.search.filters import Choices, parse
from firth.search.index import Index
from firth.search.segments import new_segment, store
from firth.search.state import State
from firth.search.storage import SHARDED

VERSION = 1  # of the layout
IDS_STORAGE: Literal["float16"] = "float16"  # of vectors that mean nothing
KIND = "change of a sharded index"
MOST = 4096  # shards
Ids = NDArray[np.int64] | list[str]
_OURS = re.compile(
    r"\.?((shard-\d{3,4}|ids|change)\.firth(\.log)?|manifest\.json\.)(\.?[0-9a-f]{8}\.tmp)?"
)


@dataclass(frozen=True)
class Manifest:
    """What the indexes of all shards are."""

    shards: int
    dim: int
    metric: Literal["cosine", "ip", "l2"]
    storage: Literal["float32", "float16", "bfloat16", "int8"]
    cells: Any


class Folder:
    """The paths in a folder."""

    def __init__(self, path: PathLike, shards: int) -> None:
        self.path = os.path.realpath(path)
        self.files = [os.path.join(self.path, f"shard-{n:03}.firth") for n in range(shards)]
        self.ids = os.path.join(self.path, SHARDED)
        self.change = os.path.join(self.path, "change.firth")
        self.manifest = os.path.join(self.path, "manifest.json")

    @contextlib.contextmanager
    def made(self, where: str) -> Iterator[None]:
        """Make the folder, or take an empty one, or one of a `build` that was ended, and fill it.

        After an exception nothing of ours is left. FileExistsError: it holds something else;
        BlockingIOError: another call fills it.
        """
        os.makedirs(self.path, exist_ok=True)
        with held(where, self.path):
            others = [name for name in os.listdir(self.path) if not _OURS.fullmatch(name)]
            if others:
                what = "an index" if "manifest.json" in others else f"other files ({min(others)})"
                raise FileExistsError(f"{where}: {self.path} holds {what}; give another folder")
            self._clear()
            try:
                yield
            except BaseException:
                self._clear()
                with contextlib.suppress(OSError):
                    os.rmdir(self.path)
                raise

    def moment(self) -> tuple[Any, ...] | None:
        """What differs after each change; None while one is under way."""
        found: list[Any] = []
        for path in (self.ids, self.ids + ".log"):
            with contextlib.suppress(FileNotFoundError):
                facts = os.stat(path)
                found += [facts.st_ino, facts.st_size, facts.st_mtime_ns]
        return None if os.path.exists(self.change) else tuple(found)

    def _clear(self) -> None:
        """Remove what is ours."""
        for name in os.listdir(self.path):
            if _OURS.fullmatch(name):
                os.unlink(os.path.join(self.path, name))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: now the folder is an index."""
        with atomic(self.manifest) as file:
            file.write(json.dumps({"version": VERSION, **asdict(manifest)}).encode() + b"\n")


def opened(where: str, path: PathLike) -> tuple[Folder, Manifest]:
    """A folder that holds an index.

    Raises
    ------
    FileNotFoundError
        There is no manifest, or one of the files is missing. FormatError: a manifest that is none.
    """
    file = os.path.join(os.path.realpath(path), "manifest.json")
    if not os.path.exists(file):
        raise FileNotFoundError(f"{where}: {os.fspath(path)} holds no sharded index ({file})")
    with open(file, "rb") as opened:
        try:
            facts = json.loads(opened.read())
            version = facts.pop("version")
            if version != VERSION:
                raise FormatError(f"has layout version {version}, this firth reads {VERSION}", file)
            manifest = Manifest(**facts)
            if type(manifest.shards) is not int or not 1 <= manifest.shards <= MOST:
                raise ValueError(f"{manifest.shards!r} shards")
            Index(manifest.dim, manifest.metric, manifest.storage, cells=manifest.cells)
        except FormatError:
            raise
        except Exception as error:  # what is no manifest fails in any way
            raise FormatError(f"is not the manifest of a sharded index: {error}", file) from None
    folder = Folder(path, manifest.shards)
    for one in (folder.ids, *folder.files):
        if not os.path.exists(one):
            raise FileNotFoundError(f"{where}: {one} is missing")
    return folder, manifest


# Which shard


def shard_of(ids: Ids, shards: int) -> NDArray[np.uint16]:
    """The shard of each id: for ever the same, and about as many ids in each.

    Ints are mixed as by SplitMix64 (Steele, Lea and Flood 2014), so that those of every kth row
    are spread too; of str it is the CRC-32.
    """
    if isinstance(ids, list):
        sums = (zlib.crc32(one.encode("utf-8", "surrogatepass")) for one in ids)
        mixed = np.fromiter(sums, np.uint64, len(ids))
    else:
        mixed = ids.astype(np.uint64)  # wraps, and so do the products
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(shards)).astype(np.uint16)


def some(ids: Ids, places: NDArray[np.int64]) -> Ids:
    """The ids at some places."""
    return [ids[place] for place in places.tolist()] if isinstance(ids, list) else ids[places]


def divided(ids: Ids, shards: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each shard that has some of the ids, and their places."""
    of = shard_of(ids, shards)
    for shard in np.flatnonzero(np.bincount(of, minlength=shards)).tolist():
        yield shard, np.flatnonzero(of == shard)


def live_shards(state: State, shards: int) -> NDArray[np.uint16]:
    """The shard of each row of `ids.firth`, in their order."""
    labels = state.live_labels()
    return shard_of(labels if state.names is None else state.ids(labels).tolist(), shards)


def choices(where: str, queries: int, filter: Any, exclude: Any) -> tuple[Any, Any]:
    """``filter`` and ``exclude`` of `Index.search`, checked, so that they can be read twice.

    Each is None, one choice for all queries, or a list.
    """
    allowed = parse(f"{where}: filter", filter, queries)
    return _normal(allowed), _normal(parse(f"{where}: exclude", exclude, queries))


def _normal(choices: Choices) -> Any:
    of = choices.of_query
    if of is None or not choices.choices:
        return None
    if len(choices.choices) == 1 and not of.any():
        return choices.choices[0]
    return [None if one < 0 else choices.choices[one] for one in of.tolist()]


def routed(given: Any, live: int, of: NDArray[np.uint16] | None, shards: int) -> list[Any]:
    """What each shard gets of choices that `choices` gave.

    ``live``: rows of the index; ``of``: the shard of each in their order, where there are masks.
    """
    if given is None:
        return [None] * shards
    if isinstance(given, list) and given and not isinstance(given[0], str):
        each = [routed(one, live, of, shards) for one in given]
        return [[one[shard] for one in each] for shard in range(shards)]
    if isinstance(given, np.ndarray) and given.dtype in (np.bool_, np.uint8):
        assert of is not None
        mask = given
        if mask.dtype == np.uint8:
            mask = np.unpackbits(mask, count=live, bitorder="little").view(np.bool_)
        return [np.packbits(mask[of == shard], bitorder="little") for shard in range(shards)]
    parts: list[Any] = [np.empty(0, np.int64)] * shards
    for shard, places in divided(given, shards):
        parts[shard] = some(given, places)
    return parts


def has_mask(given: Any) -> bool:
    """Whether there is a mask among choices that `choices` gave."""
    if isinstance(given, list):
        return any(has_mask(one) for one in given if not isinstance(one, str))
    return isinstance(given, np.ndarray) and given.dtype in (np.bool_, np.uint8)


# Changes


@dataclass(frozen=True)
class Change:
    """An addition of rows as they are stored, or a removal; or the part of it of one shard."""

    ids: Ids
    vectors: NDArray[Any] | None = None  # (n, dim) in the storage's dtype; None: a removal
    scales: NDArray[np.float32] | None = None  # (n,), with int8

    def parts(self, shards: int) -> dict[int, Change]:
        """What each shard gets that gets some of it."""
        found = {}
        for shard, places in divided(self.ids, shards):
            vectors = None if self.vectors is None else self.vectors[places]
            scales = None if self.scales is None else self.scales[places]
            found[shard] = Change(some(self.ids, places), vectors, scales)
        return found

    def of_ids(self) -> Change:
        """The same for the index of all ids."""
        rows = None if self.vectors is None else np.zeros((len(self.ids), 1), IDS_STORAGE)
        return Change(self.ids, rows)

    def write(self, path: str) -> None:
        """Write it to a file, synced to disk."""
        arrays = {"vectors": self.vectors, "scales": self.scales}
        strings = {}
        if isinstance(self.ids, list):
            strings["ids"] = self.ids
        else:
            arrays["ids"] = self.ids
        there = {name: array for name, array in arrays.items() if array is not None}
        container.write(path, KIND, there, strings=strings)

    @classmethod
    def read(cls, path: str) -> Change:
        """Read what `write` wrote."""
        content = container.read(path, KIND)
        arrays = content.arrays
        ids = content.strings["ids"] if "ids" in content.strings else arrays["ids"]
        return cls(ids, arrays.get("vectors"), arrays.get("scales"))


def addition(ids: Ids, array: NDArray[Any], rows: slice, storage: str) -> Change:
    """The addition of rows of an array (n, dim) of any real dtype.

    ValueError with the number of the row for one that the storage cannot hold.
    """
    count = rows.stop - rows.start
    segment = new_segment(count, array.shape[1], storage, 0)
    store(array, storage, segment, slice(0, count), rows)
    scales = None if segment.scales is None else segment.scales[:count]
    return Change(ids, segment.vectors[:count], scales)
