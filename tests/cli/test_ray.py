"""``--ray``: commands on a cluster; what is wrong with it is one line."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from commands import error, run, vectors
from firth import KeyedVectors, Word2Vec
from firth.cli import main
from firth.distributed import cluster
from sentence_folders import sentence_folder


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(30)]
    for name in "ab":
        lines = (" ".join(rng.choice(words, 8)) for _ in range(300))
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.ray
def test_train_embed_and_index(corpus, tmp_path):
    out = tmp_path / "words.firth"
    files, on_ray = str(tmp_path / "[ab].txt"), ["--ray", "local", "--workers", "1"]
    options = ["--dim", "8", "--window", "3", "--mode", "shared"]
    done = run("train", files, "-o", str(out), *on_ray, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: 30 words, 8 dimensions")
    (tmp_path / "whole").write_text("".join((tmp_path / f"{x}.txt").read_text() for x in "ab"))
    alone = Word2Vec(
        corpus_file=tmp_path / "whole", sg=1, vector_size=8, window=3, negatives="shared", workers=1
    )
    trained = KeyedVectors.load(out)
    assert trained.index_to_key == alone.wv.index_to_key
    np.testing.assert_array_equal(trained.vectors, alone.wv.vectors)
    assert not (tmp_path / "words.firth.checkpoint").exists()

    model = tmp_path / "model"
    model.mkdir()
    sentence_folder(model)
    made = tmp_path / "embedded"
    done = run(
        "embed", str(tmp_path / "a.txt"), "-o", str(made), "--model", str(model), *on_ray,
        "--format", "npy",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{made}: 300 vectors")

    index = tmp_path / "index"
    done = run("index", "build", str(out), "-o", str(index), "--ray", "local", "--shards", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{index}: 30 vectors, 8 dimensions, 2 shards")


def test_options_of_a_cluster_need_one(capsys, corpus, tmp_path):
    vectors().save(tmp_path / "v.firth")
    text, out = str(tmp_path / "a.txt"), str(tmp_path / "out.npy")
    assert (
        error(capsys, "train", text, "-o", out, "--interval", "5") == "--interval: only with --ray"
    )
    wanted = "--workers, --format: only with --ray"
    given = ("--workers", "1", "--format", "npy")
    assert error(capsys, "embed", text, "-o", out, "--model", "m", *given) == wanted
    message = error(capsys, "index", "build", str(tmp_path / "v.firth"), "-o", out, "--shards", "2")
    assert message == "--shards: only with --ray"


@pytest.mark.parametrize("command", [("train",), ("embed", "--model", "."), ("index", "build")])
def test_a_cluster_that_is_not_there(capsys, corpus, tmp_path, monkeypatch, command):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    if command[0] == "embed":
        sentence_folder(tmp_path)
    np.save(tmp_path / "v.npy", np.ones((2, 3), np.float32))
    given = tmp_path / ("v.npy" if command[0] == "index" else "a.txt")
    place = [str(given), "-o", str(tmp_path / "out")]
    before = sorted(tmp_path.iterdir())
    message = error(capsys, *command, *place, "--ray", "127.0.0.1:1")
    assert message.startswith("connect: no Ray cluster at 127.0.0.1:1 (")
    message = error(capsys, *command, *place, "--ray", "elsewhere")
    assert message == "connect: address must be auto, local or HOST:PORT, got elsewhere"
    assert sorted(tmp_path.iterdir()) == before


def test_arguments_are_checked_before_a_cluster_is_started(capsys, corpus, tmp_path, monkeypatch):
    def connect():
        raise AssertionError("Ray was started")

    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", np.ones((2, 3), np.float32))
    sentence_folder(tmp_path)
    ray = ("-o", "out", "--ray", "local")
    for given, wanted in (
        (("train", "none", *ray), "train: .*none does not exist"),
        (("train", "a.txt", *ray, "--workers", "65537"), "train: workers must be .* 65536"),
        (("train", "a.txt", *ray, "--model", "glove", "--interval", "5"), "interval is for Word2V"),
        (("train", "a.txt", *ray, "--min-n", "3"), "--min-n: not an option of --model skipgram"),
        (("embed", "none", *ray, "--model", "."), "embed: .*none does not exist"),
        (("embed", "a.txt", *ray, "--model", "none"), "none"),
        (("embed", "a.txt", "-o", "b.txt", *ray[2:], "--model", "."), "out must be a folder"),
        (("index", "build", "none", *ray), "none: no such file"),
        (("index", "build", "v.npy", "-o", ".", *ray[2:]), "build: .* holds other files"),
        (("index", "build", "v.npy", "-o", "b.txt", *ray[2:]), "b.txt: file exists"),
        (("index", "build", "v.npy", *ray, "--shards", "5000"), "build: shards must be"),
    ):
        assert re.search(wanted, error(capsys, *given))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [("train", "a.txt"), ("index", "build", "v.npy")])
def test_interrupted_while_a_cluster_is_started(capsys, corpus, tmp_path, monkeypatch, command):
    def connect():
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", np.ones((2, 3), np.float32))
    assert main([*command, "-o", "out", "--ray", "local"]) == 130
    assert capsys.readouterr().err == "\nfirth: interrupted; nothing was saved\n"
    assert not (tmp_path / "out").exists()


def test_without_ray_the_error_names_the_extra(corpus, tmp_path):
    block = tmp_path / "without"
    block.mkdir()
    (block / "ray.py").write_text("raise ImportError('no ray here')\n")
    done = run(
        "train", str(tmp_path / "a.txt"), "-o", str(tmp_path / "out"), "--ray", "local",
        env=environment(block),
    )  # fmt: skip
    assert done.returncode == 2
    assert 'needs Ray, the extra "distributed": pip install "ray[data]"' in done.stderr
    assert done.stderr.count("\n") == 1


def environment(first):
    """That of this process, with a folder before all others on Python's path."""
    path = os.pathsep.join([str(first), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}
