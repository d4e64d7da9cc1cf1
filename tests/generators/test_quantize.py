"""Models in blocks of another type: which arrays change, to which bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError
from firth.cli.quantize import TYPES
from firth.formats import gguf
from firth.formats.blocks import BlockArray, block_type, dequantize, quantize
from firth.generators.quantize import FILE_TYPES, lossy, quantize_file

METADATA = {
    "general.architecture": "llama",
    "general.file_type": 0,
    "general.alignment": 64,
    "llama.block_count": 1,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}


def model(dtype: Any = np.float32, output: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32).astype(dtype)

    arrays = {
        "token_embd.weight": draw(3, 64),
        "output_norm.weight": draw(64),
        "blk.0.attn_q.weight": draw(32, 64),
        "blk.0.attn_q.bias": draw(32),
        "blk.0.attn_q_norm.weight": draw(2, 32),
        "blk.0.ffn_down.weight": draw(64, 48),  # no whole blocks
        "position_embd.weight": draw(4, 64),
    }
    return arrays | ({"output.weight": draw(3, 64)} if output else {})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    gguf.write(tmp_path / "source.gguf", METADATA, model())
    return tmp_path / "source.gguf"


def weights(array: Any) -> np.ndarray:
    return array.dequantize() if isinstance(array, BlockArray) else array.astype(np.float32)


def type_of(array: Any) -> str:
    return array.type.name if isinstance(array, BlockArray) else array.dtype.name


def test_types_are_those_of_the_command() -> None:
    assert tuple(FILE_TYPES) == TYPES


@pytest.mark.parametrize("type", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_blocks(type: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    counts = quantize_file(source, target, type, progress=False)
    got = gguf.read(target)
    assert {name: type_of(array) for name, array in got.arrays.items()} == {
        "token_embd.weight": type,
        "output_norm.weight": "float32",
        "blk.0.attn_q.weight": type,
        "blk.0.attn_q.bias": "float32",
        "blk.0.attn_q_norm.weight": "float32",
        "blk.0.ffn_down.weight": "float16",
        "position_embd.weight": "float32",
        "output.weight": "Q8_0",
    }
    assert sum(counts.values()) == 8
    assert counts["float32"] == 4
    for name, before in model().items():
        after = got.arrays[name]
        if isinstance(after, BlockArray):
            assert (after.data == quantize(before, after.type)).all()
        else:
            assert (after == before.astype(after.dtype)).all()
    types = {"general.file_type": FILE_TYPES[type], "general.quantization_version": 2}
    assert got.metadata == METADATA | types
    assert {str(got.dtypes[key]) for key in types} == {"uint32"}


@pytest.mark.parametrize(
    ("type", "instead"), [("Q4_K", "Q5_0"), ("Q5_K", "Q5_1"), ("Q6_K", "Q8_0")]
)
def test_blocks_of_256(type: str, instead: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (3, 512), "blk.0.ffn_up": (64, 512), "blk.0.ffn_down": (512, 64),
              "blk.0.attn_q": (48, 40), "output": (3, 512)}  # fmt: skip
    arrays = {f"{name}.weight": rng.standard_normal(shapes[name]) for name in shapes}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    gguf.write(tmp_path / "source.gguf", METADATA, arrays)
    quantize_file(tmp_path / "source.gguf", tmp_path / "target.gguf", type)
    got = gguf.read(tmp_path / "target.gguf")
    assert {name.removesuffix(".weight"): type_of(one) for name, one in got.arrays.items()} == {
        "token_embd": type, "blk.0.ffn_up": type, "blk.0.ffn_down": instead,
        "blk.0.attn_q": "float16", "output": "Q6_K",
    }  # fmt: skip
    assert got.metadata["general.file_type"] == FILE_TYPES[type]


def test_tied_embeddings_make_logits(tmp_path: Path) -> None:
    gguf.write(tmp_path / "tied.gguf", METADATA, model(output=False))
    quantize_file(tmp_path / "tied.gguf", tmp_path / "target.gguf", "Q4_0")
    assert type_of(gguf.read(tmp_path / "target.gguf").arrays["token_embd.weight"]) == "Q8_0"


@pytest.mark.parametrize("type", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_plain_floats(type: str, stored: str, tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kinds = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    arrays = model(kinds[stored])
    gguf.write(tmp_path / "source.gguf", METADATA, arrays)
    quantize_file(tmp_path / "source.gguf", tmp_path / "target.gguf", type)
    name = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[type]
    for key, got in gguf.read(tmp_path / "target.gguf").arrays.items():
        kept = "norm" in key or "bias" in key or "position" in key
        assert got.dtype.name == ("float32" if kept else name), key
        want = arrays[key].astype(np.float32)
        assert (weights(got) == (want if kept else want.astype(kinds[name]))).all(), key


def test_a_model_in_blocks(source: Path, tmp_path: Path) -> None:
    assert not lossy(source)
    four, eight, again = (tmp_path / f"{name}.gguf" for name in ("four", "eight", "again"))
    quantize_file(source, four, "Q4_1")
    assert lossy(four)
    quantize_file(four, again, "Q4_1")  # what has the type already is copied
    assert again.read_bytes() == four.read_bytes()
    quantize_file(four, eight, "Q8_0")
    name, kind = "blk.0.attn_q.weight", block_type("Q4_1")
    want = dequantize(quantize(model()[name], kind), kind)
    got = gguf.read(eight).arrays[name]
    assert (got.data == quantize(want, block_type("Q8_0"))).all()


def test_a_type_that_does_not_run(tmp_path: Path) -> None:
    kind = block_type("IQ4_XS")
    blocks = np.random.default_rng(0).integers(0, 256, (2, 2 * kind.bytes), np.uint8)
    blocks[:, :2] = blocks[:, kind.bytes : kind.bytes + 2] = 60, 20  # scales that are numbers
    source = BlockArray(blocks, kind)
    gguf.write(tmp_path / "source.gguf", METADATA, {"x.weight": source})
    assert lossy(tmp_path / "source.gguf")
    quantize_file(tmp_path / "source.gguf", tmp_path / "target.gguf", "Q5_K")
    got = gguf.read(tmp_path / "target.gguf").arrays["x.weight"]
    assert (got.data == quantize(source.dequantize(), block_type("Q5_K"))).all()


def test_a_matrix_of_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    large = rng.standard_normal((300, 64)).astype(np.float32)
    gguf.write(tmp_path / "source.gguf", {}, {"x.weight": large})
    monkeypatch.setattr("firth.generators.quantize._CHUNK", 1000)
    quantize_file(tmp_path / "source.gguf", tmp_path / "target.gguf", "Q5_1")
    got = gguf.read(tmp_path / "target.gguf").arrays["x.weight"]
    assert (got.data == quantize(large, block_type("Q5_1"))).all()


def test_what_cannot_be_quantised(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    target.write_bytes(b"before")
    with pytest.raises(ValueError, match=r"type must be one of F32, F16, .*, got 'Q4'"):
        quantize_file(source, target, "Q4")
    broken = model()
    broken["blk.0.attn_q.weight"][5, 7] = np.nan
    gguf.write(source, METADATA, broken)
    with pytest.raises(ValueError, match=r"blk.0.attn_q.weight: quantize: array has a weight that"):
        quantize_file(source, target, "Q8_0")
    gguf.write(source, METADATA, {"output_norm.weight": np.ones(3, np.float32)})
    with pytest.raises(FormatError, match="has no matrices"):
        quantize_file(source, target, "Q8_0")
    assert target.read_bytes() == b"before"
    assert {one.name for one in tmp_path.iterdir()} == {"source.gguf", "target.gguf"}
