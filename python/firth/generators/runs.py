"""Continuations on their way: what chooses tokens, what is made of them, what goes on together."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firth.generators.constraints import Constraint
from firth.generators.decoding import Decoder, Text
from firth.generators.sampling import Logprob, Sampler
from firth.generators.sampling import logprobs as of_row
from firth.generators.stream import Stream
from firth.generators.tools import Message, Reader


@dataclass
class Generation:
    """One text that a model has written.

    Attributes
    ----------
    text : str
        Without the stop string or the token that ended it.
    ids : list of int
        Tokens, with the one that ended it.
    finish_reason : "stop" or "length"
    logprobs : list of float
        Of the logarithms of the tokens' probabilities, where they were asked for.
    top_logprobs : list of lists of Logprob
        The most probable tokens at each place.
    prompt_tokens, reused_tokens : int
        Tokens of the prompt, and those of them that another call had computed.
    message : Message, optional
        The answer where there are tools; then ``text`` is as the model has written it.
    """

    text: str
    ids: list[int]
    finish_reason: str
    logprobs: list[float]
    top_logprobs: list[list[Logprob]]
    prompt_tokens: int
    reused_tokens: int
    message: Message | None = None


class Run:
    """One continuation: what chooses its tokens, and what is made of them.

    Made by `CausalLM.generate` with ``return_runs``; a `Batch` goes on with it.

    Attributes
    ----------
    ids : list of int
        The prompt.
    text : Text or None
        The tokens so far, once it has joined a batch.
    reader : Reader or None
        What reads the text, where there are tools.
    ends : set of int
        Tokens that end it.
    top : int or None
        How many of the most probable tokens are kept for each place; None: no probabilities.
    logprobs, top_logprobs : lists
        As in `Generation`, where they were asked for.
    """

    def __init__(
        self,
        ids: list[int],
        most: int,
        sampler: Sampler,
        stream: Stream,
        ends: frozenset[int],
        constraint: Constraint | None,
        top: int | None,
        reader: Reader | None,
        guesses: bool,
        reuse: bool,
    ) -> None:
        self.ids, self.most, self.stream = ids, most, stream
        self.text: Text | None = None
        self.reader, self.guesses, self.reuse = reader, guesses, reuse
        self._left, self._look_at, self._closing = most, most // 2, False
        self._sampler, self.ends, self._constraint, self.top = sampler, ends, constraint, top
        self.logprobs: list[float] = []
        self.top_logprobs: list[list[Logprob]] = []
        self._sure = ""

    def choose(self, row: NDArray[np.float32]) -> tuple[int, str | None]:
        """The next token by the scores (V,) of all, and "stop" where it ends the text."""
        allowed = None
        if self._constraint:
            short = self._is_short(self._constraint)
            allowed = self._constraint.closing() if short else self._constraint.allowed()
        self._left -= 1
        chosen = self._sampler(row, allowed)
        if self.top is not None:
            value, most = of_row(row, chosen, self.top)
            self.logprobs.append(value)
            self.top_logprobs.append(most)
        self._sure += self.stream.add(chosen)
        if self._constraint and chosen not in self.ends:
            self._constraint.accept(chosen)
            if self._constraint.is_done:
                return chosen, "stop"
        return chosen, self.stream.finish_reason

    def _is_short(self, constraint: Constraint) -> bool:
        """Whether a call must come to its end, since few tokens are left."""
        if self.reader and not self._closing and self._left <= self._look_at:
            if constraint.is_complete:  # text, which can end anywhere
                return False
            needed = constraint.needed(self._left)
            self._closing = needed + needed // 4 + 8 >= self._left
            self._look_at = (needed + self._left) // 2
        return self._closing

    def taken(self) -> str:
        """The text that has become sure since the last call.

        Raises
        ------
        Exception
            What has ended this run, such as a constraint that takes too long.
        """
        if self.text and self.text.error:
            raise self.text.error
        piece, self._sure = self._sure, ""
        return piece

    def end(self) -> str:
        """The rest of the text."""
        return self.taken() + self.stream.end(cast(Any, cast(Text, self.text).finished))

    def result(self, as_ids: bool, whole: bool) -> Any:
        """What `CausalLM.generate` returns for it."""
        text = cast(Text, self.text)
        new = text.ids[text.prompt :]
        message = None
        if self.reader:
            message = self.reader.whole(self.stream.text, text.finished)
        if whole:
            return Generation(
                self.stream.text,
                new,
                cast(str, text.finished),
                self.logprobs,
                self.top_logprobs,
                text.prompt,
                text.reused,
                message,
            )
        if as_ids:
            return new
        return self.stream.text if message is None else message


class Batch:
    """Runs that go on together. Made by `CausalLM.batch`.

    They join and leave between steps, and each has the text that it would have alone.

    Attributes
    ----------
    runs : list of Run
        Those that have joined and not left.
    """

    def __init__(self, decoder: Decoder, lock: AbstractContextManager[Any]) -> None:
        self.runs: list[Run] = []
        self._decoder, self._lock = decoder, lock

    def join(self, run: Run) -> None:
        """Begin with a run."""
        with self._lock:
            run.text = self._decoder.start(
                run.ids, run.choose, run.most, guesses=run.guesses, reuse=run.reuse
            )
        self.runs.append(run)

    def step(self) -> bool:
        """Give each run that has not ended what comes next; False where all have."""
        going = [run.text for run in self.runs if run.text and not run.text.finished]
        if going:
            with self._lock:
                self._decoder.step(going)
        return bool(going)

    def leave(self, run: Run) -> None:
        """End with a run. What was computed is kept for texts that begin alike."""
        self.runs.remove(run)
        if run.text and run.reuse:
            with self._lock:
                self._decoder.keep(run.text.cache)


class Streamed:
    """A text as the model writes it: an iterator of str. Made by `CausalLM.generate`.

    With tools it is one of dict, the ``delta`` of each chunk of OpenAI's API: ``{"content": ...}``,
    or ``{"tool_calls": [...]}`` with a call's index, id and name, then with parts of its arguments.

    Attributes
    ----------
    text : str
        What is sure so far, as the model has written it.
    message : Message or None
        The same where there are tools.
    prompt_tokens, reused_tokens, new_tokens : int
        Those of the prompt, those of them that another call had computed, those written so far.
    finish_reason : "stop", "length" or None
        None until the end.
    """

    def __init__(self, run: Run, pieces: Generator[str]) -> None:
        self._run = run
        self._pieces: Generator[Any] = run.reader.read(pieces) if run.reader else pieces
        self.prompt_tokens = len(run.ids)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(piece for piece in self._pieces if piece)

    def close(self) -> None:
        """Write no more. What the model has computed is kept for texts that begin alike."""
        self._pieces.close()

    @property
    def text(self) -> str:
        """What is sure so far, as the model has written it: calls of tools, too."""
        return self._run.stream.text

    @property
    def message(self) -> Message | None:
        """What is read so far as a `Message`, where there are tools; else None.

        Its ``finish_reason`` is None before the end.
        """
        return self._run.reader.message(self.finish_reason) if self._run.reader else None

    @property
    def reused_tokens(self) -> int:
        """How many tokens of the prompt another call had computed; 0 before the first piece."""
        return self._run.text.reused if self._run.text else 0

    @property
    def new_tokens(self) -> int:
        """How many tokens are written, with one that ended the text; 0 before the first piece."""
        return len(self._run.text.ids) - self.prompt_tokens if self._run.text else 0

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "stop", "length", or "error" after an exception; None before."""
        return self._run.text.finished if self._run.text else None
