"""HTTP connections that do not wait for ever for a client that says nothing."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedConnection(H11Protocol):
    """Closed when a client does not send the whole head of a request within `head_s` seconds."""

    head_s = 60.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._follow()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _follow(self) -> None:
        """Start the clock while no request is under way; a byte of a head does not restart it."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self.transport.get_protocol() is not self:  # it has become a WebSocket
            self._stop()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.head_s, self._give_up)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def timed(head_s: float) -> type[TimedConnection]:
    """The class of connections with this patience."""
    return type("TimedConnection", (TimedConnection,), {"head_s": head_s})
