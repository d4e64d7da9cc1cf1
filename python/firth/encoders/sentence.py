"""`SentenceTransformer`: texts to vectors, with sentence-transformers' calls.

B = texts, D = dimensions of their vectors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_whole
from firth.encoders.distill import distill
from firth.encoders.modules import Floats
from firth.encoders.pipeline import Pipeline
from firth.encoders.precision import ComputeType, chosen
from firth.encoders.settings import Settings, checked_dim
from firth.encoders.similarity import PRECISIONS, Precision, quantize_embeddings
from firth.formats.files import PathLike
from firth.geometry import lengths, normed
from firth.optional import needs
from firth.transformer.where import folder_of
from firth.words import StaticModel

_OUTPUTS = ("sentence_embedding", "token_embeddings", None)


class SentenceTransformer(Pipeline, Settings):
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
        As `firth.transformer.where.folder_of`.
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
        Pipeline.__init__(self, folder, self.compute_type)
        given = {
            "prompts": prompts,
            "default_prompt_name": default_prompt_name,
            "similarity_fn_name": similarity_fn_name,
            "truncate_dim": truncate_dim,
        }
        Settings.__init__(self, *self._content.settings, given)

    def __repr__(self) -> str:
        return (
            f"SentenceTransformer<{self.auto_model.config.model_type}, dim="
            f"{self.get_embedding_dimension()}, at most {self.max_seq_length} tokens, "
            f"{self.compute_type}>"
        )

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    def get_embedding_dimension(self) -> int:
        """D, how many numbers a vector has: the model's, or `truncate_dim` where that is less."""
        width = self._width
        return width if self.truncate_dim is None else min(width, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    def eval(self) -> SentenceTransformer:
        """Do nothing: there is no dropout."""
        return self

    def to(self, device: Any) -> SentenceTransformer:
        """Do nothing: there is only the CPU."""
        return self

    def encode_query(self, inputs: Any = None, **options: Any) -> Any:
        """`encode` with the prompt "query" where the model has it, unless another is given."""
        if options.get("prompt_name") is None and options.get("prompt") is None:
            options["prompt_name"] = "query" if "query" in self.prompts else None
        return self.encode(inputs, **options)

    def encode_document(self, inputs: Any = None, **options: Any) -> Any:
        """`encode` with the prompt "document", "passage" or "corpus", unless another is given.

        The first of these that there is; no prompt where there is none.
        """
        if options.get("prompt_name") is None and options.get("prompt") is None:
            names = [name for name in ("document", "passage", "corpus") if name in self.prompts]
            options["prompt_name"] = names[0] if names else None
        return self.encode(inputs, **options)

    def start_multi_process_pool(self, target_devices: Any = None) -> dict[str, Any]:
        """A pool for `encode`, which does not need one: this process works on all cores."""
        return {"input": None, "output": None, "processes": []}

    @staticmethod
    def stop_multi_process_pool(pool: dict[str, Any]) -> None:
        """Do nothing: a pool has no processes."""

    def encode_multi_process(
        self,
        sentences: Any,
        pool: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        chunk_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """`encode`, as older code calls it, with equal results."""
        return self.encode(
            sentences, prompt_name, prompt, batch_size, show_progress_bar, precision=precision,
            normalize_embeddings=normalize_embeddings, truncate_dim=truncate_dim,
        )  # fmt: skip

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
            Has no effect: nothing is padded, so batches are made by tokens, at most 131,072 each
            (a third of a second), and need the same memory whatever the texts.
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
        check_whole("encode: batch_size", batch_size, 1)
        if precision not in PRECISIONS:
            raise ValueError(f"encode: precision must be one of {PRECISIONS}, got {precision!r}")
        if output_value not in _OUTPUTS:
            raise ValueError(
                f"encode: output_value must be one of {_OUTPUTS}, got {output_value!r}"
            )
        dim = checked_dim("encode: truncate_dim", truncate_dim) or self.truncate_dim
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

    @staticmethod
    def _last(rows: Floats, dim: int | None, normalize: bool) -> Floats:
        """Vectors cut and at length 1, where that is wanted."""
        rows = rows if dim is None else np.ascontiguousarray(rows[:, :dim])
        return normed(rows, lengths(rows)) if normalize else rows

    def save_pretrained(self, path: PathLike, **options: Any) -> None:
        """Write a folder that sentence-transformers and firth read; options have no effect."""
        self._save(path, self._settings())

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
    if isinstance(inputs, (bytes, bytearray, dict)) or not isinstance(inputs, Iterable):
        raise TypeError(
            f"encode: inputs must be a str or an iterable of str, got {type(inputs).__name__}"
        )
    return list(inputs.tolist() if isinstance(inputs, np.ndarray) else inputs)
