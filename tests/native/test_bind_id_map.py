"""What src/bind_id_map.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused

FLAT, SQUARE = np.arange(3), np.zeros((3, 1), np.int64)


@pytest.mark.parametrize(
    "case",
    [
        ("set", {"labels": SQUARE}, ValueError, "IdMap.set: labels must have shape (n,)"),
        ("set", {"slots": SQUARE}, ValueError, "IdMap.set: slots must have shape (n,)"),
        ("set", {"slots": np.arange(2)}, ValueError, "IdMap.set: want one slot a label"),
        ("set", {"slots": FLAT - 1}, ValueError, "IdMap.set: slots must be at least 0"),
        ("find", {"labels": SQUARE}, ValueError, "IdMap.find: labels must have shape (n,)"),
        ("remove", {"labels": SQUARE}, ValueError, "IdMap.remove: labels must have shape (n,)"),
    ],
)
def test_refused(case):
    table = native("IdMap")()
    good = {"labels": FLAT, "slots": FLAT} if case[0] == "set" else {"labels": FLAT}
    refused(getattr(table, case[0]), good, case)
