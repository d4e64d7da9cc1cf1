"""Runs benchmarks and writes RESULTS.md and the README's table.

`python benchmarks/run.py softmax words` measures these parts, each into
results/<cpu>/<part>.md, and writes both again from all results; without names it measures every
part. `--check` measures nothing and fails where RESULTS.md or the README differ from results/;
`--write` only writes them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import report
from harness import THREADS, limit_threads
from report import CPUS, HERE, PARTS

# The parts that are not `run` of a module of their own name.
ELSEWHERE = {
    "distributed_cost": ("bench_distributed_cost", "run"),
    "quality": ("bench_words", "quality"),
    "glove_quality": ("bench_glove", "quality"),
    "gpt_minutes": ("bench_gpt", "minutes"),
    "rag_latency": ("bench_rag", "latency"),
    "search_flat": ("bench_search", "flat"),
    "search_words_100": ("bench_search", "words_100"),
    "search_words_300": ("bench_search", "words_300"),
    "search_filters": ("bench_search", "filters"),
    "search_files": ("bench_search", "files"),
}
PICTURES = ("growth", "generators_growth")  # these draw into the folder that they are given
PEERS = [
    "numpy", "gensim", "fasttext-numpy2", "model2vec", "tokenizers", "torch", "faiss-cpu",
    "usearch", "hnswlib", "turbovec", "sentence-transformers", "transformers", "onnxruntime",
    "openvino", "nncf", "ctranslate2", "openvino-genai", "onnxruntime-genai", "llama-cpp-python",
    "scikit-learn", "jax", "txtai", "lancedb", "fastapi",
]  # fmt: skip


def cpuinfo() -> str:
    """Linux's description of the processors; empty on other systems."""
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def cpu_folder(info: str) -> str | None:
    """The CPU's folder by vendor and features, since the model of a virtual machine may lie."""
    words = set(info.split())
    if "AuthenticAMD" in words and "avx512_bf16" in words:
        return "zen5" if "avx512_vp2intersect" in words or "avx_vnni" in words else "zen4"
    if "AuthenticAMD" in words and "vaes" in words and "avx512f" not in words:
        return "zen3"
    if "GenuineIntel" in words and "amx_tile" in words:
        return "granite-rapids" if "amx_fp16" in words else "sapphire-rapids"
    if "GenuineIntel" in words and "avx512_fp16" in words:
        return "emerald-rapids"
    return None


def cpu_name() -> str:
    """The system's name of the processor."""
    for line in cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def git(*arguments: str) -> str:
    found = subprocess.run(
        ["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def commit() -> str:
    """The commit that is measured; "dirty" where anything but results differs from it."""
    changed = git(
        "status", "--porcelain", "--", "..", ":!results", ":!RESULTS.md", ":!../README.md"
    )
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" (dirty)" if changed else "")


def versions() -> str:
    """Versions of the peers that are installed."""
    found = []
    for peer in PEERS:
        try:
            found.append(f"{peer} {version(peer)}")
        except PackageNotFoundError:
            continue
    for peer, variable in (("GloVe-C", "FIRTH_GLOVE_C"), ("ik_llama.cpp", "FIRTH_IK_LLAMA")):
        if path := os.environ.get(variable):  # a clone, or a program that was built in one
            folder = path if os.path.isdir(path) else os.path.dirname(path)
            found.append(f"{peer} {git('-C', folder, 'rev-parse', '--short', 'HEAD') or 'unknown'}")
    return ", ".join(found)


def measure(name: str, cpu: str, folder: Path) -> str:
    """One part's text: results, and how they were measured; pictures go to `folder`."""
    module, function = ELSEWHERE.get(name, (f"bench_{name}", "run"))
    at, today, start = commit(), datetime.date.today(), time.perf_counter()
    call = getattr(importlib.import_module(module), function)
    found = call(folder) if name in PICTURES else call()
    text = found if isinstance(found, str) else report.tables(found)
    taken = time.perf_counter() - start
    print(f"{name}: took {taken:.0f} s", file=sys.stderr, flush=True)
    return (
        f"{text}\n\nMeasured {today} at commit {at} on {cpu_name()} ({CPUS.get(cpu, cpu)}), "
        f"{THREADS} threads, {platform.system()}, Python {platform.python_version()}, in "
        f"{taken:.0f} s; {versions()}.\n"
    )


def main() -> None:
    """Measure the named parts (all by default), then write RESULTS.md and the README's table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--cpu", help="folder of results/ (default: by vendor and features)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, print, record nothing")
    parser.add_argument("--print", action="store_true", help="measure and print, record nothing")
    parser.add_argument("--write", action="store_true", help="measure nothing, write both files")
    parser.add_argument("--check", action="store_true", help="measure nothing, fail if stale")
    options = parser.parse_args()
    if options.check or options.write:
        if options.write:
            report.write()
        sys.exit("\n".join(f"{path} is not what results/ says: run.py --write"
                           for path in report.stale()) or 0)  # fmt: skip
    if options.quick and "FIRTH_BENCH_QUICK" not in os.environ:
        # Sizes are read when modules are imported, in this process and those that it starts.
        os.environ["FIRTH_BENCH_QUICK"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    if unknown := [name for name in options.part if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    cpu = options.cpu or cpu_folder(cpuinfo())
    if cpu is None:
        parser.error("this CPU is unknown: --cpu names the folder of its results")
    names = options.part
    if not names:
        names = [n for n in PARTS if not n.startswith("glove") or "FIRTH_GLOVE_C" in os.environ]
        if len(names) < len(PARTS):
            print("without FIRTH_GLOVE_C GloVe is not measured", file=sys.stderr)
    limit_threads()
    start = time.perf_counter()
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        recorded = not (options.quick or options.print)
        folder = HERE / "results" / cpu if recorded else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        text = measure(name, cpu, folder)
        print(text, flush=True)
        if recorded:
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
            report.write()
    print(f"all in {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
