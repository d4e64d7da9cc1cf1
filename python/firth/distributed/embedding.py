"""`embed`: vectors of a collection of texts, by workers with a model each.

What is read, planned and written is `firth.distributed.datasets`, what a worker does `embedders`.
Here all is checked, the plan is made, and its tasks are dealt to actors by Ray Data.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firth.arguments import check_whole, shortened
from firth.distributed import cluster, datasets
from firth.distributed.datasets import Plan, Shard
from firth.distributed.embedders import (
    WHERE,
    Recipe,
    Task,
    Worker,
    fingerprint,
    joined,
    model_files,
    texts_of,
)
from firth.distributed.pool import dealt, silent
from firth.distributed.splits import Paths
from firth.encoders import SentenceTransformer
from firth.errors import warn
from firth.formats.files import PathLike, held
from firth.progress import progress_bar

_ROWS = 1 << 15  # of a shard
_PROCESS = 300 << 20  # bytes of a worker beside the model and what it works on
_OPTIONS = ("prompt", "prompt_name", "normalize_embeddings", "truncate_dim", "precision")
_PRECISIONS = ("float32", "binary", "ubinary")  # int8 would depend on what else is in the shard


@dataclass(frozen=True)
class Embedded:
    """What `embed` has done.

    Attributes
    ----------
    folder : str
    rows : int
        Vectors that are there now.
    already : int
        How many of them an earlier call had left.
    files : int
        Shards.
    seconds : float
        Of this call.
    """

    folder: str
    rows: int
    already: int
    files: int
    seconds: float


def embed(
    dataset_or_paths: Any,
    model: PathLike,
    *,
    out: PathLike,
    column: str = "text",
    format: str = "parquet",
    compute_type: str = "auto",
    shard_rows: int = _ROWS,
    workers: int | None = None,
    memory: int | None = None,
    progress: bool | None = None,
    **encode: Any,
) -> Embedded:
    """Vectors of all texts of a collection, with the bits of `SentenceTransformer.encode`.

    After a crash of any process call again as before: what is done stays, the rest is done, and no
    text is lost or doubled. `firth.distributed.datasets.open_embedding` reads the result.

    Parameters
    ----------
    dataset_or_paths : ray.data.Dataset, path-like, or sequence of path-like
        Files, patterns of `glob`, or what fsspec opens ("s3://..."); also compressed. In .jsonl
        (.ndjson), .csv, .tsv and .parquet the column has the texts, in any other file each line is
        one, also an empty one. Of a dataset all columns are kept in Parquet; it is held by Ray's
        object store, and must give the same rows in the same order when the call is repeated,
        which is checked.
    model : path-like
        As of `SentenceTransformer`; its folder has the same path on all nodes.
    out : path-like
        A folder that all nodes see, new or empty, or that of an earlier call.
    column : str
        Which has the texts.
    format : {"parquet", "npy"}
        parquet: rows with the text, ``embedding``, ``row`` (from 0 in its source) and for files
        ``source``. npy: vectors alone, (n, D). Names of shards sort in the order of the texts.
    compute_type : {"auto", "float32", "bfloat16", "int8"}
        Of all workers; auto is what it is for this process.
    shard_rows : int
        Texts of a file of vectors at most; of texts from files it has 4 MiB of text at most, too.
    workers : int, optional
        Processes, each with one processor and one model. Default: one for each processor of the
        cluster.
    memory : int, optional
        Bytes that Ray keeps for a worker. Default: what the model and a shard need.
    progress : bool, optional
        A bar of texts with rate and time left: always, never, or (None) where somebody sees it.
    **encode
        Of `SentenceTransformer.encode`: prompt, prompt_name, normalize_embeddings, truncate_dim,
        precision ("float32", "binary" or "ubinary").

    Returns
    -------
    Embedded

    Raises
    ------
    TypeError, ValueError, FormatError
        An argument, or what the files hold; the message names file and line. Or ``out`` was begun
        with another model, input or argument.
    FileNotFoundError
        There are no such files or no such model, or a node lacks them.
    FileExistsError, NotADirectoryError, PermissionError
        ``out`` is or holds something else, or cannot be written. BlockingIOError: another call is
        writing to it.
    MemoryError
        A worker needs more than ``memory``, or than any node has.
    RuntimeError
        A node has another version or another model; a file changed; workers die over and over.
    ConnectionError
        There is no cluster.

    Notes
    -----
    A worker maps the file of weights. Pages of the table of tokens are shared by all workers of a
    node; matrices are packed for the processor, a copy for each worker. A batch has as many tokens
    as `SentenceTransformer.encode` takes, whatever the texts. Processors of another level
    (`firth.info`) may differ in the last bits; FIRTH_ISA sets one for all.
    """
    started = time.monotonic()
    _check(column, format, encode)
    check_whole(f"{WHERE}: shard_rows", shard_rows, 1)
    for name, value in (("workers", workers), ("memory", memory)):
        if value is not None:
            check_whole(f"{WHERE}: {name}", value, 1, 1 << 60)
    folder = os.fspath(out)
    if "://" in folder:
        raise ValueError(f"{WHERE}: out must be a folder that all nodes see, got {folder}")
    folder = os.path.abspath(folder)
    recipe = _recipe(
        model, folder, {"compute_type": compute_type, "encode": encode, "column": column,
                        "format": format, "shard_rows": shard_rows},
    )  # fmt: skip
    given = _Dataset if hasattr(dataset_or_paths, "to_arrow_refs") else _Files
    source: _Dataset | _Files = given(dataset_or_paths, column, shard_rows)
    before = datasets.begun(WHERE, folder, recipe.settings)
    if before is not None:
        source.check(before, folder)
        if before.complete and source.is_known and _done(folder, before) == before.rows:
            return _embedded(folder, before, before.rows, started)

    needed = _needed(recipe, memory)
    with _made(folder):
        with _probe(folder) as probe:
            there = _nodes([*source.files(), *model_files(recipe.model), probe], needed, probe)
            if workers is not None and workers > there.cpus:
                raise ValueError(
                    f"{WHERE}: workers is {workers}, the cluster has {there.cpus} processors"
                )
            plan = source.planned(recipe, before, progress, most=2 * there.cpus)
            if before is None:
                plan.write(folder)
        already = _run(plan, recipe, source, workers or there.cpus, needed, progress)
    return _embedded(folder, plan, already, started)


def _embedded(folder: str, plan: Plan, already: int, started: float) -> Embedded:
    files, seconds = sum(map(len, plan.sizes)), time.monotonic() - started
    return Embedded(folder, plan.rows, already, files, seconds)


def _check(column: Any, format: Any, encode: dict[str, Any]) -> None:
    if not isinstance(column, str):
        raise TypeError(f"{WHERE}: column must be a str, got {shortened(column)}")
    if format not in datasets.FORMATS:
        raise ValueError(
            f"{WHERE}: format must be one of {datasets.FORMATS}, got {shortened(format)}"
        )
    if unknown := sorted(set(encode) - set(_OPTIONS)):
        raise TypeError(f"{WHERE}: unknown arguments {unknown}; of encode there are {_OPTIONS}")
    if (precision := encode.get("precision", "float32")) not in _PRECISIONS:
        raise ValueError(
            f"{WHERE}: precision must be one of {_PRECISIONS}, got {shortened(precision)}"
        )


# The model


def _recipe(model: PathLike, out: str, settings: dict[str, Any]) -> Recipe:
    """With what of the settings only the model knows."""
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"{WHERE}: model must be a name or a folder, which nodes load, got {shortened(model)}"
        )
    loaded = SentenceTransformer(model, compute_type=settings["compute_type"])
    none = loaded.encode([], show_progress_bar=False, **settings["encode"])
    folder = os.path.abspath(loaded.path)
    known = {
        "weights": fingerprint(folder), "compute_type": loaded.compute_type,
        "width": none.shape[1], "dtype": none.dtype.name,
    }  # fmt: skip
    return Recipe(folder, out, {**settings, **known})


def _needed(recipe: Recipe, memory: int | None) -> int:
    """The bytes of a worker: those given, which must be enough for the model and a shard."""
    weights = sum(map(os.path.getsize, model_files(recipe.model)))
    row = recipe.settings["width"] * np.dtype(recipe.settings["dtype"]).itemsize
    needed = _PROCESS + 2 * weights + 8 * datasets.TEXT + 4 * recipe.settings["shard_rows"] * row
    if memory is not None and memory < needed:
        raise MemoryError(
            f"{WHERE}: a worker needs {needed:,} bytes for this model and shard_rows, memory is "
            f"{memory:,}"
        )
    return memory or needed


# What is embedded


class _Files:
    """Texts of files."""

    is_known = True  # what they hold, by their sizes and times

    def __init__(self, paths: Paths, column: str, rows: int) -> None:
        datasets.check_columns(WHERE, column, None)
        self.splits = datasets.plan(WHERE, paths, column)
        self.blocks: list[Any] = []
        self._column, self._rows = column, rows

    def check(self, plan: Plan, folder: str) -> None:
        """ValueError where the plan is of other files."""
        if plan.splits != self.splits:
            raise ValueError(
                f"{WHERE}: {folder} was begun with other files, or they changed; give the same "
                "files as then, or another out"
            )

    def files(self) -> list[str]:
        """That all nodes must have."""
        return list(dict.fromkeys(one.path for one in self.splits))

    def planned(
        self, recipe: Recipe, before: Plan | None, progress: bool | None, most: int
    ) -> Plan:
        """The plan that was made before, or one for which all is read once."""
        if before is not None:
            return before
        given = ((one, self._column, self._rows) for one in self.splits)
        found = cluster.results(cluster.tasks(datasets.survey, given, most=most))
        each = [one.bytes for one in self.splits]
        sizes = list(cluster.with_progress(found, each, sum(each), "reading", progress))
        if not any(sizes):
            raise ValueError(f"{WHERE}: the files hold no texts")
        return Plan(recipe.said, self.splits, sizes)

    def task(self, shards: Sequence[Shard]) -> Task:
        """For a worker."""
        return Task(tuple(shards), self.splits[shards[0].split], ())


class _Dataset:
    """Rows of a dataset of Ray, which its object store holds, in their order."""

    is_known = False

    def __init__(self, dataset: Any, column: str, rows: int) -> None:
        with silent():
            schema = dataset.schema()
        if schema is None:
            raise ValueError(f"{WHERE}: the dataset has no rows")
        datasets.check_columns(WHERE, column, schema.names)
        self.blocks: list[Any] = []
        self._data, self._column, self._rows = dataset, column, rows
        self._ends: list[int] = []  # of the blocks, in rows

    def check(self, plan: Plan, folder: str) -> None:
        """ValueError where the plan is of files."""
        if plan.splits:
            raise ValueError(
                f"{WHERE}: {folder} was begun with files, not with a dataset; give another out"
            )

    def files(self) -> list[str]:
        """None."""
        return []

    def planned(
        self, recipe: Recipe, before: Plan | None, progress: bool | None, most: int
    ) -> Plan:
        """Shards cut by rows, wherever blocks end; ValueError where they are not those before."""
        self.blocks = self._made()
        counts = cluster.results(cluster.tasks(_rows, ((one,) for one in self.blocks), most=most))
        self._ends = list(itertools.accumulate(counts))
        total = self._ends[-1] if self._ends else 0
        if not total:
            raise ValueError(f"{WHERE}: the dataset has no rows")
        cuts = [*range(0, total, self._rows), total]
        sizes = [end - first for first, end in itertools.pairwise(cuts)]
        found = cluster.results(cluster.tasks(_digest, map(self._part, cuts, sizes), most=most))
        seen = cluster.with_progress(found, sizes, total, "reading", progress, "text")
        plan = Plan(recipe.said, [], [sizes], list(seen))
        if before is not None and (before.sizes, before.digests) != (plan.sizes, plan.digests):
            raise ValueError(
                f"{WHERE}: the dataset does not give the rows with which {recipe.out} was begun; "
                "give another out"
            )
        return before or plan

    def _made(self) -> list[Any]:
        """References of the dataset's blocks, as tables, in order."""
        context = self._data.context
        options = context.execution_options
        before = options.preserve_order, context.enable_progress_bars
        options.preserve_order, context.enable_progress_bars = True, False
        try:
            with silent():
                return list(self._data.to_arrow_refs())
        finally:
            options.preserve_order, context.enable_progress_bars = before

    def _part(self, first: int, rows: int) -> tuple[Any, ...]:
        """The arguments of `_digest`."""
        pieces = self._pieces(first, rows)
        blocks = [self.blocks[i] for i, _, _ in pieces]
        return self._column, first, [(begin, end) for _, begin, end in pieces], *blocks

    def _pieces(self, first: int, rows: int) -> list[tuple[int, int, int]]:
        """Where rows are: a block, and a part of it."""
        found: list[tuple[int, int, int]] = []
        i = bisect_right(self._ends, first)
        while not found or self._ends[i - 1] < first + rows:
            start = self._ends[i - 1] if i else 0
            found.append((i, max(first - start, 0), min(first + rows, self._ends[i]) - start))
            i += 1
        return found

    def task(self, shards: Sequence[Shard]) -> Task:
        """For a worker."""
        (shard,) = shards
        return Task((shard,), None, tuple(self._pieces(shard.first, shard.rows)))


def _rows(table: Any) -> int:
    return len(table)


def _digest(column: str, first: int, pieces: list[tuple[int, int]], *blocks: Any) -> str:
    return datasets.digest(texts_of(joined(pieces, blocks), column, first))


# The folder and the nodes


@contextlib.contextmanager
def _made(folder: str) -> Iterator[None]:
    """The folder for this call alone; a new one in which nothing came to be goes with an error."""
    new = not os.path.exists(folder)
    try:
        with _writing(folder):
            os.makedirs(folder, exist_ok=True)
        with held(WHERE, folder):
            yield
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


@contextlib.contextmanager
def _probe(folder: str) -> Iterator[str]:
    """A file in the folder, by which nodes show that they see it.

    What earlier runs were killed over goes.
    """
    probe = os.path.join(folder, f".check.{os.urandom(4).hex()}.tmp")
    with _writing(folder):
        datasets.clean(folder)
        with open(probe, "xb") as file:
            file.write(bytes(1 + os.urandom(1)[0]))
    try:
        yield probe
    finally:
        os.unlink(probe)


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise type(error)(f"{WHERE}: cannot write to out: {error.strerror}: {folder}") from None


def _nodes(files: list[str], memory: int, probe: str) -> cluster.Nodes:
    try:
        return cluster.nodes(WHERE, files, memory)
    except FileNotFoundError as error:
        if probe not in str(error):
            raise
        folder, host = os.path.dirname(probe), str(error).rpartition("the node ")[2].split(",")[0]
        raise FileNotFoundError(
            f"{WHERE}: out must be a folder that all nodes see, the node {host} does not see "
            f"{folder}"
        ) from None


def _done(folder: str, plan: Plan) -> int:
    """Rows that are there."""
    return sum(one.rows for one in plan.shards() if datasets.is_done(folder, one, plan.settings))


def _run(
    plan: Plan, recipe: Recipe, source: _Files | _Dataset, workers: int, memory: int,
    progress: bool | None,
) -> int:  # fmt: skip
    """All that is left; how many rows were there before."""
    folder, shards = recipe.out, plan.shards()
    done = {one.number for one in shards if datasets.is_done(folder, one, plan.settings)}
    already = sum(one.rows for one in shards if one.number in done)
    if len(done) < len(shards) and plan.complete:  # something has happened to it
        plan = replace(plan, complete=False)
        plan.write(folder)
    given = [source.task(one) for one in datasets.tasks(shards, done)]
    made = dealt(WHERE, Worker, (recipe, source.blocks), given, workers=workers, memory=memory)
    with (
        contextlib.closing(made),
        progress_bar(plan.rows, "text", "embedding", progress, already) as bar,
    ):
        told = False
        for rows, said in made:
            bar.update(rows)
            if said and not told:
                told = True
                warn(f"{WHERE}: of the first shard with such texts, {said}")
    if (there := _done(folder, plan)) != plan.rows:
        raise RuntimeError(f"{WHERE}: {folder} lacks {plan.rows - there} rows that were written")
    datasets.clean(folder)
    replace(plan, complete=True).write(folder)
    return already
