"""`CrossEncoder`: scores of pairs of texts, with sentence-transformers' calls.

B = pairs, C = classes (``num_labels``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from firth.arguments import check_whole
from firth.encoders.batches import Packing, batches, checked_text
from firth.encoders.models import AutoModelForSequenceClassification
from firth.encoders.modules import Floats, sigmoid
from firth.encoders.precision import ComputeType, chosen
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.kernels import softmax
from firth.optional import needs
from firth.tokenizers import AutoTokenizer
from firth.transformer.where import folder_of

Activation = Callable[[Floats], Any]


def _same(scores: Floats) -> Floats:
    return scores


_ACTIVATIONS: dict[str, Activation] = {"Sigmoid": sigmoid, "Identity": _same, "Tanh": np.tanh}

_POOLINGS = {"first": "cls", "mean": "mean"}  # for what a head starts from


class CrossEncoder:
    """A model that reads two texts together and scores the pair.

    Parameters
    ----------
    model_name_or_path : path-like
        A folder of transformers' layout with a head for classes of texts, or a name, as for
        `SentenceTransformer`.
    compute_type : {"auto", "float32", "bfloat16", "int8"}
        As for `SentenceTransformer`.
    max_length : int, optional
        Tokens of a pair that count; the longer text is cut first. Default: the model's positions.
    activation_fn : function of an array, optional
        What scores go through. Default: the folder's, else the logistic function where there is
        one class and nothing where there are more.
    num_labels : int, optional
        Must be the folder's.
    cache_folder, token, revision, local_files_only : optional
        As `firth.transformer.where.folder_of`.
    device : optional
        "cpu" or None: there is no other.

    Raises
    ------
    FormatError
        A file is malformed, a pickle, or holds another model.
    FileNotFoundError
        No such model, or a file of it is missing.
    """

    def __init__(
        self,
        model_name_or_path: PathLike,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Activation | None = None,
        *,
        compute_type: ComputeType = "auto",
        cache_folder: PathLike | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        device: str | None = None,
    ) -> None:
        if device not in (None, "cpu"):
            raise ValueError(f"CrossEncoder: device must be 'cpu' or None, got {device!r}")
        self.compute_type = chosen(compute_type)
        folder = folder_of(
            model_name_or_path,
            token=token,
            cache_folder=cache_folder,
            revision=revision,
            local_files_only=local_files_only,
        )
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, self.compute_type)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if num_labels not in (None, self.num_labels):
            raise ValueError(
                f"CrossEncoder: num_labels is {self.num_labels} in {folder}, not {num_labels}"
            )
        known = [self.model.stack.most_tokens, self.tokenizer.model_max_length, max_length]
        self.max_length: int | None = min((one for one in known if one is not None), default=None)
        self.activation_fn = activation_fn or self._activation(folder)
        self._told = False

    def __repr__(self) -> str:
        return (
            f"CrossEncoder<{self.config.model_type}, {self.num_labels} labels, at most "
            f"{self.max_length} tokens, {self.compute_type}>"
        )

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def num_labels(self) -> int:
        """C, how many numbers a pair gets: 1 of a model that ranks."""
        return self.model.config.num_labels

    def _activation(self, folder: str) -> Activation:
        """What the configuration says, or the default."""
        said = (self.config.get("sentence_transformers") or {}).get("activation_fn")
        said = said or self.config.get("sbert_ce_default_activation_function")
        if said is None:
            return sigmoid if self.num_labels == 1 else _same
        name = str(said).rpartition(".")[2]
        if name not in _ACTIVATIONS:
            raise FormatError(
                f"config: activation_fn {said!r} is none of {sorted(_ACTIVATIONS)}; give one",
                folder,
            )
        return _ACTIVATIONS[name]

    def predict(
        self,
        inputs: Iterable[Sequence[str]] | Sequence[str] | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **options: Any,
    ) -> Any:
        """Scores of pairs.

        Parameters
        ----------
        inputs : iterable of pairs of str, length B, or one pair
            Equal pairs are computed once. Also called ``sentences``.
        batch_size : int
            Has no effect: batches are made by tokens, of a third of a second each.
        show_progress_bar : bool, optional
            None: on a terminal, when it takes longer than three seconds.
        activation_fn : function of an array (B, C), optional
            Instead of the model's; also a module of PyTorch, by the name of its class.
        apply_softmax : bool
            Scores of a pair add up to 1, where there are several classes.
        convert_to_numpy, convert_to_tensor : bool
            An array; a tensor of PyTorch, which must be installed; where both are False a list.
        device, pool, chunk_size : optional
            Have no effect.

        Returns
        -------
        ndarray (B,) float32, or (B, C) where there are several classes; one less axis for one pair.

        Raises
        ------
        TypeError, ValueError
            A pair is no pair of str; another argument is unknown or out of range.
        """
        inputs = options.pop("sentences", inputs)
        if unknown := set(options) - {"device", "pool", "chunk_size"}:
            raise ValueError(f"predict: unknown arguments {sorted(unknown)}")
        check_whole("predict: batch_size", batch_size, 1)
        if isinstance(inputs, (str, bytes, dict)) or not isinstance(inputs, Iterable):
            raise TypeError(f"predict: inputs must be pairs of str, got {type(inputs).__name__}")
        given = inputs.tolist() if isinstance(inputs, np.ndarray) else list(inputs)
        single = len(given) == 2 and all(isinstance(one, str) for one in given)
        pairs = [_pair(i, pair) for i, pair in enumerate([given] if single else given)]
        place = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        scores = self._logits(list(place), show_progress_bar)[[place[pair] for pair in pairs]]
        scores = np.asarray(_named(activation_fn or self.activation_fn)(scores), np.float32)
        if apply_softmax and self.num_labels > 1:
            scores = softmax(scores)
        if self.num_labels == 1:
            scores = scores.reshape(-1)
        if convert_to_tensor:
            tensor = needs("torch", "predict: convert_to_tensor").from_numpy(scores)
            return tensor[0] if single else tensor
        if single:
            return scores[0]
        return scores if convert_to_numpy else list(scores)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Documents by their score with a query, best first.

        Parameters
        ----------
        query : str
        documents : sequence of str
        top_k : int, optional
            How many; None: all.
        return_documents : bool
            With the texts.
        **options
            Of `predict`.

        Returns
        -------
        list of dict
            ``corpus_id``, the number of the document; ``score``; and ``text`` where asked for.

        Raises
        ------
        ValueError
            The model has several classes.
        """
        if self.num_labels != 1:
            raise ValueError(f"rank: the model must have one label, it has {self.num_labels}")
        for name in ("convert_to_numpy", "convert_to_tensor"):
            options.pop(name, None)  # the result is a list in any case
        if documents is None or isinstance(documents, (bytes, dict)):
            raise TypeError(f"rank: documents must be str, got {type(documents).__name__}")
        documents = list(documents)
        scores = self.predict([(query, one) for one in documents], **options)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(i), "score": float(scores[i])}
            | ({"text": documents[i]} if return_documents else {})
            for i in order
        ]

    def _logits(self, pairs: list[tuple[str, str]], progress: bool | None) -> Floats:
        """Scores (B, C) of different pairs, as the head gives them."""
        stack, head = self.model.stack, self.model.heads["sequence"]
        types = "types" in stack.weights.outside
        first, second = [one for one, _ in pairs], [two for _, two in pairs]
        packing = Packing(self.tokenizer, first, second, self.max_length, types)
        out = np.empty((len(pairs), self.num_labels), np.float32)
        sizes = [len(one) + len(two) for one, two in pairs]
        with contextlib.closing(batches(stack, packing, sizes, "scoring", progress)) as found:
            for place, batch in found:
                out[place] = head(stack.pool(batch, _POOLINGS[head.head.start]))
        if not self._told:
            self._told = packing.report()
        return out


def _pair(i: int, pair: Any) -> tuple[str, str]:
    if isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise ValueError(f"predict: input {i} must be a pair of str, got {type(pair).__name__}")
    return checked_text("predict", pair[0]), checked_text("predict", pair[1])


def _named(activation: Activation) -> Activation:
    """An activation, where it is a module of PyTorch the one of the same name."""
    known = _ACTIVATIONS.get(type(activation).__name__)
    return known if known is not None and not isinstance(activation, type(_same)) else activation
