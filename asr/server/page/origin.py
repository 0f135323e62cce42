"""Requests that pages of other sites make in a user's browser are refused."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from asr.server.limits import Refused


def require_same_origin(headers: Headers) -> None:
    """Raise `Refused` (403) for the request of a page of another site in the user's browser."""
    origin = headers.get("origin")
    own = {headers.get("host"), headers.get("x-forwarded-host")}
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Refused(403, f"pages of {origin[:100]} may not use this server", "other_origin")
