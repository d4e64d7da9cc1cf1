"""Corpora on disk: pieces, compression, limits; gensim's readers as oracle."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import zipfile

import pytest

from firth.words import BrownCorpus, LineSentence, PathLineSentences, Text8Corpus, readers

TEXT = "the cat sat\n\n on the\tmat \r\nnaïve 中文 a\u00a0b\n" + "long " * 25 + "\nlast line"


def expected(length=10_000, limit=None, text=TEXT):
    lines = [line.split() for line in text.split("\n")][:limit]
    return [line[i : i + length] for line in lines for i in range(0, len(line), length)]


@pytest.mark.parametrize("piece", [1 << 20, 5])
@pytest.mark.parametrize(("length", "limit"), [(10_000, None), (10, None), (7, 4), (5, 0)])
def test_lines(tmp_path, monkeypatch, piece, length, limit):
    monkeypatch.setattr(readers, "_PIECE", piece)
    plain = TEXT.encode()
    files = {
        "plain": plain, "bom": b"\xef\xbb\xbf" + plain, "x.gz": gzip.compress(plain),
        "x.bz2": bz2.compress(plain), "end": plain + b"\n",
    }  # fmt: skip
    if piece == 5:
        del files["bom"]  # the mark is looked for in the first piece
        files["bom"] = b"\xef\xbb\xbf" + plain
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("only.txt", plain)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in [*files, "x.zip"]:
        corpus = LineSentence(tmp_path / name, length, limit)
        for _ in range(2):  # as often as one likes
            assert list(corpus) == expected(length, limit), name
    for stream in (io.BytesIO(plain), io.StringIO(TEXT), bz2.BZ2File(tmp_path / "x.bz2")):
        corpus = LineSentence(stream, length, limit)
        assert list(corpus) == list(corpus) == expected(length, limit)
        stream.close()


def test_a_folder_of_files(tmp_path):
    (tmp_path / "b.txt").write_text("three\nfour")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert list(PathLineSentences(tmp_path)) == [["one"], ["two"], ["three"], ["four"]]
    assert list(PathLineSentences(tmp_path, limit=1)) == [["one"], ["three"]]
    assert list(PathLineSentences(tmp_path / "b.txt")) == [["three"], ["four"]]
    with pytest.raises(ValueError, match="neither a folder nor a file"):
        PathLineSentences(tmp_path / "missing")


@pytest.mark.parametrize("piece", [1 << 20, 4])
def test_one_long_line(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(readers, "_PIECE", piece)
    words = [f"w{i}" for i in range(95)]
    (tmp_path / "text8").write_text(" " + " ".join(words))
    got = list(Text8Corpus(tmp_path / "text8", 10))
    assert [len(one) for one in got] == [10] * 9 + [5]
    assert list(itertools.chain.from_iterable(got)) == words


def test_brown(tmp_path):
    (tmp_path / "ca01").write_text("\tThe/at Fulton/np-tl ./. a/b/c 3/cd\n\n,/, ./.\n")
    (tmp_path / "inner").mkdir()
    assert list(BrownCorpus(tmp_path)) == [["the/at", "fulton/np", "3/cd"]]


def test_bad_text(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(UnicodeDecodeError):
        list(LineSentence(tmp_path / "latin"))
    with pytest.raises(FileNotFoundError):
        list(LineSentence(tmp_path / "missing"))


@pytest.mark.peer
def test_readers_are_gensims(tmp_path):
    theirs = pytest.importorskip("gensim.models.word2vec")
    datapath = pytest.importorskip("gensim.test.utils").datapath
    for name in ("lee_background.cor", "head500.noblanks.cor.bz2"):
        for limit, length in ((None, 10_000), (7, 9)):
            ours = LineSentence(datapath(name), length, limit)
            assert list(ours) == list(theirs.LineSentence(datapath(name), length, limit))
    folder = datapath("PathLineSentences")
    assert list(PathLineSentences(folder)) == list(theirs.PathLineSentences(folder))
    text = tmp_path / "text8"
    text.write_text(" ".join(f"w{i % 977}" for i in range(30_000)))
    assert list(Text8Corpus(text, 1000)) == list(theirs.Text8Corpus(str(text), 1000))


def test_reprs(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    for kind in (LineSentence, PathLineSentences, Text8Corpus, BrownCorpus):
        assert repr(kind(str(tmp_path))) == f"{kind.__name__}({str(tmp_path)!r})"
