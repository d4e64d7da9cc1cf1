"""Files of a sentence model that are not what they should be: it works, or one line says why not.

Every JSON file of the folder gets other values at any place, keys twice or not at all, and other
bytes; the vocabulary and the weights get other bytes. What loads must then also run.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import firth
from damage import cut_and_changed
from firth import FormatError
from sentence_folders import WORDS, dense, module, sentence_folder

TEXTS = ["the cat sat on the mat.", "", "unheardof \u4e2d " * 9]
MOST_BYTES, MOST_SECONDS = 40_000_000, 20  # a whole folder takes 1 MB and 20 ms

# What numbers, texts, lists and objects are replaced with.
_NUMBERS = [
    0, 1, -1, 2, 3, 7, 31, 33, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**63, 10**30, -(2**63),
    0.5, 32.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
_TEXTS = [
    "", "a", "[UNK]", "[CLS]", "##", "\ud800", "\x00", "..", "/", "../..", "32", "mean", "x" * 5000,
    "WordPiece", "BPE", "Unigram", "WordLevel", "Replace", "Sequence", "Precompiled", "Split",
    "BertNormalizer", "Lowercase", "roberta", "albert", "modernbert", "mpnet", "nomic_bert", "t5",
]  # fmt: skip
_OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], [0] * 40, {"a": 0}, {"": []}]
VALUES = st.sampled_from([*_NUMBERS, *_TEXTS, *_OTHERS]) | st.recursive(
    st.sampled_from([*_NUMBERS, *_TEXTS, None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_TEXTS), inner),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of a JSON file."""
    yield path
    items: Any = value.items() if isinstance(value, dict) else ()
    for key, one in enumerate(value) if isinstance(value, list) else items:
        yield from places(one, (*path, key))


def changed(value: Any, path: tuple[Any, ...], how: str, new: Any) -> Any:
    """A copy with another value at a place, or without it, or with its key renamed."""
    if not path:
        return new
    copy = value.copy()
    key, *rest = path
    if rest or how == "replace":
        copy[key] = changed(value[key], tuple(rest), how, new)
    elif how == "remove":
        del copy[key]
    elif isinstance(copy, dict):
        copy[str(new)] = copy.pop(key)
    else:
        copy.insert(key, new)
    return copy


FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json",
    "1_Pooling/config.json", "2_Dense/config.json",
)  # fmt: skip
NAMES = ("vocab.txt", "model.safetensors", "2_Dense/model.safetensors")


class Folder:
    """A whole folder, of which one file is damaged at a time."""

    def __init__(self, path: Path) -> None:
        self.path = sentence_folder(path, normalize=False)
        module(path, 2, "Dense", {"in_features": 32, "out_features": 4}, **dense(4, 32))
        module(path, 3, "Normalize")
        (path / "special_tokens_map.json").write_text('{"mask_token": "[MASK]"}')
        (path / "config_sentence_transformers.json").write_text(
            json.dumps({"prompts": {"query": "the "}, "default_prompt_name": "query",
                        "similarity_fn_name": "dot", "truncate_dim": 3})
        )  # fmt: skip
        (path / "vocab.txt").write_text("\n".join(WORDS))
        self.loaded = self.refused = 0
        self.check()
        assert self.loaded

    def check(self) -> None:
        """Load and use it: within the bounds, or an error that says which file it is."""
        before = time.perf_counter()
        tracemalloc.start()
        try:
            model = firth.SentenceTransformer(self.path)
            message = self.use(model)
            self.loaded += 1
        except (FormatError, FileNotFoundError) as error:
            self.refused += 1
            message = str(error) if str(self.path) in str(error) else f"no path:\n{error}"
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert "\n" not in message
        assert peak < MOST_BYTES
        assert time.perf_counter() - before < MOST_SECONDS

    @staticmethod
    def use(model: firth.SentenceTransformer) -> str:
        """Embed texts; the message of an error, or nothing."""
        try:
            with np.errstate(all="ignore"):
                found = model.encode(TEXTS)
        except FormatError:
            raise
        except ValueError as error:  # a token that the model does not have, for one
            return str(error)
        assert found.shape == (len(TEXTS), model.get_embedding_dimension())
        return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("fuzz") / "model")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_other_values(folder: Folder, name: str) -> None:
    path = folder.path / name
    whole = path.read_bytes()
    content = json.loads(whole)
    ways = list(places(content))
    folder.loaded = folder.refused = 0

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(
        st.sampled_from(ways), st.sampled_from(("replace", "replace", "remove", "rename")), VALUES
    ), min_size=1, max_size=2))  # fmt: skip
    def run(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
        other = content
        for way, how, new in changes:
            try:
                other = changed(other, way, how, new)
            except (LookupError, TypeError, AttributeError):  # the change before took the place
                continue
        path.write_text(json.dumps(other))
        folder.check()

    try:
        run()
    finally:
        path.write_bytes(whole)
    assert folder.refused > 0
    assert folder.loaded > 0


@pytest.mark.parametrize("name", [*FILES, *NAMES])
@pytest.mark.filterwarnings("ignore")
def test_other_bytes(folder: Folder, name: str) -> None:
    path = folder.path / name
    whole = path.read_bytes()
    alone = folder.path / "tokenizer.json"  # where it is there, vocab.txt is not read
    kept = alone.read_bytes()
    if name == "vocab.txt":
        alone.unlink()
    folder.loaded = folder.refused = 0
    try:
        for damaged in cut_and_changed(whole, 40):
            path.write_bytes(damaged)
            folder.check()
    finally:
        path.write_bytes(whole)
        alone.write_bytes(kept)
    assert folder.refused + folder.loaded == 40
