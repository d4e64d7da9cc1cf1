"""Small tokenizers of all kinds that generators have, trained here, and texts that try them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import tokenizers
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = [END, START, STOP]

TEXTS = [
    "The cat sat on the mat.",
    "", " ", "  ", "a", " a", "a ", "  two  spaces  ", "\t", "\n", "\n\n\n", " \n \t x\r\n\r\n y",
    "12 345", "1,234.56 + 7890123 = ½ Ⅷ ٣٤٥", "don't DON'T we'll I'Ve it's'",
    "Привет, мир! Ελληνικά, ΟΔΟΣ", "日本語のテキスト。 中文 한국어", "שלום עולם مرحبا بالعالم",
    "हिन्दी में लिखा ภาษาไทย", "😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪 family", "ﬁ ligature ŉ ǆ ﷺ",
    "e\u0301\u0308 x\u0323\u0307 \u1e9b\u0323 \u212b é", "zero\u200bwidth\u200d \ufeffbom\u2028sep",
    "control\x00 char\x07s\x85", "def f(x):\n    return x**2  # ok\n", "a" * 300,
    "========", "----------", "....", "http://a.b/c?d=e&f#g", "\U0010ffff\ue000\ufffd",
    "ſ K İ ı ß ẞ", "CamelCaseWordsHTTPServer snake_case",
]  # fmt: skip

WITH_CONTROL = [
    f"a{STOP}b", f"{STOP}", f" {START} user\n{STOP} ", f"{STOP}{STOP}{START}x",
    "<|im_end", "|im_end|>", f"x <|im_{STOP}end|> y",
]  # fmt: skip


@functools.cache
def corpus() -> tuple[str, ...]:
    return (*" ".join(topics.values()).split("\n\n"), *TEXTS)


def _trained(tokenizer: Any, trainer: Any) -> Any:
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


@functools.cache
def byte_level() -> str:
    """GPT-2's kind."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return str(_trained(tokenizer, trainer).to_str())


def _bytes_and(tokens: list[str]) -> list[str]:
    return tokens + [f"<0x{byte:02X}>" for byte in range(256)]


@functools.cache
def spaces_bpe() -> str:
    """Llama's kind, with a token for the beginning."""
    tokenizer = tokenizers.Tokenizer(
        models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=_bytes_and(["<unk>", "<s>", "</s>", *CONTROL]),
        limit_alphabet=120,
        show_progress=False,
    )
    made = json.loads(_trained(tokenizer, trainer).to_str())
    made["added_tokens"] = [one for one in made["added_tokens"] if "<0x" not in one["content"]]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(made))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return str(tokenizer.to_str())


@functools.cache
def first_space_bpe() -> str:
    """Llama's later kind: only what begins a text gets a space."""
    made = json.loads(spaces_bpe())
    made["normalizer"] = None
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    made["pre_tokenizer"] = space
    return json.dumps(made)


@functools.cache
def unigram() -> str:
    """T5's kind."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=["<unk>", "</s>", *CONTROL], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    _trained(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return str(tokenizer.to_str())


@functools.cache
def wordpiece() -> str:
    """BERT's kind."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CONTROL]
    trainer = trainers.WordPieceTrainer(
        vocab_size=800, special_tokens=special, limit_alphabet=150, show_progress=False
    )
    _trained(tokenizer, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return str(tokenizer.to_str())


KINDS = {
    "byte_level": byte_level,
    "spaces_bpe": spaces_bpe,
    "first_space_bpe": first_space_bpe,
    "unigram": unigram,
    "wordpiece": wordpiece,
}
ROLES = {
    "byte_level": {"bos_token": END, "eos_token": STOP},
    "spaces_bpe": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "first_space_bpe": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "unigram": {"eos_token": "</s>", "unk_token": "<unk>"},
    "wordpiece": {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
}


def folder(path: Path, kind: str, **config: Any) -> Path:
    """A folder with tokenizer.json and tokenizer_config.json."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.json").write_text(KINDS[kind](), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **ROLES[kind], **config}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def metadata(kind: str, pre: str = "gpt-2") -> dict[str, Any]:
    """The metadata of a GGUF file with the tokens of `byte_level` or `spaces_bpe`."""
    made = json.loads(KINDS[kind]())
    model = made["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].__getitem__)
    control = {one["content"] for one in made["added_tokens"]}
    types = [3 if token in control else 6 if token.startswith("<0x") else 1 for token in vocab]
    found: dict[str, Any] = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": vocab,
        "tokenizer.ggml.token_type": types,
    }
    if kind == "byte_level":
        merges = [" ".join(pair) for pair in model["merges"]]
        more = {"model": "gpt2", "pre": pre, "merges": merges, "bos_token_id": 1, "eos_token_id": 2}
    else:
        types[0] = 2
        ranks = {"".join(pair): -float(i) for i, pair in reversed([*enumerate(model["merges"])])}
        scores = [ranks.get(token, -1e6) for token in vocab]
        more = {"model": "llama", "scores": scores, "bos_token_id": 1, "eos_token_id": 2}
    return found | {f"tokenizer.ggml.{key}": value for key, value in more.items()}


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
