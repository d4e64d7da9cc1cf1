"""The training of word vectors: gensim's random streams and updates, models, n-gram rows, locks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from firth import FastText, Word2Vec
from firth.words import corpus, training
from texts import encoded

LISTING = [
    ["data", "science", "is", "fun"],
    ["machine", "learning", "is", "powerful"],
    ["data", "and", "learning", "are", "related"],
]
MODELS = [
    {"sg": sg, "hs": hs, "negative": negative, "cbow_mean": mean}
    for sg, hs, negative, mean in itertools.product((0, 1), (0, 1), (0, 5), (1, 0))
    if (hs or negative) and (mean or not sg)
]
pytestmark = pytest.mark.filterwarnings("ignore:Both hierarchical")


def sentences(count=600, seed=0):
    """Sentences of up to 30 of 60 words, some of which are rare."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, count)
    return [[f"w{int(i)}" for i in 60 * rng.power(0.3, n)] for n in lengths]


def test_the_listing_gives_gensims_numbers():
    model = Word2Vec(LISTING, vector_size=50, window=2, min_count=1, workers=2)
    want = [-0.01723938, 0.00733148, 0.01037977, 0.01148388, 0.01493384, -0.01233535]
    assert np.abs(model.wv["data"][:6] - want).max() < 1e-8
    found = dict(model.wv.most_similar("data"))
    near = {"are": 0.1656, "fun": 0.1394, "learning": 0.1267, "powerful": 0.0887, "is": 0.0111,
            "and": -0.0278}  # fmt: skip
    assert list(found)[:6] == list(near)
    assert all(abs(found[word] - value) < 1e-4 for word, value in near.items())


@pytest.mark.peer
@pytest.mark.parametrize("settings", MODELS)
@pytest.mark.parametrize("sample", [0, 1e-2])
def test_streams_are_gensims(settings, sample):
    """The same draws: the vectors differ by rounding and its effect on the table's steps.

    gensim looks the logistic function up in 1000 steps of 0.012. Sums added in another order move
    a score a little; one next to a border (zero is one, and all scores begin there) then takes the
    other entry, 0.003 of a step away. A short training stays within two such steps. In a long one
    each makes the next likelier: two of firth's own levels then differ as firth and gensim do (1e-5
    to 4e-4; with the function itself 4e-7 to 1e-5); that is up to ten such steps.
    """
    gensim = pytest.importorskip("gensim.models")
    shape = {"vector_size": 24, "window": 3, "min_count": 2, "epochs": 2, "sample": sample,
             "workers": 1, "alpha": 0.05}  # fmt: skip
    names = ("syn1neg",) * bool(settings["negative"]) + ("syn1",) * bool(settings["hs"])
    for count, batch_words in ((100, 100), (1500, 10000)):
        text = sentences(count)
        theirs = gensim.Word2Vec(text, **shape, **settings, batch_words=batch_words)
        ours = Word2Vec(text, **shape, **settings, batch_words=batch_words, negatives="independent")
        assert ours.wv.index_to_key == theirs.wv.index_to_key
        with corpus.opened("test", text, None) as given:
            jobs = training.gensim_jobs(given, ours.wv.key_to_index, batch_words)
        assert len(jobs.progress) > 1
        pairs = [(ours.wv.vectors, theirs.wv.vectors)]
        pairs += [(getattr(ours, name), getattr(theirs, name)) for name in names]
        step = 0.003 * 0.05 * max(np.abs(want).max() for _, want in pairs)
        bound = (2 if count == 100 else 10) * step
        for got, want in pairs:
            assert np.abs(got - want).max() <= bound
            assert np.abs(want).max() > 50 * bound
    small = {"vector_size": 20, "window": 2, "min_count": 1, "sample": sample, "workers": 3}
    theirs = gensim.Word2Vec(LISTING, **small, **settings)
    ours = Word2Vec(LISTING, **small, **settings)
    # early on all is small: a step's relative error of 24 eps, in at most 60 steps a row
    bound = 60 * 24 * np.finfo(np.float32).eps * 0.025 * np.abs(theirs.wv.vectors).max()
    assert np.abs(ours.wv.vectors - theirs.wv.vectors).max() <= bound


@pytest.mark.parametrize("settings", MODELS)
@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_every_model_learns_and_repeats_its_bits(settings, negatives):
    topics = enumerate(sentences())
    text = [[f"{word}{i % 2}" for word in words] for i, words in topics]  # two topics
    shape = {"vector_size": 20, "min_count": 1, "sample": 0, "epochs": 5, "workers": 1,
             "compute_loss": True, "negatives": negatives}  # fmt: skip
    one, two = (Word2Vec(text, **shape, **settings) for _ in range(2))
    assert_array_equal(one.wv.vectors, two.wv.vectors)
    assert one.epoch_losses == two.epoch_losses
    assert one.epoch_losses[-1] < one.epoch_losses[0]


@pytest.mark.parametrize("settings", MODELS)
@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_locked_rows_stay(settings, negatives):
    text = sentences(100)
    shape = {"vector_size": 20, "min_count": 1, "sample": 0, "epochs": 1, "workers": 1}
    free = Word2Vec(**shape, **settings, negatives=negatives)
    free.build_vocab(text)
    before = free.wv.vectors.copy()
    free.wv.vectors_lockf = np.ones(len(before), np.float32)
    free.wv.vectors_lockf[::2] = 0
    free.train(text)
    assert_array_equal(free.wv.vectors[::2], before[::2])
    assert (free.wv.vectors[1::2] != before[1::2]).any(axis=1).all()


@pytest.mark.parametrize("sg", [0, 1])
def test_copies_of_the_tree_lose_nothing(sg):
    """Two workers hold copies of the top nodes; on one block, one works: nothing else differs."""
    text = sentences(400)
    tokens = sum(map(len, text))
    assert 3000 < tokens < 10000, "one block"
    shape = {"vector_size": 20, "min_count": 1, "sample": 0, "epochs": 1, "negatives": "shared"}
    one, two = (Word2Vec(text, **shape, sg=sg, hs=1, negative=0, workers=n) for n in (1, 2))
    # A copy is brought together with its row every 16 uses, which rounds once.
    bound = tokens / 16 * np.finfo(np.float32).eps * np.abs(one.syn1).max()
    assert np.abs(one.syn1 - two.syn1).max() <= bound
    assert np.abs(one.wv.vectors - two.wv.vectors).max() <= bound
    assert (one.syn1 != two.syn1).any(), "copies were in use"
    assert np.abs(one.syn1).max() > 100 * bound


@pytest.mark.parametrize("settings", MODELS)
@pytest.mark.parametrize("negatives", ["shared", "independent"])
def test_locked_rows_of_fasttext_stay(settings, negatives):
    """To the bit, although a window works on a copy of a word's vector."""
    text = sentences(100)
    shape = {"vector_size": 20, "min_count": 1, "sample": 0, "epochs": 2, "workers": 1}
    model = FastText(bucket=50, **shape, **settings, negatives=negatives)
    model.build_vocab(text)
    wv = model.wv
    used = np.unique(np.concatenate(wv.buckets_word))
    wv.vectors_vocab_lockf = np.ones(len(wv), np.float32)
    wv.vectors_ngrams_lockf = np.ones(50, np.float32)
    wv.vectors_vocab_lockf[::2] = wv.vectors_ngrams_lockf[::3] = 0
    before = wv.vectors_vocab.copy(), wv.vectors_ngrams.copy()
    model.train(text)
    for rows, old, step in zip((wv.vectors_vocab, wv.vectors_ngrams), before, (2, 3), strict=True):
        assert rows[::step].tobytes() == old[::step].tobytes()
    free = used[used % 3 > 0]
    assert (wv.vectors_ngrams[free] != before[1][free]).any(axis=1).all()
    assert (wv.vectors_vocab[1::2] != before[0][1::2]).any(axis=1).all()


def network(text, rows, **settings):
    """A network of words with further rows: word i has 1 + i % rows of them, all different."""
    model = Word2Vec(vector_size=20, min_count=1, sample=0, hs=settings.pop("hs", 0))
    model.build_vocab(text)
    counts = 1 + np.arange(len(model.wv)) % rows
    start = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    subwords = training.Subwords(
        training.rows(int(start[-1]), 20), start, np.arange(start[-1], dtype=np.int32)
    )
    subwords.vectors[:, :20] = np.random.default_rng(0).standard_normal((start[-1], 20)) * 0.1
    w_in, w_out, w_tree = model._buffers
    ids = encoded(text, model.wv.index_to_key)
    return ids, training.Network(
        w_in, w_out, model.wv.expandos["count"], model.wv.expandos["sample_int"], 3, 5, 1,
        w_tree=w_tree if model.hs else None, tree=model._tree() if model.hs else None,
        subwords=subwords, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("hs", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_locked_rows_meet_the_output_as_they_are(sg, hs, shared):
    """Rows of words that are all locked teach the output what one locked row, their mean, does."""
    text = sentences(200)
    ids, net = network(text, 1, sg=bool(sg), hs=hs, shared=shared)  # two rows a word
    none = np.zeros(1, np.float32)
    net.lockf = net.subwords.lockf = none
    net.w_in[:, :20] = np.random.default_rng(1).standard_normal((len(net.w_in), 20))
    _, plain = network(text, 1, sg=bool(sg), hs=hs, shared=shared)
    plain.subwords, plain.lockf = None, none
    plain.w_in[:] = (net.w_in + net.subwords.vectors) / 2
    for one in (net, plain):
        training.train(one, ids, training.new_run(1, 0.05, 0.0001), raw_words=len(ids), workers=1)
    for mine, want in [(net.w_out, plain.w_out)] + [(net.w_tree, plain.w_tree)] * hs:
        # each of an output's updates rounds the input's mean once more than a stored row's
        bound = len(ids) * np.finfo(np.float32).eps * np.abs(want).max()
        assert np.abs(mine - want).max() <= bound < np.abs(want).max() / 100


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("hs", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_all_rows_of_a_word_take_the_whole_change(sg, hs, shared):
    text = sentences(200)
    ids, net = network(text, 4, sg=bool(sg), hs=hs, shared=shared)
    w_in, sub = net.w_in.copy(), net.subwords.vectors.copy()
    losses = []
    run = training.new_run(3, 0.05, 0.0001)
    training.train(net, ids, run, raw_words=len(ids), workers=1, on_epoch_end=losses.append)
    assert losses[2] < losses[0]
    gained = net.w_in - w_in
    assert (gained[:, :20] != 0).any(axis=1).all()
    # a word's rows are its own, so all gain the same; each addition rounds to eps of the row
    updates = 3 * net.counts.max()
    bound = updates * np.finfo(np.float32).eps * max(np.abs(net.w_in).max(), np.abs(sub).max() + 1)
    for word in range(len(gained)):
        mine = slice(net.subwords.start[word], net.subwords.start[word + 1])
        assert np.abs(net.subwords.vectors[mine] - sub[mine] - gained[word]).max() <= bound
    again_ids, again = network(text, 4, sg=bool(sg), hs=hs, shared=shared)
    run = training.new_run(3, 0.05, 0.0001)
    training.train(again, again_ids, run, raw_words=len(ids), workers=1)
    assert_array_equal(again.subwords.vectors, net.subwords.vectors)


def test_whole_loss_is_near_its_sample():
    text = sentences(2000)
    for settings in ({"sg": 1}, {"sg": 0}, {"sg": 1, "hs": 1, "negative": 0}):
        shape = {"vector_size": 20, "min_count": 1, "sample": 0, "epochs": 1, "workers": 1}
        sample = Word2Vec(text, **shape, **settings).epoch_losses[0]
        whole = Word2Vec(text, **shape, **settings, compute_loss=True).epoch_losses[0]
        # 28,000 windows / 64 of them, losses of a few units each: five standard errors
        assert abs(sample - whole) < 5 * 3 / np.sqrt(28_000 / 64)
        assert sample != whole


@pytest.mark.parametrize("negatives", ["shared", "independent", None])
@pytest.mark.parametrize("sg", [0, 1])
def test_small_corpora_have_a_loss_in_every_epoch(negatives, sg):
    toy = [["a", "b", "c", "d"], ["a", "c", "d", "e"]]
    model = Word2Vec(
        toy, min_count=1, sample=0, vector_size=5, epochs=6, negatives=negatives, sg=sg
    )
    assert len(model.epoch_losses) == 6
    assert np.isfinite(model.epoch_losses).all()
    assert min(model.epoch_losses) > 0
