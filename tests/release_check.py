"""Whether the files of this checkout are those of a release: ``release_check.py v1.2.3``.

Needs nothing but Python, and no firth: the workflow that publishes runs it before it builds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def faults(tag: str) -> list[str]:
    """What has been forgotten, a line each."""
    found = []

    def version_in(path: str, pattern: str) -> None:
        match = re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        if match is None or f"v{match[1]}" != tag:
            found.append(f"{path}: {match and match[0]!r} does not say that this is {tag}")

    version_in("python/firth/__init__.py", r'^__version__ = "(.*)"$')
    version_in("CITATION.cff", r"^version: (.*)$")
    version_in("CHANGELOG.md", r"^## ([^,\n]*), \d{4}-\d\d-\d\d$")  # the first that has a date
    if "example.org" in (ROOT / "pyproject.toml").read_text(encoding="utf-8"):
        found.append("pyproject.toml: the address of the project is still a placeholder")
    return found


if __name__ == "__main__":
    forgotten = faults(sys.argv[1])
    sys.exit("\n".join(forgotten) or 0)
