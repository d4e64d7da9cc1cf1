"""Knowledge bases whose documents are prepared in other places: all of it that needs no Ray."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firth
from firth import FormatError, KnowledgeBase
from firth.distributed import cluster, knowledge
from firth.distributed.knowledge import Worker, build_knowledge_base, checked, deal
from firth.rag import Changes, adding
from firth.rag.adding import Part, Task
from firth.rag.sources import Source, checked_metadata, sources
from knowledge_sources import QUESTIONS, write_model, write_sources
from rag.whole import check_whole_kb, content


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("embed") / "model")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "docs")


def opened(path: Path, model: str) -> KnowledgeBase:
    return firth.KnowledgeBase(path, model, size=16, overlap=4)


def elsewhere(kb: KnowledgeBase, model: str, stop: int | None = None) -> Any:
    """What `build_knowledge_base` does with tasks, with every second batch on another worker."""

    def found(tasks: Iterator[Task]) -> Iterator[Any]:
        workers = [Worker(model, dict(kb._store.settings)) for _ in range(2)]
        for i, batch in enumerate(deal(tasks)):
            if i == stop:
                raise KeyboardInterrupt
            for parts in workers[i % 2].found(pickle.loads(pickle.dumps(batch)), "there"):
                yield pickle.loads(pickle.dumps(("there", parts)))

    return lambda tasks: checked(found(tasks))


def add(kb: KnowledgeBase, model: str, given: Any, stop: int | None = None) -> Changes:
    found = sources(given, checked_metadata({"kind": "test"}))
    return kb._writer.add_sources(*found, elsewhere(kb, model, stop), progress=False)


@pytest.mark.parametrize("size", [1, 2000, 1 << 20])
@pytest.mark.parametrize("batch", [60, 50_000])
def test_what_is_prepared_elsewhere_is_the_same(
    size: int, batch: int, docs: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "_BYTES", size)
    monkeypatch.setattr(adding, "_BATCH", batch)
    given = [docs, "a text about the river"]
    with opened(tmp_path / "here", model) as here, opened(tmp_path / "there", model) as there:
        wanted, found = here.add(given, {"kind": "test"}), add(there, model, given)
        assert found == wanted
        assert len(found.added) == 57  # 24 and an empty text, Markdown, 30 rows, and a text
        assert [one.split(": ")[0] for one in found.skipped] == [
            str(docs / "picture.png"), str(docs / "damaged.csv"),
        ]  # fmt: skip
        assert content(there) == content(here)
        check_whole_kb(there)
        for question in QUESTIONS:
            assert there.search(question) == here.search(question)
        # One machine goes on with it.
        (docs / "text_1.txt").write_text("Now a dog.")
        (docs / "text_2.txt").unlink()
        assert there.update() == here.update()
        assert content(there) == content(here)


def test_work_goes_on_behind_what_was_written(
    docs: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "_BYTES", 2000)
    monkeypatch.setattr(adding, "_BATCH", 60)
    with opened(tmp_path / "here", model) as here, opened(tmp_path / "there", model) as there:
        here.add(docs, {"kind": "test"})
        for stop in (3, 1, 9):
            before = len(there)
            with pytest.raises(KeyboardInterrupt):
                add(there, model, docs, stop)
            check_whole_kb(there)
            assert len(there) > before or stop == 1
        embedded: list[str] = []
        encode = firth.SentenceTransformer.encode_document

        def counted(self: Any, texts: Any, **options: Any) -> Any:
            embedded.extend(texts)
            return encode(self, texts, **options)

        monkeypatch.setattr(firth.SentenceTransformer, "encode_document", counted)
        ready = there._store.rows("SELECT count(*) FROM passages")[0][0]
        changes = add(there, model, docs)
        assert changes.unchanged == len(there) - len(changes.added) > 0
        assert content(there) == content(here)
        assert len(embedded) == there.stats()["passages"] - ready
        again = add(there, model, docs)
        assert (len(again.added), again.unchanged) == (0, len(here))
        assert content(there) == content(here)


def test_a_model_is_loaded_only_where_something_is_new(
    docs: Path, model: str, tmp_path: Path
) -> None:
    with opened(tmp_path / "kb", model) as kb:
        add(kb, model, docs)
        worker = Worker("no model", dict(kb._store.settings))
        tasks = list(map(kb._writer._task, [Source("x", str(docs / "bank.md"), {})], [set()]))
        wanted = r"^build_knowledge_base: the node far cannot use the model: "
        with pytest.raises(RuntimeError, match=wanted):
            list(worker.found(tasks, "far"))  # other metadata
        worker = Worker(model, {**kb._store.settings, "probe": "00" * 64})
        with pytest.raises(RuntimeError, match=f"{wanted}KnowledgeBase: embed gives other vectors"):
            list(worker.found(tasks, "far"))
        worker = Worker("no model", dict(kb._store.settings))
        tasks[0].source.metadata["kind"] = "test"
        ((part,),) = worker.found(tasks, "far")
        assert (part.changes.unchanged, part.documents, part.last) == (1, [], True)


def test_a_file_that_changes_is_noted_as_it_was_read(
    docs: Path, model: str, tmp_path: Path
) -> None:
    file = docs / "text_1.txt"
    with opened(tmp_path / "kb", model) as kb:

        def changing(tasks: Iterator[Task]) -> Iterator[list[Part]]:
            batches = deal(tasks)
            file.write_text("As it is read.")  # planned before
            for batch in batches:
                yield from Worker(model, dict(kb._store.settings)).found(batch, "")
                file.write_text("As it is afterwards.")

        kb._writer.add_sources(*sources(docs, {}), changing)
        assert kb.text(str(file)) == "As it is read."
        changes = kb.update()
        assert (changes.updated, changes.added) == ([str(file)], [])
        assert kb.text(str(file)) == "As it is afterwards."


def test_parts_of_two_readings_are_refused() -> None:
    first = Part("/a", "a", b"1")
    whole = [("x", [first]), ("y", [Part("/a", "a", b"1", last=True), Part("/b", "b", b"2")])]
    assert len(list(checked([*whole, ("x", [Part("/b", "b", b"2", last=True)])]))) == 3
    for other in (Part("/a", "a", b"2", last=True), Part("/b", "b", b"1", last=True)):
        found = checked([("x", [first]), ("y", [other])])
        assert next(found) == [first]
        with pytest.raises(RuntimeError, match="a changed while it was read; call again"):
            next(found)
    with pytest.raises(RuntimeError, match="b changed while it was read"):
        list(checked(whole))


def test_a_node_must_read_what_is_read_here(tmp_path: Path) -> None:
    here = tmp_path / "here.txt"
    here.write_text("A cat.")
    for error in (FileNotFoundError(2, "No such file"), ImportError("pypdf is missing")):
        found = checked([("far", [Part(str(here), "here", error=error, last=True)])])
        with pytest.raises(RuntimeError, match=r"the node far cannot read .*here\.txt, which can"):
            next(found)
        gone = [Part(str(tmp_path / "gone.txt"), "gone", error=error, last=True)]
        assert list(checked([("far", gone)])) == [gone]  # for one machine, too
    damaged = [Part(str(here), "here", error=FormatError("bad"), last=True)]
    assert list(checked([("far", damaged)])) == [damaged]


def test_an_error_of_a_named_file_ends_the_work(docs: Path, model: str, tmp_path: Path) -> None:
    given = [docs / "bank.md", docs / "damaged.csv", docs / "text_1.txt"]
    with opened(tmp_path / "kb", model) as kb:
        with pytest.raises(FormatError, match=r"damaged\.csv: row 1 has more fields"):
            add(kb, model, given)
        assert kb.documents == [str(docs / "bank.md")]


def test_batches_are_balanced_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def task(size: int) -> Task:
        return Task(Source(str(size), None, {}, "x" * size), str(size), None, {}, True)

    monkeypatch.setattr(knowledge, "_BYTES", 10_000)
    sizes = [4000, 5000, 3000, 50_000, 2000, *[0] * 20]
    dealt = [[len(str(one.source.text)) for one in batch] for batch in deal(map(task, sizes))]
    assert dealt == [[4000, 5000], [3000], [50_000], [2000, *[0] * 7], [0] * 9, [0] * 4]
    monkeypatch.setattr(knowledge, "_BATCHES", 2)
    assert len(deal(map(task, sizes))) <= 3
    assert deal([]) == []
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 9500)
    found = Task(Source("a", str(file), {}), "a", None, {}, False)
    gone = Task(Source("b", str(tmp_path / "b.txt"), {}), "b", None, {}, False)
    monkeypatch.setattr(knowledge, "_BATCHES", 5000)
    assert deal([gone, found, gone]) == [[gone], [found], [gone]]


def test_bad_input_is_told_before_any_work(
    docs: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def nodes(where: str, paths: list[str]) -> cluster.Nodes:
        asked.append(paths)
        return cluster.Nodes(2, 4)

    monkeypatch.setattr(cluster, "nodes", nodes)
    path = tmp_path / "kb"
    with pytest.raises(TypeError, match="embed must be a name or a folder, which nodes load"):
        build_knowledge_base(docs, path, firth.SentenceTransformer(model))
    with pytest.raises(ValueError, match="build_knowledge_base: workers must be"):
        build_knowledge_base(docs, path, model, workers=0)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        build_knowledge_base(docs / "none", path, model)
    with pytest.raises(FileNotFoundError, match="there is no file 'dcos'"):
        build_knowledge_base("dcos", path, model)
    with pytest.raises(TypeError, match="metadata must be a dict"):
        build_knowledge_base(docs, path, model, metadata=5)
    assert not asked
    with pytest.raises(ValueError, match="workers is 5, the cluster has 4 processors"):
        build_knowledge_base(docs, path, model, workers=5)
    assert asked[0][0] == os.path.realpath(docs)
    assert os.path.join(model, "model.safetensors") in asked[0]
    with pytest.raises(FileNotFoundError, match="no folder"):
        build_knowledge_base(docs, path, str(tmp_path / "no" / "model"))
    assert not path.exists()
    opened(path, model).close()
    other = write_model(tmp_path / "other")
    with pytest.raises(ValueError, match=r"embed is .*, not "):
        build_knowledge_base(docs, path, other)
    with pytest.raises(ValueError, match="size is 16"):
        build_knowledge_base(docs, path, size=24)
