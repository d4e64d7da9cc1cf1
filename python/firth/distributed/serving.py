"""The server of `firth.serve` on a Ray cluster: the same application in each replica of Ray Serve.

A replica has its own models, its own queue and its own stored responses: a client that goes on with
``previous_response_id`` needs a server with one replica, or must send the conversation.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from firth.distributed import cluster
from firth.optional import needs

CONNECTIONS = (
    256  # of a replica: more than its queues hold, which refuse in words that clients know
)
NAME = "firth"
_QUIET = {"log_level": "WARNING", "enable_access_log": False}


def serve(
    host: str,
    port: int,
    ready: Callable[[str], None],
    api_key: str | None = None,
    *,
    replicas: int = 1,
    **options: Any,
) -> None:
    """Serve until SIGTERM or Ctrl-C comes, then take the application off the cluster, no other.

    Parameters
    ----------
    host, port, ready, api_key
        As for `firth.serve.serve`. Every node with a replica listens.
    replicas : int
        Copies of the application. Each has the processors of a node, shared by those on it.
    **options
        Of `firth.serve.create_app`. Models and documents must be on every node.

    Raises
    ------
    ImportError
        Ray Serve is not installed.
    RuntimeError
        The cluster has a Ray Serve already, whose address would hold for this one too. A replica
        cannot start: the message is what it said, and nothing is left on the cluster.
    """
    from firth.serve.security import check_address

    if replicas < 1:
        raise ValueError(f"serve: replicas must be at least 1, got {replicas}")
    check_address(host, api_key)
    cluster.the_ray()  # whose settings are read when it is imported
    serving = needs("ray.serve", "firth serve --ray", '"ray[serve]"')
    found = cluster.nodes("serve")
    if (there := serving.status()).proxies:
        raise RuntimeError(
            "serve: Ray Serve runs on this cluster already, with the applications "
            f"{sorted(there.applications)}: end it first, or serve on another cluster"
        )
    port = port or _free(host)
    # What a replica gets: the processors of a node, or its share of them.
    cpus = max(1, found.cpus // max(found.count, replicas))

    def build() -> Any:
        from firth.serve.app import create_app

        return create_app(api_key=api_key, **options)

    deployment = serving.deployment(
        serving.ingress(build)(), name=NAME, num_replicas=replicas,
        max_ongoing_requests=CONNECTIONS, max_constructor_retry_count=1,
        ray_actor_options={"num_cpus": cpus}, graceful_shutdown_timeout_s=60,
        logging_config=_QUIET,
    )  # fmt: skip
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        serving.start(http_options={"host": host, "port": port}, logging_config=_QUIET)
        serving.run(deployment.bind(), name=NAME, route_prefix="/", blocking=False)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{port}")
        while not ended.wait(1.0):  # a wait without an end would see no signal on some systems
            pass
    except RuntimeError as error:
        raise RuntimeError(f"serve: {_reason(serving, error)}") from None
    finally:
        serving.delete(NAME)
        if not serving.status().applications:  # others may have joined
            serving.shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)


def _free(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _reason(serving: Any, error: BaseException) -> str:
    """The last line of what a replica that did not start has said."""
    said = str(error)
    application = serving.status().applications.get(NAME)
    for deployment in application.deployments.values() if application else ():
        said = deployment.message or said
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]]
    return (errors or lines or ["it did not start"])[-1]
