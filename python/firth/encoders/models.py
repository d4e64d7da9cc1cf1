"""Models: a stack, its heads, and transformers' way of calling them.

B = texts, S = tokens of each, padding included, N = B S, D = width, L = layers, H = heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from firth.encoders import architectures
from firth.encoders.architecture import Architecture
from firth.encoders.heads import Floats, HeadWeights
from firth.encoders.initial import random_arrays
from firth.encoders.inputs import Inputs
from firth.encoders.outputs import ModelOutput
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.transformer.config import Config
from firth.transformer.files import read_arrays, read_config
from firth.transformer.plan import Batch, check
from firth.transformer.stack import PRECISIONS, Precision, Stack
from firth.transformer.weights import Names
from firth.transformer.where import folder_of

M = TypeVar("M", bound="Model")


class Model:
    """An encoder with the heads of a task; what the classes below have in common.

    Parameters
    ----------
    config : mapping
        The content of a ``config.json``.
    arrays : mapping of str to ndarray
        By the names that a file has; float32, float16 or bfloat16. float32 is not copied.
    compute_type : {"float32", "bfloat16", "int8"}
        Of products within layers, see `firth.transformer.Stack`. Heads are float32.
    path : path, optional
        For errors.

    Attributes
    ----------
    config : firth.transformer.config.Config
        By attribute, as ``config.hidden_size``.
    stack : firth.transformer.Stack
        The layers.
    heads : dict of str to firth.encoders.heads.HeadWeights
        By name of the task.
    inputs : firth.encoders.inputs.Inputs
        Makes batches for the stack.

    Raises
    ------
    FormatError
        An architecture that is unknown or not this class's, a field that is bad, an array that is
        missing or of another shape.
    """

    kinds: ClassVar[tuple[str, ...]] = architectures.KINDS  # that this class takes
    needed: ClassVar[tuple[str, ...]] = ()  # heads
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        config: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        compute_type: Precision = "float32",
        *,
        path: PathLike | None = None,
    ) -> None:
        if compute_type not in PRECISIONS:
            raise ValueError(
                f"{type(self).__name__}: compute_type must be one of {PRECISIONS}, got "
                f"{compute_type!r}"
            )
        architecture, self.config = self._find(config, path)
        names = Names(arrays, path or "weights", ("", *architecture.prefixes))
        plan = architecture.plan(self.config)
        weights = architecture.weights(self.config, names)
        try:
            check(plan, weights)
        except ValueError as error:
            raise FormatError(str(error), names.path) from None
        self.stack = Stack(plan, weights, compute_type)
        self.inputs = Inputs(type(self).__name__, architecture, self.config, self.stack)
        tokens = self.stack.weights.outside["tokens"]
        heads = architecture.heads(self.config)
        self.heads: dict[str, HeadWeights] = {}
        for name in self.needed:
            self.heads[name] = HeadWeights(heads[name], plan, names, tokens)
        for name in self.optional:
            if name in heads and names.has(f"{heads[name].steps[0].name}.weight"):
                self.heads[name] = HeadWeights(heads[name], plan, names, tokens)

    @classmethod
    def _find(cls, config: Mapping[str, Any], path: PathLike | None) -> tuple[Architecture, Config]:
        """The architecture, which must be one of those that the class takes and have its heads."""
        architecture, checked = architectures.find(config, path)
        kind = config["model_type"]
        if kind not in cls.kinds:
            other = next((one.__name__ for one in cls.__mro__ if one.__name__[:4] == "Auto"), None)
            hint = f"; {other} takes any" if other else ""
            raise FormatError(
                f"config: model_type is {kind!r}, {cls.__name__} takes {' '.join(cls.kinds)}{hint}",
                path,
            )
        for name in cls.needed:
            if name not in architecture.heads(checked):
                raise FormatError(f"config: {kind} has no head for {cls.__name__}", path)
        return architecture, checked

    @classmethod
    def from_pretrained(
        cls: type[M],
        path: PathLike,
        compute_type: Precision = "float32",
        *,
        token: str | None = None,
        **options: Any,
    ) -> M:
        """Load a folder of transformers' layout; weights are mapped, not copied.

        Parameters
        ----------
        path : path-like
            A folder with config.json and model.safetensors, or model.safetensors.index.json and
            the parts that it names; or what else `firth.transformer.where.folder_of` takes: an
            installed package, or a name on the Hugging Face hub.
        compute_type : {"float32", "bfloat16", "int8"}
        token : str, optional
            For private models on the hub.
        **options
            ``output_hidden_states``, ``output_attentions``: what calls return where they do not
            say it.

        Raises
        ------
        FormatError
            A file is malformed, holds another model, or is a pickle.
        FileNotFoundError
            A file is missing.
        """
        for name in options:
            if name not in ("output_hidden_states", "output_attentions"):
                raise TypeError(f"from_pretrained: unknown argument {name!r}")
        folder = folder_of(path, token=token)
        values, config_path = read_config(folder)
        cls._find(values, config_path)  # before the weights are looked at
        arrays, arrays_path = read_arrays(folder)
        return cls({**values, **options}, arrays, compute_type, path=arrays_path)

    @classmethod
    def from_config(
        cls: type[M],
        config: Mapping[str, Any],
        compute_type: Precision = "float32",
        *,
        seed: int = 0,
    ) -> M:
        """A model with random weights, as it is before training.

        ``config`` is the content of a ``config.json``; fields that it lacks are those of the
        architecture's first model, so ``{"model_type": "bert"}`` is BERT-base.
        """
        architecture, checked = cls._find(config, None)
        arrays = random_arrays(architecture, checked, (*cls.needed, *cls.optional), seed)
        return cls(config, arrays, compute_type)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}<{self.config.model_type}, {self.stack.plan.layers} layers of "
            f"{self.stack.plan.width}, {self.stack.precision}>"
        )

    def eval(self: M) -> M:
        """Do nothing: there is no dropout."""
        return self

    def num_parameters(self) -> int:
        """How many numbers were learned; those that are used in several places count once."""
        weights = self.stack.weights
        layers = {id(layer): layer for layer in weights.layers}
        arrays: list[NDArray[Any]] = [*weights.outside.values()]
        arrays += [array for one in layers.values() for array in one.values()]
        return sum(array.size for array in arrays) + sum(one.size for one in self.heads.values())

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Run the model.

        Parameters
        ----------
        input_ids : array_like of int, shape (B, S)
            Lists, NumPy arrays, or PyTorch's.
        attention_mask : array_like, shape (B, S), (B, S, S), or (B, 1, S, S) of bool, optional
            Not 0 for the tokens that are seen; by every token, or (last axis) by each. What a token
            that sees nothing gathers is 0.
        token_type_ids : array_like of int, shape (B, S), optional
            Segments [0]. Models without segments ignore them.
        position_ids : array_like of int, shape (B, S) or (S,), optional
        output_hidden_states, output_attentions : bool, optional
            Return the states before the first layer and after each, L + 1 of shape (B, S, D); the
            weights with which tokens (third axis) look at tokens, L of shape (B, H, S, S).
        return_dict : bool
            False: a tuple instead of a `ModelOutput`.

        Returns
        -------
        ModelOutput
            float32 arrays: what the class says, ``hidden_states``, ``attentions``.

        Raises
        ------
        TypeError, ValueError
            Arrays of another type or shape, or numbers that the model does not have; texts of more
            tokens than it has positions.
        """
        batch, (count, length) = self.inputs.rectangle(
            input_ids, attention_mask, token_type_ids, position_ids
        )
        states = self._asked(output_hidden_states, "output_hidden_states")
        attentions = self._asked(output_attentions, "output_attentions")
        result = self.stack.run(batch, states=states, attentions=attentions)
        heads, shape = self.stack.plan.heads, (count, length)
        output = ModelOutput(
            **self._finish(batch, shape, result.hidden),
            hidden_states=tuple(_texts(state, shape) for state in result.states)
            if result.states is not None
            else None,
            attentions=tuple(
                np.array(layer, np.float32).reshape(count, heads, length, length)
                for layer in result.attentions
            )
            if result.attentions is not None
            else None,
        )
        return output if return_dict else output.to_tuple()

    def _finish(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> dict[str, Any]:
        """What the class returns, from the states (N, D) of texts of shape (B, S)."""
        raise NotImplementedError

    def _asked(self, value: bool | None, name: str) -> bool:
        return bool(self.config.get(name, False) if value is None else value)


def _texts(rows: Floats, shape: tuple[int, ...]) -> Floats:
    """Rows (N, D) of texts of shape (B, S), as (B, S, D)."""
    return rows.reshape(*shape, rows.shape[1])


class AutoModel(Model):
    """The bare encoder of any known architecture.

    Calls return ``last_hidden_state`` (B, S, D) and, where the file has a pooler, ``pooler_output``
    (B, D).
    """

    optional = ("pooler",)

    def _finish(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> dict[str, Any]:
        pooler = self.heads.get("pooler")
        return {
            "last_hidden_state": _texts(hidden, shape),
            "pooler_output": None if pooler is None else pooler.run(batch, shape, hidden),
        }


class _Scoring(Model):
    """A model with one head; calls return ``logits``."""

    def _finish(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> dict[str, Any]:
        return {"logits": self.heads[self.needed[0]].run(batch, shape, hidden)}


class AutoModelForMaskedLM(_Scoring):
    """Any known encoder that tells masked tokens.

    Calls return ``logits`` (B, S, V) float32: scores of all V tokens at each place.
    """

    needed = ("masked_lm",)


class AutoModelForSequenceClassification(_Scoring):
    """Any known encoder with classes of texts.

    Calls return ``logits`` (B, C) float32 of C = ``config.num_labels`` classes, which
    ``config.id2label`` names.
    """

    needed = ("sequence",)


class AutoModelForTokenClassification(_Scoring):
    """Any known encoder with classes of tokens.

    Calls return ``logits`` (B, S, C) float32 of C = ``config.num_labels`` classes, which
    ``config.id2label`` names.
    """

    needed = ("tokens",)


class AutoModelForQuestionAnswering(Model):
    """Any known encoder that finds answers.

    Calls return ``start_logits`` and ``end_logits`` (B, S) float32: scores of each token as the
    first and as the last of the answer.
    """

    needed = ("span",)

    def _finish(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> dict[str, Any]:
        scores = self.heads["span"].run(batch, shape, hidden)
        return {
            "start_logits": np.ascontiguousarray(scores[..., 0]),
            "end_logits": np.ascontiguousarray(scores[..., 1]),
        }


class BertModel(AutoModel):
    """BERT without a head; the call is that of `AutoModel`.

    Calls return ``last_hidden_state`` (B, S, D) and, where the file has a pooler, ``pooler_output``
    (B, D), float32.
    """

    kinds = ("bert",)


class BertForMaskedLM(AutoModelForMaskedLM):
    """BERT that tells masked tokens; ``logits`` (B, S, V) as of `AutoModelForMaskedLM`."""

    kinds = ("bert",)


class BertForNextSentencePrediction(_Scoring):
    """BERT that judges pairs of sentences.

    Calls return ``logits`` (B, 2) float32: [:, 0] that the second follows the first, [:, 1] that it
    does not. ``token_type_ids`` say which tokens are the second's.
    """

    kinds = ("bert",)
    needed = ("next_sentence",)


class BertForPreTraining(Model):
    """BERT with both heads of its training.

    Calls return ``prediction_logits`` (B, S, V) and ``seq_relationship_logits`` (B, 2).
    """

    kinds = ("bert",)
    needed = ("masked_lm", "next_sentence")

    def _finish(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> dict[str, Any]:
        return {
            "prediction_logits": self.heads["masked_lm"].run(batch, shape, hidden),
            "seq_relationship_logits": self.heads["next_sentence"].run(batch, shape, hidden),
        }


class BertForSequenceClassification(AutoModelForSequenceClassification):
    """BERT with classes of texts; ``logits`` as of `AutoModelForSequenceClassification`."""

    kinds = ("bert",)


class BertForTokenClassification(AutoModelForTokenClassification):
    """BERT with classes of tokens; ``logits`` as of `AutoModelForTokenClassification`."""

    kinds = ("bert",)


class BertForQuestionAnswering(AutoModelForQuestionAnswering):
    """BERT that finds answers in texts; results as of `AutoModelForQuestionAnswering`."""

    kinds = ("bert",)
