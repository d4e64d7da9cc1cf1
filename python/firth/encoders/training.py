"""BERT as a network that trains: for pre-training, for classes of texts, for vectors of texts.

The other modules here run a trained model; this one makes them. Modules and arrays have the names
of transformers, so that weights go both ways, and what `save_pretrained` writes is what
`firth.BertForPreTraining` and the others read. The mathematics stands in `firth.encoders.bert`.

B = texts, S = tokens of each, padding included, D = width of the model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from firth.encoders import architectures
from firth.errors import FormatError, warn
from firth.formats import safetensors
from firth.formats.files import PathLike, atomic
from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.modules.containers import ModuleDict, ModuleList
from firth.nn.modules.dropout import Dropout
from firth.nn.modules.embedding import Embedding
from firth.nn.modules.linear import Linear
from firth.nn.modules.norm import LayerNorm
from firth.nn.operations.arithmetic import add, matmul, mean
from firth.nn.operations.attention import Attention
from firth.nn.operations.cross_entropy import cross_entropy, masked_lm_loss
from firth.nn.operations.linear import linear
from firth.nn.operations.shapes import index, squeeze
from firth.nn.tape import Array, Tensor, apply, derive
from firth.transformer.config import Config
from firth.transformer.files import read_arrays, read_config
from firth.transformer.weights import Names, floats
from firth.transformer.where import folder_of

N = TypeVar("N", bound="_Network")

_BODY = ("embeddings.", "encoder.")  # what every file has; heads may be new


class _Network(Module):
    """What the networks have in common: a configuration, and folders.

    Parameters
    ----------
    config : mapping
        The content of a ``config.json``; fields that it lacks are those of BERT-base.

    Attributes
    ----------
    config : firth.transformer.config.Config
    """

    _class: ClassVar[str]  # of transformers
    config: Config

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = _checked(type(self).__name__, config)

    @classmethod
    def from_pretrained(cls: type[N], path: PathLike, **fields: Any) -> N:
        """Load a folder of transformers' layout, to train it further.

        Parameters
        ----------
        path : path-like
            A folder, an installed package, or a name on the Hugging Face hub: see
            `firth.transformer.where.folder_of`.
        **fields
            Of the configuration, in place of the file's: ``num_labels=5``.

        Raises
        ------
        FormatError
            A file is malformed, of another architecture or another shape, or is a pickle.
        FileNotFoundError
            A file is missing.

        Warns
        -----
        UserWarning
            The file lacks arrays of a head, which are new and random.
        """
        folder = folder_of(path)
        values = read_config(folder)[0]
        if "num_labels" in fields:
            values = {k: v for k, v in values.items() if k not in ("id2label", "label2id")}
        model = cls({**values, **fields})
        names = Names(*read_arrays(folder), ("", "bert."))
        new = []
        for name, parameter in model.named_parameters():
            found = name.removeprefix("bert.")
            if not names.has(found) and not found.startswith(_BODY):
                new.append(name)
                continue
            array = names.find(found)
            names.check(array, parameter.shape, found)
            parameter.data[...] = floats(array)
        if new:
            warn(f"{cls.__name__}: new, as the file has none: {', '.join(new)}")
        return model

    def save_pretrained(self, folder: PathLike) -> None:
        """Write ``config.json`` and ``model.safetensors``, which transformers reads too."""
        root = os.fspath(folder)
        os.makedirs(root, exist_ok=True)
        arrays = {name: p.data.astype(np.float32) for name, p in self.named_parameters()}
        safetensors.write(os.path.join(root, "model.safetensors"), arrays)
        values = {**self.config.to_dict(), "model_type": "bert", "architectures": [self._class]}
        with atomic(os.path.join(root, "config.json")) as file:
            file.write(json.dumps(values, indent=2).encode())

    def _initialise(self) -> None:
        """Random values as BERT's: matrices normal, biases 0, gains 1."""
        deviation = self.config.get("initializer_range", 0.02)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                init.normal_(parameter, 0.0, deviation)
            else:
                init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
        for module in self.modules():
            if isinstance(module, Embedding) and module.padding_idx is not None:
                module.weight.data[module.padding_idx] = 0


def _checked(where: str, values: Mapping[str, Any]) -> Config:
    if values.get("model_type", "bert") != "bert":
        raise FormatError(f"config: model_type is {values['model_type']!r}, {where} takes bert")
    config = architectures.find({"model_type": "bert", **values})[1]
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        p = config.get(name, 0.1)
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p < 1:
            raise FormatError(f"config: {name} must be in [0, 1), got {p!r}")
    return config


class _Embeddings(Module):
    """The sum of three vectors of a token: its own, its position's, its segment's; normalized."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hidden_size
        padding = config.get("pad_token_id")
        self.word_embeddings = Embedding(config.vocab_size, width, padding)
        self.position_embeddings = Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = Embedding(config.type_vocab_size, width)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps)
        self.dropout = Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, ids: Array, types: Any) -> Tensor:
        positions, segments = self.position_embeddings.weight, self.token_type_embeddings
        x = add(self.word_embeddings(ids), index(positions, slice(ids.shape[1])))
        x = add(x, index(segments.weight, 0) if types is None else segments(types))
        found: Tensor = self.dropout(self.LayerNorm(x))
        return found


class _Layer(Module):
    """Attention, then a hidden layer; each is added to what came in, then normalized."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden = config.hidden_size, config.intermediate_size

        def output(inputs: int) -> ModuleDict:
            norm = LayerNorm(width, config.layer_norm_eps)
            return ModuleDict({"dense": Linear(inputs, width), "LayerNorm": norm})

        parts = {name: Linear(width, width) for name in ("query", "key", "value")}
        self.attention = ModuleDict({"self": ModuleDict(parts), "output": output(width)})
        self.intermediate = ModuleDict({"dense": Linear(width, hidden)})
        self.output = output(hidden)
        self.dropout = Dropout(config.get("hidden_dropout_prob", 0.1))
        self.heads, self.activation = config.num_attention_heads, config.activation()
        self.attention_dropout = config.get("attention_probs_dropout_prob", 0.1)

    def forward(self, x: Tensor, padding: Array | None) -> Tensor:
        attend = Attention(
            self.heads,
            self.heads,
            scale=1 / math.sqrt(x.shape[-1] // self.heads),
            dropout=self.attention_dropout if self.training else 0.0,
        )
        parts = [project(x) for project in self.attention["self"].values()]
        x = self._added(x, apply(attend, *parts, None, padding), self.attention["output"])
        dense = self.intermediate["dense"]
        hidden = linear(x, dense.weight, dense.bias, activation=self.activation)
        return self._added(x, hidden, self.output)

    def _added(self, x: Tensor, found: Tensor, output: Any) -> Tensor:
        made = self.dropout(output["dense"](found))
        result: Tensor = output["LayerNorm"](add(x, made))
        return result


class Bert(_Network):
    """The bare encoder; transformers' BertModel.

    Parameters
    ----------
    config : mapping
        The content of a ``config.json``; fields that it lacks are those of BERT-base.
    """

    _class = "BertModel"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        width = self.config.hidden_size
        self.embeddings = _Embeddings(self.config)
        layers = (_Layer(self.config) for _ in range(self.config.num_hidden_layers))
        self.encoder = ModuleDict({"layer": ModuleList(layers)})
        self.pooler = ModuleDict({"dense": Linear(width, width)})
        self._initialise()

    def forward(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None
    ) -> Tensor:
        """The states of the tokens.

        Parameters
        ----------
        input_ids : array_like of int, shape (B, S)
        attention_mask : array_like, shape (B, S), optional
            0 for padding, which nobody sees.
        token_type_ids : array_like of int, shape (B, S), optional
            Segments [0].

        Returns
        -------
        Tensor, shape (B, S, D)
        """
        ids = _array(input_ids)
        most = self.config.max_position_embeddings
        if ids.ndim != 2 or not 0 < ids.shape[1] <= most:
            raise ValueError(
                f"Bert: input_ids must have shape (B, S), S from 1 to {most}, got {ids.shape}"
            )
        for name, given in ("attention_mask", attention_mask), ("token_type_ids", token_type_ids):
            if given is not None and _array(given).shape != ids.shape:
                raise ValueError(
                    f"Bert: {name} must have the shape of input_ids, {ids.shape}, got "
                    f"{_array(given).shape}"
                )
        padding = None
        if attention_mask is not None:
            padding = derive(_array(attention_mask), lambda mask: mask == 0)
        x: Tensor = self.embeddings(ids, token_type_ids)
        for layer in self.encoder.layer:
            x = layer(x, padding)
        return x

    def pooled(self, states: Tensor) -> Tensor:
        """What the pooler makes of the states of first tokens: tanh(W h + b).

        ``states`` is a Tensor (B, S, D), as `forward` returns it; the result has shape (B, D).
        """
        dense = self.pooler["dense"]
        first = index(states, (slice(None), 0))
        return linear(first, dense.weight, dense.bias, activation="tanh")

    def mean(self, states: Tensor, attention_mask: Any = None) -> Tensor:
        """The mean (B, D) of the states (B, S, D) of tokens that are no padding; 0 of none.

        ``attention_mask`` (B, S) is 0 for padding; None: there is none.
        """
        if attention_mask is None:
            return mean(states, 1)

        def shares(mask: Array) -> Array:
            seen = (mask != 0)[:, None].astype(states.dtype)
            return np.asarray(seen / np.maximum(seen.sum(-1, keepdims=True), 1))

        weights = Tensor(derive(_array(attention_mask), shares))
        return squeeze(matmul(weights, states), 1)


class _Predictions(Module):
    """Scores of all words for a state: a hidden layer, and the words' own vectors."""

    def __init__(self, config: Config, words: Parameter) -> None:
        super().__init__()
        width = config.hidden_size
        self.bias = Parameter(np.zeros(config.vocab_size, np.float32))
        norm = LayerNorm(width, config.layer_norm_eps)
        self.transform = ModuleDict({"dense": Linear(width, width), "LayerNorm": norm})
        self.decoder = Linear(width, config.vocab_size)
        if config.tie_word_embeddings:
            self.decoder.weight, self.decoder.bias = words, self.bias
        self.activation = config.activation()

    def forward(self, states: Tensor) -> Tensor:
        """What the decoder gets."""
        dense = self.transform["dense"]
        made = linear(states, dense.weight, dense.bias, activation=self.activation)
        found: Tensor = self.transform["LayerNorm"](made)
        return found


class BertPreTraining(_Network):
    """BERT with the heads that it is pre-trained with; transformers' BertForPreTraining.

    Parameters
    ----------
    config : mapping
        As `Bert`'s.
    """

    _class = "BertForPreTraining"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.bert = Bert(config)
        words = self.bert.embeddings.word_embeddings.weight
        predictions = _Predictions(self.config, words)
        relationship = Linear(self.config.hidden_size, 2)
        self.cls = ModuleDict({"predictions": predictions, "seq_relationship": relationship})
        self._initialise()

    def forward(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Scores of all words at each place (B, S, V); of "follows" and "does not" (B, 2).

        Arguments and errors are those of `Bert.forward`. `losses` needs less memory.
        """
        states = self.bert(input_ids, attention_mask, token_type_ids)
        head = self.cls["predictions"]
        return head.decoder(head(states)), self._relationship(states)

    def losses(
        self,
        input_ids: Any,
        attention_mask: Any,
        token_type_ids: Any,
        labels: Any,
        next_sentence_label: Any,
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropies, in less memory than by the scores.

        Parameters
        ----------
        input_ids, attention_mask, token_type_ids
            As `Bert.forward`'s.
        labels : array_like of int, shape (B, S)
            The token that was masked, -100 at other places.
        next_sentence_label : array_like of int, shape (B,)
            0 where the second sentence followed the first, 1 where it did not.

        Returns
        -------
        Tensor, Tensor
            Of the masked words, and of the sentences.
        """
        states = self.bert(input_ids, attention_mask, token_type_ids)
        head = self.cls["predictions"]
        decoder = head.decoder
        words = masked_lm_loss(head(states), labels, decoder.weight, decoder.bias)
        return words, cross_entropy(self._relationship(states), next_sentence_label)

    def _relationship(self, states: Tensor) -> Tensor:
        scores: Tensor = self.cls["seq_relationship"](self.bert.pooled(states))
        return scores


class BertClassifier(_Network):
    """BERT with classes of texts; transformers' BertForSequenceClassification.

    Parameters
    ----------
    config : mapping
        As `Bert`'s; ``num_labels`` or ``id2label`` says how many classes there are [2].
    """

    _class = "BertForSequenceClassification"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.bert = Bert(config)
        p = self.config.get("classifier_dropout")
        self.dropout = Dropout(self.config.get("hidden_dropout_prob", 0.1) if p is None else p)
        self.classifier = Linear(self.config.hidden_size, self.config.num_labels)
        self._initialise()

    def forward(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None
    ) -> Tensor:
        """Scores of the classes (B, classes); the loss is `firth.nn.functional.cross_entropy`.

        Arguments and errors are those of `Bert.forward`.
        """
        states = self.bert(input_ids, attention_mask, token_type_ids)
        scores: Tensor = self.classifier(self.dropout(self.bert.pooled(states)))
        return scores


def _array(given: Any) -> Array:
    return given.data if isinstance(given, Tensor) else np.asarray(given)
