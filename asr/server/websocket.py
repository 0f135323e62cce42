"""What the WebSockets of this server's own protocols share: `/live` and `/detect`.

A client sends a JSON object `{"type": "start", "rate_hz": ...}`, then binary messages of 16-bit
little-endian mono samples, then `{"type": "end"}`. After an error it gets
`{"type": "error", "message": ...}`, and the connection is closed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr.errors import UserError
from asr.server.connection import (
    ConnectionRecord,
    ShuttingDown,
    close_code,
    close_reason,
    conversation,
    deliver,
    next_message,
)
from asr.server.page.origin import require_same_origin
from asr.server.service import Service

Converse = Callable[[WebSocket, Service, ConnectionRecord], Awaitable[None]]


def endpoint(
    service: Service, protocol: str, converse: Converse
) -> Callable[[WebSocket], Awaitable[None]]:
    """An endpoint that awaits `converse` as a live connection and tells the client of errors."""

    async def answer(websocket: WebSocket) -> None:
        await websocket.accept()

        async def talk(record: ConnectionRecord) -> None:
            require_same_origin(websocket.headers)
            await converse(websocket, service, record)
            await websocket.close()

        async def tell(error: Exception) -> None:
            if not isinstance(error, ShuttingDown):
                message = {"type": "error", "message": close_reason(error)}
                await deliver(websocket.send_json(message), service.admission)
            with suppress(RuntimeError):  # it is closed already
                await websocket.close(close_code(error), close_reason(error))

        client = websocket.client.host if websocket.client else ""
        await conversation(service, protocol, client, talk, tell, (WebSocketDisconnect,))

    return answer


async def hear(
    websocket: WebSocket,
    service: Service,
    record: ConnectionRecord,
    rate_hz: int,
    feed: Callable[[np.ndarray], Awaitable[None]],
) -> None:
    """Await `feed` with the samples, (N,) int16, of each message until the client ends them."""
    while True:
        frame = await next_message(frame_of(websocket), service.admission)
        if isinstance(frame, str):
            if fields_of(frame).get("type") == "end":
                return
            raise UserError('send samples, or {"type": "end"}')
        if len(frame) % 2:
            raise UserError(f"{len(frame)} bytes are not a whole number of 16-bit samples")
        samples = np.frombuffer(frame, "<i2")
        record.audio_s += len(samples) / rate_hz
        await feed(samples)


async def frame_of(websocket: WebSocket) -> str | bytes:
    """The next message; raises `WebSocketDisconnect`."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    data = message.get("bytes")
    return message["text"] if data is None else data


def start_of(frame: str | bytes) -> dict[str, Any]:
    """The fields of the first message; raises `UserError` if it does not start a connection."""
    fields = fields_of(frame)
    if fields.get("type") != "start":
        raise UserError('send {"type": "start", "rate_hz": ...} first')
    return fields


def fields_of(frame: str | bytes) -> dict[str, Any]:
    """The fields of a JSON object; raises `UserError` if the message is none."""
    try:
        found = json.loads(frame) if isinstance(frame, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError("the message is not a JSON object")
    return found
