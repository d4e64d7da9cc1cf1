"""What stands around texts: the ``post_processor`` of a ``tokenizer.json``.

It says which special tokens come before, between and behind one text or a pair, and the type of
each token. All kinds of the `tokenizers` package are read: TemplateProcessing, BertProcessing,
RobertaProcessing, ByteLevel (which adds nothing), and Sequence of at most one that adds something.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from firth.errors import FormatError
from firth.formats.files import PathLike


class Part(NamedTuple):
    """A special token, or a place for a text."""

    sequence: int  # 0 for the first text, 1 for the second, -1 for a special token
    type: int
    id: int = -1  # of the special token


Parts = tuple[Part, ...]


class Template(NamedTuple):
    """What is made of one text and of a pair; ``bare`` is without special tokens."""

    single: Parts
    pair: Parts
    bare_pair: Parts

    def parts(self, pair: bool, special: bool) -> Parts:
        """Those of a text or a pair, with special tokens or without."""
        if not special:
            return self.bare_pair if pair else tuple(p for p in self.single if p.sequence == 0)
        return self.pair if pair else self.single


def specials(parts: Parts) -> int:
    """How many special tokens are added."""
    return sum(part.sequence < 0 for part in parts)


_PLAIN = Template((Part(0, 0),), (Part(0, 0), Part(1, 1)), (Part(0, 0), Part(1, 1)))


def read(settings: Any, path: PathLike | None = None) -> Template:
    """The template that a ``post_processor`` describes; FormatError where it makes no sense."""
    try:
        return _read(settings)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"malformed tokenizer: post_processor: {reason}", path) from None


def _read(settings: Any) -> Template:
    if settings is None:
        return _PLAIN
    kind = settings["type"]
    if kind == "ByteLevel":
        return _PLAIN
    if kind == "Sequence":
        found = [_read(one) for one in settings["processors"]]
        adding = [one for one in found if one is not _PLAIN]
        if len(adding) > 1:
            raise ValueError("a sequence of several that add tokens is not known")
        return adding[0] if adding else _PLAIN
    if kind in ("BertProcessing", "RobertaProcessing"):
        cls, sep = (_number(settings[name][1], f"{name}[1]") for name in ("cls", "sep"))
        start, end = Part(-1, 0, cls), Part(-1, 0, sep)
        single: Parts = (start, Part(0, 0), end)
        if kind == "BertProcessing":
            return Template(single, (*single, Part(1, 1), Part(-1, 1, sep)), _PLAIN.pair)
        return Template(single, (*single, end, Part(1, 0), end), (Part(0, 0), Part(1, 0)))
    if kind == "TemplateProcessing":
        tokens = settings["special_tokens"]
        single, pair = (_parts(settings[name], tokens, name) for name in ("single", "pair"))
        for name, parts, texts in (("single", single, [0]), ("pair", pair, [0, 1])):
            if sorted(part.sequence for part in parts if part.sequence >= 0) != texts:
                raise ValueError(f"{name} does not hold each text once")
        return Template(single, pair, tuple(part for part in pair if part.sequence >= 0))
    raise ValueError(f"type {kind!r} is not known")


def _parts(pieces: Any, tokens: Any, name: str) -> Parts:
    """The parts of a TemplateProcessing."""
    parts = []
    for piece in pieces:
        ((kind, content),) = piece.items()
        type = _number(content["type_id"], f"{name}: type_id")
        if kind == "Sequence":
            parts.append(Part({"A": 0, "B": 1}[content["id"]], type))
        elif kind == "SpecialToken":
            ids = tokens[content["id"]]["ids"]
            parts += [Part(-1, type, _number(i, f"special_tokens[{content['id']!r}]")) for i in ids]
        else:
            raise ValueError(f"{name}: {kind!r} is not known")
    return tuple(parts)


def _number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{name} is {value!r}, not a number from 0 to 2**31 - 1")
    return value
