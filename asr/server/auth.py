"""Bearer tokens: who may use the server."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from asr.errors import UserError

PROTECTED = ("/v1/", "/page/", "/metrics")  # paths that need a token


@dataclass(frozen=True)
class Tokens:
    """The tokens that are accepted; without any, everybody is let in."""

    accepted: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Tokens:
        """A file with a token on each line; empty lines and those that begin with # do not count.

        Raises `UserError` if it cannot be read or has no token.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: tokens cannot be read: {error}") from None
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise UserError(f"{path}: has no token; write one on each line")
        return cls(tuple(token.encode() for token in found))

    def accept(self, token: str | None) -> bool:
        """Whether this token lets a client in; the time it takes tells nothing of the tokens."""
        given = (token or "").encode()
        return not self.accepted or any([hmac.compare_digest(given, one) for one in self.accepted])


EVERYBODY = Tokens()


class RequireToken:
    """Answers 401 to requests without a token on the paths that need one (ASGI middleware)."""

    def __init__(self, app: ASGIApp, tokens: Tokens):
        self.app, self.tokens = app, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(PROTECTED):
            scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
            if not self.tokens.accept(token.strip() if scheme.lower() == "bearer" else None):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008, "reason": "no token"})
                    return
                await _unauthorized(scope, receive, send)
                return
        await self.app(scope, receive, send)


_unauthorized = JSONResponse(
    {
        "error": {
            "message": "a valid token is missing: send the header Authorization: Bearer TOKEN",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    },
    401,
    {"www-authenticate": "Bearer"},
)
