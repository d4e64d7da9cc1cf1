"""Generators as the context grows: SmolLM2-135M-Instruct in Q4_1 against llama.cpp, with curves.

Each measurement is a process of its own, which reads the model, takes a prompt of this many tokens
and writes 64 more; its peak memory is that of the whole process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib
import numpy as np

import firth
from bench_generators import prompts_of, smollm2
from generator_peers import alone
from harness import QUICK, THREADS, Row, Timing, compared, size
from report import tables

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONTEXT, NEW = 8192, size(64, 2)  # the model's; tokens that are written
LENGTHS = (128, 256, 512, 1024, 2048, 4096, CONTEXT - 2 * NEW)
MODELS = {
    "firth": "firth.set_num_threads(THREADS)\nmodel = Ours(path)",
    "llama.cpp": "model = Llama(path, len(ids) + 2 * {new}, together=1)",
}
CODE = """
import numpy as np
path = Path({path!r})
ids = np.load({ids!r})[:{length}].tolist()
{model}
model.run([ids[:32]], 1)  # once, so that what is made at the first call is there
prompt, decoding = model.run([ids], {new})
status = open("/proc/self/status").read().split("VmHWM:")[1]
print(json.dumps([prompt, decoding, int(status.split()[0]) / 1e3]))
"""


def measured(folder: Path) -> dict[str, dict[int, list[list[float]]]]:
    """Of each program and length some rounds of seconds of the prompt, of decoding, MB."""
    path = smollm2()
    prompts = prompts_of(firth.CausalLM.from_pretrained(path))
    np.save(folder / "ids.npy", np.concatenate(prompts))
    found: dict[str, dict[int, list[list[float]]]] = {name: {} for name in MODELS}
    for length in LENGTHS[:2] if QUICK else LENGTHS:
        for _ in range(size(3 if length <= 2048 else 1, 1)):
            for name, model in MODELS.items():
                code = CODE.format(
                    path=str(path), ids=str(folder / "ids.npy"), length=length,
                    model=model.format(new=NEW), new=NEW,
                )  # fmt: skip
                found[name].setdefault(length, []).append(alone(code))
    return found


def rows_of(found: dict[str, dict[int, list[list[float]]]]) -> list[Row]:
    """Rows of all lengths; firth should not be behind at any."""
    rows = []
    for length in found["firth"]:
        ours, theirs = (
            [list(part) for part in zip(*found[name][length], strict=True)] for name in MODELS
        )
        for i, (what, amount) in enumerate((("prompt of", length), ("decoding behind", NEW))):
            rows.append(
                compared(f"Q4_1: {what} {length:,} tokens", "llama.cpp", Timing(theirs[i]),
                         Timing(ours[i]), "tokens/s", 1, amount=amount)
            )  # fmt: skip
        rows.append(
            Row(f"Q4_1: peak memory at {length:,} tokens", "llama.cpp", Timing(theirs[2]).median,
                Timing(ours[2]).median, "MB")
        )  # fmt: skip
    return rows


def draw(rows: list[Row], path: Path) -> None:
    """Three panels: speed of prompts, speed of decoding, memory."""
    figure, panels = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    titles = {
        "prompt of": ("a prompt of this length", "tokens/s"),
        "decoding behind": ("decoding behind so many tokens", "tokens/s"),
        "peak memory": ("peak memory of the process", "MB"),
    }
    for panel, (what, (title, unit)) in zip(panels, titles.items(), strict=True):
        mine = [row for row in rows if what in row.work]
        lengths = [int(row.work.split()[-2].replace(",", "")) for row in mine]
        panel.plot(lengths, [row.ours for row in mine], "o-", label="firth")
        panel.plot(lengths, [row.peer for row in mine], "s--", label="llama.cpp")
        panel.set(xscale="log", xlabel="tokens of context", ylabel=unit, ylim=(0, None))
        panel.set_xticks(lengths, [f"{length:,}" for length in lengths], fontsize=8)
        panel.minorticks_off()
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def run(folder: Path) -> str:
    """Tables and picture, which goes into `folder`; about 4 minutes."""
    with tempfile.TemporaryDirectory() as name:
        rows = rows_of(measured(Path(name)))
    draw(rows, folder / "generators_growth.png")
    return "\n\n".join([
        "![Speed and memory against the length of the context](generators_growth.png)",
        tables(rows),
        f"{THREADS} threads for both; each figure is of a process of its own, in turn, three times "
        "up to 2,048 tokens, once beyond.",
    ])  # fmt: skip
