"""The WebSocket `/detect`: audio comes in, keywords go out as soon as they are certain.

The client sends `{"type": "start", "rate_hz", "model", "window_s", "hop_s", "threshold",
"debounce_s", "near", "token"}`, of which all but the rate may be left out, then binary messages of
16-bit little-endian mono samples, then `{"type": "end"}`. The server answers `ready` with the
keywords and the threshold, then `detection` for each, and `done`; or `error` with a message.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from asr.audio.source import checked_rate
from asr.errors import UserError
from asr.recognition.detector import Detection, Detector, DetectorSettings
from asr.server.connection import ConnectionRecord, ShuttingDown, deliver, next_message
from asr.server.service import Service
from asr.server.websocket import endpoint, frame_of, hear, start_of

LONGEST_S = 10.0  # of a window or a pause, which a client chooses
LEAST_HOP_S = 0.02
FULL_SCALE = 32768.0  # of 16-bit samples


@dataclass(frozen=True)
class DetectRequest:
    """The first message of a connection."""

    rate_hz: int
    settings: DetectorSettings
    model: str = ""
    token: str | None = None

    @classmethod
    def parse(cls, frame: str | bytes) -> DetectRequest:
        """Raises `UserError` for a message that does not start a connection."""
        fields = start_of(frame)
        model, token = fields.get("model") or "", fields.get("token")
        if not isinstance(model, str) or not isinstance(token, str | None):
            raise UserError("start: model and token are texts")
        ranges = {
            "window_s": (LEAST_HOP_S, LONGEST_S),
            "hop_s": (LEAST_HOP_S, LONGEST_S),
            "threshold": (0.0, 1.0),
            "debounce_s": (0.0, LONGEST_S),
            "near": (0.0, 1.0),
        }
        given = {
            name: _number(fields[name], name, *between)
            for name, between in ranges.items()
            if fields.get(name) is not None
        }
        rate_hz = checked_rate(fields.get("rate_hz"), "start")
        # A client that does not ask for near misses hears of detections only.
        return cls(rate_hz, replace(DetectorSettings(near=0.0), **given), model, token)


def _number(value: Any, name: str, low: float, high: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise UserError(f"start: {name} is not a number from {low:g} to {high:g}")
    return float(value)


def routes(service: Service) -> list[BaseRoute]:
    """`/detect`, if the server has a model that classifies."""
    if not service.classifiers:
        return []
    return [WebSocketRoute("/detect", endpoint(service, "detect", _converse))]


async def _converse(websocket: WebSocket, service: Service, record: ConnectionRecord) -> None:
    admission, engine = service.admission, service.engine
    asked = DetectRequest.parse(await next_message(frame_of(websocket), admission))
    if not service.tokens.accept(asked.token):
        raise UserError("start: a valid token is missing")
    name = asked.model or next(iter(service.classifiers))
    if name not in service.classifiers:
        known = ", ".join(service.classifiers)
        raise UserError(f"model {name!r}: the models that classify are {known}")
    detector = Detector(service.classifiers[name], asked.rate_hz, asked.settings)

    async def send(detections: list[Detection]) -> None:
        for one in detections:
            message = {"type": "detection"} | asdict(one)
            await deliver(websocket.send_json(message), admission)

    async def feed(samples: np.ndarray) -> None:
        heard = samples.astype(np.float32) / FULL_SCALE
        await send(await engine.in_thread(detector.feed, heard))

    async def finish() -> None:
        await send(await engine.in_thread(detector.finish))
        await deliver(websocket.send_json({"type": "done"}), admission)

    ready = {"type": "ready", "keywords": detector.keywords, "threshold": detector.threshold}
    await deliver(websocket.send_json(ready), admission)
    try:
        await hear(websocket, service, record, asked.rate_hz, feed)
    except ShuttingDown:
        await finish()
        raise
    await finish()
