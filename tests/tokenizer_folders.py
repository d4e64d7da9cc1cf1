"""Small tokenizers of all kinds in folders as transformers writes them, and texts that try them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *LETTERS, *"0123456789.,!?'\"()-[]#é中文字日本語한국яE",
    *(f"##{c}" for c in LETTERS + "0123456789é"),
    "the", "cat", "sat", "un", "##aff", "##able", "##ing", "##s", "play", "##er", "naive", "cafe",
    "he", "went", "to", "bank", "deposit", "money", "The", "hello", "is", "n", "don", "😀", "’",
)  # fmt: skip

TEXTS = [
    "He went to the bank to deposit money.",
    "The unaffable cats, playing!",
    "",
    " ",
    "naïve Café, NAÏVE CAFÉ: don't (the cat's)",
    "中文 and日本語, 한국 Яя ΑΣ ΟΔΟΣ",
    "😀 emoji 👍🏽, flag 🇩🇪, zero‍width​ space\ufeff",
    "control\x00 char\x07s\r\n\ttabs\x85\u2028lines\ufffd",
    "e\u0301\u0308 x\u0323\u0307 \u1e9b\u0323 \u212b \uf900 ½ ﬁ",
    "[MASK] the[SEP]cat [CLS][PAD] [UNK] [mask] <mask> <s></s> a <mask>",
    "a" * 101 + " " + "b" * 100 + " " + "cat" * 40,
    "the cat " * 30,
    "unassigned \u0378 private \ue000 \U000e0001 \U0001fae8 ıİſK",
    "   leading and   inner  and trailing   ",
    "1,234.56 + #tags @names e-mail@x.org http://a.b/c?d=e&f",
]


def write(folder: Path, **files: Any) -> Path:
    """Write files by name: text as it is, anything else as JSON; "__" stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def vocab() -> dict[str, int]:
    """A WordPiece vocabulary."""
    return {token: i for i, token in enumerate(dict.fromkeys((*SPECIAL, *WORDS)))}


def bert(folder: Path, **config: Any) -> Path:
    """vocab.txt and tokenizer_config.json."""
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **config}
    return write(folder, vocab__txt="\n".join(vocab()) + "\n", tokenizer_config__json=config)


def special(*contents: str, start: int = 0, **flags: bool) -> list[dict[str, Any]]:
    """Entries of ``added_tokens``."""
    return [
        {"id": start + i, "content": content, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True, **flags}
        for i, content in enumerate(contents)
    ]  # fmt: skip


def template(cls: str, sep: str, ids: dict[str, int], between: int, second: int) -> dict[str, Any]:
    """A TemplateProcessing with so many tokens between two texts, and the type of the second."""
    start, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in (cls, sep))
    one = [start, {"Sequence": {"id": "A", "type_id": 0}}, end]
    two = [*one, *[end] * (between - 1), {"Sequence": {"id": "B", "type_id": second}},
           {"SpecialToken": {"id": sep, "type_id": second}}]  # fmt: skip
    tokens = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (cls, sep)}
    return {"type": "TemplateProcessing", "single": one, "pair": two, "special_tokens": tokens}


def wordpiece_json(**changes: Any) -> dict[str, Any]:
    """The tokenizer.json of a BERT, with a template as newer ones have."""
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst",
                       "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special(*SPECIAL),
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template("[CLS]", "[SEP]", vocab(), 1, 1),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab()},
        **changes,
    }  # fmt: skip


def bert_json(folder: Path, **config: Any) -> Path:
    """tokenizer.json and tokenizer_config.json of a BERT."""
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **config}
    return write(folder, tokenizer__json=wordpiece_json(), tokenizer_config__json=config)


def mpnet(folder: Path) -> Path:
    """WordPiece with RoBERTa's special tokens; the mask takes the space before it."""
    tokens = ("<s>", "<pad>", "</s>", "[UNK]", *WORDS)
    words = {token: i for i, token in enumerate(dict.fromkeys((*tokens, "<mask>")))}
    content = wordpiece_json(
        added_tokens=[*special("<s>", "<pad>", "</s>", "[UNK]"),
                      *special("<mask>", start=words["<mask>"], lstrip=True)],
        post_processor={"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                        "trim_offsets": True, "add_prefix_space": False},
        model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 100, "vocab": words},
    )  # fmt: skip
    config = {
        "tokenizer_class": "MPNetTokenizer", "model_max_length": 64, "cls_token": "<s>",
        "sep_token": "</s>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
        "unk_token": "[UNK]", "mask_token": "<mask>", "do_lower_case": True,
    }  # fmt: skip
    return write(folder, tokenizer__json=content, tokenizer_config__json=config)


def _learned(kind: str) -> Any:
    """A tokenizer of the library, learned from some texts."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [*TEXTS[:6], "the cat sat on the mat", "playing and played"] * 5
    trainer: Any
    if kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=names, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
    else:
        made = tokenizers.Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=names, unk_token="<unk>", show_progress=False
        )
    made.train_from_iterator(texts, trainer)
    return made


_ROBERTA = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
            "pad_token": "<pad>", "unk_token": "<unk>"}  # fmt: skip
_MASK = {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False,
         "single_word": False}  # fmt: skip


def roberta(folder: Path, **config: Any) -> Path:
    """vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json."""
    model = json.loads(_learned("bpe").to_str())["model"]
    merges = "".join(f"{a} {b}\n" for a, b in model["merges"])
    return write(
        folder,
        vocab__json=model["vocab"],
        merges__txt=f"#version: 0.2\n{merges}",
        special_tokens_map__json=_ROBERTA | {"mask_token": _MASK},
        tokenizer_config__json={"tokenizer_class": "RobertaTokenizer", "model_max_length": 64}
        | config,
    )


def roberta_json(folder: Path, generic: bool = False) -> Path:
    """tokenizer.json of byte-level BPE; ``generic``: with ModernBERT's class and template."""
    content = json.loads(_learned("bpe").to_str())
    content["added_tokens"][4]["lstrip"] = True
    content["post_processor"] = {
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
        "trim_offsets": True, "add_prefix_space": False,
    }  # fmt: skip
    config = {
        "tokenizer_class": "RobertaTokenizer",
        "mask_token": {**_MASK, "__type": "AddedToken"},
    }
    if generic:
        content["post_processor"] = template("<s>", "</s>", {"<s>": 0, "</s>": 2}, 1, 0)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "<mask>",
            "model_input_names": ["input_ids", "attention_mask"],
        }  # fmt: skip
    return write(
        folder,
        tokenizer__json=content,
        tokenizer_config__json=_ROBERTA | {"model_max_length": 64} | config,
    )


def unigram(folder: Path) -> Path:
    """tokenizer.json of Unigram, as XLM-R and ALBERT have it."""
    content = json.loads(_learned("unigram").to_str())
    content["post_processor"] = template("<s>", "</s>", {"<s>": 0, "</s>": 2}, 2, 0)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64,
              "mask_token": "<mask>", **_ROBERTA}  # fmt: skip
    return write(folder, tokenizer__json=content, tokenizer_config__json=config)
