"""Files of vectors of any format: recognised, loaded, described, converted."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError, KeyedVectors
from firth.cli import main
from firth.formats import WRITABLE
from firth.words import FastText, Floret, save_facebook_model
from firth.words.vector_files import describe, load_vectors, save_vectors, sniff

WORDS = ["the", "naïve", "a\u00a0b", "7"]


@pytest.fixture
def vectors() -> KeyedVectors:
    made = KeyedVectors(5)
    x = np.random.default_rng(0).standard_normal((4, 5))
    made.add_vectors(WORDS, x, {"count": np.array([9, 7, 5, 1])})
    return made


READABLE = [format for format in WRITABLE if format != "npy"]  # a matrix has no words


def test_every_format_to_every_other(vectors: KeyedVectors, tmp_path: Path) -> None:
    for first in READABLE:
        for second in READABLE:
            a, b = tmp_path / f"a-{first}", tmp_path / f"b-{second}"
            save_vectors(vectors, a, first)
            assert sniff(a) == first
            save_vectors(load_vectors(a), b, second)
            assert sniff(b) == second
            got = load_vectors(b)
            assert got.index_to_key == WORDS
            np.testing.assert_array_equal(got.vectors, vectors.vectors)


def test_description(vectors: KeyedVectors, tmp_path: Path) -> None:
    for format in READABLE:
        path = tmp_path / format
        save_vectors(vectors, path, format)
        found = describe(path)
        assert found.words == (None if format == "glove" else 4)
        assert found.dimensions == 5
        assert found.dtype == "float32"
        assert found.first == WORDS
        assert ("occurrences" in found.more) == (format == "firth")
    # The header is believed: a file that is cut behind its first rows is still described.
    path = tmp_path / "cut"
    path.write_bytes(b"1000 2\n" + b"word 1 2\n" * 300)
    assert describe(path).words == 1000


def test_facebooks_models(tmp_path: Path) -> None:
    sentences = [["naïve", "king", "queen"], ["king", "man"]] * 20
    model = FastText(vector_size=8, min_count=1, bucket=50, sg=1)
    model.build_vocab(sentences)
    path = tmp_path / "model.bin"
    save_facebook_model(model, path)
    assert sniff(path) == "fasttext"
    found = describe(path)
    assert found.words == 4
    assert found.dimensions == 8
    assert set(found.first) == {"naïve", "king", "queen", "man"}
    assert found.more["model"] == "skipgram"
    got = load_vectors(path)
    np.testing.assert_array_equal(got["unheard"], model.wv["unheard"])
    with pytest.warns(UserWarning, match="without the n-grams"):
        save_vectors(got, tmp_path / "model.vec")
    assert load_vectors(tmp_path / "model.vec").index_to_key == got.index_to_key


def test_floret_is_described_but_has_no_words(tmp_path: Path) -> None:
    path = tmp_path / "x.floret"
    Floret(np.ones((5, 3), np.float32), 2, 3).save(path)
    assert sniff(path) == "floret"
    assert describe(path).more["rows"] == "5"
    with pytest.raises(FormatError, match="no words"):
        load_vectors(path)


def test_suffixes_and_other_files(vectors: KeyedVectors, tmp_path: Path) -> None:
    for name, format in {
        "x.firth": "firth", "x.txt": "word2vec", "x.vec.gz": "word2vec", "x.bin": "word2vec-binary",
        "x.bin.xz": "word2vec-binary",
    }.items():  # fmt: skip
        save_vectors(vectors, tmp_path / name)
        assert sniff(tmp_path / name) == format
    with pytest.raises(ValueError, match="format must be one of"):
        save_vectors(vectors, tmp_path / "x")
    for data in (b"", b"just some text\n", b"\x80\x04\x95", b"PK\x03\x04..."):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(FormatError):
            load_vectors(tmp_path / "x")


def test_command_line(
    vectors: KeyedVectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.firth", tmp_path / "b.txt.gz"
    vectors.save(path)
    assert main(["convert", str(path), str(out)]) == 0
    assert main(["vectors", "info", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "4 words, 5 dimensions" in printed
    assert "word2vec text" in printed
    assert "the, naïve, a\u00a0b, 7" in printed
    assert main(["convert", str(path), str(tmp_path / "b")]) == 2
    assert "give --format" in capsys.readouterr().err
    assert main(["convert", str(path), str(path)]) == 2
    assert "it would be overwritten" in capsys.readouterr().err
    assert main(["convert", str(path), str(tmp_path / "b"), "--format", "glove"]) == 0
    assert sniff(tmp_path / "b") == "glove"


@pytest.mark.parametrize("name", ["o.bin", "o.vec", "O.TXT.GZ"])
def test_ngrams_that_are_lost_are_told(name: str, tmp_path: Path, capsys: Any) -> None:
    model = FastText(vector_size=8, min_count=1, bucket=50)
    model.build_vocab([["naïve", "king"]])
    save_facebook_model(model, tmp_path / "model.bin")
    with pytest.warns(UserWarning, match=f"{name}: without the n-grams"):
        save_vectors(model.wv, tmp_path / name)
    assert "unseen" not in load_vectors(tmp_path / name)
    assert main(["convert", str(tmp_path / "model.bin"), str(tmp_path / name)]) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"firth: warning: {tmp_path / name}: without the n-grams")
    assert told.count("\n") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_vectors(model.wv, tmp_path / "o.firth")
        save_vectors(model.wv.astype("float32"), tmp_path / name)
    assert "unseen" in load_vectors(tmp_path / "o.firth")


def test_a_pipe_is_no_file(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    for read in (load_vectors, describe):
        with pytest.raises(FormatError, match="fifo: must be a file, not a pipe"):
            read(path)  # type: ignore[operator]
    assert main(["info", str(path)]) == 2
    assert "must be a file, not a pipe" in capsys.readouterr().err


def test_suffixes(vectors: KeyedVectors, tmp_path: Path, capsys: Any) -> None:
    save_vectors(vectors, tmp_path / "X.TXT.GZ")
    assert (tmp_path / "X.TXT.GZ").read_bytes().startswith(b"\x1f\x8b")
    assert load_vectors(tmp_path / "X.TXT.GZ").index_to_key == WORDS
    with pytest.raises(ValueError, match=r"\.zip is read only.*\.gz, \.bz2, \.xz, \.zst"):
        save_vectors(vectors, tmp_path / "x.txt.ZIP", "word2vec")
    vectors.save(tmp_path / "v")
    assert main(["convert", str(tmp_path / "v"), str(tmp_path / "x.txt.ZIP")]) == 2
    assert ".zip is read only" in capsys.readouterr().err
    assert not (tmp_path / "x.txt.ZIP").exists()


@pytest.mark.parametrize("format", ["word2vec", "word2vec-binary", "glove"])
def test_negative_limit(vectors: KeyedVectors, tmp_path: Path, format: str) -> None:
    save_vectors(vectors, tmp_path / "v", format)
    with pytest.raises(ValueError, match=r"limit must be at least 0 .*, got -1"):
        load_vectors(tmp_path / "v", limit=-1)
    assert len(load_vectors(tmp_path / "v", limit=0)) == 4


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
@pytest.mark.parametrize("form", READABLE)
def test_every_format_takes_what_the_numbers_stand_for(
    tmp_path: Path, dtype: str, form: str
) -> None:
    """Vectors of every dtype; a format of float32 rounds float64 to it."""
    rows = np.random.default_rng(2).standard_normal((40, 7))
    rows[3], rows[4] = rows[3] * 1e-3, rows[4] * 40
    kv = KeyedVectors(7)
    kv.add_vectors([f"w{row}" for row in range(40)], rows)
    kv = kv.astype(dtype)
    save_vectors(kv, tmp_path / "saved", form)
    got = load_vectors(tmp_path / "saved")
    want = np.stack([kv.get_vector(key) for key in kv.index_to_key])
    if form != "firth":
        want = want.astype(np.float32)
    np.testing.assert_array_equal(got._values(), want)
    assert got.index_to_key == kv.index_to_key
