"""Backends by name: which code runs, how it is chosen, and that the levels keep behind the wall."""

from __future__ import annotations

import os
import pickle
import re
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import firth
from conftest import OTHER_V4X
from firth import _native
from firth.kernels import _dispatch, active, dot, use
from processes import in_threads, printed, python


def test_levels_name_themselves():
    widths = {
        "tiles": 64, "v4x": 64, "v4": 64, "v3x": 32, "v3": 32, "i8mm": 16, "dotprod": 16,
        "base": 16, "tiles_emulated": 64, "v3x_emulated": 32,
    }  # fmt: skip
    best_first = [name for name in widths if name in _dispatch.compiled]
    assert [name for name in _dispatch.compiled if name != OTHER_V4X] == best_first
    assert "base" in _dispatch.levels
    for name in best_first:
        level = _dispatch.compiled[name]
        assert level.name == name
        assert level.vector_bytes == widths[name]
        assert (level.obstacle is None) == (name in _dispatch.levels)


def test_levels_say_whether_they_multiply_bfloat16():
    """Without widening it; of the two ways of v4x, which differ by vendor, one does."""
    fast = {name: level.bfloat16_is_fast for name, level in _dispatch.compiled.items()}
    for name in ("base", "v3", "v3x", "v4", "v3x_emulated", "tiles_emulated"):
        assert not fast.get(name, False)
    assert fast.get("tiles", True)
    if OTHER_V4X in fast:
        assert fast["v4x"] != fast[OTHER_V4X]


class Refusing:
    """A level that the system may refuse, as a Python object."""

    obstacle = None

    def __init__(self, why):
        self.why = why
        self.asked = 0

    def refused(self):
        self.asked += 1
        return self.why


def test_a_refused_level_yields_to_the_next(monkeypatch):
    refusing, granting, unasked = Refusing("it has reasons"), Refusing(None), Refusing(None)
    levels = {"best": refusing, "next": granting, "lower": unasked}
    monkeypatch.setattr(_dispatch, "compiled", levels)
    monkeypatch.setattr(_dispatch, "levels", levels)
    monkeypatch.setattr(_dispatch, "asked", {})
    monkeypatch.delenv("FIRTH_ISA", raising=False)
    for _ in range(2):
        assert _dispatch._parse("native", "x") == "native:next"
    assert (refusing.asked, granting.asked, unasked.asked) == (1, 1, 0)
    with pytest.raises(
        ValueError,
        match=r"x: level 'best' does not run here: it has reasons; .* runs \['next', 'lower'\]",
    ):
        _dispatch._parse("native:best", "x")
    monkeypatch.setenv("FIRTH_ISA", "best")
    with pytest.raises(ValueError, match="FIRTH_ISA: level 'best' does not run here: it has re"):
        _dispatch._parse("native", "x")
    monkeypatch.setenv("FIRTH_ISA", "lower")
    monkeypatch.setattr(_dispatch, "asked", {})
    assert _dispatch._parse("native", "x") == "native:lower"
    assert (refusing.asked, unasked.asked) == (1, 1)  # nothing above it was asked
    monkeypatch.setattr(_dispatch, "asked", {})
    with use("numpy"):  # what exists in C++ only keeps to the level too
        assert _dispatch.active_level() is unasked
    assert refusing.asked == 1


def test_info_says_why_a_level_is_not_in_use(monkeypatch):
    info = firth.info()
    names = info.compiled_levels
    in_use = _dispatch.active_level().name
    assert list(info.unused_levels) == names[: names.index(in_use)]
    for name, why in info.unused_levels.items():
        assert why == _dispatch.compiled[name].obstacle or name in _dispatch.asked
    with use("native:base"):
        lower = firth.info()
    assert list(lower.unused_levels) == names[: names.index("base")]
    assert in_use == "base" or lower.unused_levels[in_use] == "a lower level was chosen"
    for name in lower.unused_levels:
        assert f"{name} ({lower.unused_levels[name]})" in str(lower)
    level = next((x for x in _dispatch.compiled.values() if x.obstacle), None)
    if level:  # native code itself refuses it: an unknown instruction would end the process
        with pytest.raises(RuntimeError, match=re.escape(f"level {level.name}: {level.obstacle}")):
            _native.kernels.row_norms(level, np.ones((1, 2), "f4"), None, np.ones(1, "f4"))
        with pytest.raises(ValueError, match=re.escape(f"does not run here: {level.obstacle}")):
            use(f"native:{level.name}")


def test_use_nests_and_restores():
    before = active()
    with use("numpy") as name:
        assert name == active() == "numpy"
        with use("native:base"):
            assert active() == "native:base"
        assert active() == "numpy"
    assert active() == before


def test_use_belongs_to_the_thread():
    seen = []
    with use("numpy"):
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
    assert seen == [_dispatch._default()]


def test_use_without_with_warns():
    before = active()
    with pytest.warns(RuntimeWarning, match=r"as `with kernels.use\('numpy'\):`") as caught:
        use("numpy")
    assert active() == before
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entered = use("numpy")
        with entered, pytest.raises(RuntimeError, match="needs its own"), entered:
            pass
        del entered
        with pytest.raises(ValueError, match="unknown or unavailable backend"):
            use("cuda")


@pytest.mark.parametrize("name", ["cuda", "native:v9", "", "NumPy"])
def test_unknown_backend_lists_the_legal_ones(name):
    with pytest.raises(ValueError, match=r"legal names are \['numpy', 'numba', 'native'"):
        use(name)  # at the call, since one without `with` changes nothing


def test_references_are_silent():
    # The BLAS kernels of some processors warn about inf, those of others do not: hide it.
    noisy = _dispatch.kernel(lambda x: np.divide(x, 0.0) - np.inf)
    noisy.prepare(lambda x: (None, x))
    with pytest.warns(RuntimeWarning):
        np.divide(1.0, 0.0)
    with use("numpy"):
        assert np.isnan(noisy(1.0))
    assert np.isnan(noisy.reference(1.0))


def test_environment_chooses():
    code = "import firth; print(firth.info().backend)"
    assert printed(code, FIRTH_BACKEND="numpy").strip() == "numpy"
    assert printed(code, FIRTH_ISA="base").strip() == "native:base"
    for wrong in ({"FIRTH_BACKEND": "cuda"}, {"FIRTH_ISA": "v9"}):
        result = python(code, **wrong)
        assert result.returncode == 1
        assert re.search("unknown or unavailable", result.stderr)


def test_implementations_by_name():
    a = np.arange(5.0)
    before = dict(_dispatch.calls)
    assert dot.native(a, a) == dot.reference(a, a) == 30.0
    assert _dispatch.calls[f"native:{_dispatch.active_level().name}"] > before.get(
        f"native:{_dispatch.active_level().name}", 0
    )


def test_thread_count():
    before = _native.num_threads()
    try:
        firth.set_num_threads(3)
        assert _native.num_threads() == 3
        for count in (0, -1, 1025, 2**40):
            with pytest.raises(ValueError, match=f"from 1 to 1024, got {count}"):
                firth.set_num_threads(count)
        with pytest.raises(TypeError, match="count must be an integer, got float"):
            firth.set_num_threads(2.5)
        assert _native.num_threads() == 3
    finally:
        firth.set_num_threads(before)
    code = "from firth import _native; print(_native.num_threads())"
    assert printed(code, FIRTH_NUM_THREADS="5").strip() == "5"
    assert printed(code, OMP_NUM_THREADS="7", FIRTH_NUM_THREADS="").strip() == "7"
    assert printed(code, OMP_NUM_THREADS="3,2", FIRTH_NUM_THREADS="").strip() == "3"


@pytest.mark.parametrize("value", ["x", "0", "-2", "2.5", "4x", "1025", "99999999999999999999"])
def test_a_wrong_thread_count_in_the_environment(value):
    program = """
import numpy as np, firth
for _ in range(2):
    for call in (firth.info, lambda: firth.kernels.dot(np.ones((9, 9)), np.ones((9, 9)))):
        try:
            call()
        except ValueError as error:
            print(error)
firth.set_num_threads(2)
print(firth.info().threads)
"""
    lines = printed(program, FIRTH_NUM_THREADS=value).splitlines()
    message = f"FIRTH_NUM_THREADS: want a whole number from 1 to 1024, got '{value}'"
    assert lines == [message] * 4 + ["2"]
    # OpenMP's own runtimes ignore what they cannot read, and so do we.
    code = "from firth import _native; print(_native.num_threads())"
    default = printed(code, OMP_NUM_THREADS="", FIRTH_NUM_THREADS="")
    assert printed(code, OMP_NUM_THREADS=value, FIRTH_NUM_THREADS="") == default


def test_threads_do_not_change_bits():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20000, 100)).astype(np.float32)
    before = _native.num_threads()
    try:
        firth.set_num_threads(1)
        one = dot(a, a)
        for count in (2, 3, 8):
            firth.set_num_threads(count)
            np.testing.assert_array_equal(dot(a, a), one)
    finally:
        firth.set_num_threads(before)


def test_threads_that_are_kept_awake_give_the_same_bits_and_sleep_again():
    a = np.ones((20000, 100), np.float32)
    want = dot(a, a)

    def used() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    for _ in range(50):
        _native.keep_threads_awake()
        assert np.array_equal(dot(a, a), want)
    time.sleep(0.01)
    began, cpu = used()
    time.sleep(0.5)
    ended, more = used()
    assert more - cpu < (ended - began) / 2


def test_concurrent_calls():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20000, 100)).astype(np.float32)
    want = dot(a, a)
    right = in_threads(lambda: [np.array_equal(dot(a, a), want) for _ in range(20)])
    assert right == [[True] * 20] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_pool_survives_fork():
    code = """
import os, numpy as np
from firth.kernels import dot
a = np.ones((20000, 100), np.float32)
assert dot(a, a).sum() == 2_000_000
child = os.fork()
if child == 0:
    os._exit(0 if dot(a, a).sum() == 2_000_000 else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    assert printed(code, FIRTH_NUM_THREADS="2", PYTHONWARNINGS="ignore").strip() == "0"


def test_threadpoolctl_sees_the_pool():
    code = """
import firth, threadpoolctl
from firth import _native
from firth.system import register_threadpoolctl
register_threadpoolctl()
firth.set_num_threads(4)
with threadpoolctl.threadpool_limits(1, user_api="firth"):
    print(_native.num_threads())
print(_native.num_threads())
"""
    pytest.importorskip("threadpoolctl")
    assert printed(code).split() == ["1", "4"]


LIMITED = """
import resource, numpy as np, firth
from firth import Word2Vec, kernels
x = np.ones((4000, 1000), np.float32)
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
firth.set_num_threads(1024)
for _ in range(2):
    assert (kernels.softmax(x) == np.float32(1 / 1000)).all()
firth.set_num_threads(2)
text = [["a", "b", "c"] * 3] * 8000
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
# 64 contexts x 65,537 outputs take 285 MB in each worker
resource.setrlimit(resource.RLIMIT_AS, (taken + (150 << 20), 3 << 30))
try:
    Word2Vec(text, sg=1, min_count=1, negative=65_536, window=100, workers=2, epochs=1)
except MemoryError:
    print("told")
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
assert (kernels.softmax(x) == np.float32(1 / 1000)).all()
"""


@pytest.mark.slow  # which keeps it from AddressSanitizer, whose address space has no such limit
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_no_thread_and_no_memory_are_no_crash():
    assert printed(LIMITED).strip() == "told"


def test_kernels_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(firth.kernels.softmax)) is firth.kernels.softmax
