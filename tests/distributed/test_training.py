"""`train` without Ray: what is refused before any work."""

from __future__ import annotations

import pytest

from firth import FastText, GloVe, Word2Vec
from firth.distributed import build_vocab, cluster, resume, train


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


@pytest.mark.parametrize("paths", [5, None, b"corpus", [b"corpus"], ["corpus", 5]])
def test_what_are_no_files(paths):
    with pytest.raises(TypeError, match=r"^build_vocab: files must be a path or several, got "):
        build_vocab(paths)
    for kind in (Word2Vec, GloVe):
        with pytest.raises(TypeError, match=r"^train: files must be a path or several, got "):
            train(kind(), paths)


def test_a_protocol_that_fsspec_does_not_know(monkeypatch):
    pytest.importorskip("fsspec")
    from fsspec.registry import known_implementations

    wanted = r"^build_vocab: zzz://x: .*; give local files, or install the package that brings"
    with pytest.raises(ValueError, match=wanted):
        build_vocab("zzz://x")
    lacking = {"class": "no_such_package.System", "err": "Install no_such_package"}
    monkeypatch.setitem(known_implementations, "zzz", lacking)
    wanted = r"^build_vocab: zzz://x: Install no_such_package \(with pip\)$"
    with pytest.raises(ImportError, match=wanted):
        build_vocab("zzz://x")


def test_no_checkpoint_to_resume_from(corpus):
    with pytest.raises(FileNotFoundError, match=r"^resume: there is no nope; give the checkpoint"):
        resume("nope", corpus)
    with pytest.raises(TypeError, match=r"^resume: the checkpoint must be a path, got 5$"):
        resume(5, corpus)
