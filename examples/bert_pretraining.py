"""BERT in miniature: pre-trained on plain text, saved, and opened by the engine that runs it.

Two puzzles need no labels (Devlin et al., arXiv:1810.04805): which words were masked, and do the
second 30 tokens follow the first 30, or are they from elsewhere? The loss is the sum of

    mean of -log p(masked word)    and    mean of -log p(follows, or not): log 2 = 0.693 by guessing

On text held out the loss of the words falls from 7.11 to 4.34 (6.96 by their frequencies alone), of
the pairs to 0.57, and 70% of these are told right (measured on AMD Zen 3). Of 695 words that were
masked 53% are among its first 10 answers, 31% among the 10 commonest words; 80% are among its first
100 answers, 52% among the 100 commonest words.

python examples/bert_pretraining.py (reads ../shared/data; needs the package tokenizers; 12 minutes
of a processor, less with --steps N --lines N; --plot FILE: a picture of both losses)
"""

import argparse
import lzma
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers.implementations import BertWordPieceTokenizer

import firth
from firth import nn, optim
from firth.encoders import fill_mask
from firth.encoders.training import BertPreTraining

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpus_dev.txt.xz"
WORDS, WIDTH, HEADS, HALF, BATCH, STEPS, RATE = 4096, 128, 4, 30, 32, 3000, 2e-3
LENGTH = 2 * HALF + 3  # [CLS] first half [SEP] second half [SEP]

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=STEPS, help="of training")
parser.add_argument("--lines", type=int, default=300_000, help="sentences that are read")
parser.add_argument("--plot", metavar="FILE", help="save a picture of the losses")
options = parser.parse_args()
nn.manual_seed(0)
rng = np.random.default_rng(0)
begin = time.monotonic()

# Text: a sentence a line, those of a document in order. The last thirtieth is held out.
with lzma.open(CORPUS, "rt") as file:
    lines = [line.strip() for line in islice(file, options.lines)]
known, unseen = lines[: len(lines) * 29 // 30], lines[len(lines) * 29 // 30 :]
pieces = BertWordPieceTokenizer()
pieces.train_from_iterator(known[:100_000], vocab_size=WORDS, show_progress=False)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
pieces.save_model(str(folder))
tokenizer = firth.BertTokenizer(folder / "vocab.txt")
sentences = tokenizer(known, add_special_tokens=False)["input_ids"]
training = np.concatenate(sentences)
held_out = np.concatenate(tokenizer(unseen, add_special_tokens=False)["input_ids"])
print(f"{len(training):,} tokens, and {len(held_out):,} held out")
SPECIAL = tokenizer.mask_token_id + 1  # [PAD] [UNK] [CLS] [SEP] [MASK] come first


def batch(rng: np.random.Generator, text: np.ndarray, size: int) -> list[np.ndarray]:
    """Pairs of a text: ids, mask, segments, labels of words and of pairs, as the model wants."""
    other = rng.random(size) < 0.5
    first = rng.integers(len(text) - 2 * HALF, size=size)
    second = np.where(other, rng.integers(len(text) - HALF, size=size), first + HALF)
    ids = np.full((size, LENGTH), tokenizer.sep_token_id)
    ids[:, 0] = tokenizer.cls_token_id
    ids[:, 1 : HALF + 1] = text[first[:, None] + np.arange(HALF)]
    ids[:, HALF + 2 : -1] = text[second[:, None] + np.arange(HALF)]
    segments = np.broadcast_to(np.arange(LENGTH) > HALF + 1, ids.shape).astype(int)
    # 15% of the words are asked for: 80% of these are masked, 10% are random, 10% stay.
    asked = (ids >= SPECIAL) & (rng.random(ids.shape) < 0.15)
    labels = np.where(asked, ids, -100)
    how = rng.random(ids.shape)
    random = rng.integers(SPECIAL, len(tokenizer), ids.shape)
    ids = np.where(asked & (how < 0.8), tokenizer.mask_token_id, ids)
    ids = np.where(asked & (how >= 0.9), random, ids)
    return [ids, np.ones_like(ids), segments, labels, other.astype(int)]


config = {
    "vocab_size": len(tokenizer), "hidden_size": WIDTH, "num_hidden_layers": 2,
    "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH, "max_position_embeddings": LENGTH,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.05,
}  # fmt: skip
model = BertPreTraining(config)
# A short training gains from a good start: before it the model knows how frequent words are, which
# of them are alike (Word2Vec, of the same text), and where the neighbours of a word stand.
frequency = np.bincount(training, minlength=len(tokenizer)) + 1.0
frequency /= frequency.sum()
model.cls["predictions"].bias.data[...] = np.log(frequency)
vectors = firth.Word2Vec(sentences, vector_size=WIDTH, min_count=1, sg=1, epochs=1, seed=1).wv
embeddings = model.bert.embeddings
for i in range(SPECIAL, len(tokenizer)):
    if i in vectors:
        embeddings.word_embeddings.weight.data[i] = vectors[i]
words = embeddings.word_embeddings.weight.data[SPECIAL:]
words -= words.mean(axis=0)
words *= 0.05 / words.std()
# Places are sines and cosines of frequencies from 1 to 1 / 30. Those of place p + d are those of p,
# turned by a matrix R(d): with weights W of queries and W R(d) of keys a head looks at place p - d.
# So begin the heads of the first layer, as those of trained models end (Trockman and Kolter,
# arXiv:2305.09828). Without that, thousands of steps pass before a head finds the word next to it.
frequencies = 30.0 ** -(np.arange(0, WIDTH, 2) / WIDTH)
angles = np.arange(LENGTH)[:, None] * frequencies
waves = np.hstack([np.sin(angles), np.cos(angles)])
embeddings.position_embeddings.weight.data[...] = 0.05 * waves
attention = model.bert.encoder.layer[0].attention["self"]
attention["query"].weight.data *= 3  # of random weights: so that it looks at few places
for head, d in enumerate([1, -1, 2, -2]):
    cos, sin = np.diag(np.cos(d * frequencies)), np.diag(np.sin(d * frequencies))
    rows = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
    turned = np.block([[cos, sin], [-sin, cos]])
    attention["key"].weight.data[rows] = attention["query"].weight.data[rows] @ turned

optimizer = optim.AdamW(model.parameters(), lr=RATE)
schedule = optim.lr_scheduler.get_cosine_schedule_with_warmup(
    optimizer, options.steps // 10, options.steps
)
step = nn.TrainingStep(
    model, lambda model, *given: sum(model.losses(*given), start=0.0), optimizer, clip_norm=1.0
)
test = batch(np.random.default_rng(1), held_out, 500)
history = []
for number in range(options.steps + 1):
    if number % (options.steps // 10) == 0:
        with nn.no_grad():
            masked, pairs = (loss.item() for loss in model.losses(*test))
        history.append((number, masked, pairs))
        seconds = time.monotonic() - begin
        print(f"step {number:4}, {seconds:3.0f} s: held out, words {masked:.3f}, pairs {pairs:.3f}")
    if number < options.steps:
        step(*batch(rng, training, BATCH))
        schedule.step()

# The engine opens what is saved, and says the same.
model.save_pretrained(folder)
engine = firth.BertForPreTraining.from_pretrained(folder)
found = engine(*test[:3])
with nn.no_grad():
    words, follows = (scores.numpy() for scores in model(*test[:3]))
difference = max(
    np.abs(found.prediction_logits - words).max(),
    np.abs(found.seq_relationship_logits - follows).max(),
)
right = np.mean(found.seq_relationship_logits.argmax(-1) == test[4])
print(f"{right:.1%} of the pairs are told right; the engine differs by {difference:.1e} at most")

# A word of each sentence held out is masked: is it among the first 10 and 100 answers, and is it
# among the 10 and 100 commonest words?
common = tokenizer.convert_ids_to_tokens(np.argsort(-frequency)[:100])
rng, hits = np.random.default_rng(2), []
for text in unseen[:1000]:
    before = text.split()
    place = rng.integers(len(before))
    word = before[place]
    before[place] = tokenizer.mask_token
    masked = " ".join(before)
    if len(tokenizer.tokenize(masked)) > 2 * HALF or len(tokenizer.tokenize(word)) > 1:
        continue  # too long, or a word of several pieces
    answers = [answer["token_str"] for answer in fill_mask(engine, tokenizer, masked, top_k=100)]
    hits.append([word in words[:k] for k in (10, 100) for words in (answers, common)])
    if len(hits) <= 5:
        print(f"{masked}\n    {word}: {' '.join(answers[:10])}")
shares = np.mean(hits, axis=0)
print(f"of {len(hits)} words", "{:.1%} are in 10 answers, {:.1%} in 10 words".format(*shares[:2]))
print("{:.1%} are in 100 answers, {:.1%} in 100 words".format(*shares[2:]))

if options.plot:
    from matplotlib import pyplot as plt

    steps, *curves = zip(*history, strict=True)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, curve, title in zip(axes, curves, ("masked words", "pairs"), strict=True):
        axis.plot(steps, curve)
        axis.set(title=title, xlabel="step", ylabel="loss, held out")
    figure.savefig(options.plot, dpi=150)

chance = -np.log(frequency)[test[3][test[3] >= 0]].mean()
print(f"loss of masked words by their frequencies alone: {chance:.3f}")
assert difference < 1e-4
assert history[-1][1] < chance - 0.08
if options.steps >= STEPS:
    assert history[-1][1] < chance - 1.8
    assert history[-1][2] < 0.6
    assert right > 0.65
    assert shares[0] > shares[1] + 0.1
