"""Text to token ids: what ``tokenizer.json`` files say, exactly as the `tokenizers` package does.

`BertTokenizer` is transformers' tokenizer, `Tokenizer` the part that cuts texts.

>>> from firth.tokenizers import BertTokenizer
>>> tokenizer = BertTokenizer.from_pretrained("all-MiniLM-L6-v2")     # doctest: +SKIP
>>> tokenizer("A sentence.")["input_ids"]                             # doctest: +SKIP
[101, 1037, 6251, 1012, 102]
"""

from __future__ import annotations

from firth.tokenizers.batch import BatchEncoding, CharSpan, TokenSpan
from firth.tokenizers.bert import AutoTokenizer, BertTokenizer, Packed
from firth.tokenizers.rows import Encoding
from firth.tokenizers.tokenizer import Encoded, Pieces, Tokenizer

__all__ = [
    "AutoTokenizer",
    "BatchEncoding",
    "BertTokenizer",
    "CharSpan",
    "Encoded",
    "Encoding",
    "Packed",
    "Pieces",
    "TokenSpan",
    "Tokenizer",
]
