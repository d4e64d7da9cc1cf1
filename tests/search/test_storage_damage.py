"""Index files: crashes at any point, damage of any kind."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError
from firth.formats import container as files
from firth.formats import log as logs
from firth.search import records
from processes import program
from search.stored import DIM, content, log_of, rows

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
    program(Path(__file__).with_name("crash.py"), str(tmp_path), "120")


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
