"""Self-attention of a sentence of six words: each word gathers from all, as much as it finds fit.

With E = embeddings (6, d) plus positions and matrices W_q, W_k, W_v (d, d),

    Q = E W_q^T    K = E W_k^T    V = E W_v^T
    weights = softmax(Q K^T / sqrt(d))    (6, 6): row i is what word i gathers from whom
    context = weights V                   (6, d)

Nothing is trained here: the weights say who would look at whom with matrices drawn by chance. By
hand in NumPy, by the kernel, and by the layer of networks.

python examples/self_attention.py (at once; --plot FILE draws the table of weights)
"""

import argparse

import numpy as np

from firth import Tensor, kernels, nn

parser = argparse.ArgumentParser()
parser.add_argument("--plot", metavar="FILE", help="save a picture of the weights")
arguments = parser.parse_args()

SENTENCE = ["the", "river", "carries", "the", "old", "boat"]
D_MODEL = 512

# An embedding for each word of the vocabulary: both "the" have the same one.
rng = np.random.default_rng(0)
vocabulary = sorted(set(SENTENCE))
table = rng.normal(size=(len(vocabulary), D_MODEL))
words = table[[vocabulary.index(word) for word in SENTENCE]]
w_q, w_k, w_v = rng.normal(size=(3, D_MODEL, D_MODEL)) / np.sqrt(D_MODEL)


def attend(e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (6, 6) and context (6, d) of embeddings (6, d), by hand."""
    q, k, v = e @ w_q.T, e @ w_k.T, e @ w_v.T
    scores = q @ k.T / np.sqrt(D_MODEL)
    # Without sqrt(d) a score would have the variance d, and softmax would be all or nothing.
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = exponents / exponents.sum(axis=1, keepdims=True)
    return weights, weights @ v


# Attention knows no order: without positions both "the" look at the same, and are the same.
weights, context = attend(words)
first, second = (i for i, word in enumerate(SENTENCE) if word == "the")
assert np.allclose(weights[first], weights[second])
assert np.allclose(context[first], context[second])

positions = nn.SinusoidalPositions(len(SENTENCE), D_MODEL, dtype=np.float64)
embeddings = positions(Tensor(words)).data
weights, context = attend(embeddings)
assert not np.allclose(weights[first], weights[second], atol=1e-3)

print(" " * 10 + "".join(f"{word:>9}" for word in SENTENCE) + "      sum")
for word, row in zip(SENTENCE, weights, strict=True):
    print(f"{word:>9} " + "".join(f"{value:9.3f}" for value in row) + f"{row.sum():9.3f}")
assert weights.shape == (6, 6)
assert np.allclose(weights.sum(axis=1), 1, atol=1e-12)

# The kernel does it in one pass, and does not write the weights down.
q, k, v = ((embeddings @ w.T).astype(np.float32) for w in (w_q, w_k, w_v))
by_kernel = kernels.scaled_dot_product_attention(q, k, v)

# The layer has the three matrices in one, and one more behind it: here the identity.
layer = nn.MultiheadAttention(D_MODEL, num_heads=1, bias=False, dtype=np.float64)
layer.load_state_dict({
    "in_proj_weight": np.concatenate([w_q, w_k, w_v]), "out_proj.weight": np.eye(D_MODEL),
})  # fmt: skip
x = Tensor(embeddings)
by_layer, its_weights = layer(x, x, x)

for name, got, tolerance in (("kernel", by_kernel, 1e-5), ("layer", by_layer.data, 1e-10)):
    print(f"the {name} differs from the calculation by hand by {abs(got - context).max():.1e}")
    assert np.allclose(got, context, rtol=0, atol=tolerance)
assert np.allclose(its_weights.data, weights, rtol=0, atol=1e-12)

if arguments.plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0)
    axes.set_xticks(range(6), SENTENCE, rotation=30)
    axes.set_yticks(range(6), SENTENCE)
    for (i, j), value in np.ndenumerate(weights):
        colour = "white" if value > weights.max() / 2 else "black"
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour)
    axes.set_title("Row: what a word gathers from whom")
    figure.colorbar(image, shrink=0.8)
    figure.savefig(arguments.plot)
