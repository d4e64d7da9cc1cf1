"""XOR with a hidden layer: what one neuron cannot say (perceptron.py), two neurons before it can.

A network of two inputs, two hidden neurons and one output,

    h = tanh(W1 x + b1)        p(1 | x) = sigmoid(W2 h + b2),

first by scikit-learn's recipe, then by hand: the chain rule, next to what the tape finds.

python examples/xor.py (one second; --plot FILE draws where the classes meet)
"""

import argparse

import numpy as np

import firth
from firth import nn, optim
from firth.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--plot", metavar="FILE", help="save a picture of the decision boundary")
arguments = parser.parse_args()

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR = np.array([0, 1, 1, 0])

# 1. An estimator with scikit-learn's parameters and results.
mlp = firth.MLPClassifier(
    hidden_layer_sizes=(2,), activation="tanh", solver="adam", learning_rate_init=0.01,
    max_iter=10000, random_state=42,
).fit(X, XOR)  # fmt: skip
print(f"MLPClassifier, {mlp.n_iter_} epochs: predictions {mlp.predict(X)}")
for name, value in (("coefs", mlp.coefs_), ("intercepts", mlp.intercepts_)):
    print(f"  {name}: {', '.join(str(array.tolist()) for array in value)}")
assert (mlp.predict(X) == XOR).all()
for got, wanted in zip(
    mlp.coefs_ + mlp.intercepts_,
    (
        [[2.7144501, 3.27401218], [-2.73418453, -3.17014048]], [[-4.37775211], [4.46553876]],
        [1.21994174, -1.63451199], [3.61855675],
    ),
    strict=True,
):  # fmt: skip
    np.testing.assert_allclose(got, wanted, atol=1e-6)

# 2. The same network out of its parts. PyTorch keeps W as (outputs, inputs), scikit-learn turned.
hidden, output = nn.Linear(2, 2, dtype=np.float64), nn.Linear(2, 1, dtype=np.float64)
network = nn.Sequential(hidden, nn.Tanh(), output)
network.load_state_dict({
    "0.weight": mlp.coefs_[0].T, "0.bias": mlp.intercepts_[0],
    "2.weight": mlp.coefs_[1].T, "2.bias": mlp.intercepts_[1],
})  # fmt: skip
x, y = firth.Tensor(X.astype(float)), firth.Tensor(XOR[:, None].astype(float))
np.testing.assert_allclose(network(x).sigmoid().data[:, 0], mlp.predict_proba(X)[:, 1])

# 3. A step of learning by hand, from weights that know nothing yet.
hidden.weight.data[...], hidden.bias.data[...] = [[0.5, -0.4], [-0.3, 0.6]], [0.1, -0.1]
output.weight.data[...], output.bias.data[...] = [[0.7, 0.2]], 0.0
h = hidden(x).tanh()
z = output(h)
loss = functional.binary_cross_entropy_with_logits(z, y)
print(f"\nThe tape remembers what made what:\n h = {h}\n z = {z}\n loss = {loss}")
loss.backward()

# The chain rule, from the loss back. The loss is the mean of -y log p - (1 - y) log (1 - p), and
# dp/dz = p (1 - p), so that by z only p - y is left; tanh' = 1 - tanh^2.
p = 1 / (1 + np.exp(-z.data))
dz = (p - y.data) / len(X)
dh = dz @ output.weight.data
da = dh * (1 - h.data**2)  # a = W1 x + b1
by_hand = {"W1": da.T @ X, "b1": da.sum(axis=0), "W2": dz.T @ h.data, "b2": dz.sum(axis=0)}
of_tape = (hidden.weight, hidden.bias, output.weight, output.bias)
print("\nGradients of the loss, by hand and by the tape:")
for (name, gradient), parameter in zip(by_hand.items(), of_tape, strict=True):
    print(f"  {name}: {gradient.round(6).tolist()} {parameter.grad.round(6).tolist()}")
    np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-12, atol=1e-15)

# 4. Many such steps.
optimizer = optim.Adam(network.parameters(), lr=0.01)
for step in range(2001):
    optimizer.zero_grad()
    loss = functional.binary_cross_entropy_with_logits(network(x), y)
    loss.backward()
    optimizer.step()
    if step % 500 == 0:
        print(f"step {step:4}: loss {loss.item():.4f}")
predicted = (network(x).data[:, 0] > 0).astype(int)
print(f"predictions {predicted}")
assert (predicted == XOR).all()
assert loss.item() < 0.05

if arguments.plot:
    mlp.plot(X, XOR).savefig(arguments.plot)
