"""One line of JSON for each answered request, with an id that the client gets as well."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr.server.metrics import Metrics

log = logging.getLogger("asr.server")
request_id: ContextVar[str] = ContextVar("request_id", default="")

QUIET = ("/healthz", "/readyz", "/metrics")  # asked for every few seconds by machines
_SOUND_ID = re.compile(r"[\w.:-]{1,128}")


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line: time, level, message, request id, its own fields."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if request_id.get():
            row["request_id"] = request_id.get()
        row |= getattr(record, "fields", {})
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=False)


class LogRequests:
    """Gives each request an id, and logs and counts its answer (ASGI middleware).

    The id is the client's `x-request-id` if that is made of letters, digits and `._:-`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if _SOUND_ID.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(id)
        started_s, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = id
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started_s
            protocol = "websocket" if scope["type"] == "websocket" else "http"
            self.metrics.requests.labels(protocol, str(status or "closed")).inc()
            self.metrics.answers.labels(protocol).observe(seconds)
            fields = {
                "method": scope.get("method", "GET"),
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
                "client": (scope.get("client") or ("",))[0],
            }
            level = logging.DEBUG if scope["path"] in QUIET else logging.INFO
            log.log(level, "answered", extra={"fields": fields})
            request_id.reset(token)


def log_as_json(level: int) -> None:
    """Write the server's log to standard error, a JSON object on each line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("asr.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
