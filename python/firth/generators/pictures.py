"""Pictures of what a generator expects next. They need matplotlib.

S = tokens of a text, V = tokens there are, k = tokens that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_whole
from firth.formats.files import PathLike
from firth.generators.causal import CausalLM
from firth.optional import needs

_MOST = 64  # tokens of a picture


@dataclass(repr=False)
class Probabilities:
    """What a model expects behind each token of a text.

    Attributes
    ----------
    tokens : list of str
        Of the text, (S,).
    likely : list of list of str
        The most probable tokens behind each, (S, k).
    shares : ndarray (S, k) float64
        Their probabilities.
    followed : ndarray (S - 1,) float64
        That of the token that does follow.
    """

    tokens: list[str]
    likely: list[list[str]]
    shares: NDArray[np.float64]
    followed: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Probabilities<{len(self.tokens)} tokens, {self.shares.shape[1]} behind each>"

    @property
    def figure(self) -> Any:
        """A column a token: what may follow, the most probable above; a matplotlib Figure.

        What does follow is framed. ImportError where matplotlib is not installed.
        """
        module = needs("matplotlib.figure", "probabilities")
        needs("matplotlib.backends.backend_agg", "probabilities")
        patches = needs("matplotlib.patches", "probabilities")
        size, most = self.shares.shape
        width, height = 1.05 * size + 1, 0.42 * most + 1.3
        figure = module.Figure(figsize=(width, height), dpi=120, layout="constrained")
        axes = figure.subplots()
        axes.imshow(self.shares.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i in range(size):
            for rank, (token, share) in enumerate(zip(self.likely[i], self.shares[i], strict=True)):
                axes.text(
                    i, rank, f"{_visible(token)}\n{share:.0%}", ha="center", va="center",
                    fontsize=8, color="white" if share > 0.5 else "black", parse_math=False,
                )  # fmt: skip
                if i + 1 < size and token == self.tokens[i + 1]:
                    corner = (i - 0.48, rank - 0.46)
                    frame = patches.Rectangle(corner, 0.96, 0.92, fill=False, color="#d62728", lw=2)
                    axes.add_patch(frame)
        axes.set_xticks(range(size), [_visible(token) for token in self.tokens], fontsize=10)
        for label in axes.get_xticklabels():
            label.set_parse_math(False)
        axes.set_yticks(range(most), range(1, most + 1))
        axes.set_ylabel("rank")
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set_title("What may follow each token; framed: what does", fontsize=12, pad=8)
        return figure

    def save(self, path: PathLike) -> None:
        """Write the picture in a format of matplotlib's (.png, .svg, .pdf)."""
        self.figure.savefig(path)


def probabilities(model: CausalLM, text: str, most: int = 5) -> Probabilities:
    """What a model expects behind each token of a text.

    Parameters
    ----------
    model : CausalLM
    text : str
        Of at most 64 tokens.
    most : int
        k

    Raises
    ------
    ValueError
        The text is empty or too long.
    """
    check_whole("probabilities: most", most, 1, 20)
    ids = model.tokenizer.encode(text)
    if not 0 < len(ids) <= _MOST:
        raise ValueError(f"probabilities: want a text of 1 to {_MOST} tokens, got {len(ids)}")
    shares = shares_of(model.logits(ids))
    best = np.argsort(-shares, axis=1, kind="stable")[:, :most]
    decode = model.tokenizer.decode
    return Probabilities(
        [decode([i]) for i in ids],
        [[decode([i]) for i in row] for row in best],
        np.take_along_axis(shares, best, axis=1),
        shares[np.arange(len(ids) - 1), ids[1:]],
    )


def shares_of(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (..., V) float64 of logits (..., V) at a temperature above 0: their softmax."""
    scores = logits.astype(np.float64) / temperature
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return found


def _visible(token: str) -> str:
    """A token with its spaces and line breaks; control characters as Python writes them."""
    shown = token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown) or "∅"
