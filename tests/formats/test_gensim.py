"""gensim's saved models: read without gensim, and nothing in them is ever executed."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import struct
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from firth import FormatError, _native
from firth.formats import files, gensim, npy

X = np.arange(6, dtype=np.float32).reshape(3, 2)


class Model:
    """Pickled under a name of gensim's."""


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes the class `Model` as the class of gensim that the object names."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "module", None)
        if module is None:
            super().save_global(obj, name)
            return
        self.save(module)
        self.save(obj.name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]
    dispatch[type] = save_global


def model(module: str, name: str, **attributes: Any) -> Any:
    made = type("Made", (Model,), {"module": f"gensim.models.{module}", "name": name})()
    made.__dict__.update(attributes)
    return made


def keyed(**more: Any) -> Any:
    attributes: dict[str, Any] = {
        "vector_size": 2,
        "index_to_key": ["a", "b", "c"],
        "key_to_index": {"a": 0, "b": 1, "c": 2},
        "vectors": X,
        "expandos": {"count": np.array([3, 2, 1])},
        "norms": None,
    }
    return model("keyedvectors", "KeyedVectors", **(attributes | more))


def save(path: Path, value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, 4).dump(value)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model"


def test_attributes(path: Path) -> None:
    counts = np.empty(2, object)
    counts[:] = [np.array([1], np.uint8), None]
    save(
        path,
        model(
            "word2vec",
            "Word2Vec",
            wv=keyed(fortran=np.asfortranarray(X), objects=counts),
            hashfxn=hash,
            random=np.random.RandomState(1),
            raw_vocab=defaultdict(int, a=1),
            loss=np.float64(0.5),
            syn1neg=X.astype(">f8"),
        ),
    )
    assert gensim.is_pickle(path)
    got = gensim.read(path)
    assert got.kind == "Word2Vec"
    assert got.attributes["raw_vocab"] == {"a": 1}
    assert got.attributes["hashfxn"] is None
    assert got.attributes["random"] is None
    assert got.attributes["loss"] == 0.5
    np.testing.assert_array_equal(got.attributes["syn1neg"], X)
    wv = got.attributes["wv"]
    assert wv.kind == "KeyedVectors"
    assert wv.attributes["index_to_key"] == ["a", "b", "c"]
    np.testing.assert_array_equal(wv.attributes["vectors"], X)
    np.testing.assert_array_equal(wv.attributes["fortran"], X)
    np.testing.assert_array_equal(wv.attributes["objects"][0], [1])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_arrays_beside(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    wv = keyed(vectors=None, __numpys=["vectors"])
    data = save(path, model("word2vec", "Word2Vec", wv=wv, __recursive_saveloads=["wv"]))
    if suffix:
        path.write_bytes(gzip.compress(data))
    beside = tmp_path / f"model{suffix}.wv.vectors.{'npz' if suffix else 'npy'}"
    with pytest.raises(FileNotFoundError, match="gensim saved the array 'vectors' in it") as caught:
        gensim.read(path)
    assert caught.value.filename == str(beside)
    if suffix:
        np.savez_compressed(beside, val=X)
    else:
        np.save(beside, X)
        mapped = gensim.read(path, mmap="r").attributes["wv"].attributes["vectors"]
        assert isinstance(mapped, np.memmap)
    got = gensim.read(path).attributes["wv"].attributes["vectors"]
    np.testing.assert_array_equal(got, X)
    whole = beside.read_bytes()
    for length in (0, 5, 40, len(whole) // 2, len(whole) - 1):
        beside.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            gensim.read(path)
    np.save(tmp_path / "objects.npy", np.array([None]))
    beside.write_bytes((tmp_path / "objects.npy").read_bytes())
    with pytest.raises(FormatError):
        gensim.read(path)


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def test_nothing_is_executed(path: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "made")
    for evil in (
        Evil(os.system, f"touch {target}"),
        Evil(eval, f"open({target!r}, 'w')"),
        Evil(open, target, "w"),
        Evil(getattr, "", "join"),
        Evil(exec, ""),
        Evil(np.fromfile, "/etc/passwd"),
        Evil(io.BytesIO),
    ):
        for value in (evil, keyed(vectors=evil), keyed(index_to_key=[evil]), [evil]):
            save(path, value)
            with pytest.raises(FormatError, match="which firth does not load"):
                gensim.read(path)
    assert not (tmp_path / "made").exists()
    # Names with dots reach into allowed modules; and what is allowed cannot be used otherwise.
    for text in (
        b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.getc\x93.",
        b"\x80\x04\x8c\x0cgensim.utils\x8c\x02os\x93.",
        b"\x80\x04cbuiltins\neval\n.",
        b"\x80\x04c__builtin__\neval\n.",
        b"(ios\nsystem\n.",
        b"\x80\x04\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01a\x8c\x05rot13\x86R.",
        b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93\x8c\x03V99\x85R.",
        b"\x80\x04\x82\x01.",
    ):
        path.write_bytes(text)
        with pytest.raises(FormatError):
            gensim.read(path)


def test_other_contents(path: Path) -> None:
    for value in (None, 5, [1, 2], {"a": 1}, X, "text"):
        save(path, value)
        with pytest.raises(FormatError, match="not a model of gensim"):
            gensim.read(path)
    for names in ("vectors", ["../../etc/passwd"], [5]):
        save(path, keyed(__numpys=names))
        with pytest.raises(FormatError, match="not a list of names"):
            gensim.read(path)
    path.write_bytes(b"the king is 7\n")
    assert not gensim.is_pickle(path)
    path.write_bytes(b"")
    assert not gensim.is_pickle(path)


def test_damaged(path: Path) -> None:
    whole = save(path, model("word2vec", "Word2Vec", wv=keyed(), random=np.random.RandomState(1)))
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            gensim.read(path)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError, FileNotFoundError):
            gensim.read(path)


def test_lengths_and_memos_beyond_the_data(path: Path) -> None:
    for text in (
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of 2**32 slots
        b"\x80\x02]p99999999999\n.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**64 - 1) + b"abc.",
        b"\x80\x04B\xff\xff\xff\xffabc.",
        b"\x80\x04\x96" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        b"\x80\x04cabc",
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"].",  # a frame
    ):
        assert 0 <= _native.files.scan_pickle(text) < len(text)
        path.write_bytes(text)
        with pytest.raises(FormatError):
            gensim.read(path)
    assert _native.files.scan_pickle(b"\x80\x04]") == 3
    for protocol in range(6):
        value = [1, -5, 2**40, 2**70, -(2**3000), 0.5, "ä" * 300, b"x" * 70_000, True, None]
        value += [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (), {1}, frozenset([2]), {"a": []}]
        value += [bytearray(b"y"), 300, 70_000, os.getcwd, 1 + 2j, value[0:1]]
        assert _native.files.scan_pickle(pickle.dumps([value, value], protocol)) == -1
    bomb = b"\x80\x04" + pickle.dumps(X, 4)[2:].replace(
        b"K\x03K\x02\x86", b"J\xff\xff\xff\x7fK\x02\x86"
    )
    path.write_bytes(bomb)
    with pytest.raises(FormatError):
        gensim.read(path)


def test_a_pickle_changes_nothing_beyond_itself(path: Path) -> None:
    """Slot states set attributes on whatever object they follow: a class, a function."""
    names = [
        (module, name)
        for module, name in gensim._ALLOWED
        if module in ("numpy", "_codecs", "collections") or name in ("_reconstruct", "KeyedVectors")
    ]
    before = {key: dict(vars(one)) for key, one in gensim._ALLOWED.items()}
    for module, name in names:
        for attributes in ({"kind": "x"}, {"__init__": None}, {"new": 1}, {"__setattr__": None}):
            head = b"\x80\x04c" + f"{module}\n{name}\n".encode()
            for state in (pickle.dumps((None, attributes)), pickle.dumps(attributes)):
                path.write_bytes(head + state[2:-1] + b"b.")
                with pytest.raises(FormatError):
                    gensim.read(path)
    assert {key: dict(vars(one)) for key, one in gensim._ALLOWED.items()} == before
    save(path, keyed())
    np.testing.assert_array_equal(gensim.read(path).attributes["vectors"], X)


def test_keys_whose_hash_has_no_bound(path: Path) -> None:
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    long = tuple(range(10))
    for protocol in range(2, 6):
        for key in (nested, long, ((),)):
            text = pickle.dumps(key, protocol)[2:-1]
            if protocol >= 4:
                text = text[9:]  # the frame
            for around in (
                b"}%bNs.",
                b"(%bNd.",
                b"}(NN%bNu.",
                b"\x8f(%b\x90.",
                b"(N%b\x91.",
                b"}%b\x940h\x00Ns.",
            ):
                whole = b"\x80\x04" + around.replace(b"%b", text)
                assert 0 <= _native.files.scan_pickle(whole) < len(whole), (key, around)
                path.write_bytes(whole)
                with pytest.raises(FormatError, match="damaged pickle"):
                    gensim.read(path)
            for around in (b"]%ba.", b"}N%bs.", b"(%bt.", b"]%b\x94ah\x00."):
                whole = b"\x80\x04" + around.replace(b"%b", text)
                assert _native.files.scan_pickle(whole) == -1
    assert _native.files.scan_pickle(pickle.dumps({("a", "b"): 1, ("a",): 2, (): 3}, 4)) == -1
    assert _native.files.scan_pickle(pickle.dumps({2**10000: 1}, 4)) >= 0


def test_sources_of_a_large_pickle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time and memory are linear; a file that unpacks to far more is refused early."""
    big = np.arange(6_000_000, dtype=np.float32).reshape(3, -1)
    save(path, keyed(vectors=big))
    tracemalloc.start()
    got = gensim.read(path).attributes["vectors"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(got, big)
    assert got.flags.writeable
    assert peak < 2.5 * big.nbytes  # the bytes and the array
    monkeypatch.setattr(gensim, "_SMALL", 1 << 20)
    path.write_bytes(gzip.compress(b"\x80\x04B" + struct.pack("<I", 1 << 28) + bytes(1 << 28)))
    read: list[int] = []
    skip = files.Source.skip
    monkeypatch.setattr(
        files.Source, "skip", lambda self, count: (read.append(count), skip(self, count))
    )
    with pytest.raises(FormatError, match="unpacks to more than"):
        gensim.read(path)
    assert sum(read) <= gensim._RATIO * path.stat().st_size


def test_byte_order(path: Path) -> None:
    save(path, keyed(vectors=X.astype(">f4")))
    got = gensim.read(path).attributes["vectors"]
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, X)


def test_npy_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for x in (X, np.zeros((0, 5), np.float16), np.float64(3), np.asfortranarray(X)):
        np.save(path, x)
        np.testing.assert_array_equal(npy.read(path), x)
    for mmap in (None, "r"):
        np.save(path, X.astype(">f4"))
        got = npy.read(path, mmap=mmap)  # type: ignore[arg-type]
        assert got.dtype == np.float32
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, X)
    np.save(path, X)
    whole = path.read_bytes()
    for shape in (f"(0, {10**20}), ", f"({10**20}, 0), ", f"({2**40}, {2**40}, 0), "):
        text = whole[: whole.index(b"(3, 2), ")] + shape.encode()
        path.write_bytes(text + b"}".ljust(127 - len(text)) + b"\n")
        with pytest.raises(FormatError):
            npy.read(path)
    path.write_bytes(whole.replace(b"(3, 2)", b"(9**9,"))
    with pytest.raises(FormatError):
        npy.read(path)
    path.write_bytes(whole.replace(b"(3, 2), ", b"(9999999999999, 2), ")[: len(whole)])
    with pytest.raises(FormatError):
        npy.read(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            npy.read(path)
