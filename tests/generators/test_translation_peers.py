"""transformers on PyTorch as oracle: logits and texts of random encoder-decoders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import FormatError
from firth.generators import Seq2SeqLM
from firth.kernels import use

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4  # of values of the order of 1, after some layers of float32
T5 = {
    "vocab_size": 96, "d_model": 32, "d_kv": 6, "d_ff": 40, "num_layers": 3, "num_heads": 4,
    "num_decoder_layers": 2, "relative_attention_max_distance": 40, "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "vocab_size": 96, "d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4,
    "encoder_ffn_dim": 40, "decoder_layers": 2, "decoder_attention_heads": 8,
    "decoder_ffn_dim": 24, "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 2,
    "bos_token_id": 0, "decoder_start_token_id": 2, "forced_eos_token_id": None,
}  # fmt: skip
MODELS = {
    "t5": ("t5", T5 | {"feed_forward_proj": "relu"}),
    "mt5": (  # gated, not scaled
        "mt5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "marian": (
        "marian",
        BART | {
            "scale_embedding": True, "activation_function": "swish", "decoder_start_token_id": 1,
        },
    ),
    "bart": ("bart", BART),
    "bart, untied": ("bart", BART | {"tie_word_embeddings": False}),
    "marian, untied": (
        "marian", BART | {"tie_word_embeddings": False, "decoder_start_token_id": 1},
    ),
    "t5, untied": ("t5", T5 | {"feed_forward_proj": "relu", "tie_word_embeddings": False}),
}  # fmt: skip


def saved(folder: Path, name: str, *, sure: bool = False) -> Any:
    """A random model of theirs, every array of which shows in the results, saved to the folder.

    A sure one has large logits, so that no two texts are equally probable.
    """
    kind, fields = MODELS[name]
    torch.manual_seed(1)
    model = transformers.AutoModelForSeq2SeqLM.from_config(
        transformers.AutoConfig.for_model(kind, **fields)
    )
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            if "embed_positions" not in own or kind == "bart":
                noise = 0.3 if "t5" in kind else 0.15
                parameter.add_(noise * torch.randn_like(parameter))
        tokens = model.get_input_embeddings().weight  # small: else a token is followed by itself
        tokens.mul_(0.05 / tokens.std())
        if sure:
            for own, parameter in model.named_parameters():
                if re.search(r"decoder\.(final_layer_norm|layers\.1\.final_layer_norm)\.", own):
                    parameter.mul_(20)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias += 0.1 * torch.randn_like(model.final_logits_bias)
    model.save_pretrained(folder)
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()


def written(theirs: Any, ids: Any, **options: Any) -> list[int]:
    with torch.no_grad():
        found = theirs.generate(torch.tensor(np.array(ids)[None]), **options)
    return found[0].tolist()[1:]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_text(name: str, tmp_path: Path) -> None:
    theirs, ours = saved(tmp_path, name), Seq2SeqLM.from_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    ids, given = rng.integers(3, 96, 50), rng.integers(3, 96, 45)
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(ids[None]), decoder_input_ids=torch.tensor(given[None])
        ).logits[0].numpy()  # fmt: skip
    text = written(theirs, ids, max_new_tokens=25)
    assert want.std() > 0.05
    assert len(set(text)) > 1
    for backend in ("numpy", "native"):
        with use(backend):
            got = ours.logits(ids, given)
            np.testing.assert_allclose(got, want, atol=TOLERANCE, rtol=0, err_msg=backend)
            assert ours.generate(ids, 25, return_ids=True) == text


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"num_beams": 4},
    "short": {"num_beams": 3, "length_penalty": -1.0, "early_stopping": True},
    "long": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never", "min_length": 6},
    "sums": {"num_beams": 2, "length_penalty": 0.0, "early_stopping": "never"},
    "as BART's": {
        "num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 3, "forced_bos_token_id": 5,
        "forced_eos_token_id": 2, "length_penalty": 2.0, "min_length": 5,
    },
    "as Marian's": {
        "num_beams": 6, "bad_words_ids": [[1], [11, 12], [2]], "renormalize_logits": True,
        "forced_eos_token_id": 2,
    },
    "penalties": {"num_beams": 3, "repetition_penalty": 1.3, "suppress_tokens": [20, 21]},
    "greedy": {"no_repeat_ngram_size": 1, "min_length": 9, "bad_words_ids": [[30], [31]]},
    "greedy, penalties": {"repetition_penalty": 1.5, "forced_bos_token_id": 9},
}  # fmt: skip
ENDS = [2, 33, 34, 35, 36, 37]  # more than one, so that random models come to an end


@pytest.mark.parametrize("name", ["t5", "marian", "bart"])
def test_searches(name: str, tmp_path: Path) -> None:
    theirs, rng = saved(tmp_path, name, sure=True), np.random.default_rng(1)
    texts = [rng.integers(3, 96, n).tolist() for n in (50, 3, 31)]
    lengths: set[int] = set()
    for settings in SETTINGS.values():
        theirs.generation_config = transformers.GenerationConfig(
            decoder_start_token_id=theirs.config.decoder_start_token_id, eos_token_id=ENDS,
            pad_token_id=theirs.config.pad_token_id, **settings,
        )  # fmt: skip
        theirs.generation_config.save_pretrained(tmp_path)
        ours = Seq2SeqLM.from_pretrained(tmp_path)
        want = [written(theirs, ids, max_new_tokens=14) for ids in texts]
        assert ours.generate(texts, 14, return_ids=True) == want, settings
        assert [ours.generate(ids, 14, return_ids=True) for ids in texts] == want
        lengths |= {len(ids) for ids in want}
    assert len(lengths) > 1


def test_the_best_of_a_search(tmp_path: Path) -> None:
    theirs, ids = saved(tmp_path, "bart", sure=True), list(range(40, 43))
    fields = {"decoder_start_token_id": 2, "eos_token_id": ENDS, "pad_token_id": 1}
    theirs.generation_config = transformers.GenerationConfig(num_beams=5, **fields)
    theirs.generation_config.save_pretrained(tmp_path)
    with torch.no_grad():
        want = theirs.generate(
            torch.tensor([ids]), max_new_tokens=15, num_return_sequences=5
        )[:, 1:].tolist()  # fmt: skip
    found = Seq2SeqLM.from_pretrained(tmp_path).generate(ids, 15, n=5, return_ids=True)
    assert len({len(one) for one in found}) > 1
    longest = max(map(len, found))
    assert [one + [1] * (longest - len(one)) for one in found] == want


def test_a_sampled_token_has_the_probability_that_theirs_has(tmp_path: Path) -> None:
    theirs, ours = saved(tmp_path, "marian"), Seq2SeqLM.from_pretrained(tmp_path)
    ids = list(range(40, 60))
    with torch.no_grad():
        row = theirs(
            input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[1]])
        ).logits[0, -1].double()  # fmt: skip
    kept = row.topk(6)
    want = np.zeros(96)
    want[kept.indices] = (kept.values / 0.5).softmax(0)
    n = 1000
    drawn = ours.generate(ids, 1, temperature=0.5, top_k=6, seed=0, n=n, return_ids=True)
    found = np.bincount([one[0] for one in drawn], minlength=96) / n
    assert np.abs(found - want).max() < 4 * np.sqrt(0.25 / n)  # four deviations at most
    assert (found[want == 0] == 0).all()


def test_what_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path, "bart")
    config = tmp_path / "config.json"
    whole = config.read_text()
    for old, new, message in (
        (
            '"bart"',
            '"pegasus"',
            "not one of the encoder-decoders that firth knows: t5, mt5, marian",
        ),
        ('"decoder_layers": 2', '"decoder_layers": 1', "arrays that no bart has, such as"),
        ('"encoder_ffn_dim": 40', '"encoder_ffn_dim": 41', r"fc1\.weight' has shape \(40, 32\)"),
        ('"encoder_ffn_dim": 40', '"encoder_ffn_dim": 0', "encoder_ffn_dim must be a whole"),
        ('"max_position_embeddings": 64', '"max_position_embeddings": 65', "embed_positions"),
    ):
        assert old in whole
        config.write_text(whole.replace(old, new))
        with pytest.raises(FormatError, match=message):
            Seq2SeqLM.from_pretrained(tmp_path)
