"""safetensors: round trips, damage of every kind, and the package of that name."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage import cut_and_changed
from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import safetensors

ARRAYS: dict[str, np.ndarray] = {
    "bytes": np.arange(5, dtype=np.uint8),
    "vectors": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "none": np.zeros((0, 5), np.float64),
    "scalar": np.array(-3, np.int16),
    "flags": np.array([True, False, True]),
    "half": np.array([np.nan, np.inf, -0.0], np.float16),
    "large": np.array([[2**64 - 1]], np.uint64),
    "größe": np.array([-5], np.int8),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    safetensors.write(tmp_path / "model.safetensors", ARRAYS)
    return tmp_path / "model.safetensors"


Read = Callable[[Path], dict[str, np.ndarray]]


@pytest.fixture(params=[safetensors.read, safetensors.mapped], ids=["read", "mapped"])
def read(request: pytest.FixtureRequest) -> Read:
    return request.param


def check(got: dict[str, np.ndarray], want: dict[str, np.ndarray], writeable: bool) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()
        assert got[name].flags.writeable == writeable
        assert got[name].flags.aligned


def test_round_trip(path: Path, read: Read) -> None:
    check(read(path), ARRAYS, writeable=read is safetensors.read)
    safetensors.write(path, {})
    assert read(path) == {}


def test_mapped_arrays_are_the_file(path: Path) -> None:
    arrays = safetensors.mapped(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    assert not any(array.flags.owndata for array in arrays.values())
    start = whole.tobytes().index(ARRAYS["vectors"].tobytes())
    with open(path, "r+b") as file:  # a change of the file shows: nothing was copied
        file.seek(start)
        file.write(np.float32(5).tobytes())
    assert arrays["vectors"][0, 0] == 5
    path.unlink()
    assert arrays["vectors"][2, 3] == ARRAYS["vectors"][2, 3]
    with pytest.raises(ValueError, match="read-only"):
        arrays["vectors"][0, 0] = 1


def test_what_is_not_aligned_is_copied(path: Path, read: Read) -> None:
    text = json.dumps(
        {
            "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        }
    ).encode()
    data = b"\7" + np.float32([1.5, -2]).tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    want = {"a": np.array([7], np.uint8), "b": np.array([1.5, -2], np.float32)}
    check(read(path), want, writeable=read is safetensors.read)


def test_layouts_and_byte_order(path: Path) -> None:
    values = np.arange(24, dtype=">f4").reshape(4, 6)
    arrays = {"big": values, "fortran": np.asfortranarray(values), "view": values[::2, 1::3]}
    safetensors.write(path, arrays)
    want = {k: np.array(v, "<f4", order="C") for k, v in arrays.items()}
    check(safetensors.read(path), want, writeable=True)


def test_bfloat16(path: Path, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = {"x": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)}
    safetensors.write(path, arrays)
    check(read(path), arrays, writeable=read is safetensors.read)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match=r"pip install ml_dtypes"):
        read(path)


def test_what_cannot_be_written(path: Path) -> None:
    before = path.read_bytes()
    for bad in (np.array([None]), np.array(["text"]), np.array([1j])):
        with pytest.raises(TypeError, match="array 'x' has dtype"):
            safetensors.write(path, {"x": bad})
    assert path.read_bytes() == before


def test_truncated_anywhere(path: Path, read: Read) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TruncatedError, match=str(path)):
            read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError, match="behind its last array"):
        read(path)


def test_random_damage_never_raises_anything_else(path: Path, read: Read) -> None:
    for damaged in cut_and_changed(path.read_bytes(), 700):
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            read(path)


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        [], None, 3, "x", {"x": 3}, {"x": {}}, entry(dtype="F8_E4M3"), entry(dtype=["F32"]),
        entry(shape=3), entry(shape=[3]), entry(shape=[-2]), entry(shape=[2.0]),
        entry(shape=[True, 2]), entry(shape=[2**70, 2**70]), entry(shape=[1] * 40 + [2]),
        entry(shape=[2**62, 4, 0], data_offsets=[0, 0]),
        entry(data_offsets=[0]), entry(data_offsets=[0, 4]), entry(data_offsets=[8, 0]),
        entry(data_offsets=[-8, 0]), entry(data_offsets=["0", "8"]), entry(data_offsets=[1, 9]),
        {**entry(), "y": entry()["x"]},
        {**entry(), "y": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    ],
)  # fmt: skip
def test_malformed_headers(path: Path, header: Any, read: Read) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(FormatError, match=str(path)):
        read(path)


@pytest.mark.parametrize("data", [b"", b"{" * 50, b"\xff" * 50, b'{"x": 3}' + bytes(50)])
def test_other_files(path: Path, data: bytes, read: Read) -> None:
    path.write_bytes(data)
    with pytest.raises(FormatError):
        read(path)


def test_pointers_of_git(path: Path, read: Read) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n")
    with pytest.raises(FormatError, match=r"a pointer of Git LFS, not the file: `git lfs pull`"):
        read(path)


def test_the_package_reads_and_writes_the_same(path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    check(package.load_file(path), ARRAYS, writeable=True)
    package.save_file(ARRAYS, path, metadata={"format": "pt"})
    check(safetensors.read(path), ARRAYS, writeable=True)
