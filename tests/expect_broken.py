"""`make broken`: run the kernel tests against the build with FIRTH_BREAK and demand that they fail.

A file of tests that stays green while its kernel drops data tests nothing. Each tests/kernels file
that runs on backends must have a failed assertion at each native level of this machine, and none on
the NumPy reference, which is not broken.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest

from firth.kernels import backends

KERNELS = Path(__file__).parent / "kernels"
LEVELS = [name for name in backends() if name.startswith("native:")]


class Ledger:
    """Which backends each file names, and where an assertion failed; one failure is enough."""

    def __init__(self) -> None:
        self.named: defaultdict[str, set[str]] = defaultdict(set)
        self.failed: defaultdict[str, set[str]] = defaultdict(set)

    @staticmethod
    def _place(item: pytest.Item) -> tuple[str, str]:
        call = getattr(item, "callspec", None)
        return item.path.name, call.params.get("backend", "") if call else ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        name, backend = self._place(item)
        if backend:
            self.named[name].add(backend)
        if not backend or backend in self.failed[name]:
            pytest.skip("nothing more to learn here")

    @pytest.hookimpl
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.when == "call" and call.excinfo and call.excinfo.errisinstance(AssertionError):
            name, backend = self._place(item)
            if backend == "numpy" and item.get_closest_marker("packed"):
                return  # the reference, but of what a broken kernel has packed
            self.failed[name].add(backend)


def main() -> int:
    ledger = Ledger()
    arguments = ["-qq", "-r", "N", "--tb=no", "-m", "not peer and not slow", str(KERNELS)]
    code = pytest.main(arguments, plugins=[ledger])
    if code != pytest.ExitCode.TESTS_FAILED:
        print(f"expected failing tests, but pytest ended with {code!r}")
        return 1
    complaints = []
    for name, named in sorted(ledger.named.items()):
        failed = ledger.failed[name]
        print(f"{name}: fails on {', '.join(sorted(failed)) or 'nothing'}")
        complaints += [f"{name} stays green on {level}" for level in LEVELS if level not in failed]
        if "numpy" in failed & named:
            complaints.append(f"{name} fails on the reference, which is not broken")
    if not ledger.named:
        complaints.append(f"no tests on backends in {KERNELS}")
    print(*complaints or ["every kernel's tests notice the broken build"], sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
