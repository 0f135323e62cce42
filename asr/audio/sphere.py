"""NIST SPHERE files (.sph): PCM, mu-law and A-law, plain or compressed with shorten -> samples.

The header is text: `NIST_1A`, its own length in bytes, then rows such as `sample_rate -i 16000` up
to `end_head`. https://www.itl.nist.gov/iad/mig/tools (SPHERE 2.6)
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from asr.errors import UserError

MAGIC = b"NIST_1A\n"
MOST_HEADER = 1 << 20  # bytes
CONVERTER = "convert it with sph2pipe -f wav"


@dataclass(frozen=True)
class SphereHeader:
    size: int  # bytes
    rate_hz: int
    channels: int
    frames: int | None  # samples of one channel; None: to the end of the file
    coding: str  # pcm, ulaw or alaw
    shorten: bool
    sample_bytes: int
    big_endian: bool


def read_header(data: bytes, name: object) -> SphereHeader:
    """Parse the header at the start of `data`; raises `UserError`, which names the file `name`."""
    size = data[8:16].strip()
    if data[:8] != MAGIC or not size.isdigit() or not 16 < int(size) <= MOST_HEADER:
        raise UserError(f"{name}: damaged: it does not begin with a valid SPHERE header")
    text = data[16 : int(size)].decode("latin-1")
    if not re.search(r"^end_head\b", text, re.MULTILINE):
        raise UserError(f"{name}: damaged or truncated: its SPHERE header has no end")
    text = re.split(r"^end_head\b", text, maxsplit=1, flags=re.MULTILINE)[0]
    fields = dict(re.findall(r"^(\w+) -(?:i|r|s\d+) ([^\n]*?)\s*$", text, re.MULTILINE))
    coding, _, rest = fields.get("sample_coding", "pcm").partition(",")
    coding = {"mu-law": "ulaw", "mulaw": "ulaw", "a-law": "alaw"}.get(coding, coding)
    shorten = rest.startswith("embedded-shorten")
    if coding not in ("pcm", "ulaw", "alaw") or (rest and not shorten):
        found = fields.get("sample_coding")
        raise UserError(f"{name}: SPHERE sample coding {found!r} is not supported; {CONVERTER}")
    try:
        rate_hz = round(float(fields["sample_rate"]))
        channels = int(fields.get("channel_count", 1))
        frames = int(fields["sample_count"]) if "sample_count" in fields else None
        sample_bytes = int(fields.get("sample_n_bytes", 2 if coding == "pcm" else 1))
    except (KeyError, ValueError, OverflowError):
        raise UserError(f"{name}: damaged: its SPHERE header has no valid sample rate") from None
    valid = 0 < rate_hz <= 1 << 20 and 1 <= channels <= 64 and (frames is None or frames >= 0)
    if not valid or sample_bytes not in ((1, 2, 4) if coding == "pcm" else (1,)):
        raise UserError(
            f"{name}: damaged: its SPHERE header has {rate_hz} Hz, {channels} channels, {frames} "
            f"samples of {sample_bytes} bytes"
        )
    if shorten and frames is None:
        raise UserError(f"{name}: damaged: its SPHERE header does not give the number of samples")
    big_endian = fields.get("sample_byte_format", "01").startswith("1")
    return SphereHeader(
        int(size), rate_hz, channels, frames, coding, shorten, sample_bytes, big_endian
    )


class Sphere:
    """An open SPHERE file. Raises `UserError` if its header is invalid or its end is missing."""

    def __init__(self, file: BinaryIO, name: object):
        self.file, self.name = file, name
        file.seek(0)
        head = file.read(16)
        if head[:8] == MAGIC and head[8:].strip().isdigit():
            head += file.read(min(int(head[8:]), MOST_HEADER) - 16)
        self.header = h = read_header(head, name)
        self.body = max(file.seek(0, os.SEEK_END) - h.size, 0)  # bytes
        if h.shorten:
            # A block of 65536 zeros takes at least one bit, which bounds the number of samples.
            if h.frames > self.body * 8 << 16:
                raise UserError(f"{name}: truncated: {self.body} bytes for {h.frames} samples")
            self.frames = h.frames
            return
        found = self.body // (h.channels * h.sample_bytes)
        self.frames = found if h.frames is None else h.frames
        if found < self.frames:
            raise self._truncated(found)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples `start` to `stop` as float32 (channels, stop - start).

        Raises `UserError` if the file is damaged.
        """
        h = self.header
        if h.shorten:
            return self._unpacked(stop)[:, start:stop]
        frame = h.channels * h.sample_bytes
        self.file.seek(h.size + start * frame)
        data = self.file.read((stop - start) * frame)
        if len(data) < (stop - start) * frame:
            raise self._truncated(start + len(data) // frame)
        if h.coding == "pcm":
            order = ">" if h.big_endian else "<"
            found = np.frombuffer(data, f"{order}i{h.sample_bytes}").astype(np.float32)
            found /= 1 << (8 * h.sample_bytes - 1)
        else:
            found = (_MU_LAW if h.coding == "ulaw" else _A_LAW)[np.frombuffer(data, np.uint8)]
        return found.reshape(-1, h.channels).T

    def _unpacked(self, stop: int) -> np.ndarray:
        """Decode a compressed file from its beginning: float32 (channels, stop)."""
        h = self.header
        if h.coding != "pcm":
            raise UserError(f"{self.name}: {h.coding} in shorten is not supported; {CONVERTER}")
        from asr.audio.shorten import ShortenError, decode  # loads numba

        self.file.seek(h.size)
        try:
            found = decode(self.file.read(), h.channels, stop)
        except ShortenError as error:
            raise UserError(f"{self.name}: {error}") from None
        if found.shape[1] < stop:
            raise self._truncated(found.shape[1])
        return found

    def _truncated(self, found: int) -> UserError:
        h = self.header
        return UserError(
            f"{self.name}: truncated: {found / h.rate_hz:.2f} s of the "
            f"{self.frames / h.rate_hz:.2f} s that its header states; copy the file again"
        )


def _mu_law() -> np.ndarray:
    """The G.711 mu-law decoding table: byte -> sample, (256,) float32."""
    code = ~np.arange(256) & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -size, size) / 32768).astype(np.float32)


def _a_law() -> np.ndarray:
    """The G.711 A-law decoding table: byte -> sample, (256,) float32."""
    code = np.arange(256) ^ 0x55
    size, power = ((code & 0x0F) << 4) + 8, (code & 0x70) >> 4
    size = np.where(power > 0, size + 0x100 << np.maximum(power - 1, 0), size)
    return (np.where(code & 0x80, size, -size) / 32768).astype(np.float32)


_MU_LAW, _A_LAW = _mu_law(), _a_law()
