"""``GET /models`` and ``GET /models/{id}``; ids may have slashes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve.routes.state import models_of
from firth.serve.wire import JSON

router = APIRouter(tags=["models"])


@router.get("/models")
async def models(request: Request) -> Response:
    """All models."""
    return JSON({"object": "list", "data": models_of(request).cards()})


@router.get("/models/{name:path}")
async def model(name: str, request: Request) -> Response:
    """One model."""
    return JSON(models_of(request).card(name))
