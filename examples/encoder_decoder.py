"""An encoder-decoder transformer learns to reverse strings, and to add numbers, from examples only.

The encoder reads the whole source at once. The decoder writes the target symbol by symbol: for each
it looks at what is written (causal self-attention) and at the source (cross-attention), as in
Vaswani et al., arXiv:1706.03762. Of pairs such as ("qf7x", "x7fq") or ("123+45=", "168") it learns

    log p(target | source) = sum over t of log p(target_t | source, target_1, ..., target_t-1)

python examples/encoder_decoder.py (a minute; --quick: reversal of short strings only, some seconds;
--plot FILE: where the decoder looks while it writes)
"""

import argparse
import random
import string
import time
from collections.abc import Callable, Sequence

import numpy as np

from firth import Tensor, nn, optim
from firth.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="reversal of short strings only")
parser.add_argument("--plot", metavar="FILE", help="save a picture of the cross-attention")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
random.seed(arguments.seed)
nn.manual_seed(arguments.seed)

PAD, BEGIN, END = range(3)  # then the symbols
SYMBOLS = string.digits + string.ascii_lowercase + "+="
WIDTH, BATCH = 64, 128
LONGEST = 6 if arguments.quick else 10  # of the strings
Pair = tuple[str, str]


def reversal() -> Pair:
    """A string of three symbols or more, and the same backwards."""
    text = "".join(random.choices(SYMBOLS[:-2], k=random.randint(3, LONGEST)))
    return text, text[::-1]


def addition() -> Pair:
    """Two numbers of three digits at most, and their sum."""
    a, b = (random.randrange(10 ** random.choice([1, 2, 3, 3, 3, 3])) for _ in range(2))
    return f"{a}+{b}=", str(a + b)


class Model(nn.Module):
    """Symbols and places become vectors, these go through the transformer, and become log p."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target + 1  # the longest ones, that with END
        self.symbols = nn.Embedding(3 + len(SYMBOLS), WIDTH)
        self.places = nn.LearnedPositions(max(self.source, self.target), WIDTH)
        self.transformer = nn.Transformer(  # one layer reads, two write
            WIDTH, 4, 1, 2, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.scores = nn.Linear(WIDTH, 3 + len(SYMBOLS))

    def encode(self, source: np.ndarray, padding: np.ndarray) -> Tensor:
        """Memory (n, S, width) of sources (n, S), where padding is no symbol."""
        return self.transformer.encoder(
            self.places(self.symbols(source)), src_key_padding_mask=padding
        )

    def decode(self, written: np.ndarray, memory: Tensor, padding: np.ndarray) -> Tensor:
        """After each of the symbols written (n, T) log p of what follows: (n, T, symbols)."""
        found = self.transformer.decoder(
            self.places(self.symbols(written)), memory, memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )  # fmt: skip
        return functional.log_softmax(self.scores(found))

    def batch(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, ...]:
        """Sources and their padding; what decoders read (BEGIN x 7 f q) and write (x 7 f q END)."""
        source = np.full((len(pairs), self.source), PAD)
        read, wanted = np.full((2, len(pairs), self.target), PAD)
        for i, pair in enumerate(pairs):
            a, b = ([3 + SYMBOLS.index(symbol) for symbol in text] for text in pair)
            source[i, : len(a)] = a
            read[i, : len(b) + 1] = [BEGIN, *b]
            wanted[i, : len(b) + 1] = [*b, END]
        return source, source == PAD, read, wanted


def loss(model: Model, source: Tensor, padding: Tensor, read: Tensor, wanted: Tensor) -> Tensor:
    """The mean of -log p of a symbol, where the decoder has read those before it."""
    found = model.decode(read, model.encode(source, padding), padding)
    return functional.nll_loss(found, wanted, ignore_index=PAD)


def text_of(numbers: Sequence[int]) -> str:
    """The symbols of these numbers."""
    return "".join(SYMBOLS[i - 3] for i in numbers if i > END)


def greedy(model: Model, sources: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Of all sources together, each time the likeliest symbol: targets, and their log p."""
    source, padding, *_ = model.batch([(text, "") for text in sources])
    memory = model.encode(source, padding)
    written, total = np.full((len(sources), 1), BEGIN), np.zeros(len(sources))
    for _ in range(model.target):
        found = model.decode(written, memory, padding).numpy()[:, -1]
        ended = (written == END).any(axis=1)
        total += np.where(ended, 0, found.max(axis=1))
        written = np.column_stack([written, np.where(ended, PAD, found.argmax(axis=1))])
    return [text_of(row) for row in written], total


def beam(model: Model, text: str, width: int = 4) -> tuple[str, float]:
    """The likeliest target of one source and its log p, of `width` likeliest beginnings a time."""
    source, padding, *_ = model.batch([(text, "")] * width)
    memory = model.encode(source, padding)
    beams: list[tuple[float, list[int]]] = [(0.0, [BEGIN])]
    while running := [one for one in beams if END not in one[1] and len(one[1]) <= model.target]:
        n, written = len(running), np.array([start for _, start in running])
        found = model.decode(written, memory[:n], padding[:n]).numpy()[:, -1]
        longer = [one for one in beams if one not in running]
        for (total, start), row in zip(running, found, strict=True):
            longer += [(total + row[i], [*start, int(i)]) for i in row.argsort()[-width:]]
        beams = sorted(longer, reverse=True)[:width]
    return text_of(beams[0][1]), beams[0][0]


def learn(task: Callable[[], Pair], model: Model, steps: int) -> float:
    """Train, each step on new pairs; the share of right ones of 1,000 pairs that it never saw."""
    unseen = [task() for _ in range(1000)]
    hidden, start = set(unseen), time.perf_counter()
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    schedule = optim.lr_scheduler.get_cosine_schedule_with_warmup(optimizer, 100, steps)
    step = nn.TrainingStep(model, loss, optimizer, clip_norm=1.0)
    new = (pair for pair in iter(task, None) if pair not in hidden)
    for i in range(1, steps + 1):
        value = step(*model.batch([next(new) for _ in range(BATCH)]))
        schedule.step()
        if i not in (steps // 4, steps):
            continue
        print(f"{task.__name__}, step {i}, {time.perf_counter() - start:.0f} s: loss {value:.4f}")
        with nn.no_grad():
            found, likely = greedy(model, [source for source, _ in unseen])
            beams = [beam(model, source) for source, _ in unseen[:100]]
        right = np.array([text == target for text, (_, target) in zip(found, unseen, strict=True)])
        by_beam = [text == target for (text, _), (_, target) in zip(beams, unseen, strict=False)]
        gain = np.array([total for _, total in beams]) - likely[:100]
        few = right[:100].mean()
        print(f"  greedy decoding: {right.mean():.1%} right, of the first 100 {few:.0%}")
        print(f"  beams: of the first 100 {np.mean(by_beam):.0%}, log p {gain.mean():+.4f}")
        assert gain.mean() > -1e-4  # as likely as what greedy decoding finds, or more
    return float(right.mean())


model = Model(LONGEST, LONGEST)
assert learn(reversal, model, 300 if arguments.quick else 500) >= 0.99

# Where the decoder looks while it writes: weights of the cross-attention, a mean over the heads.
weights: list[np.ndarray] = []
for layer in model.transformer.decoder.layers:
    layer.multihead_attn.register_forward_hook(
        lambda attention, inputs, _: weights.append(attention.forward(*inputs[:4])[1].numpy()[0])
    )
text = "abcd123xyz"[:LONGEST]
source, padding, read, _ = model.batch([(text, text[::-1])])
with nn.no_grad():
    model.decode(read, model.encode(source, padding), padding)
# It writes the first symbol where it looks at the last one, and so on: the anti-diagonal.
looks = weights[-1][: len(text)].argmax(axis=1)
print(f"{text} to {text[::-1]}: the last layer looks at", " ".join(text[i] for i in looks))
assert np.mean(looks == np.arange(len(text))[::-1]) >= 0.8

if arguments.plot:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(weights), figsize=(8, 4), layout="constrained")
    for i, (axis, table) in enumerate(zip(axes, weights, strict=True), 1):
        axis.imshow(table, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(text)), list(text))
        axis.set_yticks(range(len(text) + 1), [*text[::-1], "END"])
        axis.set(title=f"decoder, layer {i}", xlabel="looks at", ylabel="writes")
    figure.savefig(arguments.plot, dpi=150)

if not arguments.quick:
    assert learn(addition, Model(len("999+999="), len("1998")), 2000) >= 0.99
