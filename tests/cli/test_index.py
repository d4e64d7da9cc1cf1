"""`firth index`: output and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import firth
from commands import error, run
from firth import KeyedVectors
from firth.cli import main


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
    assert "holds an index, not word vectors: use Index.open or firth index" in error(
        capsys, "similar", "x.index", "king"
    )
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
    for text in ("-3", "--3", "-", "1e3", "9" * 30):
        assert f"'{text}' is not among" in error(capsys, "index", "search", "x.index", "--", text)
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


@pytest.mark.parametrize("order", "<>")
def test_an_index_of_either_byte_order(here: Path, order: str) -> None:
    rows = np.arange(12).reshape(3, 4)
    np.save("rows.npy", rows.astype(f"{order}f4"))
    assert main(["index", "build", "rows.npy", "-o", "x.index"]) == 0
    np.testing.assert_array_equal(firth.Index.open("x.index", "r").get([0, 1, 2]), rows)
