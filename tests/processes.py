"""Code in a Python of its own, and in several threads of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code where nothing but ``environment`` chooses a backend or level."""
    rest = {k: v for k, v in os.environ.items() if k not in {"FIRTH_ISA", "FIRTH_BACKEND"}}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], env={**rest, **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def printed(code: str, *arguments: str, **environment: str) -> str:
    """What code prints, which must end well."""
    done = python(code, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(file: Path, *arguments: str) -> str:
    """What a program of the tests prints, which must end well; it may import their modules."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return printed(file.read_text(), *arguments, PYTHONPATH=path)


def in_threads(work: Callable[[], Any], count: int = 4) -> list[Any]:
    """What ``work`` returns in each of some threads at once."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
