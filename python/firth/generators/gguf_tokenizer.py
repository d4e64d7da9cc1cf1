"""The tokenizer that a GGUF file describes: its metadata to the `tokenizers` package's objects.

============================ ======================================================================
``tokenizer.ggml.model``     what it is
============================ ======================================================================
gpt2                         byte-level BPE with merges; ``pre`` names the cuts (`pretokenizers`)
llama                        SentencePiece's BPE: neighbours are merged, best score first
gemma4                       BPE with merges over characters, spaces written as U+2581
bert                         WordPiece; words begin with U+2581 instead of the others with ``##``
t5                           SentencePiece's Unigram
============================ ======================================================================

Texts are cut as llama.cpp cuts them. Control tokens cannot be merged from parts.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from firth.arguments import shortened
from firth.errors import FormatError, warn
from firth.formats.files import PathLike
from firth.generators import pretokenizers
from firth.generators.pieces import byte_token
from firth.optional import needs

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_SPACE = "\u2581"
# Longer tokens are found whole or not at all: the ways to merge one grow with its length.
_LONGEST_MERGED = 1000


class Described(NamedTuple):
    """What the files of a model say of its tokenizer.

    Attributes
    ----------
    library : tokenizers.Tokenizer
    roles : dict of str to int
        Ids by role: "bos", "eos", "unk", "sep", "pad", "mask", "eot", "eom".
    before, after : list of int
        What stands around a text.
    ends : list of int
        Further ids that end a text.
    templates : dict of str to str
        Chat templates by name; that without a name is "default".
    """

    library: Any
    roles: dict[str, int]
    before: list[int]
    after: list[int]
    ends: list[int]
    templates: dict[str, str]


def read(metadata: Mapping[str, Any], path: PathLike | None = None) -> Described:
    """Build the tokenizer.

    Parameters
    ----------
    metadata : mapping of str to object
        As `firth.formats.gguf.read` returns it.
    path : path-like, optional
        For messages.

    Raises
    ------
    FormatError
        A key is missing, of a wrong kind, or contradicts others; the message names it.
    """
    return _Reader(metadata, path).read()


# What a file need not say: roles, whether their tokens stand before and after a text.
_DEFAULTS: dict[str, tuple[dict[str, int], bool, bool]] = {
    "gpt2": ({}, False, False),
    "gemma4": ({}, True, False),
    "llama": ({"bos": 1, "eos": 2, "unk": 0}, True, False),
    "bert": ({"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103}, True, False),
    "t5": ({"eos": 1, "unk": 2, "pad": 0}, False, True),
}
_ROLE_KEYS = {
    "bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding",
    "mask": "mask", "eot": "eot", "eom": "eom",
}  # fmt: skip


class _Reader:
    def __init__(self, metadata: Mapping[str, Any], path: PathLike | None) -> None:
        self.metadata, self.path = metadata, path
        self.package = needs("tokenizers", "the tokenizer of a GGUF file")
        self.model = self.get("model", str, "")
        if self.model not in _DEFAULTS:
            raise self.error("model", f"is {self.model!r}, not one of {', '.join(_DEFAULTS)}")

    def read(self) -> Described:
        self.tokens = self._tokens()
        self.types = self._types()
        roles, add_bos, add_eos = _DEFAULTS[self.model]
        self.roles = {role: i for role, i in roles.items() if i < len(self.tokens)}
        for role, name in _ROLE_KEYS.items():
            i = self.get(f"{name}_token_id", int, None)
            if i is not None and not 0 <= i < len(self.tokens):
                ids = f"an id below {len(self.tokens)}, the number of tokens"
                raise self.error(f"{name}_token_id", f"is {shortened(i)}, not {ids}")
            if i is not None:
                self.roles[role] = i
        self.pre = pretokenizers.PreTokenizer([], False, add_bos)
        library = getattr(self, f"_{self.model}")()
        self._add_tokens(library)
        templates = {}
        for key, value in self.metadata.items():
            if key.startswith("tokenizer.chat_template") and isinstance(value, str):
                templates[key[24:] or "default"] = value
        before = self._around("bos", self.pre.add_bos)
        after = self._around("eos", add_eos) + self._around("sep", self.model == "bert")
        return Described(library, self.roles, before, after, [], templates)

    def _around(self, role: str, usual: bool) -> list[int]:
        if not self.get(f"add_{role}_token", bool, usual) or role not in self.roles:
            return []
        return [self.roles[role]]

    # Metadata, checked

    def error(self, key: str, problem: str) -> FormatError:
        return FormatError(f"tokenizer.ggml.{key} {problem}", self.path)

    def get(self, key: str, kind: type, usual: Any) -> Any:
        value = self.metadata.get(f"tokenizer.ggml.{key}")
        if value is None:
            return usual
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            plain = isinstance(value, (str, int, float))
            got = shortened(value) if plain else f"of type {type(value).__name__}"
            raise self.error(key, f"is {got}, not of type {kind.__name__}")
        return value

    def _strings(self, key: str) -> list[str]:
        values = self.get(key, list, [])
        for i, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(key, f"[{i}] is {shortened(value)}, not a string")
        try:
            "\0".join(values).encode()
        except UnicodeEncodeError:
            i = next(i for i, value in enumerate(values) if not _is_unicode(value))
            raise self.error(key, f"[{i}] is not UTF-8") from None
        return list(values)

    def _tokens(self) -> list[str]:
        tokens = self._strings("tokens")
        if not tokens:
            raise self.error("tokens", "is missing or empty")
        tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]
        self.vocab = {token: i for i, token in enumerate(tokens)}
        if len(self.vocab) < len(tokens):
            i = next(i for i, token in enumerate(tokens) if self.vocab[token] != i)
            other = self.vocab[tokens[i]]
            raise self.error("tokens", f"[{i}] and [{other}] are both {shortened(tokens[i])}")
        return tokens

    def _numbers(self, key: str, kinds: str) -> np.ndarray | None:
        values = self.metadata.get(f"tokenizer.ggml.{key}")
        if values is None:
            return None
        values = np.asarray(values)
        if values.ndim != 1 or values.dtype.kind not in kinds:
            raise self.error(key, f"has numbers of type {values.dtype}")
        if len(values) != len(self.tokens):
            raise self.error(key, f"has {len(values)} values for {len(self.tokens)} tokens")
        return values

    def _types(self) -> list[int]:
        found = self._numbers("token_type", "iu")
        types = [NORMAL] * len(self.tokens) if found is None else found.tolist()
        for i, (token, type) in enumerate(zip(self.tokens, types, strict=True)):
            if type == BYTE and byte_token(token) is None:
                raise self.error("tokens", f"[{i}] is {shortened(token)}, not a byte like <0x0A>")
        return types

    def _scores(self) -> list[float]:
        scores = self._numbers("scores", "fiu")
        if scores is None:
            raise self.error("scores", "is missing")
        if not np.isfinite(scores).all():
            i = int(np.argmin(np.isfinite(scores)))
            raise self.error("scores", f"[{i}] is {scores[i]}, not a finite number")
        return [float(score) for score in scores]

    def _bpe(self, merges: list[tuple[str, str]] | None = None, **options: Any) -> Any:
        """The package's model, by default with the merges of the file."""
        make = functools.partial(self.package.models.BPE, self.vocab, **options)
        if merges is not None:
            return make(merges)
        if "tokenizer.ggml.merges" not in self.metadata:
            raise self.error("merges", "is missing")
        texts = self._strings("merges")
        some = set(texts)
        control = {
            self.tokens[i] for i, type in enumerate(self.types) if type in (CONTROL, UNKNOWN)
        }
        if not any(
            f"{token[:at]} {token[at:]}" in some for token in control for at in range(1, len(token))
        ):
            # the package finds what is no token, too, in a third of the time, but gives no place
            with contextlib.suppress(Exception):
                return make([(*text.split(" "),) for text in texts])
        return make(self._merges(control))

    def _merges(self, control: set[str]) -> list[tuple[str, str]]:
        vocab, pairs = self.vocab, []
        for i, merge in enumerate(self._strings("merges")):
            at = merge.find(" ", 1)
            left, right = merge[:at], merge[at + 1 :]
            made = left + right
            if at < 0 or not right:
                raise self.error("merges", f"[{i}] is {shortened(merge)}, not two tokens")
            if left not in vocab or right not in vocab or made not in vocab:
                missing = next(token for token in (left, right, made) if token not in vocab)
                raise self.error("merges", f"[{i}] needs {shortened(missing)}, which is no token")
            if made not in control:
                pairs.append((left, right))
        return pairs

    # The kinds

    def _gpt2(self) -> Any:
        package, name = self.package, self.get("pre", str, "")
        if not name:
            warn(f"{self.path}: tokenizer.ggml.pre is missing; texts are cut as by 'default'")
        found = pretokenizers.named(name or "default")
        if found is None:
            known = ", ".join(pretokenizers.names())
            raise self.error("pre", f"is {shortened(name)}, not one of {known}")
        self.pre = found
        library = package.Tokenizer(self._bpe(ignore_merges=found.ignore_merges))
        split, level = package.pre_tokenizers.Split, package.pre_tokenizers.ByteLevel
        library.pre_tokenizer = package.pre_tokenizers.Sequence([
            *(split(package.Regex(pattern), "isolated") for pattern in found.patterns),
            level(add_prefix_space=False, use_regex=False),
        ])  # fmt: skip
        library.decoder = package.decoders.ByteLevel()
        return library

    def _llama(self) -> Any:
        scores = self._scores()
        listed = "tokenizer.ggml.merges" in self.metadata
        library = self._spaced(None if listed else self._merges_of(scores))
        prefix = self.get("add_space_prefix", bool, True)
        library.normalizer = self._normalizer(prefix)
        library.decoder = self._decoder(strip=prefix)
        return library

    def _gemma4(self) -> Any:
        package = self.package
        library = self._spaced(None)
        library.pre_tokenizer = package.pre_tokenizers.Split(package.Regex(r"\n+"), "isolated")
        return library

    def _spaced(self, merges: list[tuple[str, str]] | None) -> Any:
        """BPE over characters, with bytes for those that are no tokens."""
        package = self.package
        unknown = self.tokens[self.roles["unk"]] if "unk" in self.roles else None
        has_bytes = BYTE in self.types or "<0x00>" in self.vocab
        library = package.Tokenizer(
            self._bpe(merges, unk_token=unknown, fuse_unk=True, byte_fallback=has_bytes)
        )
        library.normalizer = package.normalizers.Replace(" ", _SPACE)
        library.decoder = self._decoder(strip=False)
        return library

    def _decoder(self, strip: bool) -> Any:
        decoders = self.package.decoders
        parts = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        return decoders.Sequence(parts + [decoders.Strip(" ", 1, 0)] * strip)

    def _merges_of(self, scores: list[float]) -> list[tuple[str, str]]:
        """All ways to make a token of two others, best score first.

        SentencePiece merges the pair whose token has the best score, the leftmost of equal ones.
        """
        tokens, types, find = self.tokens, self.types, self.vocab.get
        found = []
        for i in sorted(range(len(tokens)), key=lambda i: -scores[i]):
            token = tokens[i]
            if types[i] in (UNKNOWN, CONTROL, BYTE) or len(token) > _LONGEST_MERGED:
                continue
            pairs = []
            for at in range(1, len(token)):
                left = find(token[:at])
                if left is not None and (right := find(token[at:])) is not None:
                    pairs.append((left, right))
            found += sorted(pairs)
        return [(tokens[left], tokens[right]) for left, right in found]

    def _bert(self) -> Any:
        package, prefix = self.package, "##"
        special = (CONTROL, UNKNOWN)
        self.tokens = [
            token
            if type in special
            else token[1:] if token.startswith(_SPACE) and len(token) > 1
            else prefix + token
            for token, type in zip(self.tokens, self.types, strict=True)
        ]  # fmt: skip
        vocab = {token: i for i, token in enumerate(self.tokens)}
        if "unk" not in self.roles:
            raise self.error("unknown_token_id", "is missing")
        library = package.Tokenizer(
            package.models.WordPiece(
                vocab, unk_token=self.tokens[self.roles["unk"]], continuing_subword_prefix=prefix
            )
        )
        lower = self.get("normalizer.lowercase", bool, True)
        strip = self.get("normalizer.strip_accents", bool, lower)
        library.normalizer = package.normalizers.BertNormalizer(
            lowercase=lower, strip_accents=strip
        )
        library.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
        library.decoder = package.decoders.WordPiece(prefix)
        return library

    def _t5(self) -> Any:
        package, scores = self.package, self._scores()
        if "unk" not in self.roles:
            raise self.error("unknown_token_id", "is missing")
        library = package.Tokenizer(
            package.models.Unigram(
                list(zip(self.tokens, scores, strict=True)),
                unk_id=self.roles["unk"],
                byte_fallback=BYTE in self.types,
            )
        )
        prefix = self.get("add_space_prefix", bool, False)
        library.normalizer = self._normalizer(prefix)
        library.decoder = self._decoder(strip=prefix)
        return library

    def _normalizer(self, prefix: bool) -> Any:
        """SentencePiece's: characters replaced, spaces cut, one put before the text."""
        package, normalizers = self.package, self.package.normalizers
        parts = []
        charsmap = self.get("precompiled_charsmap", np.ndarray, np.zeros(0, np.uint8))
        if charsmap.dtype not in (np.int8, np.uint8):
            raise self.error("precompiled_charsmap", "is not an array of bytes")
        if charsmap.size:
            try:
                parts.append(normalizers.Precompiled(charsmap.tobytes()))
            except Exception as error:
                raise self.error("precompiled_charsmap", f"is malformed: {error}") from None
        if self.get("remove_extra_whitespaces", bool, False):
            spaces = normalizers.Replace(package.Regex(" {2,}"), " ")
            parts += [normalizers.Replace(package.Regex("^ +| +$"), ""), spaces]
        parts += [normalizers.Prepend(_SPACE)] * prefix
        return normalizers.Sequence([*parts, normalizers.Replace(" ", _SPACE)])

    # Tokens that are found whole

    def _add_tokens(self, library: Any) -> None:
        added = self.package.AddedToken
        name = str(self.metadata.get("general.name", "")).lower()
        phi3 = "phi-3" in name or "phi3" in name
        ends = {self.roles[role] for role in ("bos", "eos", "eot", "eom") if role in self.roles}
        special, others = [], []
        for i, type in enumerate(self.types):
            if type == NORMAL and i not in ends:
                continue
            token = self.tokens[i]
            # Phi-3's were made so that a line end behind them is part of them
            right = phi3 and token not in ("<unk>", "<s>", "<|endoftext|>")
            if type in (CONTROL, UNKNOWN) or i in ends:
                special.append(added(token, special=True, normalized=False, rstrip=right))
            elif type == USER_DEFINED:
                others.append(added(token, special=False, normalized=False, rstrip=right))
        library.add_special_tokens(special)
        library.add_tokens(others)
        assert library.get_vocab_size(with_added_tokens=True) == len(self.tokens)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def damage_named(path: PathLike | None) -> Iterator[None]:
    """Turns what the package raises, a Rust panic included, into a FormatError."""
    try:
        yield
    except BaseException as error:
        if type(error) in (Exception, ValueError) or type(error).__name__ == "PanicException":
            raise FormatError(f"malformed tokenizer: {error}", path) from None
        raise


def state_of(part: Any) -> Any:
    """What a part of a tokenizer says of itself, as in a ``tokenizer.json``."""
    return None if part is None else json.loads(part.__getstate__())
