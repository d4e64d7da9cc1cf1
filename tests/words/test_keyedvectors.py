"""Files of KeyedVectors, other vectors made of them, and gensim's older names."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError, KeyedVectors
from keyed import gensim_twin, make


@pytest.fixture
def kv() -> KeyedVectors:
    return make()


def equal(a: KeyedVectors, b: KeyedVectors) -> bool:
    assert a.index_to_key == b.index_to_key
    assert a.key_to_index == b.key_to_index
    assert a.vector_size == b.vector_size
    assert a.vectors.dtype == b.vectors.dtype
    np.testing.assert_array_equal(a.vectors, b.vectors)
    assert a.expandos.keys() == b.expandos.keys()
    for name in a.expandos:
        np.testing.assert_array_equal(a.expandos[name], b.expandos[name])
    assert a.most_similar(a.index_to_key[0]) == b.most_similar(a.index_to_key[0])
    return True


@pytest.mark.parametrize("mmap", [None, "r", "c"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_save_and_load(tmp_path: Path, mmap: Any, dtype: Any) -> None:
    kv = make(dtype=dtype)
    kv.set_vecattr("w1", "weight", 0.5)
    kv.save(tmp_path / "f")
    loaded = KeyedVectors.load(tmp_path / "f", mmap=mmap)
    assert equal(kv, loaded)
    assert isinstance(loaded.vectors, np.memmap) == (mmap is not None)
    loaded.add_vectors(["more"], np.zeros((1, 20)))
    assert loaded.vectors.flags.writeable


def test_copies(kv: KeyedVectors) -> None:
    assert equal(copy.deepcopy(kv), kv)
    assert equal(pickle.loads(pickle.dumps(kv)), kv)


def test_integer_keys_and_empty(tmp_path: Path) -> None:
    kv = KeyedVectors(2)
    kv.add_vectors(["a", 7, "7"], np.arange(6).reshape(3, 2))
    kv.save(tmp_path / "f")
    assert KeyedVectors.load(tmp_path / "f").key_to_index == {"a": 0, 7: 1, "7": 2}
    KeyedVectors(3).save(tmp_path / "f")
    for mmap in (None, "r"):
        assert len(KeyedVectors.load(tmp_path / "f", mmap=mmap)) == 0  # type: ignore[arg-type]
    assert KeyedVectors(3).most_similar([np.ones(3)]) == []


def test_what_cannot_be_saved(kv: KeyedVectors, tmp_path: Path) -> None:
    kv.set_vecattr("w1", "label", "noun")
    with pytest.raises(TypeError, match="'label' must be numeric"):
        kv.save(tmp_path / "f")
    with pytest.raises(TypeError, match="2 of 2 rows have no key"):
        KeyedVectors(3, count=2).save(tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_other_files(kv: KeyedVectors, tmp_path: Path) -> None:
    kv.save_word2vec_format(tmp_path / "text")
    with pytest.raises(FormatError, match="is not a firth file"):
        KeyedVectors.load(tmp_path / "text")
    kv.save(tmp_path / "f")
    with pytest.raises(FormatError, match="two whole numbers"):
        KeyedVectors.load_word2vec_format(tmp_path / "f")
    whole = bytearray((tmp_path / "f").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "f").write_bytes(whole)
    with pytest.raises(FormatError, match="checksum"):
        KeyedVectors.load(tmp_path / "f")


@pytest.mark.parametrize("binary", [False, True])
def test_word2vec_format(kv: KeyedVectors, tmp_path: Path, binary: bool) -> None:
    path, vocabulary = tmp_path / "v", tmp_path / "counts"
    kv.save_word2vec_format(path, fvocab=vocabulary, binary=binary)
    got = KeyedVectors.load_word2vec_format(path, fvocab=vocabulary, binary=binary)
    counts = [kv.get_vecattr(key, "count") for key in got.index_to_key]
    assert counts == sorted(counts, reverse=True)
    assert [got.get_vecattr(key, "count") for key in got.index_to_key] == counts
    np.testing.assert_array_equal(got.vectors, kv[got.index_to_key])
    assert got.next_index == len(got)

    made_up = KeyedVectors.load_word2vec_format(path, binary=binary, limit=3, datatype=np.float64)
    assert made_up.expandos["count"].tolist() == [3, 2, 1]
    assert made_up.vectors.dtype == np.float64

    vocabulary.write_text("w1 5\n")
    with pytest.warns(UserWarning, match="lacks 49 words"):
        got = KeyedVectors.load_word2vec_format(path, fvocab=vocabulary, binary=binary)
    assert got.get_vecattr("w1", "count") == 5
    assert got.get_vecattr("w2", "count") == 0


def test_word2vec_format_options(kv: KeyedVectors, tmp_path: Path) -> None:
    path = tmp_path / "v"
    kv.save_word2vec_format(path, write_header=False, sort_attr="nothing")
    assert KeyedVectors.load_word2vec_format(path, no_header=True).key_to_index == kv.key_to_index
    with pytest.raises(ValueError, match="fvocab needs the attribute 'nothing'"):
        kv.save_word2vec_format(path, fvocab=tmp_path / "c", sort_attr="nothing")
    with pytest.raises(NotImplementedError):
        KeyedVectors.load_word2vec_format(path, binary=True, no_header=True)
    kv.save_word2vec_format(path, total_vec=51)
    with pytest.raises(EOFError):
        KeyedVectors.load_word2vec_format(path)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO")  # gensim leaves a file open
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"binary": True},
        {"write_header": False},
        {"prefix": "*dt_", "total_vec": 1000},
        {"sort_attr": "nothing"},
    ],
)
def test_gensim_writes_the_same_bytes_and_reads_ours(tmp_path: Path, options: Any) -> None:
    kv = make(300, 30)
    kv.vectors[0, :6] = [0, -0.0, 1e-5, 1e-38, 3e38, 123456789]
    kv.vectors[1, :3] = [np.nan, np.inf, -np.inf]
    twin = gensim_twin(kv)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with np.errstate(all="ignore"):
        for append in (False, True):
            kv.save_word2vec_format(ours, append=append, **options)
            twin.save_word2vec_format(str(theirs), append=append, **options)
            assert ours.read_bytes() == theirs.read_bytes()
    if "sort_attr" not in options:
        kv.save_word2vec_format(ours, fvocab=tmp_path / "c", **options)
        twin.save_word2vec_format(str(theirs), fvocab=str(tmp_path / "d"), **options)
        assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    if "total_vec" in options:
        return
    kv.save_word2vec_format(ours, **options)
    reading = {
        "binary": options.get("binary", False),
        "no_header": not options.get("write_header", True),
    }
    read_by_us = KeyedVectors.load_word2vec_format(ours, **reading)
    read_by_gensim = type(twin).load_word2vec_format(str(ours), **reading)
    assert read_by_us.index_to_key == read_by_gensim.index_to_key
    np.testing.assert_array_equal(read_by_us.vectors, read_by_gensim.vectors)
    np.testing.assert_array_equal(read_by_us.expandos["count"], read_by_gensim.expandos["count"])


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(TypeError, match="floats"):
        KeyedVectors(3, dtype="i4").save(tmp_path / "x")
    with pytest.raises(ValueError, match="without a key"):
        KeyedVectors(3, count=2).save_word2vec_format(tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mmap", [None, "r", "c"])
def test_int8_in_a_file(kv: KeyedVectors, tmp_path: Path, mmap: Any) -> None:
    small = kv.astype(np.int8)
    small.save(tmp_path / "small")
    kv.save(tmp_path / "whole")
    assert (tmp_path / "small").stat().st_size < (tmp_path / "whole").stat().st_size - 2 * 50 * 20
    loaded = KeyedVectors.load(tmp_path / "small", mmap=mmap)
    assert equal(small, loaded)
    np.testing.assert_array_equal(loaded["w3"], small["w3"])
    small.save_word2vec_format(tmp_path / "text")
    np.testing.assert_array_equal(
        KeyedVectors.load_word2vec_format(tmp_path / "text")["w3"], small["w3"]
    )


def test_vectors_for_all(kv: KeyedVectors) -> None:
    made = kv.vectors_for_all(iter(["w9", "x", "w3", "w9"]))
    assert made.index_to_key == ["w9", "w3"]
    np.testing.assert_array_equal(made.vectors, kv.vectors[[9, 3]])
    assert made.expandos["count"].tolist() == [2, 1]
    kv.set_vecattr("w3", "weight", 0.5)
    made = kv.vectors_for_all(["w9", "w3"], copy_vecattrs=True)
    assert made.expandos["count"].tolist() == kv.expandos["count"][[9, 3]].tolist()
    assert made.get_vecattr("w3", "weight") == 0.5
    assert len(kv.vectors_for_all(["x"])) == 0


@pytest.mark.parametrize("binary", [False, True])
def test_intersect_word2vec_format(kv: KeyedVectors, tmp_path: Path, binary: bool) -> None:
    other = make(60, seed=8)
    other.save_word2vec_format(tmp_path / "v", binary=binary)
    kv.fill_norms()
    kv.add_vectors("own", np.ones(20))
    kv.intersect_word2vec_format(tmp_path / "v", binary=binary, lockf=0.25)
    assert len(kv) == 51
    np.testing.assert_array_equal(kv.vectors[:50], other.vectors[:50])
    assert kv["own"][0] == 1
    assert kv.vectors_lockf.tolist() == [0.25] * 50 + [1]
    assert kv.norms is None
    make(3, 19).save_word2vec_format(tmp_path / "v", binary=binary)
    with pytest.raises(ValueError, match="size 19, wanted 20"):
        kv.intersect_word2vec_format(tmp_path / "v", binary=binary)


def test_older_names(kv: KeyedVectors) -> None:
    for name in ("vectors_norm", "vocab", "index2word", "index2entity"):
        with pytest.raises(AttributeError, match=f"{name} is gone since gensim 4: use"):
            getattr(kv, name)
    with pytest.warns(DeprecationWarning, match="use get_vector"):
        np.testing.assert_array_equal(kv.word_vec("w1"), kv["w1"])
    with pytest.warns(DeprecationWarning, match="use fill_norms"):
        kv.init_sims(replace=True)
    np.testing.assert_allclose(np.linalg.norm(kv.vectors, axis=1), 1, rtol=1e-6)
    with pytest.warns(DeprecationWarning, match="use closer_than"):
        assert kv.words_closer_than("w1", "w2") == kv.closer_than("w1", "w2")


def test_rows_of_keys_after_loading(tmp_path):
    """The dict is built at its first use: every method finds all keys right after loading."""
    path = tmp_path / "v.txt"
    path.write_text("4 2\na 1 0\nb 0 1\na 5 5\nc 1 1\n")
    with pytest.warns(UserWarning, match="1 rows repeat"):
        kv = KeyedVectors.load_word2vec_format(path)
    assert kv.key_to_index == {"a": 0, "b": 1, "c": 2}
    kv.save(tmp_path / "v.firth")
    kv = KeyedVectors.load(tmp_path / "v.firth")
    kv.add_vectors(["b", "d"], [[9, 9], [2, 2]])
    assert kv.key_to_index == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert kv["b"].tolist() == [0, 1]
    kv = KeyedVectors.load(tmp_path / "v.firth")
    kv.set_vecattr("c", "count", 9)
    kv.sort_by_descending_frequency()
    assert kv.key_to_index == {key: row for row, key in enumerate(kv.index_to_key)}
    assert kv.index_to_key[0] == "c"
