"""Training a GPT against PyTorch and JAX: steps, their memory, the loss after the same minutes.

All begin with the same weights and see the same text in the same order; before anything is timed,
the losses of the first steps must be the same.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import firth
from bench_training import floor
from gpt_peers import Ids, Jax, Ours, Size, Torch, initial
from harness import QUICK, THREADS, Row, compared, interleave, size
from report import HERE

TEXT = HERE.parents[1] / "shared" / "data" / "shakespeare.txt"
GPT = Size(layers=size(6, 1), width=384, heads=6, context=256, batch=size(8, 1))
SMALL = Size(layers=4, width=128, heads=4, context=256, batch=4, llama=True)  # examples/gpt.py
RATE = 3e-3
MINUTES = 0.2 if QUICK else 10.0
SLICE = 20.0  # seconds: all train in turn, so that a machine whose speed drifts favours none
WORK = f"GPT, {GPT.layers} layers, width {GPT.width}, {GPT.batch} x {GPT.context} tokens"

SUBJECTS: Mapping[str, Callable[[Size, Any], Any]] = {
    "firth": Ours,
    "torch eager": Torch,
    "torch.compile": partial(Torch, compiled=True),
    "JAX jit": Jax,
}
BFLOAT16: Mapping[str, Callable[[Size, Any], Any]] = {
    "firth, bfloat16": partial(Ours, bfloat16=True),
    "torch autocast bfloat16": partial(Torch, bfloat16=True),
    "torch.compile autocast bfloat16": partial(Torch, compiled=True, bfloat16=True),
}


class Text:
    """Shakespeare's characters: batches of the first nine tenths, windows of the last one."""

    def __init__(self, of: Size) -> None:
        text = TEXT.read_text(encoding="utf-8")
        characters = sorted(set(text))
        assert len(characters) == of.vocabulary
        ids = np.searchsorted(characters, list(text))
        self.of, self.rng = of, np.random.default_rng(0)
        self.training, self.held_out = np.split(ids, [len(ids) * 9 // 10])

    def batch(self) -> tuple[Ids, Ids]:
        """Inputs and targets, anywhere in the text."""
        last = len(self.training) - self.of.context
        windows = self.rng.integers(last, size=(self.of.batch, 1)) + np.arange(self.of.context + 1)
        ids = self.training[windows]
        return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])

    def loss(self, subject: Any) -> float:
        """Of the text held out, but for what fills no batch."""
        shape = (-1, self.of.batch, self.of.context)
        count = (len(self.held_out) - 1) // (self.of.batch * self.of.context)
        count *= self.of.batch * self.of.context
        inputs, targets = (self.held_out[i : i + count].reshape(shape) for i in (0, 1))
        return float(np.mean([subject.loss(*pair) for pair in zip(inputs, targets, strict=True)]))


def run() -> list[Row]:
    """About 4 minutes."""
    return [*steps(), *memory()]


def steps() -> list[Row]:
    """A step of each, in tokens a second."""
    weights, text = initial(GPT), Text(GPT)
    subjects = {name: make(GPT, weights) for name, make in SUBJECTS.items()}
    tokens = GPT.batch * GPT.context
    for number in range(4):
        batch = text.batch()
        losses = [subject.step(*batch, 1e-3 * number) for subject in subjects.values()]
        np.testing.assert_allclose(losses, losses[0], rtol=1e-3)
    if firth.info().backend in ("native:v4x", "native:tiles"):  # bfloat16 is multiplied as it is
        subjects |= {name: make(GPT, weights) for name, make in BFLOAT16.items()}
    times = interleave(
        {name: partial(one.step, *text.batch(), 1e-4) for name, one in subjects.items()}
    )
    ours = times["firth"]
    peers = [name for name in SUBJECTS if name != "firth"]
    best = min(peers, key=lambda name: times[name].median)
    rows = [
        compared(f"{WORK}, step of AdamW", name, times[name], ours, "tokens/s",
                 1.15 if name == best else None, amount=tokens)
        for name in peers
    ]  # fmt: skip
    rows.append(floor(f"{WORK}, step of AdamW", 6.0 * multiply_adds(GPT), ours, THREADS))
    if mine := times.get("firth, bfloat16"):
        for name, goal in ((best, 2.0), *((name, 1.0) for name in [*BFLOAT16][1:])):
            rows.append(
                compared(f"{WORK}, step of AdamW, bfloat16 products", name, times[name], mine,
                         "tokens/s", goal, amount=tokens)
            )  # fmt: skip
    return rows


def multiply_adds(of: Size) -> int:
    """Of the products of a step's forward pass; a query sees half of the keys."""
    matrices = of.layers * (4 * of.width**2 + 2 * of.width * of.hidden) + of.vocabulary * of.width
    scores = of.layers * 2 * of.width * of.context // 2
    return of.batch * of.context * (matrices + scores)


def memory() -> list[Row]:
    """The peak memory of a process that takes three steps."""
    peaks = {}
    for name in SUBJECTS:
        code = f"import bench_gpt; bench_gpt.take_three({name!r})"
        done = subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
        peaks[name] = float(done.stdout.splitlines()[-1])
    return [
        Row(f"{WORK}: peak memory of training", name, peaks[name], peaks["firth"], "MB",
            1 / 0.7 if name == "torch eager" else None)
        for name in peaks if name != "firth"
    ]  # fmt: skip


def take_three(name: str) -> None:
    """Three steps of one of them, then the peak memory of this process in MB on a line."""
    subject, text = SUBJECTS[name](GPT, initial(GPT)), Text(GPT)
    for _ in range(3):
        subject.step(*text.batch(), 1e-4)
    status = Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1]
    print(int(status.split()[0]) / 1e3)


class Course:
    """Training by the clock: the rate rises for a twentieth of the time, then falls to 0."""

    def __init__(self, subject: Any) -> None:
        self.subject, self.text = subject, Text(SMALL)
        self.seconds, self.steps = 0.0, 0
        self.subject.step(*self.text.batch(), 0.0)  # compiles; changes no weight

    def go_on(self, until: float, limit: float) -> None:
        """Train until so many of `limit` seconds have been used."""
        while self.seconds < until:
            start, done = time.perf_counter(), self.seconds / limit
            rate = RATE * min(20 * done, 0.5 + 0.5 * np.cos(np.pi * done))
            self.subject.step(*self.text.batch(), float(rate))
            self.seconds += time.perf_counter() - start
            self.steps += 1


def minutes() -> list[Row]:
    """The loss of the text held out after the same minutes of each; about 35 minutes."""
    weights, limit = initial(SMALL), 60 * MINUTES
    names = [name for name in SUBJECTS if name != "JAX jit"]
    courses = {name: Course(SUBJECTS[name](SMALL, weights)) for name in names}
    for until in np.arange(SLICE, limit + SLICE, SLICE):
        for course in courses.values():
            course.go_on(min(until, limit), limit)
    losses = {name: course.text.loss(course.subject) for name, course in courses.items()}
    work = f"GPT of {SMALL.layers} layers of {SMALL.width}: loss held out after {MINUTES:g} minutes"
    ours = f"firth {courses['firth'].steps:,} steps"
    rows = [Row(work, "1.70", 1.70, losses["firth"], "nats", 1, kind="budget", note=ours)]
    for name in names[1:]:
        note = f"{ours}, peer {courses[name].steps:,}"
        rows.append(Row(work, name, losses[name], losses["firth"], "nats", 1, note=note))
    return rows
