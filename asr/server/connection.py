"""What live connections of all protocols share: admission, idle time, the end of the server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from asr.errors import AsrError
from asr.server.limits import Admission, Refused
from asr.server.logs import request_id
from asr.server.service import Service

T = TypeVar("T")
log = logging.getLogger("asr.server")


class IdleClient(AsrError):
    """A client has sent nothing for too long, or does not read what it is sent."""


class ShuttingDown(AsrError):
    """The server takes no more audio; the text so far is still to be sent."""


@dataclass
class ConnectionRecord:
    """What the log and the metrics tell of a connection."""

    audio_s: float = 0.0
    end: str = "done"


@contextmanager
def live_connection(service: Service, protocol: str, client: str) -> Iterator[ConnectionRecord]:
    """The time of a connection, which is admitted, counted and logged under an id of its own.

    Raises `Refused` if there are too many.
    """
    record, begun_s = ConnectionRecord(), time.perf_counter()
    token = request_id.set(secrets.token_hex(8))
    try:
        with service.admission.connection():
            yield record
    except BaseException as error:
        record.end = str(error) or type(error).__name__
        raise
    finally:
        seconds = time.perf_counter() - begun_s
        service.metrics.requests.labels(protocol, "closed").inc()
        service.metrics.answers.labels(protocol).observe(seconds)
        service.metrics.audio.labels(protocol).inc(record.audio_s)
        fields = {
            "protocol": protocol,
            "client": client,
            "seconds": round(seconds, 4),
            "audio_s": round(record.audio_s, 3),
            "end": record.end,
        }
        log.info("connection closed", extra={"fields": fields})
        request_id.reset(token)


async def conversation(
    service: Service,
    protocol: str,
    client: str,
    talk: Callable[[ConnectionRecord], Awaitable[None]],
    tell: Callable[[Exception], Awaitable[None]],
    gone: tuple[type[Exception], ...],
) -> None:
    """Await `talk` as a live connection; no exception of it is raised.

    tell: called with an exception, to tell the client and to close the connection; gone: exceptions
    after which there is no client to tell. Those that are not the client's fault are logged with a
    traceback.
    """
    try:
        with live_connection(service, protocol, client) as record:
            await talk(record)
    except gone:
        pass
    except Exception as error:
        if not isinstance(error, AsrError):
            log.exception("connection failed")
        with suppress(*gone, AsrError):
            await tell(error)


async def next_message(receive: Coroutine[Any, Any, T], admission: Admission) -> T:
    """What `receive` returns; a message that has arrived goes before the end of the server.

    Raises `IdleClient` and `ShuttingDown`, and what `receive` raises.
    """
    message = asyncio.ensure_future(receive)
    drain = asyncio.ensure_future(admission.draining.wait())
    idle_s = admission.limits.idle_s
    try:
        await asyncio.wait({message, drain}, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
        if message.done():
            return message.result()
        if drain.done():
            raise ShuttingDown("the server is shutting down")
        raise IdleClient(f"nothing was sent for {idle_s:g} s")
    finally:
        for task in (message, drain):
            task.cancel()
        await asyncio.gather(message, drain, return_exceptions=True)


async def deliver(send: Coroutine[Any, Any, None], admission: Admission) -> None:
    """Await `send`; raises `IdleClient` if the client does not read what it is sent."""
    idle_s = admission.limits.idle_s
    try:
        async with asyncio.timeout(idle_s):
            await send
    except TimeoutError:
        raise IdleClient(f"nothing was read for {idle_s:g} s") from None


def close_code(error: Exception) -> int:
    """The code with which a WebSocket is closed after an error (RFC 6455, section 7.4)."""
    if isinstance(error, Refused):
        return 1013  # try again later
    if isinstance(error, (IdleClient, ShuttingDown)):
        return 1001  # going away
    return 1008 if isinstance(error, AsrError) else 1011


def close_reason(error: Exception) -> str:
    """The message of an error in at most the 123 bytes that a closing frame has for it."""
    text = str(error) if isinstance(error, AsrError) else "the server failed; see its log"
    return text.encode()[:123].decode(errors="ignore")
