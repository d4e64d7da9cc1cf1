"""Optimizers and schedules of their learning rates, named as in torch.optim."""

from firth.optim import lr_scheduler
from firth.optim.ema import ExponentialMovingAverage
from firth.optim.optimizer import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ExponentialMovingAverage",
    "Optimizer",
    "RMSprop",
    "lr_scheduler",
]
