"""Co-occurrences counted on clusters: bit for bit those of one process."""

from __future__ import annotations

import numpy as np
import pytest

from firth.distributed import splits
from firth.distributed.cooccurrences import cooccurrences
from firth.words import cooccurrences as single
from firth.words.corpus import opened
from ray_clusters import cluster

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two files; words and counts; the matrix of one process."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    whole = ""
    for name in ("a.txt", "b.txt"):
        text = "\n".join(
            " ".join(f"w{rank}" for rank in rng.zipf(1.3, rng.integers(0, 60)) % 800)
            for _ in range(1500)
        )
        (folder / name).write_text(text)
        whole += text + "\n"
    (folder / "whole").write_text(whole)
    with opened("test", None, folder / "whole") as text:
        found = text.count()
        kept = np.argsort(-found.counts, kind="stable")[:600]
        words = [found.words[i] for i in kept]
        ids = text.encode(words, {word: row for row, word in enumerate(words)})
    ((_, rows),) = single.cooccurrences(ids, len(words), window=15)
    return folder, words, found.counts[kept], rows


@pytest.mark.parametrize("nodes", [2, 3])
def test_same_as_one_process(corpus, nodes):
    folder, words, counts, want = corpus
    paths = [folder / "a.txt", folder / "b.txt"]
    with cluster(nodes):
        for workers, memory in ((1, 1 << 19), (1, 1 << 30), (2, 1 << 30), (4, 1 << 20)):
            several = len(splits.runs("", paths, workers, max(1 << 16, memory // 8))) > 1
            assert several == ((workers, memory) != (1, 1 << 30))
            got = list(cooccurrences(paths, words, counts, workers=workers, memory=memory))
            lengths = np.cumsum([0, *(len(rows[0]) for _, rows in got)])
            assert [first for first, _ in got] == lengths[:-1].tolist()
            assert len(got) > 3
            for one, two in zip(zip(*(rows for _, rows in got), strict=True), want, strict=True):
                np.testing.assert_array_equal(np.concatenate(one), two)
        with pytest.raises(MemoryError, match=r"^cooccurrences: a worker needs 1024\.25 GiB"):
            next(cooccurrences(paths, words, counts, memory=1 << 40))
