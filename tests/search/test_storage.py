"""Index files: round trips, crashes at any point, damage of any kind, several processes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError
from firth.formats import container as files
from firth.formats import log as logs
from firth.search import records, storage
from processes import printed

DIM = 5
RNG = np.random.default_rng(3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.index"


def rows(count: int, dim: int = DIM) -> Any:
    return RNG.standard_normal((count, dim)).astype(np.float32)


def content(index: firth.Index) -> dict[Any, bytes]:
    """All that an index holds, in order."""
    ids = index.ids
    vectors = index.get(ids) if len(index) else []
    return {one: row.tobytes() for one, row in zip(list(ids), vectors, strict=True)}


def same(first: firth.Index, second: firth.Index) -> bool:
    assert content(first) == content(second)
    assert list(first.ids) == list(second.ids)
    assert len(first) == len(second)
    queries = rows(4, first.dim)
    ours, others = first.search(queries, 7), second.search(queries, 7)
    np.testing.assert_array_equal(ours.ids, others.ids)
    np.testing.assert_array_equal(ours.scores, others.scores)
    return True


def log_of(path: Path) -> Path:
    return path.with_name(path.name + ".log")


# Round trips


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("kept", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("count", [0, 1, 31, 64, 1500])
def test_round_trip(path: Path, metric: str, kept: str, named: bool, count: int) -> None:
    index = firth.Index(DIM, metric, kept)
    names = [f"wörd {i} \udc80" for i in range(count)]
    index.add(rows(count), names if named else None)
    if count > 30:
        index.remove(names[3:9] if named else range(3, 9))
        index.add(rows(2), names[20:22] if named else [20, 21])
    index.save(path)
    assert not log_of(path).exists()
    for mode in ("r", "r+"):
        for mmap in (True, False):
            with firth.Index.open(path, mode, mmap) as opened:
                assert (opened.dim, opened.metric, opened.storage) == (DIM, metric, kept)
                assert same(index, opened)
    # The same changes in memory and in a file, before and after it is opened again.
    opened = firth.Index.open(path)
    for changed in (index, opened):
        generator = np.random.default_rng(0)
        changed.add(
            generator.random((4, DIM)), ["a", "b", "a", "c"] if named else [7, -5, 7, 10**15]
        )
        changed.remove(["b"] if named else -5)
        changed.add(generator.random(DIM), "d" if named else None)
    assert same(index, opened)
    assert same(index, firth.Index.open(path, "r"))
    opened.close()
    assert log_of(path).exists()
    with firth.Index.open(path) as opened:
        assert same(index, opened)
        opened.compact()
        assert same(index, opened)
        assert same(index, firth.Index.open(path, "r", verify=True))
    assert not log_of(path).exists()
    if not named:  # the greatest id counts, even if it was compacted away
        for changed in (index, firth.Index.open(path)):
            changed.remove(changed.ids[-1])
            changed.compact()
            assert changed.add(rows(1)).tolist() == [10**15 + 2]


def test_consecutive_ids_need_no_labels(path: Path) -> None:
    index = firth.Index(DIM)
    index.add(rows(40), range(100, 140))
    index.save(path)
    assert "labels" not in files.read(path).arrays
    index.remove(100)
    index.save(path)
    assert "labels" not in files.read(path).arrays
    index.add(rows(1), 120)
    index.save(path)
    assert firth.Index.open(path, "r").ids.tolist() == [*range(101, 120), *range(121, 140), 120]


def test_mapped_codes_are_those_of_memory(path: Path) -> None:
    index = firth.Index(40)
    index.add(rows(5000, 40))
    index.remove(range(10, 50))
    index.save(path)
    with firth.Index.open(path) as opened:
        assert opened.stats()["coded"] == 4960 // 32 * 32
        opened.add(rows(3000, 40))
        assert opened.stats()["coded"] > 7000
        opened.compact()
        assert opened.stats()["coded"] == 7960 // 32 * 32
        assert opened.stats()["segments"] == 1
        vectors = opened.get(opened.ids)
        best = opened.search(vectors[::50], 1)
        np.testing.assert_array_equal(best.ids[:, 0], opened.ids[::50])
        assert (best.scores == 1).all()


def test_cells_that_have_changed_are_kept(path: Path) -> None:
    """They are not in the log, but in a new file."""

    def numbers(index: firth.Index) -> list[Any]:
        return [index.stats()[name] for name in ("rows", "cells", "probe")]

    firth.Index(DIM, cells=20).save(path)
    with firth.Index.open(path) as index:
        index.add(rows(300))
        assert log_of(path).stat().st_size > 0
        index.add(rows(1000))
        assert log_of(path).stat().st_size == 0
        index.add(rows(100))
        assert log_of(path).stat().st_size > 0
        index.tune(1.0)
        assert log_of(path).stat().st_size == 0
        wanted = numbers(index)
    assert wanted[:2] == [1400, 20]
    reader = firth.Index.open(path, "r")
    assert numbers(reader) == wanted
    reader.tune(0.5)  # for itself
    assert numbers(firth.Index.open(path, "r")) == wanted


def test_compaction_comes_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOG_FROM", 10_000)
    firth.Index(DIM).save(path)
    most = 0
    with firth.Index.open(path) as index:
        for _ in range(300):
            index.add(rows(10))
            most = max(most, log_of(path).stat().st_size)
        assert path.stat().st_size > 50_000
        assert most < 1.1 * path.stat().st_size
        index.remove(range(0, 2000))  # dead rows, though the log is short
        assert log_of(path).stat().st_size == 0
        assert same(index, firth.Index.open(path, "r"))


def test_saving_over_files(path: Path) -> None:
    index, other = firth.Index(DIM), firth.Index(3)
    index.add(rows(3))
    index.save(path)
    with firth.Index.open(path) as opened:
        opened.add(rows(2))
        opened.save(path.with_name("copy"))
        assert same(opened, firth.Index.open(path.with_name("copy"), "r"))
        with pytest.raises(BlockingIOError, match="open for writing"):
            other.save(path)
        opened.save(path)  # its own: compaction
        assert log_of(path).stat().st_size == 0
        opened.add(rows(2))
        assert len(firth.Index.open(path, "r")) == 7
    other.save(path)  # the log of what was there goes with it
    assert not log_of(path).exists()
    assert firth.Index.open(path, "r").dim == 3


def test_saving_keeps_others_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opened the file for writing meanwhile would append to an ignored log."""
    index = firth.Index(DIM)
    index.add(rows(3))
    index.save(path)
    real, refused = storage.write, []

    def write(*arguments: Any) -> None:
        with pytest.raises(BlockingIOError, match="open for writing elsewhere"):
            firth.Index.open(path)
        refused.append(len(firth.Index.open(path, "r")))
        real(*arguments)

    monkeypatch.setattr(storage, "write", write)
    index.add(rows(1))
    index.save(path)
    assert refused == [3]
    assert [file.name for file in path.parent.iterdir()] == ["x.index"]
    monkeypatch.undo()

    def fail(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(storage, "write", fail)
    for target in (path, path.with_name("new")):
        with pytest.raises(OSError, match="no room"):
            index.save(target)
    assert [file.name for file in path.parent.iterdir()] == ["x.index"]
    with pytest.raises(FileNotFoundError) as caught:
        index.save(path.parent / "nowhere" / "x")
    assert caught.value.filename == str(path.parent / "nowhere" / "x")


@pytest.mark.parametrize("newcomer", ["index", "keyedvectors", "text"])
def test_a_newcomer_in_the_place_of_the_file_stays(path: Path, newcomer: str) -> None:
    firth.Index(DIM).save(path)
    index = firth.Index.open(path)
    index.add(rows(3))
    other = path.with_name("other")
    if newcomer == "text":
        other.write_text("hello")
    else:
        made = firth.Index(2) if newcomer == "index" else firth.KeyedVectors(2)
        made.save(other)
    whole = other.read_bytes()
    os.rename(path, path.with_name("kept"))
    os.rename(other, path)
    for change in (index.compact, lambda: index.save(path)):
        with pytest.raises(FormatError, match=r"x\.index"):
            change()
        assert path.read_bytes() == whole
    index.add(rows(1))  # it goes on, for the file that was there
    index.close()
    os.replace(path.with_name("kept"), path)
    assert len(firth.Index.open(path, "r")) == 4


def test_a_compaction_by_itself_that_fails_is_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the error: the change is in the log."""
    monkeypatch.setattr(storage, "_LOG_FROM", 1)
    firth.Index(DIM).save(path)
    index = firth.Index.open(path)
    for error in (RuntimeError("can't start new thread"), MemoryError(), OSError("full")):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(storage, "write", fail)
            with pytest.warns(UserWarning, match="could not be compacted") as caught:
                index.add(rows(2000 + 2 * len(index)))
        assert caught[0].filename == __file__
        assert len(firth.Index.open(path, "r")) == len(index)
    index.close()


def test_an_addition_beside_a_file_that_is_gone_is_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_LOG_FROM", 1)
    firth.Index(DIM).save(path)
    index = firth.Index.open(path)
    os.unlink(path)
    with pytest.warns(UserWarning, match="could not be compacted"):
        assert index.add(rows(3)).tolist() == [0, 1, 2]
    assert len(index) == 3
    index.compact()
    index.close()
    assert len(firth.Index.open(path, "r")) == 3


def test_what_cannot_be_done(path: Path) -> None:
    index = firth.Index(DIM)
    index.add(rows(2))
    with pytest.raises(io.UnsupportedOperation, match="in memory only"):
        index.flush()
    index.close()
    index.add(rows(1))
    with pytest.raises(FileNotFoundError):
        firth.Index.open(path)
    assert not log_of(path).exists()
    with pytest.raises(FileNotFoundError):
        index.save(path / "x")
    index.save(path)
    with pytest.raises(ValueError, match=r"mode must be 'r' or 'r\+', got 'w'"):
        firth.Index.open(path, "w")
    reader = firth.Index.open(path, "r")
    writer = firth.Index.open(path)
    writer.flush()
    writer.close()
    for closed, reason in ((reader, "opened for reading"), (writer, "was closed")):
        for change in (lambda c=closed: c.add(rows(1)), lambda c=closed: c.remove(0),
                       closed.compact, lambda c=closed: c.save(path)):  # fmt: skip
            with pytest.raises(io.UnsupportedOperation, match=reason):
                change()
        closed.flush()
        closed.close()
        assert same(index, closed)


# Crashes


def history(path: Path, named: bool) -> list[firth.Index]:
    """Change an index file; returns its content after each change. The log stays."""
    firth.Index(2).save(path)
    state = firth.Index(2)
    states = [state]
    index = firth.Index.open(path)
    script: list[tuple[str, Any]] = [
        ("add", ["a", "b", "c"]), ("add", ["d"]), ("remove", ["b"]), ("add", ["a", "e"]),
        ("remove", ["e", "c"]), ("add", ["b"]),
    ]  # fmt: skip
    done: list[tuple[str, Any, Any]] = []
    for name, words in script:
        ids = words if named else [ord(word) for word in words]
        vectors = rows(len(ids), 2) if name == "add" else None
        done.append((name, vectors, ids))
        index.remove(ids) if name == "remove" else index.add(vectors, ids)
        state = firth.Index(2)
        for earlier, given, of in done:
            state.remove(of) if earlier == "remove" else state.add(given, of)
        states.append(state)
    index.close()
    return states


def offsets(path: Path) -> list[int]:
    """The ends of the records of a log."""
    with open(path, "rb") as file:
        reader = logs.Reader(file, path)
        return [reader.end, *(reader.end for _ in reader)]


@pytest.mark.parametrize("named", [False, True])
def test_a_log_cut_anywhere(path: Path, named: bool) -> None:
    states, beside = history(path, named), log_of(path)
    whole, ends = beside.read_bytes(), offsets(beside)
    assert len(ends) == len(states)
    assert ends[-1] == len(whole)
    for length in range(len(whole) + 1):
        beside.write_bytes(whole[:length])
        known = max([i for i, end in enumerate(ends) if end <= length], default=0)
        assert content(firth.Index.open(path, "r")) == content(states[known])
        assert beside.stat().st_size == length
        with firth.Index.open(path) as index:
            assert content(index) == content(states[known])
            if length % 7 == 0:  # it goes on from there
                index.add([1, 2], "z" if named else 77)
                index.flush()
                assert content(firth.Index.open(path, "r")) == content(index)
        assert not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize("named", [False, True])
def test_each_flipped_byte_of_a_log(path: Path, named: bool) -> None:
    states, beside = history(path, named), log_of(path)
    whole, ends = beside.read_bytes(), offsets(beside)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= (0x01, 0x80, 0xFF)[position % 3]
        beside.write_bytes(damaged)
        if position < ends[-2]:  # records follow
            for mode in ("r", "r+"):
                with pytest.raises(FormatError) as caught:
                    firth.Index.open(path, mode)
                assert str(beside) in str(caught.value)
                assert caught.value.offset in {0, *ends}
            assert beside.read_bytes() == damaged
        else:  # the last one is as if it had not been written
            assert content(firth.Index.open(path, "r")) == content(states[-2])


def test_a_log_of_zeros_or_another_file(path: Path) -> None:
    firth.Index(2).save(path)
    for data in (bytes(100), b"\x93FIRTH\r\n", b"some text, longer than a header is"):
        log_of(path).write_bytes(data)
        with pytest.raises(FormatError, match="not a log"):
            firth.Index.open(path, "r")
    log_of(path).write_bytes(b"\x93FIR")
    assert len(firth.Index.open(path, "r")) == 0


def test_a_log_of_another_index(path: Path) -> None:
    """A file that replaces another one, whose log still has records."""
    history(path, False)
    saved, kept = log_of(path).read_bytes(), path.read_bytes()
    log_of(path).unlink()
    firth.Index(2).save(path)
    log_of(path).write_bytes(saved)
    for mode in ("r", "r+"):
        with pytest.raises(FormatError, match="belongs to another file"):
            firth.Index.open(path, mode)
    assert log_of(path).read_bytes() == saved
    path.write_bytes(kept)
    assert len(firth.Index.open(path, "r")) == 3
    # An empty one says nothing.
    firth.Index(2).save(path)
    log_of(path).write_bytes(saved[:32])
    firth.Index.open(path, "r+").close()
    assert not log_of(path).exists()


def record(*fields: int, labels: Any = (), ends: Any = (), text: bytes = b"", rest: int = 0) -> Any:
    packed = [np.array(part, np.int64).tobytes() for part in (labels, ends)]
    numbers = np.arange(1, rest + 1, dtype=np.float32).tobytes()
    return [records.ADDED.pack(*fields), *packed, text, numbers]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (3, [b""]),
        (records.ADD, [b""]),
        (records.ADD, [b"12345678"]),
        (records.ADD, record(0, 5, 0, 0)),
        (records.ADD, record(1, 5, 0, 0, labels=[5])),
        (records.ADD, record(2**61, 5, 0, 0, labels=[5], rest=2)),
        (records.ADD, record(1, 5, 2**63, 0, labels=[5], rest=2)),
        (records.ADD, record(1, 9, 0, 0, labels=[9], rest=2)),
        (records.ADD, record(1, 5, 1, 1, labels=[5], ends=[1], text=b"a", rest=2)),
        (records.ADD, [*record(1, 5, 0, 0, labels=[5], rest=1), np.float32("nan").tobytes()]),
        (records.REMOVE, [b"1234567"]),
        (records.REMOVE, [np.int64(5).tobytes()]),
        (records.REMOVE, [np.array([1, 1]).tobytes()]),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_records_that_cannot_be_repeated(path: Path, kind: int, payload: Any, named: bool) -> None:
    """Their checksums are right, but their content is nonsense."""
    index = firth.Index(2)
    index.add(rows(5, 2), list("abcde") if named else None)
    index.save(path)
    malicious(path, kind, payload)
    with contextlib.suppress(TypeError):  # of a name for an index of str: it is a good record
        if named and kind == records.ADD and len(payload) > 2 and payload[3] == b"a":
            assert len(firth.Index.open(path, "r")) == 6
            return
    for mode in ("r", "r+"):
        with pytest.raises(FormatError) as caught:
            firth.Index.open(path, mode)
        assert str(log_of(path)) in str(caught.value)
        assert caught.value.offset == 32


@pytest.mark.parametrize(
    "payload",
    [
        record(1, 0, 2, 2, labels=[0], ends=[1, 2], text=b"ab", rest=2),
        record(1, 0, 1, 1, labels=[-1], ends=[1], text=b"a", rest=2),
        record(1, 0, 1, 1, labels=[1], ends=[1], text=b"a", rest=2),
        record(1, 0, 1, 1, labels=[0], ends=[2], text=b"a", rest=2),
        record(2, 0, 2, 2, labels=[0, 1], ends=[2, 1], text=b"ab", rest=4),
        record(1, 0, 1, 1, labels=[0], ends=[-1], text=b"a", rest=2),
        record(1, 0, 1, 1, labels=[0], ends=[1], text=b"\xff", rest=2),
    ],
)
def test_names_that_cannot_be_repeated(path: Path, payload: Any) -> None:
    firth.Index(2).save(path)
    malicious(path, records.ADD, payload)
    with pytest.raises(FormatError, match=r"log: a record .*\(byte 32\)"):
        firth.Index.open(path, "r")


def malicious(path: Path, kind: int, payload: Any) -> None:
    key = bytes.fromhex(files.read(path).meta["key"])
    with io.FileIO(log_of(path), "w") as file:
        logs.Writer(file, key).append(0, kind, payload)


class Steps:
    """Counts the steps that reach the disk; may fail at one, and copies the folder at each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.count, self.fail_at = folder, 0, -1
        self.copies: list[Path] = []
        for name in ("replace", "fsync", "unlink"):
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))
        self.copying = False

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if self.copying:
                copy = self.folder.with_name(f"{self.folder.name}-{len(self.copies)}")
                shutil.copytree(self.folder, copy)
                self.copies.append(copy)
            self.count += 1
            if self.count == self.fail_at:
                raise OSError(errno.EIO, f"no {name} today")
            return real(*arguments, **options)

        return step


@pytest.mark.parametrize("named", [False, True])
def test_a_crash_between_the_steps_of_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "x.index"
    states = history(path, named)
    steps = Steps(monkeypatch, folder)
    with firth.Index.open(path) as index:
        steps.copying = True
        index.compact()
        steps.copying = False
    assert len(steps.copies) == 4  # sync, rename, sync of the folder, rename of the log
    for copy in steps.copies:
        for mode in ("r", "r+", "r+"):
            with firth.Index.open(copy / "x.index", mode) as found:
                assert content(found) == content(states[-1])
                if mode == "r+":
                    found.add([1, 2], "new" if named else 1000)
                    found.remove("new" if named else 1000)
        with firth.Index.open(copy / "x.index") as found:
            found.add([1, 2], "new" if named else 1000)
        assert len(firth.Index.open(copy / "x.index", "r")) == len(states[-1]) + 1


@pytest.mark.parametrize("fail_at", range(1, 6))
def test_compaction_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
    """Whichever step fails: nothing is lost, and the index goes on or says that it cannot."""
    states = history(path, True)
    index = firth.Index.open(path)
    steps = Steps(monkeypatch, path.parent)
    steps.fail_at = fail_at
    expected = content(states[-1])
    if fail_at <= 4:
        with pytest.raises(OSError, match="today"):
            index.compact()
    else:
        index.compact()
    steps.fail_at = -1
    assert content(index) == expected
    assert content(firth.Index.open(path, "r")) == expected
    if fail_at == 4:
        with pytest.raises(io.UnsupportedOperation, match="open it again"):
            index.add([1, 2], "more")
        index.close()
        index = firth.Index.open(path)
    index.add([1, 2], "more")
    index.remove("d")
    assert content(firth.Index.open(path, "r")) == content(index)
    index.compact()
    index.close()
    assert [file.name for file in path.parent.iterdir()] == ["x.index"]
    assert set(content(firth.Index.open(path, "r"))) == {*expected, "more"} - {"d"}


def test_a_sync_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have dropped what it could not write, so the next flush writes it anew."""
    firth.Index(DIM).save(path)
    index = firth.Index.open(path)
    index.add(rows(3))
    steps = Steps(monkeypatch, path.parent)
    steps.fail_at = 1
    with pytest.raises(OSError, match="today"):
        index.flush()
    before = path.stat().st_ino
    index.flush()
    assert path.stat().st_ino != before
    index.close()
    assert len(firth.Index.open(path, "r")) == 3


def test_killed_writers(tmp_path: Path) -> None:
    printed(Path(__file__).with_name("crash.py").read_text(), str(tmp_path), "120")


# Damage of the file


@pytest.fixture(params=[None, 7])
def small(path: Path, request: pytest.FixtureRequest) -> Path:
    index = firth.Index(3, "cosine", "int8", cells=request.param)
    index.add(rows(1100, 3), [f"w{i}" for i in range(1100)])
    index.remove(["w3"])
    index.add(rows(1, 3), ["w500"])
    index.save(path)
    return path


def use(path: Path, **options: Any) -> None:
    """Everything that reads an index; FormatError is the only exception allowed."""
    with contextlib.suppress(FormatError), np.errstate(all="ignore"):
        index = firth.Index.open(path, "r", **options)
        for query in ([1, 2, 3], [[1, 2, 3]] * 20):
            index.search(query, 20)
            index.search_range(query, 0.5)
            index.search(query, filter=np.ones(len(index), bool))
        index.search([1, 2, 3], filter=["w5", "w500"])
        index.get(index.ids)
        index.save(path.with_name("copy"))


def test_damage_is_noticed(small: Path) -> None:
    whole = small.read_bytes()
    rng = np.random.default_rng(0)
    small.write_bytes(whole[:-1])
    with pytest.raises(EOFError):
        firth.Index.open(small)
    for position in [*range(400), *rng.integers(0, len(whole), 200)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        small.write_bytes(damaged)
        for options in ({"mmap": False}, {"verify": True}):
            with pytest.raises(FormatError) as caught:
                firth.Index.open(small, "r", **options)
            assert str(small) in str(caught.value)


def test_damage_that_is_not_looked_for_makes_wrong_answers_only(small: Path) -> None:
    whole = small.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), rng.integers(1, 30)):
            damaged[position] = rng.choice([0, 255, rng.integers(256)])
        small.write_bytes(damaged)
        use(small)
    # Whole arrays of the worst numbers, so that all of them are used.
    small.write_bytes(whole)
    kept = files.read(small, decode=False)
    for name, array in kept.arrays.items():
        for value in (0x00, 0xFF, 0x7F, 0x80):
            worst = np.full(array.nbytes, value, np.uint8).view(array.dtype).reshape(array.shape)
            rewrite(small, kept.arrays | {name: worst}, kept.meta, None)
            use(small)


def rewrite(path: Path, arrays: Any, meta: Any, strings: Any) -> None:
    files.write(path, "index", arrays, meta, strings)


@pytest.mark.parametrize(
    "change",
    [
        {"key": None}, {"key": "00"}, {"replaces": 3}, {"metric": "hamming"}, {"storage": "int4"},
        {"storage": "float32"}, {"rows": -1}, {"rows": 1000}, {"rows": 10**9}, {"rows": True},
        {"run": 1099}, {"run": -1}, {"run": 2000}, {"next_label": 5}, {"next_label": 2**70},
        {"next_label": None}, {"first_label": 2**63}, {"first_label": "0"}, {"centred": -1},
        {"rows": None}, {"storage": ["int8"]}, {"metric": None}, {"first_label": -1},
    ],
)  # fmt: skip
def test_headers_that_contradict_the_arrays(small: Path, change: dict[str, Any]) -> None:
    kept = files.read(small)
    rewrite(small, kept.arrays, kept.meta | change, kept.strings)
    with pytest.raises(FormatError, match=r"x\.index: not a valid index file"):
        firth.Index.open(small, "r")


@pytest.mark.parametrize("name", ["vectors", "scales", "labels", "codes", "bounds", "centre",
                                  "centroids", "order", "cell_blocks"])  # fmt: skip
def test_arrays_that_contradict_the_header(small: Path, name: str) -> None:
    kept = files.read(small)
    if name not in kept.arrays:
        return
    array = kept.arrays[name]
    for other in (None, array[:-1], array[..., None], array.astype(np.float64), array[:0]):
        arrays = dict(kept.arrays)
        del arrays[name]
        if other is not None:
            arrays[name] = other
        if name in ("codes", "centroids") and other is None:
            continue  # an index without these is whole
        rewrite(small, arrays, kept.meta, kept.strings)
        with pytest.raises(FormatError, match=r"x\.index: not a valid index file"):
            firth.Index.open(small, "r")


def test_verify_looks_at_what_checksums_cannot_tell(small: Path) -> None:
    kept = files.read(small)
    twice, beyond = kept.arrays["labels"].copy(), kept.arrays["labels"].copy()
    twice[7], beyond[7] = twice[8], len(kept.strings["names"])
    infinite = kept.arrays["scales"].copy()
    infinite[3] = np.inf
    for changed in ({"labels": twice}, {"labels": beyond}, {"scales": infinite}):
        rewrite(small, kept.arrays | changed, kept.meta, kept.strings)
        firth.Index.open(small, "r")
        with pytest.raises(FormatError, match=r"x\.index: not a valid index file"):
            firth.Index.open(small, "r", verify=True)
    names = ["w0", *kept.strings["names"][:-1]]
    rewrite(small, kept.arrays, kept.meta, {"names": names})
    with pytest.raises(FormatError, match="a name occurs twice"):
        firth.Index.open(small, "r", verify=True)


def test_other_files(path: Path) -> None:
    kv = firth.KeyedVectors(3)
    kv.add_vectors(["a"], rows(1, 3))
    kv.save(path)
    with pytest.raises(
        FormatError,
        match="holds word vectors, not an index: use KeyedVectors",
    ):
        firth.Index.open(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError):
        firth.Index.open(path, "r")


# Other processes


@contextlib.contextmanager
def processes(count: int, source: str, *arguments: str) -> Iterator[list[Any]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_many_processes_map_one_file(path: Path) -> None:
    index = firth.Index(DIM)
    index.add(rows(3000))
    index.save(path)
    writer = firth.Index.open(path)
    source = """
        import sys, firth
        index = firth.Index.open(sys.argv[1], "r")
        print(len(index), flush=True)
        sys.stdin.readline()
        print(index.search([1, 2, 3, 4, 5], 5).ids.tolist(), len(index), flush=True)
        print(len(firth.Index.open(sys.argv[1], "r")))
    """
    wanted = index.search([1, 2, 3, 4, 5], 5).ids.tolist()
    with processes(3, source, str(path)) as readers:
        for reader in readers:
            assert reader.stdout.readline() == "3000\n"
        writer.remove(wanted)
        writer.add(rows(10))
        writer.compact()
        for reader in readers:
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == f"{wanted} 3000\n"
            assert reader.stdout.readline() == "3005\n"
            assert reader.wait() == 0
    writer.close()


@pytest.mark.parametrize("named", [False, True])
def test_opening_beside_a_writer(path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """A reader sees all that was acknowledged before it opened, whatever is being written."""
    monkeypatch.setattr(storage, "_LOG_FROM", 2000)
    firth.Index(DIM).save(path)
    acknowledged = 0

    def write() -> None:
        nonlocal acknowledged
        with firth.Index.open(path) as index:
            for number in range(1500):
                index.add(np.full(DIM, number + 1), f"w{number}" if named else None)
                acknowledged += 1

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        opened = files_seen = inode = 0
        while not writer.done():
            before = acknowledged
            index = firth.Index.open(path, "r")
            after = acknowledged
            assert before <= len(index) <= after + 1
            assert list(index.ids) == [f"w{i}" if named else i for i in range(len(index))]
            if len(index):
                assert index.get(index.ids)[:, 0].tolist() == [*range(1, len(index) + 1)]
            opened += 1
            files_seen += path.stat().st_ino != inode
            inode = path.stat().st_ino
        writer.result()
    assert opened > 5
    assert files_seen > 1
    assert len(firth.Index.open(path, "r")) == 1500


def test_one_writer_at_a_time(path: Path) -> None:
    firth.Index(DIM).save(path)
    index = firth.Index.open(path)
    with pytest.raises(BlockingIOError) as caught:
        firth.Index.open(path)
    assert caught.value.filename == str(path)
    source = """
        import sys, firth
        try:
            firth.Index.open(sys.argv[1])
        except BlockingIOError as error:
            print(error.filename, error.strerror)
        else:
            print("opened")
    """
    assert printed(source, str(path)) == f"{path} the index is open for writing elsewhere\n"
    index.compact()  # the lock is on the new log too
    assert "elsewhere" in printed(source, str(path))
    index.close()
    assert printed(source, str(path)) == "opened\n"
    index = firth.Index.open(path)
    del index  # it is not used any more
    firth.Index.open(path).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_may_search_but_not_change(path: Path) -> None:
    source = """
        import os, sys, io, firth
        index = firth.Index(2)
        index.add([[1, 0], [0, 1]])
        index.save(sys.argv[1])
        index = firth.Index.open(sys.argv[1])
        index.add([[1, 1]])
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            assert index.search([1, 1], 1).ids.tolist() == [2]
            for change in (lambda: index.add([1, 2]), lambda: index.remove(1), index.compact,
                           index.flush):
                try:
                    change()
                except io.UnsupportedOperation as error:
                    assert "only the process that opened" in str(error)
                else:
                    os._exit(1)
            os.read(receive, 1)
            index.close()
            os._exit(0)
        index.add([2, 1])
        index.close()
        firth.Index.open(sys.argv[1]).close()  # though the child still lives
        os.write(send, b".")
        assert os.waitpid(child, 0)[1] == 0
        assert len(firth.Index.open(sys.argv[1], "r")) == 4
    """
    printed(source, str(path))


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk(path: Path) -> None:
    """Error, nothing lost, and the index goes on when there is room."""
    source = """
        import resource, sys, warnings, numpy as np, firth
        from firth.search import records, storage
        path, rng = sys.argv[1], np.random.default_rng(0)
        firth.Index(8).save(path)
        index = firth.Index.open(path)
        def limit(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        limit(100_000)
        added = 0
        try:
            while True:
                index.add(rng.random((10, 8)))
                added += 10
        except OSError as error:
            assert error.filename == path + ".log", error
        assert 1000 < added == len(index)
        for size in (10, 1000, 50_000):  # in one write, or in several
            try:
                index.add(rng.random((size, 8)))
            except OSError:
                pass
            else:
                assert size == 10
                added += 10
            assert len(index) == added == len(firth.Index.open(path, "r")), size
        index.remove(range(10))
        limit(60_000)
        try:
            index.compact()
        except OSError as error:
            assert error.filename == path, error
        else:
            raise AssertionError
        limit(200_000)
        storage._LOG_FROM = 1
        limit(path.__sizeof__() and 60_000)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                index.remove(range(10, 12))  # compaction by itself fails: only a warning
            except OSError:
                pass  # or the log has no room
        limit(resource.RLIM_INFINITY)
        found = firth.Index.open(path, "r")
        assert found.ids.tolist() == index.ids.tolist()
        index.add(rng.random((1000, 8)))
        index.compact()
        assert firth.Index.open(path, "r", verify=True).ids.tolist() == index.ids.tolist()
        print(len(index))
    """
    printed(source, str(path))


def test_no_log_beside_what_is_no_index(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(firth.FormatError):
        firth.Index.open(tmp_path / "notes.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        firth.Index.open(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "notes.txt"]
