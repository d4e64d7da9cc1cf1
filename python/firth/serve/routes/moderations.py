"""``POST /moderations``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve.engine import unless_gone
from firth.serve.moderations import Moderation, moderated
from firth.serve.routes.state import models_of
from firth.serve.wire import JSON

router = APIRouter(tags=["moderations"])


@router.post("/moderations")
async def moderations(body: Moderation, request: Request) -> Response:
    """Whether texts are harmful."""
    return JSON(await unless_gone(request.receive, moderated(models_of(request), body)))
