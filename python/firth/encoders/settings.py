"""``config_sentence_transformers.json``: prompts, the similarity, how many dimensions are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from firth.arguments import check_whole, shortened
from firth.encoders.batches import checked_text
from firth.encoders.similarity import SIMILARITIES, Floats
from firth.errors import FormatError, warn
from firth.formats.files import PathLike


class Settings:
    """What is put in front of texts, and how their vectors are cut and compared.

    Parameters
    ----------
    values : mapping
        The content of the file.
    path : path-like
        Of the file, for errors.
    given : mapping of str
        What the caller says instead: prompts, which are added, default_prompt_name,
        similarity_fn_name, truncate_dim; None where nothing.

    Raises
    ------
    FormatError
        A field of the file.
    TypeError, ValueError
        What the caller says.
    """

    def __init__(self, values: Mapping[str, Any], path: PathLike, given: Mapping[str, Any]) -> None:
        self._values = values
        self.prompts: dict[str, str] = {"query": "", "document": ""}
        self.default_prompt_name: str | None = None
        try:
            self._take(values)
        except (TypeError, ValueError) as error:
            raise FormatError(str(error), path) from None
        self._take(given)

    def _take(self, said: Mapping[str, Any]) -> None:
        prompts = said.get("prompts") or {}
        if not isinstance(prompts, Mapping):
            raise TypeError(f"prompts must be texts by name, got {shortened(prompts)}")
        self.prompts |= {
            name: checked_text("prompts", text or "") for name, text in prompts.items()
        }
        if (name := said.get("default_prompt_name")) is not None:
            if name not in [*self.prompts]:
                raise ValueError(
                    f"default_prompt_name {shortened(name)} is not among the prompts "
                    f"{[*self.prompts]}"
                )
            self.default_prompt_name = name
        for name in ("similarity_fn_name", "truncate_dim"):
            if (value := said.get(name)) is not None or said is self._values:
                setattr(self, name, value)

    @property
    def similarity_fn_name(self) -> str:
        """What `similarity` computes: "cosine", "dot", "euclidean" or "manhattan" (both negated).

        It can be assigned; ValueError for another name.
        """
        return self._similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        value = getattr(value, "value", value) or "cosine"  # an enumeration in the original
        if value not in [*SIMILARITIES]:
            raise ValueError(
                f"similarity_fn_name must be in {[*SIMILARITIES]}, got {shortened(value)}"
            )
        self._similarity_fn_name = str(value)

    @property
    def truncate_dim(self) -> int | None:
        """How many dimensions of vectors are kept; None: all."""
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, value: int | None) -> None:
        self._truncate_dim = checked_dim("truncate_dim", value)

    @contextlib.contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside the block `truncate_dim` is another, an int or None for all dimensions."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Floats:
        """Similarities (n, m) float32 of vectors (n, D) with vectors (m, D): greater is nearer.

        By `similarity_fn_name`; arguments and errors are those of `firth.encoders.cos_sim`.
        """
        return SIMILARITIES[self.similarity_fn_name][0](embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Floats:
        """Similarities (n,) float32 of vectors (n, D), each with its own of (n, D).

        By `similarity_fn_name`; ValueError where rows differ in length.
        """
        return SIMILARITIES[self.similarity_fn_name][1](embeddings1, embeddings2)

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

    def _settings(self) -> dict[str, Any]:
        """What a file says that is written now."""
        settings = {
            "__version__": {"sentence_transformers": "2.0.0"},
            **self._values,
            "prompts": self.prompts,
            "default_prompt_name": self.default_prompt_name,
            "similarity_fn_name": self.similarity_fn_name,
        }
        if self.truncate_dim is not None:
            settings["truncate_dim"] = self.truncate_dim
        return settings


def checked_dim(where: str, value: int | None) -> int | None:
    """A number of dimensions from 1, or None."""
    if value is None:
        return None
    check_whole(where, value, 1)
    return int(value)
