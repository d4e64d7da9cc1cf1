"""Pictures of what encoders do: who looks at whom, and the vectors of one word in many texts.

The pictures need matplotlib; HTML needs nothing and asks the network for nothing.
L = layers, H = heads, S = tokens, D = width, n = places where a word stands.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_whole, shortened
from firth.encoders.batches import checked_text
from firth.encoders.models import Model
from firth.formats.files import PathLike, atomic
from firth.optional import needs

_MOST = 128  # tokens of a picture of attention
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
_AROUND = 18  # characters on either side of a word that a label shows


class Attention:
    """Which tokens look at which, in every head of every layer. A notebook shows it as HTML.

    Attributes
    ----------
    tokens : list of str
    weights : ndarray, shape (L, H, S, S), float32
        Row i are the shares of what token i gathers; they sum to 1.
    layer, head : int
        The one that is shown large.
    """

    def __init__(
        self, tokens: list[str], weights: NDArray[np.float32], layer: int, head: int
    ) -> None:
        self.tokens, self.weights, self.layer, self.head = tokens, weights, layer, head

    def __repr__(self) -> str:
        layers, heads, size, _ = self.weights.shape
        return f"Attention<{layers} layers of {heads} heads, {size} tokens>"

    @property
    def figure(self) -> Any:
        """All heads as small squares, one of them large with its tokens: a matplotlib Figure."""
        layers, heads, size, _ = self.weights.shape
        module = needs("matplotlib.figure", "show_attention")
        needs("matplotlib.backends.backend_agg", "show_attention")
        colours = needs("matplotlib.colors", "show_attention")
        scale = colours.PowerNorm(0.5, 0, 1)  # small shares show, too
        large = float(np.clip(1.5 + 0.34 * size, 5, 24))
        small = float(np.clip(0.55 * heads, 3, 8)), float(np.clip(0.55 * layers, 2, large))
        figure = module.Figure(figsize=(small[0] + large + 2, large), dpi=120, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(small[0] + 0.8, large))

        gap = max(1, size // 8)  # between squares, in tokens
        step = size + gap
        board = np.full((layers * step - gap, heads * step - gap), np.nan)
        for i in range(layers):
            for j in range(heads):
                board[i * step : i * step + size, j * step : j * step + size] = self.weights[i, j]
        left.imshow(board, cmap="Blues", norm=scale, interpolation="nearest")
        left.set_xticks([(j + 0.5) * step - gap / 2 - 0.5 for j in range(heads)], range(heads))
        left.set_yticks([(i + 0.5) * step - gap / 2 - 0.5 for i in range(layers)], range(layers))
        left.set_xlabel("head")
        left.set_ylabel("layer")
        left.set_title("All heads", fontsize=13)
        left.set_anchor("N")
        left.tick_params(length=0, labelsize=9)
        for edge in left.spines.values():
            edge.set_visible(False)
        for i in range(layers):
            for j in range(heads):
                chosen = (i, j) == (self.layer, self.head)
                corner = (j * step - 0.5, i * step - 0.5)
                patch = needs("matplotlib.patches", "show_attention").Rectangle(
                    corner, size, size, fill=False, clip_on=False,
                    color="#d62728" if chosen else "#bbbbbb", lw=2 if chosen else 0.5,
                    zorder=3 if chosen else 2,
                )  # fmt: skip
                left.add_patch(patch)

        shown = self.weights[self.layer, self.head]
        image = right.imshow(shown, cmap="Blues", norm=scale, interpolation="nearest")
        font = float(np.clip(72 * (large - 1.5) / size * 0.6, 4, 12))
        right.set_xticks(range(size), self.tokens, rotation=90, fontsize=font)
        right.set_yticks(range(size), self.tokens, fontsize=font)
        right.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        for text in (*right.get_xticklabels(), *right.get_yticklabels()):
            text.set_parse_math(False)
        right.set_xlabel("token that is looked at")
        right.set_ylabel("token that looks")
        right.set_title(
            f"What each token looks at: layer {self.layer}, head {self.head}", fontsize=13, pad=10
        )
        bar = figure.colorbar(image, ax=right, shrink=0.6, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
        bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"])
        return figure

    @property
    def html(self) -> str:
        """A page of its own: choose a head, point at a token. It needs no network."""
        layers, heads, _, _ = self.weights.shape
        levels = np.rint(255 * self.weights).astype(np.uint8)
        data = {
            "tokens": self.tokens,
            "layers": layers,
            "heads": heads,
            "layer": self.layer,
            "head": self.head,
            "weights": base64.b64encode(levels.tobytes()).decode(),
        }
        page = resources.files("firth.encoders").joinpath("attention.html").read_text("utf-8")
        # No text can end the script: "<" only occurs in strings, where it may be written so.
        return page.replace("/*DATA*/null", json.dumps(data).replace("<", "\\u003c"))

    def _repr_html_(self) -> str:
        height = 160 + max(26 * len(self.tokens), 44 * len(self.weights))
        page = html.escape(self.html)
        return f'<iframe srcdoc="{page}" width="100%" height="{height}" style="border:0"></iframe>'

    def save(self, path: PathLike) -> None:
        """Write a page (.html), or the picture in a format of matplotlib's (.png, .svg, .pdf)."""
        if os.fspath(path).lower().endswith((".html", ".htm")):
            with atomic(path) as file:
                file.write(self.html.encode())
        else:
            self.figure.savefig(path)


def show_attention(
    model: Model,
    tokenizer: Any,
    text: str,
    pair: str | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
) -> Attention:
    """Which tokens of a text look at which, in every head of every layer.

    Parameters
    ----------
    model : any encoder
    tokenizer
    text, pair : str
        Of at most 128 tokens together.
    layer, head : int, optional
        The head that is shown large. By default the one with the strongest link between two words
        that do not stand side by side; in many heads tokens look at neighbours, or all at one.

    Returns
    -------
    Attention
        ``.save("attention.html")``, ``.save("attention.png")``, ``.figure``, ``.weights``.

    Raises
    ------
    ValueError
        Too many tokens.
    IndexError
        There is no such layer or head.
    """
    given = (text,) if pair is None else (text, pair)
    both = [checked_text("show_attention", one) for one in given]
    encoded = tokenizer(*both, return_special_tokens_mask=True, verbose=False)
    ids = encoded["input_ids"]
    if len(ids) > _MOST:
        raise ValueError(
            f"show_attention: the text must have at most {_MOST} tokens, has {len(ids)}"
        )
    types = encoded.get("token_type_ids")
    batch = model.inputs.packed([ids], None if types is None else [types])
    found = model.stack.run(batch, attentions=True).attentions
    if not found:
        raise ValueError("show_attention: the model has no layers")
    weights = np.stack([one[0] for one in found])
    layers, heads = weights.shape[:2]
    for name, value, count in (("layer", layer, layers), ("head", head, heads)):
        if value is not None:
            check_whole(f"show_attention: {name}", value)
            if value >= count:
                raise IndexError(f"show_attention: {name} must be below {count}, got {value}")
    # How much more than other words do does a word look at one that does not stand beside it?
    tokens = tokenizer.convert_ids_to_tokens(list(ids))
    word = np.array([any(char.isalnum() for char in token) for token in tokens])
    word &= np.asarray(encoded["special_tokens_mask"]) == 0
    far = abs(np.arange(len(ids)) - np.arange(len(ids))[:, None]) > 1
    more = weights - weights[:, :, word].sum(2, keepdims=True) / max(1, np.count_nonzero(word))
    shares = (more * (far & word & word[:, None])).max((2, 3))
    rows = slice(None) if layer is None else slice(layer, layer + 1)
    columns = slice(None) if head is None else slice(head, head + 1)
    allowed = np.full(shares.shape, -np.inf)
    allowed[rows, columns] = shares[rows, columns]
    best = divmod(int(np.argmax(allowed)), heads)
    return Attention(tokens, weights, *best)


class ContextualVectors:
    """The vectors of one word in several texts.

    Attributes
    ----------
    word : str
    vectors : ndarray, shape (n, D), float32
        One for each place where the word stands; the mean of its pieces.
    texts : list of str
        The text of each.
    spans : list of (int, int)
        Where the word stands in it.
    """

    def __init__(
        self,
        word: str,
        vectors: NDArray[np.float32],
        texts: list[str],
        spans: list[tuple[int, int]],
    ) -> None:
        self.word, self.vectors, self.texts, self.spans = word, vectors, texts, spans

    def __repr__(self) -> str:
        return f"ContextualVectors<{self.word!r} in {len(self)} places, {self.vectors.shape[1]}>"

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def similarities(self) -> NDArray[np.float64]:
        """Cosines of all pairs, shape (n, n)."""
        unit = self._unit()
        cosines: NDArray[np.float64] = unit @ unit.T
        return cosines

    def plot(self, meanings: Sequence[Any] | None = None) -> Any:
        """Draw the vectors as points of a plane: places where the word means the same are near.

        Parameters
        ----------
        meanings : sequence, length n, optional
            What the word means in each place, for colours and a legend.

        Returns
        -------
        matplotlib.figure.Figure
            The two directions in which the vectors, divided by their lengths, vary most.
        """
        if len(self) < 2:
            raise ValueError(f"plot: {self.word!r} must stand in two places at least")
        if meanings is not None and len(meanings) != len(self):
            raise ValueError(f"plot: {len(meanings)} meanings for {len(self)} places")
        from firth.words.plot import figure_of, label, principal_axes  # loads all of firth.words

        kinds = list(dict.fromkeys(meanings or [None]))
        owner = [kinds.index(one) for one in meanings] if meanings else [0] * len(self)
        figure, axes = figure_of(9, 6)
        points = principal_axes(self._unit())
        colours = [_COLOURS[i % len(_COLOURS)] for i in owner]
        for i, kind in enumerate(kinds):
            here = points[[one == i for one in owner]]
            colour = _COLOURS[i % len(_COLOURS)]
            axes.scatter(*here.T, s=50, color=colour, label=None if kind is None else str(kind))
        axes.set_title(
            f"The vectors of {self.word!r} in {len(self)} places", fontsize=14, parse_math=False
        )
        axes.set_axis_off()
        axes.margins(0.15)
        if meanings is not None:
            for text in axes.legend(frameon=False).get_texts():
                text.set_parse_math(False)
        label(axes, points, [self._snippet(i) for i in range(len(self))], colours)
        return figure

    def _unit(self) -> NDArray[np.float64]:
        rows = self.vectors.astype(np.float64)
        unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def _snippet(self, i: int) -> str:
        """The word and a few of its neighbours."""
        text, (start, end) = self.texts[i], self.spans[i]
        begin, stop = max(0, start - _AROUND), min(len(text), end + _AROUND)
        begin = text.find(" ", begin, start) + 1 or start if begin else 0
        stop = (text.rfind(" ", end, stop) + 1 or end + 1) - 1 if stop < len(text) else stop
        part = " ".join(text[begin:stop].split())
        return ("\u2026" if begin else "") + part + ("\u2026" if stop < len(text) else "")


def contextual_vectors(
    model: Model, tokenizer: Any, texts: Sequence[str], word: str, layer: int = -1
) -> ContextualVectors:
    """The vectors of one word wherever it stands in some texts.

    Static vectors have one for all its meanings; an encoder's depend on what stands around it.

    Parameters
    ----------
    model : any encoder
    tokenizer
        With offsets.
    texts : sequence of str
        Each with the word at least once.
    word : str
        A whole word or several, in any case of letters.
    layer : int
        Whose states: 0 is before the first layer, -1 after the last.

    Raises
    ------
    ValueError
        A text lacks the word, or there are no texts.
    """
    texts = [texts] if isinstance(texts, str) else texts
    texts = [checked_text("contextual_vectors", text) for text in texts]
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    places = [[match.span() for match in pattern.finditer(text)] for text in texts]
    for text, found in zip(texts, places, strict=True):
        if not found:
            raise ValueError(f"contextual_vectors: {word!r} is not in {shortened(text)}")
    if not texts:
        raise ValueError("contextual_vectors: there are no texts")
    encoded = tokenizer(texts, return_offsets_mapping=True, verbose=False)
    batch = model.inputs.packed(encoded["input_ids"], encoded.get("token_type_ids"))
    states = model.stack.run(batch, states=True).states
    assert states is not None
    vectors, where, spans = [], [], []
    for b, found in enumerate(places):
        rows = states[layer][batch.offsets[b] : batch.offsets[b + 1]]
        offsets = np.asarray(encoded["offset_mapping"][b])
        for start, end in found:
            pieces = (offsets[:, 0] < end) & (offsets[:, 1] > start)
            vectors.append(rows[pieces].astype(np.float64).mean(0))
            where.append(texts[b])
            spans.append((start, end))
    return ContextualVectors(word, np.array(vectors, np.float32), where, spans)
