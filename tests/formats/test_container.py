"""firth's own file: round trips, and damage of every kind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage import cut_and_changed
from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import container

ARRAYS = {
    "vectors": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "empty": np.zeros((0, 5), np.float64),
    "scalar": np.array(-3, np.int16),
    "flags": np.array([True, False, True]),
    "half": np.array([np.nan, np.inf, -0.0], np.float16),
    "large": np.array([2**64 - 1], np.uint64),
}
STRINGS = {"keys": ["king", "", "naïve", "\u3000", "a b\n", "\udc80"], "none": []}
META = {"dim": 4, "nested": {"list": [1, 2.5, None, "é"]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    container.write(tmp_path / "file.firth", "test", ARRAYS, META, STRINGS)
    return tmp_path / "file.firth"


def same(content: container.Content) -> bool:
    assert content.kind == "test"
    assert content.meta == META
    assert content.strings == STRINGS
    assert list(content.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        got = content.arrays[name]
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes()
    return True


@pytest.mark.parametrize("mmap", [None, "r", "c"])
@pytest.mark.parametrize("verify", [None, True, False])
def test_round_trip(path: Path, mmap: Any, verify: bool | None) -> None:
    content = container.read(path, "test", mmap=mmap, verify=verify)
    assert same(content)
    vectors = content.arrays["vectors"]
    assert isinstance(vectors, np.memmap) == (mmap is not None)
    assert vectors.flags.writeable == (mmap != "r")
    if mmap:
        assert vectors.ctypes.data % container.ALIGN == 0
    if mmap == "c":
        vectors[0] = 9  # stays in memory
        assert same(container.read(path))


def test_same_content_same_bytes(path: Path, tmp_path: Path) -> None:
    container.write(tmp_path / "again", "test", ARRAYS, META, STRINGS)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_layout_of_arrays(tmp_path: Path) -> None:
    values = np.arange(24, dtype=">f4").reshape(4, 6)
    arrays = {"big": values, "fortran": np.asfortranarray(values), "view": values[::2, 1::3]}
    container.write(tmp_path / "f", "test", arrays)
    content = container.read(tmp_path / "f")
    for name, array in arrays.items():
        np.testing.assert_array_equal(content.arrays[name], array)
        assert content.arrays[name].dtype == np.dtype("<f4")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for bad in (np.array([None]), np.array(["text"]), np.array([1j])):
        with pytest.raises(TypeError, match="array 'x' has dtype"):
            container.write(path, "test", {"x": bad})
    with pytest.raises(TypeError):
        container.write(path, "test", {}, {"x": object()})
    assert not path.exists()


def test_wrong_kind_and_mode(path: Path) -> None:
    with pytest.raises(FormatError, match=r"holds 'test', not 'other'$"):
        container.read(path, "other")
    with pytest.raises(ValueError, match="mmap must be"):
        container.read(path, mmap="r+")  # type: ignore[arg-type]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for data in (b"", b"3 2\nking 1 2\n", b"\x80\x05pickle", b"\x93FIRTH\n\n", b"\x93FIRTX"):
        path.write_bytes(data)
        with pytest.raises(FormatError):
            container.read(path)


@pytest.mark.parametrize("mmap", [None, "r"])
def test_truncated_anywhere(path: Path, mmap: Any) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError) as caught:
            container.read(path, mmap=mmap)
        assert str(path) in str(caught.value)
        if length >= len(container.MAGIC):
            assert isinstance(caught.value, TruncatedError | EOFError)
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError, match="behind its last array"):
        container.read(path, mmap=mmap)


def test_each_flipped_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(FormatError):
                container.read(path)


def test_random_damage_never_raises_anything_else(path: Path) -> None:
    # Mapped: the arrays are not verified, but the file must open cleanly or be refused.
    for damaged in cut_and_changed(path.read_bytes(), 2000):
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            container.read(path, mmap="r")


def with_header(path: Path, header: Any, tail: bytes = b"") -> None:
    """A file with a valid checksum over whatever header is given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<8sII", container.MAGIC, 1, len(text))
    path.write_bytes(start + struct.pack("<I", zlib.crc32(text, zlib.crc32(start))) + text + tail)


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "<f4", "shape": [1], "crc32": 0, **changes}


def header(*arrays: Any, **changes: Any) -> dict[str, Any]:
    return {"kind": "k", "meta": {}, "arrays": list(arrays), "strings": [], **changes}


@pytest.mark.parametrize(
    "malicious",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 5000,
        [],
        "text",
        {},
        header(kind=3),
        header(meta=[]),
        header(arrays={"a": 1}),
        header(strings="xy"),
        header(strings=["keys"]),
        header(strings=[["x"]]),
        header(3),
        header({}),
        header(entry(name=1)),
        header(entry(dtype="O")),
        header(entry(dtype=["<f4"])),
        header(entry(dtype="|V0")),
        header(entry(dtype="<f4,<f4")),
        header(entry(shape=3)),
        header(entry(shape=[-1])),
        header(entry(shape=[True])),
        header(entry(shape=[1.0])),
        header(entry(shape=[2**62, 4])),
        header(entry(shape=[2**62, 2**62, 0])),
        header(entry(shape=[10**400])),
        header(entry(shape=[0] * 65)),
        header(entry(crc32="0")),
        header(entry(shape=[0]), entry(shape=[0])),
        header(entry(shape=[2**40])),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_malicious_headers(tmp_path: Path, malicious: Any) -> None:
    path = tmp_path / "f"
    with_header(path, malicious, bytes(200))
    for mmap in (None, "r"):
        with pytest.raises(FormatError):
            container.read(path, mmap=mmap)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (b"abc", [1, 2]),
        (b"abc", [1, 4]),
        (b"abc", [2, 1, 3]),
        (b"abc", [-1, 3]),
        (b"\xff", [1]),
        (b"abc", [[1], [3]]),
        (b"abc", [3.0]),
    ],
)
def test_strings_that_contradict_themselves(tmp_path: Path, text: bytes, ends: Any) -> None:
    path = tmp_path / "f"
    arrays = {"s.text": np.frombuffer(text, np.uint8), "s.ends": np.array(ends)}
    container.write(path, "k", arrays, {"room": "for the name below"})
    whole = path.read_bytes()
    length = struct.unpack("<I", whole[12:16])[0]
    changed = json.loads(whole[20 : 20 + length])
    changed |= {"strings": ["s"], "meta": {}}
    packed = json.dumps(changed, separators=(",", ":")).encode().ljust(length)
    assert len(packed) == length
    with_header(path, packed, whole[20 + length :])
    with pytest.raises(FormatError, match="'s'"):
        container.read(path)


def test_parts(tmp_path: Path) -> None:
    """An array that is produced while it is written gives the same file as a whole one."""
    values = np.arange(3_000_000, dtype=np.float32).reshape(-1, 3)
    parts = container.Parts(values.dtype, values.shape, lambda: np.split(values, [0, 7, 500_000]))
    container.write(tmp_path / "parts", "test", {"x": parts, "y": [1]}, META, STRINGS)
    container.write(tmp_path / "whole", "test", {"x": values, "y": [1]}, META, STRINGS)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    for wrong in (container.Parts(values.dtype, values.shape, lambda: [values[1:]]),
                  container.Parts(values.dtype, (1, 3), lambda: [values.astype(np.float64)[:1]]),
                  container.Parts(np.dtype("<c8"), (0,), list)):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            container.write(tmp_path / "parts", "test", {"x": wrong})
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe(path: Path, tmp_path: Path) -> None:
    """There the header cannot be written last."""
    os.mkfifo(tmp_path / "pipe")
    arrays = ARRAYS | {"parts": container.Parts(np.dtype("<i8"), (3,), lambda: [np.arange(3)])}
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(container.write, tmp_path / "pipe", "test", arrays, META, STRINGS)
        (tmp_path / "copy").write_bytes((tmp_path / "pipe").read_bytes())
        writing.result()
    assert container.read(tmp_path / "copy", verify=True).arrays["parts"].tolist() == [0, 1, 2]


def test_strings_may_stay_as_they_are(path: Path) -> None:
    content = container.read(path, mmap="r", decode=False)
    assert content.strings == {}
    assert isinstance(content.arrays["keys.text"], np.memmap)
    assert content.arrays["keys.text"].tobytes()[:4] == b"king"
    assert content.arrays["keys.ends"].tolist()[:3] == [4, 4, 10]


def test_an_error_of_the_disk_while_writing_is_not_lost(tmp_path, monkeypatch):
    """The kernel reports a failed sync only once: the last sync would then succeed."""
    path = tmp_path / "x"
    container.write(path, "k", {"a": np.arange(5)})
    before = path.read_bytes()

    def failing(descriptor):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(container, "_SYNCED", 1)
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(OSError, match="the disk is broken"):
        container.write(path, "k", {"a": np.zeros(1 << 21), "b": np.arange(9)})
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == ["x"]
