"""Reading the events of Wyoming from a connection, with limits, and the audio in them.

An event is a line of JSON, then `data_length` bytes of JSON, then `payload_length` bytes. The
reader of the package `wyoming` trusts these lengths; this one refuses lengths beyond its limits
before it reads them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from wyoming.event import Event

from asr.audio.source import checked_rate
from asr.errors import UserError

# The line must also fit into the buffer of the stream's reader, 64 KiB by default.
LINE_BYTES = 1 << 15
DATA_BYTES = 1 << 20
PAYLOAD_BYTES = 1 << 22  # 131 s at 16 kHz in 16 bits; clients send about 0.1 s
WIDTHS = {1: "uint8", 2: "int16", 4: "int32"}  # bytes of a sample
MAX_CHANNELS = 8


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event, or None at the end of the connection, also in the middle of an event.

    Raises `UserError` for anything that is no event, and for one beyond the limits.
    """
    try:
        line = await reader.readline()
    except ValueError:  # the reader's limit
        raise UserError(f"event: its line is longer than {LINE_BYTES} bytes") from None
    if not line.endswith(b"\n"):
        return None
    if len(line) > LINE_BYTES:
        raise UserError(f"event: its line is longer than {LINE_BYTES} bytes")
    header = _json_object(line, "event")
    kind, data = header.get("type"), header.get("data")
    if not isinstance(kind, str):
        raise UserError("event: it has no type")
    if data is not None and not isinstance(data, dict):
        raise UserError(f"event {kind[:40]!r}: its data is not an object")
    data_length = _length(header, "data_length", DATA_BYTES)
    payload_length = _length(header, "payload_length", PAYLOAD_BYTES)
    try:
        more = await reader.readexactly(data_length) if data_length else b"{}"
        payload = await reader.readexactly(payload_length) if payload_length else None
    except asyncio.IncompleteReadError:
        return None
    return Event(kind, (data or {}) | _json_object(more, f"event {kind[:40]!r}"), payload)


def samples_of(event: Event) -> tuple[int, np.ndarray]:
    """The rate in Hz and the samples (N, C) of an audio chunk, in the type of its width.

    Raises `UserError` for a format that is not 8 (unsigned), 16 or 32 bits of up to 8 channels, and
    for a payload that ends within a sample.
    """
    rate_hz, width, channels = audio_format(event)
    payload = event.payload or b""
    if len(payload) % (width * channels):
        raise UserError(
            f"audio-chunk: {len(payload)} bytes are not a whole number of samples of {channels} "
            f"channels of {width} bytes"
        )
    kind = np.dtype(WIDTHS[width]).newbyteorder("<")
    return rate_hz, np.frombuffer(payload, kind).reshape(-1, channels)


def audio_format(event: Event) -> tuple[int, int, int]:
    """The rate in Hz, bytes of a sample, and channels that an event about audio states."""
    data = event.data or {}
    rate_hz = checked_rate(data.get("rate"), event.type)
    width, channels = data.get("width"), data.get("channels")
    if not isinstance(width, int) or width not in WIDTHS:
        raise UserError(f"{event.type}: width {_shown(width)}; it is 1, 2 or 4 bytes")
    if not isinstance(channels, int) or not 1 <= channels <= MAX_CHANNELS:
        raise UserError(f"{event.type}: channels {_shown(channels)}; it is 1 to {MAX_CHANNELS}")
    return rate_hz, width, channels


def _json_object(text: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{name}: it is not JSON") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: it is not a JSON object")
    return found


def _length(header: dict[str, Any], key: str, most: int) -> int:
    length = header.get(key) or 0
    if not isinstance(length, int) or not 0 <= length <= most:
        raise UserError(f"event: {key} is {_shown(length)}; it is 0 to {most} bytes")
    return length


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
