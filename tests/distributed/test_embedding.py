"""Embedding a collection without Ray: texts of files, plans, what workers write, what is left."""

from __future__ import annotations

import csv
import gzip
import json
import os
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.distributed import cluster, datasets, embedding
from firth.distributed.blocks import blocks
from firth.distributed.datasets import Plan, open_embedding
from firth.distributed.embedding import embed
from firth.distributed.splits import Split
from sentence_folders import TEXTS, sentence_folder

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LINES = [*TEXTS, "die Bank \N{GREEK SMALL LETTER PI}", "\u2028 a", ' "the", cat'] * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(sentence_folder(tmp_path_factory.mktemp("embed") / "model", most=16))


@pytest.fixture(scope="module")
def wanted(model: str) -> np.ndarray:
    return firth.SentenceTransformer(model).encode(LINES)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits and shards of some lines."""
    monkeypatch.setattr(datasets, "_SMALLEST", 300)
    monkeypatch.setattr(datasets, "TEXT", 500)


class Here:
    """What Ray does, in this process; stops after so many results of workers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop: int | None = None
        self.results = 0
        self.blind = False
        monkeypatch.setattr(cluster, "nodes", self.nodes)
        monkeypatch.setattr(cluster, "value", lambda one: one)
        monkeypatch.setattr(cluster, "tasks", self.tasks)
        monkeypatch.setattr(cluster, "the_ray", lambda: types.SimpleNamespace(get=lambda one: one))
        monkeypatch.setattr(embedding, "dealt", self.dealt)

    def nodes(self, where: str, files: list[str], memory: int) -> cluster.Nodes:
        for path in files:
            assert "://" in path or os.path.isfile(path), path
            if self.blind and path.endswith(".tmp"):
                raise FileNotFoundError(f"{where}: {path} is not on the node 10.0.0.7")
        return cluster.Nodes(2, 4)

    def tasks(self, work: Any, arguments: Iterable[Any], *, most: int) -> Iterator[Any]:
        return (work(*one) for one in arguments)

    def dealt(
        self, where: str, make: Any, arguments: Any, tasks: Any, *, workers: int, memory: int
    ) -> Iterator[Any]:
        if not tasks:
            return
        worker = make(*arguments)
        for task in reversed(tasks):  # in any order
            for result in worker(task):
                if self.results == self.stop:
                    raise KeyboardInterrupt
                self.results += 1
                yield result


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


def write(folder: Path, kind: str) -> Path:
    """`LINES` in a file."""
    path = folder / f"texts.{kind}"
    rows = [{"n": i, "text": line} for i, line in enumerate(LINES)]
    if kind == "txt":
        path.write_text("\n".join(LINES), encoding="utf-8")
    elif kind == "txt.gz":
        path.write_bytes(gzip.compress("\n".join(LINES).encode()))
    elif kind == "jsonl":
        lines = [json.dumps(row, ensure_ascii=row["n"] % 2 > 0) for row in rows]
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join([*lines, ""]).encode())
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            table.writerows([["n", "text"], *([row["n"], row["text"]] for row in rows)])
    return path


def test_another_call_on_the_same_folder(tmp_path, here, model, wanted):
    path, out = write(tmp_path, "txt"), tmp_path / "out"

    def nodes(where: str, files: list[str], memory: int) -> cluster.Nodes:
        """While the first call asks, the second one comes."""
        with pytest.raises(BlockingIOError, match=r"^embed: another call is writing to .*out$"):
            embed(str(path), model, out=out, format="npy")
        return here.nodes(where, files, memory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "nodes", nodes)
        embed(str(path), model, out=out, format="npy")
    found = np.concatenate([vectors for _, vectors in open_embedding(out)])
    np.testing.assert_array_equal(found, wanted)


KINDS = ["txt", "txt.gz", "jsonl", "csv", "tsv", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("remote", "format"), [(False, "parquet"), (True, "npy")])
def test_every_kind_of_file(tmp_path, here, model, wanted, kind, remote, format):
    path = write(tmp_path, kind)
    given = f"file://{path}" if remote else str(path)
    found = embed(given, model, out=tmp_path / "out", format=format)
    assert (found.rows, found.already) == (len(LINES), 0)
    if kind in ("txt", "jsonl", "parquet"):  # several can read them at once
        assert len(datasets.plan("test", str(path), "text")) > 4
    shards = list(open_embedding(tmp_path / "out"))
    assert len(shards) == found.files > 4
    np.testing.assert_array_equal(np.concatenate([one for _, one in shards]), wanted)
    assert [one.first for one, _ in shards] == np.cumsum(
        [0, *(one.rows for one, _ in shards[:-1])]
    ).tolist()
    assert {one.source for one, _ in shards} == {given}
    indexed = blocks((vectors for _, vectors in open_embedding(tmp_path / "out")), None)
    assert (indexed.dim, sum(map(len, indexed.each))) == (32, len(LINES))
    names = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert names == ["_embedding.json", *(one.name for one, _ in shards)]
    if format == "parquet":
        table = pq.read_table(tmp_path / "out")
        assert table.column_names == ["source", "row", "text", "embedding"]
        assert table["text"].to_pylist() == LINES
        assert table["row"].to_pylist() == list(range(len(LINES)))
        assert set(table["source"].to_pylist()) == {given}


def test_several_files_and_options_of_encode(tmp_path, here, model):
    paths = [tmp_path / "b.txt", tmp_path / "a.txt", tmp_path / "none.txt"]
    for path, text in zip(paths, ["the cat\r\n\na dog\n", "sun\n", ""], strict=True):
        path.write_bytes(text.encode())
    options = {"prompt": "query: ", "normalize_embeddings": True, "truncate_dim": 16}
    embed(paths, model, out=tmp_path / "out", precision="ubinary", **options)
    ((first, one), (second, other)) = open_embedding(tmp_path / "out")
    assert (first.source, second.source) == (str(paths[0]), str(paths[1]))
    assert (second.first, second.rows) == (0, 1)
    loaded = firth.SentenceTransformer(model)
    want = loaded.encode(["the cat", "", "a dog", "sun"], precision="ubinary", **options)
    np.testing.assert_array_equal(np.concatenate([one, other]), want)
    again = embed([paths[1], paths[1]], model, out=tmp_path / "twice")
    assert again.rows == 2
    assert [shard.first for shard, _ in open_embedding(tmp_path / "twice")] == [0, 0]


def test_a_long_text_is_a_shard_of_its_own():
    assert datasets.cut(["a" * 300, "b" * 200, "c", "d" * 900, "e", "f", "g"], 2) == [
        2,
        1,
        1,
        2,
        1,
    ]
    assert datasets.cut([], 2) == []


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"cat\n" * 200 + b"\xff\n" + b"dog\n" * 50, r"a\.txt: line 201 is not UTF-8"),
        ("a.txt.gz", gzip.compress(b"cat\nd\xff\n", mtime=0), r"a\.txt\.gz: line 2 is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n' * 200 + b"{\n", r"a\.jsonl: line 201 is no JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n{"txt": "a"}\n', r"line 3 has no field 'text'"),
        ("a.jsonl", b'["text"]', r"line 1 has no field 'text'"),
        ("a.jsonl", b'{"text": 1}', r"line 1 has no text in 'text', but int"),
        ("a.csv", b"id,body\n1,a\n", r"a\.csv: has no column 'text', but \['id', 'body'\]"),
        ("a.csv", b'id,text\n1,"a\nb"\n2\n', r"a\.csv: line 4 has no 'text'"),
        ("a.csv", b'id,text\n1,"a\n', r"a\.csv: line 2: unexpected end of data"),
        ("a.parquet", b"PAR1", r"a\.parquet: is no Parquet file"),
        ("a.txt", b"", "the files hold no texts"),
        ("a.jsonl", b"\n\n", "the files hold no texts"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, here, model, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        embed(tmp_path / name, model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_parquet_file_without_texts(tmp_path, here, model):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(firth.FormatError, match=r"row 1 of group 0 has no text in 'text'"):
        embed(path, model, out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"has no column 'body', but \['text'\]"):
        embed(path, model, out=tmp_path / "out", column="body")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"format": "csv"}, ValueError, "format must be one of"),
        ({"column": 1}, TypeError, "column must be a str"),
        ({"column": "row"}, ValueError, "the column 'row' is one that is added"),
        ({"shard_rows": 0}, ValueError, "shard_rows must be a whole number from 1"),
        ({"workers": 0}, ValueError, "workers must be a whole number from 1"),
        ({"workers": 5}, ValueError, "workers is 5, the cluster has 4 processors"),
        ({"memory": 1000}, MemoryError, r"a worker needs [\d,]+ bytes .*, memory is 1,000"),
        ({"batch_size": 3}, TypeError, r"unknown arguments \['batch_size'\]"),
        ({"precision": "int8"}, ValueError, "precision must be one of"),
        ({"prompt_name": "none"}, ValueError, "prompt_name 'none' is not among"),
        ({"compute_type": "float"}, ValueError, "compute_type must be"),
        ({"model": "no/model/here"}, FileNotFoundError, "no/model/here"),
        ({"model": 3}, TypeError, "model must be a name or a folder"),
        ({"out": "s3://bucket/out"}, ValueError, "out must be a folder that all nodes see"),
        ({"dataset_or_paths": "/no/such.txt"}, FileNotFoundError, "/no/such.txt does not exist"),
    ],
)
def test_bad_arguments_leave_nothing(tmp_path, here, model, options, error, match):
    path = write(tmp_path, "txt")
    given = {"dataset_or_paths": path, "model": model, "out": tmp_path / "out", **options}
    with pytest.raises(error, match=match):
        embed(**given)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else(tmp_path, here, model):
    path = write(tmp_path, "txt")
    with pytest.raises(NotADirectoryError, match=r"texts\.txt is a file; out must be a folder"):
        embed(path, model, out=path)
    with pytest.raises(FileExistsError, match=r"has files but no _embedding\.json"):
        embed(path, model, out=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no _embedding\.json"):
        open_embedding(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "_embedding.json").write_text('{"settings": {}}')
    with pytest.raises(firth.FormatError, match="is no plan of embed"):
        embed(path, model, out=out)


def test_a_folder_that_cannot_be_made(tmp_path, here, model):
    path = write(tmp_path, "txt")
    with pytest.raises(OSError, match=r"embed: cannot write to out: Not a directory: .*out"):
        embed(path, model, out=path / "out")


def test_a_folder_that_a_node_does_not_see(tmp_path, here, model):
    here.blind = True
    with pytest.raises(FileNotFoundError, match=r"the node 10\.0\.0\.7 does not see .*out"):
        embed(write(tmp_path, "txt"), model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def interrupted(here: Here, stop: int, *given: Any, **options: Any) -> None:
    here.stop = stop
    with pytest.raises(KeyboardInterrupt):
        embed(*given, **options)
    here.stop, here.results = None, 0


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("kind", ["txt", "csv"])
@pytest.mark.parametrize("format", datasets.FORMATS)
def test_an_interrupted_call_goes_on(tmp_path, here, model, wanted, kind, format):
    path, out = write(tmp_path, kind), tmp_path / "out"
    options = {"out": out, "format": format, "shard_rows": 17}
    interrupted(here, 3, path, model, **options)
    with pytest.raises(ValueError, match="is not finished; call embed again"):
        open_embedding(out)
    written = sorted(out.glob("part-*"))
    assert len(written) == 4  # the result of the last was not taken
    times = [one.stat().st_mtime_ns for one in written[1:]]
    damage(written[0])
    (out / f".{written[0].name}.0123abcd.tmp").write_bytes(b"half")
    found = embed(path, model, **options)
    assert here.results == found.files - 3 if kind == "txt" else here.results >= found.files - 3
    assert [one.stat().st_mtime_ns for one in written[1:]] == times
    assert not list(out.glob(".*"))
    shards = list(open_embedding(out))
    assert found.already == sum(one.rows for one, _ in shards if out / one.name in written[1:])
    np.testing.assert_array_equal(np.concatenate([one for _, one in shards]), wanted)

    here.stop = 0  # nothing is left
    assert embed(path, model, **options).already == len(LINES)
    here.stop = None
    (out / shards[1][0].name).unlink()
    with pytest.raises(firth.FormatError, match="is missing or damaged"):
        list(open_embedding(out))
    assert embed(path, model, **options).already == len(LINES) - shards[1][0].rows
    np.testing.assert_array_equal(np.concatenate([one for _, one in open_embedding(out)]), wanted)


def test_other_work_in_the_same_folder_is_refused(tmp_path, here, model):
    path, out = write(tmp_path, "txt"), tmp_path / "out"
    interrupted(here, 3, path, model, out=out)
    before = sorted((one.name, one.stat().st_mtime_ns) for one in out.iterdir())
    other = str(sentence_folder(tmp_path / "other", most=15))
    for options, match in [
        ({"model": other}, "was begun with weights"),
        ({"format": "npy"}, "was begun with format 'parquet', not 'npy'"),
        ({"truncate_dim": 8}, r"was begun with encode \{\}, not"),
        ({"shard_rows": 5}, "was begun with shard_rows 32768, not 5"),
        ({"compute_type": "int8"}, "was begun with compute_type"),
    ]:
        with pytest.raises(ValueError, match=match):
            embed(path, **{"model": model, "out": out, **options})
    copied = tmp_path / "copy.txt"
    copied.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    for given in (path, copied):
        with pytest.raises(
            ValueError, match=r"or they changed; give the same files as then, or another out"
        ):
            embed(given, model, out=out)
    assert sorted((one.name, one.stat().st_mtime_ns) for one in out.iterdir()) == before


def test_a_file_that_changes_meanwhile_ends_the_work(tmp_path, here, model, monkeypatch):
    path = write(tmp_path, "txt")

    def changing(*given: Any, **options: Any) -> Iterator[Any]:
        path.write_text("the cat")
        return here.dealt(*given, **options)

    monkeypatch.setattr(embedding, "dealt", changing)
    with pytest.raises(RuntimeError, match="the file changed while the work was going on"):
        embed(path, model, out=tmp_path / "out")


def test_texts_that_are_too_long_are_said_once(tmp_path, here, model):
    path = tmp_path / "a.txt"
    path.write_text("the cat sat on the mat in the rain " * 3 + "\n" + "a dog\n" * 1000)
    with pytest.warns(UserWarning, match="embed: of the first shard.*1 of .* more than 16") as said:
        embed(path, model, out=tmp_path / "out")
    assert len(said) == 1


def test_a_worker_whose_model_is_another_one_is_refused(tmp_path, model):
    settings = {"weights": "0" * 32, "compute_type": "auto", "column": "text"}
    recipe = embedding.Recipe(model, str(tmp_path), settings)
    with pytest.MonkeyPatch.context() as patch:
        util = types.SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")
        patch.setattr(cluster, "the_ray", lambda: types.SimpleNamespace(util=util))
        with pytest.raises(RuntimeError, match=r"the node 10\.0\.0\.7 has another model"):
            embedding.Worker(recipe, [])


class Rows:
    """As a dataset of Ray: tables of so many rows."""

    def __init__(self, sizes: list[int], texts: list[Any] = LINES, name: str = "text") -> None:
        assert sum(sizes) == len(texts)
        ends = np.cumsum(sizes)
        self.tables = [
            pa.table({name: pa.array(texts[end - size : end], pa.string()), "n": range(size)})
            for size, end in zip(sizes, ends, strict=True)
        ]
        options = types.SimpleNamespace(preserve_order=False)
        self.context = types.SimpleNamespace(execution_options=options, enable_progress_bars=True)

    def schema(self) -> Any:
        return self.tables[0].schema

    def to_arrow_refs(self) -> list[Any]:
        assert self.context.execution_options.preserve_order
        return self.tables


def test_a_dataset_keeps_its_columns(tmp_path, here, model, wanted):
    sizes, out = [0, 100, 3, 0, 2, 120, 15], tmp_path / "out"
    interrupted(here, 4, Rows(sizes), model, out=out, shard_rows=9)
    # Shards are cut by rows alone, so other blocks of the same rows do not matter.
    found = embed(Rows([119, 121]), model, out=out, shard_rows=9)
    assert found.files == -(-240 // 9)
    assert here.results == found.files - 5
    table = pq.read_table(out)
    assert table.column_names == ["text", "n", "row", "embedding"]
    assert table["text"].to_pylist() == LINES
    assert table["row"].to_pylist() == list(range(len(LINES)))
    got = np.concatenate([one for _, one in open_embedding(out)])
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), wanted)
    assert embed(Rows([240]), model, out=out, shard_rows=9).already == 240


def test_a_dataset_that_is_another_one(tmp_path, here, model):
    out = tmp_path / "out"
    interrupted(here, 1, Rows([240]), model, out=out, shard_rows=9)
    changed = [*LINES]
    changed[200], changed[201] = changed[201], changed[200]
    assert changed != LINES
    for other in (Rows([240], changed), Rows([239], LINES[1:])):
        with pytest.raises(ValueError, match="does not give the rows with which"):
            embed(other, model, out=out, shard_rows=9)
    with pytest.raises(ValueError, match="was begun with other files"):
        embed(write(tmp_path, "txt"), model, out=out, shard_rows=9)
    with pytest.raises(ValueError, match="the dataset has no column 'body', but"):
        embed(Rows([240]), model, out=tmp_path / "new", column="body")
    with pytest.raises(ValueError, match="the column 'embedding' is one that is added"):
        embed(Rows([240], name="embedding"), model, out=tmp_path / "new", column="embedding")
    with pytest.raises(ValueError, match="row 2 of the dataset has no text in 'text', but NoneT"):
        embed(Rows([1, 2], ["a", "b", None]), model, out=tmp_path / "new")
    with pytest.raises(ValueError, match="the dataset has no rows"):
        embed(Rows([0], []), model, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    files = tmp_path / "files"
    interrupted(here, 1, write(tmp_path, "txt"), model, out=files)
    with pytest.raises(ValueError, match="was begun with files, not with a dataset"):
        embed(Rows([240]), model, out=files)


def test_a_plan_says_the_same_when_it_is_read(tmp_path):
    splits = [Split("/a", 0, 5, 9, "1"), Split("/a", 5, 9, 9, "1"), Split("/b\udcff", 0, 2, 2, "3")]
    settings = {"format": "npy", "width": 3, "encode": {"prompt": "p"}}
    plan = Plan(settings, splits, [[4, 1], [2], [7]], [], True)
    plan.write(str(tmp_path))
    assert Plan.read(str(tmp_path)) == plan
    assert [(one.first, one.skipped, one.split) for one in plan.shards()] == [
        (0, 0, 0), (4, 4, 0), (5, 0, 1), (0, 0, 2),
    ]  # fmt: skip
    assert plan.shards()[3].name == "part-00003-of-00004.npy"


def test_a_packed_file_is_read_by_several(monkeypatch):
    monkeypatch.setattr(datasets, "_TASKS", 3)
    plan = Plan({"format": "npy", "width": 3}, [Split("/a.gz", 0, 5, 5, "1")], [[1] * 8])
    tasks = datasets.tasks(plan.shards(), {1, 6, 7})
    assert [[one.number for one in task] for task in tasks] == [[0, 2], [3, 4, 5]]


def test_the_same_file_twice_is_two_sources(tmp_path):
    shards = Plan(
        {"format": "npy", "width": 3}, [Split("/a", 0, 5, 5, "1")] * 2, [[2], [2]]
    ).shards()
    assert [one.first for one in shards] == [0, 0]
    assert len(datasets.tasks(shards, set())) == 2
