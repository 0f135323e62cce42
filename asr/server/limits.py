"""What the server accepts at once; what exceeds it is refused with a status that says why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asr.errors import AsrError

RETRY_AFTER_S = 5


@dataclass(frozen=True)
class ServerLimits:
    """Upper bounds; a request beyond one of them is refused."""

    upload_bytes: int = 500 << 20  # of one recording
    audio_s: float = 4 * 3600.0  # of one recording
    requests: int = 64  # recordings that are received, wait or are transcribed at once
    connections: int = 100  # live connections at once
    bytes_in_flight: int = 2 << 30  # of all uploads on the disk at once
    grammar_arcs: int = 300_000  # to compile the grammar of a client: about a second
    idle_s: float = 60.0  # seconds without a byte from a client, then its connection is closed


DEFAULTS = ServerLimits()


class Refused(AsrError):
    """The server does not take a request; `status` is that of HTTP.

    retry_after_s: when the same request may succeed; None if it never will.
    """

    def __init__(
        self, status: int, message: str, code: str, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


class Admission:
    """Counts what is under way and refuses what exceeds the limits.

    Its methods belong to the thread of the event loop.
    """

    def __init__(self, limits: ServerLimits):
        self.limits = limits
        self.requests = 0
        self.connections = 0
        self.bytes_in_flight = 0
        self.draining = asyncio.Event()  # set when the server stops taking requests
        self._changed = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """The time from the first byte of a recording to its answer. Raises `Refused` (503)."""
        self._check("requests", self.requests, self.limits.requests)
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._changed.set()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """The time of a live connection. Raises `Refused` (503)."""
        self._check("connections", self.connections, self.limits.connections)
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1
            self._changed.set()

    @contextmanager
    def upload(self, stated_bytes: int | None = None) -> Iterator[UploadMeter]:
        """The time for which an upload is on the disk.

        stated_bytes: the length that the client states, if it does. Raises `Refused` (413, 429).
        """
        meter = UploadMeter(self)
        meter.check(stated_bytes or 0)
        try:
            yield meter
        finally:
            self.bytes_in_flight -= meter.bytes

    def check_duration(self, duration_s: float) -> None:
        """Raise `Refused` (413) if a recording is too long."""
        if duration_s > self.limits.audio_s:
            raise Refused(
                413,
                f"the recording is {duration_s:.0f} s long; at most {self.limits.audio_s:.0f} s "
                "are accepted; split it",
                "audio_too_long",
            )

    async def drained(self) -> None:
        """Return when nothing is under way."""
        while self.requests or self.connections:
            self._changed.clear()
            await self._changed.wait()

    def _check(self, name: str, count: int, limit: int) -> None:
        if self.draining.is_set():
            raise Refused(
                503, "the server is shutting down; try another", "shutting_down", RETRY_AFTER_S
            )
        if count >= limit:
            raise Refused(
                503,
                f"the server is busy with {count} {name}, its limit; try again later",
                "server_busy",
                RETRY_AFTER_S,
            )


class UploadMeter:
    """Counts the bytes of one upload."""

    def __init__(self, admission: Admission):
        self._admission = admission
        self.bytes = 0

    def add(self, count: int) -> None:
        """Count the next bytes. Raises `Refused` if they exceed a limit (413, 429)."""
        self.check(self.bytes + count)
        self.bytes += count
        self._admission.bytes_in_flight += count

    def check(self, total: int) -> None:
        """Raise `Refused` if an upload of `total` bytes exceeds a limit."""
        limits, others = self._admission.limits, self._admission.bytes_in_flight - self.bytes
        if total > limits.upload_bytes:
            raise Refused(
                413,
                f"the upload has more than {limits.upload_bytes} bytes, the limit; compress the "
                "audio (FLAC, Opus) or split it",
                "upload_too_large",
            )
        if others + total > limits.bytes_in_flight:
            raise Refused(
                429,
                f"the uploads under way have {others} bytes, near the limit of "
                f"{limits.bytes_in_flight}; try again later",
                "too_many_bytes",
                RETRY_AFTER_S,
            )
