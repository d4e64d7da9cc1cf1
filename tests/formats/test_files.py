"""Atomic writing and compressed reading."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import safetensors
from firth.formats.files import Beside, atomic, forget_pages, held, reading, writing

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file semantics")


def test_atomic_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_a_folder_is_held_by_one_call(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom firth.formats.files import held\n"
        f"with held('other', {str(tmp_path)!r}): print('held', flush=True); time.sleep(60)"
    )
    message = f"test: another call is writing to {tmp_path}"
    with held("first", tmp_path), pytest.raises(BlockingIOError) as caught, held("test", tmp_path):
        pass
    assert str(caught.value) == message
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=message), held("test", tmp_path):
            pass
        other.kill()
    with held("test", tmp_path):
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_file(tmp_path: Path, exception: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(exception), atomic(path) as file:  # noqa: PT012 (the block is the test)
        file.write(b"new")
        raise exception
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    # A limit on the size of files makes a real write() fail, as a full disk does.
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from firth.formats.files import atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with atomic(sys.argv[1]) as file: file.write(bytes(1 << 20))\n"
        "except OSError as error: print('failed', error.errno)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert run.stdout.split() == ["failed", str(errno.EFBIG)], run.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from firth.formats.files import atomic\n"
        "with atomic(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert run.returncode == -9
    assert path.read_bytes() == b"old"


@posix
def test_links_and_devices_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    with atomic(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    with atomic(os.devnull) as file:
        file.write(b"gone")
    assert not os.path.isfile(os.devnull)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "no" / "file"):
        pass


def everything(path: Path, piece: int = 100) -> bytes:
    """All bytes of a file, read in pieces."""
    parts = []
    with reading(path) as source:
        while True:
            parts.append(bytes(source.peek(piece)[:piece]))
            if not parts[-1]:
                return b"".join(parts)
            source.skip(len(parts[-1]))


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_compressed_round_trip(tmp_path: Path, suffix: str) -> None:
    if suffix == ".zst":
        pytest.importorskip("zstandard")
    path = tmp_path / f"file{suffix}"
    with writing(path) as file:
        file.write(b"some text\n" * 100)
    with writing(path, append=True) as file:
        file.write(b"and more")
    assert everything(path) == b"some text\n" * 100 + b"and more"
    with reading(path) as source:
        lines = list(source.lines())
        assert lines[-2:] == [(990, b"some text\n"), (1000, b"and more")]
        assert source.size == (None if suffix else 1008)
    if suffix:
        assert path.stat().st_size < 500
        packed = path.read_bytes()
        for length in range(len(packed) // 3, len(packed)):
            path.write_bytes(packed[:length])
            with contextlib.suppress(FormatError):
                # Appended data is a second stream, so a cut between the two shows nothing.
                assert everything(path) == b"some text\n" * 100
        path.write_bytes(packed[: len(packed) // 3])
        with pytest.raises(TruncatedError):
            everything(path)
        path.write_bytes(packed[:8] + b"\xff" * 40)
        with pytest.raises(FormatError):
            everything(path)


def test_lines_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data, want in (
        (b"", []),
        (b"\n", [b"\n"]),
        (b"a\r\n\nb", [b"a\r\n", b"\n", b"b"]),
        (b"x" * 3_000_000 + b"\ny\n", [b"x" * 3_000_000 + b"\n", b"y\n"]),
    ):
        path.write_bytes(data)
        with reading(path) as source:
            assert [line for _, line in source.lines(longest=4_000_000)] == want
    path.write_bytes(b"x" * 10_000_000)
    with reading(path) as source, pytest.raises(FormatError, match="longer than 1048576 bytes"):
        list(source.lines())


def test_a_bomb_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with reading(path) as source:
        total = 0
        while view := source.peek(100):
            assert len(view) <= 5 << 20
            total += len(view)
            source.skip(len(view))
        assert total == 64 << 20
        assert len(source._buffer) + len(source._other) <= 10 << 20


def test_more_than_a_block_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = np.random.default_rng(0).bytes(30_000_000)
    path.write_bytes(data)
    with reading(path) as source:
        at = 0
        for minimum, skip in ((1, 5), (9_000_000, 8_999_999), (70_000, 1), (10**7, 3), (10**9, 9)):
            view = source.peek(minimum)
            assert view == data[at : at + len(view)]
            assert len(view) >= minimum or at + len(view) == len(data)
            source.skip(skip)
            at += skip
            assert source.offset == at


def test_zip_archives(tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/vectors.txt", "some text\n" * 100)
    assert everything(path) == b"some text\n" * 100
    packed = path.read_bytes()
    for length in range(4, len(packed)):
        path.write_bytes(packed[:length])
        with pytest.raises(FormatError):
            everything(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b.txt", "b")
    with pytest.raises(FormatError, match=r"holds 2 files \(a.txt, b.txt\)"):
        everything(path)


def test_damaged_archives(tmp_path: Path) -> None:
    """Any damage is a FormatError that names the file."""
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vectors.txt", b"a 1 2\n" * 100)
    whole, refused = path.read_bytes(), 0
    for at in range(4, len(whole)):
        for value in (0, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            problem = ""
            try:
                with reading(path) as source:
                    list(source.lines())
            except FormatError as error:
                problem = str(error)
            refused += problem.startswith(str(path))
            assert not problem or problem.startswith(str(path))
    assert refused > 100


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert everything(path) == b""


def test_calls_beside():
    """In their order; an error reaches whoever takes the result, and everyone after."""
    beside = Beside("test")
    seen = []
    for i in range(5):
        beside.start(functools.partial(seen.append, i))
    beside.start(lambda: 1 // 0)
    for _ in range(5):
        assert beside.take() is None
    assert seen == [0, 1, 2, 3, 4]
    assert beside.waiting == 1
    for _ in range(2):  # not to be waited for twice
        with pytest.raises(ZeroDivisionError):
            beside.take()
    beside.start(lambda: 7)
    beside.close()
    assert beside.ready
    assert beside.take() == 7


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_pages_of_a_mapped_file_are_given_back(tmp_path: Path) -> None:
    size = 1 << 24
    want = np.random.default_rng(0).integers(0, 1 << 60, size // 8)
    safetensors.write(tmp_path / "file", {"some": want, "rows": want[:1000].reshape(100, 10)})
    arrays = safetensors.mapped(tmp_path / "file")
    some = arrays["some"]
    assert some.sum() == want.sum()
    before = resident()
    forget_pages(some)
    assert before - resident() > size * 0.9
    np.testing.assert_array_equal(some, want)
    np.testing.assert_array_equal(arrays["rows"], want[:1000].reshape(100, 10))
    before = resident()
    forget_pages(some[1 << 20 :])  # a part
    assert size * 0.4 < before - resident() < size * 0.6
    for left in (some[::2], want, np.empty(0), np.memmap(tmp_path / "file", mode="c")):
        before = left.copy()
        forget_pages(left)
        np.testing.assert_array_equal(left, before)
