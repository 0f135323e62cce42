"""OpenAI's API for audio: `/v1/audio/transcriptions` and `/v1/models`."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from asr.errors import AsrError, UserError
from asr.recognition.decoding import spelled
from asr.server.engine import DecodingOptions
from asr.server.errors import BadField, error_body
from asr.server.grammars import templates_of
from asr.server.limits import Refused
from asr.server.openai_formats import FORMATS, event, verbose
from asr.server.service import Service
from asr.server.uploads import Form, received
from asr.transcript import Transcript

log = logging.getLogger("asr.server")

GRANULARITIES = ("word", "segment")
MAX_PHRASES = 500
PHRASE_WORDS = 4  # a longer part of a prompt is a sentence and not a term


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of a request, checked."""

    model: str  # a name of the engine
    format: str
    words: bool
    segments: bool
    stream: bool
    options: DecodingOptions
    language: str | None


def routes(service: Service) -> list[BaseRoute]:
    """The routes of OpenAI's API."""
    created = int(time.time())

    async def transcriptions(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            stack.enter_context(service.admission.request())
            started_s = time.perf_counter()
            form = await stack.enter_async_context(received(request, service))
            service.metrics.observe("receive", time.perf_counter() - started_s)
            asked = await read_request(form, service)
            with form.errors():
                duration_s = await service.engine.duration_s(str(form.file))
            service.admission.check_duration(duration_s)
            if asked.stream:
                events = _events(service, form, asked, duration_s)
                return EventResponse(events, stack.pop_all(), service.admission.limits.idle_s)
            return await _answer(request, service, form, asked)

    async def models(request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [_model(name) for name in service.engine.recognizers]}
        )

    async def model(request: Request) -> Response:
        return JSONResponse(_model(service.engine.name_of(request.path_params["name"])))

    def _model(name: str) -> dict[str, Any]:
        recognizer = service.engine.recognizers[name]
        own = {
            "language": recognizer.config.text.language,
            "rate_hz": recognizer.rate_hz,
            "live": "streaming" if recognizer.streams else "at pauses",
        }
        return {"id": name, "object": "model", "created": created, "owned_by": "asr"} | own

    return [
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
    ]


async def read_request(form: Form, service: Service) -> TranscriptionRequest:
    """Check the fields of a form. Raises `BadField`, or `UnknownModel`."""
    engine = service.engine
    model = engine.name_of(form.one("model"))
    recognizer = engine.recognizers[model]
    format = form.one("response_format", "json")
    if format not in FORMATS:
        raise BadField("response_format", f"{format!r}; give one of {', '.join(FORMATS)}")
    granularities = form.every("timestamp_granularities") or ["segment"]
    for granularity in granularities:
        if granularity not in GRANULARITIES:
            raise BadField("timestamp_granularities", f"{granularity!r}; give word or segment")
    own, language = recognizer.config.text.language, form.one("language").strip() or None
    if language is not None and own is not None and not _same_language(language, own):
        raise BadField("language", f"{language!r}; the model {model} is for {own!r}")
    options = await _options(form, service, model)
    return TranscriptionRequest(
        model,
        format,
        "word" in granularities,
        "segment" in granularities,
        form.one("stream").lower() in ("true", "1"),
        options,
        language or own,
    )


def _same_language(one: str, other: str) -> bool:
    """en and en-US are the same."""
    return one.lower().split("-")[0] == other.lower().split("-")[0]


async def _options(form: Form, service: Service, model: str) -> DecodingOptions:
    """The keywords of a request, which must be valid, the terms of its prompt, and its grammar."""
    keywords = [word.strip() for word in form.every("keywords") if word.strip()]
    parts = re.split(r"[,;\n]", form.one("prompt"))
    terms = [part.strip(" .!?:\"'") for part in parts]
    terms = [term for term in terms if term and len(term.split()) <= PHRASE_WORDS]
    if len(keywords) + len(terms) > MAX_PHRASES:
        raise BadField("keywords", f"more than {MAX_PHRASES} phrases; give fewer")
    known = terms and await asyncio.to_thread(spelled, terms, service.engine.recognizers[model])
    options = DecodingOptions(tuple(dict.fromkeys([*keywords, *known])))
    try:
        await service.engine.recognizer(model, options)
    except UserError as error:
        raise BadField("keywords", str(error)) from None
    try:
        options = replace(options, grammar=templates_of(form.one("grammar"), "text"))
        await service.engine.recognizer(model, options)
    except UserError as error:
        raise BadField("grammar", str(error).removeprefix("grammar: ")) from None
    return options


async def _answer(
    request: Request, service: Service, form: Form, asked: TranscriptionRequest
) -> Response:
    started_s = time.perf_counter()
    work = service.engine.transcribe(asked.model, str(form.file), asked.options)
    with form.errors():
        transcript = await while_connected(request, work)
    count(service, transcript, time.perf_counter() - started_s)
    if asked.format == "verbose_json":
        return JSONResponse(verbose(transcript, asked.language, asked.words, asked.segments))
    media_type, render = FORMATS[asked.format]
    return Response(render(transcript), media_type=media_type)


def count(service: Service, transcript: Transcript, seconds: float) -> None:
    """Add a transcript to the metrics."""
    service.metrics.audio.labels("openai").inc(transcript.duration_s)
    if transcript.duration_s:
        service.metrics.factor.observe(seconds / transcript.duration_s)


async def while_connected(request: Request, work: Coroutine[Any, Any, Transcript]) -> Transcript:
    """The result of `work`, which is cancelled if the client goes away."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(499, "the client went away", "client_disconnected")
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(
    service: Service,
    form: Form,
    asked: TranscriptionRequest,
    duration_s: float,
) -> AsyncIterator[str]:
    """Server-sent events: the text of each part as soon as it is final, then the whole text."""
    started_s, separator = time.perf_counter(), ""
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    work = asyncio.ensure_future(
        service.engine.transcribe(asked.model, str(form.file), asked.options, texts.put_nowait)
    )
    work.add_done_callback(lambda _: texts.put_nowait(None))
    try:
        while (text := await texts.get()) is not None:
            yield event({"type": "transcript.text.delta", "delta": separator + text})
            separator = " "
        with form.errors():
            transcript = work.result()
        count(service, transcript, time.perf_counter() - started_s)
        usage = {"type": "duration", "seconds": round(duration_s)}
        yield event({"type": "transcript.text.done", "text": transcript.text, "usage": usage})
    except Exception as error:
        if not isinstance(error, AsrError):
            log.error("transcription failed", exc_info=error)
        yield event(error_body(error)[1])
    finally:
        work.cancel()  # if the client went away
    yield "data: [DONE]\n\n"


class EventResponse(StreamingResponse):
    """Server-sent events; `stack` is closed when they end, however they end.

    A client that does not read for `idle_s` seconds is left.
    """

    def __init__(self, events: AsyncIterator[str], stack: AsyncExitStack, idle_s: float):
        super().__init__(events, media_type="text/event-stream")
        self.headers["cache-control"] = "no-store"
        self._stack, self._idle_s = stack, idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def timely(message: Message) -> None:
            await asyncio.wait_for(send(message), self._idle_s)

        async with self._stack:
            with suppress(TimeoutError):
                await super().__call__(scope, receive, timely)
