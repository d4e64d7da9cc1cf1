"""Encoder-decoders as people use them: a text to its translation or summary.

>>> from firth import Seq2SeqLM
>>> model = Seq2SeqLM.from_pretrained("Helsinki-NLP/opus-mt-en-de")    # doctest: +SKIP
>>> model.generate(["My name is Ann.", "How are you?"])                # doctest: +SKIP
['Mein Name ist Ann.', 'Wie geht es Ihnen?']

S = tokens of the text that is read, T = of the one that is written, D = width, V = tokens there
are.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_whole, shortened
from firth.formats.files import PathLike
from firth.generators import folder_tokenizer, generation_config, translation
from firth.generators.beams import Beams, Continuation
from firth.generators.marian_tokenizer import MarianTokenizer
from firth.generators.sampling import Sampler, Sampling
from firth.generators.stream import Stream
from firth.generators.tokenizer import GeneratorTokenizer
from firth.transformer.cached import Cache
from firth.transformer.where import folder_of

_NEW_TOKENS = 256  # at most, where neither the caller nor the model says how many
_TOGETHER = 64  # hypotheses in one step, so that memory is bounded


class Seq2SeqLM:
    """A model that translates or summarizes: T5, mT5, Marian or BART. Made by `from_pretrained`.

    Attributes
    ----------
    tokenizer : GeneratorTokenizer, MarianTokenizer or None
        None where the folder has none: then texts are lists of ids.
    config : Config
        As the decoder reads it.
    generation_config : GenerationConfig
        How `generate` writes where nothing else is asked for; it may be replaced.
    context : int or None
        Tokens that either text may have; None: any number.

    Notes
    -----
    A text has the same bits alone or beside others, and on any number of threads.
    """

    def __init__(
        self,
        model: translation.EncoderDecoder,
        generation_config: generation_config.GenerationConfig,
        tokenizer: GeneratorTokenizer | MarianTokenizer | None = None,
    ) -> None:
        self._model, self.config = model, model.config
        self.generation_config, self.tokenizer = generation_config, tokenizer
        self.context = model.decoder.most_tokens

    def __repr__(self) -> str:
        encoder, decoder = self._model.encoder.plan, self._model.decoder.plan
        return (
            f"Seq2SeqLM<{self.config.model_type}, {encoder.layers} and {decoder.layers} layers of "
            f"{decoder.width}>"
        )

    @classmethod
    def from_pretrained(cls, path: PathLike) -> Seq2SeqLM:
        """Read a model.

        Parameters
        ----------
        path : path-like
            A folder with config.json and safetensors; an installed package or a name on the
            Hugging Face hub that has these.

        Raises
        ------
        FormatError
            A file is malformed, holds a model that firth does not know, or another than its
            configuration says.
        FileNotFoundError
            There is no such model, or a file of it is missing.
        """
        folder = folder_of(path)
        model = translation.load(folder)
        written = generation_config.read(folder, model.config.to_dict(), len(model.bias))
        tokenizer: GeneratorTokenizer | MarianTokenizer | None = None
        if os.path.exists(os.path.join(folder, "source.spm")):
            tokenizer = MarianTokenizer(folder)
        elif folder_tokenizer.there_is_one(folder):
            tokenizer = GeneratorTokenizer.from_pretrained(folder)
        return cls(model, written, tokenizer)

    def generate(
        self,
        text: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float | None = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        logit_bias: Mapping[int, float] | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | Literal["never"] | None = None,
        no_repeat_ngram_size: int | None = None,
        n: int = 1,
        *,
        return_ids: bool = False,
    ) -> Any:
        """Write the text that belongs to another: its translation, its summary.

        What is None is as `generation_config` says.

        Parameters
        ----------
        text : str, list of int, or a list of these
            What is read. T5 wants to be told what to do: ``"translate English to German: ..."``.
        max_new_tokens : int, optional
            At most 256 where the model does not say it either.
        num_beams : int, optional
            Of the search for the most probable text; 1 takes the likeliest token each time, which
            is quicker. Where ``temperature`` is above 0: 1.
        temperature, top_p, top_k, min_p, seed, logit_bias
            As of `firth.generators.sampling.Sampling`; with a temperature of 0 nothing is drawn.
        repetition_penalty, frequency_penalty, presence_penalty : float
            As there; of what is written, not of what is read.
        stop : str or sequence of str
            Texts that end the answer and do not belong to it. What a search has found is cut there.
        length_penalty, early_stopping, no_repeat_ngram_size
            `firth.generators.generation_config.GenerationConfig`.
        n : int
            How many texts for each: those of seed, seed + 1 and so on; of a search the best,
            at most ``num_beams``.
        return_ids : bool
            Return the new tokens in place of text: without the start, with the one that ends it.

        Returns
        -------
        str, or list of int with ``return_ids``
            A list of n of them where n is not 1; of such for each text where a list is given.

        Raises
        ------
        TypeError, ValueError
            An argument is out of range, or a text is empty or longer than the model reads.
        """
        given: dict[str, Any] = {
            "num_beams": 1 if num_beams is None and temperature else num_beams,
            "repetition_penalty": repetition_penalty, "length_penalty": length_penalty,
            "early_stopping": early_stopping, "no_repeat_ngram_size": no_repeat_ngram_size,
        }  # fmt: skip
        config = dataclasses.replace(
            self.generation_config,
            **{name: value for name, value in given.items() if value is not None},
        )
        sampling = Sampling(
            temperature, top_p, top_k, min_p, config.repetition_penalty, frequency_penalty,
            presence_penalty, seed, {} if logit_bias is None else logit_bias,
        )  # fmt: skip
        Sampler(sampling, vocabulary=len(self._model.bias))  # checks the ids of the bias
        searched = config.num_beams > 1
        if searched and sampling.temperature:
            raise ValueError("generate: a temperature draws, num_beams search: want one of both")
        check_whole("generate: n", n, 1, config.num_beams if searched else 1024)
        if max_new_tokens is None:
            max_new_tokens = (config.max_length or _NEW_TOKENS + 1) - 1
        check_whole("generate: max_new_tokens", max_new_tokens)
        most = min(max_new_tokens, self.context or max_new_tokens)
        if self.tokenizer is None and (stop or not return_ids):
            raise ValueError("generate: the model has no tokenizer: want return_ids and no stop")
        stop = stop if isinstance(stop, str) else tuple(stop)
        texts, single = _several(text)
        sources = [self._ids(one) for one in texts]

        def begin(cache: Cache) -> Sequence[Beams | Continuation]:
            if searched:
                return [Beams(cache, config, most, sampling)]
            return [
                Continuation(cache, config, most, sampler, self._end_of(stop))
                for sampler in self._samplers(sampling, n)
            ]

        results = []
        for searches in self._written(sources, begin, config.num_beams if searched else n):
            found = [ids for search in searches for ids in search.found][:n]
            made = found if return_ids else [self._text(ids, stop) for ids in found]
            results.append(made if n > 1 else made[0])
        return results[0] if single else results

    def _samplers(self, sampling: Sampling, n: int) -> list[Sampler]:
        seeds = [None if sampling.seed is None else sampling.seed + i for i in range(n)]
        start = [self.generation_config.decoder_start_token_id]
        return [Sampler(dataclasses.replace(sampling, seed=seed), start) for seed in seeds]

    def _written(
        self,
        sources: Sequence[Sequence[int]],
        begin: Callable[[Cache], Sequence[Beams | Continuation]],
        each: int,
    ) -> list[Sequence[Beams | Continuation]]:
        """What is written of each text, by ``each`` hypotheses; as many texts at once as may be."""
        waiting = deque(sources)
        begun: list[Sequence[Beams | Continuation]] = []
        going: list[Beams | Continuation] = []
        while waiting or going:
            room = max(_TOGETHER - sum(len(one.hypotheses) for one in going), 0) // each
            new = [waiting.popleft() for _ in range(min(len(waiting), room or not going))]
            for memory in self._model.encode(new) if new else ():
                begun.append(begin(self._model.cache(memory)))
                going += begun[-1]
            going = [one for one in going if one.hypotheses]
            rows = [row for one in going for row in one.hypotheses]
            logits = self._model.extend([row.ids[-1:] for row in rows], [row.cache for row in rows])
            at = 0
            for one in going:
                at, first = at + len(one.hypotheses), at
                one.take(logits[first:at])
        return begun

    def _ids(self, text: Any) -> list[int]:
        """The tokens of a text that is read."""
        if isinstance(text, str):
            if self.tokenizer is None:
                raise ValueError("generate: the model has no tokenizer: want ids")
            ids = self.tokenizer.encode(text)
        else:
            ids = _whole(text, len(self._model.bias))
        if not ids:
            raise ValueError("generate: a text is empty")
        if self.context is not None and len(ids) > self.context:
            raise ValueError(
                f"generate: a text has {len(ids):,} tokens, the model reads {self.context:,}"
            )
        return ids

    def _end_of(self, stop: str | Sequence[str]) -> Callable[[int], bool]:
        """Whether the tokens so far end a text."""
        if self.tokenizer is None:
            return lambda one: False
        stream = Stream(self.tokenizer, stop)

        def ended(one: int) -> bool:
            stream.add(one)
            return stream.finish_reason is not None

        return ended

    def _text(self, ids: Iterable[int], stop: str | Sequence[str]) -> str:
        assert self.tokenizer is not None
        stream = Stream(self.tokenizer, stop)
        for one in ids:
            stream.add(one)
            if stream.finish_reason:
                break
        stream.end()
        return stream.text

    def logits(self, text: str | Sequence[int], ids: Sequence[int]) -> NDArray[np.float32]:
        """What each token of a text that is written says of the next one.

        Parameters
        ----------
        text : str or sequence of int, S tokens
            What is read.
        ids : sequence of int
            What is written, T tokens; it begins with `generation_config.decoder_start_token_id`.

        Returns
        -------
        ndarray (T, V) float32
        """
        (memory,) = self._model.encode([self._ids(text)])
        written = _whole(ids, len(self._model.bias))
        return self._model.extend([written], [self._model.cache(memory)])


def _whole(ids: Iterable[Any], vocabulary: int) -> list[int]:
    whole = list(ids)
    for one in whole:
        check_whole("a token", one, 0, vocabulary - 1)
    return [int(one) for one in whole]


def _several(text: Any) -> tuple[list[Any], bool]:
    """The texts that are given, and whether it is a single one."""
    if isinstance(text, str):
        return [text], True
    try:
        texts = None if isinstance(text, (bytes, bytearray, Mapping)) else list(text)
    except TypeError:
        texts = None
    if texts is None:
        raise TypeError(f"generate: a text must be a str or ids, got {shortened(text)}")
    numbers = [isinstance(one, (int, float, np.number)) for one in texts]
    if any(numbers) and not all(numbers):
        raise TypeError("generate: want a text or its ids, or a list of these, not of both")
    return ([texts], True) if any(numbers) else (texts, False)
