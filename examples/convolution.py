"""What a convolution does: a kernel of 3 x 3 slides over an image of 5 x 5, step by step.

python examples/convolution.py (at once)
"""

import numpy as np

from firth import Tensor
from firth.nn import functional

IMAGE = np.array(
    [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
)
KERNEL = np.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]])

# By hand: at each place, the sum of the nine products of what the kernel covers.
result = np.empty((3, 3), int)
for i in range(3):
    for j in range(3):
        window = IMAGE[i : i + 3, j : j + 3]
        result[i, j] = (window * KERNEL).sum()
        terms = " + ".join(f"{a}*{b}" for a, b in zip(window.flat, KERNEL.flat, strict=True))
        print(f"({i}, {j}): {terms} = {result[i, j]}")
print(result)
assert result.tolist() == [[12, 12, 17], [10, 17, 19], [9, 6, 14]]

# The operation of networks has images of a batch, channels and filters besides.
image = Tensor(IMAGE[None, None].astype(np.float32))  # (images, channels, height, width)
kernel = Tensor(KERNEL[None, None].astype(np.float32), requires_grad=True)  # one filter
made = functional.conv2d(image, kernel)
assert (made.data[0, 0] == result).all()

# The size of the result: (size + 2 padding - kernel) / stride + 1, rounded down.
for padding, stride in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 3)):
    size = (5 + 2 * padding - 3) // stride + 1
    shape = functional.conv2d(image, kernel, padding=padding, stride=stride).shape
    print(f"padding {padding}, stride {stride}: {size} x {size}")
    assert shape == (1, 1, size, size)

# Every place uses the same nine weights, so that the gradient of one is a sum over the places: that
# of the pixels that it met, times the gradients of the results.
made.sum().backward()
met = np.array([[IMAGE[i : i + 3, j : j + 3].sum() for j in range(3)] for i in range(3)])
print(f"the gradient of the sum of the result by the kernel:\n{kernel.grad[0, 0].astype(int)}")
assert (kernel.grad[0, 0] == met).all()

# A pool keeps the largest of each window: where something was found, not exactly where.
pooled = functional.max_pool2d(made, 2, 1)
print(f"the largest of each 2 x 2:\n{pooled.data[0, 0].astype(int)}")
assert pooled.data[0, 0].tolist() == [[17, 19], [17, 19]]
