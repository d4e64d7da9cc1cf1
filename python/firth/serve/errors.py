"""Errors as clients read them: a status, and ``error`` with message, type, param, code.

That is OpenAI's form; Ollama's routes have the message alone.

The clients try 408, 409, 429 and all from 500 on again. So what a user has done wrong is 400 to
404, and what would fail again says so in a header.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from firth.errors import ContextError
from firth.serve.wire import JSON

_log = logging.getLogger("firth.serve")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "request_too_large",
    429: "rate_limit_exceeded", 500: "internal_error",
}  # fmt: skip


class APIError(HTTPException):
    """What a client is told.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
    code, param : str, optional
        Which kind of error, and which parameter of the request has it.
    retry_after : float, optional
        Seconds after which it may go.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(math.ceil(retry_after))
        elif status >= 500:
            headers["x-should-retry"] = "false"
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.code, self.param = code or _CODES.get(status), param

    @property
    def content(self) -> dict[str, Any]:
        """The body."""
        kind = "server_error" if self.status_code >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status_code, kind)
        return {
            "error": {"message": self.detail, "type": kind, "param": self.param, "code": self.code}
        }

    def response(self, path: str) -> Response:
        """The answer to a request for a path; below ``/api`` it is in Ollama's form."""
        content = {"error": self.detail} if path.startswith("/api/") else self.content
        return JSON(content, self.status_code, self.headers)


def of(error: Exception) -> APIError:
    """What a client is told of an error: ValueError and TypeError are firth's about its input."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, RecursionError):
        return APIError(400, "the request is nested too deep")
    if isinstance(error, ImportError):  # a package that constraints or templates need
        return APIError(501, str(error), "not_installed")
    if isinstance(error, ContextError):
        return APIError(400, str(error), "context_length_exceeded")
    if isinstance(error, (ValueError, TypeError)):
        return APIError(400, str(error), "invalid_value")
    return failed(error)


def failed(error: Exception) -> APIError:
    """What a client is told of an error that nothing has expected, unless it is for the client.

    The log says where it was, and not its message, which may quote a prompt.
    """
    if isinstance(error, APIError):
        return error
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "?"
    _log.error("a request failed with %s at %s", type(error).__name__, where)
    return APIError(500, "the server has failed; its log says where")


def of_body(error: RequestValidationError) -> APIError:
    """What a client is told of a body that is not as its schema."""
    found = error.errors()
    first = found[0]
    if first["type"] == "json_invalid":
        return APIError(400, f"the body is no JSON: {first['ctx']['error']}", "invalid_value")
    if first["type"] == "model_attributes_type" and len(first["loc"]) == 1:
        wanted = "a JSON object, and the header Content-Type: application/json"
        return APIError(400, f"the body must be {wanted}", "invalid_value")
    # Where a field may be one of several things, each says why it is not this one.
    reasons = [one for one in found if one["loc"][:2] == first["loc"][:2]]
    path = first["loc"][1:]
    for one in reasons:
        while one["loc"][1 : 1 + len(path)] != path:
            path = path[:-1]
    param = ".".join(map(str, path)) or None
    said = "; or: ".join(dict.fromkeys(str(one["msg"]) for one in reasons))
    return APIError(400, f"{param}: {said}" if param else said, "invalid_value", param)


def add_handlers(app: FastAPI) -> None:
    """Let all errors have this shape, or Ollama's."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return of_body(error).response(request.scope["path"])

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> Response:
        if not isinstance(error, APIError):
            error = APIError(error.status_code, str(error.detail))
        return error.response(request.scope["path"])
