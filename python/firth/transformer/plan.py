"""What a stack of transformer layers consists of: a plan of numbers, and arrays by name.

An architecture (`firth.encoders.bert`, ...) turns a file's configuration into a `Plan` and its
arrays into the names below; `reference` runs a plan in NumPy, `Stack` in native code. One layer is

    y = after(x + inner(attention(before(x))))
    z = after(y + inner(cross(before(y), memory)))  with cross-attention, else z = y
    x = after(z + inner(feed(before(z))))

where each norm is there if its arrays are: BERT has only ``after``, GPT and Llama only ``before``,
Gemma ``before`` and ``inner``. So have biases, the gate, the positions.

V = tokens, D = width, E = width of the embeddings (D, or less where there is a projection), H =
heads, K = heads of keys and values, W = width of a head, F = hidden width, C = width of the memory.
Weights have PyTorch's shape (outputs, inputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels.matmul import ACTIVATIONS

Arrays = Mapping[str, Any]
"""By name: arrays of NumPy, or `firth.formats.blocks.BlockArray` for weights."""


@dataclass(frozen=True)
class Scaling:
    """Slower turns of rotary positions, for longer texts than a model was trained with.

    Attributes
    ----------
    divisors : tuple of float, one a pair
        Of the angles.
    factor : float
        Of the cosines and sines; its square is one of the scores.
    long : tuple of float, one a pair, or empty
        Divisors for texts of more than `Plan.long_after` tokens; empty: the same.
    """

    divisors: tuple[float, ...]
    factor: float = 1.0
    long: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The numbers of a stack of layers.

    Attributes
    ----------
    width, layers, heads, hidden : int
        D, the number of layers, H and F.
    key_heads : int
        K, heads of keys and values; H / K heads of queries share one (Ainslie et al.,
        arXiv:2305.13245). 0: H.
    head_width : int
        W. 0: D / H.
    activation : {"relu", "gelu", "gelu_tanh", "silu"}
        Of the hidden layer; of its gate, where there is one: activation(gate x) * (up x).
    norm : {"layer", "rms"}
    epsilon : float
        Of the norms.
    causal : bool
        Whether a token sees only those before it and itself.
    scale : float
        Factor of the scores. 0: 1 / sqrt(W).
    positions : int
        How many a text may have; 0: as many as the table of positions has. Needed by rotary ones.
    position_offset : int
        Row of the table of positions that belongs to a text's first token.
    embedding_factor : float
        Factor of the tokens' embeddings.
    thetas : tuple of float, one a layer, or empty
        Base of the angles of rotary positions (Su et al., arXiv:2104.09864).
    rotated : int
        How many dimensions of a head they turn. 0: W.
    interleaved : bool
        Whether they turn pairs of neighbours; else dimension i and i + rotated / 2.
    scaling : tuple of Scaling or None, one a layer, or empty
        How a model that was trained with short texts turns pairs in longer ones.
    long_after : int
        Texts of more tokens have the angles of `Scaling.long`. 0: none has.
    windows : tuple of int, one a layer, or empty
        How far from a token the keys are that it sees, on either side; -1: any distance.
    softcap : float
        c of c tanh(score / c), which the scores become (Gemma 2). 0: they stay.
    joint_norms : bool
        Whether query_norm and key_norm are of all heads in one (OLMo 2), with gains of H W and K W,
        instead of each head.
    distances : int
        Relative positions of T5 and MPNet: distances from this one on share the last bucket of
        ``relative``.
    memory : int
        C, the width of the vectors of another text (an encoder's states) that each token attends
        to, all of them that are seen (cross-attention). 0: there is none.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    key_heads: int = 0
    head_width: int = 0
    activation: str = "gelu"
    norm: str = "layer"
    epsilon: float = 1e-12
    causal: bool = False
    scale: float = 0.0
    positions: int = 0
    position_offset: int = 0
    embedding_factor: float = 1.0
    thetas: tuple[float, ...] = ()
    rotated: int = 0
    interleaved: bool = False
    scaling: tuple[Scaling | None, ...] = ()
    long_after: int = 0
    windows: tuple[int, ...] = ()
    softcap: float = 0.0
    joint_norms: bool = False
    distances: int = 128
    memory: int = 0

    def __post_init__(self) -> None:
        def default(name: str, value: float) -> None:
            if not getattr(self, name):
                object.__setattr__(self, name, value)

        for name in ("width", "heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"Plan: {name} must be at least 1, got {getattr(self, name)}")
        if self.head_width == 0 and self.width % self.heads:
            raise ValueError(f"Plan: {self.heads} heads do not divide a width of {self.width}")
        default("key_heads", self.heads)
        default("head_width", self.width // self.heads)
        default("scale", self.head_width**-0.5)
        default("rotated", self.head_width)
        if self.key_heads < 1 or self.heads % self.key_heads:
            raise ValueError(f"Plan: {self.key_heads} key_heads do not divide {self.heads} heads")
        if self.thetas and self.positions < 1:
            raise ValueError("Plan: rotary positions need a number of positions")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Plan: activation must be in {ACTIVATIONS}, got {self.activation!r}")
        if self.norm not in ("layer", "rms"):
            raise ValueError(f"Plan: norm must be layer or rms, got {self.norm!r}")
        if (self.rotated % 2 and self.thetas) or not 0 < self.rotated <= self.head_width:
            raise ValueError(f"Plan: rotated must be even and at most W, got {self.rotated}")
        for name in ("thetas", "scaling", "windows"):
            if len(getattr(self, name)) not in (0, self.layers):
                raise ValueError(f"Plan: {name} must have {self.layers} values, one a layer")
        for one in self.scaling:
            if one is not None and {len(one.divisors), len(one.long or one.divisors)} != {
                self.rotated // 2
            }:
                raise ValueError(
                    f"Plan: scaling must have {self.rotated // 2} divisors, one a pair"
                )

    @property
    def activation_number(self) -> int:
        """What native code calls the activation."""
        return ACTIVATIONS.index(self.activation)


@dataclass(frozen=True)
class Weights:
    """The arrays of a stack, by name, float32 or what the file has.

    Attributes
    ----------
    outside : mapping
        tokens (V, E); positions (P, E), types (T, E); embedding.gain, embedding.bias (E): a norm;
        projection.weight (D, E), projection.bias (D): from E to D; relative (B, H): what is added
        to the scores by bucket of distance; final.gain, final.bias (D): the norm at the end;
        head.weight (V, D): of the scores of tokens. All but tokens may be missing.
    layers : list of mappings
        attention.<p>.weight and .bias for p = query (H W, D), key and value (K W, D), out (D, H W);
        where there is a memory cross.<p> of the same shapes, but key and value (K W, C);
        feed.<p> for p = gate, up (F, D) and down (D, F); the norms attention.<n>, cross.<n> and
        feed.<n>, n = before, inner, after (D), and attention.query_norm, attention.key_norm (W, or
        all heads' where they are joint), each .gain and .bias. A mapping that stands there several
        times is a layer whose weights are shared.
    """

    outside: Arrays
    layers: list[Arrays] = field(default_factory=list)


NORMS = ("before", "inner", "after")


def shapes(plan: Plan, outside: Arrays) -> Iterator[tuple[str, tuple[int | None, ...], bool]]:
    """Name, shape (None: any) and necessity of the arrays outside of the layers."""
    embedding = outside["projection.weight"].shape[-1] if "projection.weight" in outside else None
    width = plan.width if embedding is None else embedding
    yield "tokens", (None, width), True
    for name in ("positions", "types"):
        yield name, (None, width), False
    yield from _norm("embedding", width)
    yield from _linear("projection", plan.width, width, False)
    yield "relative", (None, plan.heads), False
    yield "head.weight", (None, plan.width), False
    yield from _norm("final", plan.width)


def layer_shapes(plan: Plan) -> Iterator[tuple[str, tuple[int | None, ...], bool]]:
    """The same of the arrays of a layer."""
    queries, keys = plan.heads * plan.head_width, plan.key_heads * plan.head_width
    yield from _linear("attention.query", queries, plan.width)
    yield from _linear("attention.key", keys, plan.width)
    yield from _linear("attention.value", keys, plan.width)
    yield from _linear("attention.out", plan.width, queries)
    if plan.memory:
        yield from _linear("cross.query", queries, plan.width)
        yield from _linear("cross.key", keys, plan.memory)
        yield from _linear("cross.value", keys, plan.memory)
        yield from _linear("cross.out", plan.width, queries)
    yield from _linear("feed.gate", plan.hidden, plan.width, False)
    yield from _linear("feed.up", plan.hidden, plan.width)
    yield from _linear("feed.down", plan.width, plan.hidden)
    for name in NORMS:
        yield from _norm(f"attention.{name}", plan.width)
        if plan.memory:
            yield from _norm(f"cross.{name}", plan.width)
        yield from _norm(f"feed.{name}", plan.width)
    for name, heads in (("query_norm", plan.heads), ("key_norm", plan.key_heads)):
        yield from _norm(f"attention.{name}", plan.head_width * (heads if plan.joint_norms else 1))


def _linear(
    name: str, outputs: int, inputs: int, needed: bool = True
) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    yield f"{name}.weight", (outputs, inputs), needed
    yield f"{name}.bias", (outputs,), False


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    yield f"{name}.gain", (width,), False
    yield f"{name}.bias", (width,), False


def check(plan: Plan, weights: Weights) -> None:
    """Raise ValueError where an array is missing, unknown or of another shape."""
    if len(weights.layers) != plan.layers:
        raise ValueError(f"{plan.layers} layers are planned, {len(weights.layers)} are there")
    _check("", shapes(plan, weights.outside), weights.outside)
    for i, layer in enumerate(weights.layers):
        _check(f"layer {i}: ", layer_shapes(plan), layer)


def _check(
    where: str, known: Iterator[tuple[str, tuple[int | None, ...], bool]], arrays: Arrays
) -> None:
    names = set()
    for name, shape, needed in known:
        names.add(name)
        if name not in arrays:
            if needed:
                raise ValueError(f"{where}{name} is missing")
            continue
        got = arrays[name].shape
        if len(got) != len(shape) or any(
            want not in (None, n) for want, n in zip(shape, got, strict=True)
        ):
            raise ValueError(f"{where}{name} must have shape {shape}, got {got}")
        if name.endswith(".bias") and not {
            name.replace(".bias", ".weight"),
            name.replace(".bias", ".gain"),
        } & set(arrays):
            raise ValueError(f"{where}{name} stands alone")
    if unknown := sorted(set(arrays) - names):
        raise ValueError(f"{where}unknown arrays {unknown}")


@dataclass(frozen=True)
class Batch:
    """Texts one behind the other, without padding. N = tokens of all, B = texts.

    Attributes
    ----------
    ids : ndarray (N,) int32
    offsets : ndarray (B + 1,) int64
        Text b is ``ids[offsets[b]:offsets[b + 1]]``.
    types : ndarray (N,) int32, or None
        Token types; None: 0.
    positions : ndarray (N,) int32, or None
        Rows of the table of positions, angles of rotary ones; None: 0, 1, ... in each text, and
        the plan's offset.
    seen : ndarray (N,) bool, or None
        Which tokens take part as keys; None: all.
    mask : list of ndarray (S, S) bool, one a text of S tokens, or None
        Which keys each query sees, besides.
    memory : ndarray (M, C) float32, or None
        What cross-attention attends to: that of all texts, one behind the other. None: nothing.
    memory_offsets : ndarray (B + 1,) int64, or None
        That of text b is ``memory[memory_offsets[b]:memory_offsets[b + 1]]``.
    memory_seen : ndarray (M,) bool, or None
        Which of its vectors take part; None: all.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int32] | None = None
    positions: NDArray[np.int32] | None = None
    seen: NDArray[np.bool_] | None = None
    mask: list[NDArray[np.bool_]] | None = None
    memory: NDArray[np.float32] | None = None
    memory_offsets: NDArray[np.int64] | None = None
    memory_seen: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass
class Result:
    """What a stack makes of a batch.

    Attributes
    ----------
    hidden : ndarray (N, D) float32
        After the last layer and the final norm.
    states : list of ndarray (N, D), or None
        Before the first layer and after each; the last is ``hidden``.
    attentions : list of lists of ndarray (H, S, S), or None
        For each layer and text: the weights that each query gives each key.
    """

    hidden: NDArray[np.float32]
    states: list[NDArray[np.float32]] | None = None
    attentions: list[list[NDArray[np.float32]]] | None = None
