"""The actors of a sharded index on Ray: an `Engine` of `firth.distributed.replicas`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firth.distributed import cluster
from firth.distributed.replicas import Lost
from firth.distributed.shard import Shard

_LARGE = 100 << 10  # bytes from which Ray puts an argument of each call into its store


class RayActors:
    """Actors with processors of their own, spread over the nodes of a cluster.

    Parameters
    ----------
    where : str
        The function that wants them, for messages.
    files : sequence of str
        That every node must have.
    memory : int
        Bytes that an actor maps.
    shards, replicas, cpus : int
        Shards, actors of each, and processors of an actor. Where the cluster has fewer processors,
        actors share them.

    Raises what `firth.distributed.cluster.nodes` does, and ValueError where there are more replicas
    than processors.
    """

    def __init__(
        self, where: str, files: Sequence[str], memory: int, shards: int, replicas: int, cpus: int
    ) -> None:
        found = cluster.nodes(where, files, memory)
        if replicas > found.cpus:
            raise ValueError(
                f"{where}: replicas is {replicas}, the cluster has {found.cpus} processors"
            )
        self._ray = cluster.the_ray()
        # Whoever starts an actor anew must know which change is under way, and Ray does not.
        self._class = self._ray.remote(Shard).options(
            num_cpus=cpus if shards * replicas * cpus <= found.cpus else 0,
            scheduling_strategy="SPREAD", max_restarts=0, max_task_retries=0,
        )  # fmt: skip

    def start(self) -> Any:
        """A new actor."""
        return self._class.remote()

    def call(self, actor: Any, method: str, *arguments: Any) -> Any:
        """Begin a call. ConnectionError where this process has left the cluster."""
        if not self._ray.is_initialized():
            raise ConnectionError(
                f"{method}: the connection to the Ray cluster was ended (ray.shutdown); open the "
                "index again"
            )
        return getattr(actor, method).remote(*arguments)

    def done(self, references: Sequence[Any], timeout: float) -> list[Any]:
        """Those that have ended."""
        return list(self._ray.wait(list(references), num_returns=1, timeout=timeout)[0])

    def value(self, reference: Any) -> Any:
        """What a call returned."""
        try:
            return cluster.value(reference)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            raise Lost(" ".join(str(error).split())) from None

    def shared(self, value: Any) -> Any:
        """An argument, put into Ray's store if it is large."""
        return self._ray.put(value) if getattr(value, "nbytes", 0) > _LARGE else value

    def stop(self, actor: Any) -> None:
        """End an actor."""
        if self._ray.is_initialized():
            self._ray.kill(actor)
