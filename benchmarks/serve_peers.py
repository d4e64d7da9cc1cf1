"""Servers as the benchmark of `bench_serve` sees them, firth's and its peers', and their clients.

A server is a process of its own. Clients are tasks of one event loop of this process, with httpx;
they keep the bytes of a stream with their times and read them when all have ended, so that they
take little from the servers. All get the same requests: greedy, and tokens that would end a text
are made improbable, so that each has as many as are asked for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench_encoders import minilm
from harness import THREADS

HERE = Path(__file__).resolve().parent
CLIENTS = 8
WAIT = 120.0  # seconds at most for anything that a server does
READY = "/v1/models"


class Server:
    """A process that listens on a free port; use it in a `with` block, at whose end it is killed.

    Parameters
    ----------
    command : sequence of str
        The program and its options but ``--port``.

    Attributes
    ----------
    url : str
        Where it listens.
    seconds : float
        From its start until it answered.
    """

    def __init__(self, command: Sequence[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},  # compiled once, as pip leaves it
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self._wait(port, start + WAIT)
        except BaseException:
            self.__exit__()
            raise
        self.seconds = time.perf_counter() - start

    def _wait(self, port: int, end: float) -> None:
        """Until it answers; looking costs less than a thousandth of a core."""
        listens = False
        while self._process.poll() is None and time.perf_counter() < end:
            with socket.socket() as connection:
                listens = listens or connection.connect_ex(("127.0.0.1", port)) == 0
            if listens and get(self.url + READY) == 200:
                return
            time.sleep(0.005)
        raise RuntimeError(f"no answer from {' '.join(map(str, self._process.args))}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(WAIT)

    @property
    def peak(self) -> float:
        """Its largest memory until now, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def get(url: str) -> int:
    """The status of an answer; 0 where there is none."""
    try:
        return httpx.get(url, timeout=WAIT, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def firth_server(*options: str | Path) -> Server:
    """``firth serve``."""
    return Server([sys.executable, "-m", "firth", "serve", *map(str, options)])


def llama_python(path: Path) -> Server:
    """The server of llama-cpp-python.

    Its defaults are half of the cores, logits of all tokens, and that a request interrupts the one
    before.
    """
    options = {
        "model": path, "n_threads": THREADS, "n_threads_batch": THREADS, "logits_all": False,
        "interrupt_requests": False, "verbose": False, "host": "127.0.0.1",
    }  # fmt: skip
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Server([sys.executable, "-m", "llama_cpp.server", *given])


def llama_server() -> str | None:
    """The program llama-server of llama.cpp: of FIRTH_LLAMA_SERVER, or where programs are."""
    return os.environ.get("FIRTH_LLAMA_SERVER") or shutil.which("llama-server")


def llama_cpp(program: str, path: Path) -> Server:
    """llama-server with a place for each client."""
    options = {
        "-m": path, "-t": THREADS, "-tb": THREADS, "-np": CLIENTS, "-c": CLIENTS * 2048,
        "--host": "127.0.0.1",
    }  # fmt: skip
    return Server([program, *(str(part) for pair in options.items() for part in pair)])


def fastapi() -> Server:
    """sentence-transformers behind FastAPI: `embeddings`."""
    app = ["serve_peers:embeddings", "--factory", "--app-dir", str(HERE)]
    return Server([sys.executable, "-m", "uvicorn", *app])


def embeddings() -> Any:
    """The application that a page of documentation would write: MiniLM in its fastest type."""
    import torch
    from fastapi import FastAPI
    from sentence_transformers import SentenceTransformer

    import firth

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(minilm()), device="cpu")
    if firth.SentenceTransformer(minilm()).compute_type == "bfloat16":
        model = model.to(torch.bfloat16)
    app = FastAPI()

    @app.get(READY)
    def models() -> dict[str, Any]:
        return {"data": [{"id": "minilm"}]}

    @app.post("/v1/embeddings")
    def embed(body: dict[str, Any]) -> dict[str, Any]:
        rows = model.encode(body["input"], batch_size=32, convert_to_tensor=True)
        vectors = rows.float().numpy()
        data = [
            {"index": i, "embedding": base64.b64encode(row.tobytes()).decode()}
            for i, row in enumerate(vectors)
        ]
        return {"data": data, "model": "minilm"}

    return app


# Clients


@dataclass(frozen=True)
class Load:
    """What clients have seen.

    Attributes
    ----------
    first : list of float
        Seconds until each one's first text came.
    seconds : float
        Until the last answer was whole.
    clients : float
        Share of one core that the clients took.
    """

    first: list[float]
    seconds: float
    clients: float


def chats(url: str, questions: Sequence[str], new: int, ends: Sequence[int]) -> Load:
    """Ask all questions at once, each by a client of its own that streams ``new`` tokens."""

    async def ask(client: httpx.AsyncClient, question: str) -> list[tuple[float, bytes]]:
        body = {
            "messages": [{"role": "user", "content": question}],
            "max_tokens": new, "temperature": 0, "stream": True,
            "logit_bias": {str(i): -100 for i in ends},
        }  # fmt: skip
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            return [(time.perf_counter(), part) async for part in response.aiter_raw()]

    def tasks(client: httpx.AsyncClient) -> list[Coroutine[Any, Any, list[tuple[float, bytes]]]]:
        return [ask(client, question) for question in questions]

    found, start, seconds, share = _gathered(url, tasks)
    return Load([_first(parts) - start for parts in found], seconds, share)


def _gathered(
    url: str, tasks: Callable[[httpx.AsyncClient], Sequence[Coroutine[Any, Any, Any]]]
) -> tuple[list[Any], float, float, float]:
    """What tasks return, when they began, their seconds, and the share of a core they took."""

    async def run() -> tuple[list[Any], float, float, float]:
        async with httpx.AsyncClient(base_url=url, timeout=WAIT, trust_env=False) as client:
            await client.get(READY)
            start, cpu = time.perf_counter(), time.process_time()
            found = await asyncio.gather(*tasks(client))
            seconds = time.perf_counter() - start
            return found, start, seconds, (time.process_time() - cpu) / seconds

    return asyncio.run(run())


def _first(parts: Sequence[tuple[float, bytes]]) -> float:
    """When the first text of a stream came; it must have ended by its length."""
    first, finish, rest = None, None, b""
    for at, part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                choice = json.loads(line[6:])["choices"][0]
                finish = choice["finish_reason"] or finish
                if first is None and choice["delta"].get("content"):
                    first = at
    assert first is not None
    assert finish == "length", finish
    return first


def embedded(url: str, texts: Sequence[str], batch: int) -> tuple[Any, float]:
    """Vectors (N, D) in batches, one after the other, as openai's client asks; and the share."""

    async def ask(client: httpx.AsyncClient) -> list[bytes]:
        answers = []
        for i in range(0, len(texts), batch):
            body = {"input": texts[i : i + batch], "model": "minilm", "encoding_format": "base64"}
            response = await client.post("/v1/embeddings", json=body)
            response.raise_for_status()
            answers.append(response.content)
        return answers

    (answers,), _, _, share = _gathered(url, lambda client: [ask(client)])
    rows = [
        np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
        for answer in answers for row in json.loads(answer)["data"]
    ]  # fmt: skip
    return np.stack(rows), share


class Vino:
    """Continuous batching of OpenVINO GenAI, called in this process, without text and a server."""

    def __init__(self, path: Path) -> None:
        import openvino_genai

        self._package = openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 1
        scheduler.enable_prefix_caching = True  # as servers have it
        self._pipe = openvino_genai.ContinuousBatchingPipeline(
            str(path), scheduler, "CPU", {"INFERENCE_NUM_THREADS": THREADS}
        )

    def chats(self, prompts: Sequence[list[int]], new: int) -> Load:
        """Continue prompts of tokens, all at once."""
        import openvino

        config = self._package.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new
        config.ignore_eos, config.do_sample = True, False
        first: dict[int, float] = {}
        count = 0
        start = time.perf_counter()
        handles = [
            self._pipe.add_request(i, openvino.Tensor(np.array([ids], np.int64)), config)
            for i, ids in enumerate(prompts)
        ]
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
            for i, handle in enumerate(handles):
                while handle.can_read():
                    count += sum(len(one.generated_ids) for one in handle.read().values())
                    first.setdefault(i, time.perf_counter() - start)
        seconds = time.perf_counter() - start
        assert count == new * len(prompts), count
        return Load(list(first.values()), seconds, 0.0)
