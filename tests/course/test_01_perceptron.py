"""Answers to the exercises of docs/course/01-perceptron.md."""

import numpy as np

import firth

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
OR, XOR = np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])


def test_1_or_by_hand() -> None:
    """Epochs 1 to 5 have errors, the sixth has none: w = (0.3, 0.1), b = -0.1.

    (0, 0) asks for b below 0, and its errors lower b by 0.1 at a time. Each time that leaves
    (0, 1) below 0 too, its error raises w2, until w2 + b is 0 with b below 0.
    """
    rule = firth.Perceptron(eta0=0.1, shuffle=False)
    trace = rule.trace(X, OR, coef_init=[0.3, -0.1], intercept_init=0.2)
    wrong = [(step.epoch, step.x) for step in trace if step.error]
    assert {epoch for epoch, _ in wrong} == {1, 2, 3, 4, 5}
    assert {x for _, x in wrong} == {(0, 0), (0, 1)}  # the other two were right from the start
    assert trace.converged
    assert (trace[-1].epoch, trace[-1].coef, trace[-1].intercept) == (6, (0.3, 0.1), -0.1)


def test_2_xor_of_four_nands() -> None:
    """n = NAND(a, b); XOR = NAND(NAND(a, n), NAND(b, n)).

    NAND(a, n) is 0 only where a is on and b is not, NAND(b, n) only where b is on and a is not;
    the last neuron fires where one of them is 0.
    """
    nand = firth.Perceptron()
    nand.classes_, nand.coef_ = np.array([0, 1]), np.array([[-1.0, -1.0]])
    nand.intercept_ = np.array([1.5])

    def of(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return nand.predict(np.column_stack([left, right]))

    a, b = X.T
    assert of(a, b).tolist() == [1, 1, 1, 0]
    assert of(of(a, of(a, b)), of(b, of(a, b))).tolist() == XOR.tolist()


def test_3_a_third_input_makes_xor_a_plane() -> None:
    """x1 + x2 - 2 x1 x2 is XOR itself, so the plane x1 + x2 - 2 x1 x2 = 0.5 separates it.

    From zero the rule ends in epoch 8 with another such plane: 0.1 x1 + 0.1 x2 - 0.3 x1 x2 = 0.1.
    """
    product = X[:, 0] * X[:, 1]
    assert (X.sum(axis=1) - 2 * product).tolist() == XOR.tolist()
    inputs = np.column_stack([X, product])
    trace = firth.Perceptron(eta0=0.1, shuffle=False).trace(inputs, XOR)
    assert trace.converged
    last = trace[-1]
    assert (last.epoch, last.coef, last.intercept) == (8, (0.1, 0.1, -0.3), -0.1)
    assert not firth.Perceptron(eta0=0.1, shuffle=False).trace(X, XOR).converged
