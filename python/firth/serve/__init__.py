"""An HTTP server with OpenAI's API for models on this machine: `create_app`, ``firth serve``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from firth.optional import needs

if TYPE_CHECKING:
    from firth.serve.app import create_app
    from firth.serve.server import serve

_HOME = {"create_app": "firth.serve.app", "serve": "firth.serve.server"}
__all__ = ["create_app", "serve"]


if not TYPE_CHECKING:  # FastAPI takes some tenths of a second to import

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'firth.serve' has no attribute {name!r}")
        needs("fastapi", "firth.serve")
        needs("pydantic", "firth.serve")
        needs("uvicorn", "firth.serve")
        return getattr(importlib.import_module(_HOME[name]), name)
