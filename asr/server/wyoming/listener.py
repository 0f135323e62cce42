"""The port on which Wyoming's clients, such as Home Assistant, are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from wyoming.error import Error
from wyoming.event import Event, async_write_event

from asr.server.connection import (
    ConnectionRecord,
    ShuttingDown,
    close_reason,
    conversation,
    deliver,
    next_message,
)
from asr.server.service import Service
from asr.server.wyoming.announcement import announcement
from asr.server.wyoming.events import read_event
from asr.server.wyoming.session import WyomingSession

PORT = 10300  # of other recognizers for Wyoming


@asynccontextmanager
async def wyoming_listener(
    service: Service, host: str, port: int, name: str = "", addresses: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Answer Wyoming's clients until the block is left; yields the port (for 0, a free one).

    name, addresses: under which zeroconf announces the server; "" announces nothing.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # by the end of the block
            await _serve(service, reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(accept, host, port)
    found = server.sockets[0].getsockname()[1]
    announced = announcement(name, found, addresses) if name else contextlib.nullcontext()
    try:
        async with announced:
            yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


async def _serve(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:

    async def tell(error: Exception) -> None:
        message = Error(close_reason(error), getattr(error, "code", None))
        await _send(service, writer, [message.event()])

    peer, gone = writer.get_extra_info("peername") or ("",), (ConnectionError, ShuttingDown)
    try:
        talk = partial(_converse, service, reader, writer)
        await conversation(service, "wyoming", str(peer[0]), talk, tell, gone)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1.0)


async def _converse(
    service: Service,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    record: ConnectionRecord,
) -> None:
    session = WyomingSession(service.engine)
    try:
        while True:
            event = await next_message(read_event(reader), service.admission)
            if event is None:
                return
            await _send(service, writer, await session.answer(event))
    except ShuttingDown:
        if session.listening:
            await _send(service, writer, await session.finish())
        raise
    finally:
        record.audio_s = session.heard_s


async def _send(service: Service, writer: asyncio.StreamWriter, events: list[Event]) -> None:
    for event in events:
        await deliver(async_write_event(event, writer), service.admission)
