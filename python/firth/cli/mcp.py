"""``firth mcp``: a knowledge base as a server of the Model Context Protocol."""

from __future__ import annotations

import argparse
from typing import Any

from firth.cli.common import command
from firth.cli.documents import opened


def add(commands: Any) -> None:
    """Add the command."""
    mcp = command(
        commands, "mcp", _mcp,
        "Serve a knowledge base to a program that speaks the Model Context Protocol, which starts "
        "this command and talks to it on stdin and stdout.",
    )  # fmt: skip
    mcp.add_argument("kb", help="a folder that firth index wrote")


def _mcp(arguments: argparse.Namespace) -> None:
    from firth.agents.mcp_server import mcp_server

    with opened(arguments.kb) as knowledge_base:
        mcp_server(knowledge_base).run()
