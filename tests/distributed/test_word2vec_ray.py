"""Word2Vec and FastText on clusters: the same bits wherever replicas run and whatever is lost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from blockwise import write_corpus
from firth import FastText, FormatError, Word2Vec
from firth.distributed import resume, rounds, train
from ray_clusters import cluster

pytestmark = pytest.mark.ray
SETTINGS = {"sg": 1, "vector_size": 12, "seed": 3, "epochs": 3, "negatives": "shared"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files, and one with the lines of both."""
    folder = tmp_path_factory.mktemp("texts")
    for seed, name in enumerate(("a.txt", "b.txt")):
        write_corpus(folder / name, 1500, seed)
    whole = folder / "whole"
    whole.write_text("\n".join((folder / name).read_text() for name in ("a.txt", "b.txt")))
    return folder


def trained(files, replicas, kind=Word2Vec, interval=8000, **more):
    model = kind(**SETTINGS | more)
    return train(model, str(files / "*.txt"), workers=replicas, interval=interval, progress=False)


def same(one, two):
    assert one.wv.index_to_key == two.wv.index_to_key
    assert_array_equal(one.wv.vectors, two.wv.vectors)
    assert_array_equal(one.syn1neg, two.syn1neg)
    np.testing.assert_allclose(one.epoch_losses, two.epoch_losses, rtol=1e-12)


def at_round(monkeypatch, number, act):
    """Call ``act`` with the rounds, before one of them is made."""
    made, calls = rounds.Rounds._round, []

    def acting(self, before):
        calls.append(1)
        if len(calls) == number:
            act(self)
        return made(self, before)

    monkeypatch.setattr(rounds.Rounds, "_round", acting)
    return calls


def kill(actor):
    """End the process of an actor as an accident does."""
    import ray

    ray.kill(actor, no_restart=True)


def test_two_nodes(files, tmp_path, monkeypatch):
    with cluster(2) as made:
        alone = Word2Vec(corpus_file=files / "whole", workers=1, **SETTINGS)
        same(trained(files, 1), alone)  # one replica: the bits of one process
        two = trained(files, 2)
        assert not np.array_equal(two.wv.vectors, alone.wv.vectors)
        assert two.epoch_losses[-1] < 1.05 * alone.epoch_losses[-1]
        assert (two.corpus_count, two.train_count) == (alone.corpus_count, 1)

        # Five replicas on four processors, two of them in turn; a worker is lost, then two.
        five = trained(files, 5)
        with monkeypatch.context() as patch:
            patch.setattr(rounds, "_KEEP_SECONDS", 1e9)  # all is repeated
            calls = at_round(patch, 3, lambda found: kill(found._actors[1]))
            same(trained(files, 5), five)
            whole = len(calls)
        with monkeypatch.context() as patch:
            patch.setattr(rounds, "_KEEP_SECONDS", 0.0)  # little is repeated
            patch.setattr(rounds, "_KEEP_SHARE", 0)
            calls = at_round(patch, 3, lambda found: [kill(one) for one in found._actors[:2]])
            same(trained(files, 5), five)
            assert len(calls) < whole
        with monkeypatch.context() as patch:
            at_round(patch, 3, lambda found: kill(found._actors[0]))
            same(trained(files, 1), alone)

        # The driver is told to stop, and goes on.
        path = tmp_path / "checkpoint"
        with monkeypatch.context() as patch:
            at_round(patch, 3, lambda _: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt, match="resume goes on"):
                train(
                    Word2Vec(**SETTINGS), str(files / "*.txt"), workers=2, interval=8000,
                    checkpoint=path,
                )  # fmt: skip
        with pytest.raises(ValueError, match=r"belongs to another corpus"):
            resume(path, files / "a.txt")
        with pytest.raises(ValueError, match=r"firth\.distributed\.resume goes on with it"):
            Word2Vec.resume(path, corpus_file=files / "whole")
        same(resume(path, str(files / "*.txt")), two)
        assert not path.exists()
        two.save(path)
        with pytest.raises(ValueError, match=r"holds a finished model, no interrupted training"):
            resume(path, str(files / "*.txt"))
        path.write_bytes(b"text")
        with pytest.raises(FormatError):
            resume(path, str(files / "*.txt"))

        text = trained(files, 2, FastText, bucket=100, hs=1, negative=0)
        again = trained(files, 2, FastText, bucket=100, hs=1, negative=0)
        assert_array_equal(text.wv.vectors, again.wv.vectors)
        assert np.isfinite(text.wv["unheard"]).all()

        with pytest.raises(ValueError, match=r"^train: workers must be .* got 0$"):
            trained(files, 0)
        with pytest.raises(ValueError, match=r"train: interval must be"):
            trained(files, 2, interval=0)
        with pytest.raises(ValueError, match=r"^train: max_vocab_size"):
            trained(files, 2, max_vocab_size=10)
        with pytest.raises(RuntimeError, match=r"empty: no word occurs min_count=100"):
            trained(files, 2, min_count=10**6)
        (tmp_path / "short.txt").write_text("a b\n" * 10)
        with pytest.raises(ValueError, match=r"^train: 40 splits cannot be dealt to 200"):
            train(Word2Vec(**SETTINGS), tmp_path / "short.txt", workers=200)

        # A node is lost and does not come back: its replicas go on with the other's workers.
        monkeypatch.setattr(rounds, "_ENOUGH", 3.0)
        node = made.list_all_nodes()[-1]
        with monkeypatch.context() as patch:
            at_round(patch, 4, lambda _: made.remove_node(node, allow_graceful=False))
            same(trained(files, 5), five)
