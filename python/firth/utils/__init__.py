"""PyTorch's name for the home of data sets and their batches."""

from firth.utils import data

__all__ = ["data"]
