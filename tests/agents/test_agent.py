"""Agents: the loop of answers and calls, with a model that is told what to say and a real one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from causal_models import write
from firth import Agent, CausalLM, tool
from firth.errors import ContextError
from firth.generators.tools import Message

pytest.importorskip("pydantic")


class Scripted:
    """Says what it is told, and remembers what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.seen = list(answers), []

    def chat(self, messages, tools=None, *, tool_choice="auto", stream, **options):
        self.seen.append((json.loads(json.dumps(messages)), tool_choice, options))
        answer = self.answers.pop(0)
        text = answer if isinstance(answer, str) else ""
        calls = [] if isinstance(answer, str) else [call(i, *one) for i, one in enumerate(answer)]
        if tools is None:
            return Pieces(text)
        return Deltas(text, calls)


class Pieces:
    def __init__(self, text):
        self.text, self.finish_reason = text, "stop"

    def __iter__(self):
        return iter(self.text.split(" "))


class Deltas:
    def __init__(self, text, calls):
        self.message = Message(text or None, calls, "tool_calls" if calls else "stop")

    def __iter__(self):
        yield {"content": self.message.content or ""}
        for i, one in enumerate(self.message.tool_calls):
            yield {"tool_calls": [{"index": i, **one}]}


def call(i: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call{i}", "type": "function", "function": function}


@tool
def double(n: int) -> int:
    """Twice a number."""
    if n == 13:
        raise RuntimeError("unlucky")
    return 2 * n


def test_a_call_and_an_answer():
    model = Scripted([("double", '{"n": 4}')], "It is 8.")
    result = Agent(model, [double], instructions="Be brief.").run("What is twice 4?")
    assert (result.text, result.finish_reason) == ("It is 8.", "stop")
    (step,) = result.steps
    assert (step.name, step.arguments, step.output, step.failed) == (
        "double", '{"n": 4}', "8", False,
    )  # fmt: skip
    assert step.seconds >= 0
    roles = [message["role"] for message in result.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert result.messages[3] == {
        "role": "tool", "tool_call_id": "call0", "name": "double", "content": "8",
    }  # fmt: skip
    assert model.seen[1][0] == result.messages[:-1]


def test_a_conversation_goes_on():
    model = Scripted("One.", "Two.")
    first = Agent(model, [double]).run("Say one.")
    second = Agent(model, [double]).run([*first.messages, {"role": "user", "content": "And?"}])
    assert [message["content"] for message in second.messages] == [
        "Say one.",
        "One.",
        "And?",
        "Two.",
    ]
    assert len(first.messages) == 2, "the first result is as it was"


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("double", '{"n": "x"}', "Error: double: n: "),
        ("double", '{"n": 13}', "Error: unlucky"),
        ("double", "nonsense", "Error: double: the arguments are no JSON"),
        ("triple", "{}", "Error: there is no tool triple"),
    ],
)
def test_errors_go_back_to_the_model(name, arguments, says):
    model = Scripted([(name, arguments)], "Sorry.")
    result = Agent(model, [double]).run("?")
    (step,) = result.steps
    assert step.failed
    assert step.output.startswith(says)
    assert model.seen[1][0][-1]["content"] == step.output
    assert result.text == "Sorry."


def test_a_tool_that_ends_the_program():
    @tool
    def ends() -> str:
        """Ends."""
        raise SystemExit(3)

    (step,) = Agent(Scripted([("ends", "{}")], "Sorry."), [ends]).run("?").steps
    assert (step.failed, step.output) == (True, "Error: 3")


def test_what_a_tool_says_is_too_long(model):
    @tool
    def long() -> str:
        """Says much."""
        return "x " * 10_000

    result = Agent(model, [long], max_tokens=200).run("?", tool_choice="required")
    assert (result.text, result.finish_reason) == ("", "length")
    assert len(result.steps[0].output) == 20_000
    with pytest.raises(ContextError):
        Agent(model, [long]).run("x " * 10_000)


def test_several_calls_in_one_answer():
    model = Scripted([("double", '{"n": 1}'), ("double", '{"n": 2}')], "2 and 4.")
    result = Agent(model, [double]).run("?")
    assert [step.output for step in result.steps] == ["2", "4"]
    assert [m.get("tool_call_id") for m in result.messages] == [None, None, "call0", "call1", None]


def test_steps_are_limited():
    again = [("double", '{"n": 1}')]
    model = Scripted(again, again, "I give up.")
    result = Agent(model, [double], max_steps=2).run("?", tool_choice="required")
    assert (result.text, result.finish_reason, len(result.steps)) == ("I give up.", "max_steps", 2)
    assert [choice for _, choice, _ in model.seen] == ["required", "auto", "none"]


def test_events():
    model = Scripted([("double", '{"n": 4}')], "8")
    events = list(Agent(model, [double]).stream("?"))
    assert [event.kind for event in events] == ["call", "step", "text", "end"]
    assert (events[0].name, events[0].arguments) == ("double", '{"n": 4}')
    assert events[1].step == events[-1].result.steps[0]
    assert events[2].text == "8"


def test_without_tools():
    model = Scripted("Just words.")
    agent = Agent(model, temperature=0.5, max_tokens=7)
    assert agent.run("?").text == "Just words."
    assert model.seen[0][2] == {"temperature": 0.5, "max_new_tokens": 7}


def test_bad_arguments():
    with pytest.raises(TypeError, match="Agent: model must be a CausalLM or a URL, got 3"):
        Agent(3)
    with pytest.raises(ValueError, match="Agent: max_steps must be a whole number from 1"):
        Agent(Scripted(), [double], 0)
    with pytest.raises(ValueError, match="there are two tools double"):
        Agent(Scripted(), [double, double])
    with pytest.raises(TypeError, match="must be a function, got 'double'"):
        Agent(Scripted(), ["double"])
    model = Scripted("never said")
    with pytest.raises(ValueError, match="at least one message"):
        Agent(model).stream([])
    assert not model.seen


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    for package in ("tokenizers", "jinja2", "llguidance"):
        pytest.importorskip(package)
    return CausalLM.from_pretrained(write(tmp_path_factory.mktemp("model") / "small.gguf"))


def test_a_random_model_that_must_call(model):
    """Whatever its weights, the grammar holds the call."""
    agent = Agent(model, [double], max_steps=1, max_tokens=40)
    result = agent.run("?", tool_choice="required")
    (step,) = result.steps
    assert step.name == "double"
    assert json.loads(step.arguments).keys() == {"n"}
    assert result.finish_reason == "max_steps"
    assert result.messages[-1] == {"role": "assistant", "content": result.text}


def test_a_server(monkeypatch):
    """What is sent to a server, and what is read of its stream."""
    openai = pytest.importorskip("openai")
    sent = []

    def chunk(reason=None, content=None, calls=None):
        delta = SimpleNamespace(content=content, tool_calls=calls)
        return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=reason)])

    def part(name, arguments, id=None):
        function = SimpleNamespace(name=name, arguments=arguments)
        return SimpleNamespace(index=0, id=id, function=function)

    answers = [
        [chunk(calls=[part("double", '{"n"', "c1")]), chunk(calls=[part(None, ": 4}")]),
         chunk("tool_calls")],
        [chunk(content="It "), chunk(content="is 8."), chunk("stop"), SimpleNamespace(choices=[])],
    ]  # fmt: skip

    def create(**given):
        sent.append(json.loads(json.dumps(given)))
        return iter(answers.pop(0))

    client = SimpleNamespace(
        chat=SimpleNamespace(completions=SimpleNamespace(create=create)),
        models=SimpleNamespace(list=lambda: iter([SimpleNamespace(id="small")])),
    )
    monkeypatch.setattr(openai, "OpenAI", lambda **given: sent.append(given) or client)
    result = Agent("http://127.0.0.1:1/v1", [double], api_key="k").run("?")
    assert sent[0] == {"base_url": "http://127.0.0.1:1/v1", "api_key": "k"}
    assert (result.text, result.finish_reason) == ("It is 8.", "stop")
    assert [step.output for step in result.steps] == ["8"]
    assert sent[1]["model"] == "small"
    assert sent[2]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"n": 4}'
    assert sent[2]["messages"][2]["tool_call_id"] == "c1"


def test_a_server_without_models(monkeypatch):
    openai = pytest.importorskip("openai")
    client = SimpleNamespace(models=SimpleNamespace(list=list))
    monkeypatch.setattr(openai, "OpenAI", lambda **given: client)
    with pytest.raises(ValueError, match="the server at http://here/v1 has no models"):
        Agent("http://here/v1", [double])


def test_a_real_server(model):
    """firth's own: the call is forced there as it is here."""
    pytest.importorskip("openai")
    pytest.importorskip("uvicorn")
    from firth.serve import create_app
    from serving import running

    with running(create_app(chat=model)) as url:
        agent = Agent(f"{url}/v1", [double], max_steps=1, max_tokens=40)
        result = agent.run("?", tool_choice="required")
    (step,) = result.steps
    assert (step.name, list(json.loads(step.arguments))) == ("double", ["n"])
    assert result.finish_reason == "max_steps"
    local = Agent(model, [double], max_steps=1, max_tokens=40).run("?", tool_choice="required")
    assert step.arguments == local.steps[0].arguments
