"""``firth serve`` as a process: where it listens, how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import firth
from firth import CausalLM, SentenceTransformer
from firth.cli import main
from firth.serve import create_app
from processes import printed
from serving import HTTP

BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 600, "stream": True, "seed": 1,
    "logit_bias": {"256": -100},
}  # fmt: skip


def started(*words: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "firth", "serve", "--port", "0", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["--ctx", 640, "--slots", 2, "--allow-host", "models.example"]
    with started("--chat", folder / "chat.gguf", *words) as running:
        yield running
        running.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:")
    return line.split()[-1]


def test_sigterm_drains(process: subprocess.Popen[str]) -> None:
    url = url_of(process)
    [card] = HTTP.get(f"{url}/v1/models").json()["data"]
    assert card["id"] == "chat"
    assert card["context_window"] == 640
    with HTTP.stream("POST", f"{url}/v1/chat/completions", json=BODY) as response:
        lines = response.iter_lines()
        first = [next(lines) for _ in range(6)]
        process.send_signal(signal.SIGTERM)
        rest = [line for line in [*first, *lines] if line]
    assert rest.pop() == "data: [DONE]"
    last = json.loads(rest[-1].removeprefix("data: "))
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["x_groq"]["usage"]["completion_tokens"] == 600
    assert process.wait(20) == 143
    with pytest.raises(httpx.ConnectError):
        HTTP.get(f"{url}/health")
    assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends(process: subprocess.Popen[str]) -> None:
    url = url_of(process)
    for host, status in (("models.example", 200), ("others.example", 403)):
        assert HTTP.get(f"{url}/health", headers={"host": host}).status_code == status
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "Traceback" not in process.stderr.read()


def test_what_it_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path) -> None:
    for words, message in (
        (["--host", "0.0.0.0", "--chat", "x"], "API key"),
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--chat", str(tmp_path / "none.gguf"), "--port", "0"], "there is no folder"),
        (["--slots", "0"], "at least 1"),
        (["--embed", str(folder / "chat.gguf")], "create_app: embed: .*gguf is a generator, "),
        (["--rerank", str(folder / "embed")], "create_app: rerank: "),
        (["--chat", str(folder / "embed")], "create_app: chat: .*'bert' is not one of the generat"),
    ):
        assert main(["serve", *words]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_models_of_another_kind(chat_model: CausalLM, embed_model: SentenceTransformer) -> None:
    given: Any
    for given, message in (
        ({"chat": embed_model}, "create_app: chat must be a path, a name or a CausalLM, got Sent"),
        ({"embed": {"a": chat_model}}, "create_app: embed must be .* a SentenceTransformer, got"),
        ({"rerank": 5}, "create_app: rerank must be .* a CrossEncoder, got 5"),
    ):
        with pytest.raises(TypeError, match=message):
            create_app(**given)


def test_a_port_that_is_taken(folder: Path, process: subprocess.Popen[str]) -> None:
    port = url_of(process).rpartition(":")[2]
    assert main(["serve", "--port", port, "--chat", str(folder / "chat.gguf")]) == 2


def test_what_is_missing_is_named() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import firth.serve\n"
        "try: firth.serve.create_app\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "firth.serve needs fastapi: pip install fastapi\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        firth.serve.nothing  # noqa: B018


def test_the_first_of_each_kind(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from firth.cli.common import installed_by_kind
    from firth.transformer import where
    from firth.transformer.where import Found

    found = [
        Found("a", str(folder / "embed"), "bert", "package"),
        Found("b", str(folder / "rerank"), "bert", "cache"),
        Found("c", str(folder), "t5", "cache"),
        Found("d", str(folder / "chat.gguf"), "GGUF", "package"),
        Found("e", str(folder), "llama", "package"),
    ]
    monkeypatch.setattr(where, "installed", lambda: iter(found))
    assert installed_by_kind() == {"embed": ["a"], "rerank": ["b"], "chat": ["d"]}
    monkeypatch.setattr(where, "installed", lambda: iter(()))
    assert main(["serve", "--port", "0"]) == 2


def test_a_server_of_chats_loads_nothing_for_vectors_and_documents(folder: Path) -> None:
    loaded = printed(
        "import sys, firth.serve\n"
        "firth.serve.create_app(chat=sys.argv[1])\n"
        "print([name for name in ('firth.encoders', 'firth.rag') if name in sys.modules])",
        str(folder / "chat.gguf"),
    )
    assert loaded.strip() == "[]"
