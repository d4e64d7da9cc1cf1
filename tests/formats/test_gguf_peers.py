"""gguf-py as oracle: the bits of every type of blocks, its files here, ours there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.formats import gguf as firth_gguf
from firth.formats.blocks import _ENCODE, TYPES, BlockArray, block_type, dequantize, quantize
from gguf_files import everything

pytestmark = pytest.mark.peer
gguf = pytest.importorskip("gguf")

WRITTEN = [name for name in _ENCODE if not name.endswith("_K")]  # which they do not write


def their_type(name: str) -> Any:
    return gguf.GGMLQuantizationType[name]


@pytest.mark.parametrize("name", [one.name for one in TYPES.values()])
def test_bits_of_any_bytes(name: str) -> None:
    kind = block_type(name)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (64, max(8, 512 // kind.block) * kind.bytes), np.uint8)
    with np.errstate(all="ignore"):
        want = gguf.quants.dequantize(data, their_type(name)).reshape(64, -1)
    got = dequantize(data, kind)
    number = ~np.isnan(want)
    assert number.mean() > 0.9
    assert (np.isnan(got) == ~number).all()
    assert (got.view(np.uint32)[number] == want.view(np.uint32)[number]).all()


@pytest.mark.parametrize("name", WRITTEN)
def test_bytes_of_any_weights(name: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 2048), np.float32)
    weights *= np.exp(rng.uniform(-20, 10, (64, 1))).astype(np.float32)
    weights[1] = 0
    weights[2] = np.round(4 * weights[2]) / 4  # ties, in values and in rounding
    weights[3] = rng.integers(-127, 128, 2048)
    weights[4] = -1.25
    weights[5, ::7] = 0
    want = np.ascontiguousarray(gguf.quants.quantize(weights, their_type(name))).view(np.uint8)
    assert (quantize(weights, block_type(name)) == want.reshape(64, -1)).all()


def test_they_read_ours(tmp_path: Path) -> None:
    metadata, arrays = everything()
    del metadata["nested"]  # which their reader makes flat
    firth_gguf.write(tmp_path / "all.gguf", metadata, arrays)
    reader = gguf.GGUFReader(tmp_path / "all.gguf")
    fields = {k: v for k, v in reader.fields.items() if not k.startswith("GGUF.")}
    assert list(fields) == list(metadata)
    for key, value in metadata.items():
        if key in ("raw", "tokens"):  # no UTF-8
            continue
        got = fields[key].contents() if key != "none" else []
        assert got == (value.tolist() if isinstance(value, np.ndarray) else value), key
    assert [one.name for one in reader.tensors] == list(arrays)
    for tensor in reader.tensors:
        ours = arrays[tensor.name]
        assert tuple(tensor.shape.tolist()) == ours.shape[::-1]
        assert tensor.tensor_type.value == firth_gguf._type_and_bytes(tensor.name, ours)[0]
        want = ours.data if isinstance(ours, BlockArray) else ours
        assert tensor.data.tobytes() == want.tobytes()


def test_we_read_theirs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 256), np.float32)
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "Ġb", "ü"])
    writer.add_token_types([1, 3, 1])
    writer.add_token_scores([0.5, -1.0, 0.0])
    writer.add_add_bos_token(True)
    writer.add_uint64("wide", 1 << 50)
    writer.add_custom_alignment(64)
    writer.add_tensor("norm", weights[0])
    writer.add_tensor("half", weights.astype(np.float16))
    for name in ("Q4_0", "Q4_1", "Q8_0"):
        blocks = gguf.quants.quantize(weights, their_type(name))
        writer.add_tensor(name, blocks, raw_dtype=their_type(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    got = firth_gguf.read(path)
    assert got.metadata["general.architecture"] == "llama"
    assert got.metadata["llama.block_count"] == 3
    assert got.metadata["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-5)
    assert got.metadata["tokenizer.ggml.tokens"] == ["a", "Ġb", "ü"]
    assert got.metadata["tokenizer.ggml.token_type"].tolist() == [1, 3, 1]
    assert got.metadata["tokenizer.ggml.scores"].tolist() == [0.5, -1, 0]
    assert got.metadata["tokenizer.ggml.add_bos_token"] is True
    assert got.metadata["wide"] == 1 << 50
    assert (got.arrays["norm"] == weights[0]).all()
    assert (got.arrays["half"] == weights.astype(np.float16)).all()
    for name in ("Q4_0", "Q4_1", "Q8_0"):
        assert (got.arrays[name].data == quantize(weights, block_type(name))).all()
