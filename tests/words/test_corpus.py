"""Corpora of every kind give the same training: lists, files, compressed ones, pipes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FastText, GloVe, Word2Vec
from firth.words import corpus

SMALL = {"vector_size": 6, "min_count": 1, "epochs": 2, "workers": 1}
LINES = [["the", "cat", "sat"], ["on", "the", "mat", "naïve"], ["a", "dog", "saw", "the"]] * 20
TEXT = "".join(" ".join(line) + "\n" for line in LINES).encode()
MODELS = [Word2Vec, FastText, GloVe]


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("corpus.txt", data)
    return buffer.getvalue()


def _zst(data: bytes) -> bytes:
    packed: bytes = pytest.importorskip("zstandard").compress(data)
    return packed


PACKED: dict[str, Any] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zst,
    ".zip": _zip,
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files(tmp_path: Path, kind: Any, suffix: str) -> None:
    path = tmp_path / f"corpus{suffix}"
    path.write_bytes(PACKED[suffix](TEXT))
    want = kind(LINES, **SMALL)
    got = kind(corpus_file=path, **SMALL)
    assert got.wv.index_to_key == want.wv.index_to_key
    np.testing.assert_array_equal(got.wv.vectors, want.wv.vectors)
    assert (got.corpus_count, got.corpus_total_words) == (60, 220)
    got = kind(**SMALL)
    got.build_vocab(corpus_file=path)
    got.train(corpus_file=path, epochs=2, **{} if kind is GloVe else {"total_words": 220})
    np.testing.assert_array_equal(got.wv.vectors, want.wv.vectors)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
@pytest.mark.parametrize("kind", MODELS)
def test_pipes(tmp_path: Path, kind: Any) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(gzip.compress(TEXT)))
    writer.start()
    got = kind(corpus_file=fifo, **SMALL)
    writer.join()
    np.testing.assert_array_equal(got.wv.vectors, kind(LINES, **SMALL).wv.vectors)


def test_standard_input() -> None:
    script = (
        "import sys; from firth import Word2Vec\n"
        f"m = Word2Vec(corpus_file='-', **{SMALL!r})\n"
        "sys.stdout.buffer.write(m.wv.vectors.tobytes())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=TEXT, capture_output=True, check=True
    )
    want = Word2Vec(LINES, **SMALL).wv.vectors  # type: ignore[arg-type]
    assert ran.stdout == want.tobytes()


@pytest.mark.parametrize("kind", MODELS)
def test_files_that_are_none(tmp_path: Path, kind: Any) -> None:
    for content in (b"", gzip.compress(b"")):
        (tmp_path / "empty").write_bytes(content)
        with pytest.raises(ValueError, match="the corpus is empty"):
            kind(corpus_file=tmp_path / "empty", **SMALL)
    with pytest.raises(FileNotFoundError):
        kind(corpus_file=tmp_path / "missing", **SMALL)
    (tmp_path / "cut").write_bytes(gzip.compress(TEXT)[:-20])
    with pytest.raises(ValueError, match="cut short"):
        kind(corpus_file=tmp_path / "cut", **SMALL)


@pytest.mark.parametrize("change", [TEXT[:100], TEXT + b"more\n"])
def test_a_file_that_changes(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(TEXT)
    with corpus.opened("test", None, path) as text:
        found = text.count()
        path.write_bytes(change)
        rows = {word: i for i, word in enumerate(found.words)}
        with pytest.raises(RuntimeError, match="corpus: the corpus changed while it was read"):
            text.encode(found.words, rows)
        with pytest.raises(RuntimeError, match="changed while it was read"):
            text.count()
        with pytest.raises(RuntimeError, match="changed while it was read"):
            list(text)


def test_a_byte_order_mark_alone_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"\xef\xbb\xbf")
    with corpus.opened("test", None, path) as text:
        assert text.count().total_words == 0
        assert list(text) == []
        assert len(text.encode(["a"], {"a": 0})) == 0


def test_sentences_that_change() -> None:
    class Shrinking:
        left = 4

        def __iter__(self) -> Any:
            self.left -= 1
            return iter(LINES[: 3 + self.left])

    with pytest.raises(RuntimeError, match="the corpus changed between two passes"):
        Word2Vec(Shrinking(), **SMALL)  # type: ignore[arg-type]


def test_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is one sentence even where it takes many pieces."""
    monkeypatch.setattr(corpus, "_PIECE", 8)
    path = tmp_path / "corpus"
    for text in (
        b"a b c d e f g h i j k l\n\nm n\no",
        b"abcdefghijklmnopq r",
        b"\xef\xbb\xbfa b\n",
    ):
        path.write_bytes(text)
        want = [line.decode().split() for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
        with corpus.opened("test", None, path) as opened:
            assert list(opened) == [line for line in want if line]


@pytest.mark.parametrize("kind", MODELS)
def test_a_warning_is_given_once_and_names_the_callers_line(kind: Any) -> None:
    for call in (
        lambda: kind(["a sentence as str"] * 3, **SMALL),
        lambda: kind(**SMALL).build_vocab(["a sentence as str"] * 3),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [str(one.message)[:25] for one in caught] == ["Each 'sentences' item sho"]
        assert caught[0].filename == __file__


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_no_corpus(tmp_path: Path, kind: Any) -> None:
    name = kind.__name__
    for arguments, message in (
        ({"sentences": LINES, "corpus_file": "x"}, "give either"),
        ({"sentences": "x"}, "sentences must be lists of words"),
        ({"sentences": 5}, "sentences must be an iterable"),
        ({"sentences": iter(LINES)}, "sentences are read 2 times"),
    ):
        with pytest.raises(TypeError, match=f"^{name}: {message}"):
            kind(**SMALL | arguments)
    model = kind(**SMALL)
    model.build_vocab(iter(LINES))
    model.train(iter(LINES))
    np.testing.assert_array_equal(model.wv.vectors, kind(LINES, **SMALL).wv.vectors)


def test_line_ends_are_words(tmp_path):
    path = tmp_path / "text"
    path.write_text("a b c\nx a\n\nq\n")
    for given in ({"corpus_file": path}, {"sentences": [["a", "b", "c"], ["x", "a"], ["q"]]}):
        with corpus.opened("test", given.get("sentences"), given.get("corpus_file")) as plain:
            text = corpus.LineEnds(plain, "</s>")
            found = text.count()
            assert dict(zip(found.words, found.counts.tolist(), strict=True)) == {
                "a": 2, "b": 1, "c": 1, "x": 1, "q": 1, "</s>": 3,
            }  # fmt: skip
            assert (found.total_words, found.sentences) == (9, 3)
            rows = {"</s>": 0, "a": 1, "b": 2}
            # "q" is not known, and so its line is left out
            assert text.encode(list(rows), rows).tolist() == [1, 2, ~0, 1, ~0]
            assert text.encode(["a"], {"a": 1}).tolist() == plain.encode(["a"], {"a": 1}).tolist()
            assert [list(sentence) for sentence in text][1] == ["x", "a", "</s>"]
            assert [*text.lengths(rows)] == [(4, 3), (3, 2), (2, 0)]
            assert [*text.lengths({"a": 1})] == [(4, 1), (3, 1), (2, 0)]
