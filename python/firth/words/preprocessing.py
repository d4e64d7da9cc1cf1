"""From raw text to the words a model is trained on, and a check whether a text is still raw.

Training uses words unchanged: without this, "King," and "king" are two words.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d]+")  # letters and underscores of any script, no digits
_LINES = 1000  # the most that `looks_raw` reads
_SHARE = 0.02  # of the words; a prepared text has fewer, an English raw one has five times as many


def simple_preprocess(
    doc: str | bytes, deacc: bool = False, min_len: int = 2, max_len: int = 15
) -> list[str]:
    """The words of a text in lower case, without digits and punctuation: gensim's function.

    Parameters
    ----------
    doc : str, or bytes of UTF-8 (bytes that are not valid are left out)
    deacc : bool
        Take the accents off the letters, as "e" for "é".
    min_len, max_len : int
        Shorter and longer words are left out.

    Returns
    -------
    list of str
        Runs of letters; none that begins with an underscore.

    Raises
    ------
    TypeError
        ``doc`` is neither str nor bytes: a list of texts needs one call for each.
    """
    if isinstance(doc, bytes):
        doc = doc.decode("utf-8", "ignore")
    elif not isinstance(doc, str):
        raise TypeError(
            f"simple_preprocess: doc must be one text, as str or bytes, got {type(doc).__name__}"
        )
    text = doc.lower()
    if deacc:
        letters = unicodedata.normalize("NFD", text)
        kept = "".join(one for one in letters if unicodedata.category(one) != "Mn")
        text = unicodedata.normalize("NFC", kept)
    return [
        word
        for word in _WORD.findall(text)
        if min_len <= len(word) <= max_len and not word.startswith("_")
    ]


def looks_raw(lines: Iterable[str | Iterable[str]]) -> str | None:
    """Signs that a corpus is not prepared for training, as text; None if there are none.

    Parameters
    ----------
    lines : iterable of str, or of lists of str
        A text's lines or sentences; the first 1000 are read.

    Returns
    -------
    str or None
        Such as ``'9% of the words end in punctuation, as "Henry,"; 12% begin with a capital, as
        "Richard"'``: each where it holds for at least one word in fifty.
    """
    words: list[str] = []
    for line in itertools.islice(lines, _LINES):
        words += line.split() if isinstance(line, str) else line
    marked = [
        word for word in words if _is_mark(word[-1:]) and any(map(str.isalnum, word))
    ]  # a mark alone is a word of its own: such a text is prepared
    capitals = [word for word in words if word[:1] != word[:1].lower()]
    signs = []
    for found, what in ((marked, "end in punctuation"), (capitals, "begin with a capital")):
        if found and len(found) >= _SHARE * len(words):
            quote = "'" if '"' in found[0] else '"'
            share = f"{len(found) / len(words):.0%}"
            signs.append(f"{share} of the words {what}, as {quote}{found[0]}{quote}")
    return "; ".join(signs) or None


def _is_mark(letter: str) -> bool:
    """Whether this is punctuation; an underscore, which joins phrases, is not."""
    return bool(letter) and unicodedata.category(letter).startswith("P") and letter != "_"
