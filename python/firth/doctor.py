"""What ``firth doctor`` finds: what runs, what is not installed, whether all computes right.

`examine` is the whole story. `KERNELS` has a small call of each kernel of `firth.kernels`, which a
test compares with what is there; `EXTRAS` the packages of each extra of pyproject.toml and what
needs them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import operator
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import kernels, system

_COMPARED = 1e-4  # of the largest number of an answer: far above rounding, far below a lost element

# Extra -> package -> (the module that it brings, what needs it).
EXTRAS: dict[str, dict[str, tuple[str, str]]] = {
    "numba": {"numba": ("numba", "FIRTH_BACKEND=numba")},
    "words": {
        "ml_dtypes": ("ml_dtypes", "files of safetensors in bfloat16"),
        "tokenizers": ("tokenizers", "firth embed and tokenize with other pieces than WordPiece"),
        "zstandard": ("zstandard", "firth train and convert with files in .zst"),
    },
    "models": {
        "huggingface_hub": ("huggingface_hub", "a model by its name on the Hugging Face hub"),
        "jinja2": ("jinja2", "firth chat, firth ask, firth serve"),
        "llguidance": ("llguidance", "firth generate --json-schema, --regex, --choices, --grammar"),
        "ml_dtypes": ("ml_dtypes", "files of safetensors in bfloat16"),
        "tokenizers": ("tokenizers", "firth generate, chat, ask, perplexity, serve"),
    },
    "plot": {"matplotlib": ("matplotlib", "firth plot, firth demo")},
    "agents": {
        "mcp": ("mcp", "firth mcp"),
        "openai": ("openai", "firth.Agent with the URL of a server"),
        "pydantic": ("pydantic", "firth.tool, firth serve"),
    },
    "rag": {
        "pypdf": ("pypdf", "firth index of PDF"),
        "python-docx": ("docx", "firth index of Word"),
        "python-pptx": ("pptx", "firth index of PowerPoint"),
        "openpyxl": ("openpyxl", "firth index of Excel"),
    },
    "serve": {
        "fastapi": ("fastapi", "firth serve"),
        "pydantic": ("pydantic", "firth serve"),
        "uvicorn": ("uvicorn", "firth serve"),
    },
    "distributed": {"ray": ("ray", "firth train, embed, index build, serve with --ray")},
}


@dataclass(frozen=True)
class Examination:
    """What `examine` returns."""

    info: system.Info
    os: str
    cpu: str
    cores: int
    """Processors that the system has, of which ``info.threads`` are used."""
    numba: str | None
    """Its version, or None."""
    missing: dict[str, dict[str, str]]
    """Of each extra the packages that are not installed, and what needs them."""
    passed: list[str]
    failed: dict[str, str]
    """What the self-test found wrong, by the name of a kernel, or "search" or "training"."""
    seconds: float
    """Of the self-test."""


def examine() -> Examination:
    """Look at everything and run the self-test, which takes less than a second."""
    info = system.info()
    numba = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        numba = metadata.version("numba")
    missing = {
        extra: {
            package: needed_by
            for package, (module, needed_by) in packages.items()
            if importlib.util.find_spec(module) is None
        }
        for extra, packages in EXTRAS.items()
    }
    start = time.perf_counter()
    checks: dict[str, Callable[[], str | None]] = {
        name: functools.partial(fault_of, name) for name in KERNELS
    }
    passed, failed = [], {}
    for name, check in (checks | {"search": _search, "training": _training}).items():
        try:
            fault = check()
        except Exception as error:  # whatever goes wrong is what is looked for
            fault = f"{type(error).__name__}: {error}"
        if fault is None:
            passed.append(name)
        else:
            failed[name] = fault
    return Examination(
        info=info, os=platform.platform(), cpu=_cpu(), cores=os.cpu_count() or 1, numba=numba,
        missing=missing, passed=passed, failed=failed, seconds=time.perf_counter() - start,
    )  # fmt: skip


def _cpu() -> str:
    """The processor's name for itself; Python knows one on some systems only."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# The kernels: native code against the NumPy reference of the same page

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _normal(*shape: int) -> NDArray[np.float32]:
    """The same numbers at each call, but others for each shape."""
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def _some(count: int, *shape: int) -> NDArray[np.int64]:
    return np.random.default_rng(shape).integers(count, size=shape)


def _of(*shapes: tuple[int, ...], **options: Any) -> Callable[[], Arguments]:
    return lambda: (tuple(_normal(*shape) for shape in shapes), options)


def _windows(width: int) -> Callable[[], Arguments]:
    """Two matrices, and 6 words with `width` context words and 4 negatives each, or with 1."""

    def make() -> Arguments:
        contexts = _some(20, 6, width) if width > 1 else _some(20, 6)
        return (_normal(20, 37), _normal(21, 37), _some(20, 6), contexts, _some(20, 6, 4), 0.1), {}

    return make


def _tree() -> Arguments:
    points = np.array([np.random.default_rng(row).permutation(19)[:5] for row in range(6)])
    return (_normal(20, 37), _normal(19, 37), points, _some(2, 6, 5), _some(20, 6, 3), 0.1), {}


def _pairs() -> Arguments:
    state = [np.ones((20, 2, 38), np.float32) for _ in range(2)]
    for rows, values in zip(state, (_normal(20, 38), _normal(21, 38)), strict=True):
        rows[:, 0] = values[:20] / 38
    weights = np.abs(_normal(6))
    return (*state, _some(20, 6), _some(19, 6), _normal(7)[:6], weights, 0.05), {}


_REACHED = _normal(3, 37), _normal(70, 37)


def _reached() -> Arguments:
    """Scores that each query's nearest row has, less a little: this row must pass."""
    best = kernels.cosine_scores.reference(*_REACHED).max(axis=1) - np.float32(1e-4)
    return (_REACHED[0], kernels.byte_codes.reference(_REACHED[1]), best), {}


# Lengths that end inside a vector of every level.
KERNELS: dict[str, Callable[[], Arguments]] = {
    "dot": _of((5, 37), (37,)),
    "softmax": _of((5, 37)),
    "softmax.backward": _of((5, 37), (5, 37)),
    "log_softmax": _of((5, 37)),
    "log_softmax.backward": _of((5, 37), (5, 37)),
    "layer_norm": _of((5, 37), (37,)),
    "rms_norm": _of((5, 37), (37,)),
    "gated": _of((5, 37), (5, 37)),
    "rotary": lambda: ((_normal(5, 3, 36), np.arange(5)), {}),
    "matmul": _of((13, 37), (37, 21), activation="gelu"),
    "quantize_rows": _of((5, 37)),
    "quantize_weights": _of((5, 37)),
    "to_bfloat16": _of((5, 37)),
    "scaled_dot_product_attention": _of((2, 9, 37), (2, 11, 37), (2, 11, 37)),
    "row_norms": _of((5, 37)),
    "cosine_scores": _of((3, 37), (70, 37)),
    "cosine_topk": _of((3, 37), (70, 37), k=4),
    "byte_codes": _of((70, 37)),
    "may_reach": _reached,
    "embedding_bag": lambda: ((_some(20, 12), _normal(20, 37), np.arange(0, 13, 4)), {}),
    "skipgram_negative_sampling": _windows(1),
    "cbow_negative_sampling": _windows(3),
    "hierarchical_softmax": _tree,
    "glove_adagrad": _pairs,
}


def fault_of(name: str) -> str | None:
    """What native code computes otherwise than the reference, or None; updated arguments too."""
    function = operator.attrgetter(name)(kernels)
    answers = []
    for run in (function.native, function.reference):
        arguments, options = KERNELS[name]()
        answers.append([*_numbers(run(*arguments, **options)), *_numbers(arguments)])
    got, want = answers
    if name == "may_reach":  # which rows pass beside those that must depends on the level
        must = kernels.cosine_scores.reference(*_REACHED).argmax(axis=1)
        got[0], want[0] = (reach[range(len(must)), must] for reach in (got[0], want[0]))
    wrong = 0
    for ours, theirs in zip(got, want, strict=True):
        bound = _COMPARED * np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
        wrong += int((~np.isclose(ours, theirs, rtol=0, atol=bound, equal_nan=True)).sum())
    return f"{wrong} numbers differ from NumPy's" if wrong else None


def _numbers(value: Any) -> list[NDArray[np.float64]]:
    """The arrays and numbers in a value, from inside of tuples too."""
    if isinstance(value, tuple):
        return [array for part in value for array in _numbers(part)]
    return [] if value is None or isinstance(value, str) else [np.asarray(value, np.float64)]


# Whole jobs


def _search() -> str | None:
    """The nearest of 500 rows, as NumPy finds them."""
    from firth.search import Index

    rows, queries = _normal(500, 24), _normal(5, 24)
    index = Index(24, metric="ip")
    index.add(rows)
    got, want = index.search(queries, k=3).ids, np.argsort(-(queries @ rows.T), axis=1)[:, :3]
    return None if np.array_equal(got, want) else f"found rows {got.tolist()}, not {want.tolist()}"


def _training() -> str | None:
    """Word vectors of sentences about two things: words of one are nearer than those of both."""
    from firth.words import Word2Vec

    draw = np.random.default_rng(1)
    topics = [["cat", "dog", "horse", "cow"], ["saw", "drill", "hammer", "file"]]
    sentences = [[str(word) for word in draw.choice(topics[row % 2], 8)] for row in range(400)]
    vectors = Word2Vec(
        sentences, vector_size=16, window=3, min_count=1, sg=1, sample=0, epochs=3, workers=1
    ).wv
    same = vectors.similarity("cat", "dog")
    other = vectors.similarity("cat", "drill")
    return (
        None if same > other + 0.1 else f"cat and dog are at {same:.2f}, cat and drill {other:.2f}"
    )
