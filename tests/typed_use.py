"""What type checkers see of firth: `make lint` checks this file, nothing runs it.

Each `assert_type` is an error where the type is another one, and each "type: ignore" where the line
is right.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import firth
from firth import fasttext, kernels
from firth.words import FrozenPhrases, Phrases

Array = NDArray[Any]
x = np.ones((2, 3), np.float32)

# A kernel has the signature and the result of its reference, however it is called
assert_type(kernels.softmax(x, axis=0, out=x), Array)
assert_type(kernels.softmax.reference([[1.0]]), Array)
assert_type(kernels.softmax.numba(x, 0), Array)
assert_type(kernels.softmax.native(x, 0), Array)
kernels.softmax(x, axes=0)  # type: ignore[call-arg]
kernels.softmax(x, 0, x)  # type: ignore[call-arg]
kernels.softmax.reference(x, axes=0)  # type: ignore[call-arg]
kernels.softmax.numba(x, axes=0)  # type: ignore[call-overload]
kernels.softmax.native(x, axes=0)  # type: ignore[call-overload]
assert_type(kernels.log_softmax(x), Array)
assert_type(kernels.matmul(x, x.T, activation="relu"), Array)
kernels.matmul(x, x.T, activation="rely")  # type: ignore[arg-type]
assert_type(kernels.cosine_topk(x, x, 3), kernels.TopK)
assert_type(kernels.cosine_topk(x, x, 3).indices, NDArray[np.int64])
assert_type(kernels.cosine_topk.native(x, x, 3), kernels.TopK)
assert_type(kernels.byte_codes(x), kernels.ByteCodes)

# Its gradient too, where there is one
assert_type(kernels.softmax.backward(x, x), Array)
assert_type(kernels.softmax.backward.reference(x, x, axis=0), Array)
assert_type(kernels.log_softmax.backward.native(x, x), Array)
kernels.softmax.backward(x)  # type: ignore[call-arg]
print(kernels.matmul.backward)  # type: ignore[attr-defined]

# Files give their class
assert_type(Phrases.load("phrases"), Phrases)
assert_type(FrozenPhrases.load("phrases"), FrozenPhrases)
assert_type(Phrases.load("phrases")[["new", "york"]], list[str])

# Whether there are counts is known from the argument
model = fasttext.load_model("model.bin")
assert_type(model.get_words(), list[str])
assert_type(model.get_labels(include_freq=True), tuple[list[str], NDArray[np.int64]])
assert_type(model.predict("text")[0], tuple[str, ...])

# PyTorch's names at the top level, also those of Python's own functions
assert_type(firth.zeros(2, 3), firth.Tensor)
assert_type(firth.sum(firth.ones(3)), firth.Tensor)
assert_type(firth.zeros(2) == 0, Any)
print(firth.histogram)  # type: ignore[attr-defined]
