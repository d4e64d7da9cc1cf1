"""A pool of actors to which Ray Data deals work: it starts them, and again where they die."""

from __future__ import annotations

import contextlib
import logging
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from firth.distributed import cluster
from firth.optional import needs

Work = Callable[[Any], Iterable[Any]]


def dealt(
    where: str,
    make: Callable[..., Work],
    arguments: tuple[Any, ...],
    tasks: Sequence[Any],
    *,
    workers: int,
    memory: int = 0,
    ordered: bool = False,
) -> Generator[Any, None, None]:
    """What workers make of tasks, as soon as it is there.

    A task whose worker or node dies is done again by another one.

    Parameters
    ----------
    where : str
        The function, for messages.
    make : callable
        Makes what an actor has for all its tasks; a class or a function of a module.
    arguments : tuple
        Of ``make``; may hold references of Ray.
    tasks : sequence
        What is pickled and given to what ``make`` returned, which gives results for it, the same
        ones each time.
    workers : int
        Actors at most, with a processor each.
    memory : int
        Bytes that Ray keeps for each.
    ordered : bool
        Results come in the order of the tasks, else in any.

    Raises
    ------
    RuntimeError
        Workers die over and over.
    Exception
        The first that was raised in a worker, as it was there.
    """
    if not tasks:
        return
    count = min(workers, len(tasks))
    ray = cluster.the_ray()
    data = needs("ray.data", where, '"ray[data]" (the extra "distributed")')
    arrow = needs("pyarrow", where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Data's settings warn of each other
        context = data.DataContext.get_current().copy()
        context.execution_options.preserve_order = ordered
        context.max_errored_blocks = 0  # nothing is left out
        context.execution_no_progress_timeout_s = -1  # a task may take hours
        context.max_consecutive_actor_init_deaths = cluster.RETRIES
        context.enable_progress_bars = context.print_on_execution_start = False
        with data.DataContext.current(context):
            # Each table is a block, and each block a call.
            made = data.from_arrow(
                [arrow.table({"task": [pickle.dumps(task)]}) for task in tasks]
            ).map_batches(
                _Actor, fn_constructor_args=(make, arguments), batch_size=None,
                batch_format="pyarrow", num_cpus=1, memory=memory or None,
                max_task_retries=cluster.RETRIES,
                # Workers may become fewer: those of a lost node find no place while others idle.
                # No task waits for one while another idles: tasks take seconds, calls do not.
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=count, initial_size=count, max_tasks_in_flight_per_actor=1
                ),
            )  # fmt: skip
    tables = iter(made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    with silent(), contextlib.closing(tables):
        try:
            for table in tables:
                for row in table["made"]:
                    result, error = pickle.loads(row.as_py())
                    if error is not None:
                        raise error
                    yield result
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(f"{where}: the workers do not live: {reason}") from None


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Ray Data writes to its log file alone: users see the progress of what they asked for."""
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


class _Actor:
    """Tables of pickled tasks become tables of pickled results.

    What is raised is a result, too: Ray Data would report it at length, and start an actor that
    cannot be made over and over.
    """

    def __init__(self, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
        self._error: Exception | None = None
        try:
            self._work = make(*arguments)
        except Exception as error:
            self._error = error

    def __call__(self, table: Any) -> Iterator[Any]:
        arrow = needs("pyarrow", "firth.distributed")
        for row in table["task"]:
            for result in self._results(pickle.loads(row.as_py())):
                column = arrow.array([pickle.dumps(result)], arrow.large_binary())
                yield arrow.table({"made": column})

    def _results(self, task: Any) -> Iterator[tuple[Any, Exception | None]]:
        if self._error is not None:
            yield None, self._error
            return
        try:
            for result in self._work(task):
                yield result, None
        except Exception as error:
            yield None, error
