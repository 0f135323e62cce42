"""The port on which Vosk's clients are answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from asr.errors import AsrError
from asr.server.connection import (
    ConnectionRecord,
    ShuttingDown,
    close_code,
    close_reason,
    deliver,
    live_connection,
    next_message,
)
from asr.server.limits import Refused
from asr.server.service import Service
from asr.server.vosk.session import VoskSession

log = logging.getLogger("asr.server")

PORT = 2700  # of vosk-server
FRAME_BYTES = 1 << 20  # 65 s at 8 kHz; clients send 0.1 to 0.5 s
# Frames of one connection that wait: from the first number on, its client has to wait until there
# are no more than the second. Frames beyond the second at the end delay the closing handshake.
QUEUED_FRAMES = (8, 7)
CLOSE_S = 2.0  # then a client that does not take part in the closing handshake is cut off


@asynccontextmanager
async def vosk_listener(service: Service, host: str, port: int) -> AsyncIterator[int]:
    """Answer Vosk's clients until the block is left; yields the port (for 0, a free one)."""

    async def converse(connection: ServerConnection) -> None:
        address = connection.remote_address
        try:
            with live_connection(service, "vosk", str(address[0])) as record:
                await _converse(connection, service, record)
        except ConnectionClosed:
            pass
        except Exception as error:
            if not isinstance(error, AsrError):
                log.exception("connection failed")
            await connection.close(close_code(error), close_reason(error))

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        """Refuse before the handshake, with a status that says why."""
        try:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if not service.tokens.accept(token.strip() if scheme.lower() == "bearer" else None):
                raise Refused(401, "send the header Authorization: Bearer TOKEN", "invalid_api_key")
            with service.admission.connection():
                return None
        except Refused as refusal:
            response = connection.respond(HTTPStatus(refusal.status), f"{refusal}\n")
            if refusal.retry_after_s is not None:
                response.headers["Retry-After"] = str(refusal.retry_after_s)
            return response

    async with serve(
        converse,
        host,
        port,
        process_request=admit,
        max_size=FRAME_BYTES,
        max_queue=QUEUED_FRAMES,
        close_timeout=CLOSE_S,
        server_header=None,
    ) as server:
        yield server.sockets[0].getsockname()[1]


async def _converse(
    connection: ServerConnection, service: Service, record: ConnectionRecord
) -> None:
    session, admission = VoskSession(service.engine), service.admission
    try:
        while not session.ended:
            frame = await next_message(connection.recv(), admission)
            reply = await session.answer(frame)
            if reply is not None:
                await deliver(connection.send(reply), admission)
    except ShuttingDown:
        await deliver(connection.send(await session.finish()), admission)
        raise
    finally:
        record.audio_s = session.heard_s
