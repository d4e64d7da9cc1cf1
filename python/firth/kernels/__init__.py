"""The kernels: one file each, with contract, NumPy reference, Numba version and native call."""

from firth.kernels._dispatch import active, backends, use
from firth.kernels.dot import dot
from firth.kernels.matmul import PackedMatrix, matmul, pack

__all__ = ["PackedMatrix", "active", "backends", "dot", "matmul", "pack", "use"]
