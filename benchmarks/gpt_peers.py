"""A GPT in firth, PyTorch and JAX: the same layers, the same weights, the same AdamW.

Each has ``step(inputs, targets, rate)``, a step of training, and ``loss(inputs, targets)``, both of
the mean cross-entropy. PyTorch's has one product for queries, keys and values, its fused attention,
its fused AdamW, and turns queries and keys together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import THREADS

Ids = NDArray[np.int64]
BETAS, DECAY, CLIP, EPS = (0.9, 0.95), 0.1, 1.0, 1e-8


@dataclass(frozen=True)
class Size:
    """Of a model and its batches; the model is GPT-2's, or Llama's with a tied head."""

    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocabulary: int = 65
    llama: bool = False

    @property
    def hidden(self) -> int:
        """Of the MLP: that of Llama has three matrices, and two thirds of the width."""
        return 8 * self.width // 3 // 8 * 8 + 8 if self.llama else 4 * self.width


def initial(size: Size, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights as GPT-2 begins with, under its names; products as (outputs, inputs)."""
    rng, d = np.random.default_rng(seed), size.width

    def normal(*shape: int, std: float = 0.02) -> NDArray[np.float32]:
        return (std * rng.standard_normal(shape)).astype(np.float32)

    small = 0.02 / math.sqrt(2 * size.layers)
    arrays = {"wte.weight": normal(size.vocabulary, d)}
    if not size.llama:
        arrays["wpe.weight"] = normal(size.context, d)
    norms = ["ln_f"]
    for i in range(size.layers):
        arrays[f"h.{i}.attn.c_attn.weight"] = normal(3 * d, d)
        arrays[f"h.{i}.attn.c_proj.weight"] = normal(d, d, std=small)
        arrays[f"h.{i}.mlp.c_fc.weight"] = normal(size.hidden, d)
        if size.llama:
            arrays[f"h.{i}.mlp.gate.weight"] = normal(size.hidden, d)
        arrays[f"h.{i}.mlp.c_proj.weight"] = normal(d, size.hidden, std=small)
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
    arrays |= {f"{name}.weight": np.ones(d, np.float32) for name in norms}
    if not size.llama:
        for name in [name for name in arrays if name.startswith(("h.", "ln_f"))]:
            arrays[name.replace("weight", "bias")] = np.zeros(len(arrays[name]), np.float32)
    return arrays


def decays(array: Any) -> bool:
    """Whether weight decay is for an array: for those of products and tables."""
    return bool(array.ndim >= 2)


class Ours:
    """Of firth."""

    def __init__(
        self, size: Size, weights: dict[str, NDArray[np.float32]], bfloat16: bool = False
    ) -> None:
        import firth
        from firth import nn, optim
        from firth.nn import functional as F

        firth.set_num_threads(THREADS)

        def norm() -> Any:
            return nn.RMSNorm(size.width, 1e-5) if size.llama else nn.LayerNorm(size.width)

        def product(inputs: int, outputs: int) -> Any:
            return nn.Linear(inputs, outputs, bias=not size.llama)

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.ln_1, self.ln_2 = norm(), norm()
                self.attn = nn.MultiheadAttention(
                    size.width, size.heads, bias=not size.llama, batch_first=True,
                    rotary_base=10000 if size.llama else None,
                )  # fmt: skip
                self.c_fc = product(size.width, size.hidden)
                if size.llama:
                    self.gate = product(size.width, size.hidden)
                self.c_proj = product(size.hidden, size.width)

            def forward(self, x: Any) -> Any:
                y = self.ln_1(x)
                x = x + self.attn(y, y, y, need_weights=False, is_causal=True)[0]
                y = self.ln_2(x)
                if size.llama:
                    return x + self.c_proj(F.silu(self.gate(y)) * self.c_fc(y))
                return x + self.c_proj(F.gelu(self.c_fc(y), approximate="tanh"))

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.wte = nn.Embedding(size.vocabulary, size.width)
                if not size.llama:
                    self.wpe = nn.LearnedPositions(size.context, size.width)
                self.h = nn.ModuleList(Block() for _ in range(size.layers))
                self.ln_f = norm()

            def forward(self, ids: Any) -> Any:
                x = self.wte(ids)
                if not size.llama:
                    x = self.wpe(x)
                for block in self.h:
                    x = block(x)
                return self.ln_f(x)

        names = {
            "c_attn.weight": "in_proj_weight", "c_attn.bias": "in_proj_bias",
            "attn.c_proj": "attn.out_proj", "mlp.": "",
        }  # fmt: skip
        state = {}
        for name, array in weights.items():
            for gpt2, own in names.items():
                name = name.replace(gpt2, own)
            state[name] = array
        self.model = Network()
        self.model.load_state_dict(state)
        parameters = list(self.model.parameters())
        self.optimizer = optim.AdamW(
            [
                {"params": [p for p in parameters if decays(p)]},
                {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
            ],
            betas=BETAS, weight_decay=DECAY, eps=EPS,
        )  # fmt: skip

        def loss(model: Any, inputs: Any, targets: Any) -> Any:
            return F.linear_cross_entropy(model(inputs), model.wte.weight, targets)

        self._loss, self._no_grad = loss, nn.no_grad
        self._step = nn.TrainingStep(
            self.model, loss, self.optimizer, clip_norm=CLIP, bfloat16=bfloat16
        )

    def step(self, inputs: Ids, targets: Ids, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return self._step(inputs, targets)

    def loss(self, inputs: Ids, targets: Ids) -> float:
        with self._no_grad():
            return float(self._loss(self.model, inputs, targets).item())


class Torch:
    """Of PyTorch, eager or compiled, in float32 or with autocast to bfloat16."""

    def __init__(
        self,
        size: Size,
        weights: dict[str, NDArray[np.float32]],
        compiled: bool = False,
        bfloat16: bool = False,
    ) -> None:
        import torch
        from torch import nn
        from torch.nn import functional as F

        torch.set_num_threads(THREADS)

        def norm() -> Any:
            return nn.RMSNorm(size.width, 1e-5) if size.llama else nn.LayerNorm(size.width)

        def product(inputs: int, outputs: int) -> Any:
            return nn.Linear(inputs, outputs, bias=not size.llama)

        class Attention(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.c_attn = product(size.width, 3 * size.width)
                self.c_proj = product(size.width, size.width)
                half = size.width // size.heads // 2
                speeds = 10000.0 ** (-torch.arange(half) / half)
                angles = torch.arange(size.context)[:, None] * speeds
                self.register_buffer("cosines", angles.cos(), persistent=False)
                self.register_buffer("sines", angles.sin(), persistent=False)

            def forward(self, x: Any) -> Any:
                b, t, d = x.shape
                heads = self.c_attn(x).view(b, t, 3 * size.heads, -1).transpose(1, 2)
                if size.llama:
                    turned, value = heads.split([2 * size.heads, size.heads], dim=1)
                    one, other = turned.chunk(2, dim=-1)
                    c, s = self.cosines[:t], self.sines[:t]
                    turned = torch.cat((one * c - other * s, other * c + one * s), dim=-1)
                    query, key = turned.chunk(2, dim=1)
                else:
                    query, key, value = heads.chunk(3, dim=1)
                y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
                return self.c_proj(y.transpose(1, 2).reshape(b, t, d))

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.ln_1, self.ln_2 = norm(), norm()
                self.attn = Attention()
                self.mlp = nn.ModuleDict({
                    "c_fc": product(size.width, size.hidden),
                    "c_proj": product(size.hidden, size.width),
                })  # fmt: skip
                if size.llama:
                    self.mlp["gate"] = product(size.width, size.hidden)

            def forward(self, x: Any) -> Any:
                x = x + self.attn(self.ln_1(x))
                y = self.ln_2(x)
                if size.llama:
                    y = F.silu(self.mlp["gate"](y)) * self.mlp["c_fc"](y)
                else:
                    y = F.gelu(self.mlp["c_fc"](y), approximate="tanh")
                return x + self.mlp["c_proj"](y)

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.wte = nn.Embedding(size.vocabulary, size.width)
                if not size.llama:
                    self.wpe = nn.Embedding(size.context, size.width)
                self.h = nn.ModuleList(Block() for _ in range(size.layers))
                self.ln_f = norm()

            def forward(self, ids: Any, targets: Any) -> Any:
                x = self.wte(ids)
                if not size.llama:
                    x = x + self.wpe(torch.arange(ids.shape[1]))
                for block in self.h:
                    x = block(x)
                logits = F.linear(self.ln_f(x), self.wte.weight)
                return F.cross_entropy(logits.view(-1, size.vocabulary), targets.view(-1))

        self._torch, self._bfloat16 = torch, bfloat16
        self.model = Network()
        self.model.load_state_dict({name: torch.tensor(a) for name, a in weights.items()})
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if decays(p)]},
                {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
            ],
            betas=BETAS, weight_decay=DECAY, eps=EPS, fused=True,
        )  # fmt: skip
        self._forward: Any = torch.compile(self.model) if compiled else self.model

    def _value(self, inputs: Ids, targets: Ids) -> Any:
        torch = self._torch
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            return self._forward(torch.from_numpy(inputs), torch.from_numpy(targets))

    def step(self, inputs: Ids, targets: Ids, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        value = self._value(inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self._torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return float(value.item())

    def loss(self, inputs: Ids, targets: Ids) -> float:
        with self._torch.no_grad():
            return float(self._value(inputs, targets).item())


class Jax:
    """Of JAX, GPT-2 alone: a step is one compiled function, which may overwrite its arguments."""

    def __init__(self, size: Size, weights: dict[str, NDArray[np.float32]]) -> None:
        import jax
        from jax import numpy as jnp

        def norm(p: Any, name: str, x: Any) -> Any:
            x = x - x.mean(-1, keepdims=True)
            x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
            return x * p[f"{name}.weight"] + p[f"{name}.bias"]

        def linear(p: Any, name: str, x: Any) -> Any:
            return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

        def loss(p: Any, inputs: Any, targets: Any) -> Any:
            x = p["wte.weight"][inputs] + p["wpe.weight"][: inputs.shape[1]]
            for i in range(size.layers):
                y = linear(p, f"h.{i}.attn.c_attn", norm(p, f"h.{i}.ln_1", x))
                q, k, v = (
                    part.reshape(*part.shape[:2], size.heads, -1) for part in jnp.split(y, 3, -1)
                )
                y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
                x = x + linear(p, f"h.{i}.attn.c_proj", y.reshape(x.shape))
                y = linear(p, f"h.{i}.mlp.c_fc", norm(p, f"h.{i}.ln_2", x))
                x = x + linear(p, f"h.{i}.mlp.c_proj", jax.nn.gelu(y, approximate=True))
            logs = jax.nn.log_softmax(norm(p, "ln_f", x) @ p["wte.weight"].T)
            return -jnp.take_along_axis(logs, targets[..., None], -1).mean()

        def step(p: Any, m: Any, v: Any, count: Any, inputs: Any, targets: Any, rate: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(p, inputs, targets)
            total = jnp.sqrt(sum((g * g).sum() for g in gradient.values()))
            factor = jnp.minimum(1.0, CLIP / (total + 1e-6))
            for name, g in gradient.items():
                g = g * factor
                m[name] = BETAS[0] * m[name] + (1 - BETAS[0]) * g
                v[name] = BETAS[1] * v[name] + (1 - BETAS[1]) * g * g
                there = p[name] * (1 - rate * DECAY) if decays(p[name]) else p[name]
                root = jnp.sqrt(v[name] / (1 - BETAS[1] ** count)) + EPS
                p[name] = there - rate / (1 - BETAS[0] ** count) * m[name] / root
            return value, p, m, v, count + 1

        self._state: Any = (
            {name: jnp.array(a) for name, a in weights.items()},
            *({name: jnp.zeros(a.shape) for name, a in weights.items()} for _ in range(2)),
            jnp.ones(()),
        )
        self._step = jax.jit(step, donate_argnums=(0, 1, 2, 3))
        self._loss = jax.jit(loss)

    def step(self, inputs: Ids, targets: Ids, rate: float) -> float:
        value, *self._state = self._step(*self._state, inputs, targets, rate)
        return float(value)

    def loss(self, inputs: Ids, targets: Ids) -> float:
        return float(self._loss(self._state[0], inputs, targets))
