"""``firth doctor``: what runs here, what is missing for which command, a self-test."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from firth.cli.common import command, say, table


def add(commands: Any) -> None:
    """Add the command."""
    doctor = command(
        commands, "doctor", _doctor,
        "What runs here, which packages are missing for which command, and whether the kernels, a "
        "search and a training compute what they should. Exit code 1 where they do not.",
    )  # fmt: skip
    doctor.add_argument("--json", action="store_true", help="the same as JSON")


def _doctor(arguments: argparse.Namespace) -> int:
    from firth import doctor

    found = doctor.examine()
    if arguments.json:
        say(json.dumps(asdict(found)))
        return int(bool(found.failed))
    info = found.info
    unused = "".join(f"; not {level}: {why}" for level, why in info.unused_levels.items())
    table(
        {
            "firth": info.version,
            "Python": info.python,
            "NumPy": info.numpy,
            "system": found.os,
            "processor": found.cpu,
            "runs on": info.backend,
            "levels": ", ".join(info.usable_levels) + unused,
            "threads": f"{info.threads} of {found.cores} processors",
            "Numba": found.numba or "not installed",
        }
    )
    for extra, packages in found.missing.items():
        say(f"extra {extra}: {'not installed:' if packages else 'installed'}")
        for package, needed_by in packages.items():
            say(f"  pip install {package:<16}  {needed_by}")
    for name, fault in found.failed.items():
        say(f"FAILED {name}: {fault}")
    say(f"self-test: {len(found.passed)} passed, {len(found.failed)} failed, {found.seconds:.1f} s")
    return int(bool(found.failed))
