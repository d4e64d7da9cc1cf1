"""Prints the levels that this CPU runs, as CMake's FIRTH_LEVELS takes them."""

from firth.kernels import _dispatch

print(";".join(_dispatch.levels))
