"""The kernels: one file each, with contract, NumPy reference, Numba version and native call."""

from firth.kernels._dispatch import active, backends, use
from firth.kernels.dot import dot

__all__ = ["active", "backends", "dot", "use"]
