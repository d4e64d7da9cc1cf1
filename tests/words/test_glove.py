from __future__ import annotations

import math
import os
import tempfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from firth import FormatError, GloVe, _native
from firth.kernels import backends, use
from firth.words.cooccurrences import added, cooccurrences, sums, unit
from interrupting import interrupt


def zipf_sentences(words=300, sentences=400, seed=0):
    """Sentences in which words of one topic occur together, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(sentences):
        topic = rng.integers(0, 5)
        ranks = (rng.zipf(1.4, rng.integers(2, 40)) - 1) % (words // 5)
        made.append([f"w{5 * rank + topic}" if rank > 2 else f"the{rank}" for rank in ranks])
    return made


def brute_force(ids, vocabulary, window, symmetric, distance_weighting):
    """The matrix as the paper defines it, pair by pair; rounded once for windows up to 18."""
    whole = math.lcm(*range(1, window + 1)) if window <= 18 else 1
    counts = np.zeros((vocabulary, vocabulary))
    sentence: list[int] = []
    for token in ids.tolist():
        word = ~token if token < 0 else token
        for distance in range(1, min(window, len(sentence)) + 1):
            x = whole / distance if distance_weighting else whole
            counts[sentence[-distance], word] += x
            if symmetric:
                counts[word, sentence[-distance]] += x
        sentence.append(word)
        if token < 0:
            sentence = []
    return counts / whole


def matrix(ids, vocabulary, **settings):
    counts = np.zeros((vocabulary, vocabulary))
    for first, (lengths, columns, values) in cooccurrences(ids, vocabulary, **settings):
        rows = np.repeat(np.arange(first, first + len(lengths)), lengths)
        assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
        counts[rows, columns] = values
    return counts


def random_ids(n=6000, vocabulary=70, ends=0.05, seed=0):
    rng = np.random.default_rng(seed)
    ids = ((rng.zipf(1.3, n) - 1) % vocabulary).astype(np.int32)
    ended = rng.random(n) < ends
    ids[ended] = ~ids[ended]
    return ids


@pytest.mark.parametrize("memory", [4 << 30, 16 * 97, 16 * 2000], ids=["whole", "tiny", "pieces"])
@pytest.mark.parametrize("distance_weighting", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("window", [1, 4, 15])
def test_counts_are_those_of_the_definition(window, symmetric, distance_weighting, memory):
    for ends in (0.05, 0.0, 1.0):  # short sentences, one without end, only single words
        ids = random_ids(ends=ends, n=1500)
        settings = {
            "window": window, "symmetric": symmetric, "distance_weighting": distance_weighting,
        }  # fmt: skip
        want = brute_force(ids, 70, **settings)
        got = matrix(ids, 70, **settings, memory=memory, block=16)
        if symmetric:
            want = np.tril(want)
        assert_array_equal(got, want)


@pytest.mark.parametrize("memory", [4 << 30, 16 * 500], ids=["whole", "pieces"])
def test_counts_of_wide_windows(memory):
    """Weights are rounded to whole numbers of 2^-24."""
    ids = random_ids(n=1500)
    for window in (19, 300):
        want = brute_force(ids, 70, window, False, True)
        got = matrix(ids, 70, window=window, symmetric=False, memory=memory)
        np.testing.assert_allclose(got, want, rtol=window * 2.0**-25)
        assert_array_equal(got, matrix(ids, 70, window=window, symmetric=False))


def test_the_whole_numbers_of_counts():
    assert [unit(window, True) for window in (1, 2, 3, 4, 15, 18, 19, 10**12)] == [
        1, 2, 6, 12, 360360, 12252240, 2**24, 2**24,
    ]  # fmt: skip
    assert unit(10, False) == 1


@pytest.mark.parametrize("symmetric", [True, False])
def test_sums_of_pieces_are_the_whole(symmetric):
    """Bit for bit, and with the columns of a row in the same order."""
    ids = random_ids(n=4000)
    settings = {
        "window": 16, "symmetric": symmetric, "distance_weighting": True, "block": 16,
        "memory": 1 << 30, "progress": False,
    }  # fmt: skip
    ends = np.flatnonzero(ids < 0)[[3, 50, 51, 120]] + 1
    pieces = [next(sums(piece, 70, **settings))[1] for piece in np.split(ids, ends)]
    ((_, whole),) = sums(ids, 70, **settings)
    assert (whole[2] == np.floor(whole[2])).all()
    for grouped in (pieces, [added(pieces[:2], 70), *pieces[2:4], added(pieces[4:], 70)]):
        for one, two in zip(added(grouped, 70), whole, strict=True):
            assert_array_equal(one, two)


def test_counts_do_not_depend_on_threads():
    ids = random_ids(200_000, 500)
    threads = _native.num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            firth.set_num_threads(count)
            waves = cooccurrences(ids, 500, window=15, block=64)
            results.append([array for _, rows in waves for array in rows])
    finally:
        firth.set_num_threads(threads)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_array_equal(one, two)


def test_no_temporary_file_has_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    waves = cooccurrences(random_ids(), 70, window=5, memory=16 * 500, block=8)
    next(waves)
    if os.name == "posix":
        assert not list(tmp_path.iterdir())
    waves.close()
    assert not list(tmp_path.iterdir())


class Oracle:
    """The algorithm's mathematics in float64: weighted least squares by AdaGrad, records shuffled
    anew in every epoch (Pennington et al. 2014; steps as in the kernel's reference)."""

    def __init__(self, counts, dim, seed, eta=0.05, x_max=100.0, alpha=0.75):
        self.random = np.random.default_rng(seed)
        self.rows, self.columns = np.nonzero(counts)
        x = counts[self.rows, self.columns]
        self.logs, self.weights = np.log(x), np.minimum(1, (x / x_max) ** alpha)
        shape = (len(counts), 2, dim + 1)
        self.words, self.contexts = np.ones((2, *shape))
        for state in (self.words, self.contexts):
            state[:, 0] = (self.random.random((len(counts), dim + 1)) - 0.5) / dim
        self.eta = eta

    def epoch(self):
        order = self.random.permutation(len(self.rows))
        cost = firth.kernels.glove_adagrad.reference(
            self.words, self.contexts, self.rows[order], self.columns[order], self.logs[order],
            self.weights[order], self.eta,
        )  # fmt: skip
        return cost / len(order)


def full_counts(model, sentences, **settings):
    ids = [model.wv.key_to_index[word] for sentence in sentences for word in sentence]
    ends = np.cumsum([len(sentence) for sentence in sentences]) - 1
    ids = np.array(ids, np.int32)
    ids[ends] = ~ids[ends]
    return brute_force(ids, len(model.wv), **settings)


@pytest.mark.parametrize("symmetric", [True, False])
def test_costs_are_those_of_the_oracle(symmetric):
    sentences = zipf_sentences(sentences=120)
    settings = {"window": 6, "symmetric": symmetric}
    more = {"vector_size": 12, "min_count": 1, "epochs": 4, "x_max": 5.0, "workers": 1}
    model = GloVe(sentences, **settings, **more)
    counts = full_counts(model, sentences, **settings, distance_weighting=True)
    costs = np.array(
        [
            [oracle.epoch() for _ in range(4)]
            for oracle in (Oracle(counts, 12, seed, x_max=5.0) for seed in range(3))
        ]
    )
    # The effect of shuffling and initial values is the oracle's own range over three seeds
    # (about 1.7 standard deviations, so three of it are five), and taken as 4 % where three seeds
    # happen to agree. The cost falls by a third and more meanwhile,
    spread = np.maximum(3 * (costs.max(0) - costs.min(0)), 0.04 * costs.mean(0))
    assert (np.abs(np.array(model.epoch_losses) - costs.mean(0)) <= spread).all()
    assert costs[:, 0].min() > 1.2 * costs[:, 1].max()
    assert (spread[1:] < 0.06 * costs.mean(0)[1:]).all(), "the later costs must tell"


def test_learns_log_counts_and_topics():
    sentences = zipf_sentences()
    model = GloVe(sentences, vector_size=20, window=10, min_count=5, epochs=40, x_max=10.0, seed=3)
    ids = model.wv.key_to_index
    kept = [[word for word in sentence if word in ids] for sentence in sentences]
    counts = full_counts(
        model, [s for s in kept if s], window=10, symmetric=True, distance_weighting=True
    )
    rows, columns = np.nonzero(counts > 5)
    fitted = (
        np.einsum("nd,nd->n", model.word_vectors[rows], model.context_vectors[columns])
        + model.word_biases[rows] + model.context_biases[columns]
    )  # fmt: skip
    assert np.corrcoef(fitted, np.log(counts[rows, columns]))[0, 1] > 0.95
    assert_array_equal(model.wv.vectors, model.word_vectors + model.context_vectors)
    words = [word for word in model.wv.index_to_key[:60] if word.startswith("w")]
    hits = [int(model.wv.most_similar(w, topn=1)[0][0][1:]) % 5 == int(w[1:]) % 5 for w in words
            if model.wv.most_similar(w, topn=1)[0][0].startswith("w")]  # fmt: skip
    assert np.mean(hits) > 0.6, "chance is 0.2"


def test_one_worker_gives_the_same_bits():
    sentences = zipf_sentences()
    settings = {"vector_size": 10, "window": 5, "min_count": 2, "epochs": 3, "workers": 1}
    one, two = (GloVe(sentences, seed=5, **settings) for _ in range(2))
    assert_array_equal(one.wv.vectors, two.wv.vectors)
    assert one.epoch_losses == two.epoch_losses
    other = GloVe(sentences, seed=6, **settings)
    assert np.abs(one.wv.vectors - other.wv.vectors).max() > 0.01


def test_workers_train_every_record():
    """Many blocks: every pair is trained once per epoch by any worker.

    A huge x_max makes all weights tiny: steps below the resolution of float32 leave each record's
    cost what it was at the start, so that the cost of an epoch is a sum of the same terms.
    """
    sentences = zipf_sentences(2000, 1500, seed=1)
    settings = {"vector_size": 200, "window": 8, "min_count": 1, "epochs": 3, "seed": 2}
    settings["x_max"] = 1e18
    one = GloVe(sentences, workers=1, **settings)
    for workers in (2, 3):
        many = GloVe(sentences, workers=workers, **settings)
        np.testing.assert_allclose(many.epoch_losses, one.epoch_losses, rtol=1e-6)


def test_levels_agree():
    sentences = zipf_sentences(sentences=100)
    results = {}
    for backend in backends():
        if backend.startswith("native:"):
            with use(backend):
                results[backend] = GloVe(
                    sentences, vector_size=21, min_count=1, epochs=2, workers=1
                ).epoch_losses
    first = next(iter(results.values()))
    for losses in results.values():  # rounding only; the steps do not amplify it in two epochs
        np.testing.assert_allclose(losses, first, rtol=1e-4)


def test_file_and_sentences_give_the_same(tmp_path):
    sentences = zipf_sentences()
    path = tmp_path / "corpus.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
    settings = {"vector_size": 8, "min_count": 3, "epochs": 2, "workers": 1}
    one, two = GloVe(sentences, **settings), GloVe(corpus_file=path, **settings)
    assert one.wv.index_to_key == two.wv.index_to_key
    assert_array_equal(one.wv.vectors, two.wv.vectors)
    assert (one.corpus_count, one.corpus_total_words) == (two.corpus_count, two.corpus_total_words)


def test_a_small_budget_gives_the_same_training(tmp_path, monkeypatch):
    """Counting in pieces and records in a file: the costs agree to the order of the records."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sentences = zipf_sentences()
    settings = {"vector_size": 8, "min_count": 1, "epochs": 3, "workers": 1}
    whole = GloVe(sentences, **settings)
    small = GloVe(sentences, memory=20_000 / 2**30, **settings)
    np.testing.assert_allclose(small.epoch_losses, whole.epoch_losses, rtol=0.02)
    assert not list(tmp_path.iterdir())


def test_vocabulary_is_in_stanfords_order():
    sentences = [["b", "a", "c", "c", "d"], ["b", "a", "e", "c"]]
    model = GloVe(vector_size=4, min_count=2)
    model.build_vocab(sentences)
    assert model.wv.index_to_key == ["c", "a", "b"]
    assert model.wv.get_vecattr("a", "count") == 2
    assert model.corpus_total_words == 9
    model = GloVe(vector_size=4, min_count=1, max_vocab=2)
    model.build_vocab(sentences)
    assert model.wv.index_to_key == ["c", "a"]
    assert np.abs(model.word_vectors).max() <= 0.5 / 4
    assert np.abs(model.wv.vectors).max() > 0


def test_save_load_and_train_on(tmp_path):
    sentences = zipf_sentences()
    settings = {"vector_size": 9, "min_count": 2, "workers": 1}
    whole = GloVe(sentences, epochs=4, **settings)
    half = GloVe(sentences, epochs=2, **settings)
    path = tmp_path / "half.firth"
    half.save(path)
    loaded = GloVe.load(path)
    assert_array_equal(loaded.wv.vectors, half.wv.vectors)
    assert loaded.wv.index_to_key == half.wv.index_to_key
    assert loaded.epoch_losses == half.epoch_losses
    loaded.workers = 1
    loaded.train(sentences, epochs=2)
    assert_array_equal(loaded.wv.vectors, whole.wv.vectors)
    assert loaded.epoch_losses == whole.epoch_losses
    with pytest.raises(AttributeError, match="holds a GloVe model"):
        firth.Word2Vec.load(path)
    assert_array_equal(firth.KeyedVectors.load(path).vectors, half.wv.vectors)


def test_damaged_files(tmp_path):
    model = GloVe(zipf_sentences(sentences=20), vector_size=4, min_count=1, epochs=1)
    path = tmp_path / "model.firth"
    model.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in [0, 5, 100, *rng.integers(0, len(data), 20).tolist()]:
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError):
            GloVe.load(path)
    for place in rng.integers(0, len(data), 60).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            GloVe.load(path)
        except FormatError:
            continue
        assert data[place - 64 : place].count(0) > 0, "only padding is not covered by checksums"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_interrupt_leaves_a_checkpoint(tmp_path, monkeypatch):
    sentences = zipf_sentences(sentences=300)
    path = tmp_path / "checkpoint"
    model = GloVe(vector_size=50, min_count=1, epochs=20, workers=1)
    model.build_vocab(sentences)
    interrupt(monkeypatch, _native.words, "GloveTrainer", lambda epochs: epochs[-1] == 5)
    with pytest.raises(KeyboardInterrupt, match=f"the state of training is in {path}"):
        model.train(sentences, checkpoint=path)
    monkeypatch.undo()
    done = len(model.epoch_losses)
    assert done == 5
    assert_array_equal(model.wv.vectors, model.word_vectors + model.context_vectors)
    saved = GloVe.load(path)
    assert_array_equal(saved.wv.vectors, model.wv.vectors)
    with pytest.raises(ValueError, match="belongs to another corpus"):
        GloVe.resume(path, sentences[1:], workers=1)
    resumed = GloVe.resume(path, sentences, workers=1)
    assert not path.exists()
    assert len(resumed.epoch_losses) == 20
    assert resumed.epoch_losses[-1] < model.epoch_losses[0]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_second_training_is_resumed(tmp_path, monkeypatch):
    """What is missing is what that call of train has not done, whatever came before it."""
    sentences, path = zipf_sentences(sentences=30), tmp_path / "checkpoint"
    model = GloVe(sentences, vector_size=5, min_count=1, epochs=2, workers=1)

    interrupt(monkeypatch, _native.words, "GloveTrainer", lambda epochs: epochs[-1] == 4)
    with pytest.raises(KeyboardInterrupt):
        model.train(sentences, epochs=4, checkpoint=path)
    monkeypatch.undo()
    assert len(GloVe.resume(path, sentences, workers=1).epoch_losses) == 6


def test_a_finished_model_is_not_resumed(tmp_path):
    """It would be removed as a checkpoint whose training is complete."""
    sentences, path = zipf_sentences(sentences=30), tmp_path / "model"
    GloVe(sentences, vector_size=5, min_count=1, epochs=1).save(path)
    with pytest.raises(ValueError, match="holds a finished model"):
        GloVe.resume(path, sentences)
    assert len(GloVe.load(path).epoch_losses) == 1


def test_divergence_is_an_error():
    model = GloVe(vector_size=5, min_count=1, eta=1e30, epochs=3)
    sentences = zipf_sentences(sentences=30)
    model.build_vocab(sentences)
    with pytest.raises(FloatingPointError, match="lower eta"):
        model.train(sentences)


def test_bad_arguments():
    sentences = zipf_sentences(sentences=3)
    for settings, message in [
        ({"vector_size": 0}, "vector_size"), ({"window": 1.5}, "window"), ({"x_max": 0}, "x_max"),
        ({"alpha": -1}, "alpha"), ({"eta": float("nan")}, "eta"), ({"memory": 0}, "memory"),
        ({"seed": -1}, "seed"), ({"epochs": 0}, "epochs"), ({"max_vocab": 0}, "max_vocab"),
        ({"grad_clip": 0}, "grad_clip"), ({"workers": 0}, "workers"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"GloVe: {message} must be"):
            GloVe(sentences, **settings)
    with pytest.raises(TypeError, match="either"):
        GloVe(sentences, corpus_file="x")
    with pytest.raises(TypeError, match="generator"):
        GloVe(iter(sentences))
    with pytest.raises(RuntimeError, match="min_count=100"):
        GloVe(sentences, min_count=100)
    with pytest.raises(RuntimeError, match="build_vocab"):
        GloVe().train(sentences)
    with pytest.raises(RuntimeError, match="no two words"):
        GloVe([["a"], ["b"]], min_count=1)
