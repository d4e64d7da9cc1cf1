"""Raw text to words, and whether a corpus still needs that."""

from __future__ import annotations

import pytest

import firth.words
from firth.words.preprocessing import looks_raw, simple_preprocess

TEXTS = [
    "",
    "Nic nemůže letět rychlostí vyšší, než 300 tisíc kilometrů za sekundu!",
    "don't stop_word _hidden __x A b cd I'm mp3 x86_64 3rd 4x4",
    "STRASSE Straße ΟΔΟΣ Οδός İstanbul ıI ﬁne Ⅷ ²x x²y ٣٤ क्षत्रिय 猫が好き",
    "e\u0301te\u0301 \u00e9t\u00e9 a\u0308b \u200d\u200c zero\u200bwidth\xa0space",
    "a" * 15 + " " + "b" * 16 + " \U0001d400\U0001d401 \U0001f600",
    "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate.",
]


def test_words_of_a_text():
    got = simple_preprocess("King Henry, 4th of that name -- he DIED in 1413; déjà_vu _x")
    assert got == ["king", "henry", "th", "of", "that", "name", "he", "died", "in", "déjà_vu"]
    assert simple_preprocess("Šéf pije", deacc=True) == ["sef", "pije"]
    assert simple_preprocess("a bb ccc dddd", min_len=1, max_len=3) == ["a", "bb", "ccc"]
    assert simple_preprocess(b"na\xc3\xafve \xffplan") == ["naïve", "plan"]
    assert firth.words.simple_preprocess is simple_preprocess
    with pytest.raises(TypeError, match="doc must be one text, as str or bytes, got list"):
        simple_preprocess(["a", "text"])  # type: ignore[arg-type]


@pytest.mark.peer
@pytest.mark.parametrize("deacc", [False, True])
def test_words_are_gensims(deacc):
    theirs = pytest.importorskip("gensim.utils").simple_preprocess
    every = "".join(f"a{chr(code)}b " for code in range(0x11000) if not 0xD800 <= code < 0xE000)
    for text in [*TEXTS, every, every.upper(), b"caf\xc3\xa9 \xff\xfebad"]:
        for sizes in ({}, {"min_len": 1, "max_len": 40}):
            ours = simple_preprocess(text, deacc, **sizes)
            assert ours == theirs(text, deacc, **sizes)
    assert len(simple_preprocess(every, deacc)) > 1000


def test_looks_raw():
    raw = ["Now is the winter of our discontent,", "Made glorious summer by this sun of York;"]
    assert looks_raw(raw) == (
        '13% of the words end in punctuation, as "discontent,"; '
        '20% of the words begin with a capital, as "Now"'
    )
    assert looks_raw([line.split() for line in raw]) == looks_raw(raw)
    assert looks_raw(["the cat, the dog."]) == '50% of the words end in punctuation, as "cat,"'
    assert looks_raw(["The cat sat ."]) == '25% of the words begin with a capital, as "The"'
    assert looks_raw(["猫が好きです。"]) is not None


def test_prepared_text_does_not_look_raw():
    assert looks_raw([simple_preprocess(text) for text in TEXTS]) is None
    assert looks_raw(["the cat sat , the dog did not .", "new_york __label__x c++ don't"]) is None
    assert looks_raw([]) is None
    assert looks_raw([[], ["", "x"], ""]) is None
    few = ["word"] * 98 + ["Mr."]  # 1 of 99: an abbreviation here and there is no sign
    assert looks_raw([few]) is None


def test_looks_raw_reads_the_beginning_only():
    def endless():
        while True:
            yield "prepared text"

    assert looks_raw(endless()) is None
