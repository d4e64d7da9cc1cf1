"""Pictures of a decision boundary, and its animation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from firth import MLPClassifier, Perceptron

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
AND = np.array([0, 0, 0, 1])


def test_the_boundary_is_drawn():
    pytest.importorskip("matplotlib")
    neuron = Perceptron(eta0=0.1, random_state=42).fit(INPUTS, AND)
    figure = neuron.plot(INPUTS, AND)
    axes = figure.axes[0]
    (line,) = axes.lines
    on_it = np.column_stack(line.get_data()) @ neuron.coef_[0] + neuron.intercept_
    np.testing.assert_allclose(on_it, 0, atol=1e-15)
    np.testing.assert_allclose(line.get_data()[0], axes.get_xlim())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "1"]
    left, right = axes.get_xlim()
    assert left < 0 < 1 < right
    figure.canvas.draw()


def test_three_classes_have_three_colours():
    pytest.importorskip("matplotlib")
    X = np.array([[0, 0], [9, 0], [0, 9]] * 4)
    y = np.array(["a", "b", "c"] * 4)
    model = Perceptron().fit(X, y)
    figure = model.plot(X, y)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].reshape(-1, 3)
    _, counts = np.unique(image, axis=0, return_counts=True)
    assert (counts > 5000).sum() >= 4, "three areas, and the margin"
    assert not figure.axes[0].lines


def test_classes_of_a_network_meet_in_curves():
    pytest.importorskip("matplotlib")
    xor = np.array(["no", "yes", "yes", "no"])
    network = MLPClassifier(
        (2,), activation="tanh", learning_rate_init=0.01, max_iter=10000, random_state=42
    ).fit(INPUTS, xor)
    figure = network.plot(INPUTS, xor)
    assert not figure.axes[0].lines
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)

    def colour_beside(point):
        x, y = figure.axes[0].transData.transform(point)
        return image[len(image) - 1 - round(y), round(x)].tolist()

    no, yes = colour_beside((0.1, 0.1)), colour_beside((0.1, 0.9))
    assert no != yes
    assert colour_beside((0.9, 0.9)) == no
    assert colour_beside((0.9, 0.1)) == yes
    table = MLPClassifier((2,), tol=1e9).fit(INPUTS, np.column_stack([AND, 1 - AND]))
    with pytest.raises(ValueError, match="predicts tables of labels"):
        table.plot(INPUTS, AND)


def test_names_of_features_are_on_the_axes():
    pytest.importorskip("matplotlib")
    table = pytest.importorskip("pandas").DataFrame(INPUTS, columns=["rain", "wind"])
    figure = Perceptron().fit(table, AND).plot(table, AND)  # and no warning about the grid
    assert figure.axes[0].get_xlabel() == "rain"


def test_steep_and_missing_lines():
    pytest.importorskip("matplotlib")
    neuron = Perceptron()
    neuron.classes_, neuron.intercept_ = np.array([0, 1]), np.array([-0.5])
    neuron.coef_ = np.array([[1.0, 0.0]])
    (line,) = neuron.plot(INPUTS, AND).axes[0].lines
    assert line.get_xdata().tolist() == [0.5, 0.5]
    neuron.coef_ = np.zeros((1, 2))
    (line,) = neuron.plot(INPUTS, AND).axes[0].lines
    assert len(line.get_xdata()) == 0


def test_animation(tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    trace = Perceptron(eta0=0.1, shuffle=False, max_iter=2).trace(
        INPUTS, AND, coef_init=[0.3, -0.1], intercept_init=0.2
    )
    path = tmp_path / "and.gif"
    trace.animate().save(path, writer="pillow")
    with image.open(path) as picture:
        assert picture.n_frames == len(trace) + 1
        frames = []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            frames.append(np.asarray(picture.convert("RGB")))
    assert (frames[0] != frames[1]).any()


def test_refused(monkeypatch):
    pytest.importorskip("matplotlib")
    neuron = Perceptron()
    with pytest.raises(ValueError, match="not fitted yet"):
        neuron.plot(INPUTS, AND)
    neuron.fit(INPUTS, AND)
    with pytest.raises(ValueError, match=r"y must be one of \[0, 1\] for each row"):
        neuron.plot(INPUTS, AND + 1)
    with pytest.raises(ValueError, match=r"y must be one of \[0, 1\] for each row"):
        neuron.plot(INPUTS, AND[:2])
    wide = Perceptron().fit(np.eye(4), AND)
    with pytest.raises(ValueError, match="X must have 2 features, got 4"):
        wide.plot(np.eye(4), AND)
    with pytest.raises(ValueError, match="samples must have 2 features, got 4"):
        wide.trace(np.eye(4), AND).animate()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="plot needs matplotlib: pip install matplotlib"):
        neuron.plot(INPUTS, AND)
