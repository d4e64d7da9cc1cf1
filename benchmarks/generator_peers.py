"""Generators as the benchmarks of `bench_generators` see them: firth's and its peers'.

Each has `run(prompts, new)`, which gives seconds: of the prompts, and of `new` tokens of each
behind its first, greedy and without guesses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import firth
from firth.generators.decoding import Decoder
from harness import THREADS, Timing

HERE = Path(__file__).resolve().parent
Seconds = tuple[float, float]


class Ours:
    """firth's model; `options` are those of `from_pretrained`."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.model = firth.CausalLM.from_pretrained(path, **options)
        self._decoder = Decoder(self.model._stack)

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        def greedy(row: Any) -> tuple[int, str | None]:
            return int(row.argmax()), None

        start = time.perf_counter()
        texts = [
            self._decoder.start(ids, greedy, new + 1, guesses=False, reuse=False) for ids in prompts
        ]
        while any(len(text.ids) == text.prompt for text in texts):
            self._decoder.step(texts)
        middle = time.perf_counter()
        for _ in range(new):
            self._decoder.step(texts)
        return middle - start, time.perf_counter() - middle


class OursElsewhere:
    """firth's model in a process of its own, with other variables of the environment."""

    def __init__(self, path: Path, **environment: str) -> None:
        self._path, self._environment = path, environment

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        return alone(
            f"ours = Ours(Path({str(self._path)!r}))\n"
            f"ours.run({prompts}, 1)\n"
            f"print(json.dumps(ours.run({prompts}, {new})))",
            self._environment,
        )


def alone(code: str, environment: dict[str, str] | None = None) -> Any:
    """The last line that a program which knows this module prints, read as JSON."""
    begin = "import json\nfrom pathlib import Path\nfrom generator_peers import *\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + code], check=True, stdout=subprocess.PIPE, text=True,
        cwd=HERE, env=os.environ | (environment or {}),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


class Llama:
    """llama.cpp by the functions of llama-cpp-python, which have several texts in a batch."""

    TOGETHER, CHUNK = 8, 512

    def __init__(self, path: Path, context: int = 1024, together: int = TOGETHER) -> None:
        import llama_cpp

        self._package = llama_cpp
        self._llama = llama_cpp.Llama(
            str(path), n_ctx=64, n_threads=THREADS, n_threads_batch=THREADS, verbose=False
        )
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_seq_max = context * together, together
        options.n_batch = options.n_ubatch = self.CHUNK
        options.n_threads = options.n_threads_batch = THREADS
        self._context = llama_cpp.llama_init_from_model(self._llama.model, options)
        assert self._context
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(self.CHUNK, 0, 1)

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> list[int]:
        """The best tokens behind those (id, position, text, whether it is asked for) that are."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, text, asked) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, asked
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, text
        assert self._package.llama_decode(self._context, batch) == 0
        words = self._package.llama_vocab_n_tokens(
            self._package.llama_model_get_vocab(self._llama.model)
        )
        return [
            int(np.argmax(np.ctypeslib.as_array(
                self._package.llama_get_logits_ith(self._context, i), (words,)
            )))
            for i, (*_, asked) in enumerate(tokens) if asked
        ]  # fmt: skip

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        self._package.llama_memory_clear(self._memory, True)
        start, last = time.perf_counter(), []
        for text, ids in enumerate(prompts):
            whole = [(token, i, text, i + 1 == len(ids)) for i, token in enumerate(ids)]
            for i in range(0, len(whole), self.CHUNK):
                last += self._decode(whole[i : i + self.CHUNK])
        middle = time.perf_counter()
        for step in range(new):
            last = self._decode(
                [(token, len(prompts[text]) + step, text, True) for text, token in enumerate(last)]
            )
        return middle - start, time.perf_counter() - middle


class LlamaBench:
    """llama-bench, the tool of llama.cpp, of a build that has no Python; each time a process."""

    def __init__(self, tool: str, path: Path) -> None:
        self._tool, self._path = tool, path

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        (ids,) = prompts
        return self._seconds("-p", len(ids), "-n", 0), new and self._seconds("-p", 0, "-n", new)

    def _seconds(self, *what: str | int) -> float:
        options = ["-m", self._path, "-t", THREADS, "-r", 1, "-o", "json", *what]
        done = subprocess.run(
            [self._tool, *map(str, options)], check=True, capture_output=True, text=True
        )
        (found,) = json.loads(done.stdout)
        return float(found["avg_ns"]) / 1e9


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

    def _write(self, prompts: list[list[int]], new: int) -> float:
        import openvino

        config = self._package.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new
        config.ignore_eos, config.do_sample = True, False
        ids = np.array(prompts, np.int64)
        inputs = self._package.TokenizedInputs(
            openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))
        )
        start = time.perf_counter()
        self._pipe.generate(inputs, config)
        return time.perf_counter() - start

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        first = self._write(prompts, 1)
        return first, new and self._write(prompts, new + 1) - first


class OnnxGenAI:
    """ONNX Runtime GenAI, from a folder of float32 that its builder cuts to 4 bits."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime_genai

        self._package, out = onnxruntime_genai, folder / "int4"
        subprocess.run(
            [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", folder, "-i", folder,
             "-o", out, "-p", "int4", "-e", "cpu", "--extra_options", "int4_accuracy_level=4",
             "hf_token=false"],
            check=True, capture_output=True,
        )  # fmt: skip
        config = onnxruntime_genai.Config(str(out))
        threads = {"intra_op_num_threads": THREADS, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self._model = onnxruntime_genai.Model(config)

    def _started(self, ids: list[int], new: int) -> Any:
        options = self._package.GeneratorParams(self._model)
        most = len(ids) + new + 1
        options.set_search_options(do_sample=False, max_length=most, min_length=most)
        generator = self._package.Generator(self._model, options)
        generator.append_tokens(np.array([ids], np.int32))
        return generator

    def logits(self, ids: list[int]) -> Any:
        return self._started(ids, 1).get_output("logits")[0].astype(np.float32)

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        (ids,) = prompts
        start = time.perf_counter()
        generator = self._started(ids, new)
        generator.generate_next_token()  # chosen by the scores that are there
        middle = time.perf_counter()
        for _ in range(new):
            generator.generate_next_token()
        return middle - start, time.perf_counter() - middle


class Transformers:
    """transformers in bfloat16."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        torch.set_num_threads(THREADS)
        self._torch = torch
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16
        ).eval()

    def run(self, prompts: list[list[int]], new: int) -> Seconds:
        with self._torch.inference_mode():
            start = time.perf_counter()
            ids, past = self._torch.tensor(prompts), None
            for step in range(new + 1):
                found = self._model(ids, past_key_values=past, use_cache=True, logits_to_keep=1)
                ids, past = found.logits[:, -1].argmax(-1, keepdim=True), found.past_key_values
                if step == 0:
                    middle = time.perf_counter()
        return middle - start, time.perf_counter() - middle


def in_turn(subjects: dict[str, Callable[[], float]], repeats: int) -> dict[str, Timing]:
    """As `harness.interleave`, for subjects that give their own seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        subject()
    for _ in range(repeats):
        for name, subject in subjects.items():
            time.sleep(0.2)
            seconds[name].append(subject())
    return {name: Timing(values) for name, values in seconds.items()}
