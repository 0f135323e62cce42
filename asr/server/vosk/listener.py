"""The port on which Vosk's clients are answered."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from asr.server.connection import (
    ConnectionRecord,
    ShuttingDown,
    close_code,
    close_reason,
    conversation,
    deliver,
    next_message,
)
from asr.server.limits import Refused
from asr.server.service import Service
from asr.server.vosk.session import VoskSession

PORT = 2700  # of vosk-server
FRAME_BYTES = 1 << 20  # 65 s at 8 kHz; clients send 0.1 to 0.5 s
# Frames of one connection that wait: from the first number on, its client has to wait until there
# are no more than the second. Frames beyond the second at the end delay the closing handshake.
QUEUED_FRAMES = (8, 7)
CLOSE_S = 2.0  # then a client that does not take part in the closing handshake is cut off


@asynccontextmanager
async def vosk_listener(
    service: Service, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Answer Vosk's clients until the block is left; yields the port (for 0, a free one).

    tls: the certificate of the server; its clients then connect to wss://.
    """

    async def converse(connection: ServerConnection) -> None:
        async def tell(error: Exception) -> None:
            await connection.close(close_code(error), close_reason(error))

        client, talk = str(connection.remote_address[0]), partial(_converse, connection, service)
        await conversation(service, "vosk", client, talk, tell, (ConnectionClosed,))

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
        ssl=tls,
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
