"""Documents into a knowledge base: what is new or has changed is read, cut, embedded and written.

Work is done in batches of some seconds, each written in one transaction with the digests of the
files that it completes. A process that is killed loses the batch at hand; adding the same again
goes on behind what is there.

`prepared` makes batches of sources and touches no store, so it may run anywhere; `Writer` says what
a store has of each source and writes batches in their order.
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
from firth.rag.splitting import Span, split
from firth.rag.store import Document, Store, in_context

_BATCH = 50_000  # tokens of passages that are embedded before they are written
_SOURCES = 1000  # of a batch, at most


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

    def include(self, other: Changes) -> None:
        """Add what another call, or a part of this one, did."""
        self.added += other.added
        self.updated += other.updated
        self.removed += other.removed
        self.unchanged += other.unchanged
        self.skipped += other.skipped


@dataclass
class Task:
    """A source, and what a store has of it.

    Attributes
    ----------
    source : Source
    name : str
        What its documents are called.
    digest : bytes or None
        Of the file when it was last read.
    documents : dict of str to bytes
        The digests of its documents, by their names.
    named : bool
        Whether it was named, so that an error of it is raised.
    """

    source: Source
    name: str
    digest: bytes | None
    documents: dict[str, bytes]
    named: bool


@dataclass
class Part:
    """What is to be written of a source: all of it, or of a large one some documents.

    Attributes
    ----------
    path, name : str
        The file, or None, and what its documents are called.
    digest : bytes or None
        Of what was read; None where nothing was.
    documents : list of Document
    changes : Changes
        What this part does; what it removes is removed before documents are written.
    tokens : int
        Of all passages.
    error : Exception or None
        Why the source cannot be read.
    last : bool
        Whether nothing more of the source follows.
    noted : bool
        Whether the file is to be noted as read, with the digest, or without one as gone.
    fatal : bool
        Whether the error ends the work.
    """

    path: str | None
    name: str
    digest: bytes | None = None
    documents: list[Document] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    tokens: int = 0
    error: Exception | None = None
    last: bool = False
    noted: bool = False
    fatal: bool = False


Model = Callable[[], SentenceTransformer]  # it is loaded when the first text needs it
Work = Callable[[Iterator[Task]], Iterable[list[Part]]]


def prepared(tasks: Iterable[Task], model: Model, size: int, overlap: int) -> Iterator[list[Part]]:
    """Sources read, cut into passages and embedded, in batches to be written one after another.

    The same whatever other tasks there are, but for where batches end. An error of a file is in its
    part; one that ends the work is the last of a batch. ``size`` and ``overlap`` are those of
    `KnowledgeBase`.
    """
    parts: list[Part] = []
    tokens = 0
    for task in tasks:
        for part in _cut(task, model, size, overlap):
            parts.append(part)
            tokens += part.tokens
            if tokens > _BATCH or len(parts) == _SOURCES or part.fatal:
                yield _embedded(parts, model)
                parts, tokens = [], 0
    if parts:
        yield _embedded(parts, model)


def _cut(task: Task, model: Model, size: int, overlap: int) -> Iterator[Part]:
    """The parts of a source, without vectors yet."""
    source, path = task.source, task.source.path
    part = Part(path, task.name, last=True)
    try:
        data = source.data()
        part.digest = source.digest(data)
        if part.digest == task.digest:
            part.changes.unchanged = len(task.documents)
            yield part
            return
        readings = source.readings(data)
    except (FormatError, ImportError, OSError) as error:
        part.error, part.fatal = error, task.named
        part.changes.skipped.append(f"{source.name}: {error}")
        yield part
        return
    part.last = False
    title = os.path.splitext(os.path.basename(task.name))[0] if path else ""
    names = set()
    for reading in readings:
        reading.title = reading.title or title.replace("_", " ")
        metadata = {**reading.metadata, **source.metadata}
        name = task.name + reading.part
        names.add(name)
        digest = digest_of(reading.title, reading.text, reading.sections, metadata)
        if task.documents.get(name) == digest:
            part.changes.unchanged += 1
            continue
        if part.tokens > _BATCH:
            yield part
            part = Part(path, task.name, part.digest)
        (part.changes.updated if name in task.documents else part.changes.added).append(name)
        spans = _spans(reading, model, size, overlap)
        part.tokens += sum(span.tokens for span in spans)
        none = np.zeros((0, 0), np.float16)
        part.documents.append(
            Document(name, path, digest, reading.title, reading.text, metadata, spans, none)
        )
    part.changes.removed += [name for name in task.documents if name not in names]
    part.last, part.noted = True, path is not None
    yield part


def _spans(reading: Reading, model: Model, size: int, overlap: int) -> list[Span]:
    """The passages of a document."""
    tokens: list[int] = []
    if reading.text.strip():
        found = model().tokenizer(
            [reading.text], add_special_tokens=False, truncation=False, verbose=False,
            return_offsets_mapping=True, return_tensors="np",
        )  # fmt: skip
        tokens = found["offset_mapping"][0][:, 0].tolist()
    return split(reading.text, reading.sections, tokens, size, overlap)


def _embedded(parts: list[Part], model: Model) -> list[Part]:
    """The parts, with the vectors of their documents."""
    documents = [document for part in parts for document in part.documents]
    texts = [
        in_context(document.title, span, document.text)
        for document in documents
        for span in document.spans
    ]
    if texts:
        rows = model().encode_document(
            texts, normalize_embeddings=True, show_progress_bar=False
        ).astype(np.float16)  # fmt: skip
        start = 0
        for document in documents:
            document.vectors = rows[start : start + len(document.spans)]
            start += len(document.spans)
    return parts


class Writer:
    """Adds documents to a store."""

    def __init__(self, store: Store, model: Model, size: int, overlap: int) -> None:
        self._store, self._model, self._size, self._overlap = store, model, size, overlap

    def add(self, given: Any, metadata: Any) -> Changes:
        """`KnowledgeBase.add`."""
        return self.add_sources(*sources(given, checked_metadata(metadata)))

    def add_sources(
        self,
        texts: list[Source],
        roots: dict[str, Root],
        work: Work | None = None,
        progress: bool | None = None,
    ) -> Changes:
        """Add what `sources` found.

        Parameters
        ----------
        texts : list of Source
        roots : dict of str to Root
        work : callable, optional
            Makes batches of tasks, in their order, as `prepared` does, which is the default.
        progress : bool, optional
            As `firth.progress.progress_bar`.
        """
        changes = Changes()
        found = [*texts, *self._files(roots, changes)]
        with self._store.writing():
            self._remember({**self._roots(), **roots})
        below = tuple(path + os.sep for path in roots if os.path.isdir(path))
        gone = [path for path in self._known() if path.startswith(below)]
        gone = [path for path in gone if not os.path.exists(path)]
        self._bring(found, set(roots), changes, gone, work, progress)
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
        self,
        found: list[Source],
        named: set[str],
        changes: Changes,
        gone: Iterable[str] = (),
        work: Work | None = None,
        progress: bool | None = None,
    ) -> None:
        """Write what is new or changed of sources; remove documents of files that are gone."""
        self._write([self._gone(path) for path in gone], changes)
        tasks = (self._task(source, named) for source in found)
        with progress_bar(len(found), " files", "adding", progress) as bar:
            for parts in work(tasks) if work else self._prepared(tasks):
                self._write(parts, changes)
                for part in parts:
                    if part.error and part.fatal:
                        raise part.error
                bar.update(sum(part.last for part in parts))

    def _prepared(self, tasks: Iterator[Task]) -> Iterator[list[Part]]:
        return prepared(tasks, self._model, self._size, self._overlap)

    def _gone(self, path: str) -> Part:
        """What is to be done where a file is gone."""
        names = self._store.rows("SELECT name FROM documents WHERE file = ?", [path])
        removed = Changes(removed=[name for (name,) in names])
        return Part(path, "", changes=removed, last=True, noted=True)

    def _task(self, source: Source, named: set[str]) -> Task:
        """A source with what the store has of it."""
        name, path, digest = source.name, source.path, None
        if path is None:
            known = self._store.rows("SELECT name, digest FROM documents WHERE name = ?", [name])
        else:
            read = self._store.rows("SELECT name, digest FROM files WHERE path = ?", [path])
            name, digest = read[0] if read else (self._free(name, path), None)
            known = self._store.rows("SELECT name, digest FROM documents WHERE file = ?", [path])
        return Task(source, name, digest, dict(known), path is None or path in named)

    def _free(self, name: str, path: str) -> str:
        """A name for a file's documents: as it was given, or its whole path where that is taken."""
        taken = self._store.rows(
            "SELECT 1 FROM documents WHERE name = ? AND file IS NOT ? "
            "UNION SELECT 1 FROM files WHERE name = ?",
            [name, path, name],
        )
        return path if taken else name

    def _write(self, parts: list[Part], changes: Changes) -> None:
        """Write a batch."""
        if any(part.documents or part.noted or part.changes.removed for part in parts):
            with self._store.writing():
                self._store.delete([name for part in parts for name in part.changes.removed])
                for part in parts:
                    for document in part.documents:
                        self._store.put(document)
                    if part.path and part.noted:
                        self._store.note_file(part.path, part.name, part.digest)
        for part in parts:
            changes.include(part.changes)
