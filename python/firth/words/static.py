"""Static embeddings of texts: the mean of the vectors of a text's tokens, as model2vec has it.

B = texts, N = ids of all of them, T = tokens, V = rows of the table, D = dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.formats import hub
from firth.formats.files import PathLike
from firth.kernels import embedding_bag
from firth.optional import needs
from firth.progress import progress_bar
from firth.tokenizers import Tokenizer
from firth.words import model2vec

_UNSET: Any = object()  # None means: no limit
_DTYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "int8": np.int8}


class StaticModel:
    """Vectors of tokens and the tokenizer that finds them in a text; model2vec's ``StaticModel``.

    Parameters
    ----------
    vectors : ndarray, shape (V, D), float16, float32, float64, ``ml_dtypes.bfloat16`` or int8
        Kept as it is; sums run in float32.
    tokenizer : ``tokenizers.Tokenizer`` or `firth.tokenizers.Tokenizer`
    config : mapping, optional
        Metadata; copied. ``normalize`` and ``max_length`` are written into it.
    normalize : bool, optional
        Divide each text's vector by its length.
    base_model_name, language : optional
        Kept as attributes.
    weights : ndarray, shape (T,), optional
        A factor for each token; the mean still divides by the number of tokens.
    token_mapping : ndarray of int, shape (T,), optional
        The row of each token; without it token i has row i.
    max_length : int, optional
        Tokens of a text that count, and ``max_length`` times the median length of a token is the
        number of characters that are looked at; None: all.

    Raises
    ------
    ValueError, TypeError
        Shapes or dtypes that do not fit together.

    Notes
    -----
    What differs from model2vec: vectors are float32 always (model2vec gives the dtype of the table,
    and float64 from `encode_as_sequence` for a text without tokens); no model card is written;
    ``use_multiprocessing`` has no effect, since native code uses all threads anyway; an empty list
    of texts is no error.
    """

    def __init__(
        self,
        vectors: NDArray[Any],
        tokenizer: Any,
        config: Mapping[str, Any] | None = None,
        normalize: bool = False,
        base_model_name: str | None = None,
        language: list[str] | None = None,
        weights: NDArray[Any] | None = None,
        token_mapping: NDArray[Any] | None = None,
        max_length: int | None = 512,
    ) -> None:
        if not isinstance(tokenizer, Tokenizer):
            tokenizer = Tokenizer(tokenizer.to_str())
        tokens = len(tokenizer.tokens)
        if vectors.ndim != 2:
            raise ValueError(f"StaticModel: vectors must have two axes, got shape {vectors.shape}")
        if vectors.dtype.name not in (*_DTYPES, "bfloat16"):
            raise TypeError(
                f"StaticModel: vectors must be {', '.join(_DTYPES)} or bfloat16, got "
                f"{vectors.dtype}"
            )
        if token_mapping is None and len(vectors) != tokens:
            raise ValueError(
                f"StaticModel: got {len(vectors)} vectors for {tokens} tokens; give a token "
                "mapping or as many vectors as tokens"
            )
        for name, array in (("weights", weights), ("token_mapping", token_mapping)):
            if array is not None and array.shape != (tokens,):
                raise ValueError(
                    f"StaticModel: {name} must have one entry for each of {tokens} tokens, got "
                    f"shape {array.shape}"
                )
        self.embedding = vectors
        self.weights = weights
        self.token_mapping = token_mapping
        self.tokens: tuple[str, ...] = tokenizer.tokens
        self.unk_token_id: int | None = tokenizer.unk_id
        self.median_token_length = int(np.median([len(token) for token in self.tokens]))
        self.config: dict[str, Any] = dict(config or {})
        self.base_model_name = base_model_name
        self.language = language
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.normalize = normalize

    def __repr__(self) -> str:
        return f"StaticModel<{len(self.tokens)} tokens, dim={self.dim}, {self.embedding_dtype}>"

    @classmethod
    def from_pretrained(
        cls,
        path: PathLike,
        token: str | None = None,
        normalize: bool | None = None,
        subfolder: str | None = None,
        quantize_to: str | None = None,
        dimensionality: int | None = None,
        vocabulary_quantization: int | None = None,
        max_length: int | None = _UNSET,
        force_download: bool = True,
    ) -> StaticModel:
        """Load a folder of model2vec or of sentence-transformers' StaticEmbedding.

        Parameters
        ----------
        path : path-like
            A folder; or a name on the Hugging Face hub, where huggingface_hub is installed.
        token : str, optional
            For private models on the hub.
        normalize : bool, optional
            Overrides the folder's config.
        subfolder : str, optional
            The model's folder inside ``path``.
        quantize_to : {"float16", "float32", "float64", "int8"}, optional
            Convert the table; int8 keeps directions, not lengths.
        dimensionality : int, optional
            Keep the first dimensions only.
        vocabulary_quantization : int, optional
            Replace the rows by the means of this number of clusters; needs scikit-learn.
        max_length : int or None, optional
            Overrides the folder's config (or 512).
        force_download : bool, optional
            False: ask the hub only for what is not in its cache.

        Raises
        ------
        FormatError
            The folder lacks a file, or one is malformed.
        FileNotFoundError
            Neither a folder nor a model that the hub gives.
        """
        folder = os.fspath(path)
        if not os.path.exists(folder):
            below = f"{subfolder.strip('/')}/" if subfolder else ""
            files = [below + file for file in model2vec.FILES]
            folder = hub.folder(folder, files, token, force_download=force_download)
        content = model2vec.read(os.path.join(folder, subfolder) if subfolder else folder)
        config = content.config
        model = cls(
            content.embeddings,
            content.tokenizer,
            config,
            bool(config.get("normalize", False)) if normalize is None else normalize,
            weights=content.weights,
            token_mapping=content.mapping,
            max_length=config.get("max_length", 512) if max_length is _UNSET else max_length,
        )
        if vocabulary_quantization is not None:
            model._quantize_vocabulary(vocabulary_quantization)
        if quantize_to is not None:
            model.embedding = _quantize(model.embedding, quantize_to)
        if dimensionality is not None:
            if not 0 < dimensionality <= model.dim:
                raise ValueError(
                    f"from_pretrained: dimensionality must be 1 to {model.dim}, got "
                    f"{dimensionality}"
                )
            model.embedding = model.embedding[:, :dimensionality]
        return model

    def save_pretrained(
        self, path: PathLike, model_name: str | None = None, subfolder: str | None = None
    ) -> None:
        """Write a folder that model2vec and sentence-transformers can load.

        ``model_name`` has no effect: no model card is written.
        """
        folder = os.path.join(path, subfolder) if subfolder else path
        content = model2vec.Content(
            self.embedding, self._tokenizer, self.config, self.weights, self.token_mapping
        )
        model2vec.write(folder, content)

    @property
    def dim(self) -> int:
        """Dimensions of a vector, D."""
        return int(self.embedding.shape[1])

    @property
    def normalize(self) -> bool:
        """Whether vectors get length 1; also in ``config``."""
        return bool(self.config["normalize"])

    @normalize.setter
    def normalize(self, value: bool) -> None:
        self.config["normalize"] = bool(value)

    @property
    def max_length(self) -> int | None:
        """How many tokens of a text count; also in ``config``."""
        value: int | None = self.config["max_length"]
        return value

    @max_length.setter
    def max_length(self, value: int | None) -> None:
        self.config["max_length"] = _checked_length("StaticModel", value)

    @property
    def embedding_dtype(self) -> str:
        """Name of the table's dtype, as "float16"."""
        return str(self.embedding.dtype.name)

    @property
    def vocabulary_quantization(self) -> int | None:
        """Rows of the table where tokens share them, else None."""
        return None if self.token_mapping is None else len(self.embedding)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer as a ``tokenizers.Tokenizer``; needs that package."""
        return self._tokenizer.library

    def tokenize(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids of each text, a list, at most ``max_length``, less those for unknown words."""
        ids, offsets = self._ids(list(sentences), self.max_length, None)
        values = ids.tolist()
        return [values[a:b] for a, b in pairwise(offsets)]

    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        show_progress_bar: bool = False,
        max_length: int | None = _UNSET,
        normalize: bool | None = None,
        batch_size: int = 1024,
        use_multiprocessing: bool = True,
        multiprocessing_threshold: int = 10_000,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """The vector of each text: the mean of the vectors of its tokens.

        Parameters
        ----------
        sentences : str or sequence of str, length B
        show_progress_bar : bool, optional
        max_length : int or None, optional
            Instead of the model's.
        normalize : bool, optional
            Instead of the model's.
        batch_size : int, optional
            Texts that are processed at once, on all threads; results do not depend on it.
        use_multiprocessing, multiprocessing_threshold, **kwargs
            No effect.

        Returns
        -------
        ndarray, shape (B, D), float32; (D,) for a single string. Zeros for a text without tokens.

        Raises
        ------
        TypeError
            A text is no string.
        ImportError
            The tokenizer or a text needs the `tokenizers` package (`firth.tokenizers`).
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        if max_length is _UNSET:
            max_length = self.max_length
        if normalize is None:
            normalize = self.normalize
        table = self._table()
        weights = None if self.weights is None else self.weights.astype(np.float32, copy=False)
        out = np.empty((len(texts), table.shape[1]), np.float32)
        done = 0
        for ids, offsets in self._batches(texts, max_length, batch_size, show_progress_bar):
            embedding_bag(
                ids,
                table,
                offsets,
                rows=self.token_mapping,
                weights=weights,
                normalize=normalize,
                out=out[done : done + len(offsets) - 1],
            )
            done += len(offsets) - 1
        return out[0] if isinstance(sentences, str) else out

    def encode_as_sequence(
        self,
        sentences: str | Sequence[str],
        *,
        max_length: int | None = None,
        batch_size: int = 1024,
        show_progress_bar: bool = False,
        use_multiprocessing: bool = True,
        multiprocessing_threshold: int = 10_000,
    ) -> list[NDArray[np.float32]] | NDArray[np.float32]:
        """The vectors of each text's tokens, in their order.

        Parameters are those of `encode`, but ``max_length`` is None: all tokens.

        Returns
        -------
        list of B ndarrays, shape (tokens, D), float32; a single one for a single string.
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        table = self._table()
        out: list[NDArray[np.float32]] = []
        for ids, offsets in self._batches(texts, max_length, batch_size, show_progress_bar):
            picked = table[ids if self.token_mapping is None else self.token_mapping[ids]]
            vectors = picked.astype(np.float32, copy=False)
            if self.weights is not None:
                vectors *= self.weights[ids, None]
            out += [vectors[a:b] for a, b in pairwise(offsets)]
        return out[0] if isinstance(sentences, str) else out

    def _batches(
        self, texts: list[str], max_length: int | None, batch_size: int, show_progress_bar: bool
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Ids and offsets of each batch."""
        max_length = _checked_length("encode", max_length)
        if batch_size < 1:
            raise ValueError(f"encode: batch_size must be at least 1, got {batch_size}")
        characters = None if max_length is None else max_length * self.median_token_length
        with progress_bar(len(texts), "text", "encoding", show_progress_bar) as bar:
            for start in range(0, len(texts), batch_size):
                batch = texts[start : start + batch_size]
                yield self._ids(batch, max_length, characters)
                bar.update(len(batch))

    def _ids(
        self, texts: list[str], max_length: int | None, characters: int | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of texts, cut to max_length and then without those for unknown words."""
        ids, offsets = self._tokenizer.encode_batch(texts, max_length, characters)
        if self.unk_token_id is not None:
            known = ids != self.unk_token_id
            if not known.all():
                before = np.zeros(len(ids) + 1, np.int64)
                np.cumsum(known, out=before[1:])
                ids, offsets = ids[known], before[offsets]
        return ids, offsets

    def _table(self) -> NDArray[Any]:
        """The table in a dtype that the kernel takes."""
        if self.embedding.dtype == np.float64:
            return self.embedding.astype(np.float32)
        return self.embedding

    def _quantize_vocabulary(self, clusters: int) -> None:
        """Replace the rows by the means of clusters of their directions; lengths become weights."""
        if self.token_mapping is not None:
            raise ValueError("from_pretrained: the vocabulary is quantized already")
        cluster = needs(
            "sklearn.cluster", "from_pretrained: vocabulary_quantization", "scikit-learn"
        )
        rows, dtype = self.embedding, self.embedding.dtype
        if dtype.name == "bfloat16":
            rows = rows.astype(np.float32)
        if self.weights is None:
            # model2vec's numbers, to the bit, since clusters depend on them; but of rows brought
            # near 1 by powers of two, since its squares leave the range of the dtype.
            exponents = np.frexp(np.abs(rows).max(axis=1, keepdims=True, initial=0))[1]
            rows = np.ldexp(rows, -exponents)
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            self.weights = np.ldexp(norms, exponents)[:, 0]
            rows = rows / np.where(norms == 0, 1, norms)
        rows = rows.astype(np.float32)
        kmeans = cluster.KMeans(n_clusters=clusters, random_state=42, init="random").fit(rows)
        self.token_mapping = kmeans.predict(rows)
        self.embedding = kmeans.cluster_centers_.astype(dtype)


def _checked_length(function: str, value: int | None) -> int | None:
    if value is not None and value < 0:
        raise ValueError(f"{function}: max_length must be None or at least 0, got {value}")
    return value


def _quantize(rows: NDArray[Any], name: str) -> NDArray[Any]:
    """The table in another dtype; for int8 scaled to -127 ... 127, by way of float16."""
    name = getattr(name, "value", name)  # model2vec's enumeration is taken too
    if name not in _DTYPES:
        raise ValueError(
            f"from_pretrained: quantize_to must be one of {list(_DTYPES)}, got {name!r}"
        )
    if name != "int8" or rows.dtype == np.int8:
        return rows.astype(_DTYPES[name], copy=False)
    if rows.dtype.name == "bfloat16":
        rows = rows.astype(np.float32)
    # Near 1, where float16 has room: to multiply by a power of two changes no digit.
    rows = np.ldexp(rows, -np.frexp(np.abs(rows).max(initial=0))[1])
    scale = np.abs(rows).max(initial=0) / 127.0 or 1.0
    steps = np.rint((rows.astype(np.float16) / scale).astype(np.float16))
    quantized: NDArray[Any] = steps.clip(-127, 127).astype(np.int8)
    return quantized
