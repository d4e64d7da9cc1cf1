"""``firth index``: build, search, add to, remove from, tune and describe search indexes.

``firth index FOLDER`` indexes documents: `firth.cli.documents`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from firth.cli import documents
from firth.cli.common import (
    ANY_FILE,
    UserError,
    at_least,
    check_output,
    command,
    group,
    load,
    megabytes,
    named,
    on_ray,
    only_with_ray,
    ray_option,
    say,
    table,
)
from firth.spelling import did_you_mean

if TYPE_CHECKING:
    from firth.search import Index

_VECTORS = "a matrix .npy, whose rows get the next whole numbers as ids; or, with words as ids, "


def add(commands: Any) -> None:
    """Add the commands."""
    indexes = group(
        commands, "index",
        "Documents (firth index FOLDER -o KB); and indexes of vectors: build, search, add, remove, "
        "tune, stats.",
        "documents",
    )  # fmt: skip
    documents.add_index(indexes)

    build = command(indexes, "build", _build, "Build an index of vectors for exact search.")
    build.add_argument("vectors", help=_VECTORS + ANY_FILE)
    build.add_argument("-o", "--output", required=True, help="the index file, such as x.index")
    build.add_argument(
        "--metric",
        choices=("cosine", "ip", "l2"),
        default="cosine",
        help="the score: cosine, inner product, or minus the squared distance [cosine]",
    )
    build.add_argument(
        "--storage",
        choices=("float32", "float16", "bfloat16", "int8"),
        default="float32",
        help="how numbers are stored; the smaller types round them [float32]",
    )
    build.add_argument(
        "--cells",
        type=_cells,
        metavar="auto|N",
        help="for millions of vectors: search the nearest of N cells only, may miss some [none]",
    )
    ray_option(build, "shards", "parts of the index, which is a folder then [3]")

    search = command(
        indexes, "search", _search, "The vectors of an index that score best, with their scores."
    )
    search.add_argument("index", help="a file that firth index build wrote")
    search.add_argument("id", nargs="?", help="search for the vector of this id (or word)")
    _add_queries(search)
    search.add_argument("-k", "--number", type=at_least(1), default=10, help="how many [10]")
    search.add_argument(
        "--probe",
        type=_probe,
        metavar="all|N",
        help="with cells: how many of them to search [as tuned]",
    )

    more = command(indexes, "add", _add, "Add vectors to an index, or replace those of known ids.")
    more.add_argument("index", help="a file that firth index build wrote")
    more.add_argument("vectors", help=_VECTORS + ANY_FILE)

    remove = command(indexes, "remove", _remove, "Remove vectors from an index.")
    remove.add_argument("index", help="a file that firth index build wrote")
    remove.add_argument("ids", nargs="+", metavar="id", help="ids or words; -: from standard input")

    tune = command(
        indexes,
        "tune",
        _tune,
        "Measure how many cells to search, and store it in the index.",
    )
    tune.add_argument("index", help="a file that firth index build --cells wrote")
    tune.add_argument(
        "--recall", type=float, default=0.95, help="share of the true best to find [0.95]"
    )
    tune.add_argument("-k", "--number", type=at_least(1), default=10, help="how many best [10]")
    _add_queries(tune)

    stats = command(indexes, "stats", _stats, "Size and contents of an index.")
    stats.add_argument("index", help="a file that firth index build wrote")
    stats.add_argument(
        "--verify", action="store_true", help="read the whole file and verify its checksums"
    )


def _add_queries(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--queries", metavar="FILE", help=".npy: one vector, or a matrix with one query per row"
    )


def _number_or(word: str, minimum: int) -> Any:
    def number(text: str) -> int | str:
        try:
            return text if text == word else at_least(minimum)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"must be {word} or a whole number, got {text!r}"
            ) from None

    return number


_cells, _probe = _number_or("auto", 2), _number_or("all", 1)


def _build(arguments: argparse.Namespace) -> None:
    import firth

    given, output = arguments.vectors, arguments.output
    only_with_ray(arguments, ["shards"])
    os.stat(given)
    if arguments.ray is not None:
        _build_on_ray(arguments)
        return
    check_output(output, given)
    start = time.perf_counter()
    rows, ids = _rows(given)
    count, dim = rows.shape if ids is None else (len(rows), rows.vector_size)
    index = firth.Index(dim, arguments.metric, arguments.storage, cells=arguments.cells)
    # Cells are best found after all vectors have been added.
    _fill(index, given, rows, ids, 65536 if arguments.cells is None else max(1, count))
    index.save(output)
    say(
        f"{output}: {count:,} vectors, {dim} dimensions, {megabytes(output)}, "
        f"{time.perf_counter() - start:.1f} s"
    )


def _build_on_ray(arguments: argparse.Namespace) -> None:
    """An index in shards, in a folder."""
    from firth.distributed import ShardedIndex

    start = time.perf_counter()
    rows, ids = _rows(arguments.vectors)
    vectors = rows if ids is None else rows.vectors
    with on_ray(arguments.ray), named(arguments.vectors):
        try:
            index = ShardedIndex.build(
                vectors, ids, shards=arguments.shards or 3, path=arguments.output,
                metric=arguments.metric, storage=arguments.storage, cells=arguments.cells,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt("; nothing was saved") from None
        count, dim, shards = len(index), index.dim, index.shards
        index.close()
    say(
        f"{arguments.output}: {count:,} vectors, {dim} dimensions, {shards} shards, "
        f"{time.perf_counter() - start:.1f} s"
    )


def _rows(path: str) -> tuple[Any, list[str] | None]:
    """A matrix of a file, or vectors with words as ids."""
    if not path.endswith(".npy"):
        vectors = load(path)
        return vectors, vectors.index_to_key
    from firth.formats import npy

    rows = npy.read(path, mmap="r")
    if rows.ndim != 2:
        raise UserError(f"{path}: holds an array of shape {rows.shape}, wanted a matrix")
    return rows, None


def _fill(index: Index, path: str, rows: Any, ids: list[str] | None, step: int) -> None:
    from firth.progress import progress_bar

    with progress_bar(len(rows), " vectors", "adding") as bar:
        for first in range(0, len(rows), step):
            some = slice(first, first + step)
            with named(f"{path}, in the vectors from {first:,} on" if first else path):
                if ids is None:
                    index.add(rows[some])
                else:
                    index.add(rows[ids[some]], ids[some])
            bar.update(min(step, len(rows) - first))


def _add(arguments: argparse.Namespace) -> None:
    import firth

    path = arguments.index
    os.stat(path)
    rows, ids = _rows(arguments.vectors)
    with firth.Index.open(path) as index:
        before = len(index)
        if len(rows) and _holds_words(index) != (ids is not None) and before:
            raise UserError(
                f"{path}: its ids are {'words' if ids is None else 'numbers'}, those of "
                f"{arguments.vectors} are {'numbers' if ids is None else 'words'}"
            )
        _fill(index, arguments.vectors, rows, ids, 65536)
        added = len(index) - before
        say(f"{path}: {added:,} added, {len(rows) - added:,} replaced, {len(index):,} vectors")


def _remove(arguments: argparse.Namespace) -> None:
    import firth

    path, texts = arguments.index, arguments.ids
    if texts == ["-"]:
        texts = sys.stdin.read().splitlines()
    with firth.Index.open(path) as index:
        index.remove(list(dict.fromkeys(_known_id(index, text, path) for text in texts)))
        say(f"{path}: {len(index):,} vectors")


def _tune(arguments: argparse.Namespace) -> None:
    import firth
    from firth.formats import npy

    path, queries = arguments.index, arguments.queries
    with firth.Index.open(path) as index, named(queries or path):
        wanted = None if queries is None else npy.read(queries)
        tuning = index.tune(arguments.recall, arguments.number, wanted)
        index.compact()  # writes the result to the file
    for line in str(tuning).splitlines():
        say(line)


def _search(arguments: argparse.Namespace) -> None:
    import firth
    from firth.formats import npy

    if (arguments.id is None) == (arguments.queries is None):
        raise UserError("give an id or --queries FILE, one of the two")
    index, k, probe = firth.Index.open(arguments.index, "r"), arguments.number, arguments.probe
    if arguments.queries is None:
        wanted = _known_id(index, arguments.id, arguments.index)
        _say_matches("", *index.search(index.get(wanted), k, exclude=[wanted], probe=probe))
        return
    with named(arguments.queries):
        queries = npy.read(arguments.queries)
        found = index.search(queries, k, probe=probe)
    if queries.ndim == 1:
        _say_matches("", *found)
        return
    for number, count in enumerate(found.counts.tolist()):
        _say_matches(f"{number}  ", found.ids[number, :count], found.scores[number, :count])


def _say_matches(prefix: str, ids: Any, scores: Any) -> None:
    for one, score in zip(ids, scores, strict=True):
        say(f"{prefix}{score:.4f}  {one}")


def _holds_words(index: Index) -> bool:
    return index.id_type is str


def _known_id(index: Index, text: str, path: str) -> Any:
    words = _holds_words(index)
    if words and text in index:
        return text
    if not words and text.removeprefix("-").isdecimal() and int(text) in index:
        return int(text)
    hint = did_you_mean(text, index.ids, index) if words else ""
    raise UserError(f"{text!r} is not among the {len(index):,} ids of {path}{hint}")


def _stats(arguments: argparse.Namespace) -> None:
    show_stats(arguments.index, arguments.verify)


def show_sharded(path: str) -> None:
    """Print what a sharded index holds, without a cluster."""
    import firth
    from firth.distributed import shard_files

    folder, manifest = shard_files.opened("info", path)
    ids = firth.Index.open(folder.ids, "r")
    lines = {
        "folder": f"{path}, {megabytes(path)}",
        "format": f"sharded index of firth, {manifest.shards} shards: "
        "firth.distributed.ShardedIndex reads it",
        "vectors": f"{len(ids):,}",
        "dimensions": f"{manifest.dim} ({manifest.storage})",
        "metric": manifest.metric,
    }
    if manifest.cells is not None:
        lines["cells"] = f"{manifest.cells} in each shard"
    table(lines)


def show_stats(path: str, verify: bool = False) -> None:
    """Print what an index holds."""
    import firth

    index = firth.Index.open(path, "r", verify=verify)
    numbers = index.stats()
    log = f"{path}.log"
    has_log = os.path.exists(log) and os.path.getsize(log) > 0
    lines = {
        "file": f"{path}, {megabytes(path)}",
        "format": "index of firth",
        "log": f"{megabytes(log)} of changes since" if has_log else "empty",
        "vectors": f"{len(index):,}",
        "dimensions": f"{index.dim} ({index.storage})",
        "metric": index.metric,
        "dead": f"{numbers['dead']:,} removed or replaced, until the file is compacted",
    }
    if len(index):
        kind = "str" if _holds_words(index) else "int"
        lines["ids"] = f"{kind}: {', '.join(map(str, index.ids[:5]))}"
    if numbers["cells"]:
        lines["cells"] = f"{numbers['cells']:,}, of which a search visits {numbers['probe']:,}"
    if verify:
        lines["checksums"] = "ok"
    table(lines)
