"""``/``, the page to try models on, and the files that it consists of."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).resolve().parents[1] / "static"


def add(app: FastAPI) -> None:
    """Serve the page, where there is one."""
    index = STATIC / "index.html"

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        if index.is_file():
            return FileResponse(index, headers={"cache-control": "no-cache"})
        return PlainTextResponse("firth serves OpenAI's API here, under /v1\n")

    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC), "static")
