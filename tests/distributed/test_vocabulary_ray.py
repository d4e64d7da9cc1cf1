"""Vocabularies counted on clusters: bit for bit those of one process."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import firth
from firth.distributed import build_vocab, splits
from firth.distributed.vocabulary import count
from ray_clusters import cluster

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Several files, some packed; and one with the lines of all."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    whole = b""
    for name in ("a.txt", "b.txt.gz", "c.txt"):
        lines = [
            " ".join(f"w{rank}" for rank in rng.zipf(1.3, rng.integers(0, 30)) % 5000)
            for _ in range(2000)
        ]
        data = "\r\n".join(lines).encode()  # without an end of the last line
        whole += data + b"\n"
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (folder / "whole").write_bytes(whole)
    return folder


@pytest.mark.parametrize("nodes", [2, 3])
def test_same_as_one_process(files, nodes, monkeypatch):
    model = firth.Word2Vec(min_count=2, vector_size=2)
    model.build_vocab(corpus_file=files / "whole")
    runs = splits.runs
    monkeypatch.setattr(splits, "runs", lambda *given: runs(*given, 20_000))
    paths = [files / "a.txt", f"file://{files}/b.txt.gz", str(files / "c*")]
    assert len(splits.runs("", paths, 1)) > 10, "two levels of merging"
    with cluster(nodes):
        for workers in (1, 2, 4, None):
            vocab = build_vocab(paths, 2, workers=workers)
            assert vocab.index_to_key == model.wv.index_to_key
            np.testing.assert_array_equal(vocab.counts, model.wv.expandos["count"])
            assert vocab.total_words == model.corpus_total_words
            assert vocab.sentences == model.corpus_count
        if nodes == 2:
            errors(files, monkeypatch)


def errors(files, monkeypatch):
    """In the words of one process, and not as a task's."""
    bad = files / "bad.txt"
    bad.write_bytes(b"word " * 10_000 + b"\n\xff\n" + b"word " * 10_000)
    with pytest.raises(ValueError, match=r"bad\.txt: b'\\xff' is not UTF-8 text$"):
        build_vocab(bad)
    with pytest.raises(FileNotFoundError, match=r"^build_vocab: .*none\.txt does not exist$"):
        build_vocab([files / "a.txt", files / "none.txt"])
    with pytest.raises(RuntimeError, match=r"^build_vocab: no word occurs min_count=99999 times"):
        build_vocab(files / "a.txt", 99999)
    with pytest.raises(ValueError, match=r"^build_vocab: min_count must be"):
        build_vocab(files / "a.txt", -1)
    (files / "empty").touch()
    with pytest.raises(ValueError, match=r"^build_vocab: the corpus is empty$"):
        build_vocab(files / "empty")
    runs = splits.runs

    def changed(where, paths, workers):
        found = runs(where, paths, workers)
        bad.write_bytes(b"shorter\n")
        return found

    monkeypatch.setattr(splits, "runs", changed)
    with pytest.raises(
        RuntimeError, match=r"bad\.txt: the file changed while the work was going on"
    ):
        count("test", bad)
