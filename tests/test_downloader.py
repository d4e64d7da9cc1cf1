"""Downloads from a local server that simulates faults of servers and connections."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firth import downloader

NAME = "glove-twitter-25"
FILE = f"{NAME}.gz"


class Server(http.server.ThreadingHTTPServer):
    """Serves `data`; `script` lists the faults, one word per request."""

    daemon_threads = True
    data = b""
    script: list[str]
    ranges: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        data, wanted = self.server.data, self.headers.get("Range")
        self.server.ranges.append(wanted)
        trouble = self.server.script.pop(0) if self.server.script else ""
        assert self.path == f"/mirror/{NAME}/{FILE}"
        if trouble.startswith("http"):
            self.send_response(302)
            self.send_header("Location", trouble)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if trouble.isdigit():
            self.send_error(int(trouble))
            return
        start = 0
        if wanted and "no ranges" not in trouble:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = data[start:]
        if trouble == "corrupt":
            body = bytes(byte ^ 1 for byte in body)
        if trouble == "too much":
            body += bytes(10 << 20)
        self.send_response(206 if start or (wanted and "no ranges" not in trouble) else 200)
        if start:
            at = start + 1 if trouble == "other range" else start
            size = 9 if trouble == "other size" else len(data)
            self.send_header("Content-Range", f"bytes {at}-{len(data) - 1}/{size}")
        if trouble == "no length":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            length = len(body) + (1000 if trouble == "wrong length" else 0)
            if trouble.startswith("length "):
                length = trouble.removeprefix("length ")
                self.close_connection = True
            self.send_header("Content-Length", str(length))
        self.end_headers()
        half = len(body) // 2
        if trouble in ("break", "no ranges break", "hang", "wrong length", "empty", "crumb"):
            some = {"empty": 0, "crumb": 1}.get(trouble, half)
            sent = body if trouble == "wrong length" else body[:some]
            self.wfile.write(sent)
            self.wfile.flush()
            if trouble == "hang":
                self.server.hung.wait(5)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    serving = Server(("127.0.0.1", 0), Handler)
    lines = [f"word{i} {i}.5 {-i} 0.25" for i in range(20_000)]
    serving.data = gzip.compress(("20000 3\n" + "\n".join(lines) + "\n").encode(), mtime=0)
    serving.script, serving.ranges = [], []
    serving.hung = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    entry = dict(downloader._CATALOGUE[NAME])
    entry.update(file_size=len(serving.data), checksum=hashlib.md5(serving.data).hexdigest())
    monkeypatch.setitem(downloader._CATALOGUE, NAME, entry)
    monkeypatch.setattr(downloader, "BASE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(downloader, "_GENSIM_DIR", str(tmp_path / "gensim-data"))
    monkeypatch.setattr(downloader, "_PAUSE", 0.001)
    monkeypatch.setattr(downloader, "_TIMEOUT", 0.3)
    monkeypatch.setenv("FIRTH_DOWNLOAD_URL", f"http://127.0.0.1:{serving.server_port}/mirror/")
    yield serving
    serving.hung.set()  # type: ignore[attr-defined]
    serving.shutdown()
    serving.server_close()
    thread.join()


def folder(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "cache" / NAME))


def test_load(server: Server, tmp_path: Path) -> None:
    vectors = downloader.load(NAME)
    assert len(vectors) == 20_000
    assert vectors["word7"].tolist() == [7.5, -7, 0.25]
    path = downloader.load(NAME, return_path=True)
    assert path == str(tmp_path / "cache" / NAME / FILE)
    assert folder(tmp_path) == [FILE]
    assert server.ranges == [None]  # the second call needs no server


@pytest.mark.parametrize(
    "script",
    [
        ["break"],
        ["break", "break", "break", "break", "break", "break", "break"],
        ["hang"],
        ["empty"] * 4,
        ["503", "429", "break", "500"],
        ["break", "no ranges"],
        ["break", "other range"],
        ["wrong length"],
        ["no length"],
        ["break", "no length"],
        ["too much"],
        ["break", "corrupt"],
        ["no ranges"],
        ["corrupt"],
        ["length \xb2"],
        ["length -5"],
        ["length five"],
        ["length " + "9" * 5000],
    ],
)
def test_troubles_that_pass(server: Server, tmp_path: Path, script: list[str]) -> None:
    server.script = list(script)
    path = downloader.load(NAME, return_path=True)
    assert isinstance(path, str)
    assert Path(path).read_bytes() == server.data
    assert folder(tmp_path) == [FILE]
    if "break" in script and script[-1] == "break":
        half = len(server.data) // 2
        assert server.ranges[:2] == [None, f"bytes={half}-"]  # what has arrived is not sent again


def test_troubles_that_stay(server: Server, tmp_path: Path) -> None:
    server.script = ["404"]
    with pytest.raises(OSError, match="404 Not Found"):
        downloader.load(NAME)
    server.script = ["corrupt", "corrupt"]
    with pytest.raises(OSError, match="does not match its checksum; removed"):
        downloader.load(NAME)
    assert folder(tmp_path) == []
    server.script = ["break"] + ["empty"] * 5
    with pytest.raises(OSError, match=r"gave up after 5 attempts.*the next call goes on"):
        downloader.load(NAME)
    assert folder(tmp_path) == [f"{FILE}.part"]
    server.ranges.clear()
    assert len(downloader.load(NAME)) == 20_000
    assert server.ranges == [f"bytes={len(server.data) // 2}-"]


@pytest.mark.parametrize(
    "script",
    [
        ["break", "other range"] * 50,
        ["crumb"] * 50,
        ["break", *["other size"] * 50],
        ["break", "no ranges break"] * 50,
        ["too much"] * 50,
        ["http://[bad/"],
        ["http://\xe4\xf6:x/"],
        ["http://127.0.0.1:99999/"],
        ["https://a..b/"],
        ["http:///nowhere"],
    ],
)
def test_it_gives_up(server: Server, monkeypatch: pytest.MonkeyPatch, script: list[str]) -> None:
    server.script = script if len(script) > 1 else script * 50
    with pytest.raises(OSError, match=NAME):
        downloader.load(NAME)
    assert len(server.ranges) < 20
    monkeypatch.setenv("FIRTH_DOWNLOAD_URL", "nonsense")
    with pytest.raises(OSError, match="unknown url type"):
        downloader.load(NAME)


@pytest.mark.parametrize("rest", ["whole", "longer", "other"])
def test_what_an_earlier_call_left(server: Server, tmp_path: Path, rest: str) -> None:
    left = {"whole": server.data, "longer": server.data + b"x" * 99, "other": b"x" * 5000}[rest]
    part = tmp_path / "cache" / NAME / f"{FILE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert len(downloader.load(NAME)) == 20_000
    assert folder(tmp_path) == [FILE]


def test_no_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRTH_DOWNLOAD_URL", "http://127.0.0.1:9/")
    with pytest.raises(OSError, match="gave up after 5 attempts"):
        downloader.load(NAME)


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    server.script = ["break"]
    threads = [threading.Thread(target=downloader.load, args=(NAME, True)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder(tmp_path) == [FILE]
    assert len(server.ranges) == 2


def test_files_of_gensim_are_used(server: Server, tmp_path: Path) -> None:
    theirs = tmp_path / "gensim-data" / NAME / FILE
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(server.data)
    assert downloader.load(NAME, return_path=True) == str(theirs)
    assert server.ranges == []


def test_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = downloader.shutil.disk_usage("/")
    monkeypatch.setattr(downloader.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(OSError, match="0 MB free"):
        downloader.load(NAME)


def test_info() -> None:
    everything = downloader.info()
    assert set(everything) == {"corpora", "models"}
    assert downloader.info(name_only=True)["models"] == list(everything["models"])
    one = downloader.info("word2vec-google-news-300")
    assert one["num_records"] == 3_000_000
    assert one["parameters"] == {"dimension": 300}
    assert one["file_name"] == "word2vec-google-news-300.gz"
    one["checksum"] = "changed"
    assert downloader.info("word2vec-google-news-300")["checksum"] != "changed"
    for entry in everything["models"].values():
        assert len(bytes.fromhex(entry["checksum"])) == 16
    for function in (downloader.info, downloader.load):
        with pytest.raises(ValueError, match=f"no model 'nonsense'; the models are .*{NAME}"):
            function("nonsense")
        with pytest.raises(ValueError, match=f"'text8' is a corpus, .* not offered; .*{NAME}"):
            function("text8")
