"""tokenizer.json: native code against the `tokenizers` package, id by id."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firth import FormatError
from firth.tokenizers.characters import normalized
from firth.tokenizers.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers")

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"()-[]#éüßñøåÄÖ中文字日本語한국я",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789éüßı"),
    "the", "cat", "sat", "un", "##aff", "##able", "##ing", "##s", "play", "##er", "naive", "cafe",
    "ab", "abc", "##bc", "##cd", "straße", "über", "uber", "привет", "##вет", "ᄒ", "##ᅡ", "##ᆫ",
    "##", "😀", "‘", "’", "…", "i", "##̇", "ςσ", "##σ", "##ς",
)  # fmt: skip
ALPHABET = (
    "abcABCxyzißÄéñİıſKΣσς \t\n\r\x00\x0b\x0c\x1c\x85\xa0\u00ad\u200b\u200d\u2028\u3000\ufeff"
)
ALPHABET += "0123.,!?'\"()[]#$+<=>^`|~-_‘’…—§¶«»²½中文字豈﨎日本語한국ᄒ"
ALPHABET += "😀👍🏽🇩\ufe0f\u0301\u0308\u0323\u302e"
ALPHABET += "яЁй\u0600\u06dd\u0f71\u166d\u1734\ufffd\ufffe\ue000\U000e0001\U0001fae8\u0378"


def wordpiece(
    lowercase: bool = True,
    strip_accents: bool | None = None,
    clean_text: bool = True,
    handle_chinese_chars: bool = True,
    longest: int = 100,
    added: Any = (),
) -> Tokenizer:
    vocab = {token: i for i, token in enumerate(dict.fromkeys((*SPECIAL, *WORDS)))}
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": vocab[token], "content": token, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for token in SPECIAL
        ] + [
            {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": False, "id": len(vocab) + i, **token}
            for i, token in enumerate(added)
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": clean_text, "lowercase": lowercase,
                       "handle_chinese_chars": handle_chinese_chars,
                       "strip_accents": strip_accents},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0,
                       "direction": "Left"},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": longest, "vocab": vocab},
    }  # fmt: skip
    return Tokenizer(json.dumps(content))


# All ways of normalising, and an added token that may occur inside a word.
TOKENIZERS = [
    wordpiece(),
    wordpiece(lowercase=False),
    wordpiece(lowercase=False, strip_accents=True, clean_text=False),
    wordpiece(strip_accents=False, handle_chinese_chars=False, longest=6),
    wordpiece(clean_text=False, added=[{"content": "cat"}, {"content": "ß", "lstrip": True}]),
    # One that is the beginning of another, one that must be a word.
    wordpiece(added=[{"content": "a"}, {"content": "ab c"}, {"content": "x", "single_word": True}]),
]


def lists(encoded: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    ids, offsets = encoded
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [part.tolist() for part in np.split(ids, offsets[1:-1])] if len(offsets) > 1 else []


def by_library(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    encodings = tokenizer.library.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def check_places(tokenizer: Tokenizer, texts: list[str]) -> None:
    """Ids, spans and words are those of the library."""
    pieces = tokenizer.encode(texts, places=True)
    for i, encoding in enumerate(tokenizer.library.encode_batch(texts, add_special_tokens=False)):
        own = slice(*pieces.offsets[i : i + 2])
        assert pieces.ids[own].tolist() == encoding.ids, texts[i]
        assert pieces.spans[own].tolist() == [list(span) for span in encoding.offsets], texts[i]
        assert pieces.words[own].tolist() == encoding.word_ids, texts[i]


def test_common_text_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    tokenizer = wordpiece()
    texts = [
        "The cats sat.", "UNAFFABLE", "", "  ", "naïve Café", "“quoted” – 中文 😀", "a" * 101,
        "a[MASK]cat [SEP]",
    ]  # fmt: skip
    got = [[tokenizer.tokens[i] for i in ids] for ids in lists(tokenizer.encode_batch(texts))]
    assert got == [
        ["the", "cat", "##s", "sat", "."],
        ["un", "##aff", "##able"],
        [],
        [],
        ["naive", "cafe"],
        ["[UNK]", "q", *(f"##{c}" for c in "uoted"), "[UNK]", "[UNK]", "中", "文", "😀"],
        ["[UNK]"],
        ["a", "[MASK]", "cat", "[SEP]"],
    ]
    with pytest.raises(ImportError, match=r"pip install tokenizers"):
        tokenizer.encode_batch(["\u0378"])


# All code points; of the planes for private use only the first ones, as examples.
CODE_POINTS = [c for c in range(0xF0100) if not 0xD800 <= c < 0xE000]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_code_point(tokenizer: Tokenizer) -> None:
    """Alone, and inside a word, where it may vanish, split or join."""
    known = [c for c in map(chr, CODE_POINTS) if normalized(c, *tokenizer._normalizer) is not None]
    assert len(known) > 60_000
    # A text that holds a token which takes spaces with it or must be a word is left to the library.
    added = tokenizer.settings["added_tokens"]
    left = [token["content"] for token in added if token["lstrip"] or token["single_word"]]
    pieces = [f"{c} a{c}b ##{c}" for c in known]
    kept = [p for p in pieces if not any(content in p for content in left)]
    others = [p for p in pieces if any(content in p for content in left)]
    texts = [" ".join(kept[i : i + 100]) for i in range(0, len(kept), 100)]
    texts += others
    check_places(tokenizer, texts)
    assert tokenizer._native is not None
    skipped = tokenizer._native.encode(tuple(texts), sys.maxsize, sys.maxsize, False)[2]
    assert len(skipped) == len(others) >= len(left)


def test_which_code_points_are_native() -> None:
    for first, last in ((0, 0x220), (0x391, 0x3A1), (0x410, 0x44F), (0x2010, 0x2043),
                        (0x20AC, 0x20AC), (0x3041, 0x3096), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
                        (0x1F300, 0x1F320), (0x1F600, 0x1F64F)):  # fmt: skip
        missing = [
            c for c in range(first, last) if normalized(chr(c), True, True, True, True) is None
        ]
        assert missing == []
    for c in (0x378, 0xD800, 0x166D, 0x302E):  # unassigned, changed, reordered
        assert normalized(chr(c), True, True, True, True) is None


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(
        st.text(
            st.one_of(st.sampled_from(ALPHABET), st.characters(exclude_categories=["Cs"])),
            max_size=30,
        ),
        max_size=6,
    )
)
@example(texts=["[CLS] the [UNK]cat[SEP]", "[unk] [MAS K]", "xcat", "ßß a ß"])
@example(texts=["[MASK][MASK]a[MASK", "the cat[SEP]", "a \u0378 [CLS] \u0301a", "\U0010ffff é中"])
@example(texts=["a" * 100 + " " + "a" * 101 + " " + "ab" * 60, "İİ", "ΑΣ ΟΔΟΣ"])
def test_ids_are_the_librarys(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert lists(tokenizer.encode_batch(texts)) == by_library(tokenizer, texts)
    check_places(tokenizer, texts)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.sampled_from("abct[UNK] é中"), max_size=20),
    characters=st.integers(0, 22),
    length=st.integers(0, 12),
)
def test_limits(text: str, characters: int, length: int) -> None:
    tokenizer = TOKENIZERS[0]
    want = [ids[:length] for ids in by_library(tokenizer, [text[:characters], "abc"[:characters]])]
    assert lists(tokenizer.encode_batch([text, "abc"], length, characters)) == want


def test_batch_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    tokenizer = wordpiece()
    texts = ["".join(rng.choice(list(ALPHABET), rng.integers(60))) for _ in range(700)]
    together = lists(tokenizer.encode_batch(texts))
    assert together == [
        lists(wordpiece().encode_batch([t]))[0] if i % 50 == 0 else together[i]
        for i, t in enumerate(texts)
    ]
    assert together == by_library(tokenizer, texts)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_lone_surrogates_are_refused(kind: str) -> None:
    tokenizer = wordpiece() if kind == "wordpiece" else Tokenizer(trained(kind).to_str())
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud800' at character 2: not Unicode"):
        tokenizer.encode_batch(["a", "b \ud800"])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("bad", [None, 3, b"a"])
def test_only_strings(kind: str, bad: Any) -> None:
    tokenizer = wordpiece() if kind == "wordpiece" else Tokenizer(trained(kind).to_str())
    with pytest.raises(TypeError, match="string"):
        tokenizer.encode_batch(["a", bad])


def trained(kind: str) -> Any:
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    texts = ["the cat sat on the mat", "a naïve café, 123!", "playing and played"] * 5
    if kind == "bpe":
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<pad>"], show_progress=False)
    elif kind == "unigram":
        tokenizer = tokenizers.Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=60, special_tokens=["<pad>", "<unk>"], unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordlevel"])
def test_other_kinds_go_to_the_library(kind: str) -> None:
    library = trained(kind)
    tokenizer = Tokenizer(library.to_str())
    vocab = library.get_vocab()
    assert tokenizer.tokens == tuple(sorted(vocab, key=vocab.__getitem__))
    check_places(tokenizer, ["the cat played", "", "déjà vu 中", "zzz"])
    assert tokenizer.unk_id == {"bpe": None, "unigram": 1, "wordlevel": 0}[kind]
    assert tokenizer.ids == vocab
    texts = ["the cat played", "", "déjà vu 中", "zzz"]
    want = [encoding.ids for encoding in library.encode_batch(texts, add_special_tokens=False)]
    assert lists(tokenizer.encode_batch(texts)) == want
    assert lists(tokenizer.encode_batch(texts, 2, 5)) == [
        ids[:2]
        for ids in (
            e.ids for e in library.encode_batch([t[:5] for t in texts], add_special_tokens=False)
        )
    ]


def test_added_tokens_in_normalized_text_go_to_the_library() -> None:
    tokenizer = wordpiece(added=[{"content": "cat sat", "normalized": True}])
    assert tokenizer._native is None
    (ids,) = lists(tokenizer.encode_batch(["the CAT sat"]))
    assert [tokenizer.tokens[i] for i in ids] == ["the", "cat sat"]


def damaged(change: Any) -> str:
    content = json.loads(TOKENIZERS[0].json)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "3", '{"model": null}', '{"model": {"vocab": {}}}', "[" * 100_000,
        damaged(lambda c: c.pop("model")),
        damaged(lambda c: c["model"].update(vocab=3)),
        damaged(lambda c: c["model"].update(vocab={"a": -1})),
        damaged(lambda c: c["model"].update(vocab={"a": 2**31})),
        damaged(lambda c: c["model"].update(vocab={"a": 1.5})),
        damaged(lambda c: c["model"].update(vocab={"a": True})),
        damaged(lambda c: c["model"].update(vocab=[["a"]])),
        damaged(lambda c: c["model"].update(vocab=[[["a"], 1]])),
        damaged(lambda c: c["model"].update(unk_token=["a"])),
        damaged(lambda c: c.update(added_tokens=3)),
        damaged(lambda c: c.update(added_tokens=[{"id": 1}])),
        damaged(lambda c: c.update(added_tokens=[{"id": "1", "content": "a"}])),
        damaged(lambda c: c.update(normalizer="BertNormalizer")),
        damaged(lambda c: c.update(pre_tokenizer=["BertPreTokenizer"])),
        '{"model": {"type": "WordPiece", "vocab": {"\\ud800": 0}}}',
    ],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(FormatError, match=r"x\.json: malformed tokenizer"):
        Tokenizer(text, "x.json")


def test_random_damage_never_raises_anything_else() -> None:
    whole = TOKENIZERS[0].json
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = list(whole)
        for place in rng.integers(0, len(text), 3):
            text[place] = chr(rng.integers(32, 127))
        try:
            tokenizer = Tokenizer("".join(text))
        except FormatError:
            continue
        with contextlib.suppress(FormatError):
            tokenizer.encode_batch(["the cat", "ab"])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"].update(type="Nonsense"),
        lambda c: c["model"].update(type="WordLevel", unk_token="nowhere"),
        lambda c: c.update(normalizer={"type": "Nonsense"}),
        lambda c: c.update(version=7, normalizer=None),
    ],
)
def test_what_the_library_refuses(change: Any) -> None:
    """It raises Exception itself, when the JSON is read or when a text is encoded."""
    pytest.importorskip("tokenizers")
    tokenizer = Tokenizer(damaged(change), "x.json")
    with pytest.raises(FormatError, match=r"x\.json: malformed tokenizer"):
        tokenizer.encode_batch(["qqq zzz"])


def test_not_utf8(tmp_path: Any) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match="not UTF-8"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
