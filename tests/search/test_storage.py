"""Index files: round trips, what cannot be done, several processes."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError
from firth.formats import container as files
from firth.search import storage
from processes import printed
from search.stored import DIM, log_of, rows, same


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
def test_a_child_that_has_only_just_begun_locks_nothing(path: Path) -> None:
    source = """
        import os, sys, time
        receive, send = os.pipe()
        os.register_at_fork(after_in_child=lambda: os.read(receive, 1))  # before firth's own
        import firth
        firth.Index(2).save(sys.argv[1])
        index = firth.Index.open(sys.argv[1])
        index.add([1, 1])
        child = os.fork()
        if child == 0:
            os._exit(0)
        try:
            index.close()
            index = firth.Index.open(sys.argv[1])  # while the child has the files of its parent
            index.add([2, 1])
        finally:
            os.write(send, b".")
        assert os.waitpid(child, 0)[1] == 0
        assert len(index) == 2
        try:
            firth.Index.open(sys.argv[1])
        except BlockingIOError:  # the lock is that of the index that is open
            index.close()
            print("once")
    """
    assert printed(source, str(path)) == "once\n"


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
        try:
            index.add([2, 1])
            index.close()
            firth.Index.open(sys.argv[1]).close()  # though the child still lives
        finally:
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
