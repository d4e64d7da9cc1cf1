"""PyTorch as oracle of attention: results and gradients of every option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn.operations.attention import scaled_dot_product_attention
from firth.nn.tape import Tensor

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")


def compared(size: tuple[int, ...], dtype: Any, mask: Any = None, **options: Any) -> None:
    batch, heads, key_heads, queries, keys, depth, values = size
    rng = np.random.default_rng(sum(size))
    shapes = (batch, heads, queries, depth), (batch, key_heads, keys, depth)
    shapes += ((batch, key_heads, keys, values),)
    given = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    upstream = rng.normal(size=(batch, heads, queries, values)).astype(dtype)

    ours = [Tensor(x, requires_grad=True) for x in given]
    out = scaled_dot_product_attention(*ours, mask, **options)
    out.backward(upstream)
    # theirs in float64, so that what differs is our rounding
    theirs = [torch.tensor(x.astype(np.float64), requires_grad=True) for x in given]
    if mask is not None:
        mask = torch.tensor(mask if mask.dtype == bool else mask.astype(np.float64))
    want = torch.nn.functional.scaled_dot_product_attention(*theirs, mask, **options)
    want.backward(torch.tensor(upstream.astype(np.float64)))
    # sums of depth products, of values, of keys and of queries
    tolerance = 4 * np.finfo(dtype).eps * sum(size[3:])
    for got, wanted in [
        (out.data, want),
        *((o.grad, t.grad) for o, t in zip(ours, theirs, strict=True)),
    ]:
        wanted = wanted.detach().numpy()
        size_ = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * size_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "size", [(2, 3, 3, 5, 7, 4, 4), (1, 4, 2, 70, 70, 32, 32), (2, 6, 1, 40, 130, 16, 24)]
)
@pytest.mark.parametrize("option", ["plain", "causal", "scale", "flags", "numbers", "broadcast"])
def test_scaled_dot_product_attention(size, option, dtype):
    rng = np.random.default_rng(4)
    options: dict[str, Any] = {"enable_gqa": size[1] != size[2]}
    mask = None
    if option == "causal":
        options["is_causal"] = True
    elif option == "scale":
        options["scale"] = 0.7
    elif option == "flags":
        mask = rng.random((size[3], size[4])) < 0.7
        mask[:, 0] = True  # PyTorch has NaN gradients where a query sees nothing
    elif option == "numbers":
        mask = rng.normal(size=(size[0], size[1], size[3], size[4])).astype(dtype)
    elif option == "broadcast":
        mask = rng.random((size[0], 1, 1, size[4])) < 0.7
        mask[..., 0] = True
    compared(size, dtype, mask, **options)
