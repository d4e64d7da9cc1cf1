"""Gradients clipped, and sequences of different lengths: named as in torch.nn.utils."""

from firth.nn.utils import rnn
from firth.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "rnn"]
