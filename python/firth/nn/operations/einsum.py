"""einsum of one or two tensors: sums, permutations, and one product of matrices."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from firth.nn.operations.arithmetic import matmul, sum
from firth.nn.operations.shapes import permute, reshape
from firth.nn.tape import Tensor


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that an equation names, as ``"bij,bjk->bik"``.

    What two tensors share and the result has not is summed by `matmul`; letters of one tensor alone
    that the result has not are summed before.

    Parameters
    ----------
    equation : str
        A letter for each axis of each tensor, and of the result behind ``->``; without that the
        result has the letters that stand once, in the order of the alphabet. ``...`` stands for
        leading axes that each tensor has, or does not have.
    *operands : Tensor
        One or two, or a list of them; real numbers of one dtype.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        More tensors; a letter stands twice for one tensor (a diagonal), or for different lengths;
        the equation does not fit the tensors.
    TypeError
        The equation is no str, or tensors have two dtypes.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be a str, got {type(equation).__name__}")
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if len(operands) not in (1, 2):
        raise ValueError(f"einsum: want one or two tensors, got {len(operands)}")
    tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in operands]
    *terms, result = _terms(equation, [x.ndim for x in tensors])
    sizes: dict[str, int] = {}
    for term, x in zip(terms, tensors, strict=True):
        for letter, size in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(
                    f"einsum: an axis has lengths {sizes[letter]} and {size} in {equation!r}, for "
                    f"shapes {' and '.join(str(x.shape) for x in tensors)}"
                )
    for i, term in enumerate(terms):
        others = "".join(terms[:i] + terms[i + 1 :]) + result
        gone = [axis for axis, letter in enumerate(term) if letter not in others]
        if gone:
            tensors[i] = sum(tensors[i], gone)
            terms[i] = "".join(letter for letter in term if letter in others)
    if len(tensors) == 1:
        return _ordered(tensors[0], terms[0], result)
    one, other = terms
    both = [letter for letter in one if letter in other]
    lead = [letter for letter in both if letter in result]
    summed = [letter for letter in both if letter not in result]
    rows = [letter for letter in one if letter not in other]
    columns = [letter for letter in other if letter not in one]

    def matrices(x: Tensor, term: str, groups: Sequence[Sequence[str]]) -> Tensor:
        flat = _ordered(x, term, "".join(letter for group in groups for letter in group))
        return reshape(flat, *(math.prod(sizes[letter] for letter in group) for group in groups))

    a = matrices(tensors[0], one, (lead, rows, summed))
    b = matrices(tensors[1], other, (lead, summed, columns))
    if not lead:
        a, b = reshape(a, a.shape[1:]), reshape(b, b.shape[1:])
    found = reshape(matmul(a, b), *(sizes[letter] for letter in [*lead, *rows, *columns]))
    return _ordered(found, "".join([*lead, *rows, *columns]), result)


def _ordered(x: Tensor, term: str, wanted: str) -> Tensor:
    """Axes named by the letters of a term, in another order of these."""
    if term == wanted:
        return x
    return permute(x, *(term.index(letter) for letter in wanted))


def _terms(equation: str, axes: Sequence[int]) -> list[str]:
    """The letters of each tensor, of which one has so many axes, and of the result."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(axes):
        raise ValueError(f"einsum: {equation!r} is of {len(terms)} tensors, got {len(axes)}")
    letters = set(string.ascii_letters)
    spare = [letter for letter in string.ascii_letters if letter not in equation]
    dots = [n - len(term.replace("...", "", 1)) for term, n in zip(terms, axes, strict=True)]
    counts = {n for term, n in zip(terms, dots, strict=True) if "..." in term}
    if len(counts) > 1:
        raise ValueError(f"einsum: ... stands for different numbers of axes in {equation!r}")
    lead = "".join(spare[: counts.pop()]) if counts and max(counts) > 0 else ""
    if not arrow:
        plain = left.replace("...", "").replace(",", "")
        once = sorted(letter for letter in set(plain) if plain.count(letter) == 1)
        result = "".join(["...", *once])
    terms = [term.replace("...", lead, 1) for term in terms]
    result = result.replace("...", lead, 1)
    for term, n in zip(terms, axes, strict=True):
        if not set(term) <= letters or len(term) != n:
            raise ValueError(
                f"einsum: {equation!r} must have a letter for each axis, got tensors of "
                f"{' and '.join(map(str, axes))} axes"
            )
        if len(set(term)) != n:
            raise ValueError(
                f"einsum: a letter stands twice for one tensor in {equation!r}, there are no "
                "diagonals"
            )
    if not set(result) <= set("".join(terms)) or len(set(result)) != len(result):
        raise ValueError(
            f"einsum: the result of {equation!r} must have letters of the tensors, each once"
        )
    return [*terms, result]
