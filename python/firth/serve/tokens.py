"""Texts to tokens and back, conversations to prompts; long ones in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from firth.generators.conversation import checked_variables
from firth.serve import errors
from firth.serve.engine import in_thread
from firth.serve.schemas import Detokenize, Template, Tokenize

if TYPE_CHECKING:
    from firth.generators import CausalLM


async def _aside(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return await in_thread(work)
    except Exception as error:
        raise errors.of(error) from error


async def tokenized(model: CausalLM, body: Tokenize) -> dict[str, Any]:
    """Ids; with ``with_pieces`` each with its text, or its bytes where these are none."""

    def work() -> dict[str, Any]:
        ids = model.tokenizer.encode(body.content, bool(body.add_special), bool(body.parse_special))
        if not body.with_pieces:
            return {"tokens": ids, "count": len(ids)}
        return {"tokens": [_piece(model, i) for i in ids], "count": len(ids)}

    return await _aside(work)


def _piece(model: CausalLM, token_id: int) -> dict[str, Any]:
    raw = model.tokenizer.token_bytes(token_id)
    try:
        return {"id": token_id, "piece": raw.decode()}
    except UnicodeDecodeError:  # a part of a character
        return {"id": token_id, "piece": list(raw)}


async def detokenized(model: CausalLM, body: Detokenize) -> dict[str, Any]:
    """The text of ids."""
    return await _aside(lambda: {"content": model.tokenizer.decode(body.tokens)})


async def prompt(model: CausalLM, body: Template) -> dict[str, Any]:
    """What the model reads of a conversation."""

    def work() -> dict[str, Any]:
        variables = checked_variables("chat_template_kwargs", body.chat_template_kwargs)
        text = model.tokenizer.apply_chat_template(body.messages, body.tools, **variables)
        return {"prompt": text}

    return await _aside(work)
