"""Moderation through OpenAI's client: the list of words, and a guard model's verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from causal_models import write
from firth import CausalLM
from firth.serve import create_app
from firth.serve import moderations as served
from firth.serve.moderations import CATEGORIES, by_words, verdict
from serving import HTTP, running

openai = pytest.importorskip("openai")
TEXTS = ["I want to kill them.", "A recipe for bread.", "I'll find you", "They were skilled."]


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as found:
        yield found


def test_words(client: Any) -> None:
    found = client.moderations.create(input=TEXTS)
    assert found.id.startswith("modr-")
    assert found.model == "word-list"
    assert [one.flagged for one in found.results] == [True, False, True, False]
    first, second, third, _ = found.results
    assert first.categories.violence
    assert first.category_scores.violence == 1
    assert not first.categories.violence_graphic
    assert first.category_scores.sexual == 0
    assert third.categories.harassment_threatening
    assert third.categories.harassment  # the category of which it is a part
    for one in (first.categories, first.category_scores, second.category_applied_input_types):
        assert set(one.to_dict()) == set(CATEGORIES)
        assert None not in one.to_dict().values()
    assert second.category_applied_input_types.violence == ["text"]
    single = client.moderations.create(input=TEXTS[0], model="omni-moderation-latest")
    assert single.results == [first]
    parts: Any = [{"type": "text", "text": text} for text in TEXTS]
    assert [one.flagged for one in client.moderations.create(input=parts).results] == [True]


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("", set()),
        ("KILLING time", {"violence"}),  # what a list of words cannot know
        ("skill, overkill, killer", set()),
        ("I\u2019ll hurt you", {"harassment/threatening"}),
        ("I want to die", {"self-harm/intent"}),
        ("how to make a bomb", {"illicit/violent"}),
        ("gore", {"violence/graphic"}),
    ],
)
def test_the_list(text: str, categories: set[str]) -> None:
    assert by_words(text) == categories


@pytest.mark.parametrize(
    ("said", "unsafe", "categories"),
    [
        ("safe", False, set()),
        ("\n\nsafe", False, set()),
        ("unsafe\nS1", True, {"violence", "illicit/violent"}),
        ("\n\nunsafe\nS10, S4", True, {"hate", "sexual/minors"}),
        ("unsafe\nS6", True, set()),
        ("unsafe", True, set()),
        ("I cannot say", False, set()),
    ],
)
def test_verdicts(said: str, unsafe: bool, categories: set[str]) -> None:
    assert verdict(said) == (unsafe, categories)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, CausalLM]]:
    """A random model under the name of a guard."""
    model = CausalLM.from_pretrained(write(Path(tmp_path_factory.mktemp("guard")) / "chat.gguf"))
    with running(create_app(chat={"other": model, "a-Guard": model})) as url:
        yield url, model


@pytest.mark.parametrize("form", [r"\n\nsafe", r"unsafe\n(S10|S[1-9])(,S11)?"])
def test_a_guard(guarded: tuple[str, CausalLM], monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """The verdicts are those of the model, which is held to one side, since it is random."""
    url, model = guarded
    monkeypatch.setattr(served, "_VERDICT", form)

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            return await client.moderations.create(input=TEXTS)

    found = asyncio.run(ask())
    assert found.model == "a-Guard"
    for text, one in zip(TEXTS, found.results, strict=True):
        asked = [{"role": "user", "content": text}]
        said = model.chat(asked, max_new_tokens=60, regex=form)
        wanted, categories = verdict(said)
        assert wanted == form.startswith("unsafe")
        assert one.flagged == (wanted or bool(by_words(text)))
        categories |= by_words(text)
        names = {name for name, has in one.categories.to_dict().items() if has}
        assert names == categories | {name.partition("/")[0] for name in categories}


@pytest.mark.parametrize("body", [
    {}, {"input": None}, {"input": []}, {"input": [1]}, {"input": ["a"] * 129},
    {"input": [{"type": "image_url", "image_url": {"url": "a"}}]}, {"input": [{"type": "text"}]},
])  # fmt: skip
def test_mistakes(url: str, body: Any) -> None:
    found = HTTP.post(f"{url}/v1/moderations", json=body)
    assert found.status_code == 400
    assert found.json()["error"]["type"] == "invalid_request_error"


def test_a_text_that_is_too_long(guarded: tuple[str, CausalLM]) -> None:
    found = HTTP.post(f"{guarded[0]}/v1/moderations", json={"input": "word " * 400})
    assert found.status_code == 400
    assert found.json()["error"]["code"] == "context_length_exceeded"
