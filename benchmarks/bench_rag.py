"""Retrieval: indexing documents, finding what answers questions, latency at 100,000 passages.

Documents and questions are those of the data set (../shared/data/docs, qa.jsonl). The plain script
is what a page of sentence-transformers' documentation amounts to: windows of 190 words, `encode`
(in bfloat16 where the CPU has it), a matrix. Baselines of quality: BM25 of whole documents (k1 1.2,
b 0.75, without stop words), those windows, and both joined by reciprocal rank; txtai (hybrid) where
it is installed.

Latency: lines of the dev corpus, each a document with a field of ten values; questions are seven
words of other lines; ten results with a filter on the field. All subjects get the same vectors, and
questions are embedded by firth for all of them, within the time that is measured.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

import firth
from bench_static import minilm
from bench_words import corpus_file
from firth.rag import Question, Scores, evaluate, read_questions
from firth.rag.state import _STOP_WORDS
from harness import QUICK, THREADS, Row, Timing, compared, size
from report import tables

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WINDOW = 190  # words
FIELD = 10  # values of the field that is filtered by


def documents() -> dict[str, str]:
    """Texts by the names of their files."""
    paths = sorted((DATA / "docs").glob("*.txt"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths[: size(len(paths), 2)]}


# A ranking gives names of documents, best first.
Ranking = Callable[[str], list[str]]


def bm25(texts: dict[str, str]) -> Ranking:
    """Whole documents, by words as they are."""

    def words(text: str) -> list[str]:
        return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP_WORDS]

    counts = {name: Counter(words(text)) for name, text in texts.items()}
    lengths = {name: sum(count.values()) for name, count in counts.items()}
    mean = sum(lengths.values()) / len(lengths)
    frequency = Counter(word for count in counts.values() for word in count)

    def score(name: str, wanted: Sequence[str]) -> float:
        total = 0.0
        for word in wanted:
            if n := counts[name][word]:
                idf = math.log1p((len(texts) - frequency[word] + 0.5) / (frequency[word] + 0.5))
                total += idf * n * 2.2 / (n + 1.2 * (0.25 + 0.75 * lengths[name] / mean))
        return total

    def rank(question: str) -> list[str]:
        wanted = list(dict.fromkeys(words(question)))
        scores = {name: score(name, wanted) for name in texts}
        return sorted((name for name in texts if scores[name]), key=lambda name: -scores[name])

    return rank


def windows(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Each document in pieces of words, with its name."""
    return [
        (name, " ".join(words[start : start + WINDOW]))
        for name, text in texts.items()
        for words in [text.split()]
        for start in range(0, len(words), WINDOW)
    ]


def by_windows(texts: dict[str, str]) -> Ranking:
    """Documents by the cosine of their best window, in float32."""
    model = firth.SentenceTransformer(minilm().parent, compute_type="float32")
    pieces = windows(texts)
    vectors = model.encode([text for _, text in pieces], normalize_embeddings=True)

    def rank(question: str) -> list[str]:
        scores = vectors @ model.encode(question, normalize_embeddings=True)
        return list(dict.fromkeys(pieces[i][0] for i in np.argsort(-scores, kind="stable")))

    return rank


def joined(first: Ranking, second: Ranking) -> Ranking:
    """Reciprocal rank fusion of two rankings, k = 60."""

    def rank(question: str) -> list[str]:
        scores: dict[str, float] = {}
        for ranking in (first, second):
            for place, name in enumerate(ranking(question)[:100], 1):
                scores[name] = scores.get(name, 0.0) + 1 / (60 + place)
        return sorted(scores, key=lambda name: -scores[name])

    return rank


def scores_of(rank: Ranking, questions: Sequence[Question]) -> Scores:
    """As `firth.rag.evaluate`, of another ranking; without answers."""
    places = []
    for one in questions:
        found = rank(one.question)
        places.append(found.index(one.document) + 1 if one.document in found else math.inf)
    count = len(places)
    hits = [sum(place <= most for place in places) / count for most in (1, 5, 10)]
    return Scores(count, *hits, sum(1 / place for place in places) / count, math.nan)


def txtai_documents(texts: dict[str, str]) -> Ranking:
    """txtai's hybrid search over the same windows and model."""
    from txtai import Embeddings

    pieces = windows(texts)
    index = Embeddings(path=str(minilm().parent), hybrid=True, content=False)
    index.index([(i, text, None) for i, (_, text) in enumerate(pieces)])
    return lambda question: list(
        dict.fromkeys(pieces[int(i)][0] for i, _ in index.search(question, 100))
    )


def quality(texts: dict[str, str], kb: firth.KnowledgeBase) -> str:
    """A table of hits and reciprocal ranks."""
    questions = read_questions(DATA / "qa.jsonl")
    if QUICK:
        questions = questions[:3]
    words, meaning = bm25(texts), by_windows(texts)
    lines = {
        "BM25 of whole documents": scores_of(words, questions),
        f"MiniLM, windows of {WINDOW} words": scores_of(meaning, questions),
        "both, by reciprocal rank": scores_of(joined(words, meaning), questions),
    }
    if find_spec("txtai"):
        lines["txtai, hybrid, the same windows"] = scores_of(txtai_documents(texts), questions)
    for mode in ("keyword", "dense", "hybrid"):
        lines[f"firth, {mode}"] = evaluate(kb, questions, mode)
    rows = [
        f"| {name} | {s.hit_1:.1%} | {s.hit_5:.1%} | {s.hit_10:.1%} | {s.mrr:.3f} |"
        for name, s in lines.items()
    ]
    head = [f"**{len(questions)} questions, scored by document**", "",
            "| ranking | hit@1 | hit@5 | hit@10 | MRR |", "|---|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *rows])


def plain_script(texts: dict[str, str]) -> Callable[[], Any]:
    """Windows, their vectors, a matrix; in bfloat16 where the CPU multiplies it faster."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)  # txtai's, too
    model = SentenceTransformer(str(minilm().parent), device="cpu")
    if firth.SentenceTransformer(minilm().parent).compute_type == "bfloat16":
        model = model.to(torch.bfloat16)
    return lambda: model.encode(
        [text for _, text in windows(texts)], batch_size=32, convert_to_tensor=True
    )


def indexing(texts: dict[str, str], folder: Path) -> tuple[list[Row], Any]:
    """Seconds from files to what can be searched, once each; and the knowledge base.

    txtai loads its model within them, which takes a second or two of minutes.
    """
    docs = folder / "docs"
    docs.mkdir()
    for name, text in texts.items():
        (docs / name).write_text(text, encoding="utf-8")
    model = firth.SentenceTransformer(minilm().parent, compute_type="int8")
    kept: list[firth.KnowledgeBase] = []

    def ours() -> None:
        kept.append(firth.KnowledgeBase(folder / "kb", model))
        kept[0].add(docs)
        kept[0].search("ready?", 1)

    peers = {"sentence-transformers": plain_script(texts)}
    if find_spec("txtai"):
        peers["txtai"] = lambda: txtai_documents(texts)
    timings = {}
    for name, subject in {**peers, "firth": ours}.items():
        start = time.perf_counter()
        subject()
        timings[name] = Timing([time.perf_counter() - start])  # minutes: nothing to warm up
    rows = [
        compared(
            f"indexing {len(texts)} documents", name, timings[name], timings["firth"], "s", 4,
            note=f"{kept[0].stats()['passages']:,} passages",
        )
        for name in peers
    ]  # fmt: skip
    return rows, kept[0]


# Latency


class Ready:
    """An embedding model whose passages have their vectors already."""

    def __init__(self, model: firth.SentenceTransformer, texts: list[str]) -> None:
        self._model = model
        self.tokenizer, self.max_seq_length = model.tokenizer, model.max_seq_length
        self.vectors = model.encode(texts, normalize_embeddings=True)
        self._place = {text: i for i, text in enumerate(texts)}

    def encode(self, *arguments: Any, **options: Any) -> Any:
        return self._model.encode(*arguments, **options)

    encode_query = encode

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return self.vectors[[self._place[text] for text in texts]]


def lines_of_corpus(count: int) -> tuple[list[str], list[str]]:
    """Different lines for passages, and others of which questions are made.

    Lines of less than 256 characters, which have less than 128 tokens: each is one passage.
    """
    with open(corpus_file(), encoding="utf-8") as file:
        lines = (line.strip() for line in islice(file, 4 * count + 10_000))
        found = list(dict.fromkeys(line for line in lines if 0 < len(line) < 256))
    queries = [" ".join(line.split()[:7]) for line in found[count : count + size(500, 5)]]
    return found[:count], queries


MEASURE = """
import sys
sys.path.insert(0, {here!r})
from bench_rag import serve
serve({name!r}, {folder!r})
"""


def ours_at(folder: Path) -> Callable[[str, int], list[Any]]:
    kb = firth.KnowledgeBase(
        folder / "firth", firth.SentenceTransformer(minilm().parent, compute_type="int8")
    )
    return lambda query, part: [
        (one.document, one.metadata["part"]) for one in kb.search(query, 10, where={"part": part})
    ]


def lancedb_at(folder: Path) -> Callable[[str, int], list[Any]]:
    import lancedb
    from lancedb.rerankers import RRFReranker

    table = lancedb.connect(str(folder / "lancedb")).open_table("passages")
    model, fuse = firth.SentenceTransformer(minilm().parent, compute_type="int8"), RRFReranker()

    def search(query: str, part: int) -> list[Any]:
        vector = model.encode(query, normalize_embeddings=True)
        found = table.search(query_type="hybrid").vector(vector).text(query)
        rows = found.where(f"part = {part}", prefilter=True).rerank(fuse).limit(10).to_list()
        return [(row["id"], row["part"]) for row in rows]

    return search


def txtai_at(folder: Path) -> Callable[[str, int], list[Any]]:
    from txtai import Embeddings

    model = firth.SentenceTransformer(minilm().parent, compute_type="int8")
    index = Embeddings()
    index.load(str(folder / "txtai"), config={"transform": lambda some: model.encode(list(some))})
    sql = "select id, part from txtai where similar(:query, 200) and part = :part limit 10"

    def search(query: str, part: int) -> list[Any]:
        rows = index.search(sql, parameters={"query": query, "part": part})
        return [(row["id"], row["part"]) for row in rows]

    return search


SUBJECTS = {"firth": ours_at, "LanceDB": lancedb_at, "txtai": txtai_at}
MODULES = {"LanceDB": "lancedb", "txtai": "txtai"}


def serve(name: str, folder: str) -> None:
    """Search in a process of its own; print seconds of each search, and memory."""
    firth.set_num_threads(THREADS)
    queries = json.loads((Path(folder) / "queries.json").read_text())
    start = time.perf_counter()
    search = SUBJECTS[name](Path(folder))
    search(queries[0], 0)
    ready = time.perf_counter() - start
    seconds = []
    for i, query in enumerate(queries):
        start = time.perf_counter()
        found = search(query, i % FIELD)
        seconds.append(time.perf_counter() - start)
        assert all(part == i % FIELD for _, part in found), name
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1e3
    print(json.dumps({"seconds": seconds, "ready": ready, "memory": memory}))


def build(folder: Path, lines: list[str], ready: Ready, names: list[str]) -> None:
    """The same passages and vectors for each subject."""
    with firth.KnowledgeBase(folder / "firth", cast(Any, ready)) as kb:
        for part in range(FIELD):
            some = range(part, len(lines), FIELD)
            kb.add({str(i): lines[i] for i in some}, {"part": part})
    rows = [(str(i), text, i % FIELD) for i, text in enumerate(lines)]
    if "LanceDB" in names:
        import lancedb
        import pyarrow as pa

        flat = pa.array(ready.vectors.ravel())
        table = pa.table({
            "id": [row[0] for row in rows], "text": [row[1] for row in rows],
            "part": [row[2] for row in rows],
            "vector": pa.FixedSizeListArray.from_arrays(flat, ready.vectors.shape[1]),
        })  # fmt: skip
        made = lancedb.connect(str(folder / "lancedb")).create_table("passages", table)
        made.create_fts_index("text")
        made.create_scalar_index("part")
    if "txtai" in names:
        from txtai import Embeddings

        index = Embeddings(
            method="external", transform=lambda texts: ready.encode_document(list(texts)),
            content=True, hybrid=True,
        )  # fmt: skip
        index.index([(i, {"text": text, "part": part}, None) for i, text, part in rows])
        index.save(str(folder / "txtai"))


def latency() -> list[Row]:
    """p50 and p99 of a search, memory, disk, time to the first answer; about 10 minutes."""
    firth.set_num_threads(THREADS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as name:
        return latency_in(Path(name))


def latency_in(folder: Path) -> list[Row]:
    """`latency` with files in a folder."""
    lines, queries = lines_of_corpus(size(100_000, 200))
    names = ["firth", *(name for name, module in MODULES.items() if find_spec(module))]
    model = firth.SentenceTransformer(minilm().parent, compute_type="int8")
    build(folder, lines, Ready(model, lines), names)
    (folder / "queries.json").write_text(json.dumps(queries))
    found: dict[str, Any] = {}
    for name in names:
        code = MEASURE.format(here=str(Path(__file__).parent), name=name, folder=str(folder))
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
        paths = (folder / name.lower()).rglob("*")
        found[name]["disk"] = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
    mine, rows, work = found.pop("firth"), [], f"{len(lines):,} passages, hybrid with a filter"
    for name, theirs in found.items():
        for what, share in (("p50", 50), ("p99", 99)):
            rows.append(
                compared(
                    f"{work}: {what} of a search", name,
                    Timing([float(np.percentile(theirs["seconds"], share))]),
                    Timing([float(np.percentile(mine["seconds"], share))]), "ms", 3,
                )
            )  # fmt: skip
        rows.append(
            Row(f"{work}: start to first answer", name, theirs["ready"], mine["ready"], "s")
        )
        rows.append(Row(f"{work}: peak memory", name, theirs["memory"], mine["memory"], "MB", 1))
        rows.append(Row(f"{work}: disk", name, theirs["disk"], mine["disk"], "MB"))
    if not found:
        for what, value, unit in (
            ("p50", np.percentile(mine["seconds"], 50) * 1e3, "ms"),
            ("p99", np.percentile(mine["seconds"], 99) * 1e3, "ms"),
        ):
            rows.append(Row(f"{work}: {what} of a search", "10 ms", 10, float(value), unit,
                            kind="budget"))  # fmt: skip
    return rows


def run() -> str:
    """Indexing and quality; about 15 minutes."""
    firth.set_num_threads(THREADS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = documents()
        rows, kb = indexing(texts, folder)
        found = quality(texts, kb)
        kb.close()
    return f"{tables(rows)}\n\n{found}"
