"""A server process: it listens, and after SIGTERM it finishes what is under way."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from asr.errors import Failed, UserError
from asr.server.app import Listener, application
from asr.server.http import timed
from asr.server.service import Service

log = logging.getLogger("asr.server")

DRAIN_S = 60.0  # seconds after SIGTERM in which requests under way may finish


@dataclass(frozen=True)
class Address:
    """Where a server listens, and the files of its certificate if it speaks HTTPS."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None


def serve(service: Service, address: Address, listeners: Sequence[Listener] = ()) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises `UserError` for a certificate that is missing, and `Failed` if the server cannot listen.
    """
    check_address(address)
    with tempfile.TemporaryDirectory(prefix="asr-server-") as spool:
        service.spool = Path(spool)
        server = server_of(service, address, listeners)
        try:
            server.run()
        except SystemExit:  # uvicorn ends the process when it cannot listen
            raise Failed(
                f"the server cannot listen on {address.host}:{address.port}; the log above has the "
                "reason"
            ) from None
        finally:
            service.engine.close()


def server_of(
    service: Service, address: Address, listeners: Sequence[Listener] = ()
) -> DrainingServer:
    """The server of a service, not yet running."""
    config = uvicorn.Config(
        application(service, listeners),
        host=address.host,
        port=address.port,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        http=timed(service.admission.limits.idle_s),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(DRAIN_S),
        ws_max_size=1 << 20,
    )
    return DrainingServer(config, service)


class DrainingServer(uvicorn.Server):
    """On SIGTERM it refuses new requests and ends when those under way are answered.

    A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining is not None or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._draining = asyncio.get_event_loop().create_task(self._drain())

    async def _drain(self) -> None:
        admission = self._service.admission
        admission.draining.set()
        log.info(
            "shutting down",
            extra={
                "fields": {"requests": admission.requests, "connections": admission.connections}
            },
        )
        try:
            await asyncio.wait_for(admission.drained(), DRAIN_S)
        except TimeoutError:
            log.warning("shutting down with requests under way")
        self.should_exit = True


def check_address(address: Address) -> None:
    """Raise `UserError` for half a certificate, or a file of it that is missing."""
    if (address.certificate is None) != (address.key is None):
        raise UserError("HTTPS needs both files: a certificate and its key")
    for path in (address.certificate, address.key):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
