"""Conversations and tools, checked, as chat templates take them."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from firth.arguments import shortened

ROLES = ("system", "user", "assistant", "tool")


def checked_messages(messages: Any, parts: bool = False) -> list[dict[str, Any]]:
    """Messages as templates take them.

    Parameters
    ----------
    messages : sequence of dict
        ``{"role": ..., "content": ...}``; the roles are system (or developer), user, assistant,
        tool and what else the template knows. The content is a string or a list of ``{"type":
        "text", "text": ...}``; with ``tool_calls`` it may be None.
    parts : bool
        Whether lists in place of a content stay; otherwise their texts become lines.

    Raises
    ------
    TypeError, ValueError
        Something else was given; the message says which one and what it must be.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Iterable):
        kind = type(messages).__name__
        raise TypeError(f"messages must be a list of dicts with role and content, got {kind}")
    checked = [_message(f"messages[{i}]", message, parts) for i, message in enumerate(messages)]
    if not checked:
        raise ValueError("messages must hold at least one message")
    return checked


def _message(where: str, message: Any, parts: bool) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be a dict with role and content, got {shortened(message)}")
    role = message.get("role")
    role = "system" if role == "developer" else role
    if not isinstance(role, str) or not role:
        known = ", ".join(ROLES)
        raise ValueError(f"{where}: role must be a name, such as {known}, got {shortened(role)}")
    content = message.get("content")
    calls = message.get("tool_calls")
    if content is None and role == "assistant" and calls:
        content = ""
    if isinstance(content, (list, tuple)):
        texts = [_part(f"{where}: content[{i}]", one) for i, one in enumerate(content)]
        content = plain(content) if parts else "\n".join(texts)
    elif not isinstance(content, str):
        kinds = "a string or a list of {'type': 'text', 'text': ...}"
        raise TypeError(f"{where}: content must be {kinds}, got {shortened(content)}")
    checked = {**plain(message), "role": role, "content": content}
    if calls:
        if not isinstance(calls, (list, tuple)):
            raise TypeError(f"{where}: tool_calls must be a list, got {shortened(calls)}")
        checked["tool_calls"] = [_call(f"{where}: tool_calls[{i}]", c) for i, c in enumerate(calls)]
    return checked


def _part(where: str, part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise ValueError(f"{where} must be {{'type': 'text', 'text': ...}}, got {shortened(part)}")
    return text


def _call(where: str, call: Any) -> dict[str, Any]:
    """A call of a tool; its arguments are an object, which OpenAI's API has as JSON text."""
    called = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(called, Mapping) or not isinstance(called.get("name"), str):
        wanted = "{'function': {'name': ..., 'arguments': ...}}"
        raise ValueError(f"{where} must be {wanted}, got {shortened(call)}")
    function = plain(called)
    if isinstance(function.get("arguments"), str):
        with contextlib.suppress(ValueError, RecursionError):  # a model's own words
            function["arguments"] = json.loads(function["arguments"])
    return {"type": "function", **plain(call), "function": function}


def checked_variables(name: str, given: Any) -> dict[str, Any]:
    """What a template shall know besides messages and tools; TypeError, ValueError for others."""
    variables = {} if given is None else given
    if not isinstance(variables, Mapping) or not all(isinstance(one, str) for one in variables):
        raise TypeError(f"{name} must be a dict with names, got {shortened(variables)}")
    if taken := {"messages", "self", "tools", "tokenize"}.intersection(variables):
        raise ValueError(f"{name} must not have {', '.join(sorted(taken))}")
    return dict(variables)


def plain(value: Any) -> Any:
    """A copy of dicts, lists, strings, numbers and None; anything else is refused.

    A template sees no object that has methods of its own.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    raise TypeError(f"a template takes JSON values, got {shortened(value)}")


def changed(value: Any, change: Callable[[str], str]) -> Any:
    """The same dicts and lists with every string changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {changed(key, change): changed(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [changed(one, change) for one in value]
    return value


def tool_schemas(tools: Any) -> list[dict[str, Any]] | None:
    """Tools as templates take them: OpenAI's schema of each.

    Parameters
    ----------
    tools : sequence of dict or function, or None
        A schema, or a function with annotations (`function_schema`).
    """
    if not tools:
        return None
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
        raise TypeError(f"tools must be a list of schemas or functions, got {shortened(tools)}")
    schemas = []
    for i, tool in enumerate(tools):
        if isinstance(tool, Mapping):
            schema = plain(tool)
            called = schema.get("function", schema)
            if not isinstance(called, dict) or not isinstance(called.get("name"), str):
                wanted = "{'type': 'function', 'function': {'name': ...}}"
                raise ValueError(f"tools[{i}] must be {wanted}, got {shortened(tool)}")
            schemas.append(schema)
        elif callable(tool):
            schemas.append(function_schema(tool))
        else:
            raise TypeError(f"tools[{i}] must be a schema or a function, got {shortened(tool)}")
    return schemas


_TYPES = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object",
    tuple: "array", type(None): "null",
}  # fmt: skip


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """OpenAI's schema of a function, from its annotations and docstring.

    The description is the docstring up to the first empty line; parameters are described by lines
    ``name: ...`` below ``Args:``, what is returned by what is below ``Returns:``. An annotation of
    it that JSON has no type for is left out.

    Raises
    ------
    ValueError
        A parameter has no annotation, or one that JSON has no type for.
    """
    name = getattr(function, "__name__", type(function).__name__)
    called = function if inspect.isroutine(function) else type(function).__call__
    hints = typing.get_type_hints(called)
    text = inspect.getdoc(function) or ""
    head, _, rest = text.partition("\n\n")
    described = dict(re.findall(r"^\s+(\w+)(?: *\(.*?\))?: *(.+)$", rest, re.MULTILINE))
    properties, required = {}, []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # a call names its arguments
        if parameter.name not in hints:
            raise ValueError(f"tool {name}: parameter {parameter.name} has no annotation")
        schema = _schema(hints[parameter.name], f"tool {name}: parameter {parameter.name}")
        if parameter.name in described:
            schema["description"] = described[parameter.name]
        properties[parameter.name] = schema
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    described_as = " ".join(head.split())
    schema = {"name": name, "description": described_as, "parameters": parameters}
    if "return" in hints:
        with contextlib.suppress(ValueError):
            schema["return"] = _schema(hints["return"], name)
            if found := re.search(
                r"^Returns:\s*(.+?)\s*(^Raises:|\Z)", rest, re.DOTALL | re.MULTILINE
            ):
                schema["return"]["description"] = found[1]
    return {"type": "function", "function": schema}


def _schema(hint: Any, where: str) -> dict[str, Any]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(one, where) for one in inner]}
    kind = _TYPES.get(origin or hint)
    if kind is None:
        raise ValueError(f"{where}: JSON has no type for {hint!r}")
    if origin is tuple and ... not in inner:
        each = [_schema(one, where) for one in inner]
        return {"type": kind, "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    if origin in (list, tuple):
        return {"type": kind, "items": _schema(inner[0], where)}
    if origin is dict:
        return {"type": kind, "additionalProperties": _schema(inner[1], where)}
    return {"type": kind}
