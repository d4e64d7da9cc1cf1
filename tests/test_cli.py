"""The command line: what it prints, what it says when something is wrong, and its exit codes."""

from __future__ import annotations

import ast
import bz2
import errno
import gzip
import lzma
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
import firth.cli
from firth import KeyedVectors
from firth.cli import main
from firth.formats import container

WORDS = ["king", "queen", "man", "woman", "apple", "naïve"]
VECTORS = [[0.8, 0.65, 0.1], [0.78, 0.66, 0.12], [0.9, 0.1, 0.1], [0.88, 0.12, 0.12],
           [0.1, 0.8, 0.9], [-1, 0, 0]]  # fmt: skip


def vectors() -> KeyedVectors:
    kv = KeyedVectors(3)
    kv.add_vectors(WORDS, np.array(VECTORS), {"count": np.arange(6, 0, -1)})
    return kv


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with vectors and a corpus."""
    monkeypatch.chdir(tmp_path)
    vectors().save("words.firth")
    Path("corpus.txt").write_text("the king and the queen\n" * 20)
    return tmp_path


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firth", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail properly: one line, exit code 2. Returns the message."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    prefix, end = "firth: error: ", "\n"
    assert printed.err.startswith(prefix)
    assert printed.err.endswith(end)
    message = printed.err[len(prefix) : -len(end)]
    assert "\n" not in message
    return message


# Asking


def test_similar_and_analogy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "words.firth", "king", "-n", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "0.9996  queen\n0.8555  woman\n"
    assert printed.err == ""
    assert main(["analogy", "words.firth", "king", "man", "woman"]) == 0
    assert capsys.readouterr().out.split()[1] == "queen"


@pytest.mark.parametrize("kind", ["text", "binary", "headerless", "gzip"])
def test_every_format_is_recognised(
    here: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    name = "v.gz" if kind == "gzip" else "v"
    vectors().save_word2vec_format(name, binary=kind == "binary", write_header=kind != "headerless")
    assert main(["similar", name, "king", "-n", "1"]) == 0
    assert capsys.readouterr().out == "0.9996  queen\n"
    assert main(["info", name]) == 0
    assert {"headerless": "without a header", "gzip": "text"}.get(kind, kind) in (
        capsys.readouterr().out
    )


def test_info(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert firth.__version__ in capsys.readouterr().out
    assert main(["info", "words.firth"]) == 0
    printed = capsys.readouterr().out
    assert "words        6\n" in printed
    assert "dimensions   3 (float32)\n" in printed
    assert "king, queen" in printed
    assert "21 of these words" in printed


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "train" in capsys.readouterr().out
    for arguments in (["--version"], ["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    assert "skip-gram" in capsys.readouterr().out


def test_what_cannot_be_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "similar", "words.firth", "quen") == (
        "'quen' is not among the 6 words of words.firth; did you mean queen?"
    )
    assert error(capsys, "similar", "words.firth", "King").endswith("did you mean king?")
    assert "xyzzy" in error(capsys, "analogy", "words.firth", "king", "xyzzy", "woman")
    assert error(capsys, "similar", "none", "x") == "none: no such file or directory"
    assert error(capsys, "similar", ".", "x") == (
        ".: is not a folder of spaCy's vectors or of model2vec"
    )
    for content, message in {
        b"": "is empty",
        b"just some text\n": "is not a file of vectors",
        b"\x80\x04\x95": "is a damaged pickle",
        b"PK\x03\x04...": "is a zip archive",
        b"\x93FIRTH\r\n": "ends within its first bytes",
        b"5 3\nking 1 2 3\n": "is too short",
    }.items():
        Path("file").write_bytes(content)
        assert f"file: {message}" in error(capsys, "similar", "file", "x")
    damaged = bytearray(Path("words.firth").read_bytes())
    damaged[-1] ^= 1
    Path("file").write_bytes(damaged)
    assert "checksum" in error(capsys, "info", "file")


def test_wrong_arguments(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in {
        ("nonsense",): "invalid choice: 'nonsense'",
        ("similar", "words.firth"): "required: word",
        ("similar", "words.firth", "king", "-n", "0"): "must be at least 1, got 0",
        ("train", "corpus.txt", "--dim", "x"): "invalid whole number value: 'x'",
        ("train", "corpus.txt", "--alpha", "0"): "must be above 0, got 0",
        ("train", "corpus.txt", "--sample", "-1"): "must be above 0, got -1",
        ("train", "corpus.txt", "--alpha", "nan"): "must be above 0, got nan",
        ("train", "corpus.txt", "--mode", "both"): "invalid choice: 'both'",
    }.items():
        got = error(capsys, *arguments)
        assert message in got
        assert "--help)" in got


# Every command with every kind of wrong file


@pytest.fixture
def wrong(here: Path) -> dict[str, str]:
    """Files that hold no vectors, and what is said of each."""
    Path("folder").mkdir()
    Path("empty").write_bytes(b"")
    Path("prose").write_text("It was a dark night.\nNobody slept.\n")
    Path("bytes").write_bytes(bytes(range(256)) * 10)
    Path("labelled").write_text("__label__a king queen\n__label__b man woman\n" * 20)
    model = firth.fasttext.train_supervised("labelled", dim=4, epoch=1, verbose=0)
    model.save_model("supervised.bin")
    Path("tabs.txt").write_text("2 2\nking\t1\t2\nqueen\t3\t4\n")
    Path("tabs").write_text("king\t1\t2\nqueen\t3\t4\n")
    return {
        "none": "no such file or directory",
        "folder": "is not a folder of spaCy's vectors or of model2vec",
        "empty": "is empty",
        "prose": "is not a file of vectors",
        "bytes": "is not a file of vectors",
        "supervised.bin": "is a supervised model of fastText: firth.fasttext.load_model reads it",
        "tabs.txt": "row 0 must be a word and 2 numbers, got b'king\\t1\\t2' (tabs do not separate",
        "tabs": "row 0 must be a word and 2 numbers, got b'king\\t1\\t2' (tabs do not separate",
    }


@pytest.mark.parametrize(
    "command",
    ["similar {} king", "analogy {} king man woman", "info {}", "vectors info {}",
     "convert {} out.vec", "eval {} --pairs pairs", "plot {} -o out.svg"],
)  # fmt: skip
def test_wrong_vectors(
    wrong: dict[str, str], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("pairs").write_text("king\tqueen\t1\nman\tqueen\t0\nman\twoman\t1\n")
    for name in ("out.vec", "out.svg"):
        Path(name).write_bytes(b"old")
    for name, message in wrong.items():
        if name == "supervised.bin" and "info" in command:
            continue
        got = error(capsys, *command.format(name).split())
        assert got.startswith(f"{name}: {message}")
        assert got.count(f"{name}:") == 1
    for name in ("out.vec", "out.svg"):
        assert Path(name).read_bytes() == b"old"
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_wrong_outputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_bytes(b"old")
    Path("out").mkdir()
    vectors().save_word2vec_format("a.t")
    for command in ("convert a.t {}.vec", "plot a.t -o {}.svg", "train corpus.txt -o {}.firth",
                    "demo -o {}.png"):  # fmt: skip
        for place in ("none/x", "file/x"):
            message = error(capsys, *command.format(place).split())
            assert "does not exist" in message
    for place in ("none/x", "file/x"):
        assert place in error(capsys, "convert", "a.t", place, "--format", "word2vec")
        assert "not a directory" in error(capsys, "convert", "a.t", "file/x", "--format", "spacy")
    assert "out: is a folder" in error(capsys, "convert", "a.t", "out", "--format", "firth")
    assert error(capsys, "convert", "a.t", "a.t") == "a.t is the input; it would be overwritten"
    assert "a.t is the input" in error(capsys, "convert", "./a.t", "a.t", "--format", "firth")
    assert error(capsys, "convert", "a.t", "b.t").startswith(
        "b.t: the suffix is none of .firth, .txt, .vec, .bin, .npy"
    )
    assert error(capsys, "convert", "b.t", "b.t") == "b.t: no such file or directory"
    if os.path.exists("/dev/full"):
        for kind in ("word2vec", "word2vec-binary", "firth"):
            assert "disk is full" in error(capsys, "convert", "a.t", "/dev/full", "--format", kind)
    assert Path("file").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["a.t", "corpus.txt", "file", "out", "words.firth"]


def test_wrong_judgements(wrong: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("one").write_text("king\tqueen\t1\n")
    for name, pairs, analogies in [
        ("none", "no such file or directory", "no such file or directory"),
        ("folder", "is a directory", "is a directory"),
        ("empty", "has no pair that can be used", "has no sections"),
        ("prose", "has no pair that can be used", "missing section"),
        ("bytes", "codec can't decode", "missing section"),
        ("one", "at least 2", "missing section"),
    ]:
        for option, message in (("--pairs", pairs), ("--analogies", analogies)):
            got = error(capsys, "eval", "words.firth", option, name)
            assert message in got
            assert name in got


def test_a_package_that_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    Path("v.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    assert "pip install zstandard" in error(capsys, "similar", "v.zst", "king")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install matplotlib" in error(capsys, "plot", "words.firth", "-o", "x.svg")


@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_a_matrix_and_its_words(
    here: Path, capsys: pytest.CaptureFixture[str], stored: str
) -> None:
    vectors().astype(stored).save("v.firth")
    assert main(["convert", "v.firth", "v.npy"]) == 0
    assert capsys.readouterr().out == (
        "v.npy: 6 words, 3 dimensions\nv.words.txt: the words, in the order of the rows\n"
    )
    rows = np.load("v.npy")
    assert rows.dtype == ("float16" if stored == "float16" else "float32")
    np.testing.assert_array_equal(rows, KeyedVectors.load("v.firth")[WORDS])
    assert Path("v.words.txt").read_text().splitlines() == WORDS
    assert main(["index", "build", "v.npy", "-o", "v.index"]) == 0
    kv = KeyedVectors(2)
    kv.add_vectors(["a\nb"], np.array([[1, 2]]))
    kv.save("newline.firth")
    capsys.readouterr()
    assert "words are written one a line, got 'a\\nb'" in error(
        capsys, "convert", "newline.firth", "n.npy"
    )
    assert not os.path.exists("n.npy")


# Indexes


def test_an_index_of_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "build", "words.firth", "-o", "x.index"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("x.index: 6 vectors, 3 dimensions, ")
    assert printed.err == ""
    assert main(["index", "search", "x.index", "king", "-k", "2"]) == 0
    assert capsys.readouterr().out == "0.9996  queen\n0.8555  woman\n"
    with firth.Index.open("x.index") as index:
        index.add([[1, 0, 0]], ["new"])
        index.remove("man")
    assert main(["index", "stats", "x.index", "--verify"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["vectors"] == "6"
    assert lines["dimensions"] == "3 (float32)"
    assert lines["metric"] == "cosine"
    assert lines["dead"].startswith("1 ")
    assert lines["ids"] == "str: king, queen, woman, apple, na\u00efve"
    assert lines["checksums"] == "ok"
    assert lines["log"].endswith("changes since")
    assert error(capsys, "index", "search", "x.index", "quen") == (
        "'quen' is not among the 6 ids of x.index; did you mean queen?"
    )
    assert "holds 'index'" in error(capsys, "similar", "x.index", "king")
    assert main(["index", "stats", "x.index"]) == 0
    stats = capsys.readouterr().out
    assert main(["info", "x.index"]) == 0
    assert capsys.readouterr().out == stats


def test_an_index_of_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 5)).astype(np.float32)
    np.save("rows.npy", rows)
    options = ["--metric", "ip", "--storage", "float16", "--cells", "8"]
    assert main(["index", "build", "rows.npy", "-o", "x.index", *options]) == 0
    index = firth.Index.open("x.index", "r")
    assert (index.metric, index.storage, index.cells, len(index)) == ("ip", "float16", 8, 3000)
    assert main(["index", "stats", "x.index"]) == 0
    assert "8, of which a search visits" in capsys.readouterr().out
    assert main(["index", "build", "rows.npy", "-o", "x.index"]) == 0
    capsys.readouterr()
    assert main(["index", "search", "x.index", "17", "-k", "1"]) == 0
    score, one = capsys.readouterr().out.split()
    best = firth.Index.open("x.index", "r").search(rows[17], 2)
    assert [17, int(one)] == best.ids.tolist()
    assert score == f"{best.scores[1]:.4f}"
    np.save("one.npy", rows[5])
    np.save("two.npy", rows[5:7])
    assert main(["index", "search", "x.index", "--queries", "one.npy", "-k", "1"]) == 0
    assert capsys.readouterr().out == "1.0000  5\n"
    assert main(["index", "search", "x.index", "--queries", "two.npy", "-k", "1"]) == 0
    assert capsys.readouterr().out == "0  1.0000  5\n1  1.0000  6\n"
    assert "'-3' is not among" in error(capsys, "index", "search", "x.index", "--", "-3")
    assert "'king' is not among" in error(capsys, "index", "search", "x.index", "king")


def test_what_an_index_cannot_be_made_of(
    wrong: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out.index").write_bytes(b"old")
    for name, message in wrong.items():
        got = error(capsys, "index", "build", name, "-o", "out.index")
        assert got.startswith(f"{name}: {message}")
    np.save("cube.npy", np.zeros((2, 2, 2)))
    np.save("nan.npy", np.array([[1, 2], [np.nan, 3]]))
    np.save("late.npy", np.where(np.arange(70000) == 65600, np.inf, 1)[:, None])
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    Path("text.npy").write_text("1 2 3")
    for name, message in {
        "cube.npy": "holds an array of shape (2, 2, 2), wanted a matrix",
        "nan.npy": "add: row 1 of vectors has NaN",
        "late.npy": "in the vectors from 65,536 on: add: row 64 of vectors has infinity",
        "objects.npy": "holds object",
        "text.npy": "is not a .npy file",
        "none.npy": "no such file",
    }.items():
        got = error(capsys, "index", "build", name, "-o", "out.index")
        assert got.startswith((f"{name}: {message}", f"{name}, {message}"))
    assert Path("out.index").read_bytes() == b"old"
    assert error(capsys, "index", "build", "cube.npy", "-o", "none/x").endswith("does not exist")
    assert "is the input" in error(capsys, "index", "build", "cube.npy", "-o", "./cube.npy")
    assert "required: -o" in error(capsys, "index", "build", "cube.npy")
    assert "--cells" in error(capsys, "index", "build", "cube.npy", "-o", "x", "--cells", "1")
    for arguments in (["search", "out.index", "x"], ["stats", "out.index"]):
        assert error(capsys, "index", *arguments).startswith("out.index: is not a firth file")
    assert error(capsys, "index", "stats", "none") == "none: no such file or directory"
    np.save("rows.npy", np.eye(3))
    assert main(["index", "build", "rows.npy", "-o", "x.index"]) == 0
    capsys.readouterr()
    np.save("long.npy", np.zeros((1, 4)))
    assert "one of the two" in error(capsys, "index", "search", "x.index")
    assert "one of the two" in error(capsys, "index", "search", "x.index", "1", "--queries", "y")
    got = error(capsys, "index", "search", "x.index", "--queries", "long.npy")
    assert got.startswith("long.npy: search: queries must have shape")
    damaged = bytearray(Path("x.index").read_bytes())
    damaged[-1] ^= 1
    Path("x.index").write_bytes(damaged)
    assert "checksum" in error(capsys, "index", "stats", "x.index", "--verify")
    writer = firth.Index.open("x.index")
    assert error(capsys, "index", "build", "rows.npy", "-o", "x.index") == (
        "x.index: the index is open for writing elsewhere"
    )
    writer.close()


# Training: the checks before it, and what is passed on


class Trainer:
    """Stands in for Word2Vec: remembers how it was called, ends as the test says."""

    calls: list[dict[str, Any]]
    outcome: BaseException | None
    checkpoint: bool
    kind = "word2vec"

    def __init__(self, **options: Any) -> None:
        self.options = options

    def build_vocab(self, corpus_file: str) -> None:
        assert corpus_file == "corpus.txt"
        self.wv = vectors()

    def train(self, corpus_file: str, checkpoint: str) -> None:
        options = {**self.options, "corpus_file": corpus_file, "checkpoint": checkpoint}
        type(self).calls.append(options)
        if self.checkpoint:
            container.write(checkpoint, self.kind, {})
        if self.outcome is not None:
            raise self.outcome

    @classmethod
    def resume(cls, path: str, corpus_file: str, **options: Any) -> Trainer:
        model = cls(resumed=True, **options)
        model.build_vocab(corpus_file)
        model.train(corpus_file, path)
        return model


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> type[Trainer]:
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], None, False
    monkeypatch.setattr(firth, "Word2Vec", Trainer, raising=False)
    return Trainer


def test_train_passes_options_on(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.checkpoint = True
    assert main(["train", "corpus.txt"]) == 0
    assert capsys.readouterr().out.startswith("words.firth: 6 words, 3 dimensions, ")
    assert KeyedVectors.load("words.firth").index_to_key == WORDS
    assert not Path("words.firth.checkpoint").exists()
    options = (
        "--dim 300 --window 7 --min-count 1 --negative 9 --sample 0 --epochs 2 --seed 0 "
        "--alpha 0.05 --mode independent --workers 3 -o out.firth"
    )
    assert main(["train", "corpus.txt", *options.split()]) == 0
    assert main(["train", "corpus.txt", "--model", "cbow", "--hs"]) == 0
    assert main(["train", "corpus.txt", "--hs", "--negative", "3"]) == 0
    common = {"corpus_file": "corpus.txt", "sg": 1}
    plain = {"workers": None, "checkpoint": "words.firth.checkpoint"}
    assert trainer.calls == [
        common | plain,
        {
            **common, "workers": 3, "checkpoint": "out.firth.checkpoint", "vector_size": 300,
            "window": 7, "min_count": 1, "negative": 9, "sample": 0.0, "epochs": 2, "seed": 0,
            "alpha": 0.05, "negatives": "independent",
        },
        common | plain | {"sg": 0, "hs": 1, "negative": 0},
        common | plain | {"hs": 1, "negative": 3},
    ]  # fmt: skip


def test_interrupt_and_resume(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.outcome = KeyboardInterrupt()
    assert main(["train", "corpus.txt", "-o", "out.firth"]) == 130
    assert "nothing was saved" in capsys.readouterr().err
    trainer.checkpoint = True
    assert main(["train", "corpus.txt", "-o", "out.firth"]) == 130
    message = capsys.readouterr().err
    command = "firth train corpus.txt -o out.firth --resume"
    assert message == (
        f"\nfirth: interrupted; the state is in out.firth.checkpoint; continue with: {command}\n"
    )
    assert not Path("out.firth").exists()
    assert "remove the file to start anew" in error(capsys, *command.split()[1:-1])
    assert "leave it out" in error(capsys, *command.split()[1:], "--dim", "3")
    trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert trainer.calls[-1]["resumed"]
    assert Path("out.firth").exists()
    assert not Path("out.firth.checkpoint").exists()
    capsys.readouterr()
    assert "there is no out.firth.checkpoint" in error(capsys, *command.split()[1:])


def test_train_checks_before_it_starts(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert error(capsys, "train", "none.txt") == "none.txt: no such file or directory"
    assert "directory" in error(capsys, "train", ".")
    for content, message in {
        b"": "is empty",
        b"text\0text": "is not text, it has a NUL at byte 4",
        b"x" * (2 << 20) + b"\0": f"NUL at byte {2 << 20}",
        "text".encode("utf-16"): "is UTF-16",
    }.items():
        Path("bad.txt").write_bytes(content)
        assert message in error(capsys, "train", "bad.txt")
    assert "no/folder does not exist" in error(capsys, "train", "corpus.txt", "-o", "no/folder/x")
    assert "is a folder" in error(capsys, "train", "corpus.txt", "-o", ".")
    assert "is the input" in error(capsys, "train", "corpus.txt", "-o", "./corpus.txt")
    if os.name == "posix" and os.getuid() != 0:
        (here / "locked").mkdir(mode=0o500)
        assert "cannot be written" in error(capsys, "train", "corpus.txt", "-o", "locked/x")
    assert trainer.calls == []


def test_training_that_fails(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("words.firth").read_bytes()
    for outcome, message in [
        (OSError(errno.ENOSPC, "No space left on device", "words.firth"), "the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (ValueError("Word2Vec: no word occurs\n5 times"), "Word2Vec: no word occurs 5 times"),
        (RuntimeError("no vocabulary"), "no vocabulary"),
        (MemoryError("80 GB"), "not enough memory: 80 GB"),
    ]:
        trainer.outcome = outcome
        assert message in error(capsys, "train", "corpus.txt")
        assert Path("words.firth").read_bytes() == before


# The real program, in a process of its own


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_that_goes_away(here: Path) -> None:
    kv = KeyedVectors(2)
    kv.add_vectors([f"word{row}" for row in range(20_000)], np.ones((20_000, 2)))
    kv.save("many.firth")
    command = f"'{sys.executable}' -m firth similar many.firth word0 -n 20000 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "1.0000  word1\n"
    assert done.stderr == ""


def test_words_that_the_terminal_cannot_show(here: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("similar", "words.firth", "king", env=environment)
    assert done.returncode == 0, done.stderr
    assert "na\\xefve" in done.stdout


def test_the_process(here: Path) -> None:
    done = run("similar", "words.firth", "king", "-n", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.9996  queen\n", "")
    done = run("similar", "words.firth", "kin")
    assert done.returncode == 2
    assert done.stderr.startswith("firth: error: 'kin' is not among")


def test_train_glove(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(firth, "GloVe", Trainer)
    monkeypatch.setattr(Trainer, "kind", "glove")
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], KeyboardInterrupt(), True
    options = "--dim 20 --window 3 --epochs 4 --alpha 0.1 --x-max 10 --memory 1.5"
    start = ["train", "corpus.txt", "-o", "out.firth", "--model", "glove"]
    assert main([*start, *options.split()]) == 130
    command = "firth train corpus.txt -o out.firth --resume"
    assert f"continue with: {command}\n" in capsys.readouterr().err
    assert Trainer.calls == [
        {
            "corpus_file": "corpus.txt", "workers": None, "checkpoint": "out.firth.checkpoint",
            "vector_size": 20, "window": 3, "epochs": 4, "eta": 0.1, "x_max": 10.0, "memory": 1.5,
        }
    ]  # fmt: skip
    Trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert Trainer.calls[-1]["resumed"]
    capsys.readouterr()
    message = error(capsys, *start, "--negative", "3", "--mode", "shared")
    assert message == "--negative, --mode: not an option of --model glove"
    assert "--x-max: not an option of --model skipgram" in error(
        capsys, "train", "corpus.txt", "--x-max", "3"
    )


def test_train_and_ask_for_real(here: Path) -> None:
    # Two topics that never meet: a word's neighbours are words of its own topic.
    rng = np.random.default_rng(0)
    topics = [["cat", "dog", "horse", "cow", "sheep"], ["red", "green", "blue", "white", "black"]]
    lines = [" ".join(rng.choice(topics[row % 2], 8)) for row in range(2000)]
    Path("corpus.txt").write_text("\n".join(lines) + "\n")
    options = "--dim 16 --epochs 10 --sample 0 --workers 1 -o out.firth"
    done = run("train", "corpus.txt", *options.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out.firth: 10 words, 16 dimensions")
    done = run("similar", "out.firth", "cat", "-n", "4")
    assert {line.split()[1] for line in done.stdout.splitlines()} == set(topics[0]) - {"cat"}
    assert sorted(os.listdir()) == ["corpus.txt", "out.firth", "words.firth"]
    done = run("train", "corpus.txt", "--model", "glove", "--dim", "8", "-o", "glove.firth")
    assert done.returncode == 0, done.stderr
    os.unlink("glove.firth")
    done = run("train", "corpus.txt", "--min-count", "100000", "-o", "none.firth")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("firth: error: ")
    assert not Path("none.firth").exists()


def test_ctrl_c_while_the_result_is_saved(tmp_path, monkeypatch, capsys):
    """The file is finished first: without it the whole run would be lost."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("the cat and the dog\n" * 200)
    save = KeyedVectors.save

    def interrupted_save(self, fname):
        os.kill(os.getpid(), signal.SIGINT)
        save(self, fname)

    monkeypatch.setattr(KeyedVectors, "save", interrupted_save)
    assert main(["train", "corpus.txt", "-o", "w.firth"]) == 130
    assert "w.firth is complete" in capsys.readouterr().err
    assert "cat" in KeyedVectors.load("w.firth")
    assert not Path("w.firth.checkpoint").exists()


def test_too_little_room_is_an_error_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("the cat and the dog\n" * 200)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main(["train", "corpus.txt", "-o", "w.firth"]) == 2
    assert "MB free" in capsys.readouterr().err
    assert not Path("w.firth").exists()


def test_diverged_training_replaces_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    lines = (" ".join(f"w{i}" for i in rng.integers(0, 10, 200)) for _ in range(200))
    Path("corpus.txt").write_text("\n".join(lines))
    Path("w.firth").write_bytes(b"old")
    arguments = ["--alpha", "1e30", "--sample", "0", "--workers", "1"]
    assert main(["train", "corpus.txt", "-o", "w.firth", *arguments]) == 2
    assert "diverged" in capsys.readouterr().err
    assert Path("w.firth").read_bytes() == b"old"


def test_index_of_a_foreign_byte_order_is_one_line(tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "be.npy", np.ones((3, 4), ">f4"))
    assert main(["index", "build", str(tmp_path / "be.npy"), "-o", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "native byte order" in error


# What is printed, and where


def test_only_two_functions_print() -> None:
    """`say` and `complain` escape what a terminal would obey; the rest must go through them."""
    for path in Path(firth.cli.__file__).parent.glob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        printing = [call for call in calls if call.func.id == "print" and call.args]  # type: ignore[attr-defined]
        assert len(printing) == (2 if path.name == "common.py" else 0), path


@pytest.mark.parametrize("character", ["\x1b", "\r", "\x07", "\x9b", "\u202e", "\u2028"])
def test_words_cannot_steer_the_terminal(
    here: Path, capsys: pytest.CaptureFixture[str], character: str
) -> None:
    kv, word, joined = KeyedVectors(3), f"a{character}[31mb", "می\u200cخواهم"
    kv.add_vectors(["king", word, joined], np.array([[0.8, 0.65, 0.1]] * 3))
    kv.save("words.firth")
    escaped = word.encode("unicode_escape").decode()
    assert main(["index", "build", "words.firth", "-o", "x.index"]) == 0
    capsys.readouterr()
    for command in ("similar words.firth king", "index search x.index king"):
        assert main(command.split()) == 0
        # What is no control character stays: here one that joins letters.
        assert f"1.0000  {escaped}\n1.0000  {joined}\n" in capsys.readouterr().out
    Path("one.vec").write_text(f"1 2\n{word} 1 2\n", newline="")
    if character not in "\r\x1b\x07":  # as in text, where these are white space or refused
        assert main(["info", "one.vec"]) == 0
        assert escaped in capsys.readouterr().out
    assert escaped in error(capsys, "similar", "words.firth", word + "x")


@pytest.mark.skipif(os.name != "posix", reason="closes streams of the shell")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_takes_nothing_to_the_other(here: Path, closed: str) -> None:
    for command, code, stream in (("similar words.firth kin", 2, "2"),
                                  ("similar words.firth king", 0, "1"),
                                  ("train corpus.txt -o out.firth", 0, "1")):  # fmt: skip
        line = f"'{sys.executable}' -m firth {command} {closed}>&-"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == code, done
        printed = {"1": done.stdout, "2": done.stderr}
        assert printed.pop(closed) == ""
        (rest,) = printed.values()
        assert bool(rest) == (stream != closed)


# Indexes that change


def test_an_index_that_changes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "build", "words.firth", "-o", "x.index"]) == 0
    more = KeyedVectors(3)
    more.add_vectors(["king", "new"], np.eye(3)[:2])
    more.save("more.firth")
    capsys.readouterr()
    assert main(["index", "add", "x.index", "more.firth"]) == 0
    assert capsys.readouterr().out == "x.index: 1 added, 1 replaced, 7 vectors\n"
    assert main(["index", "remove", "x.index", "man", "woman", "man"]) == 0
    assert capsys.readouterr().out == "x.index: 5 vectors\n"
    index = firth.Index.open("x.index", "r")
    assert sorted(index.ids) == sorted(["queen", "apple", "naïve", "king", "new"])
    assert index.get("king").tolist() == [1, 0, 0]
    assert "'man' is not among the 5 ids" in error(capsys, "index", "remove", "x.index", "man")
    assert "did you mean king" in error(capsys, "index", "remove", "x.index", "queen", "kin")
    assert len(firth.Index.open("x.index", "r")) == 5
    np.save("rows.npy", np.eye(3))
    assert error(capsys, "index", "add", "x.index", "rows.npy") == (
        "x.index: its ids are words, those of rows.npy are numbers"
    )
    np.save("long.npy", np.eye(4))
    assert main(["index", "build", "rows.npy", "-o", "n.index"]) == 0
    capsys.readouterr()
    assert error(capsys, "index", "add", "n.index", "words.firth").startswith(
        "n.index: its ids are numbers, those of words.firth are words"
    )
    assert error(capsys, "index", "add", "n.index", "long.npy").startswith("long.npy: add: vectors")
    assert main(["index", "add", "n.index", "rows.npy"]) == 0
    assert capsys.readouterr().out == "n.index: 3 added, 0 replaced, 6 vectors\n"
    assert firth.Index.open("n.index", "r").ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert error(capsys, "index", "add", "none", "rows.npy") == "none: no such file or directory"
    with firth.Index.open("n.index"):
        for command in ("add n.index rows.npy", "remove n.index 1", "tune n.index"):
            assert "open for writing elsewhere" in error(capsys, "index", *command.split())


def test_ids_from_standard_input(here: Path) -> None:
    np.save("rows.npy", np.eye(3))
    assert main(["index", "build", "rows.npy", "-o", "n.index"]) == 0
    done = run("index", "remove", "n.index", "-", input="0\n2\n")
    assert (done.returncode, done.stdout) == (0, "n.index: 1 vectors\n")
    assert firth.Index.open("n.index", "r").ids.tolist() == [1]


def test_cells_are_tuned_and_probed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 8)).astype(np.float32)
    np.save("rows.npy", rows)
    np.save("queries.npy", rows[:200] + 0.01)
    assert main(["index", "build", "rows.npy", "-o", "x.index", "--cells", "16"]) == 0
    found = {}
    for recall in ("0.3", "0.99"):
        assert main(["index", "tune", "x.index", "--recall", recall, "-k", "5",
                     "--queries", "queries.npy"]) == 0  # fmt: skip
        assert "recall" in capsys.readouterr().out
        found[recall] = firth.Index.open("x.index", "r").stats()["probe"]
    assert found["0.3"] < found["0.99"] <= 16
    np.save("one.npy", rows[3] + rows[4])
    index = firth.Index.open("x.index", "r")
    for probe in (1, "all"):
        command = ["index", "search", "x.index", "--queries", "one.npy", "--probe", str(probe)]
        assert main(command) == 0
        ids = [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
        assert ids == index.search(rows[3] + rows[4], 10, probe=probe).ids.tolist()
    assert "at least 1, got 0" in error(capsys, *command[:-1], "0")
    assert "must be all or a whole number, got 'some'" in error(capsys, *command[:-1], "some")
    assert "must be auto or a whole number, got 'foo'" in error(
        capsys, "index", "build", "rows.npy", "-o", "y", "--cells", "foo"
    )
    assert "recall must be above 0" in error(capsys, "index", "tune", "x.index", "--recall", "2")
    assert main(["index", "build", "rows.npy", "-o", "y.index"]) == 0
    capsys.readouterr()
    assert error(capsys, "index", "tune", "y.index").startswith("y.index: tune: firth.Index(")
    assert "probe is for an index with cells" in error(
        capsys, "index", "search", "y.index", "3", "--probe", "2"
    )


# Classifiers


@pytest.fixture
def labelled(here: Path) -> Path:
    Path("labelled.txt").write_text("__label__royal king queen\n__label__food apple pear\n" * 50)
    return here


def test_a_classifier(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "-o m.bin --dim 8 --epochs 20 --alpha 0.5 --word-ngrams 2 --bucket 100 --workers 1"
    assert main(["classify", "train", "labelled.txt", *options.split()]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("m.bin: 5 words, 2 labels, 8 dimensions, ")
    model = firth.fasttext.load_model("m.bin")
    assert (model.dim, model.epoch, model.wordNgrams, model.bucket) == (8, 20, 2, 100)
    Path("in.txt").write_bytes(b"king queen\n\nap\xffple apple\nunknown")
    assert main(["classify", "predict", "m.bin", "in.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["__label__royal", "__label__food"]
    assert len(lines) == 4
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "-1"]) == 2
    capsys.readouterr()
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "2", "--probabilities"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert [first[0], first[2]] == ["__label__royal", "__label__food"]
    labels, probabilities = model.predict("king queen", 2)
    assert first == [
        text
        for label, one in zip(labels, probabilities, strict=True)
        for text in (label, f"{min(one, 1):.4f}")
    ]
    assert main(["classify", "predict", "m.bin", "in.txt", "-k", "2", "--threshold", "0.9"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "__label__royal"
    assert main(["classify", "test", "m.bin", "labelled.txt", "--per-label"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["lines   100", "P@1     1.000", "R@1     1.000"]
    assert sorted(line.split()[-1] for line in lines[3:]) == ["__label__food", "__label__royal"]
    done = run("classify", "predict", "m.bin", "-", input="king queen\napple")
    assert (done.returncode, done.stdout) == (0, "__label__royal\n__label__food\n")


def test_each_line_of_a_pipe_is_answered_at_once(labelled: Path) -> None:
    options = "-o m.bin --dim 4 --workers 1"
    assert main(["classify", "train", "labelled.txt", *options.split()]) == 0
    command = [sys.executable, "-m", "firth", "classify", "predict", "m.bin", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):  # the second only when the first has been answered
            process.stdin.write(b"king\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"__label__")
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_small_classifier(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    lines = (f"__label__{n % 3} w{n % 3} w{rng.integers(400)}" for n in range(3000))
    Path("labelled.txt").write_text("\n".join(lines) + "\n")
    assert main(["classify", "train", "labelled.txt", "-o", "m.ftz", "--dim", "4"]) == 0
    assert firth.fasttext.load_model("m.ftz").is_quantized()
    capsys.readouterr()
    assert main(["info", "m.ftz"]) == 0
    assert "supervised" in capsys.readouterr().out


def test_what_cannot_be_classified(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["classify", "train", "labelled.txt", "-o"]
    for name in ("m", "m.firth", "m.bin.gz"):
        assert error(capsys, *train, name) == f"{name}: the name must end in .bin or .ftz"
    assert error(capsys, *train, "no/m.bin").endswith("does not exist")
    os.link("labelled.txt", "same.bin")
    assert "is the input" in error(capsys, *train, "same.bin")
    assert error(capsys, "classify", "train", "none", "-o", "m.bin") == (
        "none: no such file or directory"
    )
    assert "corpus.txt: train_supervised: no word of the file begins with '__label__'" in error(
        capsys, "classify", "train", "corpus.txt", "-o", "m.bin"
    )
    assert "at least 256 rows" in error(capsys, *train, "m.ftz")
    assert "invalid choice: 'x'" in error(capsys, *train, "m.bin", "--loss", "x")
    assert not os.path.exists("m.bin")
    assert not os.path.exists("m.ftz")
    model = firth.fasttext.train_unsupervised("corpus.txt", dim=4, bucket=10, verbose=0)
    model.save_model("words.bin")
    for command in ("predict", "test"):
        assert error(capsys, "classify", command, "words.bin", "labelled.txt") == (
            "words.bin: holds word vectors, not a classifier"
        )
        assert "words.firth" in error(capsys, "classify", command, "words.firth", "labelled.txt")
        assert "no such file" in error(capsys, "classify", command, "none", "labelled.txt")


# What train writes


RAW = "The King, and the Queen! The king's MEN\n" * 50


@pytest.mark.parametrize("packed", [None, gzip, lzma, bz2])
@pytest.mark.parametrize(
    ("option", "words"),
    [(None, "The King, and the Queen! king's MEN"), ("--lower", "the king, and queen! king's men"),
     ("--tokenize", "the king and queen men")],
)  # fmt: skip
def test_a_text_is_prepared(
    here: Path, capsys: pytest.CaptureFixture[str], packed: Any, option: str | None, words: str
) -> None:
    text = RAW.encode()
    Path("raw.txt").write_bytes(text if packed is None else packed.compress(text))
    options = [option] if option else []
    assert main(["train", "raw.txt", "-o", "raw.firth", "--dim", "4", *options]) == 0
    printed = capsys.readouterr()
    assert sorted(KeyedVectors.load("raw.firth").index_to_key) == sorted(words.split())
    if option:
        assert printed.err == ""
    else:
        assert printed.err.startswith("firth: hint: raw.txt looks like raw text: ")
        assert "--tokenize" in printed.err
        assert printed.err.count("\n") == 1
    assert main(["train", "corpus.txt", "-o", "raw.firth", "--dim", "4"]) == 0
    assert capsys.readouterr().err == ""


def test_a_text_from_standard_input(here: Path) -> None:
    for text in (RAW.encode(), gzip.compress(RAW.encode())):
        command = [sys.executable, "-m", "firth", "train", "-", "-o", "raw.firth", "--tokenize"]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "queen" in KeyedVectors.load("raw.firth")
    done = subprocess.run(command[:-1], input=RAW.encode(), capture_output=True, check=False)
    assert b"hint: standard input looks like raw text" in done.stderr
    for text, message in {b"": "is empty", b"a\0b": "is not text", gzip.compress(b""): "is empty",
                          "text".encode("utf-16"): "is UTF-16"}.items():  # fmt: skip
        done = subprocess.run(command[:-1], input=text, capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"firth: error: standard input: {message}")


@pytest.mark.skipif(os.name != "posix", reason="a named pipe")
def test_a_text_from_a_pipe(here: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(RAW))
    writer.start()
    assert main(["train", "pipe", "-o", "raw.firth", "--dim", "4", "--lower"]) == 0
    writer.join()
    assert "queen!" in KeyedVectors.load("raw.firth")


def test_a_prepared_text_is_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []

    class Reader(Trainer):
        def build_vocab(self, corpus_file: str) -> None:
            texts.append(Path(corpus_file).read_text())
            self.wv = vectors()

    monkeypatch.setattr(firth, "Word2Vec", Reader, raising=False)
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], KeyboardInterrupt(), True
    Path("raw.txt").write_text(RAW)
    start = ["train", "raw.txt", "-o", "raw.firth", "--lower", "--tokenize"]
    assert main(start) == 130
    command = "firth train raw.txt -o raw.firth --lower --tokenize --resume"
    assert f"continue with: {command}\n" in capsys.readouterr().err
    Trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert texts == ["the king and the queen the king men\n" * 50] * 2
    assert not os.path.exists(Trainer.calls[-1]["corpus_file"])  # the temporary text is gone


def test_the_output_goes_by_its_suffix(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    from firth.words.files import sniff

    for name, format in {
        "r.txt": "word2vec", "r.vec": "word2vec", "r.vec.gz": "word2vec",
        "r.bin": "word2vec-binary", "r.firth": "firth", "r": "firth", "r.model": "firth",
    }.items():  # fmt: skip
        assert main(["train", "corpus.txt", "-o", name]) == 0
        assert sniff(name) == format
        assert main(["similar", name, "king", "-n", "1"]) == 0
        assert capsys.readouterr().out.endswith("0.9996  queen\n")
    assert ".zip is read only" in error(capsys, "train", "corpus.txt", "-o", "r.zip")
    assert len(trainer.calls) == 7


def test_train_fasttext(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--model fasttext --dim 8 --bucket 500 --min-n 2 --max-n 4 --workers 1"
    for name in ("f.firth", "f.bin", "f.vec"):
        assert main(["train", "corpus.txt", "-o", name, *options.split()]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "firth: warning: f.vec: without the n-grams, so unknown words have no vectors there; "
        "firth's format keeps them, save_facebook_model writes fastText's\n"
    )
    kept = KeyedVectors.load("f.firth")
    assert (kept.bucket, kept.min_n, kept.max_n, kept.vector_size) == (500, 2, 4, 8)
    theirs = firth.fasttext.load_model("f.bin")
    assert (theirs.bucket, theirs.minn, theirs.maxn, theirs.model) == (500, 2, 4, "skipgram")
    rows = np.concatenate([kept.vectors_vocab, kept.vectors_ngrams])
    np.testing.assert_array_equal(theirs.get_input_matrix(), rows)
    assert main(["similar", "f.firth", "kings", "-n", "1"]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert "--bucket: not an option of --model cbow" in error(
        capsys, "train", "corpus.txt", "--model", "cbow", "--bucket", "5"
    )
    assert "--x-max: not an option of --model fasttext" in error(
        capsys, "train", "corpus.txt", "--model", "fasttext", "--x-max", "5"
    )


def test_fasttext_is_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(firth, "FastText", Trainer, raising=False)
    monkeypatch.setattr(Trainer, "kind", "fasttext")
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], None, True
    container.write("out.firth.checkpoint", "fasttext", {})
    assert main(["train", "corpus.txt", "-o", "out.firth", "--resume"]) == 0
    assert Trainer.calls[-1]["resumed"]
    capsys.readouterr()
    container.write("out.firth.checkpoint", "keyedvectors", {})
    assert "holds 'keyedvectors', not a model in training" in error(
        capsys, "train", "corpus.txt", "-o", "out.firth", "--resume"
    )


def test_eval_has_questions_of_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["king", "queen", "man", "woman", "car", "automobile", "river", "arithmetic"]
    kv = KeyedVectors(4)
    rows = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.01, 0], [0, 0, 1, 0], [0, 0, 1, 0.1],
            [0, 0, 1, 1], [0, 1, -1, 0]]  # fmt: skip
    kv.add_vectors(words, np.array(rows, float))
    kv.save("v.firth")
    assert main(["eval", "v.firth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pairs.tsv ")
    assert lines[-1].startswith("Total accuracy ")
    assert any(line.startswith("man and woman") and "of 2" in line for line in lines)
