"""From the parameters of a request to the arguments of `CausalLM.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firth.serve.schemas import Sampled

if TYPE_CHECKING:
    from firth.generators import GeneratorTokenizer

_NAMES = {  # ours, and that of the request
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop",
    "n": "n",
}
_LEAST_TOP_P = 1e-6  # 0 is the most probable token alone


def options(body: Sampled, tokenizer: GeneratorTokenizer, most: int | None) -> dict[str, Any]:
    """Arguments of generate; ``most`` new tokens, or as many as the context has room for."""
    given = {ours: getattr(body, theirs) for ours, theirs in _NAMES.items()}
    found = {"temperature": 1.0} | {k: value for k, value in given.items() if value is not None}
    if "top_p" in found:
        found["top_p"] = max(found["top_p"], _LEAST_TOP_P)
    if body.top_k is not None:
        found["top_k"] = max(body.top_k, 0)
    if body.logit_bias:
        found["logit_bias"] = _bias(body.logit_bias, tokenizer)
    return {**found, "max_new_tokens": 2**31 - 1 if most is None else most}


def _bias(given: dict[str, float], tokenizer: GeneratorTokenizer) -> dict[int, float]:
    """What is added to logits, by id; a key that is no id is text, whose tokens are meant."""
    found: dict[int, float] = {}
    for key, value in given.items():
        number = key.isascii() and key.isdigit() and len(key) < 10
        ids = [int(key)] if number else tokenizer.encode(key, add_special_tokens=False)
        found.update(dict.fromkeys(ids, value))
    return found
