"""Whether a knowledge base is whole: all of its tables say the same."""

from __future__ import annotations

import json

import numpy as np

from firth import KnowledgeBase
from firth.rag.splitting import Span
from firth.rag.store import in_context


def check_whole_kb(kb: KnowledgeBase) -> None:
    rows = kb._store.rows
    assert rows("PRAGMA integrity_check") == [("ok",)]
    passages = rows("SELECT id, document, start, stop, tokens, heading FROM passages ORDER BY id")
    documents = rows(
        "SELECT id, name, title, metadata, first, count, text FROM documents ORDER BY id"
    )
    wanted = []
    words: dict[int, str] = {}
    dim = int(kb._store.settings["dim"])
    vectors = dict(rows("SELECT document, rows FROM vectors"))
    fields = rows("SELECT document, name, value FROM fields")
    for number, name, title, metadata, first, count, text in documents:
        own = [one for one in passages if one[1] == number]
        assert [one[0] for one in own] == list(range(first, first + count))
        wanted += [one[0] for one in own]
        array = np.frombuffer(vectors.pop(number), "<f2").reshape(-1, dim)
        assert len(array) == count
        for i, _, start, stop, tokens, heading in own:
            assert 0 <= start < stop <= len(text)
            words[i] = in_context(title, Span(start, stop, tokens, heading), text)
        expected = [("document", name)]
        for field, value in json.loads(metadata).items():
            expected += [(field, one) for one in (value if isinstance(value, list) else [value])]
        assert sorted(map(str, expected)) == sorted(str(f[1:]) for f in fields if f[0] == number)
    assert wanted == [one[0] for one in passages]
    assert vectors == {}
    assert {field[0] for field in fields} <= {document[0] for document in documents}
    # The full-text index has the words of each passage, and of no other.
    found: dict[int, set[str]] = {i: set() for i in words}
    for term, i in rows("SELECT term, doc FROM postings"):
        found[i].add(term)
    for i, text in words.items():
        assert found[i] == set(kb._store.words(text))
    state = kb._memory.state()
    assert state.passages.tolist() == wanted
    assert sorted(state.index.ids.tolist()) == wanted


def content(kb: KnowledgeBase) -> dict[str, list[tuple[object, ...]]]:
    """All that is stored, in the order in which it was written."""
    tables = {
        "settings": "name", "files": "path", "documents": "id", "passages": "id",
        "vectors": "document", "fields": "rowid", "postings": "term, doc, col, offset",
        "sqlite_sequence": "name",
    }  # fmt: skip
    return {
        table: kb._store.rows(f"SELECT * FROM {table} ORDER BY {order}")
        for table, order in tables.items()
    }
