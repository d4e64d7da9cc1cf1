"""A change that is interrupted anywhere has happened completely or not at all.

In memory and in a file; by an exception at each line, by Ctrl-C at random, by a limit of memory.
"""

from __future__ import annotations

import dis
import gc
import io
import itertools
import linecache
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.search import storage
from firth.search import table as table_module

DIM = 3
ROOT = str(Path(firth.__file__).parent)
TRACED = (os.path.join(ROOT, "search"), os.path.join(ROOT, "formats", "log.py"))
CHANGING = ("table.py", "storage.py", "log.py", "state.py")
RNG = np.random.default_rng(11)
FIRST, SECOND = (RNG.integers(-9, 10, (60, DIM)).astype(np.float32) for _ in range(2))


class Interrupted(BaseException):
    """The exception to raise: nothing in the package catches it by name."""


class Interrupter:
    """Raises at the n-th line that is executed in the search and the formats.

    A line that is executed again and again counts once, in what changes an index twice.
    """

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.at, self.error, self.count, self.where = at, error, 0, ""
        self.seen: Counter[tuple[Any, int]] = Counter()

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(TRACED) or code.co_name == "leave":  # a finalizer
            return None
        line = code, frame.f_lineno
        often = 2 if code.co_filename.endswith(CHANGING) else 1
        if event == "line" and self.seen[line] < often and not leaves_with(frame):
            self.seen[line] += 1
            self.count += 1
            if self.count == self.at:
                self.where = f"{code.co_name}:{frame.f_lineno}"
                raise self.error
        return self

    def __enter__(self) -> None:
        sys.settrace(self)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def leaves_with(frame: Any) -> bool:
    """Whether the line is the end of a ``with`` block, where Python handles no signal.

    An exception from a tracer there would leave the lock held, which no real one could.
    """
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    if not line.startswith("with "):
        return False
    name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return not name.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "PUSH"))


def names_of(numbers: Any, named: bool) -> Any:
    return [f"wörd {i}" for i in numbers] if named else [int(i) - 5 for i in numbers]


class Twin:
    """The expected content of the index."""

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {}

    def copy(self) -> Twin:
        twin = Twin()
        twin.rows = dict(self.rows)
        return twin

    def add(self, vectors: Any, ids: Any) -> None:
        for one, row in zip(ids, vectors, strict=True):
            self.rows.pop(one, None)
            self.rows[one] = row

    def remove(self, ids: Any) -> None:
        for one in ids:
            del self.rows[one]

    def nothing(self) -> None:
        pass

    flush = compact = nothing

    def holds(self, index: firth.Index) -> bool:
        """Whether the index has this content, by every method."""
        ids = list(index.ids)
        if ids != list(self.rows) or len(index) != len(ids):
            return False
        if not ids:
            return True
        vectors = np.stack(list(self.rows.values()))
        found = index.search(vectors, 1, filter=ids).scores
        return (
            bool((index.get(ids) == vectors).all())
            and ids[-1] in index
            and bool((found == 0).all())  # metric "l2": each row finds itself
        )


def history(index: Any, named: bool, twin: Twin) -> None:
    for one in (index, twin):
        one.add(FIRST[:40], names_of(range(40), named))
        one.remove(names_of([3, 30], named))
        one.add(FIRST[40:44], names_of([7, 3, 50, 7], named))


OPERATIONS: dict[str, Any] = {
    "add": lambda i, named: i.add(SECOND[:5], names_of(range(60, 65), named)),
    "replace": lambda i, named: i.add(SECOND[:6], names_of([1, 7, 61, 1, 30, 3], named)),
    "remove": lambda i, named: i.remove(names_of([0, 3, 50], named)),
    "remove and compact": lambda i, named: i.remove(names_of(range(8, 28), named)),
    "compact": lambda i, named: i.compact(),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index files with a log, int and str."""
    folder = tmp_path_factory.mktemp("template")
    for named in (False, True):
        path = folder / f"{named}.index"
        index = firth.Index(DIM, "l2")
        index.add(FIRST[:20], names_of(range(20), named))
        index.save(path)
        with firth.Index.open(path) as opened:
            opened.add(FIRST[20:40], names_of(range(20, 40), named))
            opened.remove(names_of([3, 30], named))
            opened.add(FIRST[40:44], names_of([7, 3, 50, 7], named))
    return folder


def begin(named: bool, template: Path | None, folder: Path) -> tuple[firth.Index, Twin]:
    twin = Twin()
    index = firth.Index(DIM, "l2")
    history(index, named, twin)
    if template is not None:
        for ending in ("", ".log"):
            shutil.copy(template / f"{named}.index{ending}", folder / f"x.index{ending}")
        index = firth.Index.open(folder / "x.index")
        list(twin.rows)[0] in index  # noqa: B015, RUF015 (its tables are made)
    return index, twin


def check(index: firth.Index, old: Twin, new: Twin, named: bool, path: Path | None) -> None:
    """The index is as before or as after, stays so in a file, and goes on."""
    assert not index._table.writing.locked()
    assert not index._table.publishing.locked()
    twin = next((one for one in (old, new) if one.holds(index)), None)
    assert twin is not None, "neither as before nor as after"
    twin = twin.copy()
    for _ in range(2):
        if path is not None:  # no record of what was refused
            assert twin.holds(firth.Index.open(path, "r"))
        try:
            for one in (index, twin):
                one.add(SECOND[10:14], names_of([1, 70, 9, 71], named))
                one.remove(names_of([70, 2], named))
                one.add(SECOND[14:16], names_of([2, 72], named))
        except io.UnsupportedOperation as error:
            assert "open it again" in str(error)  # noqa: PT017
            index.close()
            assert path is not None
            index = firth.Index.open(path)
            continue
        assert twin.holds(index)
        break
    if path is not None:
        index.close()
        assert twin.holds(firth.Index.open(path, "r"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("name", "kept", "named"),
    [
        *itertools.product(OPERATIONS, ["memory"], [False, True]),
        *(pytest.param(name, "file", True, marks=pytest.mark.slow) for name in OPERATIONS),
        ("flush", "file", True),
    ],
)
def test_an_exception_at_every_line(
    tmp_path: Path,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kept: str,
    named: bool,
) -> None:
    for sync in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, sync, lambda _: None, raising=False)  # takes its time
    for module in (table_module, storage):
        monkeypatch.setattr(module, "COMPACT_FROM", 14)  # in "remove and compact"
    operation = OPERATIONS.get(name, lambda i, _: i.flush())
    error = MemoryError if named and "compact" in name else Interrupted  # an Exception, or none
    path = tmp_path / "x.index" if kept == "file" else None
    at, interrupted = 0, True
    places = set()
    while interrupted:
        at += 1
        index, old = begin(named, template if path else None, tmp_path)
        assert old.holds(index)
        new = old.copy()
        operation(new, named)
        interrupter = Interrupter(at, error)
        interrupted = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with interrupter:
                    operation(index, named)
            except error:
                interrupted = True
        interrupted |= interrupter.count >= at  # an error of a compaction that came by itself
        places.add(interrupter.where)
        try:
            check(index, old, new, named, path)
        except BaseException as problem:
            raise AssertionError(f"after {interrupter.where}") from problem
    del index
    gc.collect()  # files that an exception left open are closed, with a warning, now
    assert at > (5 if name == "flush" else 20)
    assert len(places) > (3 if name == "flush" else 10)


def run(source: str, *arguments: str) -> str:
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(source), *arguments],
        capture_output=True, text=True, check=False, timeout=300, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout


INTERRUPTED = """
    import gc, os, signal, sys, time
    import numpy as np, firth
    from pathlib import Path
    from search.crash import DIM, Model, do
    from firth.search import storage, table as module
    module.COMPACT_FROM = storage.COMPACT_FROM = 200
    storage._LOG_FROM = 4000
    path, seconds = Path(sys.argv[1]), 1.5
    parent = os.getpid()
    child = os.fork()
    if child == 0:  # sends Ctrl-C at random
        rng = np.random.default_rng(int(sys.argv[2]))
        time.sleep(0.3)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(rng.uniform(0, 0.003))
            os.kill(parent, signal.SIGINT)
        os._exit(0)
    armed = False
    def interrupt(number, frame):  # once an operation: the checks are not what is tested
        global armed
        if armed:
            armed = False
            raise KeyboardInterrupt
    signal.signal(signal.SIGINT, interrupt)
    def opened():
        if sys.argv[4] == "memory":
            return firth.Index(DIM)
        if not path.exists():
            firth.Index(DIM).save(path)
        return firth.Index.open(path)
    interrupts = changes = reopened = 0
    named = sys.argv[3] == "named"
    model, rng = Model(named), np.random.default_rng(0)
    index = opened()
    while not os.waitpid(child, os.WNOHANG)[0]:
        operation = model.operation(rng)
        if operation[0] == "flush" and sys.argv[4] == "memory":
            continue
        after = model.copy()
        after.apply(operation)
        happened = False
        try:
            armed = True
            do(index, operation)
            happened = True
            armed = False
        except KeyboardInterrupt:
            interrupts += 1
        except OSError as error:  # UnsupportedOperation: compaction was interrupted
            armed = False
            assert "open it again" in str(error), error
            index.close()
            index, reopened = opened(), reopened + 1
            assert model.holds(index)
            continue
        assert not index._table.writing.locked()
        if after.holds(index):
            model = after
        else:
            assert not happened and model.holds(index), operation
        changes += 1
    if sys.argv[4] == "file":
        assert model.holds(firth.Index.open(path, "r", verify=True))
        index.compact()
        index.close()
        assert model.holds(firth.Index.open(path, "r", verify=True))
    print(interrupts, changes, reopened)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("kept", "ids"), [("memory", "int"), ("file", "named")])
def test_ctrl_c_at_random(tmp_path: Path, kept: str, ids: str) -> None:
    interrupts, changes, _ = map(int, run(INTERRUPTED, str(tmp_path / "x"), "3", ids, kept).split())
    assert interrupts > 10
    assert changes > interrupts


SHORT_OF_MEMORY = """
    import ctypes, gc, resource, sys
    import numpy as np, firth
    from firth.search import storage
    storage.COMPACT_FROM = 10**9  # it would end by giving memory back
    index = firth.Index(8, "l2")
    if sys.argv[1] == "file":
        index.save(sys.argv[2])
        index = firth.Index.open(sys.argv[2])
    named = sys.argv[3] == "named"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 8)).astype(np.float32)
    held = {}
    def ids_of(first):
        numbers = range(first, first + len(rows))
        return [f"w{i}" for i in numbers] if named else np.array(numbers)
    def add(batch):
        ids = ids_of(batch * 15_000)
        index.add(rows + batch, ids)
        held.update(zip(ids if named else ids.tolist(), [batch] * len(ids)))
    for batch in range(3):
        add(batch)
    index.search(rows[:64])
    failed = done = 0
    for room in range(0, 6_000_000, 500_000):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + room, resource.RLIM_INFINITY))
        try:
            index.add(rows[:9_000] + 9, ids_of(20_000)[:9_000])
            changed, done = 9, done + 1
        except MemoryError:
            changed, failed = None, failed + 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        if changed is not None:
            ids = ids_of(20_000)[:9_000]
            held.update(zip(ids if named else ids.tolist(), [9] * 9_000))
        for one in (index, firth.Index.open(sys.argv[2], "r") if sys.argv[1] == "file" else index):
            assert len(one) == len(held), room
            want = list(held)[:: 997]
            got = one.get(want)
            first = 15_000
            for id, row in zip(want, got):
                number = int(id[1:]) if named else id
                batch = held[id]
                at = number - 20_000 if batch == 9 else number - batch * 15_000
                assert (row == rows[at] + np.float32(batch)).all(), (room, id)
            assert set(one.ids if named else one.ids.tolist()) == set(held)
    print(failed, done)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs RLIMIT_AS and malloc_trim")
@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""),
    reason="AddressSanitizer hangs or ends a process that gets no memory",
)
@pytest.mark.parametrize(("kept", "ids"), [("memory", "int"), ("file", "named")])
def test_no_memory(tmp_path: Path, kept: str, ids: str) -> None:
    failed, done = map(int, run(SHORT_OF_MEMORY, kept, str(tmp_path / "x"), ids).split())
    assert failed + done == 12
    assert failed > 1 or kept == "file"  # which needs little more memory
    assert done > 0
