"""Cutting, special tokens and padding: as the `tokenizers` package does them, row by row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth import BertTokenizer, FormatError
from firth.tokenizers import template
from tokenizer_folders import special, vocab, wordpiece_json, write
from tokenizer_folders import template as made

tokenizers = pytest.importorskip("tokenizers")

PROCESSORS: dict[str, Any] = {
    "template": made("[CLS]", "[SEP]", vocab(), 1, 1),
    "bert": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "roberta": {"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
                "trim_offsets": True, "add_prefix_space": False},
    "turned": {
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 3}}],
        "pair": [
            {"Sequence": {"id": "B", "type_id": 1}},
            {"SpecialToken": {"id": "x", "type_id": 7}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "special_tokens": {"x": {"id": "x", "ids": [3, 4], "tokens": ["[SEP]", "[MASK]"]}},
    },
    "sequence": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        made("[CLS]", "[SEP]", vocab(), 2, 0),
    ]},
    "none": None,
}  # fmt: skip
TEMPLATE = PROCESSORS["template"]


@pytest.fixture(scope="module", params=PROCESSORS)
def both(request: Any, tmp_path_factory: Any) -> tuple[BertTokenizer, Any]:
    """firth's tokenizer, and the library's, of the same JSON."""
    content = wordpiece_json(post_processor=PROCESSORS[request.param])
    folder = write(tmp_path_factory.mktemp("folder"), tokenizer__json=content)
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    library.no_truncation()
    library.no_padding()
    ours = BertTokenizer.from_pretrained(folder)
    ours.kind = request.param
    return ours, library


def check_row(mine: Any, other: Any, *but: str) -> None:
    for name in ("ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask",
                 "word_ids", "sequence_ids"):  # fmt: skip
        assert name in but or getattr(mine, name) == getattr(other, name), name


texts = st.text(st.sampled_from("ab c é中,"), max_size=24)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    samples=st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    pair=st.booleans(),
    special=st.booleans(),
    most=st.integers(6, 20),
    strategy=st.sampled_from(["longest_first", "only_first", "only_second"]),
    stride=st.integers(0, 3),
    side=st.sampled_from(["left", "right"]),
    overflow=st.booleans(),
    width=st.sampled_from([None, "longest", 12]),
    multiple=st.sampled_from([None, 4]),
    padding_side=st.sampled_from(["left", "right"]),
)
def test_rows_are_the_librarys(
    both: tuple[BertTokenizer, Any], samples: list[tuple[str, str]], pair: bool, special: bool,
    most: int, strategy: str, stride: int, side: str, overflow: bool, width: Any,
    multiple: int | None, padding_side: str,
) -> None:  # fmt: skip
    ours, library = both
    overflow &= ours.kind != "turned"  # whose rows have another order
    given: list[Any] = samples if pair else [first for first, _ in samples]
    if multiple is not None:
        most = 8 * (most // 8) or 8
    library.enable_truncation(most, stride=stride, strategy=strategy, direction=side)
    library.no_padding()
    if width is not None:
        library.enable_padding(
            length=most if width == 12 else None, direction=padding_side, pad_id=0,
            pad_token="[PAD]", pad_to_multiple_of=multiple,
        )  # fmt: skip
    wanted: list[Any] = []
    overflows: list[int] = []
    failed = False
    for i, sample in enumerate(given):
        try:
            encoding = library.encode_batch([sample], add_special_tokens=special)[0]
        except BaseException as error:
            if type(error).__name__ not in ("Exception", "PanicException"):
                raise
            failed = True
            continue
        wanted += [encoding, *(encoding.overflowing if overflow else ())]
        overflows += [i] * (1 + overflow * len(encoding.overflowing))
    ours.truncation_side = side
    arguments: dict[str, Any] = {
        "add_special_tokens": special, "max_length": most, "truncation": strategy,
        "stride": stride, "return_overflowing_tokens": overflow, "padding": False,
    }  # fmt: skip
    if width is not None:
        arguments |= {
            "padding": "max_length" if width == 12 else True, "padding_side": padding_side,
            "pad_to_multiple_of": multiple,
        }  # fmt: skip
    if failed:
        try:
            ours(given, **arguments)
        except ValueError as error:
            assert "truncation=" in str(error) or "stride" in str(error)  # noqa: PT017
        else:
            assert not overflow  # then the stride has no effect
        return
    if width == "longest":  # of the batch, where the library was asked one by one
        longest = max(len(encoding.ids) for encoding in wanted)
        for encoding in wanted:
            encoding.pad(longest, direction=padding_side, pad_id=0, pad_token="[PAD]")
    found = ours(given, **arguments)
    for i, other in enumerate(wanted):
        # The library forgets the template's types in what overflows, and without a template to
        # which text what overflows and padding belong.
        again = i > 0 and overflows[i] == overflows[i - 1]
        check_row(
            found[i], other, "type_ids" if again else "",
            "sequence_ids" if ours.kind == "none" and (again or width is not None) else "",
        )  # fmt: skip
    assert len(found["input_ids"]) == len(wanted)
    assert found["input_ids"] == [encoding.ids for encoding in wanted]
    if overflow:
        assert found["overflow_to_sample_mapping"] == overflows


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    samples=st.lists(st.tuples(texts, texts), max_size=6),
    pair=st.booleans(),
    most=st.one_of(st.none(), st.integers(4, 20)),
    side=st.sampled_from(["left", "right"]),
)
def test_packed_is_the_call_without_padding(
    both: tuple[BertTokenizer, Any], samples: list[tuple[str, str]], pair: bool, most: int | None,
    side: str,
) -> None:  # fmt: skip
    ours, _ = both
    ours.truncation_side = side
    firsts = [first for first, _ in samples]
    seconds = [second for _, second in samples] if pair else None
    packed = ours.encode_packed(firsts, seconds, max_length=most)
    assert packed.ids.dtype == np.int32
    assert packed.offsets.dtype == np.int64
    cut = most is not None
    called = ours(firsts, seconds, truncation=cut, max_length=most, return_token_type_ids=True)
    lists = [part.tolist() for part in np.split(packed.ids, packed.offsets[1:-1])]
    assert (lists if samples else []) == called["input_ids"]
    types = packed.types if packed.types is not None else np.zeros_like(packed.ids)
    assert types.dtype == np.int32
    assert types.tolist() == [one for row in called["token_type_ids"] for one in row]
    whole = ours(firsts, seconds)["input_ids"]
    assert packed.truncated == sum(
        len(row) < len(all_of_it) for row, all_of_it in zip(lists, whole, strict=False)
    )


def test_packed_takes_the_models_limit(both: tuple[BertTokenizer, Any]) -> None:
    ours, _ = both
    ours.truncation_side = "right"
    before, ours.model_max_length = ours.model_max_length, 6
    try:
        packed = ours.encode_packed(["a b c a b c a b c", "a"])
        assert packed.truncated == 1
        assert packed.offsets[1] == 6
        ours.model_input_names = ["input_ids"]
        assert ours.encode_packed(["a"], ["b"]).types is None
    finally:
        ours.model_max_length = before
        ours.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    with pytest.raises(ValueError, match="text_pair must have 2 texts"):
        ours.encode_packed(["a", "b"], ["a"])


@pytest.fixture(scope="module")
def bare() -> BertTokenizer:
    return BertTokenizer(vocab())


def test_kept_by_hand(bare: BertTokenizer) -> None:
    def sizes(first: int, second: int, room: int, strategy: str = "longest_first") -> list[int]:
        found = bare("a " * first, "b " * second, max_length=room + 3, truncation=strategy)
        return [found.sequence_ids().count(0), found.sequence_ids().count(1)]

    assert sizes(3, 9, 8) == [3, 5]
    assert sizes(9, 3, 8) == [5, 3]
    assert sizes(9, 9, 7) == [3, 4]
    assert sizes(10, 9, 7) == [4, 3]
    assert sizes(3, 4, 7) == [3, 4]
    assert sizes(3, 4, 0) == [0, 0]
    assert sizes(9, 3, 8, "only_first") == [5, 3]
    assert sizes(3, 9, 8, "only_second") == [3, 5]
    with pytest.raises(ValueError, match=r"only_first.*the second text alone takes all of the 8"):
        sizes(9, 8, 8, "only_first")
    with pytest.raises(ValueError, match=r"only_second.*the first text alone takes all of the 8"):
        sizes(8, 9, 8, "only_second")
    with pytest.raises(ValueError, match="there is no second text"):
        bare("a " * 9, max_length=8, truncation="only_second")


def test_windows_by_hand(bare: BertTokenizer) -> None:
    def windows(length: int, size: int, stride: int, side: str) -> list[str]:
        bare.truncation_side = side
        words = [[*"abcdefgh"[:length]]]
        found = bare(
            words, is_split_into_words=True, add_special_tokens=False, max_length=size,
            truncation=True, stride=stride, return_overflowing_tokens=True,
        )  # fmt: skip
        bare.truncation_side = "right"
        assert found["overflow_to_sample_mapping"] == [0] * len(found["input_ids"])
        rows = [found.word_ids(i) for i in range(len(found["input_ids"]))]
        return ["".join("abcdefgh"[i] for i in row) for row in rows]

    assert windows(7, 3, 1, "right") == ["abc", "cde", "efg"]
    assert windows(8, 3, 1, "right") == ["abc", "cde", "efg", "gh"]
    assert windows(8, 3, 1, "left") == ["fgh", "def", "bcd", "ab"]
    assert windows(3, 3, 1, "right") == ["abc"]
    assert windows(2, 0, 0, "right") == ["", "ab"]
    with pytest.raises(ValueError, match="stride must be below the 3 tokens"):
        windows(8, 3, 3, "right")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (3, "post_processor"),
        ({}, "'type' is missing"),
        ({"type": "Nonsense"}, "type 'Nonsense' is not known"),
        ({"type": "BertProcessing"}, "'cls' is missing"),
        ({"type": "BertProcessing", "cls": ["a"], "sep": ["b", 1]}, "index out of range"),
        ({"type": "BertProcessing", "cls": ["a", -1], "sep": ["b", 1]}, r"cls\[1\] is -1"),
        ({"type": "BertProcessing", "cls": ["a", 2**31], "sep": ["b", 1]}, r"cls\[1\] is 2147"),
        ({"type": "RobertaProcessing", "cls": ["a", "1"], "sep": ["b", 1]}, r"cls\[1\] is '1'"),
        ({"type": "Sequence"}, "'processors' is missing"),
        ({"type": "Sequence", "processors": [PROCESSORS["bert"]] * 2}, "of several"),
        ({**TEMPLATE, "single": []}, "single does not hold each text once"),
        ({**TEMPLATE, "pair": TEMPLATE["single"]}, "pair does not hold"),
        ({**TEMPLATE, "special_tokens": {}}, r"'\[CLS\]' is missing"),
        ({**TEMPLATE, "single": [{"Nonsense": {"id": "A", "type_id": 0}}]}, "Nonsense"),
        ({**TEMPLATE, "single": [{"Sequence": {"id": "A", "type_id": -1}}]}, "type_id"),
        ({**TEMPLATE, "single": [{"Sequence": {"id": "C", "type_id": 0}}]}, "'C'"),
        ({**TEMPLATE, "single": [{}]}, "post_processor"),
    ],
)  # fmt: skip
def test_malformed_processors(settings: Any, message: str, tmp_path: Any) -> None:
    with pytest.raises(FormatError, match=rf"x\.json: malformed tokenizer: .*{message}") as raised:
        template.read(settings, "x.json")
    assert "post_processor: " in str(raised.value)
    folder = write(tmp_path / "folder", tokenizer__json=wordpiece_json(post_processor=settings))
    with pytest.raises(FormatError, match=r"tokenizer\.json: malformed tokenizer: post_processor"):
        BertTokenizer.from_pretrained(folder)


def test_added_tokens_in_texts(tmp_path: Any) -> None:
    """They are cut like other tokens, and are no special ones of the row."""
    content = wordpiece_json(added_tokens=special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    ours = BertTokenizer.from_pretrained(write(tmp_path / "f", tokenizer__json=content))
    found = ours("a [MASK][SEP] b", return_special_tokens_mask=True, return_offsets_mapping=True)
    assert found.tokens() == ["[CLS]", "a", "[MASK]", "[SEP]", "b", "[SEP]"]
    assert found["special_tokens_mask"] == [1, 0, 0, 0, 0, 1]
    assert found["offset_mapping"] == [(0, 0), (0, 1), (2, 8), (8, 13), (14, 15), (0, 0)]
    assert found.word_ids() == [None, 0, 1, 2, 3, None]
