"""Calls of tools: a grammar that a model cannot leave, and its text as OpenAI's messages.

How a model writes calls is read off its chat template: a conversation with a call is rendered, and
what stands around the name and the arguments is its form. A model whose template knows no tools is
told of them in its first message, and writes ``{"name": ..., "arguments": ...}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import string
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firth.arguments import shortened
from firth.errors import FormatError
from firth.generators import conversation
from firth.generators.constraints import JSON, checked_schema
from firth.generators.tokenizer import GeneratorTokenizer

_MOST = 16  # calls in one answer
_LONGEST_END = 100  # characters; more is no end of a call but something that follows
_ID = "aaaaaaaa0"  # of the call that is rendered; templates of Mistral want nine such characters
_IDS, _LETTERS = "[a-zA-Z0-9]{9}", string.ascii_letters + string.digits
_JSON_PARTS = re.compile(r'"[^"]*"|[{}\[\]"]|[^{}\[\]"]+')
_ARGUMENTS = {"probe_key": 1}
_TOLD = """You can call these functions:
{schemas}
To call one, answer only with {{"name": its name, "arguments": an object of its parameters}}."""


class Message(dict[str, Any]):
    """An answer of a model that may call tools: a dict, as ``messages`` and OpenAI's API have it.

    Keys are ``role`` ("assistant"), ``content``, and ``tool_calls`` where there are some.

    Attributes
    ----------
    content : str or None
        What the model says besides its calls.
    tool_calls : list of dict
        ``{"id": ..., "type": "function", "function": {"name": ..., "arguments": JSON text}}``; one
        that ``max_new_tokens`` has cut off is not among them.
    finish_reason : "tool_calls", "stop", "length" or None
    """

    def __init__(
        self, content: str | None, tool_calls: list[dict[str, Any]], finish_reason: str | None
    ) -> None:
        super().__init__(role="assistant", content=content)
        if tool_calls:
            self["tool_calls"] = tool_calls
        self.content, self.tool_calls, self.finish_reason = content, tool_calls, finish_reason


@dataclass(frozen=True)
class Form:
    """How a model writes calls: begin, name, middle, arguments, end.

    Attributes
    ----------
    begin, middle, end : str
        A call's id, if it has one, is `_ID` in them.
    between : str or None
        From the arguments of a call to the name of the next one; None: only one can be called.
    """

    begin: str = '{"name": "'
    middle: str = '", "arguments": '
    end: str = "}"
    between: str | None = '}\n{"name": "'


def form_of(tokenizer: GeneratorTokenizer) -> Form | None:
    """How the template of a model writes calls; None: it does not, or not as JSON."""
    said, names = "\u00a7 said", ("probe_one", "probe_two")
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in names]
    calls = [
        {"id": _ID, "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
        for name in names
    ]

    def rendered(**answer: Any) -> str:
        turns = [{"role": "user", "content": "?"}] + (
            [{"role": "assistant", **answer}] if answer else []
        )
        text: str = tokenizer.apply_chat_template(turns, tools, add_generation_prompt=not answer)
        return text

    try:
        text, single = rendered(content=said), rendered(content="", tool_calls=calls[:1])
        prompt = rendered()
    except (ValueError, FormatError):
        return None
    pairs = enumerate(zip(text, single, strict=False))
    start = next((i for i, (one, other) in pairs if one != other), len(single))
    least = len(prompt) if single.startswith(prompt) else 1
    while start > least and single[start - 1] not in " \n>]":  # tags of both may begin alike
        start -= 1
    begin, _, rest = single[start:].partition(names[0])
    middle, end = _around_arguments(rest)
    if middle is None or not begin.strip():
        return None
    kept = ""
    for i, part in tokenizer.cut(end):
        if i in tokenizer.turn_end_ids:
            break
        kept += part
    if len(kept) > _LONGEST_END:
        return None
    form = Form(begin.lstrip(), middle, kept.rstrip(), None)
    with contextlib.suppress(ValueError, FormatError):
        several = rendered(content="", tool_calls=calls)
        head = single[: len(single) - len(end)]
        between, found, rest = several.removeprefix(head).partition(names[1])
        if several.startswith(head) and found and _around_arguments(rest)[0] == middle:
            return Form(form.begin, middle, form.end, between)
    return form


def _around_arguments(text: str) -> tuple[str | None, str]:
    """What is before and behind the arguments of the call that is rendered."""
    at = text.find("{")
    with contextlib.suppress(ValueError):
        value, end = json.JSONDecoder().raw_decode(text, max(at, 0))
        if value == _ARGUMENTS:
            return text[:at], text[end:]
    return None, ""


class Tools:
    """What a model may call.

    Parameters
    ----------
    tokenizer : GeneratorTokenizer
        With a chat template.
    tools : sequence of dict or function
        `firth.generators.conversation.tool_schemas`.
    choice : "auto", "none", "required" or dict
        Whether there may, cannot or must be a call, or, ``{"type": "function", "function": {"name":
        ...}}``, of which tool there must be one.
    parallel : bool
        Whether an answer may have several calls, where the template knows that.
    answer : dict or bool, optional
        A JSON schema that an answer without a call keeps to, where there may be one.

    Attributes
    ----------
    schemas : list of dict
    grammar : str
        What answers keep to, in llguidance's kind of Lark.
    begins : str
        With this a call begins behind text, where there may be one; stop strings do not count then.

    Raises
    ------
    TypeError, ValueError
        A tool or the choice is malformed, or there is no such tool.
    """

    def __init__(
        self,
        tokenizer: GeneratorTokenizer,
        tools: Sequence[Any],
        choice: Any = "auto",
        parallel: bool = False,
        answer: Mapping[str, Any] | bool | None = None,
    ) -> None:
        if not isinstance(parallel, bool):
            raise TypeError(f"parallel_tool_calls must be a bool, got {shortened(parallel)}")
        self._tokenizer = tokenizer
        self.schemas = conversation.tool_schemas(tools) or []
        functions = {}
        for i, schema in enumerate(self.schemas):
            function = schema.get("function", schema)
            name = function["name"]
            if not re.fullmatch(r"[\w.:/-]{1,200}", name):
                raise ValueError(f"tools[{i}]: a name is of letters, digits, _ . : / and -")
            if name in functions:
                raise ValueError(f"tools[{i}]: there are two tools {name}")
            functions[name] = _arguments(f"tools[{i}] ({name})", function.get("parameters"))
        if isinstance(choice, Mapping):
            called = choice.get("function")
            named = called.get("name") if isinstance(called, Mapping) else None
            if named not in functions:
                known = ", ".join(functions) or "none"
                raise ValueError(f"tool_choice: no tool {shortened(choice)}, there are: {known}")
            functions, choice = {named: functions[named]}, "required"
        if choice not in ("auto", "none", "required"):
            wanted = "auto, none, required or {'type': 'function', 'function': {'name': ...}}"
            raise ValueError(f"tool_choice must be {wanted}, got {shortened(choice)}")
        if choice == "required" and not functions:
            raise ValueError("tool_choice is required, but there are no tools")
        self.choice, self._names = choice, list(functions)
        form = form_of(tokenizer)
        self._form = form or Form()
        if not parallel:
            self._form = Form(self._form.begin, self._form.middle, self._form.end, None)
        self._schema = answer if choice == "auto" else None
        self.grammar, self._head, self._json = self._written(functions)
        self.begins = self._head if choice == "auto" else ""

    # The grammar

    def _written(self, functions: Mapping[str, str]) -> tuple[str, str, bool]:
        """The grammar, what a call begins with, whether it must be the whole answer."""
        form, rules, json_only = self._form, [], False
        token, head = self._tokenizer.cut(form.begin)[0]
        opening = self._terms(form.begin)
        if token is not None:  # a control token, which text has not
            said, called = rf"(.|\n)*{_pattern(head)}", f"TEXT {opening} calls"
        elif re.search(r"\w", head := head.partition("{")[0].strip()):
            said = rf"(.|\n)*{_pattern(head)}"
            called = f"opened {self._terms(form.begin.removeprefix(head))} calls"
            rules.append(f"opened[lazy]: /{said}/")
        else:  # JSON: only an answer as a whole can be told from text
            head, json_only = form.begin, True
            said = r"\s*" + r"\s*".join(map(_pattern, "".join(head.split()).rstrip('"')))
            called = f"{opening} calls"
        rules.append(rf"TEXT: /(.|\n)*/ & ~/{said}(.|\n)*/")
        if self.choice == "none":
            return "\n".join(["start: TEXT", rules[-1]]), head, json_only
        more = f" ({self._terms(form.between)} call){{0,{_MOST - 1}}}" if form.between else ""
        start = f"TEXT | {called}" if self.choice == "auto" else f"{opening} calls"
        if self._schema is not None:
            given = self._schema
            schema = {} if given is True else json.loads(checked_schema("json_schema", given))
            rules = [f"said: %json {json.dumps({**schema, 'x-guidance': JSON})}"]
            begun = [
                f"{self._terms(form.begin + name + form.middle, True)} args{i}"
                for i, name in enumerate(functions)
            ]
            start = f"said | ({' | '.join(begun)}){more} {self._terms(form.end, True)}"
        rules += [
            f"start: {start}",
            f"calls: call{more} {self._terms(form.end)}",
            "call: " + " | ".join(f"call{i}" for i in range(len(functions))),
        ]
        for i, (name, schema) in enumerate(functions.items()):
            rules += [f"call{i}: {self._terms(name + form.middle)} args{i}"]
            rules += [f"args{i}: %json {schema}"]
        return "\n".join([*rules, f"ID: /{_IDS}/"]), head, json_only

    def _terms(self, text: str, apart: bool = False) -> str:
        """Text as a grammar has it: strings, control tokens, ids of calls.

        Beside a schema the parts of JSON must stand apart, as they do in the schema's grammar: a
        string that has begun goes on, even where that is no call.
        """
        terms = []
        for i, part in self._tokenizer.cut(text):
            if i is not None:
                terms.append(f"<[{i}]>")
                continue
            for n, piece in enumerate(part.split(_ID)):
                found = _JSON_PARTS.findall(piece) if apart else [piece] * bool(piece)
                terms += ["ID"] * (n > 0) + [json.dumps(one, ensure_ascii=False) for one in found]
        return " ".join(terms)

    # Prompts

    def told(self, messages: Any) -> Any:
        """The conversation as the template takes it.

        Where the template knows no tools, a model that may call none is not told of them, and reads
        calls as words: it would imitate their JSON.
        """
        bare = [{"role": "user", "content": "?"}]
        apply = self._tokenizer.apply_chat_template
        try:
            if apply(bare) != apply(bare, self.schemas):
                return messages
        except ValueError:  # it wants tools, or other turns
            return messages
        turns: list[dict[str, Any]] = []
        for turn in conversation.checked_messages(messages):
            role, content = turn["role"], turn["content"]
            if role == "tool":
                role, content = "user", f"Result: {content}"  # others may be refused
            for call in turn.get("tool_calls") or ():
                function = call["function"]
                named, arguments = function["name"], json.dumps(function.get("arguments"))
                if self.choice == "none":
                    content += f"\nI call {named}({arguments})."
                else:
                    content += f'\n{{"name": "{named}", "arguments": {arguments}}}'
            if turns and role == "user" == turns[-1]["role"]:
                turns[-1]["content"] += "\n" + content.strip()
            else:
                turns.append({"role": role, "content": content.strip()})
        if self.choice == "none":
            return turns
        functions = [dict(schema.get("function", schema)) for schema in self.schemas]
        for function in functions:
            function.pop("return", None)  # a small model takes it for a parameter
        schemas = "\n".join(map(json.dumps, functions))
        turns[0]["content"] = _TOLD.format(schemas=schemas) + "\n\n" + turns[0]["content"]
        return turns

    def reader(self) -> Reader:
        """What reads an answer."""
        heads = [self._head]
        if self.choice == "none":
            heads = []
        elif self._schema is not None:  # its JSON may begin as a call does
            form = self._form
            calls = [form.begin + name + form.middle for name in self._names]
            heads = [call.partition(_ID)[0] for call in calls]
        whole = self._json or heads != [self._head]
        return Reader(self._form, self._names, heads, whole, self.choice == "required")


class Reader:
    """Reads an answer piece by piece. Made by `Tools`; the grammar has held the text.

    Attributes
    ----------
    content : str
    tool_calls : list of dict
        Those whose arguments are complete.
    """

    def __init__(
        self, form: Form, names: Sequence[str], heads: Sequence[str], whole: bool, begun: bool
    ) -> None:
        self.content = ""
        self.tool_calls: list[dict[str, Any]] = []
        self._heads = tuple(heads)  # with these calls begin
        self._whole = whole  # a call is the whole answer, or stands behind text
        called = f"({'|'.join(map(re.escape, names))})"

        def before_arguments(text: str) -> re.Pattern[str]:
            pattern = re.escape(text) + called + re.escape(form.middle)
            return re.compile(pattern.replace(re.escape(_ID), _IDS))

        self._next: re.Pattern[str] | None = before_arguments(form.begin)
        self._between = None if form.between is None else before_arguments(form.between)
        self._saying = not begun
        self._rest = ""  # of the text, not yet read
        self._call: dict[str, Any] | None = None  # whose arguments come

    def take(self, piece: str) -> list[dict[str, Any]]:
        """Read on; deltas of what has become sure."""
        self._rest += piece
        deltas = self._said(False) if self._saying else []
        while not self._saying:
            if self._call is None:
                found = self._next.match(self._rest) if self._next else None
                if found is None:
                    break
                self._rest = self._rest[found.end() :]
                name = "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(len(_ID)))
                self._call = {
                    "id": name, "type": "function", "function": {"name": found[1], "arguments": ""},
                }  # fmt: skip
                deltas.append(self._delta({**self._call, "function": {**self._call["function"]}}))
            function = self._call["function"]
            whole = function["arguments"] + self._rest
            end, closed = len(whole), False
            if "}" in self._rest:  # parts of an object are none
                with contextlib.suppress(ValueError, RecursionError):
                    end, closed = json.JSONDecoder().raw_decode(whole)[1], True
            if new := whole[len(function["arguments"]) : end]:
                deltas.append(self._delta({"function": {"arguments": new}}))
            function["arguments"], self._rest = whole[:end], whole[end:]
            if not closed:
                break
            self.tool_calls.append(self._call)
            self._call, self._next = None, self._between
        return deltas

    def _delta(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"tool_calls": [{"index": len(self.tool_calls), **call}]}

    def _said(self, last: bool) -> list[dict[str, Any]]:
        """What is text for sure; space before a call is not."""
        rest = self._rest
        if self._whole:  # only at the beginning
            at = 0 if rest.startswith(self._heads) and not self.content else -1
            begins = any(head.startswith(rest) for head in self._heads)
            kept = len(rest) if begins and not self.content else 0
        else:
            [head] = self._heads
            at = rest.find(head)
            kept = max(n for n in range(len(head)) if n == 0 or rest.endswith(head[:n]))
            kept = len(rest) - len(rest[: len(rest) - kept].rstrip())
        if at >= 0:
            self._saying = False
            text, self._rest = rest[:at].rstrip(), rest[at:]
        elif last:
            text, self._rest = rest, ""
        else:
            text, self._rest = rest[: len(rest) - kept], rest[len(rest) - kept :]
        self.content += text
        return [{"content": text}] if text else []

    def end(self) -> list[dict[str, Any]]:
        """No more comes; deltas of what was held back."""
        return self._said(True) if self._saying else []

    def read(self, pieces: Generator[str]) -> Generator[dict[str, Any]]:
        """Deltas of a stream."""
        with contextlib.closing(pieces):
            for piece in pieces:
                yield from self.take(piece)
        yield from self.end()

    def whole(self, text: str, finished: str | None) -> Message:
        """The message of a whole answer."""
        self.take(text)
        self.end()
        return self.message(finished)

    def message(self, finished: str | None) -> Message:
        """What has been read, of an answer that has ended with "stop" or "length", or not yet."""
        calls = list(self.tool_calls)
        content = self.content or (None if calls else "")
        return Message(content, calls, "tool_calls" if calls and finished == "stop" else finished)


def _arguments(where: str, parameters: Any) -> str:
    """The schema of a tool's arguments, as a grammar has it."""
    schema = {} if parameters is None else parameters
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ValueError(f"{where}: parameters must be an object's schema, got {shortened(schema)}")
    schema = json.loads(checked_schema(where, {**schema, "type": "object"}))
    if not schema.keys() & {"$ref", "allOf", "anyOf", "oneOf", "patternProperties"}:
        schema.setdefault("properties", {})
    if not _joined(schema):
        schema = _closed(schema)
    return json.dumps({**schema, "x-guidance": JSON})


def _joined(value: Any) -> bool:
    """Whether some schema consists of several, each of which leaves room for the others."""
    if isinstance(value, list):
        return any(map(_joined, value))
    if not isinstance(value, dict):
        return False
    several = "properties" in value and value.keys() & {"$ref", "anyOf", "oneOf"}
    return "allOf" in value or bool(several) or any(map(_joined, value.values()))


def _closed(schema: Any) -> Any:
    """A schema without properties that it does not name.

    JSON schemas allow any, which small models go on writing until there is no more room.
    """
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            made[key] = {name: _closed(one) for name, one in value.items()}
        elif key in ("prefixItems", "anyOf", "oneOf") and isinstance(value, list):
            made[key] = list(map(_closed, value))
        elif key in ("items", "additionalProperties"):
            made[key] = _closed(value)
    if "properties" in made and "patternProperties" not in made:
        made.setdefault("additionalProperties", False)
    return made


def _pattern(text: str) -> str:
    """A regular expression, as a grammar has it, that matches a text."""
    return re.escape(text).replace("/", r"\/").replace("\\" + "\n", r"\n")
