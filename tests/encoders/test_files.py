"""Folders of encoders: what is missing, damaged, cut into parts, or a pickle."""

from __future__ import annotations

import contextlib
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, arrays_of, write_folder
from firth import FormatError
from firth.formats import safetensors

load = firth.AutoModel.from_pretrained
IDS = [[3, 4, 5, 6]]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return arrays_of(firth.AutoModel, SMALL["bert"])


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write_folder(tmp_path / "model", SMALL["bert"], arrays)


def test_a_folder_is_the_arrays_in_it(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    want = firth.AutoModel(SMALL["bert"], arrays)(IDS).last_hidden_state
    for path in (folder, str(folder)):
        model = load(path)
        np.testing.assert_array_equal(model(IDS).last_hidden_state, want)
        assert model.config.hidden_size == 32
        assert model.config.to_dict()["model_type"] == "bert"
    out = load(folder, output_hidden_states=True, output_attentions=True)(IDS)
    assert (len(out.hidden_states), len(out.attentions)) == (4, 3)
    with pytest.raises(TypeError, match="unknown argument 'torch_dtype'"):
        load(folder, torch_dtype="auto")


def test_weights_are_pages_of_the_file(folder: Path) -> None:
    model = load(folder)
    matrices = [model.stack.weights.outside["tokens"], *model.stack.weights.layers[0].values()]
    assert not any(array.flags.writeable or array.flags.owndata for array in matrices)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(folder: Path, arrays: dict[str, np.ndarray], dtype: str) -> None:
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.float16
    halves = {name: array.astype(kind) for name, array in arrays.items()}
    write_folder(folder, SMALL["bert"], halves)
    rounded = {name: array.astype(np.float32) for name, array in halves.items()}
    want = firth.AutoModel(SMALL["bert"], rounded)(IDS).pooler_output
    np.testing.assert_array_equal(load(folder)(IDS).pooler_output, want)


def cut(folder: Path, arrays: dict[str, np.ndarray], **changes: str) -> dict[str, Any]:
    """The same model in two files; returns what the index holds."""
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    places = {}
    for i, part in enumerate((names[:20], names[20:])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.write(folder / file, {name: arrays[name] for name in part})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places | changes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_parts(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    want = load(folder)(IDS).last_hidden_state
    cut(folder, arrays)
    np.testing.assert_array_equal(load(folder)(IDS).last_hidden_state, want)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"index.json names model-00002-of-00002.safetensors, which is mis"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("../model-00001-of-00002.safetensors", "is not the name of a file"),
        ("/etc/passwd", "is not the name of a file"),
        ("..", "is not the name of a file"),
        ("", "is not the name of a file"),
        (3, "is not the name of a file"),
        ("model-00001-of-00002.safetensors", "has no array 'pooler.dense.weight'"),
    ],
)
def test_bad_parts(folder: Path, arrays: dict[str, np.ndarray], place: Any, text: str) -> None:
    cut(folder, arrays, **{"pooler.dense.weight": place})
    with pytest.raises(FormatError, match=rf"model\.safetensors\.index\.json: .*{text}"):
        load(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}'])
def test_bad_index(folder: Path, content: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(FormatError, match=r"index\.json: "):
        load(folder)


def test_missing_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotADirectoryError, match="give the folder it is in"):
        load(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor model.safet"):
        load(folder)
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json"):
        (folder / name).write_bytes(b"PK")
        with pytest.raises(FormatError, match=rf"{name}: is a pickle.*save_pretrained") as caught:
            load(folder)
        assert "\n" not in str(caught.value)
        (folder / name).unlink()
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"model has no config.json"):
        load(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"there is no folder"):
        load(folder / "nowhere")


def test_names_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is asked first."""
    asked = []

    class Hub:
        @staticmethod
        def snapshot_download(name: str, **options: Any) -> str:
            asked.append((name, options))
            if options["local_files_only"]:
                raise FileNotFoundError("not in the cache")
            return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert load("bert-base-uncased", token="secret").config.hidden_size == 32
    assert [(name, options["local_files_only"]) for name, options in asked] == [
        ("bert-base-uncased", True),
        ("bert-base-uncased", False),
    ]
    patterns = asked[0][1]["allow_patterns"]
    for name in ("config.json", "model-00001-of-00002.safetensors", "tokenizer.json"):
        assert any(fnmatch(name, pattern) for pattern in patterns)
    assert not any(fnmatch("pytorch_model.bin", pattern) for pattern in patterns)
    assert asked[0][1]["token"] == "secret"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[3]", b"null", b"\xff{}", b'{"a": ' * 100_000, b" " * 10_000_001]
)
def test_bad_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"config\.json: "):
        load(folder)


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("encoder.layer.1.output.dense.weight", np.zeros((32, 40), "f4"), r"\(32, 40\), the c"),
        ("encoder.layer.1.output.dense.weight", np.zeros(32, "f4"), r"has shape \(32,\)"),
        ("encoder.layer.1.output.dense.weight", np.zeros((32, 48), "i4"), "is int32, wanted float"),
        ("encoder.layer.1.output.dense.bias", np.zeros((), "f4"), r"has shape \(\)"),
        ("encoder.layer.0.attention.output.LayerNorm.weight", np.zeros(31, "f4"), r"\(31,\)"),
        ("embeddings.word_embeddings.weight", np.zeros((59, 32), "f4"), r"says \(60, 32\)"),
        ("embeddings.position_embeddings.weight", np.zeros((41, 32), "f4"), r"says \(40, 32\)"),
        ("embeddings.token_type_embeddings.weight", np.zeros((1, 32), "f4"), r"says \(2, 32\)"),
        ("pooler.dense.weight", np.zeros((32, 31), "f4"), r"\(32, 31\)"),
        ("encoder.layer.2.attention.self.query.bias", None, "has no array"),
        ("embeddings.LayerNorm.bias", None, "has no array"),
        ("pooler.dense.bias", None, "has no array"),
    ],
)  # fmt: skip
def test_bad_arrays(
    folder: Path, arrays: dict[str, np.ndarray], name: str, array: Any, text: str
) -> None:
    """The message has the path and the name that the file has."""
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    write_folder(folder, SMALL["bert"], arrays)
    both = rf"'{name}'.*{text}|{text} '{name}'"
    with pytest.raises(FormatError, match=rf"model\.safetensors: .*({both})"):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "name", "array"),
    [
        ("modernbert", "layers.1.attn.Wqkv.weight", np.zeros((97, 32), "f4")),
        ("modernbert", "layers.1.mlp.Wi.weight", np.zeros((200, 32), "f4")),
        ("modernbert", "layers.1.mlp.Wi.weight", np.zeros((), "f4")),
        ("albert", "encoder.embedding_hidden_mapping_in.weight", np.zeros((32, 13), "f4")),
        ("albert", "encoder.embedding_hidden_mapping_in.weight", np.zeros((), "f4")),
        ("mpnet", "encoder.relative_attention_bias.weight", np.zeros((31, 4), "f4")),
    ],
)
def test_bad_arrays_of_others(kind: str, name: str, array: np.ndarray) -> None:
    arrays = arrays_of(firth.AutoModel, SMALL[kind])
    assert name in arrays
    with pytest.raises(FormatError, match=rf"array '{name}' (has|of) shape"):
        firth.AutoModel(SMALL[kind], {**arrays, name: array})


def test_a_head_must_be_there(folder: Path) -> None:
    with pytest.raises(FormatError, match=r"has no array 'classifier\.weight'"):
        firth.AutoModelForTokenClassification.from_pretrained(folder)


def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    """Any bytes of any file of a model: it loads, or a FormatError says what is wrong."""
    small = {"vocab_size": 3, "hidden_size": 4, "intermediate_size": 2, "num_attention_heads": 2}
    small |= {"num_hidden_layers": 1, "max_position_embeddings": 2}
    config = SMALL["bert"] | small
    arrays = arrays_of(firth.AutoModel, config)
    folder = write_folder(tmp_path / "model", config, arrays)
    rng = np.random.default_rng(0)
    failed = 0
    for name in ("config.json", "model.safetensors"):
        whole = (folder / name).read_bytes()
        for _ in range(400):
            damaged = bytearray(whole[: rng.integers(1, 2 * len(whole))])
            for position in rng.integers(0, min(len(damaged), 2000), rng.integers(1, 4)):
                damaged[position] = rng.choice([rng.integers(256), *b'0123456789-eE[]{},:"'])
            (folder / name).write_bytes(damaged)
            with contextlib.suppress(FormatError):
                failed += 1
                load(folder)
                failed -= 1
        (folder / name).write_bytes(whole)
        assert failed > 200
    assert failed < 800
