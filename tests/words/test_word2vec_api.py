"""Word2Vec besides its training: callbacks, files, queries; gensim as oracle."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from firth import FastText, FormatError, KeyedVectors, Word2Vec
from firth.formats import container
from firth.words import CallbackAny2Vec

TEXT = [[f"w{(i * j) % 23}" for j in range(1, 9)] for i in range(60)]
SMALL = {"sg": 1, "vector_size": 12, "min_count": 1, "epochs": 3, "workers": 1}


class Log(CallbackAny2Vec):
    """Records its calls, and queries the model, whose norms must be up to date."""

    def __init__(self):
        self.events = []

    def on_train_begin(self, model):
        self.events.append("train begins")

    def on_epoch_begin(self, model):
        self.events.append("epoch begins")

    def on_epoch_end(self, model):
        self.events.append("epoch ends")
        model.wv.fill_norms()
        assert_allclose(model.wv.norms, np.linalg.norm(model.wv.vectors, axis=1), rtol=1e-6)

    def on_train_end(self, model):
        self.events.append("train ends")


def test_callbacks_in_their_order():
    log = Log()
    model = Word2Vec(TEXT, callbacks=[log], **SMALL)
    once = ["train begins", *(["epoch begins", "epoch ends"] * 3), "train ends"]
    assert log.events == once
    model.train(TEXT, epochs=1, start_alpha=1e-4)  # they are for one training
    assert log.events == once
    with pytest.warns(UserWarning, match="not kept"):
        Word2Vec(callbacks=[log])


def test_a_callback_may_end_the_training():
    class Stop(CallbackAny2Vec):
        def on_epoch_end(self, model):
            if len(model.epoch_losses) == 2:
                raise StopIteration

    model = Word2Vec(**SMALL | {"epochs": 50})
    model.build_vocab(TEXT)
    with pytest.raises(StopIteration):
        model.train(TEXT, callbacks=[Stop()])
    assert len(model.epoch_losses) == 2
    assert np.isfinite(model.wv.vectors).all()


def test_loss(caplog):
    model = Word2Vec(TEXT, compute_loss=True, **SMALL)
    assert model.get_latest_training_loss() == pytest.approx(sum(model.epoch_losses))
    model.train(TEXT, start_alpha=1e-4)
    assert model.get_latest_training_loss() == 0
    assert model.train_count == 2
    assert model.total_train_time > 0
    with warnings.catch_warnings(), caplog.at_level("WARNING"):
        warnings.simplefilter("error")
        model.train(TEXT)
    assert "'alpha' higher" in caplog.text  # logged, as gensim does: online training is no mistake


@pytest.mark.parametrize("mmap", [None, "r", "c"])
def test_a_saved_model_is_whole(tmp_path, mmap):
    model = Word2Vec(
        TEXT, comment="naïve", max_final_vocab=20, null_word=1, compute_loss=True, **SMALL
    )
    model.build_vocab([["new", "w1"]], update=True, keep_raw_vocab=True)
    model.wv.vectors_lockf = np.ones(len(model.wv), np.float32)
    model.save(tmp_path / "model", sep_limit=0)
    loaded = Word2Vec.load(tmp_path / "model", mmap=mmap)
    same(model, loaded)
    assert loaded.raw_vocab == {"new": 1, "w1": 1}
    for one in (model, loaded):
        one.train(TEXT, start_alpha=1e-4)
    assert_array_equal(model.wv.vectors, loaded.wv.vectors)


def same(model, loaded):
    plain = ("comment", "max_final_vocab", "null_word", "corpus_count", "corpus_total_words",
             "effective_min_count", "train_count", "epoch_losses", "running_training_loss",
             "min_alpha_yet_reached", "alpha", "sample", "seed", "hs", "sg")  # fmt: skip
    for name in plain:
        assert getattr(loaded, name) == getattr(model, name), name
    assert_array_equal(loaded.wv.vectors, model.wv.vectors)
    assert_array_equal(loaded.syn1neg, model.syn1neg)
    assert_array_equal(loaded.syn1, model.syn1)
    assert_array_equal(loaded.wv.vectors_lockf, model.wv.vectors_lockf)
    assert_array_equal(loaded.cum_table, model.cum_table)
    assert loaded.wv.index_to_key == model.wv.index_to_key
    assert set(loaded.wv.expandos) == set(model.wv.expandos)
    for name, values in model.wv.expandos.items():
        for mine, other in zip(values, loaded.wv.expandos[name], strict=True):
            assert_array_equal(mine, other)


def tree_model(**more):
    """A model with both output layers at random, as after a training."""
    model = Word2Vec(**{"hs": 1, "vector_size": 12, "min_count": 1} | more)
    model.build_vocab(TEXT)
    rng = np.random.default_rng(0)
    for name in ("syn1", "syn1neg"):
        layer = getattr(model, name)
        layer[:] = rng.normal(0, 0.3, layer.shape)
    model.wv.vectors[:] = rng.normal(0, 0.3, model.wv.vectors.shape)
    return model


def test_the_tree_is_saved(tmp_path):
    model = tree_model()
    point = model.wv.expandos["point"]
    point[0], point[1] = point[1], point[0]  # a tree that does not follow from the counts
    model.save(tmp_path / "model")
    same(model, Word2Vec.load(tmp_path / "model"))
    model.wv.save(tmp_path / "vectors")  # the tree stays with the model
    assert set(KeyedVectors.load(tmp_path / "vectors").expandos) == {"count", "sample_int"}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("tree:codes", lambda a: a + 2), ("tree:points", lambda a: a - 1),
        ("tree:points", lambda a: a + 22), ("tree:start", lambda a: a[::-1]),
        ("tree:start", lambda a: a[:-1]), ("syn1", lambda a: a[0]),
        ("syn1neg", lambda a: a[:, 0]), ("attribute:count", lambda a: a[1:]),
    ],
)  # fmt: skip
def test_damaged_models(tmp_path, name, damage):
    path = tmp_path / "model"
    tree_model().save(path)
    content = container.read(path)
    arrays = content.arrays | {name: np.ascontiguousarray(damage(content.arrays[name]))}
    container.write(path, content.kind, arrays, content.meta, content.strings)
    with pytest.raises(FormatError):
        Word2Vec.load(path)


def test_questions_that_cannot_be_answered():
    model = tree_model()
    with pytest.warns(UserWarning, match="knows none"):
        assert model.predict_output_word(["nothing", "known"]) is None
    model.syn1neg = model.syn1neg[:0]
    with pytest.raises(RuntimeError, match="no output layer"):
        model.predict_output_word(["w1"])
    model.negative = 0
    with pytest.raises(RuntimeError, match="negative sampling"):
        model.predict_output_word(["w1"])
    with pytest.raises(RuntimeError, match="hierarchical softmax"):
        Word2Vec(TEXT, **SMALL).score(TEXT)
    with pytest.raises(RuntimeError, match="build_vocab"):
        Word2Vec(hs=1).score(TEXT)
    with pytest.raises(ValueError, match="both 0"):
        Word2Vec(TEXT, **SMALL | {"negative": 0})


def test_what_training_needs_is_checked_before_it_changes_anything():
    model = Word2Vec(TEXT, **SMALL)
    losses, kept = model.epoch_losses, model.wv.vectors.copy()
    model.syn1neg = np.zeros((3, 12), np.float32)
    with pytest.raises(ValueError, match=r"syn1neg has shape \(3, 12\)"):
        model.train(TEXT)
    assert model.epoch_losses is losses
    model.wv = KeyedVectors(12)
    with pytest.raises(RuntimeError, match="the vocabulary is empty"):
        model.train(TEXT)
    model.wv = KeyedVectors(12)
    model.wv.add_vectors([f"w{i}" for i in range(23)], kept)
    model.syn1neg = np.zeros((23, 12), np.float32)
    with pytest.raises(ValueError, match="count"):
        model.train(TEXT)


@pytest.fixture(scope="module")
def gensim():
    return pytest.importorskip("gensim")


def twins(gensim, **settings):
    """gensim's model and firth's, with the same weights."""
    theirs = gensim.models.Word2Vec(**{"hs": 1, "vector_size": 12, "min_count": 1} | settings)
    theirs.build_vocab(TEXT)
    ours = tree_model(**settings)
    theirs.wv.vectors = np.ascontiguousarray(ours.wv.vectors)
    theirs.syn1 = np.ascontiguousarray(ours.syn1)
    theirs.syn1neg = np.ascontiguousarray(ours.syn1neg)
    return theirs, ours


@pytest.mark.peer
@pytest.mark.parametrize("cbow_mean", [0, 1])
def test_predictions_are_gensims(gensim, cbow_mean):
    theirs, ours = twins(gensim, cbow_mean=cbow_mean)
    for context in (["w1", "w5"], ["w3"], ["w2", "w2", "missing", 4]):
        for topn in (1, 5, None):
            want = theirs.predict_output_word(context, topn=topn or len(theirs.wv))
            got = ours.predict_output_word(context, topn=topn)
            assert [word for word, _ in got] == [word for word, _ in want]
            # float32 dot products of 12 numbers and a softmax of 23
            assert_allclose([p for _, p in got], [p for _, p in want], rtol=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("settings", [{"sg": 1}, {"sg": 0}, {"sg": 0, "cbow_mean": 0}])
def test_scores_are_gensims(gensim, settings):
    theirs, ours = twins(gensim, **settings)
    text = [*TEXT[:20], ["w1"], ["missing"], [], ["w1", "missing", "w2"]]
    want, got = theirs.score(text), ours.score(text)
    assert got.shape == want.shape
    depth = max(len(code) for code in ours.wv.expandos["code"])
    pairs = 8 * (8 if settings["sg"] else 1)
    # gensim looks log sigmoid up in 1000 steps of 0.012 over -6..6, and numbers them with the whole
    # part of 1000 / 6 / 2 instead of 83.3: x is off by (x + 6) / 250 more, of at most 12 / 250
    assert np.abs(got - want).max() <= pairs * depth * (0.012 + 12 / 250)
    assert np.abs(got - want).max() <= 0.03 * np.abs(want).max()
    assert len(ours.score(text, total_sentences=3)) == 3


@pytest.mark.peer
@pytest.mark.parametrize("settings", [{}, {"hs": 1, "negative": 0}, {"sg": 1, "hs": 1}])
def test_models_of_gensim_are_loaded(gensim, tmp_path, settings):
    theirs = gensim.models.Word2Vec(
        TEXT, vector_size=12, min_count=1, workers=1, comment="theirs", sample=0.01, **settings
    )
    theirs.wv.vectors_lockf = np.ones(len(theirs.wv), np.float32)
    theirs.save(str(tmp_path / "model"))
    ours = Word2Vec.load(tmp_path / "model")
    for name in ("sg", "hs", "negative", "window", "comment", "sample", "corpus_count", "epochs"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert_array_equal(ours.wv.vectors, theirs.wv.vectors)
    assert_array_equal(ours.wv.vectors_lockf, theirs.wv.vectors_lockf)
    for name in ("syn1", "syn1neg"):
        if hasattr(theirs, name):
            assert_array_equal(getattr(ours, name), getattr(theirs, name))
    for name, values in theirs.wv.expandos.items():
        for mine, other in zip(ours.wv.expandos[name], values, strict=True):
            assert_array_equal(mine, other)
    ours.save(tmp_path / "again")
    same(ours, Word2Vec.load(tmp_path / "again"))
    theirs.wv.save(str(tmp_path / "vectors"))
    with pytest.raises(AttributeError, match="not a Word2Vec"):
        Word2Vec.load(tmp_path / "vectors")


@pytest.mark.peer
def test_the_signatures_are_gensims(gensim):
    """The same parameters in the same order with the same defaults; ours follow."""
    names = (
        "__init__", "build_vocab", "build_vocab_from_freq", "scan_vocab", "prepare_vocab", "train",
        "score", "predict_output_word", "estimate_memory", "make_cum_table", "reset_from",
        "prepare_weights", "init_weights", "update_weights", "add_null_word", "create_binary_tree",
        "get_latest_training_loss",
    )  # fmt: skip
    for name in names:
        want, got = (
            [
                (one.name, one.default)
                for one in inspect.signature(getattr(cls, name)).parameters.values()
                if one.kind is one.POSITIONAL_OR_KEYWORD
            ]
            for cls in (gensim.models.Word2Vec, Word2Vec)
        )
        if name == "__init__":
            want = [(key, None if key == "workers" else value) for key, value in want]
        assert got == want, name


def test_training_on_a_generator():
    whole = Word2Vec(TEXT, **SMALL)
    model = Word2Vec(**SMALL)
    model.build_vocab(s for s in TEXT)
    model.train(s for s in TEXT)
    assert_array_equal(model.wv.vectors, whole.wv.vectors)


@pytest.mark.parametrize("kind", [Word2Vec, FastText])
def test_new_words_are_not_locked(kind):
    """One factor a word, as gensim before 4 kept them; words that come later have 1."""
    text = [["a", "b", "c", "d"], ["c", "a", "b"]] * 20
    options = {"bucket": 0} if kind is FastText else {}
    model = kind(text, vector_size=8, min_count=1, workers=1, **options)
    name = "vectors_vocab_lockf" if kind is FastText else "vectors_lockf"
    setattr(model.wv, name, np.zeros(len(model.wv), np.float32))
    locked = model.wv["a"].copy()
    model.build_vocab([["a", "new", "b"]] * 20, update=True)
    fresh = model.wv["new"].copy()
    model.train([["a", "new", "b"]] * 20, total_examples=20, epochs=2)
    assert getattr(model.wv, name).tolist() == [0, 0, 0, 0, 1]
    assert (model.wv["a"] == locked).all()
    assert (model.wv["new"] != fresh).any()
