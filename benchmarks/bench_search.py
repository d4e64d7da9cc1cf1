"""firth.Index against exact and approximate search, side by side: one function a part of run.py.

Before anything is timed, our answers are checked against float64, and the recall of the peers that
approximate is told beside their name. All take unit vectors, so that cosine and inner product are
the same work. `python benchmarks/bench_search.py PART ...` prints parts without recording them.
bench_search_cells.py has what only approximates, bench_search_identity.py what times nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("RAYON_NUM_THREADS", "2")

import faiss
import numpy as np
import torch
import usearch.index
from numpy.typing import NDArray

import firth
from bench_words import corpus_file
from harness import THREADS, Row, Timing, interleave

K = 10
SCALE = float(os.environ.get("FIRTH_BENCH_SCALE", "1"))  # below 1: smaller matrices, for a trial
Subject = Callable[[NDArray[np.float32]], NDArray[np.int64]]  # (Q, D) -> the ids (Q, K)


# ---- data


def size(rows: int) -> int:
    return int(rows * SCALE)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def normal(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32))


def word_vectors(d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(1,000,000, d) rows and (1000, d) queries that look like word vectors.

    Each is a word of the dev corpus, drawn with replacement, to which noise with the words' own
    covariance is added: sqrt(3)/2 of the word and 1/2 of the noise keep mean and spectrum. One
    worker trains the words once, so they are the same everywhere; they are kept for the next time.
    """
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
    made = np.empty((size(1_000_000) + 1000, d), np.float32)
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
    """The part of the true neighbours that was found."""
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
) -> dict[str, Subject]:
    """The recall of these queries stands in the names."""
    made = {}
    kinds = {
        "FAISS bfloat16": faiss.ScalarQuantizer.QT_bf16,
        "FAISS SQ8": faiss.ScalarQuantizer.QT_8bit,
    }
    for name, kind in kinds.items():
        index = faiss.IndexScalarQuantizer(keys.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(keys[:100_000])
        index.add(keys)
        found = recall(index.search(queries, K)[1], true)
        made[f"{name}, recall {found:.3f}"] = lambda some, index=index: index.search(some, K)[1]
    return made


# ---- timing


def times(subjects: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Interleaved; what takes more than a second is called once to warm up and once to count."""
    fast, slow = {}, {}
    for name, subject in subjects.items():
        start = time.perf_counter()
        subject()
        (slow if time.perf_counter() - start > 1 else fast)[name] = subject
    timings = interleave(fast, repeats, pause=0.2)
    for name, subject in slow.items():
        time.sleep(0.2)
        start = time.perf_counter()
        subject()
        timings[name] = Timing([time.perf_counter() - start])
    return timings


def compare(
    work: str,
    queries: NDArray[np.float32],
    index: firth.Index,
    exact: dict[str, Subject],
    approximate: dict[str, Subject],
    goal: float,
    repeats: int = 5,
) -> list[Row]:
    """A row a peer: the goal is set against the best exact one, 1 x against the best other one."""
    subjects: dict[str, Subject] = {"firth": lambda q: index.search(q, K).ids}
    subjects |= exact | approximate
    calls = {name: lambda call=call: call(queries) for name, call in subjects.items()}
    timings = times(calls, repeats)
    rows = []
    for group, wanted in ((exact, goal), (approximate, 1.0)):
        best = min((timings[name].median for name in group), default=None)
        for name in group:
            ours, peer = timings["firth"], timings[name].median
            rows.append(
                Row(work, name, peer * 1e3, ours.median * 1e3, "ms",
                    wanted if peer == best else None, spread=ours.spread)
            )  # fmt: skip
    return rows


# ---- the parts


def flat() -> list[Row]:
    """500,000 x 384: 1, 16 and 256 queries, and the v3 level against the best."""
    set_threads()
    n, d = size(500_000), 384
    keys, queries = normal(n, d), normal(256, d, seed=1)
    index = index_of(keys)
    verify(index, queries[:40], keys)
    work = f"k={K}, {n:,} x {d}"
    true = index.search(queries[:64], K).ids
    exact, approximate = exact_peers(keys), approximate_peers(keys, queries[:64], true)
    rows = compare(f"{work}, 1 query", queries[:1], index, exact, approximate, 4, repeats=9)
    bfloat16 = {name: call for name, call in approximate.items() if "bfloat16" in name}
    rows += compare(f"{work}, 16 queries", queries[:16], index, exact, bfloat16, 8)
    rows += compare(f"{work}, 256 queries", queries, index, exact, {}, 5)
    best = firth.info().usable_levels[0]
    for name, batch in (("1 query", queries[:1]), ("256 queries", queries)):
        levels = {}
        for level in ("v3", best):
            with firth.kernels.use(f"native:{level}"):
                levels[level] = interleave({"": lambda q=batch: index.search(q, K)}, 5)[""]
        rows.append(
            Row(f"{work}, {name}, level v3", f"firth {best}",
                levels[best].median * 1e3, levels["v3"].median * 1e3, "ms", 1 / 2.5,
                spread=levels["v3"].spread)
        )  # fmt: skip
    return rows


def words(d: int) -> list[Row]:
    """1,000,000 word vectors: 1 and 256 queries. gensim answers one at a time."""
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
    others = approximate_peers(keys, queries[:64], index.search(queries[:64], K).ids)
    rows = compare(f"{work}, 1 query", queries[:1], index, single, others, 4, repeats=7)
    batch = compare(f"{work}, 256 queries", queries[:256], index, exact, {}, 5)
    gensim_time = times({"": lambda: one_by_one(queries[:8])}, 3)[""].median / 8 * 256
    ours = batch[0]
    return [
        *rows,
        *batch,
        Row(ours.work, "gensim, one by one (scaled up from 8)", gensim_time * 1e3, ours.ours, "ms",
            spread=ours.spread),
    ]  # fmt: skip


def words_100() -> list[Row]:
    return words(100)


def words_300() -> list[Row]:
    return words(300)


def filters() -> list[Row]:
    """256 queries among 500,000 x 384, each with its own hundredth of the ids.

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
        "turbovec, 4 bits": lambda: np.concatenate(
            [
                quantised.search(queries[i : i + 1], K, mask=mask)[1].astype(np.int64)
                for i, mask in enumerate(masks)
            ]
        ),
        "NumPy, rows gathered": by_hand,
    }
    timings = times(
        {
            "ids": lambda: index.search(queries, K, filter=allowed),
            "bitmaps": lambda: index.search(queries, K, filter=list(bitmaps)),
            **peers,
        },
        5,
    )
    best = min(timings[name].median for name in peers if not name.startswith("NumPy"))
    rows = []
    for form in ("ids", "bitmaps"):
        for name, call in peers.items():
            ours, peer = timings[form], timings[name].median
            told = name
            if name.startswith("turbovec"):
                told = f"{name}, recall {recall(call(), true):.3f}"
            rows.append(
                Row(f"256 queries, each with its own 1 % of {n:,} x {d} as {form}", told,
                    peer * 1e3, ours.median * 1e3, "ms", 5 if peer == best else None,
                    spread=ours.spread)
            )  # fmt: skip
    return rows


def resident() -> int:
    """Bytes of this process in memory; what malloc only keeps for later is given back before."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_through(path: Path, write: Callable[[], object]) -> float:
    """Seconds until what `write` puts into a new file has reached the disk."""
    path.unlink(missing_ok=True)
    os.sync()
    start = time.perf_counter()
    write()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def files() -> list[Row]:
    """1,000,000 x 384: memory beside the vectors, save, open and the first answer."""
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
    rows = [Row(f"memory beside the vectors, {work}", "what is allowed", 30, beside, "%", 1)]

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
        gigabytes = len(content) / 1e9
        saving = Timing(seconds["ours"])
        for name, told, goal in (
            ("plain", "a plain write of the same bytes, fsync", 1.0),
            ("theirs", f"FAISS write_index, fsync ({theirs.stat().st_size / 1e9:.2f} GB)", None),
        ):
            rows.append(
                Row(f"save {work} ({gigabytes:.2f} GB), on the disk", told,
                    Timing(seconds[name]).median, saving.median, "s", goal, spread=saving.spread)
            )  # fmt: skip
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
            "FAISS read_index, then search": lambda: faiss.read_index(str(theirs)).search(query, K),
            "FAISS read_index with IO_FLAG_MMAP_IFC, then search": lambda: faiss.read_index(
                str(theirs), faiss.IO_FLAG_MMAP_IFC
            ).search(query, K),
        }
        timings = times(calls, 5)
        opened, answered = timings["open"], timings["first"]
        rows += [
            Row(f"open {work}, mapped", "what is allowed", 10, opened.median * 1e3, "ms", 1,
                spread=opened.spread),
            Row(f"open {work} and answer once, pages in memory", "what is allowed", 50,
                answered.median * 1e3, "ms", 1, spread=answered.spread),
        ]  # fmt: skip
        rows += [
            Row(rows[-1].work, name, timings[name].median * 1e3, answered.median * 1e3, "ms",
                spread=answered.spread)
            for name in calls if name.startswith("FAISS")
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for row in globals()[name]():
            print(
                f"{row.work:60} {row.peer_name:50} {row.peer:10.3f} {row.ours:10.3f} {row.unit} "
                f"{row.ratio:6.2f} x" + (f" (goal {row.goal:.2f})" if row.goal else "")
            )
