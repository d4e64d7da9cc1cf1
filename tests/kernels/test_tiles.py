"""Levels with matrix tiles: hardware and emulation compute what processors were seen to compute.

tiles_recorded.npz holds single instructions with their results, recorded on Intel Granite Rapids:
`instruction` 0 TDPBF16PS, 1 TDPBSSD, 2 TDPBSUD, 3 TDPBUSD; `rows`, `columns`, `units`: the shapes
of the tiles; operands and results in 16 rows of 64 bytes. Denormals, overflows, infinities and NaN
are among them, and results at the edge of the denormals.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import REQUIRED, SHARED, spiky, unavailable
from firth import _native
from firth.kernels import (
    _dispatch,
    byte_codes,
    matmul,
    may_reach,
    pack,
    scaled_dot_product_attention,
    use,
)
from processes import in_threads, printed, python

RECORDED = Path(__file__).with_name("tiles_recorded.npz")
TILES = ["tiles", "tiles_emulated"]


@pytest.fixture(params=TILES)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level with tiles that this machine and this build have, and in use."""
    name = f"native:{request.param}"
    if reason := unavailable(name):
        if name in REQUIRED:
            pytest.fail(f"FIRTH_REQUIRE names {name}, but {reason}")
        pytest.skip(reason)
    with use(name):
        yield request.param


def bfloat16(x: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def same(got: np.ndarray, want: np.ndarray, floats: bool) -> bool:
    """Bit for bit; one NaN is as good as another."""
    if not floats:
        return bool((got == want).all())
    got, want = got.view(np.uint32), want.view(np.uint32)
    nan = np.isnan(got.view(np.float32)) & np.isnan(want.view(np.float32))
    return bool(((got == want) | nan).all())


@pytest.mark.parametrize("path", [RECORDED, SHARED / "data" / RECORDED.name], ids=["some", "all"])
def test_recorded_instructions(level, path):
    if not path.exists():
        pytest.skip("the whole record is not beside this checkout")
    recorded = np.load(path)
    seen = set()
    for product, m, n, k, a, b, c, result in zip(
        *(recorded[name] for name in ("instruction", "rows", "columns", "units")),
        *(recorded[name] for name in ("a", "b", "c", "result")), strict=True,
    ):  # fmt: skip
        if product > 3:  # TDPBUUD, which no kernel needs
            continue
        seen.add(int(product))
        sums = c[:m, : 4 * n].copy()
        assert _native.kernels.tile_product(
            _dispatch.compiled[level], int(product), a[:m, : 4 * k].copy(), b[:k, : 4 * n].copy(),
            sums,
        )  # fmt: skip
        assert same(sums, result[:m, : 4 * n].copy(), product == 0)
    assert seen == {0, 1, 2, 3}


def test_other_levels_have_no_tiles():
    a, b, c = (np.zeros(shape, np.uint8) for shape in ((2, 4), (1, 8), (2, 8)))
    for name, level in _dispatch.levels.items():
        if name not in TILES:
            assert not _native.kernels.tile_product(level, 0, a, b, c)


def test_hardware_and_emulation_agree():
    """On each level that is here; that they have the same bits where both are."""
    rng = np.random.default_rng(0)
    a, b = bfloat16(spiky(rng, (70, 2090))), bfloat16(spiky(rng, (2090, 75)))
    a[3, 5], b[7, 3] = 0x7F80, 0x7FC0
    x, y = rng.integers(0, 256, (70, 300), np.uint8), rng.integers(-128, 128, (300, 75), np.int8)
    q, k, v = (bfloat16(spiky(rng, (3, 150, 80))) for _ in range(3))
    results = []
    for name in TILES:
        if unavailable(f"native:{name}") is None:
            with use(f"native:{name}"):
                results.append([
                    matmul(a, b), matmul(a[:1], b), matmul(x, y), matmul(x.view(np.int8), y),
                    scaled_dot_product_attention(q, k, v),
                    scaled_dot_product_attention(q, k, v, is_causal=True),
                ])  # fmt: skip
    if len(results) < 2:
        pytest.skip("one of the two levels is not here")
    for one, other in zip(*results, strict=True):
        assert same(one, other, one.dtype == np.float32)


def test_no_store_is_lost_before_a_load(level):
    """Sums are put into a scratch, from which tiles are loaded, block after block of K: a compiler
    that does not know what an instruction reads may drop such stores. Twice with other numbers."""
    rng = np.random.default_rng(0)
    for _ in range(2):
        a, b = bfloat16(rng.integers(-8, 9, (40, 5000))), bfloat16(rng.integers(-8, 9, (5000, 45)))
        exact = (a.astype(np.uint32) << 16).view(np.float32).astype(np.float64) @ (
            b.astype(np.uint32) << 16
        ).view(np.float32).astype(np.float64)
        assert abs(exact).max() < 2**24  # every partial sum is an integer that float32 holds
        assert_array_equal(matmul(a, b), exact)


@pytest.mark.parametrize("d", [30, 60, 64, 65, 100])
def test_index_over_many_blocks(level, d):
    """Steps that pass the end of a block, groups of blocks, groups of queries of unequal size."""
    rng = np.random.default_rng(d)
    index = firth.Index(d)
    index.add(rng.standard_normal((32 * 41 + 5, d)).astype(np.float32))
    for count in (8, 33, 75):
        queries = rng.standard_normal((count, d)).astype(np.float32)
        got = index.search(queries, 5)
        with use("native:v4x"):
            want = index.search(queries, 5)
        assert_array_equal(got.ids, want.ids)
        assert_array_equal(got.scores, want.scores)


@pytest.mark.parametrize("count", [7, 8, 15, 16, 17, 31, 32, 33, 64, 70])
@pytest.mark.parametrize("d", [1, 4, 30, 60, 64, 65, 100, 130])
def test_scan_finds_what_other_levels_find(level, d, count):
    """v4x codes queries as finely: its integers, and so its hits, are the same."""
    rng = np.random.default_rng(d * count)
    rows = rng.standard_normal((330, d)).astype(np.float32)
    queries = rng.standard_normal((count, d)).astype(np.float32)
    coded = byte_codes(rows, None, "ip")
    least = np.quantile(queries @ rows.T, 0.9, axis=1).astype(np.float32)
    got = may_reach(queries, coded, least)
    with use("native:v4x"):
        want = may_reach(queries, coded, least)
    assert_array_equal(got, want)
    assert 0.05 < got.mean() < 0.6


def test_tails_of_k_beside_nan(level):
    """What lies beside the operands in memory never meets their padding."""
    whole_a, whole_b = np.full((40, 90), 0x7FC0, np.uint16), np.full((90, 50), 0x7FC0, np.uint16)
    rng = np.random.default_rng(0)
    for m, n, k in ((40, 50, 37), (1, 3, 1), (17, 33, 65)):
        a, b = bfloat16(spiky(rng, (m, k))), bfloat16(spiky(rng, (k, n)))
        whole_a[:m, :k], whole_b[:k, :n] = a, b
        want = matmul(a, b)
        assert np.isfinite(want).all()
        assert_array_equal(matmul(whole_a[:m, :k], whole_b[:k, :n]), want)
        assert_array_equal(matmul(whole_a[:m, :k], pack(whole_b[:k, :n])), want)
        assert_array_equal(matmul(a, np.ascontiguousarray(b.T).T), want)


def at_the_end_of_a_mapping(array: np.ndarray) -> np.ndarray:
    """A copy after whose last byte comes memory that may not be read."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert libc.mprotect(start + size, page, 0) == 0
    view = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.skipif(sys.platform != "linux", reason="calls mprotect")
def test_nothing_is_read_behind_the_end(level):
    rng = np.random.default_rng(0)
    for m, n, k in ((5, 7, 9), (33, 40, 70), (16, 32, 32), (1, 1, 1)):
        a, b = bfloat16(spiky(rng, (m, k))), bfloat16(spiky(rng, (k, n)))
        edge_a, edge_b = at_the_end_of_a_mapping(a), at_the_end_of_a_mapping(b)
        assert_array_equal(matmul(edge_a, edge_b), matmul(a, b))
        assert_array_equal(matmul(edge_a.T, edge_a), matmul(a.T, a))
        x, y = a.astype(np.int8), b.astype(np.int8)
        edge_x, edge_y = at_the_end_of_a_mapping(x), at_the_end_of_a_mapping(y)
        assert_array_equal(matmul(edge_x, edge_y), matmul(x, y))
        assert_array_equal(matmul(edge_x.T, edge_x), matmul(x.T, x))
    for d in (1, 3, 30, 65, 100, 384):
        rows, queries = spiky(rng, (70, d)), spiky(rng, (40, d))
        coded = byte_codes(rows, None, "ip")
        least = np.zeros(len(queries), np.float32)
        want = may_reach(queries, coded, least)
        edge = coded._replace(codes=at_the_end_of_a_mapping(coded.codes))
        assert_array_equal(may_reach(queries, edge, least), want)


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return bfloat16(spiky(rng, (130, 700))), bfloat16(spiky(rng, (700, 90)))


def test_threads_of_the_caller(level):
    """Python's own threads and firth's pool beside each other."""
    a, b = example()
    want = matmul(a, b)

    def right() -> bool:
        with use(f"native:{level}"):
            return all((matmul(a, b) == want).all() for _ in range(5))

    assert in_threads(right) == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_children_of_fork(level):
    a, b = example()
    want = matmul(a, b)
    child = os.fork()
    if child == 0:
        os._exit(0 if (matmul(a, b) == want).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_interrupted_calls(level):
    """Signals whose handlers raise between calls, at any time; products keep their bits."""
    script = """
import signal, numpy as np
from firth.kernels import matmul
a = np.arange(200 * 300, dtype=np.uint16).reshape(200, 300) % 120 + 16200
want = matmul(a, a.T)
class Stop(Exception): pass
def handler(*_): raise Stop
signal.signal(signal.SIGALRM, handler)
stopped = 0
while stopped < 20:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002 + stopped * 0.0003)
        while True:
            assert (matmul(a, a.T) == want).all()
    except Stop:
        stopped += 1
        assert (matmul(a, a.T) == want).all()
print("whole")
"""
    assert printed(script, FIRTH_ISA=level) == "whole\n"


@pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"} or sys.platform != "linux",
    reason="runs machine code of x86-64",
)
def test_a_kernel_leaves_no_tiles_behind(level):
    """Tiles in use would make every switch of threads save 8 kB: XGETBV(1) tells what is in use."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("b901000000 0f01d0 c3"))  # mov ecx, 1; xgetbv; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    in_use = ctypes.CFUNCTYPE(ctypes.c_uint32)(address)
    a, b = example()
    one_thread = matmul(a[:2], b[:, :3])  # too small for the pool
    assert in_use() >> 17 & 3 == 0
    assert np.isfinite(one_thread).all()
    assert _native.kernels.tile_product(
        _dispatch.compiled[level], 0, *(np.zeros(s, np.uint8) for s in ((2, 4), (1, 8), (2, 8)))
    )
    assert in_use() >> 17 & 3 == 0


STACK = """
import ctypes, sys, threading
import numpy as np
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
memory = []
def small(before=None):
    memory.append(ctypes.create_string_buffer(8192))
    stack = Stack(ctypes.addressof(memory[-1]), 0, 8192)
    return libc.sigaltstack(ctypes.byref(stack), before and ctypes.byref(before)) == 0
def elsewhere(then, succeeds):
    ready, done, got = threading.Event(), threading.Event(), []
    def work():
        before = Stack()
        got.append(small(before)); ready.set(); done.wait()
        if got[0]: libc.sigaltstack(ctypes.byref(before), None)  # sanitizers own another
    thread = threading.Thread(target=work); thread.start(); ready.wait()
    then(); done.set(); thread.join()
    assert got == [succeeds]
import firth
from firth.kernels import matmul
a = np.full((40, 70), 0x3f80, np.uint16)
def compute():
    assert (matmul(a, a.T) == 70).all()
    print(firth.info().backend, firth.info().unused_levels.get("tiles", ""))
"""


@pytest.mark.skipif(bool(unavailable("native:tiles")), reason="this CPU has no matrix tiles")
def test_small_signal_stacks():
    """Where a thread has one already, the system refuses tiles: the next level serves and `info`
    says why. Afterwards the system refuses the stack, and products go on."""
    why = "a thread's alternate signal stack is too small to save tiles"
    assert printed(f"{STACK}\nassert small()\ncompute()") == f"native:v4x {why}\n"
    assert printed(f"{STACK}\nelsewhere(compute, True)") == f"native:v4x {why}\n"
    assert printed(f"{STACK}\ncompute()\nassert not small()\ncompute()") == "native:tiles \n" * 2
    assert printed(f"{STACK}\ncompute()\nelsewhere(compute, False)") == "native:tiles \n" * 2
    refused = python(f"{STACK}\nassert small()\ncompute()", FIRTH_ISA="tiles")
    assert f"FIRTH_ISA: level 'tiles' does not run here: {why}" in refused.stderr


@pytest.mark.skipif(bool(unavailable("native:tiles")), reason="this CPU has no matrix tiles")
def test_permission_is_asked_for_at_the_first_use_only():
    granted = """
import ctypes
import numpy as np
def granted():
    mask = ctypes.c_ulong()
    assert ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(mask)) == 0
    return bool(mask.value >> 18 & 1)
before = granted()
import firth, firth.kernels
x = np.ones(3)
print(before, granted()); firth.kernels.dot(x, x); print(granted(), firth.info().backend)
"""
    assert printed(granted) == "False False\nTrue native:tiles\n"
    assert printed(granted, FIRTH_ISA="v4x") == "False False\nFalse native:v4x\n"
    assert printed(granted, FIRTH_ISA="v4x", FIRTH_BACKEND="numpy") == "False False\nFalse numpy\n"
