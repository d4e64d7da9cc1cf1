"""``firth quantize``: a model in fewer bytes."""

from __future__ import annotations

import argparse
import os
from typing import Any

from firth.cli.common import check_output, command, complain, megabytes, say

# firth.generators.quantize.FILE_TYPES; here, since the command line reads it at each start.
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0")


def add(commands: Any) -> None:
    """Add the command."""
    quantize = command(
        commands, "quantize", _quantize,
        "Write a model in fewer bytes: its matrices in blocks of 4 to 16 bits a weight, "
        "as a GGUF file.",
        epilog="firth quantize model-F16.gguf model-Q8_0.gguf --type Q8_0; a folder becomes a file "
        "that llama.cpp reads, too",
    )  # fmt: skip
    quantize.add_argument(
        "model", help="a GGUF file, any of a split model; or a folder with safetensors"
    )
    quantize.add_argument("output", help="the GGUF file to write")
    quantize.add_argument(
        "--type", required=True, choices=TYPES,
        help="Q8_0 loses next to nothing at half the size of F16; those of 4 bits halve it again",
    )  # fmt: skip


def _quantize(arguments: argparse.Namespace) -> None:
    from firth.generators.quantize import lossy, quantize_file

    model, output = arguments.model, arguments.output
    os.stat(model)
    check_output(output, model)
    if lossy(model):
        complain("warning: the model is quantised already: errors add up; better start from F16")
    before = megabytes(model)
    counts = quantize_file(model, output, arguments.type)
    arrays = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"{output}: {megabytes(output)} (from {before}); arrays: {arrays}")
