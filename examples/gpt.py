"""A small GPT learns to write like Shakespeare, character by character, and moves to the engine.

It says how probable each next character of a text is. The loss is the mean of -log of what it said
of the right one: log 65 = 4.17 nats at first, since there are 65 characters. The last tenth of the
text is held out. Its parts and their names are Llama's, so that `firth.CausalLM` opens what is
saved of it.

python examples/gpt.py (reads ../shared/data/shakespeare.txt; 10 minutes, or less with --steps N)
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np

import firth
import tokenizers
from firth import nn, optim
from firth.formats import safetensors
from firth.nn import functional as F

TEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "shakespeare.txt"
LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT, EPS = 4, 128, 4, 344, 256, 1e-6
BATCH, STEPS, RATE = 4, 7000, 3e-3

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=STEPS, help="of training")
parser.add_argument("--save", type=Path, help="a folder for the trained model")
options = parser.parse_args()

text = TEXT.read_text()
characters = sorted(set(text))
ids = np.searchsorted(characters, list(text))
training, held_out = np.split(ids, [len(ids) * 9 // 10])


class MLP(nn.Module):
    """down(silu(gate x) * up x): each number of the hidden layer has a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.up_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down_proj = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: firth.Tensor) -> firth.Tensor:
        """Of x (..., WIDTH); the result has its shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x + attention(norm(x)) looks at what was before, x + mlp(norm(x)) thinks about it."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(WIDTH, EPS)
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, EPS)
        self.self_attn = nn.MultiheadAttention(
            WIDTH, HEADS, bias=False, batch_first=True, rotary_base=10000
        )
        self.mlp = MLP()

    def forward(self, x: firth.Tensor) -> firth.Tensor:
        """Of x (BATCH, CONTEXT, WIDTH); the result has its shape."""
        y = self.input_layernorm(x)
        x = x + self.self_attn(y, y, y, need_weights=False, is_causal=True)[0]
        return x + self.mlp(self.post_attention_layernorm(x))


class GPT(nn.Module):
    """Vectors of characters, blocks, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(len(characters), WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH, EPS)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:  # small; what 2 LAYERS of them add to x still is of its size
                added = name.endswith(("out_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * LAYERS) if added else 1))

    def forward(self, ids: firth.Tensor) -> firth.Tensor:
        """Vectors (BATCH, CONTEXT, WIDTH), whose products with those of characters are logits."""
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def loss(model: GPT, inputs: firth.Tensor, targets: firth.Tensor) -> firth.Tensor:
    """Logits are products with the vectors of characters; this computes them and their loss."""
    return F.linear_cross_entropy(model(inputs), model.embed_tokens.weight, targets)


nn.manual_seed(0)
rng = np.random.default_rng(0)
model = GPT()
matrices = [p for p in model.parameters() if p.ndim == 2]
gains = [p for p in model.parameters() if p.ndim == 1]
optimizer = optim.AdamW(
    [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}],
    lr=RATE, betas=(0.9, 0.95),
)  # fmt: skip
# The rate rises for a twentieth of the steps, then falls to 0 along a cosine.
schedule = optim.lr_scheduler.get_cosine_schedule_with_warmup(
    optimizer, options.steps // 20, options.steps
)
step = nn.TrainingStep(model, loss, optimizer, clip_norm=1.0)
print(f"{sum(p.data.size for p in model.parameters()):,} parameters, {len(training):,} characters")
start, losses = time.monotonic(), list[float]()
for number in range(1, options.steps + 1):
    windows = rng.integers(len(training) - CONTEXT, size=(BATCH, 1)) + np.arange(CONTEXT + 1)
    losses.append(step(training[windows[:, :-1]], training[windows[:, 1:]]))
    schedule.step()
    if number % (options.steps // 10) == 0:
        mean = np.mean(losses[-options.steps // 10 :])
        print(f"step {number:5} after {time.monotonic() - start:3.0f} s: {mean:.3f} nats")

# All of the text held out, in windows of CONTEXT characters.
count = (len(held_out) - 1) // CONTEXT
inputs, targets = (held_out[i : i + count * CONTEXT].reshape(count, CONTEXT) for i in (0, 1))
with nn.no_grad():
    parts = [loss(model, inputs[i : i + 1], targets[i : i + 1]).item() for i in range(count)]
print(f"held out: {np.mean(parts):.3f} nats a character")

# The engine: a folder as Llama's, which has the weights of query, key and value apart.
weights = {}
for name, array in model.state_dict().items():
    if name.endswith("in_proj_weight"):
        for which, part in zip("qkv", np.split(array, 3), strict=True):
            weights[name.replace("in_proj_weight", f"{which}_proj.weight")] = part
    else:
        weights[name.replace("out_proj", "o_proj")] = array
config = {
    "model_type": "llama", "vocab_size": len(characters), "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": HIDDEN,
    "max_position_embeddings": CONTEXT, "rms_norm_eps": EPS, "tie_word_embeddings": True,
}  # fmt: skip
vocabulary = {character: i for i, character in enumerate(characters)}
tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))  # nothing is merged
tokenizer.decoder = tokenizers.decoders.Fuse()
with tempfile.TemporaryDirectory() as temporary:
    folder = options.save or Path(temporary)
    folder.mkdir(exist_ok=True)
    safetensors.write(folder / "model.safetensors", weights)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save(str(folder / "tokenizer.json"))
    engine = firth.CausalLM.from_pretrained(folder)

with nn.no_grad():
    logits = F.linear(model(held_out[None, :CONTEXT]), model.embed_tokens.weight).numpy()[0]
difference = np.abs(engine.logits(held_out[:CONTEXT]) - logits).max()
print(f"logits of the engine differ by {difference:.1e} at most. It writes:\n")
print("ROMEO:" + engine.generate("ROMEO:", temperature=0.8, seed=1))
assert difference < 1e-4
assert np.mean(parts) < (1.70 if options.steps >= STEPS else 2.8)
