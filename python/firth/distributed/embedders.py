"""What a worker of `embed` does: rows of texts, by a model of its own, to files of vectors."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from firth.distributed import cluster, datasets
from firth.distributed.datasets import Shard
from firth.distributed.splits import Split
from firth.encoders import SentenceTransformer
from firth.optional import needs

WHERE = "embed"
_MODEL_FILES = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class Recipe:
    """What a worker needs to know: the folder of the model, that of the result, and settings."""

    model: str
    out: str
    settings: dict[str, Any]

    @property
    def said(self) -> dict[str, Any]:
        """The settings as users read them, who know models by name."""
        return {**self.settings, "model": self.model}

    def load(self) -> SentenceTransformer:
        """The model; RuntimeError where it is another one here."""
        if fingerprint(self.model) != self.settings["weights"]:
            host = cluster.the_ray().util.get_node_ip_address()
            raise RuntimeError(f"{WHERE}: the node {host} has another model in {self.model}")
        return SentenceTransformer(self.model, compute_type=self.settings["compute_type"])


def model_files(folder: str) -> list[str]:
    """Those that make a model what it is."""
    return sorted(
        os.path.join(below, name)
        for below, _, names in os.walk(folder)
        for name in names
        if name.endswith(_MODEL_FILES)
    )


def fingerprint(folder: str) -> str:
    """A digest of a model's files: weights, settings, vocabulary."""
    found = hashlib.blake2b(digest_size=16)
    for path in model_files(folder):
        with open(path, "rb") as file:
            each = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        found.update(os.path.relpath(path, folder).encode() + b"\0" + each.digest())
    return found.hexdigest()


@dataclass(frozen=True)
class Task:
    """Shards that follow each other, of a split of a file or of blocks: (number, begin, end)."""

    shards: tuple[Shard, ...]
    split: Split | None
    pieces: tuple[tuple[int, int, int], ...]


class Worker:
    """What an actor does: tasks become files, and a result for each shard.

    A result is how many texts it has, and what the model has to say of them, or "".
    """

    def __init__(self, recipe: Recipe, blocks: Sequence[Any]) -> None:
        """By what to work, and of a dataset references of all its blocks."""
        self._out, self._settings, self._blocks = recipe.out, recipe.settings, blocks
        self._column: str = recipe.settings["column"]
        self._model = recipe.load()

    def __call__(self, task: Task) -> Iterator[tuple[int, str]]:
        """Write the shards that are not there."""
        read = self._of_blocks(task) if task.split is None else self._of_split(task, task.split)
        for shard, texts, table in read:
            yield shard.rows, self.write(shard, texts, table)

    def _of_split(self, task: Task, split: Split) -> Iterator[tuple[Shard, list[str], Any]]:
        left, position = datasets.texts(split, self._column), 0
        with contextlib.closing(left):
            for shard in task.shards:
                if datasets.is_done(self._out, shard, self._settings):
                    yield shard, [], None
                    continue
                deque(itertools.islice(left, shard.skipped - position), maxlen=0)
                found = list(itertools.islice(left, shard.rows))
                position = shard.skipped + shard.rows
                if len(found) != shard.rows:
                    raise RuntimeError(f"{split.path}: became shorter while it was read")
                own = {**datasets.own_columns(shard), self._column: found}
                yield shard, found, lambda own=own: needs("pyarrow", WHERE).table(own)

    def _of_blocks(self, task: Task) -> Iterator[tuple[Shard, list[str], Any]]:
        (shard,) = task.shards
        if datasets.is_done(self._out, shard, self._settings):
            yield shard, [], None
            return
        blocks = cluster.the_ray().get([self._blocks[i] for i, _, _ in task.pieces])
        table = joined([(begin, end) for _, begin, end in task.pieces], blocks)
        row = needs("pyarrow", WHERE).array(datasets.own_columns(shard)["row"])
        found = texts_of(table, self._column, shard.first)
        yield shard, found, lambda: table.append_column("row", row)

    def write(self, shard: Shard, texts: list[str], table: Callable[[], Any] | None) -> str:
        """A shard's vectors, beside what else there is of each row; what the model had to say."""
        if table is None:
            return ""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            vectors = self._model.encode(texts, show_progress_bar=False, **self._settings["encode"])
        rows = table() if self._settings["format"] == "parquet" else None
        datasets.write_shard(os.path.join(self._out, shard.name), rows, vectors)
        return str(said[0].message) if said else ""


def joined(pieces: Sequence[tuple[int, int]], blocks: Sequence[Any]) -> Any:
    """A table of parts of others, each from one row to another."""
    arrow = needs("pyarrow", WHERE)
    parts = [block[begin:end] for (begin, end), block in zip(pieces, blocks, strict=True)]
    return arrow.concat_tables(parts, promote_options="default")


def texts_of(table: Any, column: str, first: int) -> list[str]:
    """A column of texts, whose first row has that number. ValueError where one is none."""
    found: list[str] = table[column].to_pylist()
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise ValueError(
                f"{WHERE}: row {first + i} of the dataset has no text in {column!r}, but "
                f"{type(text).__name__}"
            )
    return found
