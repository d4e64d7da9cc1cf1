"""``config.json``: the numbers and options of a model, checked where they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from firth.arguments import Real, Rules, Whole, check_all, shortened
from firth.errors import FormatError
from firth.formats.files import PathLike

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]

THETA = Real(1, 1e12, above=True)

# Every number that a plan reads. The ranges keep a damaged file from asking for all memory.
_NUMBERS: Rules = {
    "vocab_size": Whole(1),
    "type_vocab_size": Whole(1, 1 << 16),
    "max_position_embeddings": Whole(1, 1 << 20),
    "hidden_size": Whole(1, 1 << 16),
    "embedding_size": Whole(1, 1 << 16),
    "intermediate_size": Whole(1, 1 << 20),
    "n_inner": Whole(1, 1 << 20, optional=True),
    "num_hidden_layers": Whole(0, 512),
    "num_decoder_layers": Whole(0, 512, optional=True),
    "num_hidden_groups": Whole(1, 512),
    "inner_group_num": Whole(1, 16),
    "num_attention_heads": Whole(1, 1 << 12),
    "num_key_value_heads": Whole(1, 1 << 12, optional=True),
    "head_dim": Whole(1, 1 << 12, optional=True),
    "layer_norm_eps": Real(0, 1),
    "pad_token_id": Whole(0, optional=True),
    "relative_attention_num_buckets": Whole(32, 32),
    "relative_attention_max_distance": Whole(17, 1 << 20),
    "local_attention": Whole(0, 1 << 20),
    "global_attn_every_n_layers": Whole(1, 512),
    "sliding_window": Whole(0, 1 << 20, optional=True),
    "sliding_window_pattern": Whole(1, 512),
    "max_window_layers": Whole(0, 512),
    "no_rope_layer_interval": Whole(1, 512),
    "original_max_position_embeddings": Whole(2, 1 << 20),
    "rotary_emb_fraction": Real(0, 1, above=True),
    "max_trained_positions": Whole(1, 1 << 18),
    "initializer_range": Real(0, 1e6),
    "query_pre_attn_scalar": Real(0, 1e6, above=True),
    "attn_logit_softcapping": Real(0, 1e6, optional=True),
    "final_logit_softcapping": Real(0, 1e6, optional=True),
    "partial_rotary_factor": Real(0, 1, above=True),
    "rope_theta": THETA,
    "rope_local_base_freq": THETA,
}

_FLAGS = (
    "tie_word_embeddings",
    "norm_bias",
    "attention_bias",
    "mlp_bias",
    "decoder_bias",
    "classifier_bias",
    "rotary_emb_interleaved",
    "use_sliding_window",
    "scale_embedding",
    "scale_decoder_outputs",
    "output_hidden_states",
    "output_attentions",
)

# Options of which the engine knows one value only.
_ONLY: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "prenorm": (False,),
    "use_rms_norm": (False, None),
    "causal": (False,),
    "parallel_block": (False,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "use_bidirectional_attention": (False, None),
    "quantization_config": (None,),
}

# Names of activations in configurations, and what the engine calls them.
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Config:
    """What ``config.json`` says, by attribute: ``config.hidden_size``.

    Parameters
    ----------
    values : mapping
        The file's content; copied.
    defaults : mapping
        Of the architecture, for what the file does not say.
    aliases : mapping
        Other names of fields in the files of this architecture: ``{"hidden_size": "dim"}``.
    path : path, optional
        For errors.

    Raises
    ------
    FormatError
        A field is out of its range or of another type, or asks for what the engine does not have;
        the message names it.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        aliases: Mapping[str, str] | None = None,
        path: PathLike | None = None,
    ) -> None:
        self.path = path
        self._values = {"num_labels": 2, **defaults, **values}
        self._aliases = {
            name: other
            for name, other in (aliases or {}).items()
            if name not in values and (other in values or other in defaults)
        }
        self._values |= {name: self._values[other] for name, other in self._aliases.items()}
        for name, rule in _NUMBERS.items():
            if name in self._values:
                self._check_number(name, {name: rule})
        for name in _FLAGS:
            if not isinstance(self._values.get(name, False), bool):
                self._refuse(name, "true or false")
        for name, only in _ONLY.items():
            if name in self._values and self._values[name] not in only:
                self._refuse(name, f"{only[0]!r}: firth has no other")
        self.id2label = self._labels()
        self.label2id = {label: i for i, label in self.id2label.items()}
        self.num_labels = len(self.id2label)
        kinds = (None, "regression", "single_label_classification", "multi_label_classification")
        self.problem_type: str | None = self._values.get("problem_type")
        if self.problem_type not in kinds:
            self._refuse("problem_type", f"one of {kinds}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"this config has no {name!r}")
        return self._values[name]

    def __repr__(self) -> str:
        return f"Config {json.dumps(self._values, indent=2, default=repr)}"

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or ``default`` where it is neither in the file nor of the architecture."""
        return self._values.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """All fields, those of the architecture included."""
        return dict(self._values)

    def activation(self, name: str = "hidden_act") -> Activation:
        """What the engine calls the activation in a field; FormatError for one it does not have."""
        value = self._values.get(name)
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            self._refuse(name, f"one of {sorted(_ACTIVATIONS)}")
        return _ACTIVATIONS[value]

    def layer_kinds(self, default: Sequence[str]) -> list[str]:
        """What kind of attention each layer has, by ``layer_types``.

        Parameters
        ----------
        default : sequence of str
            Where the file does not say it: "full_attention" or "sliding_attention", one a layer.
        """
        kinds = self._values.get("layer_types")
        if kinds is None:
            return list(default)
        known = ("full_attention", "sliding_attention")
        count = self._values["num_hidden_layers"]
        if (
            not isinstance(kinds, list)
            or len(kinds) != count
            or not all(kind in known for kind in kinds)
        ):
            raise FormatError(
                f"config: layer_types must list one of {known} for each of {count} layers",
                self.path,
            )
        return kinds

    def number(self, part: Mapping[str, Any], name: str, rule: Real | Whole, default: Any) -> Any:
        """A number in an object of the configuration, checked; ``name`` is for errors."""
        value = part.get(name.rpartition(".")[2])
        value = default if value is None else value
        try:
            if isinstance(value, bool):
                raise TypeError(f"config: {name} must be a number, got {value}")
            return check_all("config", {name: rule}, {name: value})[name]
        except (TypeError, ValueError) as error:
            raise FormatError(str(error), self.path) from None

    def theta(self, part: Any, name: str, default: Any) -> float:
        """The base of rotary angles from a field of ``rope_parameters``, of that name, checked."""
        kind = part.get("rope_type", "default") if isinstance(part, dict) else part
        if kind != "default":
            raise FormatError(
                f"config: {name} must be of the type 'default', got {shortened(kind)}: firth has "
                "no other",
                self.path,
            )
        return self.number({name: part.get("rope_theta")}, name, THETA, default)  # type: ignore[no-any-return]

    def _check_number(self, name: str, rules: Rules) -> None:
        value = self._values[name]
        if isinstance(value, bool):
            self._refuse(name, "a number")
        try:
            self._values |= check_all("config", rules, {name: value})
        except (TypeError, ValueError) as error:
            field = self._aliases.get(name, name)
            raise FormatError(str(error).replace(name, field, 1), self.path) from None

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        field, value = self._aliases.get(name, name), shortened(self._values.get(name))
        raise FormatError(f"config: {field} must be {wanted}, got {value}", self.path)

    def _labels(self) -> dict[int, str]:
        """Names of the classes by number; JSON has the numbers as strings."""
        named = self._values.get("id2label")
        if named is None:
            self._check_number("num_labels", {"num_labels": Whole(1, 1 << 20)})
            return {i: f"LABEL_{i}" for i in range(self._values["num_labels"])}
        try:
            labels = {int(i): str(label) for i, label in named.items()}
        except (AttributeError, TypeError, ValueError):
            labels = {}
        if not labels or sorted(labels) != list(range(len(labels))):
            self._refuse("id2label", "labels with the numbers 0, 1, ...")
        return dict(sorted(labels.items()))
