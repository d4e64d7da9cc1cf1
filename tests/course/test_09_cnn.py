"""Answers to the exercises of docs/course/09-cnn.md."""

import numpy as np

from firth import Tensor, nn
from firth.nn import functional

IMAGE = np.array(
    [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
)
KERNEL = np.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]])


def test_1_padding_1_and_stride_2() -> None:
    """The kernel begins at rows and columns 0, 2 and 4 of the 7 x 7 image with its zeros.

    At the upper left corner its first row and first column lie on zeros. What is left of it is
    2 0 over 1 2, and meets 3 3 over 0 0: 2 * 3 + 0 * 3 + 1 * 0 + 2 * 0 = 6.
    """
    padded = np.pad(IMAGE, 1)
    by_hand = [
        [int((padded[i : i + 3, j : j + 3] * KERNEL).sum()) for j in (0, 2, 4)] for i in (0, 2, 4)
    ]
    assert by_hand == [[6, 17, 3], [8, 17, 13], [6, 4, 4]]
    image, kernel = (Tensor(x[None, None].astype(np.float32)) for x in (IMAGE, KERNEL))
    found = functional.conv2d(image, kernel, padding=1, stride=2)
    assert found.data[0, 0].tolist() == by_hand


def test_2_lenet() -> None:
    """Sizes 28, 14, 10 and 5; 61,706 parameters, 48,120 of them in the first linear layer.

    6 (25 + 1) = 156;  16 (6 * 25 + 1) = 2416;  400 * 120 + 120 = 48120;  120 * 84 + 84 = 10164;
    84 * 10 + 10 = 850.
    """
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    table = nn.summary(model, np.zeros((1, 1, 28, 28)))
    assert [row.shapes[0] for row in table.rows if "2d" in row.kind] == [
        (1, 6, 28, 28), (1, 6, 14, 14), (1, 16, 10, 10), (1, 16, 5, 5),
    ]  # fmt: skip
    by_layer = [row.parameters for row in table.rows[1:] if row.parameters]
    assert by_layer == [156, 2416, 48120, 10164, 850]
    assert table.parameters == sum(by_layer) == 61706


def test_3_two_convolutions_are_one() -> None:
    """[1, 4, 6, 4, 1]: each place of the second kernel adds a moved copy of the first.

      1 2 1
        2 4 2
          1 2 1
      ---------
      1 4 6 4 1

    Without activations any number of such layers is one convolution with a wider kernel.
    """
    kernel = np.array([1.0, 2.0, 1.0])
    both = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
    assert np.convolve(kernel, kernel).tolist() == both.tolist()
    x = Tensor(np.random.default_rng(0).normal(size=(1, 1, 20)))

    def conv(x: Tensor, kernel: np.ndarray) -> Tensor:
        return functional.conv1d(x, Tensor(kernel[None, None]))

    np.testing.assert_allclose(conv(conv(x, kernel), kernel).data, conv(x, both).data, atol=1e-12)
    bent = conv(functional.relu(conv(x, kernel)), kernel).data
    assert np.abs(bent - conv(x, both).data).max() > 0.1
