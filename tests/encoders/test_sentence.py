"""SentenceTransformer: folders, pooling, every option of encode, damage."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import firth
from firth import FormatError, SentenceTransformer
from firth.encoders import batches as batching
from firth.encoders import quantize_embeddings
from sentence_folders import TEXTS, dense, module, sentence_folder, transformer

MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sentence_folder(tmp_path / "model")


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, compute_type="float32")


def hidden(folder: Path, model: SentenceTransformer, text: str) -> np.ndarray:
    """The vectors of a text's tokens, by the class below."""
    given = model.tokenize([text])
    return firth.AutoModel.from_pretrained(folder)(**given).last_hidden_state[0]


def test_vectors_are_means_of_length_1_in_the_order_of_the_texts(folder, model):
    got = model.encode(TEXTS)
    assert (got.shape, got.dtype) == ((len(TEXTS), 32), np.float32)
    for text, vector in zip(TEXTS, got, strict=True):
        want = hidden(folder, model, text).astype(np.float64).mean(0)
        np.testing.assert_allclose(vector, want / np.linalg.norm(want), atol=1e-6)


def test_a_text_has_the_same_bits_alone_and_in_any_batch(model, monkeypatch):
    want = model.encode(TEXTS * 3, batch_size=2)
    np.testing.assert_array_equal(np.stack([model.encode(text) for text in TEXTS * 3]), want)
    monkeypatch.setattr(batching, "_CHARACTERS", 20)  # many chunks, by another thread
    monkeypatch.setattr(batching, "_FEWEST", 1)
    monkeypatch.setattr(batching, "_MOST", 5)
    np.testing.assert_array_equal(model.encode(TEXTS * 3), want)


def test_equal_texts_are_computed_once(model, monkeypatch):
    seen = []
    pool = type(model._stack).pool
    monkeypatch.setattr(
        type(model._stack), "pool", lambda self, b, p: seen.append(len(b)) or pool(self, b, p)
    )
    got = model.encode([TEXTS[0]] * 500 + [TEXTS[1]])
    assert sum(seen) == 2
    assert (got[:500] == got[0]).all()


@pytest.mark.parametrize("given", [tuple(TEXTS), np.array(TEXTS), (text for text in TEXTS)])
def test_any_iterable(model, given):
    np.testing.assert_array_equal(model.encode(given), model.encode(TEXTS))


def test_nothing_and_odd_texts(model):
    assert model.encode([]).shape == (0, 32)
    assert model.encode([], precision="binary").shape == (0, 4)
    got = model.encode(["", " ", "\ud800", "a \ud800 cat", "x" * 10_000_000])
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got[0], got[1])
    np.testing.assert_array_equal(got[3], model.encode("a \ufffd cat"))


@pytest.mark.parametrize("given", [None, b"bytes", ["a", None], ["a", b"b"], 3, [3], {"text": "a"}])
def test_what_is_no_text_is_refused(model, given):
    with pytest.raises(TypeError, match="must be"):
        model.encode(given)


@pytest.mark.parametrize("mode", MODES)
def test_pooling(tmp_path, mode):
    config = {"embedding_dimension": 32, "pooling_mode": mode}
    folder = sentence_folder(tmp_path / "model", config, normalize=False)
    model = SentenceTransformer(folder, compute_type="float32")
    rows = hidden(folder, model, TEXTS[0]).astype(np.float64)
    places = np.arange(1, len(rows) + 1)
    want = {
        "cls": rows[0],
        "max": rows.max(0),
        "mean": rows.mean(0),
        "mean_sqrt_len_tokens": rows.sum(0) / len(rows) ** 0.5,
        "weightedmean": places @ rows / places.sum(),
        "lasttoken": rows[-1],
    }[mode]
    np.testing.assert_allclose(model.encode(TEXTS[0]), want, atol=2e-6)


def test_several_poolings_are_joined(tmp_path):
    both = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    both["pooling_mode_max_tokens"] = True
    folder = sentence_folder(tmp_path / "model", both, normalize=False)
    model = SentenceTransformer(folder, compute_type="float32")
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 64
    rows = hidden(folder, model, TEXTS[2])
    np.testing.assert_allclose(model.encode(TEXTS[2]), np.r_[rows[0], rows.max(0)], atol=1e-6)


def test_a_transformer_alone_is_pooled_by_mean(tmp_path):
    folder = transformer(tmp_path / "model")
    model = SentenceTransformer(folder, compute_type="float32")
    assert model.max_seq_length == 40
    want = hidden(folder, model, TEXTS[1]).mean(0)
    np.testing.assert_allclose(model.encode(TEXTS[1]), want, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("torch.nn.modules.activation.Tanh", np.tanh),
        ("torch.nn.modules.linear.Identity", lambda x: x),
        ("torch.nn.modules.activation.ReLU", lambda x: np.maximum(x, 0)),
        ("torch.nn.modules.activation.Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
@pytest.mark.parametrize("residual", [False, True])
def test_dense(tmp_path, name, function, residual):
    folder = sentence_folder(tmp_path / "model", normalize=False)
    arrays = dense(20, 32)
    if residual:
        arrays["residual__weight"] = dense(20, 32, 1)["linear__weight"]
    config = {"in_features": 32, "out_features": 20, "bias": True, "activation_function": name}
    module(folder, 2, "Dense", {**config, "use_residual": residual}, **arrays)
    model = SentenceTransformer(folder, compute_type="float32")
    assert model.get_embedding_dimension() == 20
    mean = hidden(folder, model, TEXTS[0]).mean(0)
    want = function(arrays["linear__weight"] @ mean + arrays["linear__bias"])
    if residual:
        want = want + arrays["residual__weight"] @ mean
    np.testing.assert_allclose(model.encode(TEXTS[0]), want, atol=5e-6)


def test_layer_norm_and_dropout(tmp_path):
    folder = sentence_folder(tmp_path / "model", normalize=False)
    rng = np.random.default_rng(0)
    gain, bias = rng.standard_normal((2, 32), np.float32)
    module(folder, 2, "Dropout", {"dropout": 0.5})
    module(folder, 3, "LayerNorm", {"dimension": 32}, norm__weight=gain, norm__bias=bias)
    model = SentenceTransformer(folder, compute_type="float32")
    mean = hidden(folder, model, TEXTS[0]).mean(0)
    want = gain * (mean - mean.mean()) / np.sqrt(mean.var() + 1e-5) + bias
    np.testing.assert_allclose(model.encode(TEXTS[0]), want, atol=5e-6)


def test_truncation_then_length_then_bytes(model):
    whole = model.encode(TEXTS)
    cut = model.encode(TEXTS, truncate_dim=8)
    np.testing.assert_array_equal(cut, whole[:, :8])
    unit = model.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    for precision in ("int8", "uint8", "binary", "ubinary"):
        with pytest.warns() if precision.endswith("int8") else contextless():
            got = model.encode(TEXTS, truncate_dim=8, precision=precision)
        with pytest.warns() if precision.endswith("int8") else contextless():
            np.testing.assert_array_equal(got, quantize_embeddings(cut, precision))
    with model.truncate_embeddings(5):
        assert model.encode(TEXTS).shape == (9, 5)
        assert model.get_embedding_dimension() == 5
    assert model.encode(TEXTS[0]).shape == (32,)


def contextless():
    import contextlib

    return contextlib.nullcontext()


def test_bytes_are_steps_between_least_and_greatest():
    rows = np.array([[-1, 0.5, 30], [254, 0.5, -480], [126.5, 0.5, 0.1]], np.float32)
    with pytest.warns(UserWarning, match="only 3 vectors"):
        got = quantize_embeddings(rows, "uint8")
    np.testing.assert_array_equal(got, [[0, 0, 255], [255, 0, 0], [127, 0, 240]])
    ranges = [[-2, 0, -51], [253, 127.5, 51]]
    np.testing.assert_array_equal(
        quantize_embeddings(rows, "int8", ranges),
        [[-127, -127, 74], [127, -127, -128], [0, -127, -1]],
    )
    np.testing.assert_array_equal(quantize_embeddings(rows, "ubinary"), [[0x60], [0xC0], [0xE0]])
    np.testing.assert_array_equal(quantize_embeddings(rows, "binary"), [[-32], [64], [96]])
    with pytest.raises(ValueError, match="one vector has no ranges"):
        quantize_embeddings(rows[:1], "int8")
    with pytest.raises(TypeError, match="must be floats"):
        quantize_embeddings(np.ones((2, 3), np.int8), "int8")


def test_tokens_and_all(folder, model):
    rows = model.encode(TEXTS, output_value="token_embeddings")
    np.testing.assert_allclose(rows[0], hidden(folder, model, TEXTS[0]), atol=1e-6)
    assert [len(row) for row in rows] == model.tokenize(TEXTS)["attention_mask"].sum(1).tolist()
    every = model.encode(TEXTS[0], output_value=None)
    np.testing.assert_array_equal(every["sentence_embedding"], model.encode(TEXTS[0]))
    np.testing.assert_array_equal(every["input_ids"], model.tokenize([TEXTS[0]])["input_ids"][0])


def test_prompts(tmp_path):
    folder = sentence_folder(tmp_path / "model")
    settings = {
        "prompts": {"query": "query: ", "passage": "the "},
        "default_prompt_name": "passage",
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    model = SentenceTransformer(folder, compute_type="float32", prompts={"more": "a "})
    plain = model.encode("query: cat", prompt="")
    np.testing.assert_array_equal(model.encode_query("cat"), plain)
    np.testing.assert_array_equal(model.encode("cat", prompt_name="query"), plain)
    np.testing.assert_array_equal(model.encode("cat"), model.encode("the cat", prompt=""))
    np.testing.assert_array_equal(
        model.encode("cat", prompt_name="more"), model.encode("a cat", prompt="")
    )
    np.testing.assert_array_equal(model.encode_document("cat"), model.encode("cat", prompt=""))
    with pytest.warns(UserWarning, match="prompt counts"):
        np.testing.assert_array_equal(model.encode("cat", "more", "query: "), plain)
    with pytest.raises(ValueError, match="'nosuch' is not among"):
        model.encode("cat", prompt_name="nosuch")
    with pytest.raises(ValueError, match="default_prompt_name 'nosuch'"):
        SentenceTransformer(folder, default_prompt_name="nosuch")


def test_prompts_that_are_not_pooled(tmp_path):
    config = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": False}
    folder = sentence_folder(tmp_path / "model", config, normalize=False)
    model = SentenceTransformer(folder, compute_type="float32")
    rows = hidden(folder, model, "query: a cat sat")  # [CLS] query : | a cat sat [SEP]
    np.testing.assert_allclose(
        model.encode("a cat sat", prompt="query: "), rows[3:].mean(0), atol=1e-6
    )
    np.testing.assert_allclose(model.encode("query: a cat sat"), rows.mean(0), atol=1e-6)
    model.set_pooling_include_prompt(True)
    whole = model.encode("a cat sat", prompt="query: ")
    np.testing.assert_array_equal(whole, model.encode("query: a cat sat"))


def test_long_texts_are_cut_and_that_is_said_once(model):
    long = "the cat " * 20
    with pytest.warns(UserWarning, match="2 of 3 texts have more than 12 tokens"):
        got = model.encode([long, long + "a", "cat"])
    np.testing.assert_array_equal(got[0], model.encode("the cat " * 5))
    model.encode([long])  # warnings are errors here
    model.max_seq_length = 1000
    assert model.max_seq_length == model.get_max_seq_length() == 40
    model.max_seq_length = 4
    np.testing.assert_array_equal(model.encode(long), model.encode("the cat"))
    with pytest.raises(ValueError, match="max_seq_length"):
        model.max_seq_length = 0


def test_lower_case(tmp_path):
    folder = sentence_folder(tmp_path / "model")
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    model = SentenceTransformer(folder, compute_type="float32")
    np.testing.assert_array_equal(model.encode("A CAT"), model.encode("a cat"))


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(model, name):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 7)), rng.standard_normal((3, 7))
    model.similarity_fn_name = name
    want = {
        "cosine": a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)),
        "dot": a @ b.T,
        "euclidean": -np.linalg.norm(a[:, None] - b, axis=2),
        "manhattan": -np.abs(a[:, None] - b).sum(2),
    }[name]
    np.testing.assert_allclose(model.similarity(a, b), want, atol=1e-5)
    np.testing.assert_allclose(model.similarity_pairwise(a, b), np.diag(want), atol=1e-5)
    assert model.similarity(a[0], b).shape == (1, 3)
    with pytest.raises(ValueError, match="similarity_fn_name must be in"):
        model.similarity_fn_name = "maxsim"


def test_arguments(model, folder):
    for wrong in (
        {"batch_size": 0}, {"batch_size": 2.5}, {"precision": "int4"}, {"output_value": "x"},
        {"nosuch": 1}, {"truncate_dim": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.encode("a", **wrong)
    np.testing.assert_array_equal(model.encode(sentences=TEXTS), model.encode(TEXTS))
    assert [type(one) for one in model.encode(TEXTS[:2], convert_to_numpy=False)] == [
        np.ndarray
    ] * 2
    with pytest.raises(ValueError, match="device"):
        SentenceTransformer(folder, device="cuda")
    with pytest.raises(ValueError, match="compute_type"):
        SentenceTransformer(folder, compute_type="int4")


def test_pools_have_the_same_results(model):
    pool = model.start_multi_process_pool(["cpu"] * 4)
    want = model.encode(TEXTS, normalize_embeddings=True)
    for got in (
        model.encode(TEXTS, pool=pool, chunk_size=2, normalize_embeddings=True),
        model.encode_multi_process(TEXTS, pool, chunk_size=2, normalize_embeddings=True),
    ):
        np.testing.assert_array_equal(got, want)
    model.stop_multi_process_pool(pool)
    got = model.encode_multi_process(
        TEXTS, None, None, "the ", 8, 2, False, "binary", truncate_dim=8
    )
    np.testing.assert_array_equal(
        got, model.encode(TEXTS, prompt="the ", precision="binary", truncate_dim=8)
    )


@pytest.mark.parametrize("compute_type", ["auto", "bfloat16", "int8"])
def test_compute_types(folder, model, compute_type):
    got = SentenceTransformer(folder, compute_type=compute_type).encode(TEXTS)
    cosines = (got * model.encode(TEXTS)).sum(1)
    assert cosines.min() > (0.99 if compute_type == "int8" else 0.9995)


def test_saved_and_loaded(folder, model, tmp_path):
    module(folder, 3, "Dense", {"in_features": 32, "out_features": 16}, **dense(16, 32))
    model = SentenceTransformer(folder, compute_type="float32", truncate_dim=10)
    model.prompts["new"] = "the "
    model.similarity_fn_name = "dot"
    model.save_pretrained(tmp_path / "saved")
    again = SentenceTransformer(tmp_path / "saved", compute_type="float32")
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    assert (again.prompts, again.similarity_fn_name) == (model.prompts, "dot")
    assert (again.truncate_dim, again.max_seq_length) == (10, 12)
    again.save(tmp_path / "saved")  # onto itself
    np.testing.assert_array_equal(
        SentenceTransformer(tmp_path / "saved", compute_type="float32").encode(TEXTS),
        model.encode(TEXTS),
    )


def test_progress_of_long_work_is_logged(model, monkeypatch, caplog):
    from firth import progress

    monkeypatch.setattr(batching, "_PATIENCE", 0.0)
    monkeypatch.setattr(batching, "_MOST", 8)
    monkeypatch.setattr(batching, "_FEWEST", 1)
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "firth"):
        model.encode(TEXTS)
    assert "texts left" in caplog.text or "text/s" in caplog.text


def damaged(folder: Path, file: str, content: str | None) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{", "malformed list of modules"),
        ("modules.json", "[]", "begins with nothing"),
        ("modules.json", '[{"type": "a.StaticEmbedding", "path": ""}]', "StaticModel reads it"),
        ("modules.json", '[{"type": "a.Transformer", "path": "../up"}]', "not the name of a"),
        (
            "modules.json",
            '[{"type": "a.Transformer", "path": ""}, {"type": "a.LSTM", "path": "1"}]',
            "a Pooling must follow",
        ),
        ("1_Pooling/config.json", '{"pooling_mode": "median"}', "pooling_mode must be of"),
        ("1_Pooling/config.json", '{"embedding_dimension": 99}', "pools vectors of 99"),
        ("1_Pooling/config.json", "[]", "not an object"),
        ("sentence_bert_config.json", '{"max_seq_length": -3}', "max_seq_length"),
        ("config_sentence_transformers.json", '{"prompts": 3}', "prompts must be texts by name"),
        ("config_sentence_transformers.json", '{"prompts": {"a": 3}}', "text must be str, got int"),
        ("config_sentence_transformers.json", '{"default_prompt_name": []}', "not among the prom"),
        ("config_sentence_transformers.json", '{"similarity_fn_name": "maxsim"}', "must be in"),
        ("config_sentence_transformers.json", '{"truncate_dim": "3"}', "truncate_dim must be a"),
        ("config.json", '{"model_type": "nosuch"}', "is not one of the encoders"),
    ],
)  # fmt: skip
def test_damage_is_a_line_that_names_the_file(folder, file, content, message):
    damaged(folder, file, content)
    with pytest.raises(FormatError, match=message) as caught:
        SentenceTransformer(folder)
    assert "\n" not in str(caught.value)


def test_missing_files_and_pickles(folder):
    module(folder, 3, "Dense", {"in_features": 32, "out_features": 16})
    with pytest.raises(FormatError, match=r"no array 'linear\.weight'"):
        SentenceTransformer(folder)
    (folder / "3_Dense" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"pytorch_model\.bin: is a pickle"):
        SentenceTransformer(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "a.LSTM"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(FormatError, match="'LSTM' is not known"):
        SentenceTransformer(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        SentenceTransformer(folder)
