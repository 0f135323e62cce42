"""Any audio file -> mono float32 samples at one rate.

soundfile reads WAV, FLAC, Ogg (Vorbis, Opus) and MP3; PyAV the rest (M4A, MP4, WebM, AAC, video).
What cannot be read raises `UserError` with one line that names the file.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from asr.errors import UserError

log = logging.getLogger("asr")

BLOCK_FRAMES = 1 << 16  # samples of one channel decoded at a time: 4 s at 16 kHz
# What writers to a pipe put where the length would stand: not a promise, so not a truncated file.
_UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0x80000000}


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself, without its samples being decoded."""

    duration_s: float
    rate_hz: int
    channels: int


def info(path: str | Path) -> AudioInfo:
    """Duration, rate and channels from the headers; raises `UserError` as `read` does."""
    with _open(path) as source:
        return source.info


def read(
    path: str | Path, rate_hz: int, start_s: float = 0.0, duration_s: float | None = None
) -> np.ndarray:
    """A file, or the stretch of it from `start_s`, as float32 (N,) at `rate_hz`, mono by mean.

    Raises `UserError` when the file is missing, empty, truncated, no audio, or has samples that are
    not finite numbers.
    """
    with _open(path) as source:
        chunks = list(source.blocks(start_s, duration_s))
        native = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        if len(native) == 0:
            raise UserError(f"{path}: no samples between {start_s:g} s and the end of the file")
        if source.info.rate_hz != rate_hz:
            _say_resampled(source.info.rate_hz, rate_hz, path)
        return resample(native, source.info.rate_hz, rate_hz)


_said: set[tuple[int, int]] = set()


def _say_resampled(from_hz: int, to_hz: int, path: str | Path) -> None:
    """Once for each pair of rates: a wrong rate is a common cause of bad transcripts."""
    if (from_hz, to_hz) not in _said:
        _said.add((from_hz, to_hz))
        log.info(
            "%s: resampled from %d Hz to %d Hz, as are all files of this rate", path, from_hz, to_hz
        )


def blocks(path: str | Path, rate_hz: int, block_s: float) -> Iterator[np.ndarray]:
    """A file of any length in float32 blocks of `block_s` seconds (the last is shorter)."""
    size = round(block_s * rate_hz)
    with _open(path) as source:
        stream = soxr.ResampleStream(source.info.rate_hz, rate_hz, 1, dtype="float32")
        same = source.info.rate_hz == rate_hz
        if not same:
            _say_resampled(source.info.rate_hz, rate_hz, path)
        kept = np.zeros(0, np.float32)
        for chunk in source.blocks(0.0, None):
            kept = np.concatenate([kept, chunk if same else stream.resample_chunk(chunk)])
            while len(kept) >= size:
                yield kept[:size]
                kept = kept[size:]
        if not same:
            kept = np.concatenate([kept, stream.resample_chunk(np.zeros(0, np.float32), last=True)])
        for at in range(0, len(kept), size):
            yield kept[at : at + size]


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """samples (N,) float32 -> (N * to_hz / from_hz,) float32."""
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


@contextmanager
def _open(path: str | Path) -> Iterator[_SoundFile | _Container]:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: a folder, not an audio file")
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        with path.open("rb"):
            pass  # permission is asked for here: soundfile would call it a format error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        with _open_container(path) as container:
            yield container
        return
    with file:
        yield _SoundFile(path, file)


@contextmanager
def _open_container(path: Path) -> Iterator[_Container]:
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError):
        raise UserError(
            f"{path}: not an audio file that soundfile or PyAV can read, or its end is missing"
        ) from None
    with container:
        if not container.streams.audio:
            raise UserError(f"{path}: holds no audio stream")
        yield _Container(path, container)


def _finite(samples: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: holds samples that are not finite numbers (NaN or infinity)")
    return samples


class _SoundFile:
    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path, self.file = path, file
        if file.frames == 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        # libsndfile quietly shortens a WAV whose end is missing; only its log tells.
        cut = re.search(r"data\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)
        if cut and int(cut[1]) > int(cut[2]) and int(cut[1]) not in _UNKNOWN_SIZES:
            promised = file.frames / file.samplerate * int(cut[1]) / max(int(cut[2]), 1)
            raise self._truncated(file.frames / file.samplerate, promised)
        self.info = AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)

    def _truncated(self, found_s: float, promised_s: float) -> UserError:
        return UserError(
            f"{self.path}: truncated: {found_s:.2f} s of the {promised_s:.2f} s its header promises; "
            "copy the file again"
        )

    def blocks(self, start_s: float, duration_s: float | None) -> Iterator[np.ndarray]:
        start = min(round(start_s * self.info.rate_hz), self.file.frames)
        left = self.file.frames - start
        if duration_s is not None:
            left = min(left, round(duration_s * self.info.rate_hz))
        try:
            self.file.seek(start)
            while left > 0:
                chunk = self.file.read(min(left, BLOCK_FRAMES), dtype="float32", always_2d=True)
                if len(chunk) == 0:
                    break
                left -= len(chunk)
                yield _finite(chunk.mean(axis=1), self.path)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{self.path}: damaged: {error.error_string}") from None
        if left > 0:
            found = self.file.frames - left
            raise self._truncated(found / self.info.rate_hz, self.info.duration_s)


class _Container:
    def __init__(self, path: Path, container: av.container.InputContainer):
        self.path, self.container = path, container
        self.stream = container.streams.audio[0]
        if self.stream.duration is not None:
            duration_s = float(self.stream.duration * self.stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / av.time_base
        else:  # a raw stream tells its length to no one who has not read it
            duration_s = sum(p.duration or 0 for p in container.demux(self.stream)) * float(
                self.stream.time_base
            )
            container.seek(0)
        self.info = AudioInfo(duration_s, self.stream.rate, self.stream.channels)

    def blocks(self, start_s: float, duration_s: float | None) -> Iterator[np.ndarray]:
        skip = round(start_s * self.info.rate_hz)
        left = None if duration_s is None else round(duration_s * self.info.rate_hz)
        to_float = av.AudioResampler(format="fltp")
        try:
            for frame in self.container.decode(self.stream):
                for planar in to_float.resample(frame):
                    samples = planar.to_ndarray().mean(axis=0)  # (channels, n) -> (n,)
                    samples, skip = samples[skip:], max(0, skip - len(samples))
                    if left is not None:
                        samples = samples[:left]
                        left -= len(samples)
                    if len(samples):
                        yield _finite(samples.astype(np.float32, copy=False), self.path)
                    if left == 0:
                        return
        except av.FFmpegError as error:
            raise UserError(f"{self.path}: damaged: {error.strerror}") from None
