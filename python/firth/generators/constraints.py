"""Output that keeps to a schema, a pattern, a list or a grammar, whatever the model would say.

llguidance says at each step which ids can come next. JSON is written as ``json.dumps`` writes it,
on one line with a space behind commas and colons, so that a model cannot fill it with spaces.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import shortened
from firth.generators.tokenizer import GeneratorTokenizer
from firth.interrupt import deferred_interrupt
from firth.optional import needs

_LONGEST = 1 << 20  # characters of a schema, a pattern or a grammar
_DEEPEST = 100  # objects within objects of a schema
JSON = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


class Constraints:
    """Makes the constraints of one model; made once, it takes some tenths of a second.

    Parameters
    ----------
    tokenizer : GeneratorTokenizer
    vocabulary : int, optional
        The number of logits, which may be more than the tokens.
    ends : sequence of int, optional
        Ids that end a text; None: the tokenizer's ``eos_token_ids``.

    Raises
    ------
    ImportError
        llguidance is not installed.
    """

    def __init__(
        self,
        tokenizer: GeneratorTokenizer,
        vocabulary: int | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        self._package = needs("llguidance", "constrained output")
        self._vocabulary = len(tokenizer) if vocabulary is None else vocabulary
        ends = list(tokenizer.eos_token_ids if ends is None else ends)
        if not ends:
            raise ValueError("constrained output needs a token that ends a text")
        words = _Vocabulary(tokenizer, self._vocabulary, ends[0])
        self._tokenizer = self._package.LLTokenizer(words, eos_token=ends)
        self._soonest = [
            np.isin(np.arange(self._vocabulary), ends),
            np.array([bool(piece) and not piece.strip(b'"}]') for piece in words.tokens]),
            np.array([piece.startswith(b",") for piece in words.tokens]),
            np.array([len(piece) == 1 and piece.isdigit() for piece in words.tokens]),
        ]
        self._limits = self._package.LLParserLimits(verbose_errors=False)

    def __call__(
        self,
        *,
        json_object: bool = False,
        json_schema: Any = None,
        regex: str | None = None,
        choices: Iterable[str] | None = None,
        grammar: str | None = None,
        tools: str | None = None,
    ) -> Constraint:
        """What one text must keep to; one of the arguments.

        Parameters
        ----------
        json_object : bool
            Any JSON object.
        json_schema : dict, bool, str or class, optional
            A JSON schema, as such, as JSON text, or the Pydantic model that has it. True allows
            any JSON. Keys that ``properties`` does not name may come twice.
        regex : str, optional
            A pattern for the whole text, in the syntax of Rust's regex package.
        choices : iterable of str, optional
            The text is one of these.
        grammar : str, optional
            In llguidance's kind of Lark.
        tools : str, optional
            As ``grammar``: `firth.generators.tools.Tools.grammar`.

        Raises
        ------
        TypeError, ValueError
            It is malformed, matches nothing, never ends, is too deep or too large.
        """
        _check_object(json_object)
        given = {
            "json_object": True if json_object else None,
            "json_schema": json_schema,
            "regex": regex,
            "choices": choices,
            "grammar": grammar,
            "tools": tools,
        }
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            got = " and ".join(named) or "nothing"
            raise ValueError(f"a constraint is one of {', '.join(given)}, got {got}")
        text = getattr(self, f"_{named[0]}")(given[named[0]])
        matcher = self._package.LLMatcher(self._tokenizer, text, log_level=0, limits=self._limits)
        return Constraint(matcher, self._vocabulary, named[0], self._soonest)

    def _json_object(self, _: bool) -> str:
        return self._compiled({"type": "object"})

    def _json_schema(self, given: Any) -> str:
        return self._compiled(schema_of(given))

    def _compiled(self, schema: Any) -> str:
        if isinstance(schema, bool):  # everything, or nothing
            schema = {} if schema else {"not": {}}
        text = checked_schema("json_schema", schema)
        compiled: str = self._package.LLMatcher.grammar_from_json_schema(text, overrides=JSON)
        return compiled

    def _regex(self, regex: str) -> str:
        _check_length("regex", regex)
        compiled: str = self._package.LLMatcher.grammar_from_regex(regex)
        return compiled

    def _choices(self, choices: Iterable[str]) -> str:
        if not isinstance(choices, Iterable):
            raise TypeError(f"choices must be texts, got {shortened(choices)}")
        texts = [choices] if isinstance(choices, str) else list(choices)
        for text in texts:
            if not isinstance(text, str) or not text:
                raise TypeError(f"choices must be texts that are not empty, got {shortened(text)}")
        if not texts:
            raise ValueError("choices must hold at least one text")
        pattern = "|".join(map(re.escape, texts))  # a grammar has 2,000 alternatives at most
        _check_length("choices", pattern)
        compiled: str = self._package.LLMatcher.grammar_from_regex(pattern)
        return compiled

    def _grammar(self, grammar: str) -> str:
        _check_length("grammar", grammar)
        compiled: str = self._package.LLMatcher.grammar_from_lark(grammar)
        return compiled

    _tools = _grammar


def answer_schema(json_object: bool, json_schema: Any) -> Mapping[str, Any] | bool | None:
    """The schema of these two of the arguments of `Constraints`; None: neither is given.

    Raises
    ------
    TypeError, ValueError
        As `schema_of`, or both are given.
    """
    _check_object(json_object)
    if json_schema is None:
        return {"type": "object"} if json_object else None
    if json_object:
        raise ValueError("a constraint is one, got json_object and json_schema")
    return schema_of(json_schema)


def _check_object(json_object: Any) -> None:
    if not isinstance(json_object, bool):
        raise TypeError(f"json_object must be True or False, got {shortened(json_object)}")


def schema_of(given: Any) -> Mapping[str, Any] | bool:
    """The JSON schema of ``json_schema``: as such, as JSON text, or of a Pydantic model.

    Raises
    ------
    TypeError, ValueError
        It is no schema, or False, which matches nothing.
    """
    schema = given
    pydantic = getattr(given, "model_json_schema", None)
    if isinstance(given, type) and callable(pydantic):
        schema = pydantic()
    elif isinstance(given, str):
        _check_length("json_schema", given)
        try:
            schema = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"json_schema is no JSON: {error}") from None
    if not isinstance(schema, (Mapping, bool)):
        kinds = "an object, JSON text of one, or a Pydantic model"
        raise TypeError(f"json_schema must be {kinds}, got {shortened(given)}")
    if schema is False:
        raise ValueError("json_schema is false: it matches no text")
    return schema


class Constraint:
    """What can come next in one text. Made by `Constraints`."""

    def __init__(
        self, matcher: Any, vocabulary: int, name: str, soonest: list[NDArray[np.bool_]]
    ) -> None:
        self._matcher, self._vocabulary, self._name = matcher, vocabulary, name
        self._soonest = soonest
        self._bits = np.zeros((vocabulary + 31) // 32, np.uint32)
        self._check()
        if not self.allowed().any() and not self.is_done:
            raise ValueError(f"{name} matches no text")

    def _check(self) -> None:
        if error := self._matcher.get_error():
            line = " ".join(error.replace("<non-verbose/>", "").split())
            if "NoExtension" in line:
                line = "matches no text"
            raise ValueError(f"{self._name}: {line[:300]}")

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids can come next, shape (vocabulary,).

        Raises
        ------
        ValueError
            What can come takes too long to compute.
        """
        with _undisturbed():
            self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        flags = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        return flags[: self._vocabulary].view(np.bool_)

    def accept(self, token_id: int) -> None:
        """Take the next id.

        Raises
        ------
        ValueError
            It is not allowed here.
        """
        known = 0 <= token_id < self._vocabulary
        if not known or not self._matcher.validate_tokens([token_id]):
            self._check()
            raise ValueError(f"{self._name}: id {token_id} cannot come here")
        self._matcher.consume_token(token_id)
        self._check()

    def forced(self) -> list[int]:
        """The next ids, where only these can come; they are not taken."""
        with _undisturbed():
            ids: list[int] = self._matcher.compute_ff_tokens()
        return ids

    def closing(self) -> NDArray[np.bool_]:
        """As `allowed`, but one id, which ends JSON soon: a quote, a bracket, a comma, a digit."""
        allowed, forced = self.allowed(), self.forced()
        choices = [allowed & some for some in self._soonest]
        best = next((some for some in choices if some.any()), allowed)
        chosen = forced[0] if forced else int(best.argmax())
        only: NDArray[np.bool_] = np.arange(len(allowed)) == chosen
        return only

    def needed(self, most: int) -> int:
        """How many ids `closing` takes to the end, if fewer than ``most``."""
        copy = self.copy()
        for count in range(most):
            if copy.is_complete:
                return count
            copy.accept(int(copy.closing().argmax()))
        return most

    def rollback(self, count: int) -> None:
        """Take back the last ids that were accepted."""
        self._matcher.rollback(count)
        self._check()

    def copy(self) -> Constraint:
        """The same state, to go on in another way."""
        return Constraint(self._matcher.deep_copy(), self._vocabulary, self._name, self._soonest)

    @property
    def is_complete(self) -> bool:
        """Whether the text can end here."""
        return bool(self._matcher.is_accepting())

    @property
    def is_done(self) -> bool:
        """Whether the text is at its end: nothing can come but an id that ends a text."""
        return bool(self._matcher.is_stopped())


class _Vocabulary:
    """The tokens as llguidance asks for them."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: GeneratorTokenizer, vocabulary: int, end: int) -> None:
        control = set(tokenizer.control_ids)
        # Bytes that no other token has: llguidance takes tokens with the same bytes for one.
        self.tokens = [
            b"\xff<%d>" % i if i in control else tokenizer.token_bytes(i) for i in range(vocabulary)
        ]
        self.eos_token_id = end
        self.special_token_ids = [i for i in control if i < vocabulary]
        self._encode: Callable[[str], list[int]] = tokenizer.encode_after

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits: what it raises in `_Vocabulary` would be an error of llguidance."""
    with deferred_interrupt() as interrupted:
        yield
    if interrupted.is_set():
        raise KeyboardInterrupt


def _check_length(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {shortened(text)}")
    if len(text) > _LONGEST:
        raise ValueError(f"{name} has {len(text):,} characters, at most {_LONGEST:,}")


def checked_schema(name: str, schema: Any) -> str:
    """A JSON schema as text.

    Raises
    ------
    ValueError
        It is no JSON, too deep or too long, or requires what has no end; ``name`` is the schema's.
    """
    if _depth(name, schema) > _DEEPEST:
        raise ValueError(f"{name} is nested more than {_DEEPEST} deep")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
    _check_length(name, text)
    if not _ends(schema):
        raise ValueError(f"{name} requires objects within objects without end")
    return text


def _inner(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def _depth(name: str, value: Any) -> int:
    """How deep values are nested, up to one more than may be."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        level = [one for outer in level for one in _inner(outer)]
        if len(level) > _LONGEST:
            raise ValueError(f"{name} has more than {_LONGEST:,} values")
        depth += 1
    return depth


def _ends(root: Mapping[str, Any]) -> bool:
    """Whether some text of finite length keeps to a schema.

    Schemas that are known to have one grow until nothing is added: those that require no other
    ones first, then those that require only these.
    """
    schemas, waiting = [], [root]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, Mapping):
            schemas.append(schema)
        waiting += _inner(schema)
    ending: set[int] = set()

    def ends(schema: Any) -> bool:
        return not isinstance(schema, Mapping) or id(schema) in ending

    def target(reference: Any) -> Any:
        found: Any = root
        for part in str(reference).removeprefix("#").split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, (list, tuple)) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None  # llguidance says that it is missing
        return found

    def required(schema: Mapping[str, Any]) -> list[list[Any]]:
        """Groups of schemas, of each of which one must have an end."""
        groups = [[target(schema["$ref"])]] if "$ref" in schema else []
        for name in ("anyOf", "oneOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                groups.append(schema[name])
        if isinstance(schema.get("allOf"), list):
            groups += [[one] for one in schema["allOf"]]
        if schema.get("type", "object") == "object" and isinstance(schema.get("required"), list):
            properties = schema.get("properties")
            properties = properties if isinstance(properties, Mapping) else {}
            more = schema.get("additionalProperties")
            groups += [[properties.get(str(name), more)] for name in schema["required"]]
        least = schema.get("minItems", 0)
        if schema.get("type", "array") == "array" and isinstance(least, int) and least > 0:
            first = schema.get("prefixItems")
            first = list(first) if isinstance(first, list) else []
            groups += [[one] for one in first[:least]]
            if least > len(first):
                groups.append([schema.get("items")])
        return groups

    needed = [(id(schema), required(schema)) for schema in schemas]
    while True:
        new = {
            key for key, groups in needed
            if key not in ending and all(any(map(ends, group)) for group in groups)
        }  # fmt: skip
        if not new:
            return id(root) in ending
        ending |= new
