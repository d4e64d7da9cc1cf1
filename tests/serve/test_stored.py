"""Completions that are kept, through OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from firth import CausalLM
from firth.serve import create_app, stored
from serving import running

openai = pytest.importorskip("openai")

ASKED: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Say something."}]},
]


@pytest.fixture
def client(chat_model: CausalLM) -> Iterator[Any]:
    app = create_app(chat={"one": chat_model, "two": chat_model})
    with (
        running(app) as url,
        openai.OpenAI(base_url=url, api_key="any", max_retries=0) as found,
    ):
        yield found.chat.completions


def kept(client: Any, **options: Any) -> Any:
    options = {"model": "one", "messages": ASKED, "max_tokens": 9, "store": True, **options}
    return client.create(**options)


def test_what_is_kept(client: Any) -> None:
    assert client.list().data == []
    client.create(model="one", messages=ASKED, max_tokens=1)
    client.create(model="one", messages=ASKED, max_tokens=1, store=False)
    assert client.list().data == []
    made = kept(client, metadata={"a": "b"})
    found = client.retrieve(made.id)
    assert found.metadata == {"a": "b"}
    assert found.choices == made.choices
    assert found.usage == made.usage
    assert [one.id for one in client.list()] == [made.id]
    first, second = client.messages.list(made.id)
    assert (first.role, first.content, first.content_parts) == ("system", "Be brief.", None)
    assert (second.content, second.content_parts[0].text) == (None, "Say something.")
    assert first.id != second.id
    assert client.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.retrieve(made.id).metadata == {"c": "d"}
    gone = client.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "chat.completion.deleted")
    for call in (client.retrieve, client.delete, client.messages.list):
        with pytest.raises(openai.NotFoundError, match="no such completion is kept"):
            call(made.id)


def test_a_stream_is_kept_when_it_is_at_its_end(client: Any) -> None:
    chunks = list(kept(client, stream=True, seed=1))
    whole = client.retrieve(chunks[0].id)
    text = "".join(one.choices[0].delta.content or "" for one in chunks)
    assert (
        whole.choices[0].message.content == text == kept(client, seed=1).choices[0].message.content
    )
    assert whole.object == "chat.completion"
    assert whole.choices[0].finish_reason == "length"


def test_lists(client: Any) -> None:
    made = [
        kept(client, max_tokens=1, model=("one", "two")[i % 2], metadata={"i": str(i), "a": "b"}).id
        for i in range(5)
    ]
    assert [one.id for one in client.list(limit=2)] == made  # page by page
    assert [one.id for one in client.list(order="desc", limit=3)] == made[::-1]
    assert [one.id for one in client.list(model="two")] == made[1::2]
    assert [one.id for one in client.list(metadata={"a": "b", "i": "3"})] == made[3:4]
    assert [one.id for one in client.list(after=made[2])] == made[3:]
    assert client.list(after="unknown").data == client.list(limit=0).data == []
    assert client.list(limit=2).has_more
    assert not client.list(limit=5).has_more
    for wrong in ({"limit": 101}, {"limit": -1}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.list(**wrong)
        assert caught.value.param == next(iter(wrong))


def test_the_oldest_go_where_there_is_no_room(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [kept(client, max_tokens=1).id]
    monkeypatch.setattr(stored, "_BYTES", 2500)
    made += [kept(client, max_tokens=1).id for _ in range(9)]
    left = [one.id for one in client.list()]
    assert 0 < len(left) < 9
    assert left == made[-len(left) :]
    long = [{"role": "user", "content": [{"type": "text", "text": "a", "more": "b" * 3000}]}]
    assert kept(client, messages=long, max_tokens=1).id  # answered and not kept
    assert client.list().data == []
    assert [one.id for one in client.list()] == []
    last = kept(client, max_tokens=1).id
    assert [one.id for one in client.list()] == [last]


def test_metadata_has_limits(client: Any) -> None:
    """Those of OpenAI's API, when a completion is made and when it is changed."""
    most = {f"{i:064}": "v" * 512 for i in range(16)}
    made = kept(client, max_tokens=1, metadata=most)
    assert client.retrieve(made.id).metadata == most
    for wrong in (
        {"a" * 65: "b"}, {"a": "b" * 513}, {"a": 1}, {"a": {"b": "c"}}, {"a": None},
        {str(i): "" for i in range(17)},
    ):  # fmt: skip
        for call in (
            lambda given=wrong: kept(client, metadata=given),
            lambda given=wrong: client.update(made.id, metadata=given),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                call()
            assert caught.value.param.startswith("metadata")
            assert caught.value.type == "invalid_request_error"
    assert client.retrieve(made.id).metadata == most
    assert len(client.list().data) == 1
