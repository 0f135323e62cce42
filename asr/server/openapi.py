"""The description of the HTTP interface in OpenAPI 3.1, at `/openapi.json`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from asr import __version__
from asr.server.openai import GRANULARITIES
from asr.server.openai_formats import FORMATS
from asr.server.service import Service

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": _TEXT,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
        "language": {"type": ["string", "null"]},
        "rate_hz": {"type": "integer"},
        "live": {"enum": ["streaming", "at pauses"]},
    },
}
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "a recording"},
        "model": _TEXT,
        "language": _TEXT,
        "prompt": {"type": "string", "description": "terms between commas, to favor"},
        "keywords[]": _TEXTS | {"description": "phrases to favor"},
        "grammar": {"type": "string", "description": "the only sentences, a template on each line"},
        "response_format": {"enum": list(FORMATS)},
        "timestamp_granularities[]": {"type": "array", "items": {"enum": list(GRANULARITIES)}},
        "stream": {"type": "boolean"},
    },
}


def _answer(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": content}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _answer(description, {"application/json": {"schema": schema}})


_WORDS_FOR_STATUS = {
    400: "The request is wrong.",
    401: "A valid token is missing.",
    404: "There is no such model or path.",
    408: "The upload stalled.",
    413: "The recording is too large or too long.",
    429: "The uploads under way have too many bytes; try again later.",
    500: "The server failed.",
    503: "The server is busy or shutting down; try again later.",
}
_ERRORS = {str(status): _json(text, _ERROR) for status, text in _WORDS_FOR_STATUS.items()}


def description(service: Service) -> dict[str, Any]:
    """The description of this server; its models are the first names that `model` takes."""
    transcript = _answer(
        "The transcript; server-sent events with `stream`.",
        {
            "application/json": {"schema": {"type": "object", "required": ["text"]}},
            "text/plain": {"schema": _TEXT},
            "text/event-stream": {"schema": _TEXT},
        },
    )
    models = _json(
        "The models.",
        {
            "type": "object",
            "required": ["object", "data"],
            "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
        },
    )
    form = {"multipart/form-data": {"schema": _FORM}}
    name = {"name": "model", "in": "path", "required": True, "schema": _TEXT}
    paths = {
        "/v1/audio/transcriptions": {
            "post": {
                "operationId": "transcribe",
                "requestBody": {"required": True, "content": form},
                "responses": {"200": transcript} | _ERRORS,
            }
        },
        "/v1/models": {"get": {"operationId": "models", "responses": {"200": models} | _ERRORS}},
        "/v1/models/{model}": {
            "get": {
                "operationId": "model",
                "parameters": [name],
                "responses": {"200": _json("The model.", _MODEL)} | _ERRORS,
            }
        },
    }
    about: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "asr", "version": __version__},
        "paths": paths,
    }
    if service.tokens.accepted:
        about["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        about["security"] = [{"token": []}]
    return about


def routes(service: Service) -> list[BaseRoute]:
    """`/openapi.json`."""

    async def openapi(request: Request) -> Response:
        return JSONResponse(description(service))

    return [Route("/openapi.json", openapi)]
