"""``firth serve --ray``: the same application behind Ray Serve, until a signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from commands import run
from ray_clusters import cluster
from sentence_folders import sentence_folder

httpx = pytest.importorskip("httpx")
pytestmark = pytest.mark.ray


def test_serves_until_a_signal(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    sentence_folder(folder)
    command = [
        sys.executable, "-m", "firth", "serve", "--ray", "local", "--port", "0",
        "--embed", str(folder),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            assert said.startswith("listening on http://127.0.0.1:")
            url = said.split()[-1]
            listed = httpx.get(f"{url}/v1/models").json()
            assert [card["kind"] for card in listed["data"]] == ["embed"]
            asked = {"model": "any", "input": ["a", "b"]}
            given = httpx.post(f"{url}/v1/embeddings", json=asked).json()
            import firth

            wanted = firth.SentenceTransformer(folder).encode(["a", "b"])
            assert [one["embedding"] for one in given["data"]] == wanted.tolist()
            refused = httpx.get(f"{url}/v1/models", headers={"Host": "elsewhere"})
            assert refused.status_code >= 400
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def test_other_applications_stay(tmp_path):
    """One cluster has one Ray Serve: it is not taken over, and what joins it is left alone."""
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    folder = tmp_path / "model"
    folder.mkdir()
    sentence_folder(folder)

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    def other() -> str:
        return "other"

    with cluster(1) as made:
        command = [
            sys.executable, "-m", "firth", "serve", "--ray", made.address, "--port", "0",
            "--embed", str(folder),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline().startswith("listening on ")
                second = run(*command[3:])
                assert second.returncode == 2
                assert "Ray Serve runs on this cluster already" in second.stderr
                assert "['firth']" in second.stderr
                serve.run(other.bind(), name="other", route_prefix="/other")
            finally:
                server.send_signal(signal.SIGINT)
            assert server.wait(60) in (0, 130)
        assert list(serve.status().applications) == ["other"]
        assert serve.get_app_handle("other").remote().result() == "other"
        serve.shutdown()
        assert ray.is_initialized()


def test_what_a_replica_says_is_the_error(tmp_path):
    done = run("serve", "--ray", "local", "--port", "0", "--embed", str(tmp_path / "none"))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("firth: error: serve: ")
    assert str(tmp_path / "none") in last


def test_options_of_a_cluster_need_one():
    done = run("serve", "--replicas", "2")
    assert done.returncode == 2
    assert done.stderr == "firth: error: --replicas: only with --ray\n"
