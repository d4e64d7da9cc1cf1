"""``firth demo``."""

from __future__ import annotations

import argparse
from typing import Any

from firth.cli.common import check_output, command, picture_format


def add(commands: Any) -> None:
    """Add the command."""
    demo = command(
        commands,
        "demo",
        _demo,
        "Train on the documentation of this Python installation, show neighbours and a picture.",
    )
    demo.add_argument("-o", "--output", default="firth-demo.png", help="[firth-demo.png]")


def _demo(arguments: argparse.Namespace) -> None:
    from firth import demo

    picture_format(arguments.output)
    check_output(arguments.output)
    demo.run(arguments.output)
