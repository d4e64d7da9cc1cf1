"""transformers as the oracle of schemas of functions and of prompts that go on."""

from __future__ import annotations

import pytest

from firth.generators import conversation
from firth.generators.tokenizer import GeneratorTokenizer

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
transformers = pytest.importorskip("transformers")


def test_what_functions_return():
    """In the schema that templates write, as transformers has it."""

    def described(city: str) -> dict[str, int]:
        """Weather.

        Args:
            city: Its name.

        Returns:
            Numbers: degrees
            and more.

        Raises:
            ValueError: None known.
        """
        return {}

    def plain(city: str) -> str:
        """Weather.

        Args:
            city: Its name.
        """
        return city

    def nothing(city: str) -> None:
        """Weather.

        Args:
            city: Its name.

        Returns:
            Nothing.
        """

    def other(city: str) -> complex:
        """Weather.

        Args:
            city: Its name.
        """
        return 1j

    for function in (described, plain, nothing, other):
        assert conversation.function_schema(function) == transformers.utils.get_json_schema(
            function
        )


def test_going_on_with_the_last_message(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    ids = {token: i for i, token in enumerate(sorted(byte_level.alphabet()))}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[]))
    library.pre_tokenizer = byte_level(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    library.add_special_tokens(["<|a|>", "<|b|>"])
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=library)
    for strip in ("", " | trim"):
        theirs.chat_template = (
            "{% for m in messages %}<|a|>{{ m.content" + strip + " }}<|b|>\n{% endfor %}"
        )
        theirs.save_pretrained(tmp_path)
        ours = GeneratorTokenizer.from_pretrained(tmp_path)
        for content in ("I am", " I am ", "a\n"):
            chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}]
            given = {"add_generation_prompt": False, "continue_final_message": True}
            want = theirs.apply_chat_template(chat, tokenize=False, **given)
            assert ours.apply_chat_template(chat, **given) == want
            ids = theirs.apply_chat_template(chat, return_dict=False, **given)
            assert ours.apply_chat_template(chat, tokenize=True, **given) == ids
