"""Audio as it is recorded: from a microphone, or from a file that stands in for one."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from asr.audio.io import blocks, info
from asr.audio.source import Source
from asr.errors import UserError

PACKET_S = 0.1  # of audio, delivered at a time
INSTALL_SOUNDDEVICE = "pip install 'asr[listen]'"
INSTALL_PORTAUDIO = "install PortAudio, on Debian and Ubuntu: apt install libportaudio2"


def import_sounddevice() -> Any:
    """The module sounddevice; raises `UserError` if it or the library PortAudio is missing."""
    try:
        import sounddevice
    except ImportError:
        raise UserError(f"microphone: sounddevice is missing; {INSTALL_SOUNDDEVICE}") from None
    except OSError:
        raise UserError(f"microphone: PortAudio is missing; {INSTALL_PORTAUDIO}") from None
    return sounddevice


@contextmanager
def microphone(rate_hz: int, device: str | None = None) -> Iterator[Iterator[np.ndarray]]:
    """Packets (N,) float32 of what a microphone hears, until the block is left.

    device: the number of an input device, or a part of its name; the system's default if None.
    Raises `UserError` if there is no such device or it cannot record.
    """
    sounddevice = import_sounddevice()
    packets: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def record(samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        packets.put(samples[:, 0].copy())

    try:
        stream = sounddevice.InputStream(
            samplerate=rate_hz,
            blocksize=round(PACKET_S * rate_hz),
            device=int(device) if device is not None and device.isdigit() else device,
            channels=1,
            dtype="float32",
            callback=record,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"microphone {device or 'default'}: {error}") from None
    with stream:
        yield (packets.get() for _ in itertools.count())


def packets_of(source: Source, real_time: bool = True) -> tuple[int, Iterator[np.ndarray]]:
    """The rate of a recording, and its samples in packets, as a microphone delivers them.

    real_time: each packet comes when its last sample would have been recorded; otherwise at once.
    Raises `UserError` as `asr.audio.read` does.
    """
    rate_hz = info(source).rate_hz
    return rate_hz, _packets(source, rate_hz, real_time)


def _packets(source: Source, rate_hz: int, real_time: bool) -> Iterator[np.ndarray]:
    begun, heard = time.monotonic(), 0
    for packet in blocks(source, rate_hz, PACKET_S):
        heard += len(packet)
        if real_time:
            time.sleep(max(0.0, begun + heard / rate_hz - time.monotonic()))
        yield packet
