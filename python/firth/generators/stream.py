"""From ids to text as they come: whole characters, and no part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from firth.arguments import shortened
from firth.generators.marian_tokenizer import MarianTokenizer
from firth.generators.tokenizer import GeneratorTokenizer

FinishReason = Literal["stop", "length"]


class Stream:
    r"""The text of one answer, piece by piece.

    The pieces together are ``tokenizer.decode`` of all ids, up to the stop string that is complete
    first, without a last character that is not whole. Text is held back while it is part of a
    character, or could become a stop string.

    Parameters
    ----------
    tokenizer : GeneratorTokenizer or MarianTokenizer
    stop : str or sequence of str
        Texts that end the answer and do not belong to it. They may span tokens.
    skip_special_tokens : bool
        Whether control tokens have no text.
    ends : collection of int, optional
        Ids that end the answer; None: the tokenizer's ``eos_token_ids``.
    until : str, optional
        Behind this text stop strings do not count.

    Attributes
    ----------
    text : str
        What was returned so far.
    finish_reason : "stop", "length" or None
        None until the answer is at an end: "stop" after a stop string or an id that ends a turn.

    Examples
    --------
    ::

        stream = Stream(tokenizer, stop=["\n"])
        for token_id in ids:
            print(stream.add(token_id), end="")
            if stream.finish_reason:
                break
        print(stream.end())
    """

    def __init__(
        self,
        tokenizer: GeneratorTokenizer | MarianTokenizer,
        stop: str | Sequence[str] = (),
        skip_special_tokens: bool = True,
        ends: Collection[int] | None = None,
        until: str = "",
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = [_Stop(text) for text in _checked(stop)]
        self._until = _Stop(until) if until else None
        self._skipped = frozenset(tokenizer.control_ids if skip_special_tokens else ())
        self._ends = frozenset(tokenizer.eos_token_ids if ends is None else ends)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._held = ""
        self._given: list[str] = []
        self.finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        """What was returned so far."""
        return "".join(self._given)

    def add(self, token_id: int) -> str:
        """Take the next id and return the text that is now sure; often none, or several characters.

        An id that ends a turn ends the answer and has no text.

        Raises
        ------
        ValueError
            The answer is at an end already.
        """
        if self.finish_reason is not None:
            raise ValueError(f"add: the answer has ended with {self.finish_reason!r}")
        if token_id in self._ends:
            return self.end("stop")
        if token_id in self._skipped:
            return ""
        piece = self._tokenizer.token_bytes(token_id)
        if piece and not self._begun:
            piece, self._begun = self._tokenizer.first_piece(piece), True
        text = self._decoder.decode(piece)
        waiting = self._decoder.getstate()[0]
        if waiting[:1] == b"\xed" and waiting[1:2] >= b"\xa0":
            # Python waits for the third byte of a surrogate; no character begins so.
            text += "\ufffd" * len(waiting)
            self._decoder.reset()
        return self._take(text, False)

    def end(self, reason: FinishReason = "length") -> str:
        """Return what was held back; nothing after a stop string.

        Parameters
        ----------
        reason : "stop" or "length"
            Why no more ids come, where no stop string was met.
        """
        if self.finish_reason is not None:
            return ""
        rest = self._take("", True)
        self.finish_reason = self.finish_reason or reason
        return rest

    def _take(self, new: str, last: bool) -> str:
        """Put new text behind what is held, look for stop strings, return what is sure."""
        for i, character in enumerate(new):
            if self._until and self._until.add(character):
                self._until, self._stops = None, []
            complete = [stop.length for stop in self._stops if stop.add(character)]
            if complete:
                self.finish_reason = "stop"
                text = self._held + new[: i + 1]
                return self._give(text[: len(text) - max(complete)])
        text = self._held + new
        held = 0 if last else max((stop.matched for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return self._give(text[: len(text) - held])

    def _give(self, text: str) -> str:
        self._given.append(text)
        return text


class _Stop:
    """How much of a stop string a text ends with, character by character (Knuth, Morris, Pratt)."""

    def __init__(self, text: str) -> None:
        self._text, self.length, self.matched = text, len(text), 0
        self._shorter = [0]  # the longest proper beginning that text[: i + 1] ends with
        for character in text[1:]:
            self._shorter.append(self._next(self._shorter[-1], character))

    def _next(self, matched: int, character: str) -> int:
        while matched and self._text[matched] != character:
            matched = self._shorter[matched - 1]
        return matched + (self._text[matched] == character)

    def add(self, character: str) -> bool:
        """Whether the text now ends with the whole string; nothing may be added after that."""
        self.matched = self._next(self.matched, character)
        return self.matched == self.length


def _checked(stop: object) -> list[str]:
    texts: list[Any] = (
        list(stop) if isinstance(stop, Iterable) and not isinstance(stop, str) else [stop]
    )
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ValueError(f"stop must be strings that are not empty, got {shortened(text)}")
    return texts
