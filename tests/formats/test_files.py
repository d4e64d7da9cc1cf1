"""Atomic writing and compressed reading."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firth import FormatError
from firth.errors import TruncatedError
from firth.formats.files import atomic, contents, writing

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file semantics")


def test_atomic_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


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


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_compressed_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    with writing(path) as file:
        file.write(b"some text\n" * 100)
    with writing(path, append=True) as file:
        file.write(b"and more")
    with contents(path) as data:
        assert data[:] == b"some text\n" * 100 + b"and more"
    if suffix:
        assert path.stat().st_size < 500
        packed = path.read_bytes()
        path.write_bytes(packed[: len(packed) // 3])
        with pytest.raises(TruncatedError), contents(path):
            pass
        path.write_bytes(packed[:8] + b"\xff" * 40)
        with pytest.raises(FormatError), contents(path):
            pass


def test_empty_and_zip(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with contents(path) as data:
        assert data[:] == b""
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(FormatError, match="zip archive"), contents(path):
        pass
