"""The benchmarks know every kernel, and file a run under the right CPU."""

from __future__ import annotations

import pytest

from harness import Timing, extrapolated
from kernel_cases import CASES, kernel_names
from run import cpu_folder


def test_every_kernel_has_a_case() -> None:
    names = set(kernel_names())
    assert {"softmax", "matmul", "cosine_topk", "glove_adagrad"} <= names
    assert names == {case.kernel for case in CASES}, "see benchmarks/kernel_cases.py"


def test_groups_are_distinct() -> None:
    assert len({case.group for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("vendor", "flags", "folder"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_bf16 avx512_vnni", "zen4"),
        ("AuthenticAMD", "avx2 avx512f avx512_bf16 avx_vnni avx512_vp2intersect", "zen5"),
        ("AuthenticAMD", "avx2 vaes", "zen3"),
        (
            "GenuineIntel",
            "avx512f avx512_bf16 amx_tile amx_bf16 amx_int8 amx_fp16",
            "granite-rapids",
        ),
        ("GenuineIntel", "avx512f avx512_bf16 amx_tile amx_bf16 amx_int8", "sapphire-rapids"),
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16", "emerald-rapids"),
        ("AuthenticAMD", "avx2", None),
        ("GenuineIntel", "avx512f", None),
    ],
)
def test_runs_are_filed_by_vendor_and_features(vendor: str, flags: str, folder: str | None) -> None:
    info = f"vendor_id\t: {vendor}\nmodel name\t: Some Model\nflags\t\t: fpu {flags} rdpid\n"
    assert cpu_folder(info) == folder


def test_the_fixed_part_of_a_call_is_not_multiplied() -> None:
    few, many = (Timing([0.024 + 0.001 * n] * 3) for n in (60, 600))
    assert extrapolated(few, many, (60, 600), 19_544).median == pytest.approx(0.024 + 19.544)
