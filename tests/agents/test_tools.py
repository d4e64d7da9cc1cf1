"""Tools: what models see of a function, and calls with what a model wrote."""

from __future__ import annotations

import contextvars
import json
import math
import threading
import time
from typing import Any, Literal

import pytest

import firth
from firth.agents import calculator, document_search, similar_words, tool
from firth.agents.tools import Tool

pytest.importorskip("pydantic")


@tool
def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> dict[str, Any]:
    """The weather of a city.

    Args:
        city: its name
    """
    return {"city": city, "days": days, "unit": unit}


def test_a_tool_is_still_the_function():
    assert weather("Rome") == {"city": "Rome", "days": 1, "unit": "C"}
    assert weather.__name__ == "weather"


def test_schema():
    function = Tool(weather).schema["function"]
    assert function["name"] == "weather"
    assert function["description"] == "The weather of a city."
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "its name"},
            "days": {"type": "integer"},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city"],
    }


def test_a_call_has_the_types_of_the_function():
    assert json.loads(Tool(weather)('{"city": "Rome", "days": "3"}')) == {
        "city": "Rome", "days": 3, "unit": "C",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{}", "city: "),
        ('{"city": "Rome", "days": "many"}', "days: "),
        ('{"city": "Rome", "unit": "K"}', "unit: "),
        ('{"city": "Rome", "wind": 1}', "wind: "),
        ("[1]", r"must be an object, got \[1\]"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_arguments_that_do_not_fit(arguments, says):
    with pytest.raises(ValueError, match=f"^weather: .*{says}"):
        Tool(weather)(arguments)


def test_names_that_pydantic_has_for_itself():
    @tool
    def convert(json: str, schema: int, copy: bool = False) -> str:
        """Converts."""
        return f"{json} {schema} {copy}"

    assert Tool(convert)('{"json": "a", "schema": 1, "copy": true}') == "a 1 True"


def test_what_a_tool_raises_comes_through():
    @tool
    def fails(n: int) -> int:
        """Fails."""
        return 1 // n

    with pytest.raises(ZeroDivisionError):
        Tool(fails)('{"n": 0}')


def test_a_call_that_takes_too_long():
    over = threading.Event()

    @tool(timeout=0.05)
    def waits() -> str:
        """Waits."""
        over.wait(5)
        return "late"

    begin = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"waits took longer than 0\.05 s"):
        Tool(waits)("{}")
    assert time.perf_counter() - begin < 4
    over.set()


def test_a_call_sees_the_context_of_its_caller():
    chosen: contextvars.ContextVar[str] = contextvars.ContextVar("chosen")
    chosen.set("mine")

    @tool
    def asks() -> str:
        """Asks."""
        return chosen.get("none")

    assert Tool(asks)("") == "mine"


def test_functions_that_are_no_tools():
    with pytest.raises(ValueError, match="parameter x has no annotation"):

        @tool
        def untyped(x):
            """Does."""

    with pytest.raises(ValueError, match="tool silent: it needs a docstring"):

        @tool
        def silent(x: int) -> None: ...

    with pytest.raises(TypeError, match="must return its result, not yield it"):

        @tool
        def yields(x: int):
            """Yields."""
            yield x

    with pytest.raises(ValueError, match=r"calls name arguments, \*\*more: 'int' has no name"):

        @tool
        def takes_more(**more: int) -> None:
            """Takes more."""

    with pytest.raises(ValueError, match="calls name arguments"):

        @tool
        def positional(x: int, /) -> None:
            """Does."""

    with pytest.raises(TypeError, match="must not be async"):

        @tool
        async def later() -> None:
            """Does."""

    with pytest.raises(TypeError, match="must be a function, got 3"):
        tool(3)
    with pytest.raises(ValueError, match="tool: timeout must be a number above 0"):
        tool(timeout=0.0)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(3 + 4) * 2 ^ 10", "7168"),
        ("2 ** 100", str(2**100)),
        ("7 // 2 + 7 % 2", "4"),
        ("-3 + +2", "-1"),
        ("6 × 7 ÷ 2", "21"),
        ("sqrt(2)", str(math.sqrt(2))),
        ("max(1, 2, 3) - min(4, 5)", "-1"),
        ("round(pi, 2)", "3.14"),
        ("1 / 3", str(1 / 3)),
        ("2 ^ -1", "0.5"),
        ("10.0 ^ 15", "1000000000000000"),
        ("10.0 ^ 300", "1e+300"),
    ],
)
def test_calculator(expression, value):
    assert calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')", "().__class__", "x", "open('a')", "[1]", "'a' * 3", "1 if 2 else 3",
        "lambda: 1", "True", "1 < 2", "f'{1}'", "", "1 +", "1j", "sqrt", "sqrt(x=1)", "sqrt(-1)",
        "sqrt('a')", "1 / 0", "9 ** 9 ** 9", "10 ** 1300 * 10 ** 1300", "(-8) ^ (1 / 3)", "1e999",
        "exp(1000)", "1" * 501, "sqrt(1, 2)",
    ],
)  # fmt: skip
def test_what_the_calculator_refuses(expression):
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="calculator"):
        calculator(expression)
    assert time.perf_counter() - begin < 1


def test_search_of_documents_as_a_tool():
    class Knowledge:
        def search(self, query, k):
            passage = type("Passage", (), {"document": "a.txt", "text": f"{query} {k}"})
            return [passage, passage]

    found = Tool(document_search(Knowledge(), k=2))('{"query": "where"}')
    assert found == "[1] a.txt:\nwhere 2\n\n[2] a.txt:\nwhere 2"
    with pytest.raises(ValueError, match="document_search: k must be a whole number from 1"):
        document_search(Knowledge(), k=0)


def test_similar_words_as_a_tool():
    vectors = firth.KeyedVectors(2)
    vectors.add_vectors(["king", "queen", "bread"], [[1, 0], [0.9, 0.1], [0, 1]])
    similar = Tool(similar_words(vectors, n=2))
    assert similar('{"word": "king"}') == "queen, bread"
    with pytest.raises(ValueError, match="no vector of 'rye'"):
        similar('{"word": "rye"}')
