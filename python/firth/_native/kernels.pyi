# Kernels over arrays: the level to run on, then the arguments of the page.
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from firth._native import Level

def dot(level: Level, a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None: ...
def row_norms(
    level: Level, keys: NDArray[Any], scales: NDArray[Any] | None, norms: NDArray[Any]
) -> None: ...
def cosine_topk(
    level: Level,
    queries: NDArray[Any],
    keys: NDArray[Any],
    scales: NDArray[Any] | None,
    norms: NDArray[Any] | None,
    threads: int,
    scores: NDArray[Any],
    indices: NDArray[Any],
) -> None: ...
def cosine_scores(
    level: Level,
    queries: NDArray[Any],
    keys: NDArray[Any],
    scales: NDArray[Any] | None,
    norms: NDArray[Any] | None,
    threads: int,
    scores: NDArray[Any],
) -> None: ...
def code_rows(
    level: Level,
    vectors: NDArray[Any],
    scales: NDArray[Any] | None,
    metric: str,
    centre: NDArray[Any],
    codes: NDArray[Any],
    bounds: NDArray[Any],
    order: NDArray[Any] | None = None,
) -> None: ...
def may_reach(
    level: Level,
    queries: NDArray[Any],
    metric: str,
    codes: NDArray[Any],
    bounds: NDArray[Any],
    centre: NDArray[Any],
    rows: int,
    scores: NDArray[Any],
    reach: NDArray[Any],
) -> None: ...
def skipgram_negative_sampling(
    level: Level,
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: NDArray[Any],
    contexts: NDArray[Any],
    negatives: NDArray[Any],
    learning_rate: float,
) -> float: ...
def cbow_negative_sampling(
    level: Level,
    w_in: NDArray[Any],
    w_out: NDArray[Any],
    centers: NDArray[Any],
    contexts: NDArray[Any],
    negatives: NDArray[Any],
    shared: bool,
    learning_rate: float,
    cbow_mean: bool,
    weight: float,
) -> float: ...
def hierarchical_softmax(
    level: Level,
    w_in: NDArray[Any],
    w_tree: NDArray[Any],
    points: NDArray[Any],
    codes: NDArray[Any],
    contexts: NDArray[Any],
    shared: bool,
    learning_rate: float,
) -> float: ...
def embedding_bag(
    level: Level,
    table: NDArray[Any],
    bfloat16: bool,
    rows: NDArray[Any],
    weights: NDArray[Any] | None,
    offsets: NDArray[Any],
    normalize: bool,
    out: NDArray[Any],
) -> None: ...
def glove_adagrad(
    level: Level,
    words: NDArray[Any],
    contexts: NDArray[Any],
    rows: NDArray[Any],
    columns: NDArray[Any],
    log_counts: NDArray[Any],
    weights: NDArray[Any],
    learning_rate: float,
    grad_clip: float,
) -> float: ...
def softmax(level: Level, x: NDArray[Any], out: NDArray[Any]) -> None: ...
def log_softmax(level: Level, x: NDArray[Any], out: NDArray[Any]) -> None: ...
def softmax_backward(level: Level, dy: NDArray[Any], y: NDArray[Any], dx: NDArray[Any]) -> None: ...
def log_softmax_backward(
    level: Level, dy: NDArray[Any], y: NDArray[Any], dx: NDArray[Any]
) -> None: ...
def layer_norm(
    level: Level,
    x: NDArray[Any],
    gain: NDArray[Any] | None,
    bias: NDArray[Any] | None,
    eps: float,
    out: NDArray[Any],
) -> None: ...
def rms_norm(
    level: Level, x: NDArray[Any], gain: NDArray[Any] | None, eps: float, out: NDArray[Any]
) -> None: ...
def rotary(
    level: Level,
    x: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    positions: NDArray[np.int32],
    interleaved: bool,
) -> None: ...
def quantize_rows(
    level: Level,
    x: NDArray[np.float32],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    offsets: NDArray[np.float32],
) -> None: ...
def quantize_weights(
    level: Level,
    x: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None: ...
def gated(
    level: Level,
    gate: NDArray[np.float32],
    up: NDArray[np.float32],
    activation: int,
    out: NDArray[np.float32],
) -> None: ...
def to_bfloat16(level: Level, x: NDArray[np.float32], out: NDArray[np.uint16]) -> None: ...

class Packed:
    @property
    def nbytes(self) -> int: ...

def pack(level: Level, b: NDArray[Any], *, unsigned_left: bool = ...) -> Packed: ...
def matmul(
    level: Level,
    a: NDArray[Any],
    b: NDArray[Any] | Packed,
    out: NDArray[Any],
    bias: NDArray[Any] | None,
    activation: int,
    scale: float,
    residual: NDArray[Any] | None,
) -> None: ...
def matmul_bytes(
    level: Level,
    a: NDArray[np.uint8],
    b: NDArray[np.int8] | Packed,
    out: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    activation: int,
    residual: NDArray[np.float32] | None,
    row_scales: NDArray[np.float32],
    row_offsets: NDArray[np.float32],
    column_scales: NDArray[np.float32],
    column_sums: NDArray[np.float32],
) -> None: ...

class KeysValues:
    @property
    def keys(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def append(self, key: NDArray[Any], value: NDArray[Any]) -> None: ...
    def unpack(self) -> tuple[NDArray[Any], NDArray[Any]]: ...

def tile_product(
    level: Level,
    product: int,
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    c: NDArray[np.uint8],
) -> bool: ...
def keys_values_f32(level: Level, heads: int, depth: int, values: int) -> KeysValues: ...
def keys_values_bf16(level: Level, heads: int, depth: int, values: int) -> KeysValues: ...
@overload
def attention(
    level: Level,
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    mask: NDArray[Any] | None,
    causal: bool,
    scale: float,
    out: NDArray[Any],
    lse: NDArray[np.float32] | None,
) -> None: ...
@overload
def attention(
    level: Level,
    query: NDArray[Any],
    packed: KeysValues,
    head: NDArray[np.int64],
    mask: NDArray[Any] | None,
    causal: bool,
    scale: float,
    out: NDArray[Any],
    lse: NDArray[np.float32] | None,
) -> None: ...
