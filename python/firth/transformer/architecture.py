"""What an architecture is: a plan, and tables of names.

`firth.encoders.bert.ARCHITECTURE` and its likes are made of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firth.arguments import shortened
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.transformer.config import Config
from firth.transformer.plan import Plan, Weights, layer_shapes, shapes
from firth.transformer.weights import Names, Source

Table = Mapping[str, Source]
"""For each name of `firth.transformer.plan.Weights` where a file has its array."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model as its paper describes it.

    Attributes
    ----------
    kinds : tuple of str
        Its ``model_type`` in configurations.
    prefixes : tuple of str
        In front of the body's names in files that have a head too.
    defaults : mapping
        Of the configuration.
    plan : function of Config
    outside, layers : functions of Config
        Tables of names, one, and one a layer; the same object for layers that share weights.
    aliases : mapping
        Other names of the configuration's fields.
    """

    kinds: tuple[str, ...]
    prefixes: tuple[str, ...]
    defaults: Mapping[str, Any]
    plan: Callable[[Config], Plan]
    outside: Callable[[Config], Table]
    layers: Callable[[Config], Sequence[Table]]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def checked(
        self,
        values: Mapping[str, Any],
        path: PathLike | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> Config:
        """The configuration with these values; ``aliases`` instead of the architecture's.

        Raises
        ------
        FormatError
            A field is bad, or numbers do not fit together.
        """
        config = Config(values, self.defaults, self.aliases if aliases is None else aliases, path)
        try:
            self.plan(config)
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"config: {error}", path) from None
        return config

    def weights(self, config: Config, names: Names) -> Weights:
        """Those of the stack, of the shapes that the configuration says.

        Raises
        ------
        FormatError
            An array is missing or has another shape or dtype; the message has its name in the file.
        """
        plan = self.plan(config)
        return read_weights(plan, self.outside(config), self.layers(config), config, names)


def read_weights(
    plan: Plan, outside: Table, layers: Sequence[Table], config: Config, names: Names
) -> Weights:
    """The arrays that tables name, of the shapes that plan and configuration say.

    Raises
    ------
    FormatError
        As `Architecture.weights`.
    """
    found, rows = names.weights(outside, layers), table_rows(config)
    if (name := "projection.weight") in found.outside:  # the shapes of others depend on it
        names.check(found.outside[name], (plan.width, config.embedding_size), outside[name])
    for name, shape, _ in shapes(plan, found.outside):
        if name in found.outside:
            exact = (rows[name], *shape[1:]) if name in rows else shape
            names.check(found.outside[name], exact, outside[name])
    for table, arrays in zip(layers, found.layers, strict=True):
        for name, shape, _ in layer_shapes(plan):
            if name in arrays:
                names.check(arrays[name], shape, table[name])
    return found


def table_rows(config: Config) -> dict[str, int]:
    """How many rows the tables outside of the layers have."""
    return {
        "tokens": config.vocab_size,
        "positions": config.max_position_embeddings,
        "types": config.get("type_vocab_size", 0),
        "relative": config.get("relative_attention_num_buckets", 0),
    }


A = TypeVar("A", bound=Architecture)


def find(
    known: Mapping[str, A], what: str, values: Mapping[str, Any], path: PathLike | None = None
) -> tuple[A, Config]:
    """The architecture of a configuration, and the configuration, checked.

    Parameters
    ----------
    known : mapping of str to Architecture
        By ``model_type``.
    what : str
        What these are, for errors: "encoders".
    values : mapping
    path : path, optional
        For errors.

    Raises
    ------
    FormatError
        Its ``model_type`` is missing or none of those that are known, which the message lists; or
        a field is bad.
    """
    architecture = pick(known, f"the {what}", "config: model_type", values.get("model_type"), path)
    return architecture, architecture.checked(values, path)


def pick(known: Mapping[str, A], what: str, field: str, kind: Any, path: PathLike | None) -> A:
    """The architecture of a name; FormatError where a file's field has none that is known."""
    if not isinstance(kind, str) or kind not in known:
        raise FormatError(
            f"{field} {shortened(kind)} is not one of {what} that firth knows: " + ", ".join(known),
            path,
        )
    return known[kind]
