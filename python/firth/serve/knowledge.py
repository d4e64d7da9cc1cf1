"""Answers from the documents of a server: by its knowledge base and one of its chat models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from firth.serve import errors
from firth.serve.wire import DONE, event

if TYPE_CHECKING:
    from firth.rag import KnowledgeBase, Prepared
    from firth.serve.engine import Job
    from firth.serve.models import Models
    from firth.serve.schemas import Ask


async def begun(
    base: KnowledgeBase, body: Ask, models: Models
) -> tuple[Prepared, Job | str | None]:
    """What a model is given, and its job.

    What it has said, where it is none of those that are served; None where no passage is near
    enough to the question.

    Raises
    ------
    APIError
        As `Engine.begin`.
    """
    from firth.rag.answers import MOST  # where documents are: servers of chats begin without it

    options: dict[str, Any] = {"max_new_tokens": MOST, "temperature": 0}
    try:
        prepared = await models.looks.run(lambda: base.prepare(body.question, body.k, body.where))
        if not prepared.near():
            return prepared, None
        chat, messages = base.chat, prepared.messages
        for engine in models.chat.models.values():
            if engine.model is chat:
                return prepared, await engine.begin(
                    lambda: chat.chat(messages, return_runs=True, **options)
                )
        return prepared, str(await models.looks.run(lambda: chat.chat(messages, **options)))
    except Exception as error:
        raise errors.of(error) from error


async def _events(
    base: KnowledgeBase, prepared: Prepared, said: Job | str | None, models: Models
) -> AsyncIterator[dict[str, Any]]:
    """The passages, the text as it comes, and the answer."""
    yield {"passages": [asdict(one) for one in prepared.passages]}
    text = said if isinstance(said, str) else None
    if text:
        yield {"text": text}
    elif said is not None and not isinstance(said, str):
        text = ""
        async for piece in said:
            text += piece.text
            if piece.text:
                yield {"text": piece.text}
    try:
        answer = await models.looks.run(lambda: base.answer(text, prepared))
    except Exception as error:
        raise errors.of(error) from error
    if text is not None and (mark := answer.text[len(text.strip()) :]):
        yield {"text": mark}  # of the passage that is cited where the model cites none
    yield {"answer": asdict(answer)}


async def whole(
    base: KnowledgeBase, prepared: Prepared, said: Job | str | None, models: Models
) -> dict[str, Any]:
    """The answer to a request that wants no stream."""
    *_, last = [one async for one in _events(base, prepared, said, models)]
    answer: dict[str, Any] = last["answer"]
    return answer


async def streamed(
    base: KnowledgeBase, prepared: Prepared, said: Job | str | None, models: Models
) -> AsyncIterator[bytes]:
    """The same as events; an error is one of them, since the status has been sent."""
    try:
        async for one in _events(base, prepared, said, models):
            yield event(one)
    except Exception as error:
        yield event(errors.failed(error).content)
    yield DONE
