"""Text to token ids: what ``tokenizer.json`` files say, exactly as the `tokenizers` package does.

>>> from firth.tokenizers import Tokenizer
>>> tokenizer = Tokenizer.from_file("tokenizer.json")           # doctest: +SKIP
"""

from __future__ import annotations

from firth.tokenizers.tokenizer import Encoded, Tokenizer

__all__ = ["Encoded", "Tokenizer"]
