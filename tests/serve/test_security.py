"""Whom the server answers, and how much it takes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from firth import CausalLM
from firth.serve import create_app, security, server
from firth.serve.security import check_address
from serving import HTTP, running

KEY = "a-key-\u00e9"
ASKED = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def locked(chat_model: CausalLM) -> Iterator[str]:
    app = create_app(chat=chat_model, api_key=KEY, hosts=["firth.example"])
    with running(app) as url:
        yield url


def test_keys(locked: str) -> None:
    address = f"{locked}/v1/chat/completions"
    for headers in (
        {}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"x-api-key": "wrong"},
        {"authorization": f"Basic {KEY}"}, {"authorization": f"Bearer {KEY}x"},
    ):  # fmt: skip
        raw = {name: value.encode() for name, value in headers.items()}
        found = HTTP.post(address, json=ASKED, headers=raw)
        assert found.status_code == 401
        assert found.headers["www-authenticate"] == "Bearer"
        assert found.json()["error"]["code"] == "invalid_api_key"
    for name, value in (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY)):
        found = HTTP.post(address, json=ASKED, headers={name: value.encode()})
        assert found.status_code == 200
    for path in ("/metrics", "/v1/models", "/openapi.json", "/nowhere", "/v1/tokenize"):
        assert HTTP.get(f"{locked}{path}").status_code == 401
    for path in ("/", "/health", "/v1/health"):
        assert HTTP.get(f"{locked}{path}").status_code == 200


def test_keys_are_compared_in_constant_time(locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    digest = security.hmac.compare_digest
    monkeypatch.setattr(
        security.hmac, "compare_digest", lambda a, b: compared.append(a) or digest(a, b)
    )
    HTTP.get(f"{locked}/metrics", headers={"x-api-key": "wrong"})
    assert compared == [b"wrong"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.com", ""])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ValueError, match="API key"):
        check_address(host, None)
    with pytest.raises(ValueError, match="API key"):
        check_address(host, "")
    check_address(host, "key")


def test_this_machine_needs_none() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        check_address(host, None)


def test_names_of_hosts(locked: str) -> None:
    port = locked.rpartition(":")[2]
    own = socket.gethostname()
    for host in (
        "localhost", f"localhost:{port}", "LOCALHOST", "127.0.0.1", "[::1]:80", "10.0.0.7",
        "firth.example", "firth.example.", own,
    ):  # fmt: skip
        assert HTTP.get(f"{locked}/health", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a:b:c"):
        found = HTTP.get(f"{locked}/health", headers={"host": host})
        assert found.status_code == 403, host
        assert found.json()["error"]["type"] == "permission_error"


def test_pages_of_other_sites(locked: str) -> None:
    host = locked.removeprefix("http://")
    sent = {"authorization": f"Bearer {KEY}".encode(), "content-type": "text/plain"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://{host}.evil"):
        for method in ("POST", "OPTIONS", "GET"):
            found = HTTP.request(method, f"{locked}/v1/models", headers={**sent, "origin": origin})
            assert found.status_code == 403
            assert not [name for name in found.headers if name.startswith("access-control")]
    found = HTTP.get(f"{locked}/v1/models", headers={**sent, "origin": locked})
    assert found.status_code == 200


def test_a_preflight_of_the_own_page(locked: str) -> None:
    wanted = "Authorization, content-type, X-Stainless-OS, x-evil"
    found = HTTP.options(f"{locked}/v1/chat/completions", headers={
        "origin": locked, "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    })  # fmt: skip
    assert found.status_code == 204
    assert found.headers["access-control-allow-origin"] == locked
    allowed = found.headers["access-control-allow-headers"]
    assert allowed == "authorization, content-type, x-stainless-os"
    assert "POST" in found.headers["access-control-allow-methods"]


def test_headers_of_answers(locked: str) -> None:
    for path in ("/", "/health", "/nowhere"):
        found = HTTP.get(f"{locked}{path}")
        assert found.headers["x-content-type-options"] == "nosniff"
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in found.headers


def test_long_bodies(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_BYTES", 10_000)
    address, long = f"{url}/v1/tokenize", b'{"content": "' + b"a" * 10_000 + b'"}'
    sent = {"content-type": "application/json"}
    assert HTTP.post(address, content=long, headers=sent).status_code == 413

    def parts() -> Iterator[bytes]:  # without a length
        for i in range(0, len(long), 1000):
            yield long[i : i + 1000]

    found = HTTP.post(address, content=parts(), headers=sent)
    assert found.status_code == 413
    assert found.json()["error"]["code"] == "request_too_large"
    assert HTTP.post(address, json={"content": "a" * 9000}).status_code == 200


def raw(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_refusals_have_the_form_of_their_routes(
    locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama's client reads another one than OpenAI's."""
    monkeypatch.setattr(security, "BODY_BYTES", 100)
    key = {"x-api-key": KEY.encode()}
    for method, path, headers, status in (
        ("POST", "chat", {}, 401), ("GET", "tags", {"host": b"evil.example"}, 403),
        ("GET", "tags", {"origin": b"http://evil.example", **key}, 403), ("PUT", "chat", key, 413),
        ("POST", "pull", key, 404), ("GET", "chat", key, 405), ("POST", "chat", key, 400),
    ):  # fmt: skip
        body = b"a" * (101 if status == 413 else 10)
        told = [
            HTTP.request(method, f"{locked}/{root}/{path}", headers=headers, content=body)
            for root in ("api", "v1")
        ]
        assert told[0].status_code == status
        assert isinstance(told[0].json()["error"], str)
        assert told[1].json()["error"]["type"]
        assert told[0].headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_slow_bodies(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_SECONDS", 0.2)
    with raw(url) as connection:
        connection.sendall(
            b"POST /v1/tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
            b"content-type: application/json\r\n\r\n{"
        )
        assert b" 408 " in connection.recv(1000)


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nhost:"])
def test_slow_heads(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with running(create_app(chat=chat_model)) as url:
        start = time.monotonic()
        with raw(url) as connection:
            connection.sendall(begun)
            assert connection.recv(100) == b""
        assert 0.1 < time.monotonic() - start < 5
        with raw(url) as connection:  # also of the second request of a connection
            for _ in range(2):
                connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(1000)
                assert b" 200 " in answer
                time.sleep(0.4)  # idle is no head
            connection.sendall(b"GET /hea")
            assert connection.recv(1000) == b""


def test_too_many_connections(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    with running(create_app(chat=chat_model)) as url:
        held = [raw(url) for _ in range(4)]
        time.sleep(0.1)
        assert HTTP.get(f"{url}/health").status_code == 503
        for connection in held:
            connection.close()
        time.sleep(0.1)
        assert HTTP.get(f"{url}/health").status_code == 200


def test_names_of_models_are_no_paths(url: str, folder: Any) -> None:
    for name in (str(folder / "chat.gguf"), "../chat.gguf", "/etc/passwd", "a" * 300):
        found = HTTP.post(f"{url}/v1/chat/completions", json={**ASKED, "model": name})
        assert found.json()["model"] == "small"
        found = HTTP.get(f"{url}/v1/models/{name}")
        assert "root" not in found.text
    ids = [one["id"] for one in HTTP.get(f"{url}/v1/models").json()["data"]]
    assert not [one for one in ids if str(folder) in one]
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/../../etc/passwd"):
        assert HTTP.get(f"{url}{path}").status_code == 404


def test_prompts_are_not_logged(url: str, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    secret = "nobody may read this"
    for more in ({}, {"temperature": 9}, {"stop": [secret], "stream": True}):
        asked = [{"role": "user", "content": secret}]
        HTTP.post(f"{url}/v1/chat/completions", json={"messages": asked, "max_tokens": 2, **more})
    HTTP.post(f"{url}/v1/embeddings", json={"input": secret})
    assert secret not in caplog.text
    assert secret not in "".join(capfd.readouterr())
