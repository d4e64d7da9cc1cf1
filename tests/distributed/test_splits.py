"""Splits of files: every line once, whatever the cuts."""

from __future__ import annotations

import gzip
import itertools
import math
import os

import numpy as np
import pytest

from firth.distributed import splits
from firth.words.corpus import FileCorpus, opened

TEXTS = {
    "plain": b"a b c\nb c\n\n  \nc d e f g h i j k l m n o p q r s t u v w x y z\nb\n",
    "no end": b"one two\nthree",
    "carriage returns": b"a b\r\nc d\r\n\r\ne\r\n",
    "a mark": b"\xef\xbb\xbfa b\nc\n",
    "mark inside": b"a b\n\xef\xbb\xbfc\nd",
    "one line": b"word " * 50,
    "empty lines": b"\n\n\n\na\n\n",
    "letters of several bytes": "äö ü\n日本 語\nπ\n".encode() * 3,
}


def tokens(path, size):
    found = []
    for split in splits.plan("test", path, size):
        with splits.lines(split) as corpus:
            found += [list(sentence) for sentence in corpus]
    return found


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("remote", [False, True])
def test_every_line_once(tmp_path, text, remote):
    file = tmp_path / "text.txt"
    file.write_bytes(text)
    path = f"file://{file}" if remote else str(file)
    with opened("test", None, file) as corpus:
        whole = [list(sentence) for sentence in corpus]
        counted = corpus.count()
        ids = corpus.encode(counted.words, {word: i for i, word in enumerate(counted.words)})
    assert whole
    for size in (1, 2, 3, 5, 7, 16, 64, 1 << 20):
        assert tokens(path, size) == whole
        encoded = []
        for split in splits.plan("test", path, size):
            with splits.lines(split) as corpus:
                encoded.append(corpus.encode(counted.words, {}))
        np.testing.assert_array_equal(np.concatenate(encoded), ids)


def test_sizes_are_bounded_and_packed_files_are_whole(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a b\n" * 100)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"c d\n" * 100))
    (tmp_path / "empty.txt").write_bytes(b"")
    plan = splits.plan("test", str(tmp_path / "*"), 64)
    assert max(split.bytes for split in plan if split.path.endswith("a.txt")) == 64
    assert [split.start for split in plan if split.path.endswith(".gz")] == [0]
    assert not any("empty" in split.path for split in plan)
    words = tokens(str(tmp_path / "*"), 64)
    assert words == [["a", "b"]] * 100 + [["c", "d"]] * 100
    url = f"file://{tmp_path}/*.gz"
    assert tokens(url, 64) == [["c", "d"]] * 100


def test_several_paths_keep_their_order(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    given = [tmp_path / "c.txt", str(tmp_path / "[ab].txt")]
    assert [os.path.basename(path) for path in splits.files("test", given)] == [
        "c.txt", "a.txt", "b.txt",
    ]  # fmt: skip
    assert tokens(given, 64) == [["c"], ["a"], ["b"]]


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^test: .*none\.txt does not exist$"):
        splits.plan("test", tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match=r"^test: no file matches .*\*\.txt$"):
        splits.plan("test", str(tmp_path / "*.txt"))
    with pytest.raises(FileNotFoundError, match=r"^test: file://.*/none does not exist$"):
        splits.plan("test", f"file://{tmp_path}/none")
    with pytest.raises(IsADirectoryError, match=r"is no regular file; give files, or a pattern$"):
        splits.plan("test", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^test: no files are given$"):
        splits.plan("test", [])
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^test: the corpus is empty$"):
        splits.plan("test", tmp_path / "empty")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_another_file_in_its_place_is_refused(tmp_path, scheme):
    path = tmp_path / "text.txt"
    path.write_text("a b\nc\n")
    (split,) = splits.plan("test", f"{scheme}{path}")
    path.write_text("a b\nc d\n")
    with pytest.raises(RuntimeError, match="changed while"), splits.lines(split):
        pytest.fail("it was read")


def test_a_corpus_of_a_part(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a b\nc d\ne f\n")
    with open(path, "rb") as file:
        part = FileCorpus(file, "part", False, 4, 8)
        assert list(part) == [["c", "d"]]
        assert part.count().words == ["c", "d"]
        assert part.encode(["d", "c"], {}).tolist() == [1, ~0]


def test_runs_are_equal_and_hold_every_line_once(tmp_path):
    rng = np.random.default_rng(0)
    whole = []
    for name in ("a.txt", "b.txt.gz", "c.txt", "d.txt"):
        lines = [f"{name[0]}{i} " + "x" * int(rng.integers(20)) for i in range(200)]
        data = "\n".join(lines).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        whole += [line.split() for line in lines]
    paths = str(tmp_path / "*")
    for workers, most in itertools.product((1, 2, 3, 7), (1000, 4000, 1 << 30)):
        runs = splits.runs("test", paths, workers, most)
        sizes = [sum(split.bytes for split in run) for run in runs]
        assert (most < 1 << 30) or len(runs) <= workers
        assert len(runs) >= min(sum(sizes) / most, workers) - 1  # a packed file is one split
        packed = (tmp_path / "b.txt.gz").stat().st_size
        assert max(sizes) < min(most, math.ceil(sum(sizes) / workers)) + packed
        found = []
        for split in itertools.chain(*runs):
            with splits.lines(split) as corpus:
                found += [list(sentence) for sentence in corpus]
        assert found == whole
    (tmp_path / "none").touch()
    with pytest.raises(ValueError, match=r"^test: the corpus is empty$"):
        splits.runs("test", tmp_path / "none", 2)
