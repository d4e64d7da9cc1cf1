"""The benchmark suite knows every kernel."""

from __future__ import annotations

from kernel_cases import CASES, kernel_names


def test_every_kernel_has_a_case() -> None:
    names = set(kernel_names())
    assert {"softmax", "matmul", "cosine_topk", "glove_adagrad"} <= names
    assert names == {case.kernel for case in CASES}, "see benchmarks/kernel_cases.py"


def test_groups_are_distinct() -> None:
    assert len({case.group for case in CASES}) == len(CASES)
