"""What encoders are used for, a line each: masked words, pairs, classes, labels, answers.

The tokenizer is one of `firth` or of transformers. S = tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_whole
from firth.encoders.batches import checked_text
from firth.encoders.models import Model
from firth.errors import warn

Found = dict[str, Any]

_TOKENS = 1 << 16  # of windows that are computed together: Ctrl-C is heard between


def fill_mask(model: Model, tokenizer: Any, text: str, top_k: int = 5) -> Any:
    """The likeliest tokens in place of ``[MASK]`` (or what the tokenizer has for it).

    Parameters
    ----------
    model : AutoModelForMaskedLM, BertForMaskedLM or BertForPreTraining
    tokenizer
    text : str
        With at least one mask.
    top_k : int

    Returns
    -------
    list of dict
        ``score`` (a probability), ``token`` (its id), ``token_str``, ``sequence`` (the text with
        it), the best first. For several masks a list of such lists; each mask is filled alone, and
        ``sequence`` keeps special tokens, the other masks among them.

    Raises
    ------
    ValueError
        The text has no mask, or too many tokens.
    """
    check_whole("fill_mask: top_k", top_k, 1)
    head = _head(model, "masked_lm", "fill_mask")
    if tokenizer.mask_token_id is None:
        raise ValueError("fill_mask: the tokenizer must have a mask token, and has none")
    encoded = _encode(tokenizer, checked_text("fill_mask", text))
    ids = encoded["input_ids"][0]
    places = np.flatnonzero(ids == tokenizer.mask_token_id)
    if not len(places):
        raise ValueError(f"fill_mask: the text must have a mask, {tokenizer.mask_token}")
    scores = head(_states(model, encoded)[places])  # only where there is a mask
    found = []
    for place, chances in zip(places, _softmax(scores), strict=True):
        best = []
        for token in np.argsort(-chances, kind="stable")[:top_k]:
            filled = ids.copy()
            filled[place] = token
            best.append(
                {
                    "score": float(chances[token]),
                    "token": int(token),
                    "token_str": tokenizer.decode([int(token)]),
                    "sequence": tokenizer.decode(
                        filled.tolist(), skip_special_tokens=len(places) == 1
                    ),
                }
            )
        found.append(best)
    return found[0] if len(found) == 1 else found


def next_sentence(model: Model, tokenizer: Any, first: str, second: str) -> float:
    """The probability that the second sentence followed the first.

    ``model`` is a BertForNextSentencePrediction or BertForPreTraining.
    """
    head = _head(model, "next_sentence", "next_sentence")
    both = (checked_text("next_sentence", text) for text in (first, second))
    encoded = _encode(tokenizer, *both)
    return float(_softmax(head(_states(model, encoded)[:1]))[0, 0])


def classify(
    model: Model,
    tokenizer: Any,
    texts: str | Sequence[str],
    pairs: str | Sequence[str] | None = None,
    top_k: int | None = None,
) -> Any:
    """The classes of texts, or of pairs of texts.

    Parameters
    ----------
    model : AutoModelForSequenceClassification or BertForSequenceClassification
    tokenizer
    texts : str or list of str
    pairs : str or list of str, optional
        The second text of each pair.
    top_k : int, optional
        How many classes [all].

    Returns
    -------
    list of dict, or a list of these for a list of texts
        ``label`` and ``score``, the best first. Scores are what ``config.problem_type`` says:
        probabilities that sum to 1; for "multi_label_classification", or one label only, one of
        each label for itself; for "regression" the bare numbers.

    Warns
    -----
    UserWarning
        Texts were longer than the model has positions, and were cut.
    """
    head = _head(model, "sequence", "classify")
    if top_k is not None:
        check_whole("classify: top_k", top_k, 1)
    one = isinstance(texts, str)
    firsts = _listed("texts", texts)
    seconds = None if pairs is None else _listed("pairs", pairs)
    if seconds is not None and len(seconds) != len(firsts):
        raise ValueError(f"classify: {len(seconds)} pairs for {len(firsts)} texts")
    ids, types = _encode_all(model, tokenizer, firsts, seconds)
    batch = model.inputs.packed(ids, types)
    rows = model.stack.pool(batch, "mean" if head.head.start == "mean" else "cls")
    config = model.config
    scores = head(rows)
    if config.problem_type != "regression":
        alone = config.problem_type == "multi_label_classification" or config.num_labels == 1
        scores = 1 / (1 + np.exp(-scores.astype(np.float64))) if alone else _softmax(scores)
    found = [
        [
            {"label": config.id2label[i], "score": float(row[i])}
            for i in np.argsort(-row, kind="stable").tolist()[:top_k]
        ]
        for row in scores
    ]
    return found[0] if one else found


def label_tokens(model: Model, tokenizer: Any, text: str, group: bool = True) -> list[Found]:
    """The labels of the tokens of a text, such as names of people and places.

    Parameters
    ----------
    model : AutoModelForTokenClassification or BertForTokenClassification
    tokenizer
        With offsets, as all of `firth` and the fast ones of transformers.
    text : str
    group : bool
        Join neighbours of one kind: labels like B-PER and I-PER begin and go on; else equal ones.

    Returns
    -------
    list of dict
        ``label`` (without B- and I- where grouped), ``score`` (a probability, of a group the mean),
        ``word``, ``start`` and ``end``, its place in the text. Tokens labelled O are left out.
    """
    head = _head(model, "tokens", "label_tokens")
    text = checked_text("label_tokens", text)
    encoded = _encode(tokenizer, text, return_offsets_mapping=True)
    offsets = np.asarray(encoded["offset_mapping"])[0]
    chances = _softmax(head(_states(model, encoded)))
    found: list[Found] = []
    before = -1  # the token that the last one found ends with
    for i, (start, end) in enumerate(offsets.tolist()):
        best = int(np.argmax(chances[i]))
        label = model.config.id2label[best]
        if start == end or label == "O":  # special tokens have no place in the text
            continue
        score = float(chances[i, best])
        begins, kind = label.startswith("B-"), label
        if group and label[:2] in ("B-", "I-"):
            kind = label[2:]
        if group and found and before == i - 1 and found[-1]["label"] == kind and not begins:
            found[-1]["end"] = end
            found[-1]["scores"].append(score)
        else:
            found.append({"label": kind, "scores": [score], "start": start, "end": end})
        before = i
    return [
        {
            "label": one["label"],
            "score": float(np.mean(one["scores"])),
            "word": text[one["start"] : one["end"]],
            "start": one["start"],
            "end": one["end"],
        }
        for one in found
    ]


def answer_span(
    model: Model,
    tokenizer: Any,
    question: str,
    context: str,
    top_k: int = 1,
    max_tokens: int = 15,
) -> Any:
    """The part of a text that answers a question.

    Parameters
    ----------
    model : AutoModelForQuestionAnswering or BertForQuestionAnswering
    tokenizer
        With offsets.
    question, context : str
        A context of more tokens than the model takes is read in windows that overlap by half.
    top_k : int
        How many answers, none of which overlaps a better one.
    max_tokens : int
        Of an answer.

    Returns
    -------
    dict, or a list of them where ``top_k`` is not 1
        ``answer``, ``start`` and ``end`` (its place in the context), ``score``: the probability of
        its first token times that of its last. None where the context has no token.
    """
    head = _head(model, "span", "answer_span")
    check_whole("answer_span: top_k", top_k, 1)
    check_whole("answer_span: max_tokens", max_tokens, 1)
    question, context = (checked_text("answer_span", text) for text in (question, context))
    encoded = tokenizer(question, context, return_offsets_mapping=True, verbose=False)
    ids = np.asarray(encoded["input_ids"], np.int32).ravel()
    offsets = np.asarray(encoded["offset_mapping"]).reshape(-1, 2)
    types = np.asarray(encoded.get("token_type_ids", np.zeros_like(ids)), np.int32).ravel()
    inside = np.flatnonzero([part == 1 for part in encoded.sequence_ids(0)])
    if not len(inside):
        return None if top_k == 1 else []
    first, last = int(inside[0]), int(inside[-1]) + 1
    windows = _windows(model, len(ids), first, last)
    size = len(ids) - (last - first)  # beside the window
    together = max(1, _TOKENS // (size + windows[0][1] - windows[0][0]))
    count = last - first  # by token of the context; of those in two windows the better score
    starts, ends = np.full(count, -np.inf), np.full(count, -np.inf)
    pairs = np.full((count, min(max_tokens, count)), -np.inf)  # by first token and length - 1
    for some in range(0, len(windows), together):
        part = windows[some : some + together]
        texts = [np.r_[0:first, begin:end, last : len(ids)] for begin, end in part]
        batch = model.inputs.packed([ids[text] for text in texts], [types[text] for text in texts])
        scores = head(model.stack.run(batch).hidden)
        for (begin, end), offset in zip(part, batch.offsets[:-1], strict=True):
            here = slice(begin - first, end - first)
            rows = scores[offset + first : offset + first + end - begin].astype(np.float64)
            starts[here], ends[here] = (
                np.maximum(old[here], new)
                for old, new in ((starts, rows[:, 0]), (ends, rows[:, 1]))
            )
            for length in range(min(pairs.shape[1], end - begin)):
                sums = rows[: len(rows) - length, 0] + rows[length:, 1]
                cells = pairs[begin - first : begin - first + len(sums), length]
                np.maximum(cells, sums, out=cells)
    total = sum(float(np.logaddexp.reduce(one)) for one in (starts, ends))
    found: list[Found] = []
    taken = np.zeros(count, bool)
    for place in np.argsort(-pairs, axis=None, kind="stable").tolist():
        start, length = divmod(place, pairs.shape[1])
        if len(found) == top_k or pairs[start, length] == -np.inf:
            break
        if taken[start : start + length + 1].any():
            continue
        taken[start : start + length + 1] = True
        begin, end = int(offsets[first + start, 0]), int(offsets[first + start + length, 1])
        found.append(
            {
                "answer": context[begin:end],
                "score": float(np.exp(pairs[start, length] - total)),
                "start": begin,
                "end": end,
            }
        )
    return found[0] if top_k == 1 else found


def _windows(model: Model, count: int, first: int, last: int) -> list[tuple[int, int]]:
    """Parts of tokens first to last, which all have room beside the others of `count` tokens."""
    most = model.stack.most_tokens
    room = last - first if most is None else most - (count - (last - first))
    if room < 1:
        raise ValueError(
            f"answer_span: the question leaves no room for the context among {most} tokens"
        )
    found = [(first, min(first + room, last))]
    while found[-1][1] < last:
        end = min(found[-1][0] + max(1, room // 2) + room, last)
        found.append((end - room, end))
    return found


def _head(model: Model, name: str, task: str) -> Any:
    try:
        return model.heads[name]
    except KeyError:
        name = type(model).__name__
        article = "an" if name[0] in "AEIOU" else "a"
        raise TypeError(f"{task}: {article} {name} has no head for it") from None


def _listed(name: str, texts: Any) -> list[str]:
    """One text or several as a list."""
    if isinstance(texts, (bytes, bytearray)) or not isinstance(texts, Iterable):
        raise TypeError(
            f"classify: {name} must be a str or a list of str, got {type(texts).__name__}"
        )
    many = [texts] if isinstance(texts, str) else texts
    return [checked_text(f"classify: {name}", text) for text in many]


def _encode(tokenizer: Any, text: str, pair: str | None = None, **options: Any) -> Any:
    """One text, or a pair, as arrays (1, S); the model says what is too long, not the tokenizer."""
    both = (text,) if pair is None else (text, pair)
    return tokenizer(*both, return_tensors="np", verbose=False, **options)


def _states(model: Model, encoded: Any) -> NDArray[np.float32]:
    """The states (S, D) of the tokens of one text."""
    types = encoded.get("token_type_ids")
    batch = model.inputs.packed(encoded["input_ids"], types)
    return model.stack.run(batch).hidden


def _encode_all(
    model: Model, tokenizer: Any, texts: list[str], pairs: list[str] | None
) -> tuple[list[Any], list[Any] | None]:
    """Ids and segments of texts, cut where the model has no positions for more."""
    if not texts:
        return [], None
    both = (texts,) if pairs is None else (texts, pairs)
    encoded = tokenizer(*both, verbose=False)
    most = model.stack.most_tokens
    cut = sum(most is not None and len(ids) > most for ids in encoded["input_ids"])
    if cut:
        warn(f"{cut} of {len(texts)} texts have more than {most} tokens and were cut")
        encoded = tokenizer(*both, truncation=True, max_length=most)
    return encoded["input_ids"], encoded.get("token_type_ids")


def _softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
