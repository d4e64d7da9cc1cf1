"""Where models come from: folders, packages, the cache, the hub."""

from __future__ import annotations

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
