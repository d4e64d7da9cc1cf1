"""The command line, ``firth``: train, similar, classify, index, eval, plot, convert, ...

`main` and everything that ends a run are here; each command has a file with ``add(commands)`` and
the function that runs it; `common` has what several commands share. This package handles arguments,
messages and exit codes only. To add a command, add a file and its name in `_parser`.

Exit codes: 0, 1 where `firth doctor` finds a fault, 2 for an error (one line on stderr), 130 for
Ctrl-C, 143 for SIGTERM and 129 for SIGHUP, which do the same (batch systems send the one before
they kill, a terminal that goes the other), 141 when the reader of a pipe has closed it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType

from firth import __version__
from firth.cli import (
    ask,
    classify,
    demo,
    doctor,
    documents,
    encoders,
    evaluate,
    fill_mask,
    generators,
    index,
    mcp,
    plot,
    quantize,
    serve,
    tokenize,
    train,
    vectors,
)
from firth.cli.common import Parser, UserError, complain
from firth.interrupt import ENDING, interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    ``argv`` are the arguments behind the program's name, by default those of the process.
    """
    _repair_streams()
    received: list[int] = []
    try:
        with _interrupted_by(received), _log_on_stderr():
            arguments = _parser().parse_args(argv)
            code: int | None = arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:
        # As `firth similar ... | head -1`. Python flushes stdout once more at exit: to nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as ended:
        with contextlib.suppress(OSError, ValueError):
            print(file=sys.stderr)  # behind the ^C of the terminal
        what = "terminated" if received else "interrupted"
        complain(f"{what}{''.join(map(str, ended.args))}")
        return ENDING[signal.Signals(received[0])] if received else 130
    except (
        UserError, OSError, ValueError, TypeError, MemoryError, FloatingPointError, ImportError,
    ) as error:  # fmt: skip
        if isinstance(error, TypeError) and "must be" not in str(error):
            raise  # not firth's own warnings about the input
        complain(f"error: {_one_line(error)}")
        return 2
    return code or 0


class _Complaints(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Inside the block all warnings are lines on stderr, and so is progress without bars."""
    logger, handler = logging.getLogger("firth"), _Complaints()
    handler.addFilter(lambda record: record.name == "firth" or record.levelno >= logging.WARNING)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: complain(str(message))
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def _interrupted_by(received: list[int]) -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP do what Ctrl-C does, checkpoints included.

    ``received`` gets their numbers. A signal that is ignored, as SIGHUP is under nohup, stays so.
    """
    replaced = []
    if threading.current_thread() is threading.main_thread():
        replaced = [one for one in ENDING if signal.getsignal(one) == signal.SIG_DFL]

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        interrupt()

    for one in replaced:
        signal.signal(one, handle)
    try:
        yield
    finally:
        for one in replaced:
            signal.signal(one, signal.SIG_DFL)


def _repair_streams() -> None:
    """Any word can be printed on any terminal, and a stream that the caller closed takes all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Messages would go to the other one, and a file that is opened could take its number.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        with contextlib.suppress(AttributeError, ValueError):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror.lower()
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}"
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="firth",
        description="Word vectors, classifiers, search indexes and language models on a CPU.",
    )
    parser.add_argument("--version", action="version", version=f"firth {__version__}")
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="command")
    for command in (
        train, ask, vectors, classify, index, documents, encoders, fill_mask, generators, tokenize,
        quantize, serve, evaluate, plot, mcp, demo, doctor,
    ):  # fmt: skip
        command.add(commands)
    return parser
