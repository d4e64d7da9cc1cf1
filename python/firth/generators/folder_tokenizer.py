"""The tokenizer that a model's folder holds: its files to the `tokenizers` package's objects.

======================== ==========================================================================
file                     what is taken from it
======================== ==========================================================================
tokenizer.json           the tokenizer; if there is none:
vocab.json, merges.txt   byte-level BPE as GPT-2 has it, or Qwen2 or BART where the files name that
vocab.txt                WordPiece as BERT has it
tokenizer.model,         SentencePiece's BPE or Unigram
spiece.model
tokenizer_config.json    special and added tokens, a chat template
special_tokens_map.json  special tokens, where tokenizer_config.json has none
generation_config.json   the ids that end a text
config.json              the same, where generation_config.json has none
chat_template.jinja      a chat template
======================== ==========================================================================
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable
from typing import Any

from firth.arguments import shortened
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.generators import gguf_tokenizer, pretokenizers, sentencepiece_model
from firth.generators.gguf_tokenizer import Described, damage_named, state_of
from firth.optional import needs
from firth.tokenizers import files, template
from firth.tokenizers.settings import ROLES, text_of

FILES = (
    "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model",
    "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json",
    "chat_template.jinja",
)  # fmt: skip
"""All names that a folder may have, to be asked for on a hub."""

_END = "<|endoftext|>"
_ENDS_TEXTS = re.compile("t5|pegasus|spiece")  # classes that end texts by </s>, and T5's file


def there_is_one(folder: PathLike) -> bool:
    """Whether a folder has any of the files that `read` takes a tokenizer from."""
    names = ("tokenizer.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model")
    return any((pathlib.Path(folder) / name).is_file() for name in names)


def read(folder: pathlib.Path) -> Described:
    """Read the files; FormatError where there is no tokenizer, or one is malformed."""
    return _Folder(folder).read()


class _Folder:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.package = needs("tokenizers", "the tokenizer of a generator")
        self.config = self.object("tokenizer_config.json")
        for name, value in self.object("special_tokens_map.json").items():
            self.config.setdefault(name, value)

    def read(self) -> Described:
        found = self._described()
        library = found.library
        library.no_padding()
        library.no_truncation()
        where = self.folder / "tokenizer_config.json"
        tokens = {
            role.removesuffix("_token"): text_of(self.config[role], role, where)
            for role in ROLES
            if self.config.get(role) is not None
        }
        self._add_tokens(library, tokens.values())
        roles = {role: library.token_to_id(token) for role, token in tokens.items()}
        return found._replace(
            roles=found.roles | roles, ends=self._ends(), templates=self._templates()
        )

    def _described(self) -> Described:
        """The tokenizer and what stands around a text."""
        library = self._library()
        if library is None:
            return self._sentencepiece()
        parts = template.read(state_of(library.post_processor), self.folder).single
        at = [part.sequence for part in parts].index(0)
        before, after = ([part.id for part in some] for some in (parts[:at], parts[at + 1 :]))
        return Described(library, {}, before, after, [], {})

    def _sentencepiece(self) -> Described:
        for name in ("tokenizer.model", "spiece.model"):
            if (self.folder / name).is_file():
                metadata = sentencepiece_model.read(self.folder / name)
                for key in ("add_bos_token", "add_eos_token"):
                    if isinstance(self.config.get(key), bool):
                        metadata[f"tokenizer.ggml.{key}"] = self.config[key]
                if not _ENDS_TEXTS.search(self._kind() or name):
                    metadata.setdefault("tokenizer.ggml.add_eos_token", False)
                found = gguf_tokenizer.read(metadata, self.folder / name)
                if "t5" in self._kind():
                    self._add_sentinels(found.library)
                return found
        raise FormatError(
            "holds no tokenizer: no tokenizer.json, vocab.json with merges.txt, vocab.txt, "
            "tokenizer.model or spiece.model",
            self.folder,
        )

    def _add_sentinels(self, library: Any) -> None:
        """T5's tokens for gaps, the last first, which its SentencePiece model does not have."""
        count = self.config.get("extra_ids", 100)
        if type(count) is not int or not 0 <= count <= 1 << 16:
            raise FormatError(
                f"extra_ids is {shortened(count)}", self.folder / "tokenizer_config.json"
            )
        added = self.package.AddedToken
        names = [f"<extra_id_{i}>" for i in reversed(range(count))]
        library.add_special_tokens([added(name, special=True, normalized=False) for name in names])

    def _kind(self) -> str:
        """The tokenizer's class in lower case, or the model's type."""
        found = self.config.get("tokenizer_class") or self.object("config.json").get("model_type")
        return str(found or "").lower()

    def object(self, name: str) -> dict[str, Any]:
        """The object of a JSON file; empty where there is no file."""
        return files.read_object(self.folder / name)

    def _library(self) -> Any:
        """The tokenizer of the files that are not SentencePiece's; None where there are none."""
        package, models = self.package, self.package.models
        whole, words = self.folder / "tokenizer.json", self.folder / "vocab.txt"
        pairs, merges = self.folder / "vocab.json", self.folder / "merges.txt"
        if whole.is_file():
            with damage_named(whole):
                return package.Tokenizer.from_buffer(whole.read_bytes())
        if pairs.is_file() and merges.is_file():
            vocab = self.object("vocab.json")
            if not all(type(i) is int and 0 <= i < 2**31 for i in vocab.values()):
                raise FormatError("an id is not a whole number", pairs)
            found = [(left, right) for left, right in files.read_merges(merges)]
            for pair in found:
                if missing := [one for one in (*pair, "".join(pair)) if one not in vocab]:
                    raise FormatError(f"needs {shortened(missing[0])}, which is no token", merges)
            with damage_named(pairs):
                return self._byte_level(package.Tokenizer(models.BPE(vocab, found)))
        if words.is_file():
            with damage_named(words):
                library = package.Tokenizer(
                    models.WordPiece(files.read_words(words), unk_token="[UNK]")
                )
            lower = bool(self.config.get("do_lower_case", True))
            library.normalizer = package.normalizers.BertNormalizer(
                lowercase=lower,
                strip_accents=self.config.get("strip_accents"),
                handle_chinese_chars=bool(self.config.get("tokenize_chinese_chars", True)),
            )
            library.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
            library.decoder = package.decoders.WordPiece()
            names = ("unk", "sep", "pad", "cls", "mask")
            self._usual(library, {f"{name}_token": f"[{name.upper()}]" for name in names})
            ends = [(name, library.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
            if all(i is not None for _, i in ends):
                library.post_processor = package.processors.BertProcessing(*ends)
            return library
        return None

    def _byte_level(self, library: Any) -> Any:
        """GPT-2's, or Qwen2's or BART's where the files name that."""
        package, level = self.package, self.package.pre_tokenizers.ByteLevel
        kind = self._kind()
        library.decoder = package.decoders.ByteLevel()
        if kind.startswith(("bart", "roberta")):
            return self._bart(library)
        other = kind.startswith("qwen2")
        self._usual(library, {} if other else {"bos_token": _END, "unk_token": _END})
        self._usual(library, {"eos_token": _END})
        if not other:
            space = bool(self.config.get("add_prefix_space", False))
            library.pre_tokenizer = level(add_prefix_space=space)
            return library
        qwen2 = pretokenizers.named("qwen2")
        assert qwen2 is not None
        cuts = [
            package.pre_tokenizers.Split(package.Regex(pattern), "isolated")
            for pattern in qwen2.patterns
        ]
        library.normalizer = package.normalizers.NFC()
        library.pre_tokenizer = package.pre_tokenizers.Sequence(
            [*cuts, level(add_prefix_space=False, use_regex=False)]
        )
        return library

    def _bart(self, library: Any) -> Any:
        """Byte-level BPE with tokens before and behind a text."""
        package, where = self.package, self.folder / "vocab.json"
        self._usual(
            library,
            {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
            | {"mask_token": "<mask>"},
        )
        ends = [(name, library.token_to_id(name)) for name in ("</s>", "<s>")]
        if None in dict(ends).values():
            raise FormatError("has no <s> or no </s>", where)
        space = bool(self.config.get("add_prefix_space", False))
        library.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=space)
        library.post_processor = package.processors.RobertaProcessing(*ends)
        return library

    def _usual(self, library: Any, tokens: dict[str, str]) -> None:
        """Special tokens where tokenizer_config.json names none."""
        for role, token in tokens.items():
            if library.token_to_id(token) is not None:
                self.config.setdefault(role, token)

    def _add_tokens(self, library: Any, roles: Iterable[str]) -> None:
        """Tokens that tokenizer_config.json adds to the tokenizer, or calls special."""
        package, where = self.package, self.folder / "tokenizer_config.json"
        flags = ("single_word", "lstrip", "rstrip", "normalized")
        tokens = []
        entries = self.config.get("added_tokens_decoder") or {}
        if not isinstance(entries, dict) or not all(i.isdecimal() for i in entries):
            raise FormatError("the ids of added tokens are not numbers", where)
        ids = {text_of(one, "added_tokens_decoder", where): int(i) for i, one in entries.items()}
        listed = [entries[i] for i in sorted(entries, key=int)]
        extra = self.config.get(
            "extra_special_tokens", self.config.get("additional_special_tokens")
        )
        extra = extra.values() if isinstance(extra, dict) else extra or ()
        more = [text_of(one, "extra_special_tokens", where) for one in extra]
        special = dict.fromkeys([*roles, *more])
        for entry in (*listed, *(one for one in special if one not in ids)):
            content = text_of(entry, "added_tokens_decoder", where)
            given = entry if isinstance(entry, dict) else {}
            isspecial = content in special or bool(given.get("special"))
            tokens.append(package.AddedToken(
                content, special=isspecial,
                **{"normalized": not isspecial}
                | {flag: bool(given[flag]) for flag in flags if flag in given},
            ))  # fmt: skip
        known = library.get_added_tokens_decoder().values()
        kept = {token.content: token.special for token in known}
        for token in tokens:
            if kept.get(token.content) != token.special:
                (library.add_special_tokens if token.special else library.add_tokens)([token])
        for content, i in ids.items():
            if library.token_to_id(content) != i:
                got = library.token_to_id(content)
                raise FormatError(
                    f"added token {content!r} has id {i}, but comes to be {got}", where
                )

    def _ends(self) -> list[int]:
        for name in ("generation_config.json", "config.json"):
            found = self.object(name).get("eos_token_id")
            if found is not None:
                ids = found if isinstance(found, list) else [found]
                if not all(type(i) is int and i >= 0 for i in ids):
                    raise FormatError(f"eos_token_id is {found!r}", self.folder / name)
                return ids
        return []

    def _templates(self) -> dict[str, str]:
        where = self.folder / "chat_template.jinja"
        if where.is_file():
            return {"default": files.read_text(where)}
        found = self.config.get("chat_template")
        if isinstance(found, str):
            return {"default": found}
        if found is None:
            return {}
        try:
            return {str(one["name"]): str(one["template"]) for one in found}
        except (TypeError, KeyError):
            raise FormatError(
                "chat_template is no text", self.folder / "tokenizer_config.json"
            ) from None
