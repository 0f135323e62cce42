"""Any audio file, also one inside an archive -> mono float32 samples at one rate.

soundfile reads WAV, FLAC and Ogg (Vorbis, Opus); PyAV the rest (MP3, M4A, MP4, WebM, AAC, video).
What cannot be read raises `UserError` with one line that names the file.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
_PLAYLISTS = {"concat", "dash", "hls"}  # FFmpeg would open whatever files they name
END_TOLERANCE_S = 0.25  # a container's streams may end so much before the length it tells


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself, without its samples being decoded."""

    duration_s: float
    rate_hz: int
    channels: int


@dataclass(frozen=True)
class Member:
    """An audio file inside a larger one, such as a tar: never extracted, its bytes are read."""

    path: str  # of the archive
    name: str  # its suffix tells what libsndfile would not
    offset: int  # bytes
    size: int  # bytes

    def __str__(self) -> str:
        return f"{self.path}: {self.name} at byte {self.offset}"

    def read(self) -> bytes:
        """Its bytes; raises `UserError` when the archive ends before they do."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise UserError(f"{self}: cannot be read: {error.strerror}") from None
        if len(data) < self.size:
            raise UserError(
                f"{self}: truncated: {len(data)} of {self.size} bytes; copy the file again"
            )
        return data


Source = str | Path | Member


def info(path: Source) -> AudioInfo:
    """Duration, rate and channels from the headers; raises `UserError` as `read` does."""
    with _open(path) as source:
        return source.info


def verify(path: Source, start_s: float = 0.0, duration_s: float | None = None) -> AudioInfo:
    """`info`, after every sample of the stretch has been decoded; raises `UserError` as `read`."""
    with _open(path) as source:
        for _ in source.blocks(start_s, duration_s):
            pass
        return source.info


def read(
    path: Source,
    rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """A file, or the stretch of it from `start_s`, as float32 (N,) at `rate_hz`.

    Mono by mean, or one channel alone, counted from 0.
    Raises `UserError` when the file is missing, empty, truncated, no audio, or has samples that are
    not finite numbers.
    """
    with _open(path) as source:
        chunks = list(source.blocks(start_s, duration_s, channel))
        native = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        if len(native) == 0:
            raise UserError(f"{path}: no samples between {start_s:g} s and the end of the file")
        if source.info.rate_hz != rate_hz:
            _say_resampled(source.info.rate_hz, rate_hz, path)
        return resample(native, source.info.rate_hz, rate_hz)


_said: set[tuple[int, int]] = set()


def _say_resampled(from_hz: int, to_hz: int, path: Source) -> None:
    """Once for each pair of rates: a wrong rate is a common cause of bad transcripts."""
    if (from_hz, to_hz) not in _said:
        _said.add((from_hz, to_hz))
        log.info(
            "%s: resampled from %d Hz to %d Hz, as are all files of this rate", path, from_hz, to_hz
        )


def blocks(
    path: str | Path,
    rate_hz: int,
    block_s: float,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[np.ndarray]:
    """A file of any length, or a stretch of it, in float32 blocks of `block_s` seconds (the last is
    shorter). Raises `UserError` as `read` does, where it finds the damage.
    """
    size = round(block_s * rate_hz)
    with _open(path) as source:
        stream = soxr.ResampleStream(source.info.rate_hz, rate_hz, 1, dtype="float32")
        same = source.info.rate_hz == rate_hz
        if not same:
            _say_resampled(source.info.rate_hz, rate_hz, path)
        kept = np.zeros(0, np.float32)
        for chunk in source.blocks(start_s, duration_s):
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
def _open(path: Source) -> Iterator[_SoundFile | _Container]:
    if isinstance(path, Member):
        data = path.read()
        head, suffix = data[:2], Path(path.name).suffix
    else:
        path = Path(path)
        data, head, suffix = None, _head(path), path.suffix
    # libsndfile drops most of an MP3 with a variable bit rate and no header that tells its length,
    # and its decoder writes to stderr by itself.
    mpeg = suffix.lower() == ".mp3" or head == b"ID" or head >= b"\xff\xe0"
    file = None
    if not mpeg:
        # TypeError: soundfile asks for the rate of what ends in .raw
        with suppress(soundfile.LibsndfileError, TypeError):
            if data is not None:
                file = soundfile.SoundFile(io.BytesIO(data))
            else:
                # As bytes: soundfile would not encode a name that is no text, Windows has none.
                file = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
    if file is None:
        with _open_container(path, data) as container:
            yield container
        return
    with file:
        yield _SoundFile(path, file)


def _head(path: Path) -> bytes:
    """The first two bytes of a plain file that has some."""
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


def _av_open(path: Path | Member, data: bytes | None) -> av.container.InputContainer:
    # "file:" or a name such as 12:30.m4a would be taken for an address
    file = f"file:{path}" if data is None else io.BytesIO(data)
    return av.open(file, options={"protocol_whitelist": "file"})


@contextmanager
def _open_container(path: Path | Member, data: bytes | None) -> Iterator[_Container]:
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
        yield _Container(path, container, data)


def _mono(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """(channels, n) -> (n,)"""
    return samples.mean(axis=0) if channel is None else samples[channel]


def _finite(samples: np.ndarray, path: Path | Member) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: holds samples that are not finite numbers (NaN or infinity)")
    return samples


class _SoundFile:
    def __init__(self, path: Path | Member, file: soundfile.SoundFile):
        self.path, self.file = path, file
        if file.frames == 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        # libsndfile quietly shortens a WAV whose end is missing; only its log tells.
        cut = re.search(r"data\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)
        if cut and int(cut[1]) > int(cut[2]) and int(cut[1]) not in _UNKNOWN_SIZES:
            promised = file.frames / file.samplerate * int(cut[1]) / max(int(cut[2]), 1)
            raise _truncated(self.path, file.frames / file.samplerate, promised)
        self.info = AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
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
                yield _finite(_mono(chunk.T, channel), self.path)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{self.path}: damaged: {error.error_string}") from None
        if left > 0:
            found = self.file.frames - left
            raise _truncated(self.path, found / self.info.rate_hz, self.info.duration_s)


class _Container:
    def __init__(
        self, path: Path | Member, container: av.container.InputContainer, data: bytes | None
    ):
        self.path, self.container = path, container
        self.stream = container.streams.audio[0]
        raw = container.format.flags & av.format.Flags.generic_index.value
        # What FFmpeg says of a raw stream's length is a guess from the bit rate at its beginning.
        told = container.duration is not None and (not raw or _tells_length(path, data))
        self.promised_s = container.duration / av.time_base if told else None
        if not told:
            duration_s = _measure(path, data)
        elif self.stream.duration is not None:
            duration_s = float(self.stream.duration * self.stream.time_base)
        else:
            duration_s = self.promised_s
        if duration_s <= 0:
            raise UserError(f"{path}: holds no samples (0.00 s)")
        self.info = AudioInfo(duration_s, self.stream.rate, self.stream.channels)

    def blocks(
        self, start_s: float, duration_s: float | None, channel: int | None = None
    ) -> Iterator[np.ndarray]:
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
                    samples = _mono(planar.to_ndarray(), channel)
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
        reached_s -= (self.container.start_time or 0) / av.time_base
        if self.promised_s is not None and reached_s < self.promised_s - END_TOLERANCE_S:
            raise _truncated(self.path, reached_s, self.promised_s)


def _measure(path: Path | Member, data: bytes | None) -> float:
    """Seconds of a file's audio by its packets, not decoded."""
    with _av_open(path, data) as container:
        stream = container.streams.audio[0]
        return float(sum(p.duration or 0 for p in container.demux(stream)) * stream.time_base)


def _tells_length(path: Path | Member, data: bytes | None) -> bool:
    """Whether an MP3 begins with the frame in which encoders write its length."""
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag, its size in four bytes of seven bits
            size = 0
            for byte in head[6:]:
                size = size << 7 | byte
            file.seek(10 + size)
        frame = head + file.read(200)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _truncated(path: Path | Member, found_s: float, promised_s: float) -> UserError:
    return UserError(
        f"{path}: truncated: {found_s:.2f} s of the {promised_s:.2f} s its header promises; "
        "copy the file again"
    )


# Of files that folders are searched for; a file named by itself may be called anything.
AUDIO_SUFFIXES = frozenset(
    ".aac .aif .aiff .amr .au .caf .flac .m4a .m4b .mka .mkv .mov .mp3 .mp4 .mpga .oga .ogg .opus "
    ".wav .webm .wma".split()
)


def audio_files(folder: str | Path) -> list[Path]:
    """The audio files below a folder, sorted. Raises `UserError` when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and not p.is_dir()
    )
    if not found:
        raise UserError(f"{folder}: no audio file in this folder")
    return found
