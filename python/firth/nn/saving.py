"""Parameters and buffers of modules as files, which PyTorch reads too."""

from __future__ import annotations

from firth.errors import FormatError
from firth.formats import safetensors
from firth.formats.files import PathLike
from firth.nn.module import Module


def save(model: Module, path: PathLike) -> None:
    """Write the state of a module as safetensors, under the names of its `state_dict`.

    Atomically: a failed or killed write leaves the old file.
    """
    safetensors.write(path, model.state_dict())


def load(model: Module, path: PathLike, strict: bool = True) -> None:
    """Copy a file of `save`, or of PyTorch's modules, into a module.

    Raises
    ------
    FormatError
        The file is malformed, or its arrays are not those of the module. Nothing is changed then.
    """
    try:
        model.load_state_dict(safetensors.read(path), strict)
    except (KeyError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(str(error.args[0]), path) from None
