"""Documents into a knowledge base: what is new or has changed is read, cut, embedded and written.

Work is done in batches of some seconds, each written in one transaction with the digests of the
files that it completes. A process that is killed loses the batch at hand; adding the same again
goes on behind what is there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from firth.encoders import SentenceTransformer
from firth.errors import FormatError
from firth.progress import progress_bar
from firth.rag.readers import Reading
from firth.rag.sources import Root, Source, checked_metadata, digest_of, files, sources
from firth.rag.splitting import split
from firth.rag.store import Document, Store, in_context

_BATCH = 50_000  # tokens of passages that are embedded before they are written


@dataclass
class Changes:
    """What `KnowledgeBase.add`, `update` or `watch` did: names of documents.

    Attributes
    ----------
    added, updated, removed : list of str
    unchanged : int
        How many documents were there with the same content and metadata.
    skipped : list of str
        Files of folders that were not read, with the reason.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed)


@dataclass
class _Batch:
    """What is to be written together."""

    documents: list[Document] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    files: list[tuple[str, str, bytes | None]] = field(default_factory=list)
    tokens: int = 0

    def clear(self) -> None:
        """Nothing is left to be written."""
        self.documents, self.removed, self.files, self.tokens = [], [], [], 0


class Writer:
    """Adds documents to a store."""

    def __init__(
        self, store: Store, model: Callable[[], SentenceTransformer], size: int, overlap: int
    ) -> None:
        self._store, self._model, self._size, self._overlap = store, model, size, overlap

    def add(self, given: Any, metadata: Any) -> Changes:
        """`KnowledgeBase.add`."""
        texts, roots = sources(given, checked_metadata(metadata))
        changes = Changes()
        found = [*texts, *self._files(roots, changes)]
        with self._store.writing():
            self._remember({**self._roots(), **roots})
        below = tuple(path + os.sep for path in roots if os.path.isdir(path))
        gone = [path for path in self._known() if path.startswith(below)]
        gone = [path for path in gone if not os.path.exists(path)]
        self._bring(found, set(roots), changes, gone)
        return changes

    def update(self) -> Changes:
        """`KnowledgeBase.update`."""
        changes = Changes()
        roots = {path: root for path, root in self._roots().items() if os.path.exists(path)}
        found = self._files(roots, changes)
        here = {source.path for source in found}
        self._bring(found, set(), changes, [path for path in self._known() if path not in here])
        return changes

    def watch(self, seconds: float) -> Iterator[Changes]:
        """`KnowledgeBase.watch`."""
        before: Any = None
        while True:
            now = self._stamps()
            if now != before:
                before = now
                if changes := self.update():
                    yield changes
                    continue
            time.sleep(seconds)

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Times and sizes of all files of roots."""
        stamps = {}
        for source in self._files(self._roots(), Changes()):
            try:
                found = os.stat(str(source.path))
            except OSError:  # gone meanwhile
                continue
            stamps[str(source.path)] = (found.st_mtime_ns, found.st_size)
        return stamps

    def _known(self) -> list[str]:
        """The files that were read."""
        return [path for (path,) in self._store.rows("SELECT path FROM files")]

    def _roots(self) -> dict[str, Root]:
        stored = json.loads(dict(self._store.rows("SELECT * FROM settings")).get("roots", "{}"))
        return {path: Root(**root) for path, root in stored.items()}

    def _remember(self, roots: dict[str, Root]) -> None:
        self._store.set({"roots": json.dumps({path: asdict(one) for path, one in roots.items()})})

    def _files(self, roots: dict[str, Root], changes: Changes) -> list[Source]:
        apart = os.path.realpath(self._store.path.parent)
        found: dict[str | None, Source] = {}
        for path, root in roots.items():
            if os.path.exists(path):
                for source in files(path, root, apart, changes.skipped):
                    found.setdefault(source.path, source)
        return list(found.values())

    def _bring(
        self, found: list[Source], named: set[str], changes: Changes, gone: Iterable[str] = ()
    ) -> None:
        """Write what is new or changed of sources; remove documents of files that are gone."""
        batch = _Batch()
        for path in gone:
            names = self._store.rows("SELECT name FROM documents WHERE file = ?", [path])
            batch.removed += [name for (name,) in names]
            batch.files.append((path, "", None))
        changes.removed += batch.removed
        with progress_bar(len(found), " files", "adding") as bar:
            for source in found:
                try:
                    self._take(source, batch, changes)
                except (FormatError, ImportError, OSError) as error:
                    if source.path is None or source.path in named:
                        self._write(batch)
                        raise
                    changes.skipped.append(f"{source.name}: {error}")
                bar.update(1)
            self._write(batch)

    def _take(self, source: Source, batch: _Batch, changes: Changes) -> None:
        """Put the documents of a source that must be written into the batch."""
        data = source.data()
        digest, path, own_name = source.digest(data), source.path, source.name
        if path:
            read = self._store.rows("SELECT name, digest FROM files WHERE path = ?", [path])
            own_name = read[0][0] if read else self._free(own_name, path)
            known = self._store.rows("SELECT name, digest FROM documents WHERE file = ?", [path])
            if read and read[0][1] == digest:
                changes.unchanged += len(known)
                return
        else:
            known = self._store.rows(
                "SELECT name, digest FROM documents WHERE name = ?", [own_name]
            )
        digests = dict(known)
        readings = source.readings(data)
        title = os.path.splitext(os.path.basename(own_name))[0] if path else ""
        names = set()
        for reading in readings:
            reading.title = reading.title or title.replace("_", " ")
            metadata = {**reading.metadata, **source.metadata}
            name = own_name + reading.part
            names.add(name)
            own = digest_of(reading.title, reading.text, reading.sections, metadata)
            if digests.get(name) == own:
                changes.unchanged += 1
                continue
            (changes.updated if name in digests else changes.added).append(name)
            batch.documents.append(self._cut(name, path, own, reading, metadata))
            batch.tokens += sum(span.tokens for span in batch.documents[-1].spans)
            if batch.tokens > _BATCH:
                self._write(batch)
        removed = [name for name in digests if name not in names]
        batch.removed += removed
        changes.removed += removed
        if path:
            batch.files.append((path, own_name, digest))

    def _free(self, name: str, path: str) -> str:
        """A name for a file's documents: as it was given, or its whole path where that is taken."""
        taken = self._store.rows(
            "SELECT 1 FROM documents WHERE name = ? AND file IS NOT ? "
            "UNION SELECT 1 FROM files WHERE name = ?",
            [name, path, name],
        )
        return path if taken else name

    def _cut(
        self, name: str, path: str | None, digest: bytes, reading: Reading, metadata: dict[str, Any]
    ) -> Document:
        """A document with its passages, without vectors yet."""
        tokens: list[int] = []
        if reading.text.strip():
            found = self._model().tokenizer(
                [reading.text], add_special_tokens=False, truncation=False, verbose=False,
                return_offsets_mapping=True, return_tensors="np",
            )  # fmt: skip
            tokens = found["offset_mapping"][0][:, 0].tolist()
        spans = split(reading.text, reading.sections, tokens, self._size, self._overlap)
        none = np.zeros((0, 0), np.float16)
        return Document(name, path, digest, reading.title, reading.text, metadata, spans, none)

    def _write(self, batch: _Batch) -> None:
        """Embed and write a batch, and empty it."""
        texts = [
            in_context(document.title, span, document.text)
            for document in batch.documents
            for span in document.spans
        ]
        rows = np.zeros((0, 0), np.float16)
        if texts:
            rows = self._model().encode_document(
                texts, normalize_embeddings=True, show_progress_bar=False
            ).astype(np.float16)  # fmt: skip
        start = 0
        with self._store.writing():
            self._store.delete(batch.removed)
            for document in batch.documents:
                document.vectors = rows[start : start + len(document.spans)]
                start += len(document.spans)
                self._store.put(document)
            for path, name, digest in batch.files:
                self._store.note_file(path, name, digest)
        batch.clear()
