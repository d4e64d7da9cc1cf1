"""Tools that come with firth: a calculator, search in documents, similar words."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from firth.agents.tools import tool
from firth.arguments import check_whole

if TYPE_CHECKING:
    from firth.rag import KnowledgeBase
    from firth.words import KeyedVectors

_LONGEST = 500  # characters of an expression
_MOST_BITS = 4096  # of a whole number
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(math, name)
    for name in ("acos", "asin", "atan", "ceil", "cos", "degrees", "exp", "floor", "gcd", "hypot",
                 "lcm", "log", "log10", "log2", "radians", "sin", "sqrt", "tan")
} | {"abs": abs, "max": max, "min": min, "round": round}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


@tool(timeout=5.0)
def calculator(expression: str) -> str:
    """Compute an arithmetic expression, such as (3 + 4) * 2 ^ 10 or sqrt(2) / 3.

    Args:
        expression: numbers, + - * / // % ^, brackets, functions such as sqrt, log, sin, pi and e
    """
    if len(expression) > _LONGEST:
        raise ValueError(f"calculator: an expression has at most {_LONGEST} characters")
    text = expression.translate(str.maketrans("×÷−·", "*/-*")).replace("^", "**").strip()
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except SyntaxError:
        raise ValueError(f"calculator: {expression!r} is no arithmetic expression") from None
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"calculator: {expression!r}: {error}") from None
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value) if whole else value)


def _value(node: ast.AST) -> int | float:
    """Of a part of an expression; nothing but numbers, operators and the functions above."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _bounded(_OPERATORS[type(node.op)](_value(node.operand)))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _OPERATORS:
            return _bounded(_OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            known = ", ".join(sorted(_FUNCTIONS))
            raise ValueError(f"calculator: no function {node.func.id}, there are {known}")
        given = list(map(_value, node.args))
        try:
            return _bounded(_FUNCTIONS[node.func.id](*given))
        except (TypeError, ValueError) as error:
            raise ValueError(f"calculator: {node.func.id}: {error}") from None
    raise ValueError(f"calculator: {ast.unparse(node)!r} is no arithmetic")


def _power(base: int | float, exponent: int | float) -> int | float:
    bits = base.bit_length() if isinstance(base, int) else 0
    if isinstance(exponent, int) and bits * exponent > _MOST_BITS:
        raise OverflowError("the number has too many digits")
    return _bounded(base**exponent)


def _bounded(value: Any) -> int | float:
    """A real number that is not too long to print."""
    if isinstance(value, complex):
        raise ArithmeticError("the result is no real number")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise OverflowError("the number has too many digits")
    if not math.isfinite(value):
        raise OverflowError("the number is too large")
    found: int | float = value
    return found


def document_search(knowledge_base: KnowledgeBase, k: int = 5) -> Callable[[str], str]:
    """A tool that searches a knowledge base.

    Parameters
    ----------
    knowledge_base : KnowledgeBase
    k : int
        Passages that a search returns, at most.

    Returns
    -------
    function
        Of a query: the passages, best first, numbered, each behind the name of its document.
    """
    check_whole("document_search: k", k, 1)

    @tool
    def search_documents(query: str) -> str:
        """Search the documents; returns the passages that fit best, each with its file.

        Args:
            query: what to look for, in words
        """
        found = knowledge_base.search(query, k)
        return "\n\n".join(f"[{i}] {one.document}:\n{one.text}" for i, one in enumerate(found, 1))

    return search_documents


def similar_words(vectors: KeyedVectors, n: int = 10) -> Callable[[str], str]:
    """A tool that tells similar words.

    Parameters
    ----------
    vectors : KeyedVectors
    n : int
        Words that it tells, at most.

    Returns
    -------
    function
        Of a word: those whose vectors have the largest cosine with its own, separated by commas.
        ValueError for a word without a vector.
    """
    check_whole("similar_words: n", n, 1)

    @tool
    def similar_words(word: str) -> str:
        """Words that are used like a word, the most similar first.

        Args:
            word: a single word
        """
        if word not in vectors:
            raise ValueError(f"similar_words: no vector of {word!r}")
        return ", ".join(other for other, _ in vectors.most_similar(word, topn=n))

    return similar_words
