"""Chat templates: conversations to prompts, by the Jinja template that comes with a model.

A template is a program from a file, so it runs in jinja2's sandbox, without what could write or
allocate: a list of filters and methods is allowed, every loop, call and value is counted, and
values have a size. One that asks for more is refused with one line.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.optional import needs

_STEPS = 1_000_000  # loops, calls and values; templates of models need some hundreds
_SECONDS = 5.0
_SIZE = 1 << 20  # characters of a value, besides eight times the conversation
_LONGEST_TEMPLATE = 1 << 18

_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
    "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map",
    "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select",
    "selectattr", "sort", "string", "title", "trim", "unique", "upper", "wordcount",
)  # fmt: skip
_METHODS = frozenset((
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii",
    "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join",
    "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase",
    "title", "upper",
))  # fmt: skip


class ChatTemplate:
    """A template of prompts.

    Parameters
    ----------
    source : str
        Jinja as transformers takes it: with ``tojson``, ``raise_exception``, ``strftime_now``,
        ``break`` and ``continue``, and ``generation`` blocks.
    path : path-like, optional
        The file it is from, for messages.

    Raises
    ------
    FormatError
        It is no Jinja, or uses what is not allowed.
    ImportError
        jinja2 is not installed.
    """

    def __init__(self, source: str, path: PathLike | None = None) -> None:
        self.source, self.path = source, path
        if len(source) > _LONGEST_TEMPLATE:
            raise self._error(f"has {len(source):,} characters, at most {_LONGEST_TEMPLATE:,}")
        needs("jinja2", "a chat template")
        from importlib.metadata import version

        if [int(part) for part in version("jinja2").split(".")[:3]] < [3, 1, 6]:
            raise ImportError("a chat template needs jinja2 3.1.6: older sandboxes can be left")
        import jinja2

        try:
            self._code = _sandbox()(_SIZE).compile(source)
        except jinja2.TemplateSyntaxError as error:
            raise self._error(f"line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise self._error(f"cannot be compiled: {_line(error)}") from None

    def takes_parts(self, **variables: Any) -> bool:
        """Whether a content may be a list of parts, whose texts the template joins itself."""
        part = {"type": "text", "text": "words of a part"}
        try:
            prompt = self.render([{"role": "user", "content": [part]}], **variables)
        except ValueError:
            return False
        return part["text"] in prompt and "'type'" not in prompt and '"type"' not in prompt

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt of a conversation.

        Parameters
        ----------
        messages : sequence of dict
            As `conversation.checked_messages` returns them.
        tools : sequence of dict, optional
            As `conversation.tool_schemas` returns them.
        add_generation_prompt : bool
            Whether the prompt ends where the assistant begins to speak.
        **variables
            What else the template shall know: ``bos_token``, ``enable_thinking``, ...

        Raises
        ------
        FormatError
            The template takes too long or makes too much.
        ValueError
            It refuses the conversation, or fails with it.
        """
        given = {
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
            **variables,
        }
        sandbox = _sandbox()
        environment = sandbox(_SIZE)
        try:
            environment.most += 8 * environment.size(given)
            template = environment.template_class.from_code(
                environment, self._code, environment.make_globals(None)
            )
            text: str = template.render(given)
        except _ExcessError as error:
            raise self._error(str(error)) from None
        except Exception as error:
            raise ValueError(f"{self._name}: {_line(error)}") from None
        return text

    @property
    def _name(self) -> str:
        return "chat template" if self.path is None else f"{self.path}: chat template"

    def _error(self, problem: str) -> FormatError:
        return FormatError(f"chat template {problem}", self.path)


class _ExcessError(Exception):
    """A template asks for more than it may."""


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _dumped(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=None if indent is None else min(int(indent), 100),
        separators=separators,
        sort_keys=sort_keys,
    )


@functools.cache
def _sandbox() -> Any:
    """The class of environments, made where jinja2 is known to be installed.

    An environment is for one rendering: it counts.
    """
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def refuse(message: object) -> None:
        raise jinja2.TemplateError(str(message))

    class Namespace(jinja2.utils.Namespace):
        def __repr__(self) -> str:  # that of jinja2 grows with what refers to what
            return "<namespace>"

    class Generation(jinja2.ext.Extension):
        """Blocks around what the assistant says, which mean something in training only."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    class Counting(NodeTransformer):
        """Loops and what makes values go through the environment."""

        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = self.through("counted", node.iter)
            return node

        def visit_value(self, node: Any) -> Any:
            self.generic_visit(node)
            if getattr(node, "ctx", "load") != "load":
                return node
            return self.through("measured", node)

        visit_Concat = visit_List = visit_Tuple = visit_Dict = visit_value

        def visit_Getitem(self, node: Any) -> Any:
            if isinstance(node.arg, nodes.Slice):
                return self.visit_value(node)
            return self.generic_visit(node)

        def through(self, name: str, node: Any) -> Any:
            method = nodes.EnvironmentAttribute(name, lineno=node.lineno)
            return nodes.Call(method, [node], [], None, None, lineno=node.lineno)

    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

        def __init__(self, most: int) -> None:
            super().__init__(
                trim_blocks=True,
                lstrip_blocks=True,
                optimized=False,  # constants are counted, too
                extensions=[Generation, jinja2.ext.loopcontrols],
            )
            self.most, self.steps, self.end = most, 0, time.monotonic() + _SECONDS
            self.sizes: dict[int, tuple[Any, int]] = {}
            self.filters = {name: self.guarded(name, self.filters[name]) for name in _FILTERS}
            self.filters["tojson"] = self.guarded("tojson", _dumped)
            self.globals = {
                "range": self.globals["range"],
                "dict": dict,
                "namespace": Namespace,
                "raise_exception": refuse,
                "strftime_now": lambda form: datetime.datetime.now().strftime(form),
            }

        def _parse(self, source: str, name: Any, filename: Any) -> Any:
            return Counting().visit(super()._parse(source, name, filename))

        # Counting

        def charge(self) -> None:
            self.steps += 1
            if self.steps > _STEPS:
                raise _ExcessError(f"takes more than {_STEPS:,} steps")
            if not self.steps % 64 and time.monotonic() > self.end:
                raise _ExcessError(f"takes more than {_SECONDS:g} s")

        def counted(self, values: Any) -> Iterator[Any]:
            for value in values:
                self.charge()
                yield value

        def bound(self, size: int) -> None:
            if size > self.most:
                raise _ExcessError(f"makes a value of more than {self.most:,} characters")

        def measured(self, value: Any) -> Any:
            self.charge()
            self.bound(self.size(value))
            return value

        def size(self, value: Any) -> int:
            """Characters that a value has when it is written; lists are looked at once."""
            if isinstance(value, str):
                return len(value)
            if not isinstance(value, (list, tuple, dict)):
                return 1
            known = self.sizes.get(id(value))
            if known is not None and known[0] is value:
                return known[1]
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            size = 1 + sum(self.size(part) + 1 for part in parts)
            self.sizes[id(value)] = value, size
            return size

        # What makes values

        def concat(self, parts: Iterable[str]) -> str:
            kept, size = [], 0
            for part in parts:
                size += len(part)
                self.bound(size)
                kept.append(part)
            return "".join(kept)

        def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def run(*arguments: Any, **named: Any) -> Any:
                self.charge()
                given = [*arguments, *named.values()]
                texts = [one for one in given if isinstance(one, str)]
                if name == "replace" and len(texts) > 2:
                    self.check_replace(*texts[:3])
                elif name == "join":
                    arguments = tuple(
                        list(self.counted(one)) if isinstance(one, types.GeneratorType) else one
                        for one in arguments
                    )
                    self.check_join(texts, arguments)
                elif name == "format":
                    self.check_format(*texts[:1])
                elif name == "indent" and any(type(one) is int and one > 1000 for one in given):
                    raise _ExcessError("indents by more than 1,000 spaces")
                return self.measured(function(*arguments, **named))

            return run

        def check_replace(self, text: str, old: str, new: str) -> None:
            self.bound(len(text) + (text.count(old) if old else len(text) + 1) * len(new))

        def check_format(self, text: str = "") -> None:
            if re.search(r"\d{4}|\*", text):
                raise _ExcessError("formats with a width of four digits or more")

        def check_join(self, texts: Sequence[str], given: Sequence[Any]) -> None:
            for values in given:
                if isinstance(values, (str, list, tuple, dict)):
                    between = max((len(text) for text in texts if text is not values), default=0)
                    self.bound(self.size(values) + len(values) * between)

        def call(__self, __context: Any, __obj: Any, *arguments: Any, **named: Any) -> Any:
            owner = getattr(__obj, "__self__", None)
            if owner is not __self:
                __self.charge()
            if isinstance(owner, str):
                name = __obj.__name__
                if name not in _METHODS:
                    raise jinja2.TemplateError(f"str.{name} is not allowed")
                if name == "replace" and len(arguments) > 1:
                    __self.check_replace(owner, *arguments[:2])
                elif name == "join":
                    arguments = ([*__self.counted(arguments[0])],)
                    __self.check_join([owner], arguments)
            elif isinstance(owner, (int, float, bytes)):
                raise jinja2.TemplateError(f"{type(owner).__name__} has no methods here")
            result = super().call(__context, __obj, *arguments, **named)
            return result if owner is __self else __self.measured(result)

        def wrap_str_format(self, value: Any) -> Any:
            if super().wrap_str_format(value) is not None:  # it would have any width
                raise jinja2.TemplateError("str.format is not allowed")
            return None

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "*":
                for one, other in ((left, right), (right, left)):
                    if isinstance(one, (str, list, tuple)) and isinstance(other, int):
                        self.bound(self.size(one) * max(other, 0))
            if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
                bits = left.bit_length(), right.bit_length()
                power = operator == "**" and right > 0
                if (bits[0] * min(right, 1 << 20) if power else sum(bits)) > 4096:
                    raise _ExcessError("computes a number of more than 4,096 bits")
            if operator == "%" and isinstance(left, str):
                self.check_format(left)
            return self.measured(super().call_binop(context, operator, left, right))

    return Environment
