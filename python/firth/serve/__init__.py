"""An HTTP server with OpenAI's API for models on this machine: `create_app`, ``firth serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firth.optional import needs

if TYPE_CHECKING:
    from firth.serve.app import create_app

__all__ = ["create_app"]


if not TYPE_CHECKING:  # FastAPI takes half a second to import

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'firth.serve' has no attribute {name!r}")
        for package in ("fastapi", "pydantic", "uvicorn"):
            needs(package, "firth.serve")
        from firth.serve import app

        return getattr(app, name)
