"""firth.Index against exact and approximate search, side by side: one function per part of run.py.

Before anything is timed, our answers are checked against float64; the note of a peer that
approximates gives its recall. All take unit vectors, so that cosine and inner product are the same
work. bench_search_cells.py has what only approximates, bench_search_identity.py what times nothing.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
import usearch.index
from numpy.typing import NDArray

import firth
from bench_words import corpus_file
from harness import (
    QUICK,
    THREADS,
    Row,
    Timing,
    compared,
    extrapolated,
    fit_note,
    has_tiles,
    interleave,
    size,
)

K = 10
Subject = Callable[[NDArray[np.float32]], NDArray[np.int64]]  # (Q, D) -> the ids (Q, K)


# ---- data


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def normal(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32))


def word_vectors(d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(1,000,000, d) rows and (1000, d) queries that look like word vectors.

    Each is a word of the dev corpus, drawn with replacement, to which noise with the words' own
    covariance is added: sqrt(3)/2 of the word and 1/2 of the noise keep mean and spectrum. One
    worker trains the words once, so they are the same everywhere; they are kept for the next time.
    A trial has normal vectors: words of so short a text all lie in one direction.
    """
    if QUICK:
        return normal(size(1_000_000), d), normal(1000, d, seed=1)
    path = Path(tempfile.gettempdir()) / f"firth-bench-words-{d}.npy"
    if not path.exists():
        model = firth.Word2Vec(
            corpus_file=corpus_file(), sg=1, vector_size=d, sample=1e-4, workers=1, epochs=1
        )
        np.save(path, model.wv.vectors)
    words = np.load(path)
    mean = words.mean(axis=0)
    spread = np.linalg.cholesky(np.cov(words.T)).astype(np.float32)
    rng = np.random.default_rng(d)
    made = np.empty((1_001_000, d), np.float32)
    for start in range(0, len(made), 50_000):
        part = made[start : start + 50_000]
        chosen = words[rng.integers(len(words), size=len(part))]
        noise = rng.standard_normal(part.shape, dtype=np.float32) @ spread.T
        part[:] = mean + np.sqrt(0.75) * (chosen - mean) + 0.5 * noise
    made = unit(made)
    return made[:-1000], made[-1000:]


def index_of(keys: NDArray[np.float32], **options: str) -> firth.Index:
    index = firth.Index(keys.shape[1], **options)
    index.add(keys)
    return index


def set_threads() -> None:
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    firth.set_num_threads(THREADS)


# ---- answers


def verify(index: firth.Index, queries: NDArray[np.float32], keys: NDArray[np.float32]) -> None:
    """The scores are those of the K best rows in float64, rounded once: at most one ULP off."""
    found = index.search(queries, K)
    for query, ids, scores in zip(queries, found.ids, found.scores, strict=True):
        near = np.argpartition(keys @ query, -10 * K)[-10 * K :]  # float32 decides among 100 only
        rows = keys[near].astype(np.float64)
        exact = rows @ query.astype(np.float64)
        exact /= np.linalg.norm(rows, axis=1) * np.linalg.norm(query.astype(np.float64))
        best = np.sort(exact)[::-1][:K]
        np.testing.assert_array_max_ulp(scores, best.astype(np.float32), 1)
        mine = dict(zip(near.tolist(), exact, strict=True))
        got = np.array([mine[row] for row in ids.tolist()])
        np.testing.assert_array_max_ulp(scores, got.astype(np.float32), 1)


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """The recall: the share of the true neighbours that was found."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, true, strict=True)]
    return float(np.mean(hits)) / true.shape[1]


def numpy_topk(queries: NDArray[np.float32], keys: NDArray[np.float32]) -> NDArray[np.int64]:
    scores = queries @ keys.T
    found = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1)
    return np.take_along_axis(found, order, axis=1)


def exact_peers(keys: NDArray[np.float32]) -> dict[str, Subject]:
    tensor = torch.from_numpy(keys)
    flat = faiss.IndexFlatIP(keys.shape[1])
    flat.add(keys)
    kind = usearch.index.MetricKind.IP
    return {
        "NumPy matmul + argpartition": lambda queries: numpy_topk(queries, keys),
        "torch matmul + topk": lambda queries: torch.topk(
            torch.from_numpy(queries) @ tensor.T, K
        ).indices.numpy(),
        "FAISS IndexFlatIP": lambda queries: flat.search(queries, K)[1],
        "usearch exact": lambda queries: np.atleast_2d(
            usearch.index.search(keys, queries, K, kind, exact=True, threads=THREADS).keys
        ),
    }


def approximate_peers(
    keys: NDArray[np.float32], queries: NDArray[np.float32], true: NDArray[np.int64]
) -> tuple[dict[str, Subject], dict[str, str]]:
    """The peers, and the recall of these queries for the notes."""
    made, notes = {}, {}
    kinds = {
        "FAISS bfloat16": faiss.ScalarQuantizer.QT_bf16,
        "FAISS SQ8": faiss.ScalarQuantizer.QT_8bit,
    }
    for name, kind in kinds.items():
        index = faiss.IndexScalarQuantizer(keys.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(keys[:100_000])
        index.add(keys)
        notes[name] = f"recall {recall(index.search(queries, K)[1], true):.3f}"
        made[name] = lambda some, index=index: index.search(some, K)[1]
    return made, notes


# ---- timing


def against_all(
    work: str,
    queries: NDArray[np.float32],
    index: firth.Index,
    exact: dict[str, Subject],
    approximate: dict[str, Subject],
    goal: float | None,
    notes: dict[str, str],
    repeats: int = 5,
) -> list[Row]:
    """A row for each peer: the goal against the fastest exact one, 1 x against the others'."""
    subjects: dict[str, Subject] = {"firth": lambda q: index.search(q, K).ids}
    subjects |= exact | approximate
    calls = {name: lambda call=call: call(queries) for name, call in subjects.items()}
    timings = interleave(calls, repeats)
    rows = []
    for group, wanted in ((exact, goal), (approximate, 1.0)):
        best = min(group, key=lambda name: timings[name].median, default=None)
        rows += [
            compared(work, name, timings[name], timings["firth"], "ms",
                     wanted if name == best else None, note=notes.get(name, ""))
            for name in group
        ]  # fmt: skip
    return rows


# ---- the parts


def flat() -> list[Row]:
    """500,000 x 384: 1, 16 and 256 queries, and v3 against the best level; about 5 minutes."""
    set_threads()
    n, d = size(500_000), 384
    keys, queries = normal(n, d), normal(256, d, seed=1)
    index = index_of(keys)
    verify(index, queries[:40], keys)
    work = f"k={K}, {n:,} x {d}"
    true = index.search(queries[:64], K).ids
    exact = exact_peers(keys)
    approximate, notes = approximate_peers(keys, queries[:64], true)
    rows = against_all(f"{work}, 1 query", queries[:1], index, exact, approximate, 4, notes, 9)
    bfloat16 = {name: call for name, call in approximate.items() if "bfloat16" in name}
    rows += against_all(f"{work}, 16 queries", queries[:16], index, exact, bfloat16, 8, notes)
    tiles = has_tiles()
    rows += against_all(
        f"{work}, 256 queries", queries, index, exact, {}, 20 if tiles else 5, notes
    )
    few = index_of(keys[: n // 5])  # fit a large L3
    verify(few, queries[:40], keys[: n // 5])
    rows += against_all(
        f"k={K}, {n // 5:,} x {d}, 256 queries", queries, few, exact_peers(keys[: n // 5]), {},
        25 if tiles else None, notes,
    )  # fmt: skip
    rows.append(codes_once(work, index, queries[:1]))
    best = firth.info().usable_levels[0]

    def at_level(level: str, batch: NDArray[np.float32]) -> None:
        with firth.kernels.use(f"native:{level}"):
            index.search(batch, K)

    if best in ("base", "v3") or "native:v3" not in firth.kernels.backends():
        return rows
    for name, batch in (("1 query", queries[:1]), ("256 queries", queries)):
        timings = interleave({level: partial(at_level, level, batch) for level in ("v3", best)})
        rows.append(
            compared(f"{work}, {name}, level v3", f"firth {best}", timings[best], timings["v3"],
                     "ms", 1 / 2.5, kind="self")
        )  # fmt: skip
    return rows


def codes_once(work: str, index: firth.Index, query: NDArray[np.float32]) -> Row:
    """One query against reading as many bytes as the codes are, once, on as many threads."""
    bytes_of_codes = index.stats()["bytes"]["codes"]
    parts = np.array_split(np.ones(bytes_of_codes // 8, np.int64), THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        timings = interleave({
            "read": lambda: list(pool.map(np.bitwise_or.reduce, parts)),
            "search": lambda: index.search(query, K),
        }, 9)  # fmt: skip
    return compared(f"{work}, 1 query", "reading the codes once (NumPy)", timings["read"],
                    timings["search"], "ms", 1 / 1.15, kind="budget")  # fmt: skip


def words(d: int) -> list[Row]:
    """1,000,000 word vectors: 1 and 256 queries; 6 minutes. gensim answers one at a time."""
    import gensim.models

    set_threads()
    keys, queries = word_vectors(d)
    index = index_of(keys)
    verify(index, queries[:40], keys)
    peer = gensim.models.KeyedVectors(d)
    peer.index_to_key = list(range(len(keys)))
    peer.key_to_index = {key: key for key in peer.index_to_key}
    peer.vectors = keys
    peer.fill_norms()

    def one_by_one(some: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.array([[key for key, _ in peer.most_similar([q], topn=K)] for q in some])

    work = f"word vectors, k={K}, {len(keys):,} x {d}"
    exact = exact_peers(keys)
    single = exact | {"gensim": one_by_one}
    others, notes = approximate_peers(keys, queries[:64], index.search(queries[:64], K).ids)
    rows = against_all(f"{work}, 1 query", queries[:1], index, single, others, 4, notes, 7)
    batch = queries[:256]
    rows += against_all(f"{work}, 256 queries", batch, index, exact, {}, 5, notes)
    counts = 8, 32
    timings = interleave(
        {
            "few": lambda: one_by_one(batch[: counts[0]]),
            "many": lambda: one_by_one(batch[: counts[1]]),
            "firth": lambda: index.search(batch, K),
        },
        3,
    )
    few, many = timings["few"], timings["many"]
    rows.append(
        compared(f"{work}, 256 queries", "gensim one by one",
                 extrapolated(few, many, counts, len(batch)), timings["firth"], "ms",
                 note=fit_note(few, many, counts))
    )  # fmt: skip
    return rows


def words_100() -> list[Row]:
    return words(100)


def words_300() -> list[Row]:
    return words(300)


def filters() -> list[Row]:
    """256 queries among 500,000 x 384, each with its own hundredth of the ids; about a minute.

    The peers take one filter a call; their selectors and masks are made before the clock runs.
    """
    import turbovec

    set_threads()
    n, d = size(500_000), 384
    keys, queries = normal(n, d), normal(256, d, seed=1)
    rng = np.random.default_rng(2)
    allowed = [np.sort(rng.choice(n, n // 100, replace=False)) for _ in queries]
    masks = np.zeros((len(queries), n), bool)
    for mask, ids in zip(masks, allowed, strict=True):
        mask[ids] = True
    bitmaps = np.packbits(masks, axis=1, bitorder="little")
    index = index_of(keys)

    def by_hand() -> NDArray[np.int64]:
        found = []
        for query, ids in zip(queries, allowed, strict=True):
            scores = keys[ids] @ query
            best = np.argpartition(scores, -K)[-K:]
            found.append(ids[best[np.argsort(-scores[best])]])
        return np.array(found)

    true = by_hand()
    assert recall(index.search(queries, K, filter=allowed).ids, true) == 1
    assert recall(index.search(queries, K, filter=list(bitmaps)).ids, true) == 1

    flat_index = faiss.IndexFlatIP(d)
    flat_index.add(keys)

    def selected(selectors: Sequence[faiss.IDSelector]) -> Callable[[], NDArray[np.int64]]:
        parameters = [faiss.SearchParameters(sel=selector) for selector in selectors]
        return lambda: np.concatenate(
            [
                flat_index.search(queries[i : i + 1], K, params=p)[1]
                for i, p in enumerate(parameters)
            ]
        )

    quantised = turbovec.TurboQuantIndex(d, bit_width=4)
    quantised.add(keys)
    quantised.prepare()
    batches = [faiss.IDSelectorBatch(ids) for ids in allowed]
    bits = [faiss.IDSelectorBitmap(bitmap) for bitmap in bitmaps]
    peers = {
        "FAISS IDSelectorBatch": selected(batches),
        "FAISS IDSelectorBitmap": selected(bits),
        "turbovec 4 bits": lambda: np.concatenate(
            [
                quantised.search(queries[i : i + 1], K, mask=mask)[1].astype(np.int64)
                for i, mask in enumerate(masks)
            ]
        ),
        "NumPy, rows gathered": by_hand,
    }
    timings = interleave(
        {
            "ids": lambda: index.search(queries, K, filter=allowed),
            "bitmaps": lambda: index.search(queries, K, filter=list(bitmaps)),
            **peers,
        },
        5,
    )
    best = min((n for n in peers if not n.startswith("NumPy")), key=lambda n: timings[n].median)
    found = {name: recall(call(), true) for name, call in peers.items()}
    return [
        compared(f"256 queries, each with its own 1 % of {n:,} x {d} as {form}", name,
                 timings[name], timings[form], "ms", 5 if name == best else None,
                 note=f"recall {found[name]:.3f}" if name.startswith("turbovec") else "")
        for form in ("ids", "bitmaps") for name in peers
    ]  # fmt: skip


def resident() -> int:
    """Bytes of this process in memory, after malloc has returned its free blocks."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_through(path: Path, write: Callable[[], object]) -> float:
    """Seconds until a new file that `write` writes has reached the disk."""
    path.unlink(missing_ok=True)
    os.sync()
    start = time.perf_counter()
    write()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def files() -> list[Row]:
    """1,000,000 x 384: memory beside the vectors, save, open, first answer; 3 minutes."""
    set_threads()
    n, d = size(1_000_000), 384
    rng = np.random.default_rng(0)
    before = resident()
    index = firth.Index(d)
    for _ in range(20):
        index.add(rng.standard_normal((n // 20, d), dtype=np.float32))
    query = normal(1, d, seed=1)
    answer = index.search(query, K)
    stored = 4 * n * d
    beside = 100 * (resident() - before - stored) / stored
    work = f"{n:,} x {d}"
    rows = [
        Row(f"memory beside the vectors, {work}", "what is allowed", 30, beside, "%", 1,
            kind="budget", threads="1")
    ]  # fmt: skip

    other = faiss.IndexFlatIP(d)
    other.add(index.get(index.ids))
    with tempfile.TemporaryDirectory() as folder:
        ours, plain, theirs = (Path(folder) / name for name in ("x.index", "plain", "x.faiss"))
        index.save(ours)
        content = ours.read_bytes()
        seconds: dict[str, list[float]] = {"ours": [], "plain": [], "theirs": []}
        for _ in range(7):  # fresh pages of a virtual machine make some of them far slower
            seconds["plain"].append(write_through(plain, partial(plain.write_bytes, content)))
            seconds["ours"].append(write_through(ours, lambda: index.save(ours)))
            seconds["theirs"].append(
                write_through(theirs, lambda: faiss.write_index(other, str(theirs)))
            )
        sizes = f"{len(content) / 1e9:.2f} GB"
        saving, serial = Timing(seconds["ours"]), f"1 / {THREADS}"
        rows += [
            compared(f"save {work}, fsync", "a plain write of the same bytes",
                     Timing(seconds["plain"]), saving, "s", 1.0, kind="budget", threads=serial,
                     note=sizes),
            compared(f"save {work}, fsync", "FAISS write_index", Timing(seconds["theirs"]), saving,
                     "s", threads=serial,
                     note=f"{sizes}; FAISS {theirs.stat().st_size / 1e9:.2f}"),
        ]  # fmt: skip
        del content

        def first(mode: str) -> None:
            with firth.Index.open(ours, mode=mode) as opened:
                found = opened.search(query, K)
            assert (found.ids == answer.ids).all()
            assert (found.scores == answer.scores).all()

        def opening() -> None:
            firth.Index.open(ours, mode="r").close()

        calls = {
            "open": opening,
            "first": lambda: first("r"),
            "FAISS read_index": lambda: faiss.read_index(str(theirs)).search(query, K),
            "FAISS read_index, IO_FLAG_MMAP_IFC": lambda: faiss.read_index(
                str(theirs), faiss.IO_FLAG_MMAP_IFC
            ).search(query, K),
        }
        timings = interleave(calls, 5)
        answered = timings["first"]
        for what, timing, allowed in (
            (f"open {work}, mapped", timings["open"], 10),
            (f"open {work} and answer once, pages in memory", answered, 50),
        ):
            rows.append(
                Row(what, "what is allowed", allowed, timing.median * 1e3, "ms", 1,
                    spread=timing.spread, kind="budget")
            )  # fmt: skip
        rows += [
            compared(rows[-1].work, name, timings[name], answered, "ms")
            for name in calls if name.startswith("FAISS")
        ]  # fmt: skip
    return rows
