"""The SQLite file of a knowledge base: all that is kept on disk.

It holds the truth alone: documents with their text, passages with their places, metadata, the
full-text index, and the vectors. What searches use in memory (`firth.rag.state`) is made of it. So
there are no two files that could disagree: a transaction has a document whole or not at all,
whenever the process is killed, and ``generation`` counts transactions, so that every process sees
when its memory is behind.

Vectors are float16, one array for all passages of a document.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.rag.splitting import Span

FILE = "knowledge.sqlite"
_FORMAT = "1"
_BUSY_SECONDS = 60  # how long a writer waits for another one, of any process
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, file TEXT,
    digest BLOB NOT NULL, title TEXT NOT NULL, metadata TEXT NOT NULL,
    first INTEGER NOT NULL, count INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX documents_file ON documents (file);
CREATE INDEX documents_passages ON documents (id, first, count);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL,
    start INTEGER NOT NULL, stop INTEGER NOT NULL, tokens INTEGER NOT NULL, heading TEXT NOT NULL);
CREATE TABLE vectors (document INTEGER PRIMARY KEY, rows BLOB NOT NULL);
CREATE TABLE fields (document INTEGER NOT NULL, name TEXT NOT NULL, value);
CREATE INDEX fields_value ON fields (name, value, document);
CREATE INDEX fields_document ON fields (document);
CREATE VIRTUAL TABLE terms USING fts5 (
    text, content = '', tokenize = 'porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE postings USING fts5vocab (terms, instance);
INSERT INTO settings VALUES ('generation', '0');
"""
# The words of a question, cut and stemmed as those of passages are.
_ASKED = """
CREATE VIRTUAL TABLE temp.asked USING fts5 (
    text, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE temp.words USING fts5vocab (temp, asked, row);
"""


@dataclass
class Document:
    """A document to be written: what a reader found, its passages and their vectors."""

    name: str
    file: str | None
    digest: bytes
    title: str
    text: str
    metadata: dict[str, Any]
    spans: list[Span]
    vectors: NDArray[np.float16]


def context(title: str, heading: str) -> str:
    """What a passage stands under: put before it where it is embedded and where words are found."""
    return " > ".join(part[:100] for part in (title, heading) if part)


def in_context(title: str, span: Span, text: str) -> str:
    """A passage as it is embedded and indexed."""
    before = context(title, span.heading)
    return f"{before}\n{text[span.start : span.end]}" if before else text[span.start : span.end]


class Store:
    """One open SQLite file; its methods may be called by many threads."""

    def __init__(self, folder: Path, settings: Callable[[], dict[str, str]]) -> None:
        """Open the file, or make it, with the settings that the function gives."""
        self.path = folder / FILE
        self.settings: dict[str, str] = {}
        made = None if self.path.exists() else settings()  # an error leaves no file
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._open = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._start(made, settings)
        except sqlite3.Error as error:
            self.close()
            raise self._named(error) from error
        except BaseException:
            self.close()
            raise

    def _start(self, made: dict[str, str] | None, settings: Callable[[], dict[str, str]]) -> None:
        self._open.execute("PRAGMA journal_mode = WAL")
        # With a log, NORMAL cannot damage the file; a power failure may undo the last changes.
        self._open.execute("PRAGMA synchronous = NORMAL")
        with self.writing():
            tables = self.rows("SELECT name FROM sqlite_master")
            if not tables:
                for statement in _SCHEMA.split(";\n"):
                    self._open.execute(statement)
                self.set({"format": _FORMAT, **(made or settings())})
            elif ("settings",) not in tables:
                raise FormatError("is no knowledge base: it has other tables", self.path)
        self.settings = dict(self.rows("SELECT name, value FROM settings"))
        if self.settings.get("format") != _FORMAT:
            raise FormatError(
                f"has format {self.settings.get('format')!r}, this firth reads {_FORMAT!r}",
                self.path,
            )
        self._open.executescript(_ASKED)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._open.close()

    def _named(self, error: sqlite3.Error) -> Exception:
        """An error of SQLite as one that users know."""
        if "fts5" in str(error):
            return ImportError("KnowledgeBase: this Python's SQLite has no FTS5")
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full
            return OSError(f"{self.path}: {error}")
        if isinstance(error, sqlite3.ProgrammingError):  # closed
            return ValueError(f"{self.path}: {error}")
        return FormatError(f"is no knowledge base, or damaged: {error}", self.path)

    # Reading

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        with self._lock:
            try:
                return self._open.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._named(error) from error

    def numbers(
        self, query: str, values: Sequence[Any] = (), columns: int = 1
    ) -> NDArray[np.int64]:
        """The rows of a query for whole numbers: (n,), or (n, columns)."""
        found = np.array(self.rows(query, values), np.int64)
        return found.reshape(-1) if columns == 1 else found.reshape(-1, columns)

    def at_once(self) -> AbstractContextManager[None]:
        """A block whose queries see one state of the file."""
        return self._transaction("BEGIN")

    @property
    def generation(self) -> int:
        """Grows with each change, by whichever process."""
        return int(self.rows("SELECT value FROM settings WHERE name = 'generation'")[0][0])

    def words(self, text: str) -> list[str]:
        """The different words of a text, as the full-text index has them."""
        with self._lock:
            self._open.execute("DELETE FROM temp.asked")
            self._open.execute("INSERT INTO temp.asked VALUES (?)", [text])
            return [row[0] for row in self.rows("SELECT term FROM temp.words")]

    # Writing

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock:
            if self._open.in_transaction:  # within another block, which ends it
                yield
            else:
                with self._outermost(begin):
                    yield

    @contextlib.contextmanager
    def _outermost(self, begin: str) -> Iterator[None]:
        try:
            self._open.execute(begin)
            yield
            self._open.execute("COMMIT")
        except BaseException as error:
            if self._open.in_transaction:
                self._open.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._named(error) from error
            raise

    def writing(self) -> AbstractContextManager[None]:
        """A block whose changes are made together, or not at all; others wait to write."""
        return self._transaction("BEGIN IMMEDIATE")

    def set(self, settings: dict[str, str]) -> None:
        """Store settings."""
        with self.writing():
            self._open.executemany(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items()
            )
        self.settings |= settings

    def note_file(self, path: str, name: str, digest: bytes | None) -> None:
        """Store what a file is called and held when it was read; None: it is gone."""
        with self.writing():
            self._open.execute("DELETE FROM files WHERE path = ?", [path])
            if digest is not None:
                self._open.execute("INSERT INTO files VALUES (?, ?, ?)", [path, name, digest])

    def put(self, document: Document) -> None:
        """Write a document, in place of that of the same name."""
        texts = [in_context(document.title, span, document.text) for span in document.spans]
        with self.writing():
            self.delete([document.name])
            last = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'passages'")
            first = last[0][0] + 1 if last else 1
            number = self._open.execute(
                "INSERT INTO documents (name, file, digest, title, metadata, first, count, text) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    document.name, document.file, document.digest, document.title,
                    json.dumps(document.metadata), first, len(texts), document.text,
                ),
            ).lastrowid  # fmt: skip
            ids = range(first, first + len(texts))
            self._open.executemany(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (i, number, span.start, span.end, span.tokens, span.heading)
                    for i, span in zip(ids, document.spans, strict=True)
                ],
            )
            self._open.executemany(
                "INSERT INTO terms (rowid, text) VALUES (?, ?)", zip(ids, texts, strict=True)
            )
            rows = np.ascontiguousarray(document.vectors, "<f2").tobytes()
            self._open.execute("INSERT INTO vectors VALUES (?, ?)", (number, rows))
            fields = {"document": document.name, **document.metadata}
            self._open.executemany(
                "INSERT INTO fields VALUES (?, ?, ?)",
                [
                    (number, name, one)
                    for name, value in fields.items()
                    for one in (value if isinstance(value, list) else [value])
                ],
            )
            self._changed()

    def delete(self, names: Sequence[str]) -> None:
        """Remove documents; unknown names are ignored."""
        with self.writing():
            for name in names:
                for number, title, text in self.rows(
                    "SELECT id, title, text FROM documents WHERE name = ?", [name]
                ):
                    # The index keeps no texts: it must be told which words go.
                    spans = [
                        (i, in_context(title, Span(start, stop, 0, heading), text))
                        for i, start, stop, heading in self.rows(
                            "SELECT id, start, stop, heading FROM passages WHERE document = ?",
                            [number],
                        )
                    ]
                    self._open.executemany(
                        "INSERT INTO terms (terms, rowid, text) VALUES ('delete', ?, ?)", spans
                    )
                    self._open.execute("DELETE FROM documents WHERE id = ?", [number])
                    for table in ("passages", "vectors", "fields"):
                        self._open.execute(f"DELETE FROM {table} WHERE document = ?", [number])
                    self._changed()

    def _changed(self) -> None:
        self._open.execute("UPDATE settings SET value = value + 1 WHERE name = 'generation'")
