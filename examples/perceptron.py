"""One neuron: given weights (McCulloch, Pitts), learnt ones (Rosenblatt), and XOR, where it fails.

python examples/perceptron.py
"""

import numpy as np

import firth

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])

# McCulloch and Pitts, 1943: weights are given, the neuron fires where w.x + b > 0.
given = firth.Perceptron()
given.classes_, given.coef_ = np.array([0, 1]), np.array([[1.0, 1.0]])
for name, threshold, targets in (("OR", 1, OR), ("AND", 2, AND)):
    given.intercept_ = np.array([0.5 - threshold])
    print(f"{name} with given weights: {given.predict(INPUTS)}")
    assert (given.predict(INPUTS) == targets).all()

# Rosenblatt, 1958: it learns them.
learnt = firth.Perceptron(eta0=0.1, random_state=42).fit(INPUTS, AND)
print(
    f"AND learnt in {learnt.n_iter_} epochs: w = {learnt.coef_[0]}, b = {learnt.intercept_[0]:.1f}"
)
assert learnt.score(INPUTS, AND) == 1

# Minsky and Papert, 1969: no line has XOR's ones on one side. Training goes in a circle.
trace = firth.Perceptron(eta0=0.1, shuffle=False).trace(INPUTS, XOR)
print(f"XOR: the weights after epoch {trace[-1].epoch} are those after epoch {trace.repeats}")
assert not trace.converged
assert trace.repeats is not None

# Two neurons before it make it possible: OR, and not AND.
neuron = firth.Perceptron(tol=None, max_iter=100)
hidden = np.column_stack([neuron.fit(INPUTS, y).predict(INPUTS) for y in (OR, 1 - AND)])
output = neuron.fit(hidden, XOR).predict(hidden)
print(f"XOR with two neurons before it: {output}")
assert (output == XOR).all()
