"""A `KnowledgeBase` of a large folder: workers read, cut and embed, this process writes.

What is done with a document, and how it is written, is `firth.rag.adding`, which knows no Ray. Ray
Data deals batches of documents to actors, each with a model of its own, and gives their results
back in order, so the file is written as on one machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from firth.arguments import check_whole, shortened
from firth.distributed import cluster
from firth.distributed.pool import dealt
from firth.encoders import SentenceTransformer
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.rag import KnowledgeBase, readers
from firth.rag.adding import Part, Task, prepared
from firth.rag.models import Models
from firth.rag.sources import checked_metadata
from firth.rag.sources import sources as found_in

_WHERE = "build_knowledge_base"
_BYTES = 256 << 10  # of a batch: seconds of work, so that little is lost with a worker
_BATCHES = 5000  # about as many at most, since Ray keeps a record of each
_SMALLEST = 1 << 10  # what a document is taken for where it is smaller

Found = tuple[str, list[Part]]  # the node, and what it made


def build_knowledge_base(
    sources: Any,
    path: PathLike,
    embed: PathLike | None = None,
    *,
    metadata: Any = None,
    size: int | None = None,
    overlap: int | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> KnowledgeBase:
    """``KnowledgeBase(path, embed)`` and its ``add(sources, metadata)``, on a Ray cluster.

    Documents, passages, their ids and vectors, and so what searches find, are those of one machine,
    whatever the number of workers and whichever of them die. `KnowledgeBase.add` and `update` go on
    from there. After a crash of this process call again: what is written is not prepared again, and
    the end is the same.

    Parameters
    ----------
    sources : path-like, str, list of these, or dict
        As of `KnowledgeBase.add`. Files and folders have the same paths on all nodes.
    path : path-like
        The folder of the knowledge base, which only this process writes.
    embed : path-like, optional
        As of `KnowledgeBase`: a name that all nodes know, or a folder that all of them have.
    metadata : dict, optional
        Of each document.
    size, overlap : int, optional
        As of `KnowledgeBase`.
    workers : int, optional
        Processes, each with one processor and one model. Default: one for each processor of the
        cluster.
    progress : bool, optional
        A bar of files: always, never, or (None) where somebody sees it.

    Returns
    -------
    KnowledgeBase
        What ``add`` would have returned is its ``changes``.

    Raises
    ------
    TypeError, ValueError, FormatError
        As `KnowledgeBase` and its ``add``; or there are fewer processors than workers.
    FileNotFoundError
        A path, or a str that looks like one, leads nowhere, or a node lacks it.
    RuntimeError
        A node has another version, cannot use the model, or cannot read what this process can;
        workers die over and over; or a file changed while a worker that died had half of it done.
    ConnectionError
        There is no cluster.

    Notes
    -----
    A file is read once, and noted with the digest of what was read: if it changes meanwhile, the
    next `KnowledgeBase.update` sees that. Results wait in Ray's object store until those before
    them are written; Ray Data starts no work whose results would find no room there.
    """
    given: Any = embed
    if given is not None and not isinstance(given, (str, os.PathLike)):
        got = shortened(given)
        raise TypeError(f"{_WHERE}: embed must be a name or a folder, which nodes load, got {got}")
    if workers is not None:
        check_whole(f"{_WHERE}: workers", workers, 1)
    texts, roots = found_in(sources, checked_metadata(metadata))
    model = [] if embed is None else _files(os.path.expanduser(embed))
    there = cluster.nodes(_WHERE, [*roots, *model])
    if workers is not None and workers > there.cpus:
        raise ValueError(f"{_WHERE}: workers is {workers}, the cluster has {there.cpus} processors")
    count = workers or there.cpus
    kb = KnowledgeBase(path, embed, size=size, overlap=overlap)

    with contextlib.ExitStack() as stack:
        stack.callback(kb.close)
        settings = kb._store.settings
        place = _absolute(embed or settings["embed"])

        def work(tasks: Iterator[Task]) -> Iterator[list[Part]]:
            return running.enter_context(contextlib.closing(_on_ray(tasks, place, settings, count)))

        with contextlib.ExitStack() as running:
            kb.changes = kb._writer.add_sources(texts, roots, work, progress)
        stack.pop_all()
    return kb


def _files(folder: str) -> list[str]:
    """All files of a model's folder, by absolute paths; none where it is a name."""
    found = os.walk(os.path.abspath(folder))
    return [os.path.join(below, name) for below, _, names in found for name in names]


def _absolute(model: PathLike) -> str:
    """A folder as workers, which are in another one, find it; a name as it is."""
    folder = os.path.expanduser(model)
    return os.path.abspath(folder) if os.path.isdir(folder) else os.fspath(model)


def deal(tasks: Iterable[Task]) -> list[list[Task]]:
    """Tasks in their order, in batches of about as many bytes, of which each is one worker's."""
    sizes = [(task, _size(task)) for task in tasks]
    most = max(_BYTES, sum(size for _, size in sizes) // _BATCHES)
    batches: list[list[Task]] = []
    room = 0
    for task, size in sizes:
        if size > room or not batches:
            batches.append([])
            room = most
        batches[-1].append(task)
        room -= size
    return batches


def _size(task: Task) -> int:
    if task.source.path is None:
        return max(_SMALLEST, len(str(task.source.text)))
    with contextlib.suppress(OSError):  # gone meanwhile
        return max(_SMALLEST, os.path.getsize(task.source.path))
    return _SMALLEST


def checked(found: Iterable[Found]) -> Iterator[list[Part]]:
    """Batches as they were made, where nodes read what this process would.

    Raises
    ------
    RuntimeError
        A node cannot read a file, and this process can; or parts of a source are not of one
        reading.
    """
    begun: Part | None = None
    for host, parts in found:
        for part in parts:
            if begun and (part.path, part.name, part.digest) != (
                begun.path, begun.name, begun.digest,
            ):  # fmt: skip
                raise _changed(begun)
            begun = None if part.last else part
            if isinstance(part.error, (ImportError, OSError)) and _readable(str(part.path)):
                raise RuntimeError(
                    f"{_WHERE}: the node {host} cannot read {part.path}, which can be read here: "
                    f"{part.error}"
                )
        yield parts
    if begun:
        raise _changed(begun)


def _changed(part: Part) -> RuntimeError:
    return RuntimeError(f"{_WHERE}: {part.name} changed while it was read; call again")


def _readable(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            readers.read(path, file.read())
    except (FormatError, ImportError, OSError):
        return False
    return True


def _on_ray(
    tasks: Iterator[Task], model: str, settings: dict[str, str], workers: int
) -> Generator[list[Part], None, None]:
    """`firth.rag.adding.prepared` by so many workers, at most."""
    made = dealt(_WHERE, Worker, (model, settings), deal(tasks), workers=workers, ordered=True)
    with contextlib.closing(made):
        yield from checked(made)


class Worker:
    """What an actor does: batches of tasks become what is `Found`."""

    def __init__(self, model: str, settings: Mapping[str, str]) -> None:
        """A model, and the settings of the knowledge base."""
        self.settings, self._models = settings, Models(model, None, None)

    def __call__(self, batch: list[Task]) -> Iterator[Found]:
        """What is made of a batch, and on which node; RuntimeError: the model cannot be used."""
        host = cluster.the_ray().util.get_node_ip_address()
        for parts in self.found(batch, host):
            yield host, parts

    def found(self, batch: list[Task], host: str) -> Iterator[list[Part]]:
        """`prepared`, with the model of this worker."""

        def model() -> SentenceTransformer:
            try:
                return self._models.embedder(self.settings)
            except (ImportError, OSError, ValueError) as error:
                raise RuntimeError(
                    f"{_WHERE}: the node {host} cannot use the model: {error}"
                ) from error

        return prepared(batch, model, int(self.settings["size"]), int(self.settings["overlap"]))
