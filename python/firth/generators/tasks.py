"""What generators are for besides writing: how well one knows a text, which label it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from firth.arguments import check_whole
from firth.generators.causal import CausalLM
from firth.generators.decoding import common
from firth.progress import progress_bar

_WINDOW = 512  # tokens; llama.cpp's default, so that numbers can be compared


class Perplexity(NamedTuple):
    """How well a model knows a text: less is better.

    Attributes
    ----------
    value : float
        exp of the mean of minus the logarithms of the probabilities, at least 1.
    error : float
        Its standard error.
    tokens : int
        How many were scored.
    windows : int
    context : int
        Tokens of a window.
    """

    value: float
    error: float  # standard error of the value
    tokens: int  # that were scored
    windows: int
    context: int  # tokens of a window


def perplexity(
    model: CausalLM, text: str, context: int | None = None, *, progress: bool | None = None
) -> Perplexity:
    """The perplexity of a long text, by windows, as llama.cpp's tool measures it.

    The tokens are cut into windows, one behind the other; a rest that fills no window is left out.
    Of each window the second half is scored, each token given those before it in the window, so
    that each has at least half a window before it. Where texts of the model begin with a token of
    their own, it takes the place of the first token of each window.

    Parameters
    ----------
    model : CausalLM
    text : str
    context : int, optional
        Tokens of a window, at least 4; default: 512, or the model's context where that is shorter.
    progress : bool, optional
        `firth.progress.progress_bar`.

    Returns
    -------
    Perplexity
        exp of the mean of minus the logarithms of the probabilities.

    Raises
    ------
    ValueError
        The window is larger than the context, or the text is shorter than a window.
    """
    size = min(_WINDOW, model.context) if context is None else context
    check_whole("perplexity: context", size, 4, model.context)
    ids = model.tokenizer.encode(text)
    windows = len(ids) // size
    if not windows:
        raise ValueError(
            f"perplexity: the text has {len(ids):,} tokens and a window {size:,}; give a longer "
            "text or a smaller context"
        )
    begins = ids[0] == model.tokenizer.bos_token_id
    found = []
    with progress_bar(windows * size, "tokens", "perplexity", progress) as bar:
        for i in range(windows):
            window = ids[i * size : (i + 1) * size]
            if begins:
                window[0] = ids[0]
            found.append(model.score(window).logprobs[size // 2 :])
            bar.update(size)
    values = np.concatenate(found)
    value = math.exp(-values.mean())
    return Perplexity(
        value, value * math.sqrt(values.var() / max(len(values) - 1, 1)), len(values), windows, size
    )


def classify(
    model: CausalLM,
    text: str,
    labels: Sequence[str],
    template: str = "Text: {text}\nLabel: {label}\n",
    examples: Sequence[tuple[str, str]] = (),
) -> dict[str, float]:
    """How probable each label of a text is, by what the model would write.

    Parameters
    ----------
    model : CausalLM
    text : str
    labels : sequence of str
        At least two, all different; words work best.
    template : str
        What is written of a text and its label, with ``{text}`` and, behind it, ``{label}``. What
        follows the label, as a line break, shows that it ends.
    examples : sequence of (text, label)
        Written before, so that the model knows what is asked.

    Returns
    -------
    dict of str to float
        Of each label its probability among all labels.

    Raises
    ------
    ValueError
        Fewer than two labels, equal ones, a template without a place, or a text that is longer
        than the context.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(f"classify: labels must be two or more different ones, got {labels!r:.60}")
    if not -1 < template.find("{text}") < template.find("{label}"):
        raise ValueError(
            f"classify: template must have {{text}} and {{label}}, got {template!r:.60}"
        )

    def written(text: str, label: str) -> str:
        return template.replace("{label}", label, 1).replace("{text}", text, 1)

    before = "".join(written(*one) + "\n" for one in examples)
    ids = [model.tokenizer.encode(before + written(text, label)) for label in labels]
    same = min(common(ids[0], one) for one in ids[1:])
    sums = np.array([model.score(one, max(same, 1)).logprobs.sum() for one in ids])
    shares = np.exp(sums - sums.max())
    return dict(zip(labels, (shares / shares.sum()).tolist(), strict=True))
