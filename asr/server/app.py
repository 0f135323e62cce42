"""The application: the routes of all modules, with request ids, tokens and errors for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from asr.audio.source import Samples
from asr.errors import AsrError, UserError
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer
from asr.server import detection, openai, openapi, operation
from asr.server.auth import EVERYBODY, RequireToken, Tokens
from asr.server.engine import Engine
from asr.server.errors import answer_error
from asr.server.limits import DEFAULTS, Admission, ServerLimits
from asr.server.logs import LogRequests
from asr.server.metrics import Metrics
from asr.server.page import routes as page
from asr.server.service import Service

# Each returns its routes; the first that matches a path answers.
MODULES = (operation.routes, openapi.routes, openai.routes, detection.routes, page.routes)
# A protocol on a port of its own: open while the context is.
Listener = Callable[[Service], AbstractAsyncContextManager[object]]


def make_service(
    recognizers: Mapping[str, Recognizer],
    limits: ServerLimits = DEFAULTS,
    tokens: Tokens = EVERYBODY,
    classifiers: Mapping[str, Classifier] | None = None,
) -> Service:
    """The service of these models, whose threads run until `service.engine.close()`.

    classifiers: models that detect keywords. Raises `UserError` without any model.
    """
    if not recognizers and not classifiers:
        raise UserError("server: give at least one model")
    metrics = Metrics()
    engine = Engine(recognizers, metrics.observe, limits.grammar_arcs)
    admission = Admission(limits)
    gauges: dict[str, tuple[str, Callable[[], float]]] = {
        "asr_queue_recordings": ("Recordings that are not finished.", lambda: engine.waiting),
        "asr_live_connections": ("Live connections.", lambda: admission.connections),
        "asr_requests_in_flight": ("Requests under way.", lambda: admission.requests),
        "asr_upload_bytes": ("Bytes of uploads on disk.", lambda: admission.bytes_in_flight),
    }
    for name, (help, value) in gauges.items():
        metrics.follow(name, help, value)
    return Service(engine, admission, metrics, tokens, classifiers=classifiers or {})


def application(service: Service, listeners: Sequence[Listener] = ()) -> Starlette:
    """The ASGI application of a service.

    listeners: protocols on ports of their own, which are open while the application runs.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for listener in listeners:
                await stack.enter_async_context(listener(service))
            await warm_up(service)
            yield

    return Starlette(
        routes=[route for module in MODULES for route in module(service)],
        middleware=[
            Middleware(LogRequests, metrics=service.metrics),
            Middleware(RequireToken, tokens=service.tokens),
        ],
        exception_handlers={
            AsrError: answer_error,
            HTTPException: answer_error,
            Exception: answer_error,
        },
        lifespan=lifespan,
    )


async def warm_up(service: Service) -> None:
    """Compute a second of silence with each model: the first call of each kernel is slow.

    The beam search is compiled too, because a request with hotwords may be the first that uses it.
    """
    engine = service.engine
    for name, recognizer in engine.recognizers.items():
        await asyncio.to_thread(recognizer.with_decoder, beam=2)
        silence = np.zeros(recognizer.rate_hz, np.float32)
        stream = await engine.open_stream(name, recognizer.rate_hz)
        await asyncio.gather(
            engine.transcribe(name, Samples(silence, recognizer.rate_hz)), stream.feed(silence)
        )
        await stream.finish()
    for classifier in service.classifiers.values():
        silence = np.zeros(classifier.rate_hz, np.float32)
        await engine.in_thread(classifier.emissions, [silence])
    service.ready = True
