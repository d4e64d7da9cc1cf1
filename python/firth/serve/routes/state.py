"""``/health`` and ``/metrics``, and what routes find of the application."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from firth.serve.models import Models

router = APIRouter(tags=["state"])


def models_of(request: Request) -> Models:
    """The models of the application."""
    found: Models = request.app.state.models
    return found


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the server runs."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counts in Prometheus' text format."""
    text = request.app.state.metrics.text(models_of(request))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
