"""spaCy's folders of vectors, written and read without spaCy."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from firth import FormatError, _native
from firth.formats import spacy

WORDS = ["the", "naïve", "a b", "", "x" * 40, "\u00e9\u4e2d"]
X = np.random.default_rng(0).standard_normal((len(WORDS), 3)).astype(np.float32)
FLORET = {"minn": 2, "maxn": 3, "hash_count": 2, "hash_seed": 7, "bow": "<", "eow": ">"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "vectors"
    spacy.write(path, WORDS, X)
    return path


def test_hashes() -> None:
    # spaCy's documentation: the hash of "coffee".
    assert spacy.hashes(["coffee"]).tolist() == [3197928453018144401]
    # Known answers of MurmurHash3_x64_128 (seed 0), from SMHasher's reference.
    got = _native.files.murmur3_128([b"", b"hello"], 0)
    assert got.tolist()[0] == [0, 0]
    assert got.tolist()[1] == [0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19]


def test_round_trip(folder: Path) -> None:
    assert spacy.is_folder(folder)
    assert not spacy.is_folder(folder.parent / "other")
    got = spacy.read(folder)
    assert got.rows == {word: row for row, word in enumerate(WORDS)}
    assert got.unknown == 0
    assert got.floret is None
    np.testing.assert_array_equal(got.vectors, X)
    pipeline = folder.parent / "pipeline"
    pipeline.mkdir()
    folder.rename(pipeline / "vocab")
    assert spacy.read(pipeline).rows == got.rows


def test_floret(tmp_path: Path) -> None:
    spacy.write(tmp_path, [], X, FLORET)
    got = spacy.read(tmp_path)
    assert got.floret == FLORET
    for name, wrong in (("minn", -1), ("maxn", 1), ("hash_count", 5), ("bow", 3), ("eow", None)):
        (tmp_path / "vectors.cfg").write_text(json.dumps({"mode": "floret", **FLORET, name: wrong}))
        with pytest.raises(FormatError, match="settings of floret"):
            spacy.read(tmp_path)


def test_keys_of_every_size(folder: Path) -> None:
    hashes = spacy.hashes(WORDS).tolist()
    packed = (
        b"\x82" + struct.pack(">BQB", 0xCF, hashes[1], 4) + struct.pack(">BQBB", 0xCF, 5, 0xCC, 0)
    )
    (folder / "key2row").write_bytes(packed)
    got = spacy.read(folder)
    assert got.rows["naïve"] == 4
    assert got.unknown <= 1  # 5 is the number of a symbol, which only spaCy knows
    packed = b"\xde\x00\x01" + struct.pack(">BQBH", 0xCF, hashes[0], 0xCD, 2)
    (folder / "key2row").write_bytes(packed)
    assert spacy.read(folder).rows == {"the": 2}


def test_damaged(folder: Path) -> None:
    for name in ("vectors", "key2row", "strings.json", "vectors.cfg"):
        whole = (folder / name).read_bytes()
        rng = np.random.default_rng(1)
        for length in range(len(whole)):
            (folder / name).write_bytes(whole[:length])
            with pytest.raises(FormatError):
                spacy.read(folder)
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.integers(8)
            (folder / name).write_bytes(damaged)
            try:
                spacy.read(folder)
            except FormatError:
                continue
        (folder / name).write_bytes(whole)
    for keys in (b"", b"\xdf\xff\xff\xff\xff", b"\x81\x01\x7f", b"\x81\xa1a\x01", b"\x80\x00"):
        (folder / "key2row").write_bytes(keys)
        with pytest.raises(FormatError):
            spacy.read(folder)
    (folder / "strings.json").write_text("[" * 100_000)
    with pytest.raises(FormatError):
        spacy.read(folder)
