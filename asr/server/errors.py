"""Errors in the form that OpenAI's clients read: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asr.errors import UserError
from asr.server.engine import UnknownModel
from asr.server.limits import Refused

log = logging.getLogger("asr.server")


class BadField(UserError):
    """A field of a request has a value that is not accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def error_body(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The status, the body and the headers with which an exception is answered."""
    status, kind, param, code = 500, "server_error", None, None
    message = "the server failed; its log has the reason under this request's x-request-id"
    headers: dict[str, str] = {}
    if isinstance(error, Refused):
        status, message, code = error.status, str(error), error.code
        kind = "server_error" if status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if status == 429 else kind
        headers["connection"] = "close"  # the rest of a refused upload is not read
        if error.retry_after_s is not None:
            headers["retry-after"] = str(error.retry_after_s)
    elif isinstance(error, UnknownModel):
        status, kind, message = 404, "invalid_request_error", str(error)
        param, code = "model", "model_not_found"
    elif isinstance(error, UserError):
        status, kind, message = 400, "invalid_request_error", str(error)
        param = error.field if isinstance(error, BadField) else None
    elif isinstance(error, HTTPException):
        status, kind, message = error.status_code, "invalid_request_error", str(error.detail)
        headers |= dict(error.headers or {})
    fields = {"message": message, "type": kind, "param": param, "code": code}
    return status, {"error": fields}, headers


async def answer_error(request: Request, error: Exception) -> Response:
    """The response to an exception; what is not a client's mistake is logged with a traceback."""
    status, body, headers = error_body(error)
    if status == 500:
        log.error("request failed", exc_info=error)
    return JSONResponse(body, status, headers)
