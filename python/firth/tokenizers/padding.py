"""`Padding`: how long rows become, and `Padding.pad` for rows that there are already."""

from __future__ import annotations

import logging
import operator
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from firth.errors import warn
from firth.tokenizers.batch import BatchEncoding
from firth.tokenizers.conversion import Conversion
from firth.tokenizers.rows import STRATEGIES
from firth.tokenizers.settings import NO_LIMIT
from firth.tokenizers.template import Parts, specials


class Plan(NamedTuple):
    """How rows are cut and padded.

    Attributes
    ----------
    padding : "longest", "max_length" or None
    truncation : one of STRATEGIES, or None
    most : int or None
        Tokens of a row.
    multiple : int
        Padded rows have a multiple of so many tokens.
    left : bool
        Whether padding comes first.
    """

    padding: str | None
    truncation: str | None
    most: int | None
    multiple: int
    left: bool

    def room(self, parts: Parts) -> int | None:
        """How many ids of a sample stay between the special tokens; None: all of them."""
        if self.truncation is None or self.most is None:
            return None
        count = specials(parts)
        if self.most < count:
            raise ValueError(
                f"max_length must be at least {count}, for the special tokens, got {self.most}"
            )
        return min(self.most, sys.maxsize) - count

    def width(self, longest: int) -> int | None:
        """Tokens of a padded row; None without padding."""
        if self.padding is None:
            return None
        width = longest if self.padding == "longest" or self.most is None else self.most
        return -(-width // self.multiple) * self.multiple


class Padding(Conversion):
    """A vocabulary, and rows of its ids made equally long."""

    _reported = False

    def _plan(
        self,
        padding: bool | str,
        truncation: bool | str | None,
        max_length: int | None,
        multiple: int | None,
        side: str | None,
        verbose: bool = True,
    ) -> Plan:
        """What the arguments of a call mean together, as transformers has it."""
        most = None if max_length is None else operator.index(max_length)
        if most is not None and most < 0:
            raise ValueError(f"max_length must be at least 0, got {most}")
        if multiple is not None and multiple < 1:
            raise ValueError(f"pad_to_multiple_of must be at least 1, got {multiple}")
        if truncation is None and padding is False and most is not None:
            truncation = True
        cut = {True: "longest_first", False: None, None: None, "do_not_truncate": None}.get(
            truncation, truncation
        )
        pad = {True: "longest", False: None, "do_not_pad": None}.get(padding, padding)
        if cut is not None and cut not in STRATEGIES:
            raise ValueError(
                f"truncation must be True, False or one of {', '.join(STRATEGIES)}, got {cut!r}"
            )
        if pad not in ("longest", "max_length", None):
            raise ValueError(f"padding must be True, False, 'longest' or 'max_length', got {pad!r}")
        if padding is True and most is not None and cut is None and verbose:
            warn(
                "max_length has no effect with padding=True and without truncation; "
                "padding='max_length' pads to it"
            )
        if most is None and self.model_max_length < NO_LIMIT:
            most = self.model_max_length
        if pad == "max_length" and most is None:
            pad = None
        if pad is not None and self.pad_token_id is None:
            raise ValueError("padding: the tokenizer has no pad_token")
        if pad and cut and multiple and most and most % multiple:
            raise ValueError(
                f"max_length must be a multiple of pad_to_multiple_of={multiple}, got {most}"
            )
        side = side or self.padding_side
        if side not in ("right", "left"):
            raise ValueError(f"padding_side must be 'right' or 'left', got {side!r}")
        return Plan(pad, cut, most, multiple or 1, side == "left")

    def _report(self, longest: int) -> None:
        """Say once that a row is longer than what the model takes."""
        if longest > self.model_max_length and not self._reported:
            self._reported = True
            logging.getLogger("firth").warning(
                "a text has %d tokens, more than the %d that the model takes: truncation=True cuts",
                longest,
                self.model_max_length,
            )

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad rows that a call has returned.

        Parameters
        ----------
        encoded_inputs : dict, or list of dicts
            ``input_ids`` and what goes with them: one row, several, or one row a dict. Lists,
            arrays or tensors. What is neither a mask nor types stays as it is.
        padding, max_length, pad_to_multiple_of, padding_side, return_tensors, verbose
            As in a call; arrays give arrays.
        return_attention_mask : bool, optional
            By default as ``model_input_names`` says.

        Returns
        -------
        BatchEncoding
        """
        plan = self._plan(padding, False, max_length, pad_to_multiple_of, padding_side, verbose)
        given = encoded_inputs
        if not isinstance(given, Mapping):
            given = {name: [one[name] for one in given] for name in (given[0] if given else ())}
        first = self.model_input_names[0]
        if first not in given:
            raise ValueError(f"pad: the input must have {first!r}, got {list(given)}")
        values = {name: _plain(value) for name, value in given.items()}
        if return_tensors is None:
            return_tensors = _kind_of_tensors(given[first])
        ids = values[first]
        single = bool(ids) and not isinstance(ids[0], (list, tuple))
        if single:
            values = {name: [value] for name, value in values.items()}
        rows = values[first]
        if any(len(value) != len(rows) for value in values.values()):
            raise ValueError("pad: the inputs differ in the number of rows")
        names = self.model_input_names
        if "attention_mask" in names if return_attention_mask is None else return_attention_mask:
            values.setdefault("attention_mask", [[1] * len(row) for row in rows])
        width = plan.width(max(map(len, rows), default=0))
        missing = [0 if width is None else max(width - len(row), 0) for row in rows]
        fills = {first: self.pad_token_id, "attention_mask": 0,
                 "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1}  # fmt: skip
        for name, fill in fills.items():
            if name in values:
                values[name] = [
                    [fill] * count + list(row) if plan.left else list(row) + [fill] * count
                    for row, count in zip(values[name], missing, strict=True)
                ]
        found = BatchEncoding(
            {name: value[0] if single else value for name, value in values.items()}
        )
        return found.convert_to_tensors(return_tensors)


def _plain(value: Any) -> Any:
    """An array or tensor, or a list of such rows, as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(row) for row in value] if isinstance(value, (list, tuple)) else value


def _kind_of_tensors(value: Any) -> str | None:
    """What ids are: "np" for arrays, "pt" for tensors, None for numbers."""
    if isinstance(value, (list, tuple)) and value:
        return _kind_of_tensors(value[0])
    if isinstance(value, (np.ndarray, np.generic)):
        return "np"
    return "pt" if type(value).__module__ == "torch" else None
