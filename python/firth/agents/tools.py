"""Functions that a language model may call: what it sees of them, and how a call is made.

>>> from firth import tool
>>> @tool
... def add(a: int, b: int) -> int:
...     '''The sum of two numbers.'''
...     return a + b
>>> add(1, 2)
3
"""

from __future__ import annotations

import contextvars
import inspect
import json
import queue
import threading
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from firth.arguments import check_real, shortened
from firth.generators.conversation import function_schema
from firth.optional import needs

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TIMEOUT = 30.0  # seconds


@overload
def tool(function: _Function) -> _Function: ...
@overload
def tool(*, timeout: float = ...) -> Callable[[_Function], _Function]: ...
def tool(function: Any = None, *, timeout: float = _TIMEOUT) -> Any:
    """Mark a function as a tool: what a model could not be told of it is an error here.

    Parameters
    ----------
    function : callable
        Every parameter has an annotation that JSON has a type for. The first paragraph of the
        docstring says what it does, lines ``name: ...`` below ``Args:`` describe parameters.
    timeout : float
        Seconds that one call may take when an `Agent` makes it.

    Returns
    -------
    callable
        The function itself, to be called as before.

    Raises
    ------
    TypeError, ValueError
        It is no function, has no docstring, or a parameter without such an annotation.
    """
    check_real("tool: timeout", timeout, 0.0, 86_400.0, above=True)

    def mark(function: Any) -> Any:
        Tool(function)
        function.timeout = timeout
        return function

    return mark if function is None else mark(function)


class Tool:
    """A function as an agent calls it. Made from a function, marked by `tool` or not.

    Attributes
    ----------
    name : str
    schema : dict
        OpenAI's schema of it.
    timeout : float
        Seconds that a call may take.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not inspect.isroutine(function):
            raise TypeError(f"tool: a tool must be a function, got {shortened(function)}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"tool {function.__name__}: must not be async")
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"tool {function.__name__}: must return its result, not yield it")
        self.schema = function_schema(function)
        self.name: str = self.schema["function"]["name"]
        if not self.schema["function"]["description"]:
            raise ValueError(f"tool {self.name}: it needs a docstring, which tells models of it")
        for parameter in inspect.signature(function).parameters.values():
            nameless = (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if parameter.kind in nameless:
                raise ValueError(f"tool {self.name}: calls name arguments, {parameter} has no name")
        self.timeout: float = getattr(function, "timeout", _TIMEOUT)
        self._function = function
        self._checked: Any = None

    def __call__(self, arguments: str) -> str:
        """Call it with the arguments that a model wrote.

        Parameters
        ----------
        arguments : str
            A JSON object.

        Returns
        -------
        str
            What it returned: a text, or else its JSON.

        Raises
        ------
        ValueError
            The arguments do not fit; the message is for the model.
        TimeoutError
            It took longer than its time. Its thread goes on until it ends: Python cannot stop it.
        Exception
            What the function raised.
        """
        given = self._check(arguments)
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        context = contextvars.copy_context()  # what the caller has chosen holds in the thread too

        def call() -> None:
            try:
                answers.put((context.run(self._function, **given), None))
            except BaseException as error:  # whatever it is, the caller gets it
                answers.put((None, error))

        threading.Thread(target=call, daemon=True, name=f"tool {self.name}").start()
        try:
            answer, error = answers.get(timeout=self.timeout)
        except queue.Empty:
            raise TimeoutError(f"{self.name} took longer than {self.timeout:g} s") from None
        if error is not None:
            raise error
        return answer if isinstance(answer, str) else json.dumps(answer, default=str)

    def _check(self, arguments: str) -> dict[str, Any]:
        """Arguments of the types that the function has."""
        pydantic = needs("pydantic", "calls of tools")
        if self._checked is None:

            def given(**arguments: Any) -> dict[str, Any]:
                return arguments

            given.__signature__ = inspect.signature(self._function)  # type: ignore[attr-defined]
            hints = typing.get_type_hints(self._function)
            given.__annotations__ = {**hints, "return": Any}
            self._checked = pydantic.validate_call(given)
        try:
            values = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.name}: the arguments are no JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(
                f"{self.name}: the arguments must be an object, got {shortened(values)}"
            )
        try:
            checked: dict[str, Any] = self._checked(**values)
        except pydantic.ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
                for one in error.errors(include_url=False, include_input=False)
            )
            raise ValueError(f"{self.name}: {wrong}") from None
        return checked


def tools_by_name(functions: Iterable[Any]) -> dict[str, Tool]:
    """Tools of functions, by their names.

    Parameters
    ----------
    functions : iterable of function
        As `Agent` takes them.

    Returns
    -------
    dict of str to Tool

    Raises
    ------
    ValueError
        Two tools have one name.
    """
    found: dict[str, Tool] = {}
    for function in functions:
        one = Tool(function)
        if one.name in found:
            raise ValueError(f"Agent: there are two tools {one.name}")
        found[one.name] = one
    return found
