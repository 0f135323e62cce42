"""Audio of any source (`asr.audio.source`) -> mono float32 samples at one rate.

soundfile decodes WAV, FLAC and Ogg (Vorbis, Opus), and `asr.audio.container` the other formats.
Audio that cannot be read raises `UserError` with one line that names the source.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from asr.audio.container import Container, open_container
from asr.audio.decoded import AudioInfo, finite, mono, truncated
from asr.audio.level import Level
from asr.audio.resampling import StreamResampler, resample
from asr.audio.source import Encoded, Member, Samples, Source
from asr.audio.sphere import MAGIC as SPHERE_MAGIC
from asr.audio.sphere import Sphere
from asr.errors import UserError

log = logging.getLogger("asr")

BLOCK_FRAMES = 1 << 16  # samples of one channel decoded at a time: 4 s at 16 kHz
# Lengths that programs write into a header when they do not know the length. A file that is shorter
# than one of these is not truncated.
_UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0x80000000}


def info(path: Source) -> AudioInfo:
    """Duration, rate and channels according to the header; raises `UserError` as `read` does."""
    with _open(path) as source:
        return source.info


def verify(path: Source, start_s: float = 0.0, duration_s: float | None = None) -> AudioInfo:
    """Decode all samples of a segment, then return `info`; raises `UserError` as `read` does."""
    with _open(path) as source:
        for _ in source.blocks(start_s, duration_s):
            pass
        return source.info


def measure(
    path: Source, start_s: float = 0.0, duration_s: float | None = None
) -> tuple[AudioInfo, Level]:
    """`verify`, and the level of the segment: the mean of its channels, at the rate of the file."""
    with _open(path) as source:
        level = Level(source.info.rate_hz)
        for block in source.blocks(start_s, duration_s):
            level.add(block)
        return source.info, level


def read(
    path: Source,
    rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """A recording, or the segment of it that starts at `start_s`, as float32 (N,) at `rate_hz`.

    channel: the channel to take, counted from 0; the mean of all channels if None. Raises
    `UserError` if the source is missing, empty, truncated, or no audio, or if samples are not
    finite numbers.
    """
    with _open(path) as source:
        chunks = list(source.blocks(start_s, duration_s, channel))
        native = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        if len(native) == 0:
            raise UserError(f"{path}: no samples between {start_s:g} s and the end of the file")
        if source.info.rate_hz != rate_hz:
            _log_resampled(source.info.rate_hz, rate_hz, path)
        return resample(native, source.info.rate_hz, rate_hz)


_logged_rates: set[tuple[int, int]] = set()


def _log_resampled(from_hz: int, to_hz: int, path: Source) -> None:
    """Log once for each pair of rates: a wrong rate is a common cause of bad transcripts."""
    if (from_hz, to_hz) not in _logged_rates:
        _logged_rates.add((from_hz, to_hz))
        log.info(
            "%s: resampled from %d Hz to %d Hz, like all audio at this rate", path, from_hz, to_hz
        )


def blocks(
    path: Source,
    rate_hz: int,
    block_s: float,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[np.ndarray]:
    """A recording of any length, or a segment of it, in float32 blocks of `block_s` seconds.

    The last block is shorter. Raises `UserError` as `read` does, at the block that is damaged.
    """
    size = round(block_s * rate_hz)
    with _open(path) as source:
        resampler = StreamResampler(source.info.rate_hz, rate_hz)
        if source.info.rate_hz != rate_hz:
            _log_resampled(source.info.rate_hz, rate_hz, path)
        kept = np.zeros(0, np.float32)
        for chunk in source.blocks(start_s, duration_s):
            kept = np.concatenate([kept, resampler.feed(chunk)])
            while len(kept) >= size:
                yield kept[:size]
                kept = kept[size:]
        kept = np.concatenate([kept, resampler.finish()])
        for at in range(0, len(kept), size):
            yield kept[at : at + size]


@contextmanager
def _open(source: Source) -> Iterator[_SoundFile | Container | _Memory | _Sphere]:
    if isinstance(source, Samples):
        yield _Memory(source)
        return
    data: bytes | None = None
    if isinstance(source, (Member, Encoded)):
        data = source.read()
        head, suffix = data[:2], Path(source.name).suffix
    else:
        source = Path(source)
        head, suffix = _head(source), source.suffix
    if head == SPHERE_MAGIC[:2]:  # libsndfile cannot read shorten or detect a missing end
        with Path(source).open("rb") if data is None else io.BytesIO(data) as raw:
            if raw.read(len(SPHERE_MAGIC)) == SPHERE_MAGIC:
                yield _Sphere(source, raw)
                return
    # libsndfile 1.2.2 drops most of an MP3 that has a variable bit rate and no header with its
    # length, and single frames of others; its decoder writes to stderr.
    mpeg = suffix.lower() == ".mp3" or head == b"ID" or head >= b"\xff\xe0"
    file = None if mpeg else _open_soundfile(source, data)
    if file is None:
        with open_container(source, data) as container:
            yield container
        return
    with file:
        yield _SoundFile(source, file)


def _open_soundfile(source: Source, data: bytes | None) -> soundfile.SoundFile | None:
    """None if libsndfile does not know the format."""
    # soundfile raises TypeError for a name that ends in .raw, because it needs the rate.
    with suppress(soundfile.LibsndfileError, TypeError):
        if data is not None:
            return soundfile.SoundFile(io.BytesIO(data))
        # As bytes on POSIX: soundfile cannot encode a name that is not valid text.
        return soundfile.SoundFile(os.fsencode(source) if os.name == "posix" else source)
    return None


def _head(path: Path) -> bytes:
    """The first two bytes of a file; raises `UserError` unless it is regular and not empty."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: a pipe or a device; write it to a file first")
        if status.st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        with path.open("rb") as file:
            return file.read(2)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


class _Memory:
    def __init__(self, source: Samples):
        self.source = source
        count, channels = source.samples.shape
        self.info = AudioInfo(count / source.rate_hz, source.rate_hz, channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
        start = round(start_s * self.info.rate_hz)
        end = len(self.source.samples)
        if duration_s is not None:
            end = min(end, start + round(duration_s * self.info.rate_hz))
        for at in range(start, end, BLOCK_FRAMES):
            chunk = self.source.samples[at : min(at + BLOCK_FRAMES, end)]
            yield finite(mono(chunk.T, channel), self.source)


class _Sphere:
    def __init__(self, path: Source, file: BinaryIO):
        self.path, self.file = path, Sphere(file, path)
        if self.file.frames == 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        header = self.file.header
        self.info = AudioInfo(self.file.frames / header.rate_hz, header.rate_hz, header.channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
        start = min(round(start_s * self.info.rate_hz), self.file.frames)
        end = self.file.frames
        if duration_s is not None:
            end = min(end, start + round(duration_s * self.info.rate_hz))
        # A compressed file is decoded from its beginning for each block, so read one block only.
        step = max(end - start, 1) if self.file.header.shorten else BLOCK_FRAMES
        for at in range(start, end, step):
            yield mono(self.file.read(at, min(at + step, end)), channel)


class _SoundFile:
    def __init__(self, path: Source, file: soundfile.SoundFile):
        self.path, self.file = path, file
        if file.frames == 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        # libsndfile shortens a WAV whose end is missing; only its log says so.
        shortened = re.search(r"data\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)
        if shortened:
            stated, found = int(shortened[1]), int(shortened[2])
            if stated > found and stated not in _UNKNOWN_SIZES:
                duration_s = file.frames / file.samplerate
                raise truncated(self.path, duration_s, duration_s * stated / max(found, 1))
        self.info = AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
        start = min(round(start_s * self.info.rate_hz), self.file.frames)
        left = self.file.frames - start
        if duration_s is not None:
            left = min(left, round(duration_s * self.info.rate_hz))
        try:
            # Ogg Opus is decoded from its true beginning only after a seek; GSM 6.10 cannot seek.
            if start > 0 or self.file.subtype != "GSM610":
                self.file.seek(start)
            while left > 0:
                chunk = self.file.read(min(left, BLOCK_FRAMES), dtype="float32", always_2d=True)
                if len(chunk) == 0:
                    break
                left -= len(chunk)
                yield finite(mono(chunk.T, channel), self.path)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{self.path}: damaged: {error.error_string}") from None
        if left > 0:
            found = self.file.frames - left
            raise truncated(self.path, found / self.info.rate_hz, self.info.duration_s)


# `audio_files` finds files with these suffixes; a file given by its own path may have any suffix.
AUDIO_SUFFIXES = frozenset(
    ".aac .aif .aiff .amr .au .caf .flac .m4a .m4b .mka .mkv .mov .mp3 .mp4 .mpga .oga .ogg .opus "
    ".sph .wav .webm .wma".split()
)


def audio_files(folder: str | Path) -> list[Path]:
    """The audio files below a folder, sorted. Raises `UserError` if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and not p.is_dir()
    )
    if not found:
        raise UserError(f"{folder}: no audio file in this folder")
    return found
