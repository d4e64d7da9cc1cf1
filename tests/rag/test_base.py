"""Adding, changing, removing and finding documents."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError, KnowledgeBase, SentenceTransformer
from firth.formats import safetensors
from firth.rag import adding
from firth.rag.store import FILE
from rag.whole import check_whole_kb
from sentence_folders import sentence_folder


def names(passages: list[Any]) -> list[str]:
    return [passage.document for passage in passages]


def test_a_folder_is_added_and_found(kb: KnowledgeBase, docs: Path) -> None:
    changes = kb.add(docs, {"kind": "test"})
    assert [Path(name).name for name in changes.added] == ["bank.md", "cats.txt", "dogs.txt"]
    assert changes.updated == changes.removed == changes.skipped == []
    assert kb.documents == changes.added
    assert len(kb) == 3
    cats = str(docs / "cats.txt")
    assert cats in kb
    assert kb.text(cats) == (docs / "cats.txt").read_text()
    assert kb.metadata(cats) == {"kind": "test"}
    for mode in ("hybrid", "dense", "keyword"):
        found = kb.search("cats on a mat", 10, mode)
        assert found
        for passage in found:
            assert passage.text == kb.text(passage.document)[passage.start : passage.end]
            assert passage.metadata == {"kind": "test"}
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert kb.search("mats", 1, "keyword")[0].document == cats  # stemmed
    river = kb.search("bank river", 1)[0]
    assert (river.title, river.heading) == ("The bank", "River")
    assert river.text == "## River\n\nThe bank of the river."
    check_whole_kb(kb)


def test_the_nearest_passage_has_the_same_words(kb: KnowledgeBase) -> None:
    texts = {"a": "the cat sat on the mat", "b": "a dog ran in the rain", "c": "money in the bank"}
    kb.add(texts)
    for name, text in texts.items():
        for mode in ("hybrid", "dense"):
            best = kb.search(text, 3, mode)[0]
            assert (best.document, best.text) == (name, text)
            assert best.cosine == pytest.approx(1, abs=2e-3)  # float16


def test_adding_again_touches_only_what_changed(
    kb: KnowledgeBase, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add(docs)
    ids = dict(kb._store.rows("SELECT name, id FROM documents"))
    embedded: list[str] = []
    encode = SentenceTransformer.encode_document

    def counted(self: Any, texts: Any, **options: Any) -> Any:
        embedded.extend(texts)
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode_document", counted)
    again = kb.add(docs)
    assert kb.changes is again
    assert not again
    assert again.unchanged == 3
    (docs / "cats.txt").write_text("The cats\n\nNew words of the rain.")
    (docs / "new.txt").write_text("A river.")
    changes = kb.add(docs)
    cats, new = str(docs / "cats.txt"), str(docs / "new.txt")
    assert (changes.added, changes.updated, changes.unchanged) == ([new], [cats], 2)
    assert embedded == ["The cats\nThe cats\n\nNew words of the rain.", "new\nA river."]
    now = dict(kb._store.rows("SELECT name, id FROM documents"))
    assert {name for name in ids if now[name] == ids[name]} == set(ids) - {cats}
    assert kb.search("mat", mode="keyword") == []
    assert names(kb.search("rain", mode="keyword")) == [cats]
    assert sorted(kb.add(docs, {"year": 1}).updated) == sorted(now)  # metadata count
    assert kb.search("rain", where={"year": 1})[0].metadata == {"year": 1}
    check_whole_kb(kb)


def test_rows_of_a_file_change_one_by_one(kb: KnowledgeBase, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a cat", "n": 1}\n{"text": "a dog", "n": 2}\n{"text": "rain"}\n')
    kb.add(file)
    assert kb.documents == [f"{file}#{i}" for i in (1, 2, 3)]
    assert names(kb.search("cat dog", where={"n": {">": 1}})) == [f"{file}#2"]
    file.write_text('{"text": "a cat", "n": 1}\n{"text": "a bank", "n": 2}\n')
    changes = kb.add(file)
    assert (changes.updated, changes.removed, changes.unchanged) == (
        [f"{file}#2"],
        [f"{file}#3"],
        1,
    )
    assert kb.text(f"{file}#2") == "a bank"
    check_whole_kb(kb)


def test_update_follows_the_disk(kb: KnowledgeBase, docs: Path) -> None:
    kb.add(docs, {"kind": "x"})
    kb.add({"own": "not of a file"})
    assert not kb.update()
    assert kb.changes.unchanged == 3
    (docs / "bank.md").unlink()
    (docs / "more" / "dogs.txt").write_text("The sun.")
    (docs / "late.txt").write_text("Late rain.")
    changes = kb.update()
    assert changes.removed == [str(docs / "bank.md")]
    assert changes.updated == [str(docs / "more" / "dogs.txt")]
    assert changes.added == [str(docs / "late.txt")]
    assert kb.metadata(str(docs / "late.txt")) == {"kind": "x"}
    assert "own" in kb
    assert kb.search("river", mode="keyword") == []
    check_whole_kb(kb)
    for file in docs.rglob("*.*"):
        file.unlink()
    assert len(kb.update().removed) == 3
    assert kb.documents == ["own"]


def test_watch_sees_changes(kb: KnowledgeBase, docs: Path) -> None:
    kb.add(docs)
    changes = kb.watch(0.01)
    timer = threading.Timer(0.1, (docs / "cats.txt").write_text, ["Another cat."])
    timer.start()
    assert next(changes).updated == [str(docs / "cats.txt")]
    (docs / "cats.txt").unlink()
    assert next(changes).removed == [str(docs / "cats.txt")]
    timer.join()
    with pytest.raises(ValueError, match="watch: seconds"):
        kb.watch(0)


def test_delete(kb: KnowledgeBase) -> None:
    kb.add({"a": "the cat", "b": "the dog", "c": "the cat"})
    for mode in ("hybrid", "dense", "keyword"):
        assert kb.search("cat", 0, mode) == []
    with pytest.raises(KeyError, match="has no document 'd'"):
        kb.delete(["a", "d"])
    assert "a" in kb
    kb.delete("a")
    assert kb.documents == ["b", "c"]
    assert names(kb.search("cat", mode="keyword")) == ["c"]
    assert sorted(names(kb.search("cat"))) == ["b", "c"]
    kb.delete(["b", "c"])
    for mode in ("hybrid", "dense", "keyword"):
        assert kb.search("cat", mode=mode) == []
    kb.add({"a": "the cat again"})
    assert names(kb.search("cat")) == ["a"]
    check_whole_kb(kb)
    for ask in (kb.text, kb.metadata, kb.delete):
        with pytest.raises(KeyError, match="'none'"):
            ask("none")
        with pytest.raises(TypeError, match=f"{ask.__name__}: .* must be a .*, got 5"):
            ask(5)
        with pytest.raises(ValueError, match=f"{ask.__name__}: .* lone surrogate"):
            ask("\ud800")
    with pytest.raises(TypeError, match="delete: the name of a document must be a string, got 5"):
        kb.delete(["a", 5])
    assert "a" in kb


def test_a_file_keeps_its_name_and_its_own(kb: KnowledgeBase, docs: Path, monkeypatch) -> None:
    monkeypatch.chdir(docs)
    assert kb.add("cats.txt").added == ["cats.txt"]
    monkeypatch.chdir(docs.parent)
    assert kb.add(docs / "cats.txt").unchanged == 1
    (docs / "cats.txt").write_text("New.")
    assert kb.update().updated == ["cats.txt"]
    other = docs.parent / "cats.txt"
    other.write_text("Others.")
    assert kb.add("cats.txt").added == [str(other)]  # the name is taken
    assert kb.text("cats.txt") == "New."
    assert not kb.update()


def test_empty_and_odd_documents(kb: KnowledgeBase) -> None:
    texts = {
        "empty": "", "blank": " \n\n ", "nul": "a cat\0dog", "one": "x", "emoji": "😀 " * 100,
        "long": "cat" * 5000, "rtl": "שלום cat", "combining": "cafe\u0301 CAFÉ",
        "中文": "猫坐在垫子上。" * 9,
    }  # fmt: skip
    assert kb.add(texts).added == list(texts)
    for name, text in texts.items():
        assert kb.text(name) == text
    found = kb.search("cat", 100)
    for passage in found:
        assert passage.text == texts[passage.document][passage.start : passage.end]
    assert {"rtl", "nul"} <= {one.document for one in kb.search("cat", 100, "keyword")}
    assert names(kb.search("cafe", 5, "keyword")) == ["combining"]  # accents and case do not count
    check_whole_kb(kb)
    kb.delete(list(texts))
    check_whole_kb(kb)


@pytest.mark.parametrize("query", ['"', "a OR b*", "NEAR(", "the", "'; DROP TABLE x", "\0", "😀"])
def test_any_query_can_be_asked(kb: KnowledgeBase, query: str) -> None:
    kb.add({"a": "the cat"})
    for mode in ("hybrid", "dense", "keyword"):
        assert len(kb.search(query, mode=mode)) <= 1
    assert kb.search("x") or True
    assert kb.search("the", mode="keyword")[0].document == "a"  # where there is no other word
    for blank in ("", " \n"):
        with pytest.raises(ValueError, match="search: the query is empty"):
            kb.search(blank)


def test_an_empty_base(kb: KnowledgeBase) -> None:
    for mode in ("hybrid", "dense", "keyword"):
        assert kb.search("cat", mode=mode) == []
        assert kb.search("cat", 0, mode) == []
    assert kb.stats()["passages"] == kb.stats()["tokens"] == len(kb) == 0


def test_files_that_are_skipped(
    kb: KnowledgeBase, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "picture.png").write_bytes(b"\x89PNG")
    (docs / "bad.csv").write_text("a\n1,2,3\n")
    (docs / "binary.txt").write_bytes(b"\0\1\2")
    (docs / ".hidden.txt").write_text("secret cat")
    (docs / ".git").mkdir()
    (docs / ".git" / "x.txt").write_text("secret cat")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret cat")
    (docs / "link.txt").symlink_to(outside)
    os.mkfifo(docs / "pipe.txt")
    (docs / "nowhere.txt").symlink_to(tmp_path / "none.txt")
    (docs / "circle.txt").symlink_to(docs / "circle.txt")
    (docs / "inside.txt").symlink_to(docs / "cats.txt")
    (docs / "piped.txt").symlink_to(docs / "pipe.txt")
    (docs / "others").symlink_to(tmp_path)
    (docs / "twice").symlink_to(docs / "more")
    with open(os.fsencode(docs) + b"/caf\xe9.txt", "w") as file:
        file.write("a cat")
    monkeypatch.chdir(docs)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.txt")
        changes = kb.add(docs)
    assert [os.path.basename(name) for name in changes.added] == [
        "bank.md", "cats.txt", "inside.txt", "dogs.txt"
    ]  # fmt: skip
    skipped = [one.removeprefix(str(docs) + os.sep).split(": ") for one in changes.skipped]
    no_file = "is no file but a pipe, a socket or a device"
    assert {one[0]: one[-1] for one in skipped if one[0] not in ("bad.csv", "binary.txt")} == {
        "caf\udce9.txt": "its name is no Unicode",
        "circle.txt": "a link that leads nowhere",
        "link.txt": "a link that leads out of the folder",
        "nowhere.txt": "a link that leads nowhere",
        "others": "a link that leads out of the folder",
        "picture.png": "no reader for this suffix",
        "pipe.txt": no_file,
        "piped.txt": no_file,
        "socket.txt": no_file,
        "twice": "a link to a folder",
    }
    assert len(skipped) == 12
    assert kb.search("secret", mode="keyword") == []
    for name in ("bad.csv", "binary.txt", "picture.png", "pipe.txt"):
        with pytest.raises(FormatError, match=name):
            kb.add(docs / name)
    with pytest.raises(ValueError, match=r"path of a source has the lone surrogate '\\udce9'"):
        kb.add(docs / "caf\udce9.txt")


def test_its_own_folder_is_not_a_document(docs: Path, model: SentenceTransformer) -> None:
    with firth.KnowledgeBase(docs / "kb", model, size=16) as kb:
        (docs / "kb" / "x.txt").write_text("x")
        changes = kb.add(docs)
        assert len(changes.added) == 3
        assert changes.skipped == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "sources must be paths or texts, got 3"),
        (b"x", TypeError, "sources must be paths or texts"),
        ([3], TypeError, "got 3"),
        ({"a": 3}, TypeError, "names and texts must be str"),
        ({"": "x"}, TypeError, "names and texts must be str"),
        ("", ValueError, "must not be empty"),
        ("none.txt", FileNotFoundError, "no file 'none.txt'"),
        ("no/such/folder", FileNotFoundError, "no file"),
        ("dcos", FileNotFoundError, "no file 'dcos'; if it is a text, give {name: text}"),
        ("dcos/", FileNotFoundError, "no file 'dcos/'"),
        (Path("none"), FileNotFoundError, "add: there is no file or folder 'none'"),
        ({"\ud800": "a"}, ValueError, "add: a name has the lone surrogate"),
        ({"a": "\ud800"}, ValueError, "lone surrogate"),
        ("a \udfff text", ValueError, "lone surrogate"),
    ],
)
def test_what_cannot_be_added(kb: KnowledgeBase, given, error, message) -> None:
    with pytest.raises(error, match=message):
        kb.add(given)
    assert len(kb) == 0


def test_metadata_is_unicode(kb: KnowledgeBase, tmp_path: Path) -> None:
    for wrong in ({"kind": "\ud800"}, {"\ud800": 1}):
        with pytest.raises(ValueError, match=r"add: .*lone surrogate"):
            kb.add({"a": "the cat"}, wrong)
        with pytest.raises(ValueError, match=r"search: where: .*lone surrogate"):
            kb.search("cat", where=wrong)
    assert len(kb) == 0
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "a\\ud800": "b\\ud800"}')
    kb.add(tmp_path / "a.jsonl")
    assert kb.metadata(kb.documents[0]) == {"a\ufffd": "b\ufffd"}


def test_texts_without_names(kb: KnowledgeBase) -> None:
    changes = kb.add(["the cat sat.", "the dog\nran", "the cat sat."])
    assert len(kb) == 2
    assert all(name.startswith("text:") for name in changes.added)
    assert kb.search("dog", 1, "keyword")[0].text == "the dog\nran"
    assert kb.add("the cat sat.").unchanged == 1
    assert len(kb.add(["猫が座った。", "a" * 1000, "dog\n"]).added) == 3


def test_wrong_arguments_of_search(kb: KnowledgeBase) -> None:
    for arguments, error, message in (
        ({"query": 3}, TypeError, "query must be a str"),
        ({"query": "x", "k": -1}, ValueError, "search: k"),
        ({"query": "x", "k": "3"}, TypeError, "search: k"),
        ({"query": "x", "mode": "best"}, ValueError, "mode must be one of hybrid, dense, keyword"),
        ({"query": "x", "rerank": True}, ValueError, "rerank=..."),
    ):
        with pytest.raises(error, match=message):
            kb.search(**arguments)


# Files and settings


def test_a_folder_is_opened_again(kb: KnowledgeBase, model, tmp_path: Path) -> None:
    kb.add({"a": "the cat", "b": "the dog"})
    kb.close()
    with firth.KnowledgeBase(tmp_path / "kb", model) as again:
        assert (again.size, again.overlap) == (16, 4)
        assert names(again.search("the cat"))[0] == "a"
        assert again.stats()["documents"] == 2
    with firth.KnowledgeBase(tmp_path / "kb") as words_only:  # no model is needed for words
        assert names(words_only.search("cat", mode="keyword")) == ["a"]
        with pytest.raises(ValueError, match="embed must be the model"):
            words_only.search("cat")


def test_settings_are_those_of_the_folder(kb: KnowledgeBase, model, tmp_path: Path) -> None:
    for options in ({"size": 17}, {"overlap": 3}):
        with pytest.raises(ValueError, match=f"KnowledgeBase: {next(iter(options))} is"):
            firth.KnowledgeBase(tmp_path / "kb", model, **options)
    for options in ({"size": 7}, {"size": 1000}, {"size": 16, "overlap": 8}, {"overlap": -1}):
        with pytest.raises(ValueError, match=r"KnowledgeBase: (size|overlap)"):
            firth.KnowledgeBase(tmp_path / "new", model, **options)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="KnowledgeBase: path must be a folder"):
        firth.KnowledgeBase(tmp_path / "file", model)
    for name in ("embed", "rerank", "chat"):
        for wrong in (5, model.tokenizer):
            with pytest.raises(TypeError, match=f"KnowledgeBase: {name} must be a name or a "):
                firth.KnowledgeBase(tmp_path / "new", **{name: wrong})
    assert not (tmp_path / "new").exists()


def test_a_model_is_given_by_its_path(
    kb: KnowledgeBase, model_folder: Path, tmp_path: Path
) -> None:
    kb.add({"a": "the cat"})
    with firth.KnowledgeBase(tmp_path / "new", model_folder) as made:
        made.add({"a": "the cat"})
        assert made.search("cat", mode="dense")[0].score > 0
    with firth.KnowledgeBase(tmp_path / "new") as opened:
        assert opened.search("cat", mode="dense")[0].document == "a"


def test_another_model_is_refused(kb: KnowledgeBase, tmp_path: Path) -> None:
    other = sentence_folder(tmp_path / "other", most=40)
    arrays = {
        name: array.copy() for name, array in safetensors.read(other / "model.safetensors").items()
    }
    (last,) = [name for name in arrays if name.endswith("1.output.LayerNorm.weight")]
    arrays[last][::2] *= -1
    safetensors.write(other / "model.safetensors", arrays)
    kb.add({"a": "the cat"})
    with firth.KnowledgeBase(tmp_path / "kb", SentenceTransformer(other)) as wrong:
        for change in (lambda: wrong.search("cat"), lambda: wrong.add({"b": "the dog"})):
            with pytest.raises(
                ValueError, match="embed gives other vectors than the model it was made with"
            ):
                change()
    assert kb.documents == ["a"]


def test_a_model_by_name(tmp_path: Path, model_folder: Path) -> None:
    with firth.KnowledgeBase(tmp_path / "kb", str(model_folder)) as kb:
        kb.add({"a": "the cat"})
    with firth.KnowledgeBase(tmp_path / "kb") as kb:
        assert names(kb.search("the cat")) == ["a"]
        assert kb.model.compute_type == "int8"
    with pytest.raises(ValueError, match="embed is"):
        firth.KnowledgeBase(tmp_path / "kb", "another")


def test_damaged_files_are_named(tmp_path: Path, model, kb: KnowledgeBase) -> None:
    kb.add({"a": "the cat"})
    kb.close()
    path = tmp_path / "kb" / FILE
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / FILE).write_text("no database " * 1000)
    with pytest.raises(FormatError, match="is no knowledge base"):
        firth.KnowledgeBase(tmp_path / "text", model)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE settings SET value = '99' WHERE name = 'format'")
    file.close()
    with pytest.raises(FormatError, match="has format '99'"):
        firth.KnowledgeBase(tmp_path / "kb", model)
    other = sqlite3.connect(tmp_path / "text" / "other")
    other.execute("CREATE TABLE x (y)")
    other.commit()
    other.close()
    (tmp_path / "text" / "other").rename(tmp_path / "text" / FILE)
    with pytest.raises(FormatError, match="is no knowledge base"):
        firth.KnowledgeBase(tmp_path / "text", model)


def test_an_error_within_a_batch_writes_nothing(kb: KnowledgeBase, monkeypatch) -> None:
    kb.add({"a": "the cat"})
    put, calls = kb._store.put, []

    def fail(document: Any) -> None:
        calls.append(document.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put(document)

    monkeypatch.setattr(kb._store, "put", fail)
    with pytest.raises(KeyboardInterrupt):
        kb.add({"a": "changed", "b": "new", "c": "new"})
    monkeypatch.undo()
    assert (kb.documents, kb.text("a")) == (["a"], "the cat")
    check_whole_kb(kb)
    assert kb.add({"b": "new"}).added == ["b"]


def test_what_was_written_before_an_error_stays(kb: KnowledgeBase, docs: Path, monkeypatch) -> None:
    monkeypatch.setattr(adding, "_BATCH", 0)  # each document is a batch
    (docs / "zzz.csv").write_text("a\n1,2\n")
    with pytest.raises(FormatError):
        kb.add([docs, docs / "zzz.csv"])
    assert kb.documents == [str(docs / "bank.md"), str(docs / "cats.txt")]
    changes = kb.add(docs)
    assert (changes.unchanged, changes.added) == (2, [str(docs / "more" / "dogs.txt")])


# Several at once


def test_another_process_sees_changes(
    kb: KnowledgeBase, tmp_path: Path, model_folder: Path
) -> None:
    kb.add({"a": "the cat"})
    assert names(kb.search("dog", mode="keyword")) == []
    code = (
        "import sys, firth\n"
        "kb = firth.KnowledgeBase(sys.argv[1], firth.SentenceTransformer(sys.argv[2]))\n"
        "kb.add({'b': 'the dog'}); kb.delete('a'); print(kb.search('dog')[0].document)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "kb", model_folder],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "b\n"
    for mode in ("hybrid", "dense", "keyword"):
        assert names(kb.search("dog", mode=mode)) == ["b"]
    check_whole_kb(kb)


def test_threads_search_beside_a_writer(kb: KnowledgeBase) -> None:
    """Each search sees whole documents only: all twins, or those before them."""
    kb.add({"first": "the cat sat on the mat"})
    done = threading.Event()

    def write() -> int:
        for i in range(60):
            kb.add({f"{i % 7}": f"the dog ran {'in the rain ' * (i % 5)}" + ". a cat" * (i % 3)})
            if i % 10 == 9:
                kb.delete(f"{i % 7}")
        done.set()
        return 60

    def read(mode: Any) -> int:
        count = 0
        while not done.is_set() or count == 0:
            for passage in kb.search("the cat sat on the mat", 5, mode):
                assert passage.text
                assert not np.isnan(passage.score)
            assert kb.search("the cat sat on the mat", 1, mode)[0].document == "first"
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(write), *(pool.submit(read, m) for m in ("hybrid", "dense", "keyword"))]
        assert all(job.result(60) for job in jobs)
    check_whole_kb(kb)


def test_writers_wait_for_each_other(tmp_path: Path, model_folder: Path, model) -> None:
    code = (
        "import sys, firth\n"
        "kb = firth.KnowledgeBase(sys.argv[1], firth.SentenceTransformer(sys.argv[2]), size=16)\n"
        "for i in range(20): kb.add({f'{sys.argv[3]}{i}': f'the cat {i}', 'both': sys.argv[3]})\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "kb", model_folder, name])
        for name in ("a", "b")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    with firth.KnowledgeBase(tmp_path / "kb", model) as kb:
        assert len(kb) == 41
        check_whole_kb(kb)


def test_memory_follows_many_changes(kb: KnowledgeBase) -> None:
    """The state in memory, kept in step, is that of a new one."""
    rng = np.random.default_rng(0)
    words = ["cat", "dog", "sat", "ran", "mat", "sun", "rain", "bank", "river", "money"]
    for step in range(40):
        name = str(rng.integers(12))
        if step % 5 == 4 and name in kb:
            kb.delete(name)
        else:
            kb.add({name: " ".join(rng.choice(words, rng.integers(0, 40)))})
        if step % 3 == 0:
            kb.search("cat")
    start = time.perf_counter()
    with firth.KnowledgeBase(kb.path, kb.model) as new:
        for mode in ("hybrid", "dense", "keyword"):
            for query in ("cat on a mat", "river bank", "sun"):
                assert kb.search(query, 20, mode) == new.search(query, 20, mode)
    assert time.perf_counter() - start < 60
    check_whole_kb(kb)
