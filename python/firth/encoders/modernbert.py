"""ModernBERT (Warner et al., arXiv:2412.13663): what was learned since BERT.

Norms before each half of a layer, none before the first attention, since embeddings are normalized
already; hidden layers with a gate (Shazeer, arXiv:2002.05202); rotary positions; and two layers of
three see near tokens only.
"""

from __future__ import annotations

from typing import Any

from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm
from firth.errors import FormatError
from firth.transformer.config import Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Part

DEFAULTS = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "hidden_activation": "gelu",
    "max_position_embeddings": 8192,
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "global_attn_every_n_layers": 3,
    "local_attention": 128,
    "global_rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
    "decoder_bias": True,
    "classifier_bias": False,
    "classifier_activation": "gelu",
    "classifier_pooling": "cls",
    "pad_token_id": 50283,
    "tie_word_embeddings": True,
}

_KINDS = ("full_attention", "sliding_attention")


def plan(config: Config) -> Plan:
    """Rotary positions of two bases, and windows of ``local_attention`` tokens."""
    kinds = kinds_of_layers(config)
    theta = dict(zip(_KINDS, thetas(config), strict=True))
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        activation=config.activation("hidden_activation"),
        norm="layer",
        epsilon=config.layer_norm_eps,
        positions=config.max_position_embeddings,
        thetas=tuple(theta[kind] for kind in kinds),
        windows=tuple(
            config.local_attention // 2 if kind == "sliding_attention" else -1 for kind in kinds
        ),
    )


def kinds_of_layers(config: Config) -> list[str]:
    """Which layers see all tokens: those that are listed, or each third from the first on."""
    every = config.global_attn_every_n_layers
    return config.layer_kinds([_KINDS[i % every > 0] for i in range(config.num_hidden_layers)])


def thetas(config: Config) -> tuple[float, float]:
    """The bases of the angles of layers that see all tokens, and of those that see near ones."""
    given: Any = config.get("rope_parameters") or {}
    found = []
    for kind, default in zip(_KINDS, ("global_rope_theta", "local_rope_theta"), strict=True):
        part = given.get(kind) or {} if isinstance(given, dict) else given
        found.append(config.theta(part, f"rope_parameters[{kind!r}]", config.get(default)))
    return found[0], found[1]


def outside(config: Config) -> Table:
    """Embeddings and their norm, and the norm at the end."""
    return {
        "tokens": "embeddings.tok_embeddings.weight",
        **norm("embedding", "embeddings.norm", config),
        **norm("final", "final_norm", config),
    }


def layers(config: Config) -> list[Table]:
    """Query, key and value are one matrix in the file, so are the gate and what it gates."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> Table:
    """The names of layer i."""
    width, hidden, name = config.hidden_size, config.intermediate_size, f"layers.{i}"
    table: dict[str, Any] = {}
    for part, bias in (("weight", True), ("bias", config.attention_bias)):
        if bias:
            for place, which in enumerate(("query", "key", "value")):
                begin = place * width
                table[f"attention.{which}.{part}"] = Part(
                    f"{name}.attn.Wqkv.{part}", begin, begin + width, of=3 * width
                )
            table[f"attention.out.{part}"] = f"{name}.attn.Wo.{part}"
    for part, bias in (("weight", True), ("bias", config.mlp_bias)):
        if bias:
            table[f"feed.gate.{part}"] = Part(f"{name}.mlp.Wi.{part}", 0, hidden, of=2 * hidden)
            table[f"feed.up.{part}"] = Part(
                f"{name}.mlp.Wi.{part}", hidden, 2 * hidden, of=2 * hidden
            )
            table[f"feed.down.{part}"] = f"{name}.mlp.Wo.{part}"
    if i > 0:
        table |= norm("attention.before", f"{name}.attn_norm", config)
    return table | norm("feed.before", f"{name}.mlp_norm", config)


def norm(ours: str, name: str, config: Config) -> dict[str, str]:
    """The names of a norm, which has a bias only if the configuration says so."""
    table = {f"{ours}.gain": f"{name}.weight"}
    return table | {f"{ours}.bias": f"{name}.bias"} if config.norm_bias else table


def heads(config: Config) -> dict[str, Head]:
    """All begin with a dense layer and a norm."""
    head = (
        Linear(
            "head.dense",
            config.hidden_size,
            config.activation("classifier_activation"),
            bias=config.classifier_bias,
        ),
        Norm("head.norm", bias=config.norm_bias),
    )
    decoder = Linear(
        "decoder", config.vocab_size, bias=config.decoder_bias, tied=config.tie_word_embeddings
    )
    classifier = Linear("classifier", config.num_labels)
    pooling = config.classifier_pooling
    if pooling not in ("cls", "mean"):
        raise FormatError(
            f"config: classifier_pooling must be cls or mean, got {pooling!r}", config.path
        )
    return {
        "masked_lm": Head("tokens", (*head, decoder)),
        "sequence": Head("first" if pooling == "cls" else "mean", (*head, classifier)),
        "tokens": Head("tokens", (*head, classifier)),
        "span": Head("tokens", (*head, Linear("classifier", 2))),
    }


ARCHITECTURE = Architecture(
    kinds=("modernbert",),
    prefixes=("model.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=heads,
    aliases={"layer_norm_eps": "norm_eps"},
)
