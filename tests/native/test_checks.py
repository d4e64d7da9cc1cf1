"""Every check in the bindings has a test in this folder; run under the sanitizers too."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNREACHED = {"DistinctWords: too many words"}  # takes 2^32 of them


def test_every_check_has_a_test():
    tested = "".join(path.read_text() for path in HERE.glob("test_bind_*.py"))
    messages = []
    for source in sorted((HERE.parents[1] / "src").glob("bind*")):
        for throw in re.findall(r"throw py::\w+_error\(([^;]*)\);", source.read_text()):
            literals = re.sub(r'"\s*"', "", throw)  # adjacent literals are one
            messages.append(max(re.findall(r'"((?:[^"\\]|\\.)*)"', literals), key=len))
    assert len(messages) > 100
    assert [m for m in messages if m not in tested and m not in UNREACHED] == []
