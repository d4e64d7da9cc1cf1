"""`SentenceTransformer`: texts to vectors, with sentence-transformers' calls.

B = texts, D = dimensions of their vectors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders.batches import checked_text
from firth.encoders.distill import distill
from firth.encoders.modules import Floats
from firth.encoders.pipeline import Pipeline
from firth.encoders.precision import ComputeType, chosen
from firth.encoders.similarity import PRECISIONS, SIMILARITIES, Precision, quantize_embeddings
from firth.encoders.where import folder_of
from firth.errors import FormatError, warn
from firth.formats.files import PathLike
from firth.geometry import lengths, normed
from firth.optional import needs
from firth.words import StaticModel

_OUTPUTS = ("sentence_embedding", "token_embeddings", None)


class SentenceTransformer(Pipeline):
    """A model that gives texts of similar meaning similar vectors.

    Parameters
    ----------
    model_name_or_path : path-like
        A folder of sentence-transformers or of transformers; the name of an installed package that
        carries one; or a name on the Hugging Face hub, from its cache or downloaded where
        huggingface_hub is installed.
    compute_type : {"auto", "float32", "bfloat16", "int8"}
        Of products with weights. auto: the fastest that keeps a cosine of 0.9999 with float32 on
        this CPU.
    prompts : mapping of str to str, optional
        What can be put in front of texts, by name; added to those of the folder.
    default_prompt_name : str, optional
        Which of them is, where a call does not say it.
    similarity_fn_name : {"cosine", "dot", "euclidean", "manhattan"}, optional
        Of `similarity`; default: the folder's, or cosine.
    truncate_dim : int, optional
        Keep the first dimensions of vectors.
    cache_folder, token, revision, local_files_only : optional
        As `firth.encoders.where.folder_of`.
    device : optional
        "cpu" or None: there is no other.

    Attributes
    ----------
    prompts, default_prompt_name, truncate_dim, similarity_fn_name
        As above; can be assigned.
    compute_type : str
        What "auto" became.

    Raises
    ------
    FormatError
        A file is malformed, a pickle, or holds what firth does not have.
    FileNotFoundError
        No such model, or a file of it is missing.
    ValueError
        A parameter.

    Notes
    -----
    The vector of a text has the same bits alone, in any batch and on any number of threads. Calls
    return NumPy arrays; tensors only where they are asked for.
    """

    def __init__(
        self,
        model_name_or_path: PathLike,
        *,
        compute_type: ComputeType = "auto",
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
        cache_folder: PathLike | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        device: str | None = None,
    ) -> None:
        if device not in (None, "cpu"):
            raise ValueError(f"SentenceTransformer: device must be 'cpu' or None, got {device!r}")
        self.compute_type = chosen(compute_type)
        folder = folder_of(
            model_name_or_path,
            token=token,
            cache_folder=cache_folder,
            revision=revision,
            local_files_only=local_files_only,
            owner="sentence-transformers",
        )
        super().__init__(folder, self.compute_type)
        settings = self._content.settings
        kept = settings.get("prompts") or {}
        if not isinstance(kept, dict):
            raise FormatError(
                "config_sentence_transformers.json: prompts must be an object", folder
            )
        said = {"query": "", "document": "", **kept, **(prompts or {})}
        self.prompts = {name: checked_text("prompts", text or "") for name, text in said.items()}
        self.default_prompt_name = default_prompt_name or settings.get("default_prompt_name")
        if self.default_prompt_name not in (None, *self.prompts):
            raise ValueError(
                f"SentenceTransformer: default_prompt_name {self.default_prompt_name!r} is not "
                f"among the prompts {list(self.prompts)}"
            )
        named = settings.get("similarity_fn_name")
        self.similarity_fn_name = similarity_fn_name or (named if named in SIMILARITIES else None)
        self.truncate_dim = settings.get("truncate_dim") if truncate_dim is None else truncate_dim

    def __repr__(self) -> str:
        return (
            f"SentenceTransformer<{self._model.config.model_type}, dim="
            f"{self.get_embedding_dimension()}, at most {self.max_seq_length} tokens, "
            f"{self.compute_type}>"
        )

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def similarity_fn_name(self) -> str:
        """The name of what `similarity` computes."""
        return str(self._similarity_fn_name)

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        value = getattr(value, "value", value) or "cosine"  # an enumeration in the original
        if value not in SIMILARITIES:
            raise ValueError(f"similarity_fn_name must be in {[*SIMILARITIES]}, got {value!r}")
        self._similarity_fn_name = value

    def get_embedding_dimension(self) -> int:
        """D."""
        width = self._width
        return width if self.truncate_dim is None else min(width, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Floats:
        """Similarities (n, m) of vectors (n, D) with vectors (m, D)."""
        return SIMILARITIES[self.similarity_fn_name][0](embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Floats:
        """Similarities (n,) of vectors (n, D), each with its own of (n, D)."""
        return SIMILARITIES[self.similarity_fn_name][1](embeddings1, embeddings2)

    @contextlib.contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside the block `truncate_dim` is another."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    def eval(self) -> SentenceTransformer:
        """Do nothing: there is no dropout."""
        return self

    def to(self, device: Any) -> SentenceTransformer:
        """Do nothing: there is only the CPU."""
        return self

    def encode_query(self, inputs: Any = None, **options: Any) -> Any:
        """`encode` with the prompt "query", unless another is given."""
        if options.get("prompt_name") is None and options.get("prompt") is None:
            options["prompt_name"] = "query" if "query" in self.prompts else None
        return self.encode(inputs, **options)

    def encode_document(self, inputs: Any = None, **options: Any) -> Any:
        """`encode` with the prompt "document", "passage" or "corpus", unless another is given."""
        if options.get("prompt_name") is None and options.get("prompt") is None:
            names = [name for name in ("document", "passage", "corpus") if name in self.prompts]
            options["prompt_name"] = names[0] if names else None
        return self.encode(inputs, **options)

    def encode(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> Any:
        """The vectors of texts.

        Parameters
        ----------
        inputs : str, or iterable of str, length B
            Equal texts are computed once. Also called ``sentences``.
        prompt_name : str, optional
            Which of `prompts` is put in front of each text.
        prompt : str, optional
            What is put in front of each text, instead.
        batch_size : int
            Has no effect: batches are made by tokens, of a third of a second each.
        show_progress_bar : bool, optional
            None: on a terminal, when it takes longer than three seconds.
        output_value : {"sentence_embedding", "token_embeddings", None}
            One vector a text; one a token (S, width) of each text; or a dict with both and the
            tokens.
        precision : {"float32", "int8", "uint8", "binary", "ubinary"}
            As `firth.encoders.similarity.quantize_embeddings`.
        convert_to_numpy, convert_to_tensor : bool
            An array; a tensor of PyTorch, which must be installed; where both are False a list of
            arrays (D,).
        device, pool, chunk_size : optional
            Have no effect.
        normalize_embeddings : bool
            Vectors of length 1.
        truncate_dim : int, optional
            Keep the first dimensions; before `normalize_embeddings` counts.

        Returns
        -------
        ndarray (B, D) float32, or of the precision; (D,) for a single text.

        Raises
        ------
        TypeError
            A text is no str.
        ValueError
            Another argument is unknown or out of range.
        """
        inputs = options.pop("sentences", inputs)
        if unknown := set(options) - {"pool", "chunk_size", "task", "processing_kwargs"}:
            raise ValueError(f"encode: unknown arguments {sorted(unknown)}")
        if batch_size < 1:
            raise ValueError(f"encode: batch_size must be at least 1, got {batch_size}")
        if precision not in PRECISIONS:
            raise ValueError(f"encode: precision must be one of {PRECISIONS}, got {precision!r}")
        if output_value not in _OUTPUTS:
            raise ValueError(
                f"encode: output_value must be one of {_OUTPUTS}, got {output_value!r}"
            )
        dim = self.truncate_dim if truncate_dim is None else truncate_dim
        if dim is not None and dim < 1:
            raise ValueError(f"encode: truncate_dim must be at least 1, got {dim}")
        front = self._prompt(prompt, prompt_name)
        single = isinstance(inputs, str)
        texts = [inputs] if isinstance(inputs, str) else _listed(inputs)
        texts = [self._prepared("encode", text, front) for text in texts]
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        rows = [place[text] for text in texts]
        before = self._prompt_tokens(front)
        if output_value != "sentence_embedding":
            found = self._tokens(list(place), before, show_progress_bar)
            for one in found:
                one["sentence_embedding"] = self._last(
                    one["sentence_embedding"], dim, normalize_embeddings
                )[0]
            items = [found[i] if output_value is None else found[i][output_value] for i in rows]
            return items[0] if single else items
        out = self._vectors(list(place), before, show_progress_bar)
        out = self._last(out if len(place) == len(rows) else out[rows], dim, normalize_embeddings)
        small: NDArray[Any] = quantize_embeddings(out, precision)
        if convert_to_tensor:
            tensor = needs("torch", "encode: convert_to_tensor").from_numpy(small)
            return tensor[0] if single else tensor
        if single:
            return small[0]
        return small if convert_to_numpy else list(small)

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        """What is put in front of each text."""
        if prompt is not None:
            if name is not None:
                warn("encode: prompt and prompt_name are given; prompt counts")
            return checked_text("encode: prompt", prompt)
        name = name if name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            raise ValueError(f"encode: prompt_name {name!r} is not among {list(self.prompts)}")
        return self.prompts[name]

    @staticmethod
    def _last(rows: Floats, dim: int | None, normalize: bool) -> Floats:
        """Vectors cut and at length 1, where that is wanted."""
        rows = rows if dim is None else np.ascontiguousarray(rows[:, :dim])
        return normed(rows, lengths(rows)) if normalize else rows

    def save_pretrained(self, path: PathLike, **options: Any) -> None:
        """Write a folder that sentence-transformers and firth read; options have no effect."""
        settings = {
            **self._content.settings,
            "prompts": self.prompts,
            "default_prompt_name": self.default_prompt_name,
            "similarity_fn_name": self.similarity_fn_name,
        }
        settings.setdefault("__version__", {"sentence_transformers": "2.0.0"})
        if self.truncate_dim is not None:
            settings["truncate_dim"] = self.truncate_dim
        self._save(path, settings)

    save = save_pretrained

    def distill(
        self,
        vocabulary: Sequence[str] | None = None,
        pca_dims: int | float | str | None = 256,
        sif_coefficient: float | None = 1e-4,
        token_remove_pattern: str | None = r"\[unused\d+\]",
        pooling: str = "mean",
        quantize_to: str = "float16",
        show_progress_bar: bool | None = None,
    ) -> StaticModel:
        """A table of vectors of tokens that makes a text's vector in microseconds.

        Each token goes through the transformer alone; the table is turned to its principal axes,
        and frequent tokens, by their rank in the vocabulary, get less weight. After model2vec
        (https://github.com/MinishLab/model2vec), which reads what ``save_pretrained`` writes.

        Parameters
        ----------
        vocabulary : sequence of str, optional
            Words that get vectors of their own, beside the tokenizer's.
        pca_dims : int, float, "auto" or None
            How many axes are kept; a float: as many as explain that share of the variance; "auto":
            all; None: the table is not turned.
        sif_coefficient : float, optional
            a of the weight a / (a + share of the token); None: all have weight 1.
        token_remove_pattern : str, optional
            Tokens that this regular expression matches are left out.
        pooling : {"mean", "first", "last"}
            Of the tokens of a word, with the special ones.
        quantize_to : {"float16", "float32", "float64"}
            Of the table.
        show_progress_bar : bool, optional

        Returns
        -------
        StaticModel

        Raises
        ------
        FormatError
            The tokenizer is no WordPiece.
        """
        path = os.path.join(self._content.transformer, "tokenizer.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return distill(
            self._stack, text, vocabulary, pca_dims, sif_coefficient, token_remove_pattern,
            pooling, quantize_to, show_progress_bar,
        )  # fmt: skip


def _listed(inputs: Any) -> list[Any]:
    """Texts as a list; TypeError for what holds none."""
    if inputs is None or isinstance(inputs, (bytes, bytearray, dict)):
        raise TypeError(
            f"encode: inputs must be a str or an iterable of str, got {type(inputs).__name__}"
        )
    return list(inputs.tolist() if isinstance(inputs, np.ndarray) else inputs)
