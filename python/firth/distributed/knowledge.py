"""A `KnowledgeBase` of a large folder: workers read, cut and embed, this process writes.

What is done with a document, and how it is written, is `firth.rag.adding`, which knows no Ray. Ray
Data deals batches of documents to actors, each with a model of its own, and gives their results
back in order, so the file is written as on one machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from firth.arguments import check_whole, shortened
from firth.distributed import cluster
from firth.encoders import SentenceTransformer
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.optional import needs
from firth.rag import KnowledgeBase, readers
from firth.rag.adding import Part, Task, prepared
from firth.rag.models import Models
from firth.rag.sources import checked_metadata
from firth.rag.sources import sources as found_in

_WHERE = "build_knowledge_base"
_BYTES = 256 << 10  # of a batch: seconds of work, so that little is lost with a worker
_BATCHES = 5000  # about as many at most, since Ray keeps a record of each
_SMALLEST = 1 << 10  # what a document is taken for where it is smaller

Found = tuple[str, "list[Part] | Exception"]  # the node, and what it made


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
        A path leads nowhere, or a node lacks it.
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
    Exception
        What was raised on a node.
    """
    begun: Part | None = None
    for host, parts in found:
        if isinstance(parts, Exception):
            raise parts
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
    batches = deal(tasks)
    if not batches:
        return
    count = min(workers, len(batches))
    ray = cluster.the_ray()
    data = needs("ray.data", _WHERE, '"ray[data]" (the extra "distributed")')
    arrow = needs("pyarrow", _WHERE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Data's settings warn of each other
        context = data.DataContext.get_current().copy()
        context.execution_options.preserve_order = True
        context.max_errored_blocks = 0  # nothing is left out
        context.execution_no_progress_timeout_s = -1  # a single document may take hours
        context.enable_progress_bars = context.print_on_execution_start = False
        with data.DataContext.current(context):
            # Each table is a block, and each block a call.
            made = data.from_arrow(
                [arrow.table({"batch": [pickle.dumps(batch)]}) for batch in batches]
            ).map_batches(
                Worker, fn_constructor_args=(model, settings), batch_size=None,
                batch_format="pyarrow", num_cpus=1, max_task_retries=cluster.RETRIES,
                # Workers may become fewer: those of a lost node find no place while others idle.
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=count, initial_size=count, max_tasks_in_flight_per_actor=2
                ),
            )  # fmt: skip
    tables = iter(made.iter_batches(batch_size=None, batch_format="pyarrow"))
    with _silent(), contextlib.closing(tables):
        try:
            yield from checked(
                pickle.loads(row.as_py()) for table in tables for row in table["found"]
            )
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(f"{_WHERE}: the workers do not live: {reason}") from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Ray Data writes to its log file alone: the progress that users see is that of documents."""
    shown = [
        handler
        for handler in logging.getLogger("ray.data").handlers
        if handler.get_name() == "console"
    ]
    levels = [handler.level for handler in shown]
    for handler in shown:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(shown, levels, strict=True):
            handler.setLevel(level)


class Worker:
    """What an actor does: tables of batches of tasks become tables of what is `Found`."""

    def __init__(self, model: str, settings: Mapping[str, str]) -> None:
        """A model, and the settings of the knowledge base."""
        self.settings, self._models = settings, Models(model, None, None)

    def __call__(self, table: Any) -> Iterator[Any]:
        """Pickles in a column ``batch`` to those in a column ``found``."""
        arrow = needs("pyarrow", _WHERE)
        host = cluster.the_ray().util.get_node_ip_address()
        for row in table["batch"]:
            for parts in self.found(pickle.loads(row.as_py()), host):
                column = arrow.array([pickle.dumps((host, parts))], arrow.large_binary())
                yield arrow.table({"found": column})

    def found(self, batch: list[Task], host: str) -> Iterator[list[Part] | Exception]:
        """`prepared`; what it raises comes last, since Ray Data would report it at length."""

        def model() -> SentenceTransformer:
            try:
                return self._models.embedder(self.settings)
            except (ImportError, OSError, ValueError) as error:
                raise RuntimeError(
                    f"{_WHERE}: the node {host} cannot use the model: {error}"
                ) from error

        size, overlap = int(self.settings["size"]), int(self.settings["overlap"])
        try:
            yield from prepared(batch, model, size, overlap)
        except Exception as error:
            yield error
