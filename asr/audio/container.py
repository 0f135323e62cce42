"""Audio files that PyAV decodes: MP3, M4A, MP4, WebM, AAC, video. PyAV is optional."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from asr.audio.decoded import AudioInfo, finite, mono, truncated
from asr.audio.source import Source
from asr.errors import UserError

if TYPE_CHECKING:
    import av

_PLAYLISTS = {"concat", "dash", "hls"}  # refused: FFmpeg would open any file that they name
END_TOLERANCE_S = 0.25  # the streams of a complete file may end this long before its stated length


def _av_open(path: Source, data: bytes | None) -> av.container.InputContainer:
    import av

    # Without "file:", FFmpeg takes a name such as 12:30.m4a for a URL.
    file = f"file:{path}" if data is None else io.BytesIO(data)
    return av.open(file, options={"protocol_whitelist": "file"})


@contextmanager
def open_container(path: Source, data: bytes | None) -> Iterator[Container]:
    """Raises `UserError` without PyAV, and for a file that has no audio or is a playlist."""
    try:
        import av  # takes long to load, and WAV, FLAC and Ogg do not need it
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: not WAV, FLAC or Ogg audio; MP3, M4A, MP4, WebM and other formats need PyAV, "
            "which is not installed: pip install 'asr[media]'"
        ) from None
    try:
        container = _av_open(path, data)
    except (av.FFmpegError, ValueError):
        raise UserError(
            f"{path}: not an audio file that soundfile or PyAV can read, or its end is missing"
        ) from None
    with container:
        if container.format.name in _PLAYLISTS:
            raise UserError(f"{path}: a playlist; give the files that it names")
        if not container.streams.audio:
            raise UserError(f"{path}: holds no audio stream")
        yield Container(path, container, data)


class Container:
    """An open file and the first of its audio streams."""

    def __init__(self, path: Source, container: av.container.InputContainer, data: bytes | None):
        import av

        self.path, self.container = path, container
        self.stream = container.streams.audio[0]
        raw = container.format.flags & av.format.Flags.generic_index.value
        # FFmpeg estimates the length of a raw stream from the bit rate at its beginning.
        stated = container.duration is not None and (not raw or _states_length(path, data))
        self.stated_s = container.duration / av.time_base if stated else None
        if not stated:
            duration_s = _measure(path, data)
        elif self.stream.duration is not None:
            duration_s = float(self.stream.duration * self.stream.time_base)
        else:
            duration_s = self.stated_s
        if duration_s <= 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        self.info = AudioInfo(duration_s, self.stream.rate, self.stream.channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
        """The samples of one channel, or the mean of all: (n,) float32 at the rate of the file."""
        import av

        skip = round(start_s * self.info.rate_hz)
        left = None if duration_s is None else round(duration_s * self.info.rate_hz)
        to_float = av.AudioResampler(format="fltp")
        reached_s = 0.0  # the end of the last packet of any stream
        try:
            for packet in self.container.demux():
                if packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    reached_s = max(reached_s, end_s)
                if packet.stream.index != self.stream.index:
                    continue
                for planar in (p for f in packet.decode() for p in to_float.resample(f)):
                    samples = mono(planar.to_ndarray(), channel)
                    samples, skip = samples[skip:], max(0, skip - len(samples))
                    if left is not None:
                        samples = samples[:left]
                        left -= len(samples)
                    if len(samples):
                        yield finite(samples.astype(np.float32, copy=False), self.path)
                    if left == 0:
                        return
        except av.FFmpegError as error:
            raise UserError(f"{self.path}: damaged: {error.strerror}") from None
        reached_s -= (self.container.start_time or 0) / av.time_base
        if self.stated_s is not None and reached_s < self.stated_s - END_TOLERANCE_S:
            raise truncated(self.path, reached_s, self.stated_s)


def _measure(path: Source, data: bytes | None) -> float:
    """The duration of the audio stream by its packets, without decoding them."""
    with _av_open(path, data) as container:
        stream = container.streams.audio[0]
        return float(sum(p.duration or 0 for p in container.demux(stream)) * stream.time_base)


def _states_length(path: Source, data: bytes | None) -> bool:
    """Whether an MP3 begins with the frame that states its length."""
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag whose size is stored in four bytes of seven bits each
            size = 0
            for byte in head[6:]:
                size = size << 7 | byte
            file.seek(10 + size)
        frame = head + file.read(200)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))
