"""`firth generate`, `chat` and `perplexity`: texts, pipes, a terminal, limits, wrong input."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from causal_models import CONTEXT, TEMPLATE, write
from commands import error, run
from firth import CausalLM
from firth.cli import common, main
from firth.generators import perplexity

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

SPEED = re.compile(
    r"firth: (\d+) prompt tokens( \((\d+) of them known\))?, [\d.]+ s to the first text, "
    r"(\d+) new tokens(, [\d,.]+ tokens/s)?"
)
DRAWN = ["--temperature", "1", "--seed", "4"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("model"))


@pytest.fixture
def model() -> CausalLM:
    return CausalLM.from_pretrained("model")


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def as_printed(text: str) -> str:
    return "".join(c if c in "\n\t" else common.shown(c) for c in text) + "\n"


def test_generate(model: CausalLM, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "model", "a text", "--max-tokens", "30"]) == 0
    printed = capsys.readouterr()
    assert printed.out == as_printed(model.generate("a text", 30))
    assert printed.err == ""
    more = ["--max-tokens", "50", "--top-p", "0.9", "--top-k", "40", "--min-p", "0.01"]
    more += ["--repetition-penalty", "1.2", "--stop", "e", "--stop", "t", "--verbose"]
    assert main(["generate", "model", "a text", *DRAWN, *more]) == 0
    printed = capsys.readouterr()
    found = model.generate(
        "a text", 50, 1.0, 0.9, 40, 0.01, 1.2, seed=4, stop=["e", "t"], logprobs=0
    )
    assert printed.out == as_printed(found.text)
    speed = SPEED.fullmatch(printed.err.rstrip("\n"))
    assert speed
    assert speed.group(1, 2, 4) == ("6", None, str(len(found.ids)))


def test_prompts_from_stdin(
    model: CausalLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, prompt in {
        b"two\nlines": "two\nlines",
        b"two\nlines\n": "two\nlines",
        b"two\nlines\n\r\n": "two\nlines\n",
        b"\xff": "\ufffd",
    }.items():
        stdin(monkeypatch, given)
        assert main(["generate", "model", "--max-tokens", "20"]) == 0
        assert capsys.readouterr().out == as_printed(model.generate(prompt, 20))


def test_constrained_text(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    Path("schema.json").write_text(json.dumps(schema))
    Path("grammar.lark").write_text('start: "ab" | "ba"\n')

    def printed(*limits: str) -> str:
        assert main(["generate", "model", "x", *DRAWN, *limits]) == 0
        return capsys.readouterr().out.removesuffix("\n")

    assert json.loads(printed("--json-schema", "schema.json"))["n"] in (1, 2)
    assert re.fullmatch("[0-9]{4}", printed("--regex", "[0-9]{4}"))
    assert printed("--choices", "yes", "no") in ("yes", "no")
    assert printed("--grammar", "grammar.lark") in ("ab", "ba")
    assert printed("--json-object", "--max-tokens", "3").startswith("{")
    assert "not allowed with" in error(
        capsys, "generate", "model", "x", "--regex", "a", "--json-object"
    )
    Path("schema.json").write_text("true")
    assert printed("--json-schema", "schema.json", "--max-tokens", "3")
    Path("schema.json").write_text("false")
    assert "json_schema is false: it matches no text" in error(
        capsys, "generate", "model", "x", "--json-schema", "schema.json"
    )


def test_several_continuations_and_contexts(
    model: CausalLM, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--max-tokens", "10", "--stop", "e", *DRAWN]
    assert main(["generate", "model", "x", "-n", "3", *options]) == 0
    found = model.generate("x", 10, 1.0, seed=4, n=3, stop="e")
    assert capsys.readouterr().out == "".join(map(as_printed, found))
    assert main(["generate", "model", "abcd", "--context", "10"]) == 0
    assert capsys.readouterr().out == as_printed(model.generate("abcd", 6))
    assert "the prompt has 4 tokens and the context 4" in error(
        capsys, "generate", "model", "abcd", "--context", "4"
    )
    assert "context must be a whole number from 1 to 700" in error(
        capsys, "generate", "model", "abcd", "--context", "701"
    )
    for many in ("0", "x"):
        error(capsys, "generate", "model", "abcd", "-n", many)


def test_control_characters_of_a_model_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    common.write("a\x1b[31m\tb\n\u202e")
    assert capsys.readouterr().out == "a\\x1b[31m\tb\n\\u202e"


def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(*arguments: str) -> str:
        return error(capsys, "generate", *arguments)

    assert "temperature must be a number" in generate("none", "x", "--temperature", "-1")
    assert "top_p must be" in generate("none", "x", "--top-p", "0")
    assert "seed must be" in generate("none", "x", "--seed", str(2**70))
    assert "invalid int value" in generate("none", "x", "--seed", "a")
    assert "at least 1" in generate("none", "x", "--max-tokens", "0")
    assert "--stop must not be empty" in generate("none", "x", "--stop", "")
    assert "the prompt is empty" in generate("none", "")
    assert "no.json: no such file" in generate("none", "x", "--json-schema", "no.json")
    for content in (b"{", b"[" * 100_000):
        Path("bad.json").write_bytes(content)
        assert "bad.json is no JSON" in generate("none", "x", "--json-schema", "bad.json")
    Path("bad.json").write_bytes(b"\xff")
    assert "bad.json: 'utf-8'" in generate("none", "x", "--json-schema", "bad.json")
    assert "no folder './none'" in generate("./none", "x")
    Path("text").write_text("no model")
    assert "text" in generate("text", "x")
    assert "the prompt has 800 tokens and the context 700" in generate("model", "x" * 800)
    monkeypatch.setattr(sys, "stdin", None)
    assert "give a prompt" in generate("none")
    assert "stdin is closed" in error(capsys, "chat", "none")


# Chat


def say(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


def test_a_conversation_from_a_pipe(
    model: CausalLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "hello <|end|>", "/save first.json", "", "and again", "/clear", "/system Be short.",
        "/temperature 0", "third", "/save second.json", "/quit", "never said",
    ]  # fmt: skip
    stdin(monkeypatch, "\r\n".join(lines).encode())
    assert main(["chat", "model", "--max-tokens", "20", *DRAWN, "--verbose"]) == 0
    printed = capsys.readouterr()
    drawn: dict[str, Any] = {"max_new_tokens": 20, "temperature": 1.0, "seed": 4}
    turns = [say("hello <|end|>")]
    turns.append(say(model.chat(turns, **drawn), "assistant"))
    assert json.loads(Path("first.json").read_text()) == turns
    second = model.chat([*turns, say("and again")], **drawn)
    other = [say("Be short.", "system"), say("third")]
    other.append(say(model.chat(other, max_new_tokens=20), "assistant"))
    assert json.loads(Path("second.json").read_text()) == other
    answers = (turns[-1]["content"], second, other[-1]["content"])
    assert printed.out == "".join(map(as_printed, answers))
    speeds = [SPEED.fullmatch(line) for line in printed.err.splitlines()]
    assert len(speeds) == 3
    assert all(speeds)
    assert speeds[1]
    assert int(speeds[1][3] or 0) > 5  # the second turn knows the first


def test_variables_of_the_template(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template = TEMPLATE + "{% if enable_thinking is false %}{{ effort }}{% endif %}"
    write(Path("model"), more={"tokenizer.chat_template": template})
    model = CausalLM.from_pretrained("model")
    stdin(monkeypatch, b"hello")
    given = ["--template-variable", "enable_thinking=false", "--template-variable", 'effort="low"']
    assert main(["chat", "model", "--max-tokens", "9", "--context", "300", *given]) == 0
    ids = model.tokenizer.apply_chat_template(
        [say("hello")], tokenize=True, enable_thinking=False, effort="low"
    )
    assert model.tokenizer.decode(ids).endswith("low")
    assert capsys.readouterr().out == as_printed(model.generate(ids, 9))
    for wrong in ("enable_thinking", "effort=low", "x="):
        got = error(capsys, "chat", "model", "--template-variable", wrong)
        assert "must be NAME=JSON, such as" in got


def test_wrong_lines_of_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, message in {
        "/sing": "/sing is no command; /help lists them",
        "/temperature hot": "/temperature needs a number, got 'hot'",
        "/temperature -1": "temperature must be a number",
        "/save": "the output: is a folder, or no name",
        "/save no/such": "does not exist",
        "x" * 800: "no room for another one",
    }.items():
        stdin(monkeypatch, b"/help\n" + line.encode())
        assert main(["chat", "model"]) == 2
        printed = capsys.readouterr()
        assert "/temperature X" in printed.out
        assert printed.err.startswith("firth: error: line 2: ")
        assert message in printed.err
        assert printed.err.count("\n") == 1
    write(Path("bare"), more={"tokenizer.chat_template": None})
    stdin(monkeypatch, b"")
    assert "has no chat template" in error(capsys, "chat", "bare")


class Terminal:
    """A stdin at which somebody sits."""

    def isatty(self) -> bool:
        return True


def test_ctrl_c_stops_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter([
        "x" * 800, "/sing", "go on", "", KeyboardInterrupt, "/save it.json", "more", EOFError,
    ])  # fmt: skip

    def read(prompt: str) -> str:
        line = next(typed)
        if line is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        if line is EOFError:
            raise EOFError
        return str(line)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", read)
    given: list[str] = []
    taken = CausalLM._run

    def cut(self: CausalLM, *arguments: Any) -> Iterator[str]:
        for piece in taken(self, *arguments):
            given.append(piece)
            yield piece
            if sum(map(len, given)) > 5:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(CausalLM, "_run", cut)
    assert main(["chat", "model", "--verbose", *DRAWN]) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    printed = capsys.readouterr()
    saved = json.loads(Path("it.json").read_text())
    first = "".join(given[:-1])  # the second answer has one piece
    assert saved == [say("go on"), say(first, "assistant")]
    assert printed.out.startswith("CausalLM<llama, 2 layers of 64")
    assert as_printed(first) in printed.out
    complaints = printed.err.splitlines()
    assert len(complaints) == 4
    assert "no room" in complaints[0]
    assert "/sing is no command" in complaints[1]
    speeds = [SPEED.fullmatch(line) for line in complaints[2:]]
    assert speeds[0]
    assert speeds[1]
    assert int(speeds[1][3]) >= int(speeds[0][1])  # what was cut is known to the next turn


# Perplexity


def test_perplexity(model: CausalLM, capsys: pytest.CaptureFixture[str]) -> None:
    text = "Some text, of which each byte is a token. " * 40
    Path("text").write_text(text)
    assert main(["perplexity", "model", "text", "--context", "100"]) == 0
    want = perplexity(model, text, 100)
    assert capsys.readouterr().out == (
        f"perplexity {want.value:.4f} +/- {want.error:.4f}, 784 tokens scored in 16 windows of "
        "100\n"
    )
    done = run("perplexity", "model", "-", input=text)
    assert done.returncode == 0
    assert done.stdout.endswith("765 tokens scored in 3 windows of 512\n")


def test_bad_files_and_windows(capsys: pytest.CaptureFixture[str]) -> None:
    Path("short").write_text("abc")
    Path("long").write_text("abc" * 1000)
    Path("bytes").write_bytes(b"abc\xff")
    for arguments, message in {
        ("short",): "the text has 3 tokens and a window 512",
        ("bytes",): "bytes: 'utf-8' codec can't decode byte 0xff in position 3",
        ("none",): "none: no such file",
        ("long", "--context", "3"): "at least 4",
        ("long", "--context", "701"): f"context must be a whole number from 4 to {CONTEXT}",
    }.items():
        assert message in error(capsys, "perplexity", "model", *arguments)
