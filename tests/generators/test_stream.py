"""Text of ids as they come: the same however it is cut, and no part of a stop string."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.generators.stream import Stream
from firth.generators.tokenizer import GeneratorTokenizer
from generator_tokenizers import TEXTS, metadata

BPE = GeneratorTokenizer.from_gguf(metadata("byte_level"))
SPM = GeneratorTokenizer.from_gguf(metadata("spaces_bpe"))
BYTES = {BPE.token_bytes(i)[0]: i for i in range(len(BPE)) if len(BPE.token_bytes(i)) == 1}


def pieces(stream: Stream, ids: list[int]) -> list[str]:
    found = []
    for i in ids:
        found.append(stream.add(i))
        if stream.finish_reason:
            return found
    return [*found, stream.end()]


@pytest.mark.parametrize("tokenizer", [BPE, SPM])
@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text, False)
    stream = Stream(tokenizer)
    found = pieces(stream, ids)
    assert "".join(found) == tokenizer.decode(ids) == text
    assert stream.text == text
    assert stream.finish_reason == "length"
    assert all("\ufffd" not in piece for piece in found) or "\ufffd" in text


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, len(BPE) - 1), max_size=40))
def test_any_ids(ids):
    """Bytes that are no text, control tokens and all."""
    for tokenizer in (BPE, SPM):
        for skip in (True, False):
            stream = Stream(tokenizer, skip_special_tokens=skip, ends=())
            whole = tokenizer.decode(ids, skip_special_tokens=skip)
            if cut_inside_a_character(tokenizer, ids, skip):
                assert whole.endswith("\ufffd")
                whole = whole[:-1]
            assert "".join(pieces(stream, ids)) == stream.text == whole


def test_halves_of_surrogates_are_no_characters():
    ids = SPM.convert_tokens_to_ids(["<0xED>", "<0xA0>"])
    assert pieces(Stream(SPM, ends=()), ids) == ["", "\ufffd\ufffd", ""]
    assert SPM.decode(ids) == "\ufffd\ufffd"


def cut_inside_a_character(tokenizer: GeneratorTokenizer, ids: list[int], skip: bool) -> bool:
    skipped = set(tokenizer.control_ids) if skip else set()
    text = b"".join(tokenizer.token_bytes(i) for i in ids if i not in skipped)
    for n in range(1, min(len(text), 3) + 1):
        try:
            text[-n:].decode()
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return True
    return False


def test_a_character_waits_for_its_bytes():
    stream = Stream(BPE)
    found = [stream.add(BYTES[byte]) for byte in "a😀é".encode()]
    assert found == ["a", "", "", "", "😀", "", "é"]
    assert stream.end() == ""
    stream = Stream(BPE)
    assert [stream.add(BYTES[byte]) for byte in "😀".encode()[:3]] == ["", "", ""]
    assert stream.end() == stream.text == ""
    stream = Stream(BPE)
    broken = "a😀".encode()[:3] + b"b" + "😀".encode()[:2]
    assert "".join(pieces(stream, [BYTES[byte] for byte in broken])) == "a\ufffdb"
    assert stream.text == "a\ufffdb"


def cut(text: str, stops: list[str]) -> tuple[str, str]:
    """The text up to the stop string that is complete first, the longest of several."""
    for end in range(1, len(text) + 1):
        found = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(found)], "stop"
    return text, "length"


@settings(deadline=None, max_examples=300)
@given(
    st.text("ab\n é", max_size=30),
    st.lists(st.text("ab\n é", min_size=1, max_size=5), max_size=3),
    st.randoms(use_true_random=False),
)
def test_stop_strings(text, stops, random):
    """Whatever the tokens are, here single bytes and random longer ones."""
    want, reason = cut(text, stops)
    for ids in (BPE.encode(text), [BYTES[byte] for byte in text.encode()], mixed(text, random)):
        assert BPE.decode(ids) == text
        stream = Stream(BPE, stops)
        found = pieces(stream, ids)
        assert "".join(found) == stream.text == want
        assert stream.finish_reason == reason
        shown = ""
        for piece in found:  # no piece ever shows what a stop string takes back
            shown += piece
            assert want.startswith(shown)


def mixed(text: str, random: random.Random) -> list[int]:
    """Ids of parts of the text, cut at random places."""
    cuts = sorted(random.randrange(len(text) + 1) for _ in range(4))
    parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return [i for part in parts for i in BPE.encode(part)]


def test_held_back_no_longer_than_needed():
    stream = Stream(BPE, ["abc"])
    ids = [BYTES[byte] for byte in b"xababd"]
    assert [stream.add(i) for i in ids] == ["x", "", "", "ab", "", "abd"]
    stream = Stream(BPE, "\n\n")
    assert [stream.add(BYTES[byte]) for byte in b"a\nb\n\n"] == ["a", "", "\nb", "", ""]
    assert (stream.text, stream.finish_reason) == ("a\nb", "stop")
    assert stream.end() == ""
    with pytest.raises(ValueError, match="the answer has ended with 'stop'"):
        stream.add(BYTES[0x61])


def test_what_is_held_is_given_at_the_end():
    stream = Stream(BPE, ["abc"])
    assert [stream.add(BYTES[byte]) for byte in b"xab"] == ["x", "", ""]
    assert stream.end() == "ab"
    assert stream.finish_reason == "length"


def test_ids_that_end_a_turn():
    stream = Stream(BPE, ["abc"])
    assert [stream.add(i) for i in (BYTES[0x61], BPE.eos_token_id)] == ["", "a"]
    assert stream.finish_reason == "stop"
    stream = Stream(BPE, ends=())
    assert [stream.add(i) for i in (BPE.eos_token_id, BYTES[0x61])] == ["", "a"]
    assert stream.finish_reason is None


def test_a_long_stop_string_costs_no_square():
    stop = "a" * 100_000 + "b"
    stream = Stream(BPE, [stop])
    ids = BPE.encode("a" * 300_000)
    found = pieces(stream, ids)
    assert sum(map(len, found)) == 300_000
    assert len(found[-1]) == 100_000


@pytest.mark.parametrize("stop", ["", [""], ["a", 3], [None], [b"a"], 5])
def test_stop_strings_that_are_none(stop):
    with pytest.raises(ValueError, match="stop must be strings that are not empty"):
        Stream(BPE, stop)


def test_stop_strings_of_any_form():
    ids = BPE.encode("a b c")
    for stop, text in (((), "a b c"), ("b", "a "), (iter(["b"]), "a ")):
        stream = Stream(BPE, stop)
        assert "".join(pieces(stream, ids)) == text
