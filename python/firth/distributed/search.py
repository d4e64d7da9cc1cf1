"""`ShardedIndex`: an index in parts, which actors on Ray hold, with the answers of one `Index`.

What happens in ``search``: filters are checked and divided among the shards (`shard_files`), one
actor of each shard searches (`replicas`), and what they find is put together, by score, then label.
What happens in ``add``: the rows are checked and converted, the change is written to a file of the
folder, then it is made in the index of ids and sent to the shards; when all of them have it in
their files, the file of the change is removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.distributed import answers, shard_files
from firth.distributed.actors import RayActors
from firth.distributed.answers import ShardedMatches, ShardedMatchesInRange
from firth.distributed.blocks import Block, blocks
from firth.distributed.shard_files import Change, Folder, Manifest
from firth.distributed.shard_table import Arguments, ShardTable, checked_options
from firth.formats.files import PathLike
from firth.progress import progress_bar
from firth.search import filters
from firth.search.arguments import (
    checked_ids,
    checked_probe,
    float_rows,
    real_rows,
    thresholds,
    whole,
)
from firth.search.index import Index
from firth.search.matches import padded
from firth.search.segments import STORAGES
from firth.search.state import State
from firth.search.tuning import Tuning

TIMEOUT = 30.0


class ShardedIndex:
    """An `Index` whose vectors are divided among actors on a Ray cluster.

    `build` makes one, `open` opens it. It is a folder with a file for each shard, which all nodes
    see under the same path. Searches have the ids and the bits of one `Index` with the same
    vectors, added in the same order; so have ids that `add` gives, and errors. With ``cells`` each
    shard has cells of its own: a search visits ``probe`` of them in each, and like that of an
    `Index` with cells it is not exact.

    The program that opened it holds the ids in memory as `Index` does (some 20 bytes each, and the
    str), but no vectors. Many threads may search while one adds or removes; each search sees the
    index as it was when it began.

    When `add` or `remove` returns, the change is in the files, synced to disk. If the program or an
    actor is ended before, the change is recorded in the folder, and made when the index is opened
    again, or by the next call: no part of it is lost or made twice. Where a shard cannot make it (a
    full disk, say), the call raises RuntimeError, and until it can, searches do so too.

    An actor that is lost, alone or with its node, is replaced by one that opens the shard's file
    again, on any node that has processors for it; meanwhile other replicas of the shard answer, or
    searches wait.
    """

    def __init__(self, table: ShardTable, manifest: Manifest) -> None:
        self._table, self._manifest = table, manifest
        self._last: tuple[int, ...] = (0, 0, 0)  # the work of the last search

    # Building and opening

    @classmethod
    def build(
        cls,
        vectors: Any,
        ids: Any = None,
        *,
        path: PathLike,
        shards: int = 3,
        metric: Literal["cosine", "ip", "l2"] = "cosine",
        storage: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
        cells: Any = None,
        replicas: int = 1,
        cpus: int = 1,
        timeout: float = TIMEOUT,
        progress: bool | None = None,
    ) -> ShardedIndex:
        """Make an index of vectors in a folder, and open it.

        Vectors are sent to the shards block by block, so there may be more than one memory holds;
        one shard should fit the memory of a node. An interrupted `build` leaves no index.

        Parameters
        ----------
        vectors : array_like (n, dim), path, or iterator
            An array, which may be mapped; a file of NumPy (``.npy``), which is mapped; or an
            iterator (of a generator, say) of blocks: arrays (n, dim), or pairs (array, ids).
        ids : n int or n str; optional
            As in `Index.add`; not with an iterator, whose blocks have their own.
        path : path-like
            A folder that does not exist yet, or is empty. On several nodes it must be a shared one.
        shards : int, 1 to 4096
        metric, storage, cells
            As of `Index`.
        replicas, cpus, timeout
            As in `open`.
        progress : bool, optional
            A bar: always, never, or (None) on a terminal.

        Raises
        ------
        TypeError, ValueError
            As `Index` and `Index.add`; no block, so that the length of vectors is unknown.
        FileExistsError
            The folder is not empty. BlockingIOError: another call builds an index there. Further
            errors as of `open`.
        """
        shards = whole("build: shards", shards, 1, shard_files.MOST)
        replicas, cpus, timeout = checked_options("build", replicas, cpus, timeout)
        given = blocks(vectors, ids)
        empty = Index(given.dim, metric, storage, cells=cells)
        folder = Folder(path, shards)
        manifest = Manifest(shards, empty.dim, metric, storage, empty.cells)
        size = given.dim * np.dtype(STORAGES[storage]).itemsize * given.rows // shards
        with folder.made("build"):
            for file in folder.files:
                empty.save(file)
            Index(1, "ip", shard_files.IDS_STORAGE).save(folder.ids)
            names = [folder.ids, *folder.files]
            engine = RayActors("build", names, size, shards, replicas, cpus)
            table = ShardTable("build", folder, engine, "r+", replicas, timeout, False)
            try:
                made = cls(table, manifest)
                with progress_bar(given.rows, " rows", "building", progress) as bar:
                    for block in given.each:
                        made._add("build", block, recorded=False)
                        bar.update(len(block))
                made.compact()
                folder.finish(manifest)
            except BaseException:
                table.leave()
                raise
        return made

    @classmethod
    def open(
        cls,
        path: PathLike,
        mode: str = "r+",
        *,
        replicas: int = 1,
        cpus: int = 1,
        timeout: float = TIMEOUT,
        verify: bool = False,
    ) -> ShardedIndex:
        """Open the folder of an index; also `load`. A change that was interrupted is made now.

        Parameters
        ----------
        path : path-like
        mode : {"r+", "r"}
            "r+": for one program, which may change it; "r": for any number, which see the index as
            it was when they opened it, and cannot go on when an actor is lost after a change.
        replicas : int, 1 to the processors of the cluster
            Actors of each shard, which share the searches.
        cpus : int, at least 1
            Processors, and threads, of each actor; where the cluster has fewer, actors share them.
        timeout : float, above 0
            Seconds to wait for a shard that has no actor, before a call fails.
        verify : bool
            As in `Index.open`.

        Raises
        ------
        FileNotFoundError
            There is no index, a file is missing, or a node of the cluster does not see one.
        FormatError
            A damaged file.
        BlockingIOError
            Mode "r+", and another program has it open for writing; mode "r", and a change is under
            way.
        ConnectionError, RuntimeError, MemoryError, TimeoutError
            There is no cluster; it has another version, too little memory for a shard, or does not
            start an actor in time.
        """
        if mode not in ("r", "r+"):
            raise ValueError(f"open: mode must be 'r' or 'r+', got {mode!r}")
        replicas, cpus, timeout = checked_options("open", replicas, cpus, timeout)
        folder, manifest = shard_files.opened("open", path)
        memory = max(map(os.path.getsize, folder.files))
        names = [folder.ids, *folder.files]
        engine = RayActors("open", names, memory, manifest.shards, replicas, cpus)
        table = ShardTable("open", folder, engine, mode, replicas, timeout, verify)
        return cls(table, manifest)

    load = open

    # What is in it

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._manifest.dim

    @property
    def metric(self) -> str:
        """How a row is scored: "cosine", "ip" or "l2"; fixed when the index is made."""
        return self._manifest.metric

    @property
    def storage(self) -> str:
        """How vectors are kept, as of `Index.storage`; fixed when the index is made."""
        return self._manifest.storage

    @property
    def cells(self) -> Any:
        """How many cells each shard has, or is to have: "auto", an int or None."""
        return self._manifest.cells

    @property
    def shards(self) -> int:
        """In how many parts the vectors are."""
        return self._manifest.shards

    @property
    def id_type(self) -> type | None:
        """``int`` or ``str``: what ids are; None as long as nothing has been added."""
        return self._table.ids.id_type

    @property
    def ids(self) -> Any:
        """All ids in the order of rows, which masks go by: int64 array, or list of str."""
        return self._table.ids.ids

    def __len__(self) -> int:
        return len(self._table.ids)

    def __iter__(self) -> Iterator[Any]:
        """The ids, in the order of `ids`, as they are when it begins."""
        return iter(self._table.ids)

    def __contains__(self, id: Any) -> bool:
        return id in self._table.ids

    def __getitem__(self, id: Any) -> NDArray[np.float32]:
        """The stored vector of one id (dim,), or of several (n, dim): `get`."""
        return self.get(id)

    def __repr__(self) -> str:
        cells = "" if self.cells is None else f", cells={self.cells!r}"
        return (
            f"firth.distributed.ShardedIndex(shards={self.shards}, dim={self.dim}, "
            f"metric={self.metric!r}, storage={self.storage!r}{cells}) of {len(self)} vectors"
        )

    def __reduce__(self) -> Any:
        raise TypeError(f"a sharded index is not pickled: open {self._table.folder.path} there")

    def get(self, ids: Any) -> NDArray[np.float32]:
        """The stored vectors of ids (n, dim), or of one id (dim,), as a float32 copy.

        KeyError for an unknown id.
        """
        wanted, single = checked_ids("get: ids", ids)
        places: dict[int, NDArray[np.int64]] = {}

        def prepare() -> tuple[State, Arguments]:
            state, _, _ = self._table.ids._table.look_up("get", wanted)
            places.update(shard_files.divided(wanted, self.shards))
            return state, {s: (shard_files.some(wanted, some),) for s, some in places.items()}

        _, found, _ = self._table.ask("get", prepare)
        vectors = np.empty((len(wanted), self.dim), np.float32)
        for shard, rows in found.items():
            vectors[places[shard]] = rows
        return vectors[0] if single else vectors

    def stats(self) -> dict[str, Any]:
        """The sums of `Index.stats` over all shards; ``probe`` is None where no shard has cells."""
        table = self._table
        _, found, _ = table.ask("stats", lambda: (table.ids._table.state, table.every()))
        work = dict(zip(("coded", "survivors", "scored"), self._last, strict=True))
        return {**answers.sums(list(found.values())), "last_search": work}

    # Changing it

    def add(self, vectors: Any, ids: Any = None) -> Any:
        """Add vectors, or replace those of existing ids: arguments and results of `Index.add`.

        Raises
        ------
        TypeError, ValueError
            As `Index.add`; no shard has changed.
        RuntimeError, ConnectionError
            A shard cannot make the change, or cannot be opened again: see `ShardedIndex`.
        """
        rows, single = real_rows("add: vectors", vectors, self.dim)
        given: Any = None
        if ids is not None:
            given, _ = checked_ids("add: ids", ids)
            if len(given) != len(rows):
                raise ValueError(
                    f"add: ids must be one for each of {len(rows)} vectors, got {len(given)}"
                )
        given = self._add("add", Block(rows, slice(0, len(rows)), given))
        if not single:
            return given
        return given[0] if isinstance(given, list) else int(given[0])

    def _add(self, where: str, block: Block, recorded: bool = True) -> Any:
        """Add checked rows, and return their ids. ``recorded``: as of `ShardTable.change`."""
        with self._table.writing:
            self._table.check_writable()
            table = self._table.ids._table
            with table.writing:
                table.mend()
                labels, _ = table.new_labels(block.ids, len(block))
            ids = labels if block.ids is None else block.ids
            if len(block):
                change = shard_files.addition(ids, block.array, block.rows, self.storage)
                self._table.change(where, change, recorded)
        return ids

    def remove(self, ids: Any) -> None:
        """Remove ids (or one). KeyError for an unknown id; then nothing is removed.

        Further errors as of `add`.
        """
        wanted, _ = checked_ids("remove: ids", ids)
        with self._table.writing:
            self._table.check_writable()
            _, labels, _ = self._table.ids._table.look_up("remove", wanted)
            if len(labels):
                names = list(dict.fromkeys(wanted)) if isinstance(wanted, list) else None
                self._table.change("remove", Change(names or np.unique(labels)))

    # Asking

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Any = None,
        exclude: Any = None,
        probe: Any = None,
        partial: bool = False,
        timeout: float | None = None,
    ) -> ShardedMatches:
        """The k best rows of each query: arguments and results of `Index.search`, and two more.

        Parameters
        ----------
        queries, k, filter, exclude
            As in `Index.search`.
        probe : int, at least 1, or "all"; optional
            In an index with cells, how many each query visits in each shard; "all": the exact
            result. Default: what each shard has chosen, or `tune`.
        partial : bool
            Answer without shards that have no actor or do not answer in time. Default: wait, while
            Ray says that an actor is alive, or for ``timeout`` seconds while there is none.
        timeout : float, above 0; optional
            Seconds. Default: that of `open`.

        Returns
        -------
        ShardedMatches
            ``ids, scores``, in this order; ``missing``: the numbers of the shards that did not
            answer, ``()`` without ``partial``.

        Raises
        ------
        TypeError, ValueError
            As `Index.search`. ConnectionError: a shard cannot be opened again.
        """
        wanted, single = float_rows("search: queries", queries, self.dim)
        k = whole("search: k", k, 0)
        if probe is not None:
            probe = checked_probe(probe, self.cells)
        choices = shard_files.choices("search", len(wanted), filter, exclude)
        sent = self._table.engine.shared(wanted)
        most = k

        def prepare() -> tuple[State, Arguments]:
            nonlocal most
            state, chosen = self._table.ids._table.chosen("search", len(wanted), *choices)
            most = min(k, filters.most(chosen, state.live))
            parts = zip(*(self._table.routed(state, one) for one in choices), strict=True)
            return state, {s: (sent, most, *both, probe) for s, both in enumerate(parts)}

        table = self._table
        state, found, missing = table.ask("search", prepare, partial, timeout)
        self._note_work(work for *_, work in found.values())
        parts = [(table.labels(state, ids), scores) for ids, scores, _ in found.values()]
        best = answers.merged(parts, len(wanted), most)
        matches = ShardedMatches(*padded(state, *best, single))
        matches.missing = missing
        return matches

    def search_range(
        self,
        queries: Any,
        threshold: Any,
        *,
        filter: Any = None,
        exclude: Any = None,
        partial: bool = False,
        timeout: float | None = None,
    ) -> ShardedMatchesInRange:
        """All rows that score at least ``threshold``, best first: `Index.search_range`.

        Parameters
        ----------
        queries, threshold, filter, exclude
            As in `Index.search_range`.
        partial, timeout
            As in `search`.

        Returns
        -------
        ShardedMatchesInRange
            ``ids, scores``: arrays for one query, lists of Q arrays for many; ``missing``.
        """
        wanted, single = float_rows("search_range: queries", queries, self.dim)
        least = thresholds("search_range: threshold", threshold, len(wanted))
        choices = shard_files.choices("search_range", len(wanted), filter, exclude)
        sent = self._table.engine.shared(wanted)

        def prepare() -> tuple[State, Arguments]:
            state, _ = self._table.ids._table.chosen("search_range", len(wanted), *choices)
            parts = zip(*(self._table.routed(state, one) for one in choices), strict=True)
            return state, {s: (sent, least, *both) for s, both in enumerate(parts)}

        table = self._table
        state, found, missing = table.ask("search_range", prepare, partial, timeout)
        self._note_work(work for *_, work in found.values())
        parts = [(table.labels(state, ids), *rest) for ids, *rest, _ in found.values()]
        labels, scores = answers.ranges(parts, len(wanted))
        ids = [state.ids(some) for some in labels]
        matches = ShardedMatchesInRange(*((ids[0], scores[0]) if single else (ids, scores)))
        matches.missing = missing
        return matches

    def tune(self, recall: float = 0.95, k: int = 10, queries: Any = None) -> list[Tuning]:
        """`Index.tune` in every shard, with the arguments and errors of that; one `Tuning` each."""
        table = self._table
        with table.writing:
            table.check_writable()
            found = table.each("tune", table.every(recall, k, queries))
            table.rewritten({shard: mark for shard, (_, mark) in found.items()})
        return [tuning for tuning, _ in found.values()]

    def _note_work(self, works: Iterable[Any]) -> None:
        self._last = tuple(int(one) for one in np.sum([(0, 0, 0), *works], axis=0))

    # Files

    def save(self, path: PathLike) -> None:
        """Write a copy to another folder, which `open` opens.

        FileExistsError for a folder that is not empty, BlockingIOError while another call fills it.
        """
        target = Folder(path, self.shards)
        with self._table.writing:
            self._table.check_open()
            with target.made("save"):
                self._table.save(target)
                target.finish(self._manifest)

    def flush(self) -> None:
        """Complete a change that was interrupted. All others are on the disk already."""
        with self._table.writing:
            self._table.check_open()
            self._table.finish("flush")

    def compact(self) -> None:
        """Free the space of removed rows: all files are rewritten."""
        table = self._table
        with table.writing:
            table.check_writable()
            table.rewritten(table.each("compact", table.every()))
            table.ids.compact()

    def close(self) -> None:
        """Let others open the index for writing, and end the actors: it cannot be used any more."""
        self._table.close()

    def __enter__(self) -> ShardedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
