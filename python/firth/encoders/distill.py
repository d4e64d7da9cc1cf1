"""A transformer boiled down to a table of vectors: what model2vec's ``distill`` does.

V = tokens, D = width of the transformer, E = dimensions that are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders.batches import batches
from firth.errors import FormatError, warn
from firth.tokenizers import Tokenizer
from firth.transformer.stack import Stack
from firth.words import StaticModel

_ANYWHERE = {"single_word": False, "lstrip": False, "rstrip": False}
_POOLINGS = {"mean": "mean", "first": "cls", "last": "lasttoken"}


def distill(
    stack: Stack,
    text: str,
    vocabulary: Sequence[str] | None = None,
    pca_dims: int | float | str | None = 256,
    sif_coefficient: float | None = 1e-4,
    token_remove_pattern: str | None = r"\[unused\d+\]",
    pooling: str = "mean",
    quantize_to: str = "float16",
    progress: bool | None = None,
) -> StaticModel:
    """A table of vectors of tokens from a transformer; see `SentenceTransformer.distill`.

    ``text`` is the content of its ``tokenizer.json``.
    """
    if pooling not in _POOLINGS:
        raise ValueError(f"distill: pooling must be one of {[*_POOLINGS]}, got {pooling!r}")
    if sif_coefficient is not None and not 0 < sif_coefficient < 1:
        raise ValueError(f"distill: sif_coefficient must be in (0, 1), got {sif_coefficient}")
    if quantize_to not in ("float16", "float32", "float64"):
        raise ValueError(f"distill: quantize_to must be float16, 32 or 64, got {quantize_to!r}")
    settings = json.loads(text)
    model = settings["model"]
    if model.get("type") != "WordPiece":
        raise FormatError(f"distill: the tokenizer must be a WordPiece, got {model.get('type')!r}")
    before, after = _around(settings)
    old: dict[str, int] = model["vocab"]
    pattern = None if token_remove_pattern is None else re.compile(token_remove_pattern)
    pad = (settings.get("padding") or {}).get("pad_token", "[PAD]")
    special = {one["content"] for one in settings.get("added_tokens") or ()}
    special -= {pad, model["unk_token"]}
    kept = [
        token
        for token in sorted(old, key=old.__getitem__)
        if token not in special and (pattern is None or not pattern.match(token))
    ]
    source = Tokenizer(text)
    pieces = [[old[token]] for token in kept]
    new, several = _new_words(vocabulary or (), source, set(kept))
    ids, offsets = source.encode_batch([*new, *several])
    pieces += [ids[a:b].tolist() for a, b in pairwise(offsets)]
    vectors = _vectors(stack, [[*before, *one, *after] for one in pieces], pooling, progress)
    weights = np.ones(len(vectors))
    if sif_coefficient is not None:  # by Zipf's law the rank says how frequent a token is
        shares = 1 / np.arange(2, len(vectors) + 2)
        weights = sif_coefficient / (sif_coefficient + shares / shares.sum())
    table = (_reduced(vectors, pca_dims) * weights[:, None]).astype(quantize_to)
    model["vocab"] = {token: i for i, token in enumerate([*kept, *new])}
    settings |= {"post_processor": None, "truncation": None, "padding": None}
    settings["added_tokens"] = [
        {**one, "id": model["vocab"][one["content"]]}
        for one in settings.get("added_tokens") or ()
        if one["content"] in model["vocab"]
    ] + [
        {"id": i, "content": one, "special": False, "normalized": True, **_ANYWHERE}
        for i, one in enumerate(several, len(model["vocab"]))
    ]
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "",
        "apply_pca": pca_dims,
        "sif_coefficient": sif_coefficient,
        "hidden_dim": table.shape[1],
        "seq_length": 1_000_000,
        "pooling": pooling,
    }
    return StaticModel(table, Tokenizer(json.dumps(settings, ensure_ascii=False)), config, True)


def _around(settings: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The special tokens before and behind a text."""
    post = settings.get("post_processor") or {}
    sides: tuple[list[int], list[int]] = [], []
    if post.get("type") == "TemplateProcessing":
        behind = False
        for piece in post["single"]:
            if "Sequence" in piece:
                behind = True
            else:
                sides[behind].extend(post["special_tokens"][piece["SpecialToken"]["id"]]["ids"])
    elif post.get("type") == "BertProcessing":
        sides[0].append(post["cls"][1])
        sides[1].append(post["sep"][1])
    return sides


def _new_words(
    vocabulary: Sequence[str], source: Tokenizer, known: set[str]
) -> tuple[list[str], list[str]]:
    """Words that are not among the tokens, and those that are several words to the tokenizer.

    Both as its normalization leaves them.
    """
    if isinstance(vocabulary, str):
        raise TypeError("distill: vocabulary must be a sequence of words, got a str")
    words, several = dict[str, None](), dict[str, None]()
    for word in dict.fromkeys(str(one) for one in vocabulary):
        library = source.library
        plain = library.normalizer.normalize_str(word) if library.normalizer else word
        parts = [part for part, _ in library.pre_tokenizer.pre_tokenize_str(plain)]
        if len(parts) > 1:
            several[plain.strip()] = None
        elif parts and parts[0] not in known:
            words[parts[0]] = None
    return [*words], [*several]


def _vectors(
    stack: Stack, texts: list[list[int]], pooling: str, progress: bool | None
) -> NDArray[np.float64]:
    """Pooled vectors (V, D) of texts of tokens."""
    out = np.empty((len(texts), stack.plan.width), np.float32)

    def encode(begin: int, end: int) -> Any:
        some = texts[begin:end]
        offsets = np.zeros(len(some) + 1, np.int64)
        np.cumsum([len(one) for one in some], out=offsets[1:])
        return np.array([i for one in some for i in one], np.int32), offsets, None

    for place, batch in batches(stack, encode, [9] * len(texts), "distilling", progress):
        out[place] = stack.pool(batch, _POOLINGS[pooling])
    return out.astype(np.float64)


def _reduced(rows: NDArray[np.float64], dims: int | float | str | None) -> NDArray[np.float64]:
    """Rows (V, E) along their principal axes, the widest first; ``dims`` as of `distill`.

    The sign of an axis is that with which its longest row is positive.
    """
    if dims is None:
        return rows
    count, width = rows.shape
    wanted: int | float | str = width if dims == "auto" else dims
    if isinstance(wanted, (str, bool)) or not wanted > 0:
        raise ValueError(f"distill: pca_dims must be a number, 'auto' or None, got {dims!r}")
    if wanted > width:
        warn(f"distill: pca_dims is {wanted}, the transformer has {width} dimensions only")
        wanted = width
    if wanted >= count:
        warn(f"distill: {count} tokens are too few for {wanted} dimensions; all {width} are kept")
        return rows
    centred = rows - rows.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred / (count - 1))
    spread, axes = spread[::-1].clip(0), axes[:, ::-1]
    if isinstance(wanted, float):
        share = np.cumsum(spread) / spread.sum()
        wanted = min(int(np.searchsorted(share, wanted)) + 1, width)
    found = centred @ axes[:, :wanted]
    longest = np.abs(found).argmax(axis=0)
    reduced: NDArray[np.float64] = found * np.sign(found[longest, np.arange(found.shape[1])])
    return reduced
