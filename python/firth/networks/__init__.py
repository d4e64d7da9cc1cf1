"""Networks that train, from one neuron on."""

from firth.networks.mlp import MLPClassifier, MLPRegressor
from firth.networks.perceptron import Perceptron
from firth.networks.trace import Step, Trace

__all__ = ["MLPClassifier", "MLPRegressor", "Perceptron", "Step", "Trace"]
