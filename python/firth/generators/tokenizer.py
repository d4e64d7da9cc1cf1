"""The tokenizer of a generator: text to ids and back, conversations to prompts.

The `tokenizers` package cuts the texts, by what a folder (`folder_tokenizer`) or a GGUF file
(`gguf_tokenizer`) says.
"""

from __future__ import annotations

import functools
import json
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from firth.arguments import check_text, shortened
from firth.errors import FormatError
from firth.formats import hub
from firth.formats.files import PathLike
from firth.generators import conversation, gguf_tokenizer
from firth.generators.chat_template import ChatTemplate
from firth.generators.gguf_tokenizer import Described, damage_named, state_of
from firth.generators.pieces import Pieces
from firth.optional import needs

# Control tokens that end a turn in some model, whatever its files say of them.
ENDS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
    "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>", "<EOT>", "[EOT]", "<turn|>",
    "<end_of_utterance>", "<｜end▁of▁sentence｜>",
))  # fmt: skip

# What schemas of tools consist of and templates compare with.
_WORDS = frozenset((
    "function", "object", "string", "number", "integer", "boolean", "array", "null", "text",
))  # fmt: skip


class GeneratorTokenizer:
    """Text to ids and back.

    Made by `from_pretrained` or `from_gguf`.

    Attributes
    ----------
    bos_token_id, eos_token_id, unk_token_id, pad_token_id : int or None
    eos_token_ids : list of int
        All ids that end a text or a turn.
    control_ids : list of int
        Control tokens: what `decode` can skip, and what text of users never becomes.
    chat_template : str or None
        The template of prompts, in Jinja.
    """

    def __init__(self, described: Described, path: PathLike | None = None) -> None:
        self._library, self._roles, self.path = described.library, described.roles, path
        self._before, self._after = described.before, described.after
        self._templates = described.templates
        self._compiled: dict[str, ChatTemplate] = {}
        self._pieces = Pieces(state_of(self._library.decoder), path)
        added = self._library.get_added_tokens_decoder()
        self._control = {i: token for i, token in added.items() if token.special}
        names = {token.content: i for i, token in self._control.items()}
        by_name = [names[name] for name in sorted(names.keys() & ENDS)]
        if "<|return|>" in names and "<|end|>" in names:  # it ends a message and no turn there
            by_name.remove(names["<|end|>"])
        roles = self._roles
        own = [roles[role] for role in ("eos", "eot", "eom") if role in roles]
        self.eos_token_ids = list(dict.fromkeys((*own, *described.ends, *by_name)))
        for i in self.eos_token_ids:
            if self._library.id_to_token(i) is None:
                raise FormatError(f"eos_token_id is {i}, which is no token", path)
        self.control_ids = sorted(self._control)
        self.bos_token_id, self.unk_token_id = roles.get("bos"), roles.get("unk")
        self.pad_token_id = roles.get("pad")
        # what text never becomes; characters that are no tokens become the unknown one
        self._ruled_out = frozenset(self._control) - {self.unk_token_id}
        self.eos_token_id = self.eos_token_ids[0] if self.eos_token_ids else None
        self.chat_template = self._templates.get("default")

    @classmethod
    def from_gguf(
        cls, metadata: Mapping[str, Any], path: PathLike | None = None
    ) -> GeneratorTokenizer:
        """The tokenizer that the metadata of a GGUF file describe.

        Parameters
        ----------
        metadata : mapping of str to object
            As `firth.formats.gguf.read` returns it.
        path : path-like, optional
            For messages.

        Raises
        ------
        FormatError
            A key is missing or malformed; the message names it.
        """
        return cls(gguf_tokenizer.read(metadata, path), path)

    @classmethod
    def from_pretrained(cls, path: PathLike) -> GeneratorTokenizer:
        """Read the tokenizer of a model's folder.

        Parameters
        ----------
        path : path-like
            A folder, or a name on the Hugging Face hub, where huggingface_hub is installed.

        Raises
        ------
        FileNotFoundError
            There is no such folder, and no model of that name on the hub.
        FormatError
            It holds no tokenizer, or a file of it is malformed.
        """
        import pathlib  # both here, since GGUF files need neither

        from firth.generators import folder_tokenizer

        folder = pathlib.Path(path).expanduser()
        if not folder.exists():
            folder = pathlib.Path(hub.folder(os.fspath(path), folder_tokenizer.FILES))
        return cls(folder_tokenizer.read(folder), folder)

    # Ids

    def __len__(self) -> int:
        return int(self._library.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}  # code of templates cannot be pickled

    @property
    def vocab_size(self) -> int:
        """The number of tokens without the added ones; ``len`` counts them all."""
        return int(self._library.get_vocab_size(with_added_tokens=False))

    @property
    def last_id(self) -> int:
        """The largest id that text can have; control tokens may lie behind it."""
        vocab = self._library.get_vocab(with_added_tokens=True)
        return max((i for i in vocab.values() if i not in self._control), default=-1)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str | None]:
        """The token of each id; None for an id that there is not."""
        return [self._library.id_to_token(i) for i in map(operator.index, ids)]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int | None]:
        """The id of each token; None for what is no token."""
        return [self._library.token_to_id(token) for token in tokens]

    # Text to ids

    def encode(
        self, text: str, add_special_tokens: bool = True, parse_special: bool = False
    ) -> list[int]:
        """The ids of a text.

        Parameters
        ----------
        text : str
        add_special_tokens : bool
            Whether what the model has around a text is added, such as a token for its beginning.
        parse_special : bool
            Whether names of control tokens in the text, such as ``<|im_end|>``, become these
            tokens, as in transformers. By default they stay text, as in llama.cpp.

        Raises
        ------
        TypeError, ValueError
            ``text`` is no string, or no Unicode.
        """
        check_text("encode: text", text)
        ids = self._encode(text)
        if not parse_special and self._has_control(text, ids):
            ids = self._as_text(text, True)
        return [*self._before, *ids, *self._after] if add_special_tokens else ids

    def _has_control(self, text: str, ids: list[int]) -> bool:
        """Whether control tokens are among the ids of a text."""
        if self._control.keys().isdisjoint(ids):
            return False
        # the unknown token may stand for a character, or be written
        return not self._ruled_out.isdisjoint(ids) or any(i is not None for i, _ in self.cut(text))

    def encode_after(self, text: str) -> list[int]:
        """The ids of text that stands behind other text; control tokens in it stay text.

        Nothing is put before it: together the ids have the bytes of the text.
        """
        check_text("encode_after: text", text)
        wanted = text.encode()
        for before in ("", "\n", "a"):  # what a tokenizer puts before a text is before this
            ids = self.encode(before + text, add_special_tokens=False)
            pieces = [self.token_bytes(i) for i in ids]
            start = sum(map(len, pieces)) - len(wanted)
            if b"".join(pieces)[max(start, 0) :] != wanted:
                continue
            while pieces and start > 0:
                start -= len(pieces.pop(0))
            if start == 0:
                return ids[len(ids) - len(pieces) :]
        if len(text) > 1:
            return [i for character in text for i in self.encode_after(character)]
        raise ValueError(f"encode_after: no ids have the bytes of {text!a}")

    def _encode(self, text: str) -> list[int]:
        with damage_named(self.path):
            return list(self._library.encode(text, add_special_tokens=False).ids)

    @functools.cached_property
    def _cutter(self) -> tuple[Any, list[int]]:
        """A tokenizer that knows control tokens only, and their ids in the order of its own."""
        package = needs("tokenizers", "this tokenizer")
        cutter = package.Tokenizer(package.models.WordLevel({"": 0}, unk_token=""))
        cutter.add_special_tokens([
            package.AddedToken(
                token.content, special=True, normalized=False, lstrip=token.lstrip,
                rstrip=token.rstrip, single_word=token.single_word,
            )
            for token in self._control.values()
        ])  # fmt: skip
        return cutter, list(self._control)

    def cut(self, text: str) -> list[tuple[int | None, str]]:
        """Control tokens of a text and what is between them, which has None in place of an id."""
        cutter, ids = self._cutter
        found = cutter.encode(text, add_special_tokens=False)
        return [
            (ids[i - 1] if i else None, text[start:end])
            for i, (start, end) in zip(found.ids, found.offsets, strict=True)
        ]

    @functools.cached_property
    def _text_only(self) -> tuple[Any, str]:
        """A copy that takes control tokens for text, and a token to begin in the middle.

        It takes as much memory again, so it is made when somebody writes a control token.
        """
        package = needs("tokenizers", "this tokenizer")
        copy = package.Tokenizer.from_str(self._library.to_str())
        copy.encode_special_tokens = True
        middle = f"\U0010fffe{os.urandom(8).hex()}"
        copy.add_tokens([package.AddedToken(middle, special=False, normalized=False)])
        return copy, middle

    def _as_text(self, text: str, first: bool) -> list[int]:
        """Ids of text without control tokens; ``first`` if nothing stands before it."""
        copy, middle = self._text_only
        with damage_named(self.path):
            ids: list[int] = copy.encode(
                text if first else middle + text, add_special_tokens=False
            ).ids
        ids = ids if first else ids[1:]
        if not self._ruled_out.isdisjoint(ids):
            # merges or the vocabulary make one of the text: it is cut behind its first character
            parts = [""]
            for i, part in self.cut(text):
                at = len(part) if i is None else part.find(self._control[i].content) + 1
                parts[-1] += part[:at]
                parts += [part[at:]] if i is not None else []
            if len(parts) == 1 or not all(parts):
                raise ValueError(f"a text cannot be told from a control token: {shortened(text)}")
            ids = [i for n, part in enumerate(parts) for i in self._as_text(part, first and not n)]
        return ids

    # Ids to text

    def token_bytes(self, token_id: int) -> bytes:
        """What an id adds to a text, in bytes of UTF-8; empty for an id that there is not."""
        token = self._library.id_to_token(token_id)
        return b"" if token is None else self._pieces.of(token)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of ids.

        Parameters
        ----------
        token_ids : sequence of int, or array
        skip_special_tokens : bool
            Leave out control tokens.

        Raises
        ------
        ValueError
            There is no such id.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        pieces = []
        for i in map(operator.index, ids):
            if not 0 <= i < 2**32 or (token := self._library.id_to_token(i)) is None:
                raise ValueError(f"decode: no token has the id {shortened(i)}")
            if not (skip_special_tokens and i in self._control):
                pieces.append(self._pieces.of(token))
        return self.text_of_pieces(pieces)

    def text_of_pieces(self, pieces: Iterable[bytes]) -> str:
        """The text of what ids add to it, `token_bytes`."""
        kept = [piece for piece in pieces if piece]
        if kept:
            kept[0] = self.first_piece(kept[0])
        return b"".join(kept).decode("utf-8", "replace")

    def first_piece(self, piece: bytes) -> bytes:
        """The bytes of an id that begins a text: without the space that only says so."""
        return self._pieces.first(piece)

    # Conversations

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        tokenize: bool = False,
        *,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> Any:
        """The prompt of a conversation, by the model's own template.

        Parameters
        ----------
        messages : sequence of dict
            ``{"role": "user", "content": "..."}``; roles are system (or developer), user,
            assistant, tool and what else the template knows. A content may be a list of
            ``{"type": "text", "text": ...}``: as such for templates that join them, else as lines.
        tools : sequence of dict or function, optional
            OpenAI's schemas, or functions with annotations.
        add_generation_prompt : bool
            Whether the prompt ends where the assistant begins to speak.
        continue_final_message : bool
            Whether the prompt ends with the content of the last message, to go on with it.
        tokenize : bool
            Return ids. Control tokens come from the template only: names of them in ``messages``,
            ``tools`` and ``variables`` stay text.
        **variables
            What else the template knows, such as ``enable_thinking``.

        Returns
        -------
        str or list of int

        Raises
        ------
        TypeError, ValueError
            The conversation is not what it must be, the template refuses it, or there is none.
        FormatError
            The template is malformed, or takes too long.
        """
        template, own = self._template(bool(tools)), self._variables()
        turns = conversation.checked_messages(messages, parts=True)
        lists = any(isinstance(turn["content"], list) for turn in turns)
        if lists and not template.takes_parts(**own):
            turns = conversation.checked_messages(turns)
        schemas = conversation.tool_schemas(tools)
        more = conversation.plain(variables)
        end = f"\U0010fffe{os.urandom(8).hex()}" if continue_final_message else ""

        def render(change: Callable[[str], str]) -> str:
            new = []
            for turn in turns:
                role, content = turn["role"], conversation.changed(turn["content"], change)
                role = role if role in conversation.ROLES else change(role)
                new.append(conversation.changed(turn, change) | {"role": role, "content": content})
            if end and isinstance(new[-1]["content"], list):
                new[-1]["content"].append({"type": "text", "text": end + " "})
            elif end:
                new[-1]["content"] += end + " "
            text = template.render(
                new,
                conversation.changed(schemas, change),
                add_generation_prompt and not end,
                **{**own, **{k: conversation.changed(v, change) for k, v in more.items()}},
            )
            if not end:
                return text
            text, found, rest = text.rpartition(end)
            if not found:
                raise ValueError("apply_chat_template: the template leaves out the last message")
            return text if rest.startswith(" ") else text.rstrip()  # it strips contents

        prompt = render(str)
        if not tokenize:
            return prompt
        check_text("apply_chat_template: the prompt", prompt)
        marker = next((c for c in map(chr, range(0xE000, 0xF8FF)) if c not in prompt), "")
        if not marker:
            raise ValueError("apply_chat_template: the prompt has every character for private use")
        marked = render(functools.partial(self._marked, marker))
        if marker not in marked:
            return self._encode(prompt)
        # jinja2 may have written the marker in ASCII
        marked = marked.replace(json.dumps(marker)[1:-1], marker)
        parts = self.cut(marked)
        if [i for i, _ in parts] == [i for i, _ in self.cut(prompt)]:
            return self._encode(prompt)
        ids: list[int] = []
        for n, (i, part) in enumerate(parts):
            ids += [i] if i is not None else self._as_text(part.replace(marker, ""), not n)
        return ids

    @functools.cached_property
    def turn_end_ids(self) -> list[int]:
        """`eos_token_ids`, and the control token that the chat template puts behind an answer."""
        answer = "a 0 b"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        try:
            prompt = self.apply_chat_template(turns, add_generation_prompt=False)
        except ValueError:  # no template, or one that wants other turns
            return self.eos_token_ids
        _, found, rest = prompt.rpartition(answer)
        ends = [i for i, _ in self.cut(rest.lstrip())[:1] if found and i is not None]
        return list(dict.fromkeys([*self.eos_token_ids, *ends]))

    def _template(self, tools: bool) -> ChatTemplate:
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        if name not in self._templates:
            raise ValueError(f"apply_chat_template: {self.path or 'the model'} has no template")
        if name not in self._compiled:
            self._compiled[name] = ChatTemplate(self._templates[name], self.path)
        return self._compiled[name]

    def _variables(self) -> dict[str, str]:
        """Special tokens by role, as templates of transformers know them."""
        return {f"{role}_token": self._library.id_to_token(i) for role, i in self._roles.items()}

    @functools.cached_property
    def _partial(self) -> tuple[frozenset[str], frozenset[str], str, int]:
        """Beginnings and ends of control tokens, all tokens in a row, and the longest length."""
        names = [token.content for token in self._control.values()]
        heads = {name[:n] for name in names for n in range(1, min(len(name), 100))}
        tails = {name[-n:] for name in names for n in range(1, min(len(name), 100))}
        longest = max(map(len, heads), default=0)
        return frozenset(heads), frozenset(tails), "\n".join(names), longest

    def _marked(self, marker: str, text: str) -> str:
        """A user's string with a mark within all that could become a control token.

        That is its control tokens, and an end, a beginning or a part to which a template could add
        the rest. Next to visible characters a mark does not change what a template does.
        """
        heads, tails, inner, longest = self._partial
        marked = ""
        for i, part in self.cut(text):
            at = 0 if i is None else part.find(self._control[i].content) + 1
            marked += part[:at] + marker * (i is not None) + part[at:]
        if text in _WORDS:
            return marked
        lengths = range(1, min(len(text), longest) + 1)
        if any(text[:n] in tails for n in lengths):
            marked = marker + marked
        if any(text[-n:] in heads for n in lengths) or (text and text in inner):
            marked += marker
        return marked
