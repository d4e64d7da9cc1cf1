"""Until AutoTokenizer is there."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.tokenizers import Tokenizer


class AutoTokenizer:
    """BERT's tokenizer, packed."""

    def __init__(self, tokenizer: Tokenizer, folder: PathLike) -> None:
        self._tokenizer = tokenizer
        settings = json.loads(tokenizer.json)
        post = settings.get("post_processor") or {}
        if post.get("type") != "TemplateProcessing":
            raise FormatError(f"post_processor {post.get('type')!r} is not known", folder)
        self._single, self._pair = post["single"], post["pair"]
        self._special = {k: v["ids"] for k, v in post["special_tokens"].items()}
        self.model_max_length = 512
        path = os.path.join(folder, "tokenizer_config.json")
        if os.path.exists(path):
            with open(path) as file:
                self.model_max_length = json.load(file).get("model_max_length", 512)

    @classmethod
    def from_pretrained(cls, folder: PathLike) -> AutoTokenizer:
        """From a folder."""
        return cls(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), folder)

    def encode_packed(
        self, texts: Any, pairs: Any = None, max_length: int | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32] | None, int]:
        """Ids, where texts start, types, how many were cut."""
        template = self._single if pairs is None else self._pair
        around = sum(
            len(self._special[p["SpecialToken"]["id"]]) for p in template if "SpecialToken" in p
        )
        room = None if max_length is None else max_length - around
        limit = None if room is None else room + 1
        parts = [
            self._tokenizer.encode_batch(list(t), limit) for t in (texts, pairs) if t is not None
        ]
        ids: list[int] = []
        types: list[int] = []
        offsets, truncated = [0], 0
        for i in range(len(texts)):
            rows = [part[0][part[1][i] : part[1][i + 1]].tolist() for part in parts]
            if room is not None and sum(map(len, rows)) > room:
                truncated += 1
                while sum(map(len, rows)) > room:
                    longest = rows[0] if len(rows) == 1 or len(rows[0]) > len(rows[1]) else rows[1]
                    longest.pop()
            for piece in template:
                kind, what = next(iter(piece.items()))
                new = (
                    self._special[what["id"]]
                    if kind == "SpecialToken"
                    else rows["AB".index(what["id"])]
                )
                ids += new
                types += [what["type_id"]] * len(new)
            offsets.append(len(ids))
        return (
            np.array(ids, np.int32),
            np.array(offsets, np.int64),
            np.array(types, np.int32),
            truncated,
        )
