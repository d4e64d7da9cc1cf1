"""Every check in the bindings has a test in this folder; run under the sanitizers too."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNREACHED = {"DistinctWords: too many words"}  # takes 2^32 of them


def joined(source: str) -> str:
    """Adjacent literals are one, in C++ and in Python."""
    return re.sub(r'(?<!\\)"\s*"', "", source)


def test_every_check_has_a_test():
    tested = joined("".join(path.read_text() for path in HERE.glob("test_bind_*.py")))
    messages = []
    for source in sorted((HERE.parents[1] / "src").glob("*.[ch]*")):
        for throw in re.findall(r"throw py::\w+_error\(([^;]*)\);", source.read_text()):
            messages.append(max(re.findall(r'"((?:[^"\\]|\\.)*)"', joined(throw)), key=len))
    assert len(messages) > 100
    assert [m for m in messages if m not in tested and m not in UNREACHED] == []
