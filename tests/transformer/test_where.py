"""Where models come from: folders, packages, the cache, the hub."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import firth
from firth.transformer import where
from sentence_folders import TEXTS, sentence_folder


@pytest.fixture(autouse=True)
def nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def cached(tmp_path: Path, name: str, commit: str = "abc") -> Path:
    root = tmp_path / "hub" / ("models--" + name.replace("/", "--"))
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit + "\n")
    (root / "snapshots").mkdir()
    return sentence_folder(root / "snapshots" / commit)


def test_a_package_that_is_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "site" / "some_model_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    folder = sentence_folder(package / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert where.folder_of("some-model-v2") == str(folder)
    assert firth.SentenceTransformer("some-model-v2").encode(TEXTS).shape == (9, 32)
    gguf_folder(tmp_path / "site" / "some_generator", "__init__.py", "model.gguf")
    with pytest.raises(FileNotFoundError, match=r"some_generator/model\.gguf is a generator"):
        firth.SentenceTransformer("some-generator")


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = sentence_folder(tmp_path / "one")
    assert where.folder_of("~/one") == str(folder)
    assert where.place_of("~/one") == str(folder)
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    assert where.place_of(Path("~/file.gguf")) == str(tmp_path / "file.gguf")


def test_the_cache_needs_no_library(tmp_path):
    folder = cached(tmp_path, "some/one")
    assert where.folder_of("some/one") == str(folder)
    assert where.folder_of("some/one", revision="abc") == str(folder)
    assert where.folder_of("some/one", cache_folder=tmp_path / "hub") == str(folder)
    short = cached(tmp_path, "sentence-transformers/short")
    assert where.folder_of("short", owner="sentence-transformers") == str(short)


def test_what_is_nowhere(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        where.folder_of(tmp_path / "file")
    (tmp_path / "file.gguf").write_text("")
    with pytest.raises(NotADirectoryError, match=r"file\.gguf is a generator, .*; wanted a folder"):
        where.folder_of(tmp_path / "file.gguf")
    with pytest.raises(FileNotFoundError, match=r"there is no folder 'no/such/path'"):
        where.folder_of("no/such/path")
    with pytest.raises(FileNotFoundError, match=r"'x/y' is no folder, no installed package"):
        where.folder_of("x/y", local_files_only=True)
    with pytest.raises(FileNotFoundError, match="pip install huggingface_hub"):
        where.folder_of("x/y")
    half = cached(tmp_path, "half/there")
    (half / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="half/there"):
        where.folder_of("half/there", local_files_only=True)


def test_downloads(tmp_path, monkeypatch):
    folder, asked = sentence_folder(tmp_path / "there"), []

    def snapshot_download(name, **options):
        asked.append((name, options))
        if options["local_files_only"] or name.startswith("sentence-transformers/"):
            raise OSError("not there")
        return str(folder)

    hub = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert where.folder_of("short", token="t", revision="v1", owner="sentence-transformers") == str(
        folder
    )
    assert [name for name, _ in asked] == ["sentence-transformers/short"] * 2 + ["short"] * 2
    assert asked[-1][1]["token"] == "t"
    assert asked[-1][1]["revision"] == "v1"
    assert "cache_dir" not in asked[-1][1]


def gguf_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


def in_cache(tmp_path: Path, name: str, *names: str) -> Path:
    root = tmp_path / "hub" / ("models--" + name.replace("/", "--"))
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    return gguf_folder(root / "snapshots" / "abc", *names)


def test_gguf_in_the_cache(tmp_path):
    split = [f"deep/m-Q6_K-0000{i}-of-00002.gguf" for i in (1, 2)]
    half = "m-Q5_0-00001-of-00002.gguf"
    root = in_cache(tmp_path, "a/b", "m-Q8_0.gguf", "m.q4_k_m.gguf", "mmproj-b.gguf", *split, half)
    assert where.place_of("a/b") == str(root / "m.q4_k_m.gguf")
    assert where.place_of("a/b:Q8_0") == where.place_of("a/b:q8_0") == str(root / "m-Q8_0.gguf")
    assert where.place_of("a/b:Q6_K") == where.place_of(f"a/b/{split[0]}") == str(root / split[0])
    for other in ("a/b:Q4_K", "a/b:Q5_0", "a/b/no.gguf"):  # not all of it, or a part of the name
        with pytest.raises(FileNotFoundError, match="pip install huggingface_hub"):
            where.place_of(other)
    for outside in ("a/b/../b.gguf", "a/b/.b.gguf", "a/b/c", "a/b:Q8/0", "a/b//c.gguf"):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            where.place_of(outside)
    only = in_cache(tmp_path, "a/c", "model.gguf")
    assert where.place_of("a/c") == str(only / "model.gguf")
    both = cached(tmp_path, "a/d")
    gguf_folder(both, "model.gguf")
    assert where.place_of("a/d") == str(both)
    assert where.place_of("a/d/model.gguf") == str(both / "model.gguf")
    found = {one.name: one.kind for one in where.installed() if one.source == "cache"}
    assert found["a/c/model.gguf"] == found["a/b/m-Q8_0.gguf"] == "GGUF"
    assert found["a/d"] == "bert"


class Hub:
    """huggingface_hub with one model."""

    def __init__(self, root: Path, *files: str) -> None:
        self.root, self.files, self.downloaded = root, files, []

    def model_info(self, name, token):
        if name != "some/model":
            raise RuntimeError("404")
        assert token in (None, "secret")
        siblings = [types.SimpleNamespace(rfilename=file) for file in self.files]
        return types.SimpleNamespace(siblings=siblings)

    def snapshot_download(self, name, *, token, allow_patterns, local_files_only):
        if local_files_only:
            raise OSError("not there")
        self.downloaded += [file for file in self.files if file in allow_patterns]
        if "*.json" in allow_patterns:
            return str(sentence_folder(self.root))
        return str(gguf_folder(self.root, *allow_patterns))


def test_gguf_of_the_hub(tmp_path, monkeypatch):
    def place(name: str, *files: str) -> tuple[str, list[str]]:
        hub = Hub(tmp_path / "there", *files)
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        return where.place_of(name, token="secret").removeprefix(f"{hub.root}/"), hub.downloaded

    files = ["README.md", "mmproj-F16.gguf", "m-IQ4_XS.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]
    assert place("some/model", *files) == ("m-Q4_K_M.gguf", ["m-Q4_K_M.gguf"])
    assert place("some/model:Q8_0", *files) == ("m-Q8_0.gguf", ["m-Q8_0.gguf"])
    assert place("some/model/m-Q8_0.gguf", *files) == ("m-Q8_0.gguf", ["m-Q8_0.gguf"])
    assert place("some/model", *files[:3]) == ("m-IQ4_XS.gguf", ["m-IQ4_XS.gguf"])
    parts = [f"x/m-Q4_K_M-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert place("some/model", "m-F16.gguf", *parts) == (parts[0], parts)
    assert place("some/model", "model.safetensors", *files)[0] == str(tmp_path / "there")
    assert place("some/model:Q8_0", "model.safetensors", *files)[1] == ["m-Q8_0.gguf"]
    for name, wanted in (
        ("some/model:Q6_K", "no model of type Q6_K, but m-IQ4_XS.gguf, m-Q4_K_M.gguf, m-Q8_0.gguf"),
        ("some/model/m.gguf", "no m.gguf, but m-IQ4_XS"),
        ("other/model", "does not give it: 404"),
    ):
        with pytest.raises(FileNotFoundError, match=wanted):
            place(name, *files)
    several = "several models, name one, as some/model/a-F16.gguf: a-F16.gguf, a-Q8_0.gguf"
    with pytest.raises(FileNotFoundError, match=several):
        place("some/model", "a-Q8_0.gguf", "a-F16.gguf")


@pytest.mark.parametrize("name", ["./nothing.gguf", "nothing.gguf", "folder/nothing.gguf"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"there is no file '{re.escape(name)}'"):
        where.place_of(name)


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder '\./nothing'"):
        where.folder_of("./nothing")
