"""Documents of a request, as Groq's API has them: quoted in the prompt, and cited by the answer.

`firth.rag` is imported where it is used: a server of chats alone begins faster without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from firth.generators.conversation import checked_messages
from firth.serve.schemas import Chat, Document, TextSource

if TYPE_CHECKING:
    from firth.rag import Passage
    from firth.serve.models import Embedder

_PROMPT = "Passages:\n\n{passages}\n\n{question}"


def cites(body: Chat) -> bool:
    """Whether an answer has citations; in JSON a [1] would be a list."""
    form = (body.response_format or {}).get("type", "text")
    return bool(body.documents) and body.citation_options != "disabled" and form == "text"


def grounded(body: Chat) -> list[dict[str, Any]]:
    """The messages, with the documents quoted in the last one of the user.

    Raises
    ------
    TypeError, ValueError
        Messages are not as they must be.
    """
    from firth.rag.answers import CITE, SYSTEM, filled

    messages = checked_messages(body.messages)
    last = _last(messages)
    last["content"] = filled(_PROMPT, passages(body.documents or ()), last["content"])
    rules = SYSTEM if cites(body) else SYSTEM.replace(CITE, "")
    if messages[0]["role"] == "system":
        messages[0]["content"] = f"{rules}\n\n{messages[0]['content']}"
    else:
        messages.insert(0, {"role": "system", "content": rules})
    return messages


def _last(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The last message of the user; an empty one is added where there is none."""
    if all(one["role"] != "user" for one in messages):
        messages.append({"role": "user", "content": ""})
    return [one for one in messages if one["role"] == "user"][-1]


def passages(documents: Sequence[Document]) -> list[Passage]:
    """Each document that is not empty as one passage, named by its id, or its number."""
    from firth.rag import Passage

    found = []
    for i, one in enumerate(documents, 1):
        source = one.source
        if isinstance(source, TextSource):
            text = source.text
        else:
            text = json.dumps(source.data, ensure_ascii=False, indent=1) if source.data else ""
        if text.strip():
            found.append(Passage(one.id or str(i), text, 0.0, 0, len(text)))
    return found


async def citations(
    text: str | None, body: Chat, embedder: Embedder | None
) -> list[dict[str, Any]]:
    """What an answer to a request cites: each [n] in it, in its place.

    Where it has none, an embedding model that is served finds the document that is nearest to the
    answer with its question; this one is marked as inferred. Below the least cosine that a
    knowledge base answers from there is none.
    """
    from firth.rag.answers import FLOOR, knows, marks, nearest

    if not text:
        return []
    given = passages(body.documents or ())
    found = [_citation(given[n - 1], start, end) for n, start, end in marks(text, len(given))]
    if not found and given and embedder is not None and text.strip() and knows(text):
        whole = f"{text}\n{_last(checked_messages(body.messages))['content']}"
        n, cosine = await embedder.turns.run(lambda: nearest(embedder.model, whole, given))
        if cosine >= FLOOR:
            found = [_citation(given[n], 0, len(text))]
            found[0]["document_citation"]["inferred"] = True
    return found


def _citation(passage: Passage, start: int, end: int) -> dict[str, Any]:
    place = {"document_id": passage.document, "start_index": start, "end_index": end}
    return {"type": "document_citation", "document_citation": place}
