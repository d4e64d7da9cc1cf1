"""Kills writers of an index at random points (test_storage_damage.py): ``crash.py FOLDER KILLS``.

A child opens the index, changes it over and over, and reports on a pipe each time a change has
returned; it is killed after some changes and milliseconds. Then every reported change must be in
the index, and at most one more. The next child continues with that index. It is a program of its
own because it forks, so that a child does not have to start an interpreter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import firth
from firth.search import storage
from killing import killed

DIM = 4


class Model:
    """What the index should hold: vectors by id in order of addition."""

    def __init__(self, named: bool) -> None:
        self.rows: dict[Any, Any] = {}
        self.named, self.next = named, 0

    def copy(self) -> Model:
        copied = Model(self.named)
        copied.rows, copied.next = dict(self.rows), self.next
        return copied

    def operation(self, rng: np.random.Generator) -> tuple[str, Any, Any]:
        """Something to do next: name, vectors, ids."""
        choice = rng.integers(100)
        here = list(self.rows)
        if choice < 30 and here:
            count = min(len(here), int(rng.integers(1, 6)))
            return "remove", None, [here[i] for i in rng.choice(len(here), count, replace=False)]
        if choice < 34:
            return "flush", None, None
        if choice < 36:
            return "compact", None, None
        count = int(rng.integers(1, 5)) if choice < 98 else 300
        vectors = rng.integers(-127, 128, (count, DIM)).astype(np.float32)
        vectors[:, 0] = 127  # so int8 stores them as they are
        if self.named:
            return "add", vectors, [f"wörd {i}" for i in rng.integers(0, 600, count)]
        if choice % 2:
            return "add", vectors, None
        return "add", vectors, rng.integers(-50, 600, count)

    def apply(self, operation: tuple[str, Any, Any]) -> None:
        name, vectors, ids = operation
        if name == "remove":
            for one in ids:
                del self.rows[one]
        elif name == "add":
            ids = range(self.next, self.next + len(vectors)) if ids is None else ids
            for one, vector in zip(ids, vectors, strict=True):
                one = one if self.named else int(one)
                self.rows.pop(one, None)
                self.rows[one] = vector
                if not self.named:
                    self.next = max(self.next, one + 1)

    def holds(self, index: firth.Index) -> bool:
        """Whether the index has exactly this content."""
        ids = list(index.ids)
        if ids != list(self.rows) or len(index) != len(ids):
            return False
        return not ids or bool((index.get(ids) == np.array(list(self.rows.values()))).all())


def do(index: firth.Index, operation: tuple[str, Any, Any]) -> None:
    name, vectors, ids = operation
    if name == "add":
        index.add(vectors, ids)
    elif name == "remove":
        index.remove(ids)
    else:
        getattr(index, name)()


def write(path: Path, model: Model, seed: int, pipe: int) -> None:
    """The child: change the index until it is killed."""
    rng = np.random.default_rng(seed)
    storage._LOG_FROM = 4000  # so that compaction comes by itself, and often
    index = firth.Index.open(path)
    os.write(pipe, b"o")
    while True:
        operation = model.operation(rng)
        do(index, operation)
        os.write(pipe, b".")
        model.apply(operation)


def kill_once(path: Path, model: Model, seed: int) -> tuple[Model, int]:
    """The content after a child was killed, and the number of its changes."""
    rng = np.random.default_rng(seed)
    # Every eighth may be killed while it opens; the others do some changes.
    wanted, seconds = int(seed % 8 and 1 + rng.integers(40)), rng.uniform(0, 0.005)
    done = killed(lambda pipe: write(path, model, seed, pipe), wanted, seconds)
    rng = np.random.default_rng(seed)
    for _ in range(done):
        model.apply(model.operation(rng))
    further = model.copy()
    further.apply(further.operation(rng))
    index = firth.Index.open(path, "r", verify=True)
    if model.holds(index):
        return model, done
    assert further.holds(index), f"seed {seed}: something was lost after {done} changes"
    return further, done


def main(folder: Path, kills: int) -> None:
    configurations = [("float32", False), ("float32", True), ("int8", True), ("float16", False)]
    changes = compactions = 0
    for number, (kept, named) in enumerate(configurations):
        path = folder / f"{number}.index"
        firth.Index(DIM, storage=kept).save(path)
        model, inode = Model(named), 0
        for seed in range(kills // len(configurations)):
            model, done = kill_once(path, model, 1000 * number + seed)
            changes += done
            compactions += inode not in (0, os.stat(path).st_ino)
            inode = os.stat(path).st_ino
        with firth.Index.open(path) as index:
            index.compact()
            assert model.holds(index)
    left = sorted(file.name for file in folder.iterdir())
    assert left == [f"{number}.index" for number in range(len(configurations))], left
    print(f"{kills} kills, {changes} changes, {compactions} times with compaction")
    assert changes > kills
    assert compactions > 3


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
