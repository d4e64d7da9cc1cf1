"""What generators are for besides writing: how well one knows a text."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from firth.arguments import check_whole
from firth.generators.causal import CausalLM
from firth.progress import progress_bar

_WINDOW = 512  # tokens; llama.cpp's default, so that numbers can be compared


class Perplexity(NamedTuple):
    """How well a model knows a text: less is better."""

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
