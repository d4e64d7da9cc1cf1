"""Files of states and other objects, as torch.save and torch.load have them; nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from firth.errors import FormatError
from firth.formats import container, safetensors
from firth.formats.files import PathLike
from firth.nn.device import check_device
from firth.nn.module import Module
from firth.nn.tape import Array, Tensor

_KIND = "objects"


def save(obj: Any, path: PathLike) -> None:
    """Write a state, or a tree of dicts, lists and tuples with arrays, tensors, numbers, text.

    Names with arrays and nothing else, such as a `state_dict`, make a safetensors file, which other
    programs read; other objects make one of firth's own. Atomically: a failed or killed write
    leaves the old file.

    Raises
    ------
    TypeError
        Something else, such as a module: save its ``state_dict()``.
    """
    if isinstance(obj, Mapping) and all(
        isinstance(name, str) and isinstance(x, (np.ndarray, Tensor)) for name, x in obj.items()
    ):
        safetensors.write(path, {name: np.asarray(x) for name, x in obj.items()})
        return
    arrays: dict[str, Array] = {}
    tree = _packed(obj, arrays)
    container.write(path, _KIND, arrays, {"tree": tree})


def load(path: PathLike, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """What `save` wrote; arrays come back as tensors, those of float16 and bfloat16 as float32.

    Parameters
    ----------
    path : path-like
        A file of `save`, or any safetensors file.
    map_location : optional
        The CPU.
    weights_only : bool
        Nothing else is read, whatever it is.

    Raises
    ------
    FormatError
        The file is malformed, or of another kind (those of torch.save are pickled: write them with
        safetensors).
    """
    check_device(map_location)
    if not container.is_container(path):
        return {
            name: Tensor(array.astype(np.float32) if array.dtype.name == "bfloat16" else array)
            for name, array in safetensors.read(path).items()
        }
    found = container.read(path, _KIND)
    try:
        return _unpacked(found.meta["tree"], found.arrays)
    except (KeyError, TypeError, ValueError):
        raise FormatError("holds a malformed tree of objects", path) from None


def _packed(x: Any, arrays: dict[str, Array]) -> Any:
    """A tree for JSON; its arrays go to `arrays`."""
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, (np.ndarray, Tensor, np.generic)):
        name = str(len(arrays))
        arrays[name] = np.asarray(x)
        return {"array": name}
    if isinstance(x, Mapping):
        return {"dict": [[_packed(k, arrays), _packed(v, arrays)] for k, v in x.items()]}
    if isinstance(x, (list, tuple)):
        kind = "list" if isinstance(x, list) else "tuple"
        return {kind: [_packed(one, arrays) for one in x]}
    hint = "; save its state_dict()" if isinstance(x, Module) else ""
    raise TypeError(f"save: want arrays, numbers, text, dicts, lists, got {type(x).__name__}{hint}")


def _unpacked(tree: Any, arrays: Mapping[str, Array]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        return Tensor(arrays[content])
    if kind == "dict":
        return {_unpacked(k, arrays): _unpacked(v, arrays) for k, v in content}
    parts = [_unpacked(one, arrays) for one in content]
    return parts if kind == "list" else tuple(parts)
