"""What those who run a server ask it: whether it lives, whether it takes requests, its metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from asr.server.limits import RETRY_AFTER_S
from asr.server.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """`/healthz`, `/readyz` and `/metrics`."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if service.admission.draining.is_set():
            return JSONResponse({"status": "shutting down"}, 503, _RETRY)
        if not service.ready:
            return JSONResponse({"status": "starting"}, 503, _RETRY)
        models = [*service.engine.recognizers, *service.classifiers]
        return JSONResponse({"status": "ready", "models": models})

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]


_RETRY = {"retry-after": str(RETRY_AFTER_S)}
