"""What follows the transformer in a folder of sentence-transformers: pooling, dense, norms.

B = texts of a batch, N = their tokens, D = width of what comes in, E = of what goes out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import safetensors
from firth.formats.files import PathLike
from firth.geometry import lengths, normed
from firth.kernels.matmul import PackedMatrix, matmul, pack
from firth.kernels.norm import layer_norm
from firth.transformer.plan import Batch
from firth.transformer.stack import POOLINGS, Stack, pooled

Floats = NDArray[np.float32]

# How configurations said it before "pooling_mode" was there; several are joined in this order.
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Pooling:
    """Tokens' vectors (N, D) to one vector a text (B, E); E is D times the number of modes.

    Parameters
    ----------
    width : int
        D.
    modes : tuple of str
        Of `firth.transformer.stack.POOLINGS`; the results of several are joined.
    include_prompt : bool
        False: the tokens of a prompt are seen by the others, but not pooled.
    """

    kind = "Pooling"

    def __init__(
        self, width: int, modes: tuple[str, ...] = ("mean",), include_prompt: bool = True
    ) -> None:
        self.modes, self.include_prompt, self._width = modes, include_prompt, width

    @classmethod
    def read(cls, config: Mapping[str, Any], folder: PathLike, width: int) -> Pooling:
        """From its ``config.json``, old or new; ``width`` is the transformer's."""
        path = os.path.join(folder, "config.json")
        modes = config.get("pooling_mode")
        if modes is None:
            modes = [mode for name, mode in _OLD_POOLINGS.items() if config.get(name)] or "mean"
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or not modes or any(mode not in POOLINGS for mode in modes):
            raise FormatError(f"pooling_mode must be of {POOLINGS}, got {modes!r}", path)
        said = config.get("embedding_dimension", config.get("word_embedding_dimension", width))
        if said != width:
            raise FormatError(f"pools vectors of {said!r}, the transformer's have {width}", path)
        return cls(width, tuple(modes), bool(config.get("include_prompt", True)))

    @property
    def config(self) -> dict[str, Any]:
        """What its ``config.json`` says: what old versions read too, where they have the order."""
        in_order = [mode for mode in _OLD_POOLINGS.values() if mode in self.modes]
        if in_order != [*self.modes]:
            return {
                "embedding_dimension": self._width,
                "pooling_mode": [*self.modes],
                "include_prompt": self.include_prompt,
            }
        return {
            "word_embedding_dimension": self._width,
            **{name: mode in self.modes for name, mode in _OLD_POOLINGS.items()},
            "include_prompt": self.include_prompt,
        }

    @property
    def width(self) -> int:
        """E."""
        return self._width * len(self.modes)

    def run(self, stack: Stack, batch: Batch, prompt: int = 0) -> Floats:
        """Vectors (B, E) of a batch; the first ``prompt`` tokens of each text are the prompt."""
        if (self.include_prompt or not prompt) and len(self.modes) == 1:
            return stack.pool(batch, self.modes[0])
        return self.join(batch, stack.run(batch).hidden, prompt)

    def join(self, batch: Batch, hidden: Floats, prompt: int = 0) -> Floats:
        """The same from the tokens' vectors (N, D)."""
        if not self.include_prompt and prompt:
            places = np.arange(len(hidden)) - np.repeat(batch.offsets[:-1], np.diff(batch.offsets))
            batch = Batch(batch.ids, batch.offsets, seen=places >= prompt)
        return np.concatenate([pooled(batch, hidden, mode) for mode in self.modes], axis=1)


class Module:
    """A step from vectors (B, D) to vectors (B, E), each for itself.

    Attributes
    ----------
    kind : str
        The last part of the name that ``modules.json`` has.
    config : dict
        Content of its ``config.json``.
    width : int
        E.
    arrays : dict of str to ndarray
        Of its ``model.safetensors``.
    """

    kind: ClassVar[str]

    def __init__(
        self, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], width: int, path: str
    ) -> None:
        self.config, self.arrays, self.width, self._path = dict(config), arrays, width, path

    def __call__(self, rows: Floats) -> Floats:
        """Run it."""
        raise NotImplementedError

    def _array(self, name: str, shape: tuple[int, ...]) -> Floats:
        if name not in self.arrays:
            raise FormatError(f"has no array {name!r}", self._path)
        array = self.arrays[name]
        if array.shape != shape:
            raise FormatError(f"array {name!r} has shape {array.shape}, wanted {shape}", self._path)
        return np.ascontiguousarray(array, np.float32)


class Normalize(Module):
    """Vectors at length 1; zeros stay."""

    kind = "Normalize"

    def __call__(self, rows: Floats) -> Floats:
        """Run it."""
        return normed(rows, lengths(rows))


class Dropout(Module):
    """Nothing: it is for training."""

    kind = "Dropout"

    def __call__(self, rows: Floats) -> Floats:
        """Run it."""
        return rows


class LayerNorm(Module):
    """A layer norm with PyTorch's epsilon."""

    kind = "LayerNorm"

    def __init__(self, *taken: Any) -> None:
        super().__init__(*taken)
        self._gain, self._bias = (
            self._array(f"norm.{name}", (self.width,)) for name in ("weight", "bias")
        )

    def __call__(self, rows: Floats) -> Floats:
        """Run it."""
        out: Floats = layer_norm(rows, self._gain, self._bias, eps=1e-5)
        return out


def _same(rows: Floats) -> Floats:
    return rows


def sigmoid(rows: Floats) -> Floats:
    """The logistic function, which overflows nowhere."""
    return (0.5 * (1 + np.tanh(0.5 * rows.astype(np.float64)))).astype(np.float32)


# By the last part of PyTorch's names; those that the matrix product applies itself are strings.
_ACTIVATIONS: dict[str, Literal["relu", "gelu", "silu"] | Callable[[Floats], Floats]] = {
    "Identity": _same,
    "Tanh": np.tanh,
    "Sigmoid": sigmoid,
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}


class Dense(Module):
    """activation(x W^T + b), and x (or its projection) added to that where the folder says so."""

    kind = "Dense"

    def __init__(self, *taken: Any) -> None:
        super().__init__(*taken)
        before, path = self.width, self._path
        outputs = self.config.get("out_features")
        if self.config.get("in_features", before) != before or type(outputs) is not int:
            raise FormatError(
                f"config.json: wants {self.config.get('in_features')!r} inputs, gives {outputs!r} "
                f"outputs; there are {before} inputs",
                path,
            )
        name = self.config.get("activation_function", "Tanh") or "Identity"
        self._activation = _ACTIVATIONS.get(str(name).rpartition(".")[2])
        if self._activation is None:
            raise FormatError(
                f"config.json: activation_function {name!r} is none of {sorted(_ACTIVATIONS)}", path
            )
        for key in ("module_input_name", "module_output_name"):
            if self.config.get(key) not in (None, "sentence_embedding"):
                raise FormatError(
                    f"config.json: {key} must be 'sentence_embedding', got {self.config[key]!r}",
                    path,
                )
        self._weight = self._array("linear.weight", (outputs, before))
        self._bias = (
            self._array("linear.bias", (outputs,)) if self.config.get("bias", True) else None
        )
        self._residual: Floats | None = None
        self._adds = bool(self.config.get("use_residual", False))
        if self._adds and outputs != before:
            self._residual = self._array("residual.weight", (outputs, before))
        self.width = outputs

    @cached_property
    def _packed(self) -> tuple[PackedMatrix, PackedMatrix | None]:
        residual = None if self._residual is None else pack(self._residual, transposed=True)
        return pack(self._weight, transposed=True), residual

    def __call__(self, rows: Floats) -> Floats:
        """Run it."""
        weight, residual = self._packed
        if isinstance(self._activation, str):
            out: Floats = matmul(rows, weight, bias=self._bias, activation=self._activation)
        else:
            assert self._activation is not None
            out = self._activation(matmul(rows, weight, bias=self._bias))
        if self._adds:
            out = out + (rows if residual is None else matmul(rows, residual))
        return out


KINDS: dict[str, type[Module]] = {one.kind: one for one in (Dense, Dropout, LayerNorm, Normalize)}


def read(kind: str, config: Mapping[str, Any], folder: PathLike, width: int) -> Module:
    """A step behind the pooling; ``width`` is that of what comes in.

    Raises
    ------
    FormatError
        An unknown kind, a pickle, a malformed file.
    """
    if kind not in KINDS:
        raise FormatError(
            f"module {kind!r} is not known; firth has {', '.join(sorted(KINDS))}", folder
        )
    path, arrays = os.path.join(folder, "model.safetensors"), dict[str, NDArray[Any]]()
    if os.path.exists(path):
        arrays = safetensors.mapped(path)
    elif os.path.exists(pickle := os.path.join(folder, "pytorch_model.bin")):
        raise FormatError("is a pickle, which can run any code when it is read", pickle)
    return KINDS[kind](config, arrays, width, path)
