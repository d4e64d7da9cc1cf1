"""Moderation: whether texts are harmful, by a short list of words and a guard model's verdict.

The list knows English phrases as they are written and nothing of what a text means. A model that
was trained for it, such as Llama Guard, is asked where one is served: its name has "guard" in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from firth.serve import answers
from firth.serve.errors import APIError
from firth.serve.schemas import Body

if TYPE_CHECKING:
    from firth.serve.engine import Engine
    from firth.serve.models import Models

_MOST = 128  # texts of a request
_WORDS = {  # by OpenAI's categories
    "harassment": "idiot|moron|loser|you are worthless|you are disgusting|nobody likes you",
    "harassment/threatening": (
        "(i will|i'll|we will|we'll) (hurt|find|get|destroy) you|you will regret this"
    ),
    "hate": "subhumans?|inferior race|master race|go back to your country",
    "hate/threatening": "ethnic cleansing|exterminate them|gas them|wipe them out",
    "illicit": (
        "how to (steal|shoplift|launder money|hack|forge)|counterfeit money|stolen credit cards?|"
        "(cook|make|sell) (meth|heroin|cocaine)|phishing kit"
    ),
    "illicit/violent": "(build|make|buy) a (bomb|pipe bomb|silencer)|nerve agent|hire a hitman",
    "self-harm": "suicide|suicidal|self-harm|self harm|overdose|cut(ting)? myself",
    "self-harm/intent": "(want|going) to (die|kill myself)|kill myself|end my (own )?life",
    "self-harm/instructions": "how to (kill|hurt|hang|cut) (myself|yourself)|painless way to die",
    "sexual": "porn|pornography|erotica|nudes|sex tape|naked (photos?|pictures?|videos?)",
    "sexual/minors": "child porn(ography)?|underage sex|sex with (a )?(minors?|child(ren)?)",
    "violence": "(kill|murder|stab|shoot|strangle)(s|ed|ing)?|beat (him|her|them|you) up",
    "violence/graphic": "behead(ed|ing)?|dismember(ed|ing)?|disembowel(ed|ing)?|gore",
}
CATEGORIES = tuple(_WORDS)
_PATTERNS = {
    name: re.compile(rf"(?<!\w)({words})(?!\w)", re.IGNORECASE) for name, words in _WORDS.items()
}
_OF_GUARD: dict[str, tuple[str, ...]] = {  # its hazards that have a category; the rest flag alone
    "S1": ("violence", "illicit/violent"), "S2": ("illicit",), "S3": ("sexual",),
    "S4": ("sexual/minors",), "S9": ("illicit/violent",), "S10": ("hate",), "S11": ("self-harm",),
    "S12": ("sexual",), "S14": ("illicit",),
}  # fmt: skip
_VERDICT = r"\s{0,2}(safe|unsafe\n(S1[0-4]|S[1-9])(,(S1[0-4]|S[1-9])){0,13})"
_VERDICT_TOKENS = 60


class Moderation(Body):
    """``POST /moderations``."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MOST)]
        | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=_MOST)]
    )


def by_words(text: str) -> set[str]:
    """Categories of which a text has words."""
    text = text.replace("\u2019", "'")
    return {name for name, pattern in _PATTERNS.items() if pattern.search(text)}


def verdict(text: str) -> tuple[bool, set[str]]:
    """Whether a guard model has said "unsafe", and the categories of what it has named."""
    first, _, hazards = text.strip().partition("\n")
    named = {one.strip() for one in hazards.split(",")}
    return first == "unsafe", {name for one in named for name in _OF_GUARD.get(one, ())}


async def moderated(models: Models, body: Moderation) -> dict[str, Any]:
    """What is harmful in the texts of a request."""
    texts = _texts(body.input)
    found = [by_words(text) for text in texts]
    flagged = [bool(one) for one in found]
    guards = {name: one for name, one in models.chat.models.items() if "guard" in name.lower()}
    name = body.model if body.model in guards else next(iter(guards), None)
    if name is not None:
        for i, said in enumerate(await _asked(guards[name], texts)):
            unsafe, categories = verdict(said)
            flagged[i], found[i] = flagged[i] or unsafe, found[i] | categories
    results = [_result(*one) for one in zip(flagged, found, strict=True)]
    return {"id": answers.new_id("modr"), "model": name or "word-list", "results": results}


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], str):
        return list(given)
    parts = [one.get("text") if one.get("type") == "text" else None for one in given]
    if not all(isinstance(one, str) for one in parts):
        raise APIError(400, "a part must be {'type': 'text', 'text': ...}", param="input")
    return ["\n".join(map(str, parts))]  # parts of one message


async def _asked(engine: Engine, texts: list[str]) -> list[str]:
    """A guard's verdicts, in its form."""
    given: dict[str, Any] = {
        "max_new_tokens": _VERDICT_TOKENS,
        "regex": _VERDICT,
        "return_runs": True,
    }

    def runs() -> list[Any]:
        chats = ([{"role": "user", "content": text}] for text in texts)
        return [run for chat in chats for run in engine.model.chat(chat, **given)]

    job = await engine.begin(runs)
    async for _ in job:
        pass
    return [run.result(False, True).text for run in job.runs]


def _result(flagged: bool, found: set[str]) -> dict[str, Any]:
    found = found | {name.partition("/")[0] for name in found}
    return {
        "flagged": flagged,
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: float(name in found) for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
