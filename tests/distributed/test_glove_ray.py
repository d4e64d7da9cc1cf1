"""GloVe on clusters: the bits of one process, also after what fails."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from blockwise import SETTINGS, trained, write_corpus
from firth import FormatError, GloVe
from firth.distributed import glove
from ray_clusters import cluster

pytestmark = pytest.mark.ray
EPOCHS = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two files, and one with the lines of both."""
    folder = tmp_path_factory.mktemp("texts")
    for seed, name in enumerate(("a.txt", "b.txt")):
        write_corpus(folder / name, 300, seed)
    both = [(folder / name).read_text() for name in ("a.txt", "b.txt")]
    (folder / "whole").write_text("\n".join(both))
    return folder


def new(**more):
    return GloVe(**SETTINGS | {"epochs": EPOCHS} | more)


def same(one, two):
    assert one.wv.index_to_key == two.wv.index_to_key
    assert_array_equal(one.wv.vectors, two.wv.vectors)
    assert_array_equal(one.context_biases, two.context_biases)
    np.testing.assert_allclose(one.epoch_losses, two.epoch_losses, rtol=1e-12)
    assert (one.corpus_count, one.corpus_total_words) == (two.corpus_count, two.corpus_total_words)


class Dies(RuntimeError):
    pass


def at_round(monkeypatch, number, act):
    """Call ``act`` before a round of training, counted from 1."""
    submitted, calls = glove._Training._submitted, []

    def acting(self, *arguments):
        calls.append(1)
        if len(calls) == number:
            act()
        return submitted(self, *arguments)

    monkeypatch.setattr(glove._Training, "_submitted", acting)


def test_two_nodes(corpus, tmp_path, monkeypatch):
    paths, path = [corpus / "a.txt", corpus / "b.txt"], tmp_path / "checkpoint"
    one = GloVe(corpus_file=corpus / "whole", **SETTINGS | {"epochs": EPOCHS})
    many = trained(new(), corpus / "whole", 4)
    with cluster(2):
        same(glove.train(new(), paths, workers=1), one)
        same(glove.train(new(), paths, workers=2, memory=200_000), many)

        at_round(monkeypatch, 7, lambda: os.kill(os.getpid(), signal.SIGINT))
        model = new()
        with pytest.raises(KeyboardInterrupt, match="the state of training is in"):
            glove.train(model, paths, workers=2, checkpoint=path)
        assert_array_equal(model.wv.vectors, GloVe.load(path).wv.vectors)
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"checkpoint: the checkpoint belongs to another corp"):
            glove.resume(path, corpus / "a.txt")
        same(glove.resume(path, paths, workers=3), many)
        assert not path.exists()

        def die():
            raise Dies

        at_round(monkeypatch, 8, die)  # of 3 an epoch
        with pytest.raises(Dies):
            glove.train(new(), paths, workers=2, checkpoint=path)
        monkeypatch.undo()
        assert len(GloVe.load(path).epoch_losses) in (1, 2), "after epochs, if these are not short"
        other = tmp_path / "other"
        same(glove.resume(path, paths, checkpoint=other), many)
        assert path.exists(), "only what is nobody else's is removed"
        assert len(GloVe.load(other).epoch_losses) == EPOCHS
        same(glove.resume(other, paths), many)
        assert not other.exists()

        # One machine goes on where a cluster stopped: it is the same corpus.
        resumed = GloVe.resume(path, corpus_file=corpus / "whole", workers=1)
        assert len(resumed.epoch_losses) == EPOCHS
        bad_input(corpus, tmp_path)


def bad_input(corpus, folder):
    with pytest.raises(FileNotFoundError, match=r"^train: .*none does not exist$"):
        glove.train(new(), folder / "none")
    with pytest.raises(FileNotFoundError, match=r"checkpoint=.*does not exist$"):
        glove.train(new(), corpus / "a.txt", checkpoint=folder / "no" / "where")
    with pytest.raises(ValueError, match=r"^train: workers must be"):
        glove.train(new(), corpus / "a.txt", workers=0)
    with pytest.raises(MemoryError, match=r"^train: a worker needs 1024\.25 GiB"):
        glove.train(new(memory=1024), corpus / "a.txt")
    with pytest.raises(RuntimeError, match=r"^train: no word occurs min_count=99999 times"):
        glove.train(new(min_count=99999), corpus / "a.txt")
    (folder / "single").write_text("a\nb\na\nb\n")
    with pytest.raises(RuntimeError, match=r"^train: no two words of the vocabulary occur"):
        glove.train(new(), folder / "single")
    model = new(min_count=1)
    model.build_vocab([[1, 2], [3]])
    with pytest.raises(TypeError, match=r"^train: words of files are str"):
        glove.train(model, corpus / "a.txt")
    with pytest.raises(FloatingPointError, match="lower eta"):
        glove.train(new(eta=1e30), corpus / "a.txt", workers=2)
    model.save(folder / "model")
    with pytest.raises(ValueError, match="holds a finished model"):
        glove.resume(folder / "model", corpus / "a.txt")
    with pytest.raises(FormatError):
        glove.resume(corpus / "a.txt", corpus / "a.txt")


def test_a_node_dies(corpus, monkeypatch):
    """Its parameters, records and counts are computed again, to the same bits."""
    many = trained(new(), corpus / "whole", 4)
    with cluster(3) as made:
        import ray

        here = ray.get_runtime_context().get_node_id()
        other = next(node for node in made.worker_nodes if node.node_id != here)
        at_round(monkeypatch, 6, lambda: made.remove_node(other, allow_graceful=False))
        same(glove.train(new(), [corpus / "a.txt", corpus / "b.txt"], workers=2), many)
        assert other not in made.worker_nodes
