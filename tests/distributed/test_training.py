"""`train` without Ray: what is refused before any work."""

from __future__ import annotations

import pytest

from firth import FastText, GloVe, Word2Vec
from firth.distributed import build_vocab, cluster, train


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A file, and a cluster of two processors."""
    monkeypatch.setattr(cluster, "nodes", lambda *_: cluster.Nodes(1, 2))
    path = tmp_path / "corpus.txt"
    path.write_text("a b c d\n" * 100)
    return path


@pytest.mark.parametrize("kind", [Word2Vec, FastText, GloVe])
@pytest.mark.parametrize("workers", [129, 60_000])
def test_more_workers_than_can_be_meant(corpus, kind, workers):
    model = kind()
    wanted = rf"^train: {workers:,} workers, the cluster has 2 processors; at most 64 share one$"
    with pytest.raises(ValueError, match=wanted):
        train(model, corpus, workers=workers)
    assert not len(model.wv)
    with pytest.raises(ValueError, match=r"^train: workers must be a whole number from 1 to 65536"):
        train(model, corpus, workers=10**6)


def test_more_workers_than_can_count(corpus):
    with pytest.raises(ValueError, match=r"^build_vocab: 1,000,000 workers, the cluster has 2 "):
        build_vocab(corpus, workers=10**6)
