"""A Ray cluster: Ray itself, connecting to it, what its nodes must have, and tasks in order.

Scheduling, transport and finding out about failures are Ray's. What is here decides before any work
whether the work can be done, and says why not in one line.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import firth
from firth.progress import progress_bar

SECONDS = 30.0  # within which a cluster that cannot do the work is reported
_address: str | None = None  # of `connect`, where it is given none
RETRIES = 20  # of a task whose worker died; a task that raises is not repeated
SHARING = 64  # workers of a processor: a result may depend on their number, so there may be many


def the_ray() -> Any:
    """Ray. ImportError names what to install."""
    # A connection that is cut without a word is noticed, also by a driver that only waits.
    for name in ("time", "timeout"):
        os.environ.setdefault(f"RAY_grpc_client_keepalive_{name}_ms", "10000")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # one of several is raised by `value`
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of the future
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'firth.distributed needs Ray, the extra "distributed": pip install "ray[data]"'
        ) from error
    return ray


def connect(address: str | None = None) -> None:
    """Connect to a Ray cluster, where this process is not connected yet.

    The functions of `firth.distributed` do it themselves, as for None.

    Parameters
    ----------
    address : str, optional
        ``"auto"``: the cluster of this machine. ``"local"``: start one here, for this process.
        ``"HOST:PORT"``: that of a head node, from one of its nodes. None: the environment's
        RAY_ADDRESS, else a cluster of this machine, else one that is started.

    Raises
    ------
    ConnectionError
        There is no cluster, or it does not answer.
    RuntimeError
        The cluster runs another version of Ray or of Python.
    """
    ray = the_ray()
    if ray.is_initialized():
        return
    address = address or _address
    asked = address or os.environ.get("RAY_ADDRESS") or None
    if asked is not None:
        _check_address(asked)
    if asked not in (None, "auto", "local"):
        _check_port(str(asked))
    elif asked != "local" and (recorded := _recorded(address)):
        try:
            _check_port(recorded)
        except ConnectionError:
            if asked == "auto":
                raise
            address = "local"  # the cluster has ended without a word: Ray would wait for it
    handlers = _handlers()
    try:
        ray.init(
            address=address, logging_level="warning", configure_logging=False,
            **({"include_dashboard": False} if asked == "local" else {}),
        )  # fmt: skip
    except (ConnectionError, ValueError) as error:
        raise ConnectionError(
            f"connect: no Ray cluster at {asked or 'this machine'} ({_line(error)})"
        ) from None
    except RuntimeError as error:
        raise RuntimeError(f"connect: {_line(error)}") from None
    finally:
        for number, handler in handlers.items():  # Ray's ends the process without cleaning up
            signal.signal(number, handler)


@contextlib.contextmanager
def using(address: str) -> Iterator[None]:
    """What connects inside the block, does so to this cluster; then the process leaves it.

    Until then nothing is started: functions check first what can be checked without a cluster.
    """
    global _address
    _check_address(address)
    before, _address = _address, address
    try:
        yield
    finally:
        _address = before
        if "ray" in sys.modules:
            the_ray().shutdown()


def _handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}


def _recorded(address: Any) -> str | None:
    """The cluster of this machine that Ray would take, which may have ended; None: there is none.

    What Ray itself says of there being none is left to `ray.init`.
    """
    try:
        from ray._private import services

        found: str | None = services.canonicalize_bootstrap_address(address)
    except (AttributeError, ConnectionError, ImportError, ValueError):  # it is private to Ray
        return None
    return found


def _check_address(address: str) -> None:
    """ValueError where it is none."""
    if address.startswith("ray://"):
        raise ValueError(
            f"connect: {address} is Ray Client, which shares no memory; run the program on a node "
            "of the cluster (ray job submit) and give HOST:PORT or auto"
        )
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local") and not (host and port.isdigit()):
        raise ValueError(f"connect: address must be auto, local or HOST:PORT, got {address}")


def _check_port(address: str) -> None:
    """Refuse an address where no gRPC server answers: Ray itself would wait there for minutes."""
    host, _, port = address.rpartition(":")
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as peer:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            peer.sendall(hello)
            if peer.recv(9)[3:4] != b"\x04":  # settings, which every server sends first
                raise OSError("what answers there is no Ray cluster")
    except OSError as error:
        raise ConnectionError(f"connect: no Ray cluster at {address} ({error})") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True)
class Nodes:
    """The living nodes of a cluster that work, and the processors of all of them."""

    count: int
    cpus: int


def nodes(where: str, paths: Sequence[str] = (), memory: int = 0) -> Nodes:
    """Connect, ask every node whether it can do the work, and say what they are.

    Parameters
    ----------
    where : str
        The function, for messages.
    paths : sequence of str
        Files that must be on every node, with the sizes that they have here, and folders.
    memory : int
        Bytes that one worker needs.

    Raises
    ------
    RuntimeError
        A node has no firth, another version of it or of Python; or it does not answer.
    FileNotFoundError
        A node lacks a file, or has another one.
    MemoryError
        No node has as much memory.
    """
    connect()
    ray = the_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = {
        path: 0 if os.path.isdir(path) else os.path.getsize(path)
        for path in paths
        if "://" not in path
    }
    expected = _versions()

    # Inside this function, so that it reaches workers as code: one without firth can say so.
    def look(names: list[str]) -> tuple[dict[str, str], dict[str, int | None]]:
        import contextlib
        import os
        import platform

        found = {"firth": "none", "Python": ".".join(platform.python_version_tuple()[:2])}
        with contextlib.suppress(ImportError):
            import firth

            found["firth"] = firth.__version__
        sizes: dict[str, int | None] = dict.fromkeys(names)
        for name in filter(os.path.exists, names):
            sizes[name] = 0 if os.path.isdir(name) else os.path.getsize(name)
        return found, sizes

    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) >= 1]
    if not working:
        raise RuntimeError(f"{where}: the cluster has no node with a processor")
    task = ray.remote(look)
    asked = {
        task.options(
            num_cpus=0, max_retries=RETRIES,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(list(wanted)): node
        for node in working
    }  # fmt: skip
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS - 5)
    for answer, node in asked.items():
        host = node["NodeManagerAddress"]
        if answer not in done:
            raise RuntimeError(f"{where}: the node {host} does not answer")
        try:
            versions, sizes = ray.get(answer)
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            working.remove(node)  # it was lost just now: the others do the work
            continue
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"{where}: the node {host} does no work: {_line(error)}") from None
        for name, version in versions.items():
            if version != expected[name]:
                raise RuntimeError(
                    f"{where}: the node {host} has {name} {version}, this process {expected[name]}"
                )
        for path, size in sizes.items():
            if size is None:
                raise FileNotFoundError(f"{where}: {path} is not on the node {host}")
            if size != wanted[path]:
                raise FileNotFoundError(
                    f"{where}: {path} has {size} bytes on the node {host}, {wanted[path]} here"
                )
    if not working:
        raise RuntimeError(f"{where}: the cluster has lost its nodes")
    resources = [node["Resources"] for node in working]
    most = max(int(one.get("memory", 0)) for one in resources)
    if memory > most:
        raise MemoryError(
            f"{where}: a worker needs {memory / 2**30:.2f} GiB, no node has more than "
            f"{most / 2**30:.2f} GiB for workers"
        )
    return Nodes(len(working), sum(int(one["CPU"]) for one in resources))


def check_workers(where: str, count: int | None, cpus: int) -> None:
    """ValueError for more workers than so many processors can share; ``where`` is the function."""
    if count is not None and count > SHARING * cpus:
        raise ValueError(
            f"{where}: {count:,} workers, the cluster has {cpus:,} processors; at most {SHARING} "
            "share one"
        )


def _versions() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"firth": firth.__version__, "Python": python}


def tasks(
    work: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    *,
    most: int,
    memory: int = 0,
    returns: int = 1,
) -> Generator[Any, None, None]:
    """Results of calls on workers, as references, in the order of the arguments.

    A call is repeated where its worker or node dies, so ``work`` must give the same every time.

    Parameters
    ----------
    work : callable
        A function of a module.
    arguments : iterable of tuple
        Of each call; a reference is given to it as what it refers to.
    most : int
        Calls that are under way at once: no more results than that wait to be taken.
    memory : int
        Bytes that Ray keeps for each call.
    returns : int
        How many values a call returns; a list of references is yielded for more than one.
    """
    ray = the_ray()
    task = ray.remote(work).options(
        num_cpus=1, max_retries=RETRIES, memory=memory or None, num_returns=returns
    )
    waiting: deque[Any] = deque()
    try:
        for one in arguments:
            waiting.append(task.remote(*one))
            if len(waiting) >= most:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())
    finally:
        for left in waiting:
            for reference in left if isinstance(left, list) else [left]:
                ray.cancel(reference, force=False)


def _finished(reference: Any) -> Any:
    """The reference, when its task has ended."""
    first = reference[0] if isinstance(reference, list) else reference
    the_ray().wait([first], num_returns=1, fetch_local=False)
    return reference


def results(references: Iterable[Any]) -> Iterator[Any]:
    """The values of references, one after another; what a task raised is raised as it was."""
    for reference in references:
        yield value(reference)


def value(reference: Any) -> Any:
    """The value of a reference; what the task raised is raised as it was raised there."""
    ray = the_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise getattr(error, "cause", error) from None


def with_progress(
    found: Iterable[Any],
    sizes: Iterable[int],
    total: int,
    label: str,
    progress: bool | None,
    unit: str = "B",
) -> Iterator[Any]:
    """What is found, while a bar grows by the size of each."""
    with progress_bar(total, unit, label, progress) as bar:
        for one, size in zip(found, sizes, strict=True):
            yield one
            bar.update(size)
