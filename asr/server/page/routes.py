"""The files of the page and the requests that only the page makes."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from asr.errors import UserError
from asr.server.errors import BadField
from asr.server.limits import Refused
from asr.server.page.corrections import CorrectedUtterance
from asr.server.page.live import live_endpoint
from asr.server.page.origin import require_same_origin
from asr.server.service import Service
from asr.server.uploads import received
from asr.transcript import Transcript
from asr.transcript.writers import FORMATS

FOLDER = Path(__file__).parent
STATIC = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
# The page loads nothing from other hosts, and runs no script but its own.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; media-src blob:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
MEDIA_TYPES = {"txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
TRANSCRIPT_BYTES = 16 << 20  # of one that the page exports
MAX_UTTERANCES = 10_000  # of corrections in one request
MAX_TEXT = 5_000  # characters of one correction
LONGEST_S = 1e6

_transcripts = TypeAdapter(Transcript)
_corrections = TypeAdapter(list[CorrectedUtterance])


def routes(service: Service) -> list[BaseRoute]:
    """`/`, `/live`, and what the page asks for below `/page/`; nothing without a model for it."""
    if not service.engine.recognizers:
        return []

    async def settings(request: Request) -> Response:
        models = [
            {
                "name": name,
                "language": recognizer.config.text.language,
                "streaming": recognizer.streams,
            }
            for name, recognizer in service.engine.recognizers.items()
        ]
        return JSONResponse({"models": models, "corrections": service.corrections is not None})

    async def export(request: Request) -> Response:
        require_same_origin(request.headers)
        format = request.query_params.get("format", "")
        if format not in FORMATS:
            raise BadField("format", f"{format!r}; give one of {', '.join(FORMATS)}")
        transcript = _transcript(await _body(request, service))
        text = await asyncio.to_thread(FORMATS[format], transcript)
        return Response(text, media_type=MEDIA_TYPES.get(format, "text/plain"))

    async def corrections(request: Request) -> Response:
        require_same_origin(request.headers)
        if service.corrections is None:
            raise Refused(403, "this server keeps no corrections", "corrections_off")
        with service.admission.request():
            async with received(request, service) as form:
                utterances = _utterances(form.one("utterances"))
                name = service.engine.name_of(form.one("model"))
                language = service.engine.recognizers[name].config.text.language
                speaker = form.one("speaker").strip()[:100] or None
                folder, source = service.corrections, str(form.file)
                with form.errors():
                    await asyncio.to_thread(folder.save, source, utterances, speaker, language)
        answer = {"saved": len(utterances), "manifest": str(service.corrections.manifest)}
        return JSONResponse(answer)

    return [
        *(Route(path, _static(name)) for path, name in STATIC.items()),
        Route("/page/settings", settings),
        Route("/page/export", export, methods=["POST"]),
        Route("/page/corrections", corrections, methods=["POST"]),
        WebSocketRoute("/live", live_endpoint(service)),
    ]


def _static(name: str) -> Any:
    async def answer(request: Request) -> Response:
        return FileResponse(FOLDER / name, headers=HEADERS)

    return answer


async def _body(request: Request, service: Service) -> bytes:
    """Raises `Refused` for a body that is too long (413) or stalls (408)."""
    body, idle_s = bytearray(), service.admission.limits.idle_s
    try:
        async with asyncio.timeout(idle_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > TRANSCRIPT_BYTES:
                    raise Refused(
                        413, f"the transcript has more than {TRANSCRIPT_BYTES} bytes", "too_large"
                    )
    except TimeoutError:
        raise Refused(408, f"the request took more than {idle_s:g} s", "stalled") from None
    return bytes(body)


def _transcript(body: bytes) -> Transcript:
    try:
        found = _transcripts.validate_json(body)
    except ValidationError as error:
        raise UserError(f"transcript: {_first(error)}") from None
    times = [found.duration_s]
    for part in (*found.segments, *found.words):
        times += [part.start_s, part.end_s]
    if not all(math.isfinite(at_s) and 0 <= at_s <= LONGEST_S for at_s in times):
        raise UserError(f"transcript: has a time that is not 0 to {LONGEST_S:g} s")
    return found


def _utterances(text: str) -> list[CorrectedUtterance]:
    try:
        found = _corrections.validate_json(text)
    except ValidationError as error:
        raise BadField("utterances", _first(error)) from None
    if not 1 <= len(found) <= MAX_UTTERANCES:
        raise BadField("utterances", f"has {len(found)}; give 1 to {MAX_UTTERANCES}")
    for one in found:
        if not (0 <= one.start_s < one.end_s <= LONGEST_S):
            raise BadField("utterances", f"{one.start_s:g} to {one.end_s:g} s is no stretch")
        if len(one.text) > MAX_TEXT:
            raise BadField("utterances", f"a text has more than {MAX_TEXT} characters")
    return found


def _first(error: ValidationError) -> str:
    """The first problem that a validation found, on one line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
