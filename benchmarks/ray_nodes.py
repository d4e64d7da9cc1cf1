"""Hosts of a Ray cluster on this machine: network namespaces, joined by a bridge (root, iproute2).

Each host has an address, a raylet and its workers. A host can be killed with all it runs, started
again, or cut off: its processes go on, but no packet reaches them or leaves.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STORE = 300 << 20  # bytes of a host's object store
BRIDGE, PREFIX, NETWORK = "firth-br", "firth-host", "10.77.0"
HEAD = f"{NETWORK}.1:6379"
NOT_AT_WORK = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::JobSupervisor")
SETTINGS = {
    "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0", "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000", "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_grpc_client_keepalive_time_ms": "2000", "RAY_grpc_client_keepalive_timeout_ms": "2000",
}  # fmt: skip


def available() -> str | None:
    """Why hosts cannot be made here, or None."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None


def ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """Host 0 has Ray's head and drivers, and no processor for tasks; the others have some each."""

    def __init__(self, workers: int, cpus: int = 1, memory: int = 4 << 30) -> None:
        self.workers, self.cpus, self.memory = workers, cpus, memory
        self._environment = {**os.environ, **SETTINGS}
        self._ray = str(Path(sys.executable).parent / "ray")

    def start(self) -> None:
        self.stop()
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")
        for host in range(self.workers + 1):
            name, link = f"{PREFIX}{host}", f"firth-v{host}"
            ip("netns", "add", name)
            ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", link, "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{host + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        for host in range(self.workers + 1):
            self.boot(host)

    def boot(self, host: int) -> None:
        """Start Ray on a host where none runs."""
        where = (
            ["--head", "--port=6379", "--include-dashboard=false"]
            if host == 0
            else [f"--address={HEAD}"]
        )
        command = [
            self._ray, "start", *where, f"--node-ip-address={NETWORK}.{host + 1}",
            f"--num-cpus={self.cpus if host else 0}", f"--memory={self.memory}",
            f"--object-store-memory={STORE}", "--disable-usage-stats",
        ]  # fmt: skip
        done = subprocess.run(
            self.inside(host, command), env=self._environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"host {host}: {done.stdout}{done.stderr}")

    def inside(self, host: int, command: list[str]) -> list[str]:
        """The command as one that runs on a host."""
        return ["ip", "netns", "exec", f"{PREFIX}{host}", *command]

    def driver(self, command: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start a program on host 0, with what it prints in a file."""
        with open(output, "ab") as file:
            return subprocess.Popen(
                self.inside(0, command), env={**self._environment, "RAY_ADDRESS": HEAD},
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def processes(self, host: int) -> dict[int, str]:
        """Command lines of what runs on a host."""
        found = {}
        for pid in ip("netns", "pids", f"{PREFIX}{host}", check=False).split():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                found[int(pid)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def busy_workers(self) -> list[int]:
        """Processes of workers that run a task or an actor."""
        return [
            pid
            for host in range(1, self.workers + 1)
            for pid, line in self.processes(host).items()
            if line.startswith("ray::") and not line.startswith(NOT_AT_WORK)
        ]

    def kill_worker(self, draw: random.Random) -> bool:
        """Kill one of the workers that are busy; False where none is."""
        busy = self.busy_workers()
        if not busy:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(sorted(busy)), signal.SIGKILL)
        return True

    def kill(self, host: int) -> None:
        """Kill all that runs on a host, as a loss of power does."""
        for pid in self.processes(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self, host: int) -> None:
        """Let no packet pass to or from a host."""
        ip("link", "set", f"firth-v{host}", "down")

    def mend(self, host: int) -> None:
        """End a cut; what has run on the host meanwhile is killed, and Ray is started anew."""
        ip("link", "set", f"firth-v{host}", "up")
        self.kill(host)
        time.sleep(0.5)
        self.boot(host)

    def stop(self) -> None:
        """Kill and remove all."""
        for line in ip("netns", "list").splitlines():
            name = line.split()[0] if line.strip() else ""
            if name.startswith(PREFIX):
                self.kill(int(name.removeprefix(PREFIX)))
                time.sleep(0.2)
                ip("netns", "del", name, check=False)
        ip("link", "del", BRIDGE, check=False)


@contextlib.contextmanager
def hosts(workers: int, cpus: int = 1) -> Iterator[Hosts]:
    made = Hosts(workers, cpus)
    try:
        made.start()
        yield made
    finally:
        made.stop()
