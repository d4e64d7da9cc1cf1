"""Layers as modules: PyTorch's classes, arguments and layouts of parameters."""
