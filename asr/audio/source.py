"""Where audio comes from: a file, a member of an archive, an encoded file or samples in memory."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from asr.errors import UserError

log = logging.getLogger("asr")

MAX_CHANNELS = 32  # an array (N, C) or (C, N) may have C <= 32, where C is the shorter axis
RATES_HZ = (1000, 768_000)  # the accepted range; a lower value was most likely meant in kHz
FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31, "uint8": 1 << 7}  # as WAV files store integers


@dataclass(frozen=True)
class Member:
    """An audio file inside an archive such as a tar; it is read in place, without extraction."""

    path: str  # of the archive
    name: str  # of the member; its suffix gives the format if the content does not
    offset: int  # bytes
    size: int  # bytes

    def __str__(self) -> str:
        return f"{self.path}: {self.name} at byte {self.offset}"

    def read(self) -> bytes:
        """The bytes of the member; raises `UserError` if the archive ends before them."""
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


@dataclass(frozen=True)
class Encoded:
    """An audio file of any format in memory, such as an upload."""

    data: bytes = field(repr=False)
    name: str = "audio in memory"  # its suffix gives the format if the content does not

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Encoded({self.name!r}, {hashlib.sha256(self.data).hexdigest()[:16]})"

    def read(self) -> bytes:
        """The bytes of the file; raises `UserError` if there are none."""
        if not self.data:
            raise UserError(f"{self}: the file is empty (0 bytes)")
        return self.data


class Samples:
    """Samples in memory at a known rate, checked and converted as if they had come from a file.

    array: a NumPy array, a PyTorch tensor on any device, or an object that NumPy converts to an
    array. Its shape is (N,) for mono, or (N, C) or (C, N) for C channels, where C is the shorter
    axis. Floats have full scale 1.0; int16, int32 and uint8 are scaled as in WAV files. rate_hz: a
    whole number. Raises `UserError` for another rate, shape or type, and for an array without
    samples.
    """

    def __init__(self, array: Any, rate_hz: float, name: str = "array"):
        self.name = name
        self.rate_hz = checked_rate(rate_hz, name)
        self.samples = _channels_last(as_floats(array, name), name)  # (N, C) float32

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        digest = hashlib.sha256(self.samples.tobytes()).hexdigest()[:16]
        return f"Samples({self.samples.shape}, {self.rate_hz} Hz, {digest})"


ResolvedSource: TypeAlias = str | Member | Encoded | Samples  # what an utterance refers to
Source: TypeAlias = ResolvedSource | Path


class Array(Protocol):
    """A NumPy array, a PyTorch tensor, a column of a data frame."""

    def __array__(self) -> np.ndarray: ...


Bytes: TypeAlias = bytes | bytearray | memoryview
AudioInput: TypeAlias = Source | os.PathLike[str] | Bytes | BinaryIO | Array  # what users may pass


def source_of(given: AudioInput, rate_hz: float | None, default_hz: int) -> ResolvedSource:
    """What a user passed as audio -> a source that `asr.audio.read` opens.

    given: a path, a binary file object (read from its position to its end), the bytes of an audio
    file, or an array (see `Samples`). rate_hz: the sample rate of an array; if it is None, the rate
    is taken to be `default_hz`, and one warning is logged. Raises `UserError` for other objects,
    and if `rate_hz` is given for audio that states its own rate.
    """
    if is_array(given):
        if rate_hz is None:
            _warn_of_default_rate(default_hz)
        return Samples(given, default_hz if rate_hz is None else rate_hz)
    if rate_hz is not None:
        raise UserError(
            f"rate_hz={rate_hz:g}: only an array needs a rate; {_described(given)} has its own"
        )
    if isinstance(given, (Member, Encoded, Samples)):
        return given
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    if isinstance(given, Bytes):
        return Encoded(bytes(given))
    if hasattr(given, "read"):
        return _read_file_object(given)
    raise UserError(
        f"{_described(given)} is not audio: give a path, a file opened with 'rb', bytes, or an "
        "array with rate_hz"
    )


def is_array(given: Any) -> bool:
    """Whether NumPy can convert it to samples: an array, a tensor, a column of a data frame."""
    return hasattr(given, "__array__") and not isinstance(given, (str, bytes))


def _described(given: Any) -> str:
    return repr(given) if isinstance(given, str) else f"an object of type {type(given).__name__}"


def _read_file_object(file: Any) -> Encoded:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) and name else Encoded.name
    data = file.read()
    if not isinstance(data, Bytes):
        kind = type(data).__name__
        raise UserError(f"{name}: reading gives {kind}, not bytes; open the file with 'rb'")
    return Encoded(bytes(data), name)


_warned_rates: set[int] = set()


def _warn_of_default_rate(rate_hz: int) -> None:
    """Warn once for each rate: a wrong rate gives wrong transcripts without any error."""
    if rate_hz not in _warned_rates:
        _warned_rates.add(rate_hz)
        log.warning(
            "an array without rate_hz is taken to be at the rate of the model, %d Hz; "
            "give rate_hz=%d to say so",
            rate_hz,
            rate_hz,
        )


def checked_rate(rate_hz: Any, name: str) -> int:
    """The rate as an integer; raises `UserError` if it is no sampling rate."""
    low, high = RATES_HZ
    try:
        whole = int(rate_hz)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate_hz or isinstance(rate_hz, bool) or not low <= whole <= high:
        raise UserError(
            f"{name}: rate_hz must be a whole number of Hz, {low} to {high}, not {rate_hz!r}"
        )
    return whole


def as_floats(array: Any, name: str) -> np.ndarray:
    """Any array -> float32 of the same shape, full scale 1.0."""
    if hasattr(array, "detach"):  # a tensor of PyTorch, which may need gradients or be on a GPU
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    found = np.asarray(array)
    kind = found.dtype.newbyteorder("=").name
    if kind in FULL_SCALE:
        shift = 128 if kind == "uint8" else 0
        return (found.astype(np.float32) - np.float32(shift)) / np.float32(FULL_SCALE[kind])
    if found.dtype.kind != "f":
        raise UserError(
            f"{name}: samples of type {found.dtype}; give floats in [-1, 1], "
            f"{', '.join(FULL_SCALE)}"
        )
    return found.astype(np.float32)


def _channels_last(samples: np.ndarray, name: str) -> np.ndarray:
    """(N,), (N, C) or (C, N) -> (N, C), laid out in memory as a file's samples are."""
    shape = samples.shape
    if samples.size == 0:
        raise UserError(f"{name}: holds no samples (shape {shape})")
    if samples.ndim == 1:
        return samples[:, None]
    if samples.ndim != 2 or min(shape) > MAX_CHANNELS or (shape[0] == shape[1] != 1):
        raise UserError(
            f"{name}: shape {shape}; give (N,) for mono, or (N, C) or (C, N) for C channels"
        )
    return np.ascontiguousarray(samples if shape[0] >= shape[1] else samples.T)
