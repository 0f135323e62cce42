"""Shorten, the lossless compression inside many NIST SPHERE files -> samples.

Tony Robinson, "SHORTEN: Simple lossless and near-lossless waveform compression", 1994. A stream is
a sequence of commands: a block of one channel, predicted from the samples before it by one of four
fixed polynomials or by a linear predictor, with the residual in Rice codes; or a change of the
block size or of the shift. All is written bit by bit, the highest bit first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.jit import allocating

MAGIC = b"ajkg"
# Sample types by their number in the stream: (name, (zero level, full scale)).
TYPES = {
    1: ("signed 8 bits", (0, 128)),
    2: ("unsigned 8 bits", (128, 128)),
    3: ("signed 16 bits", (0, 32768)),
    4: ("unsigned 16 bits", (32768, 32768)),
    5: ("signed 16 bits", (0, 32768)),
    6: ("unsigned 16 bits", (32768, 32768)),
}
NAMES = {0: "mu-law", 7: "mu-law", 8: "mu-law", 9: "A-law", 10: "A-law"}
DEFAULT_BLOCK = 256
MOST_BLOCK = 1 << 16
MOST_LPC = 64
MOST_MEANS = 64

DIFF3, QUIT, BLOCKSIZE, BITSHIFT, QLPC, ZERO, VERBATIM = 3, 4, 5, 6, 7, 8, 9  # below: DIFF0 to 2
HISTORY = 3  # samples before a block that DIFF3 needs

WHOLE, CUT_OFF, DAMAGED = 0, 1, 2  # how decoding ended


class ShortenError(ValueError):
    """The stream is damaged, or it has a version or sample type that `decode` does not support."""


@dataclass(frozen=True)
class _Header:
    version: int
    type: int
    channels: int
    block: int
    lpc: int
    means: int
    bit: int  # where the first command begins


def decode(data: bytes, channels: int, frames: int) -> np.ndarray:
    """The first `frames` samples of each channel as float32 (channels, n) in [-1, 1].

    n is less than `frames` if the stream ends early. Raises `ShortenError` if the stream is
    damaged, has another number of channels, or contains companded samples (mu-law, A-law).
    """
    header = _header(data)
    if header.channels != channels:
        raise ShortenError(f"{header.channels} channels where the header states {channels}")
    if header.type not in TYPES:
        name = NAMES.get(header.type, f"type {header.type}")
        raise ShortenError(f"{name} samples inside shorten; convert it with sph2pipe -f wav")
    zero, scale = TYPES[header.type][1]
    out = np.zeros((channels, frames), np.int32)
    packed = np.frombuffer(data, np.uint8)
    limits = np.array([zero - scale, zero + scale - 1], np.int64)
    found, end = _decode(
        packed,
        header.bit,
        header.version,
        header.block,
        header.lpc,
        header.means,
        zero,
        limits,
        out,
    )
    if end == DAMAGED:
        raise ShortenError(f"damaged after {found} samples")
    return ((out[:, :found] - zero) / np.float32(scale)).astype(np.float32)


def _header(data: bytes) -> _Header:
    if data[:4] != MAGIC or len(data) < 8:
        raise ShortenError("not a shorten stream")
    version = data[4]
    if version > 3:
        raise ShortenError(f"version {version} of shorten is not known")
    packed, at = np.frombuffer(data, np.uint8), 40

    def unsigned(bits: int) -> int:
        nonlocal at
        if version > 0:
            bits, at = _unsigned(packed, at, 2)
        value, at = _unsigned(packed, at, bits) if at >= 0 else (0, -1)
        if at < 0:
            raise ShortenError("damaged: its header is cut off")
        return value

    kind, channels = unsigned(4), unsigned(0)
    block, lpc, means = DEFAULT_BLOCK, 0, 0
    if version > 0:
        block, lpc, means, skipped = unsigned(8), unsigned(2), unsigned(0), unsigned(1)
        if skipped > len(data):
            raise ShortenError("damaged: its header is cut off")
        for _ in range(skipped):
            _, at = _unsigned(packed, at, 7) if at >= 0 else (0, -1)
    valid = 1 <= channels <= 8 and 0 < block <= MOST_BLOCK and lpc <= MOST_LPC
    if at < 0 or not valid or means > MOST_MEANS:
        raise ShortenError("damaged: the values in its header are out of range")
    return _Header(version, kind, channels, block, lpc, means, at)


@allocating
def _unsigned(data, at, bits):
    """Decode a Rice code: a run of zeros, a one, then `bits` bits.

    Returns (value, position of the next bit). The position is -1 if the data end within the code or
    the value has more than 32 bits.
    """
    end, high = len(data) * 8, 0
    if at + 40 <= end and bits <= 16:  # most codes fit into five bytes
        i, window = at >> 3, 0
        for j in range(5):
            window = window << 8 | data[i + j]
        window = window << (at & 7) & 0xFFFFFFFFFF
        while high < 15 and not window & 0x8000000000:
            window, high = window << 1, high + 1
        if window & 0x8000000000:
            low = window >> (39 - bits) & ((1 << bits) - 1)
            return high << bits | low, at + high + 1 + bits
        high = 0
    while at < end and not data[at >> 3] >> (7 - (at & 7)) & 1:
        high, at = high + 1, at + 1
    at += 1
    if bits < 0 or bits > 32 or at + bits > end or high >> (32 - bits):
        return 0, -1
    low = 0
    for i in range(at, at + bits):
        low = low << 1 | data[i >> 3] >> (7 - (i & 7)) & 1
    return high << bits | low, at + bits


@allocating
def _signed(data, at, bits):
    value, at = _unsigned(data, at, bits + 1)
    return (~(value >> 1) if value & 1 else value >> 1), at


@allocating
def _quotient(a, b):
    """Division as in C: rounded towards zero."""
    return a // b if a >= 0 else -((-a) // b)


@allocating
def _mean(means, n_means, version, shift):
    """The predicted mean of a block: the average of the means of the previous blocks."""
    if n_means == 0:
        return means[0]
    count = len(means)
    mean = _quotient(means.sum() + (count // 2 if version >= 2 else 0), count)
    return mean >> shift if version >= 2 else mean


@allocating
def _remember(means, block, version, shift):
    """Append the mean of a block to `means` and drop the oldest one."""
    count = len(block)
    mean = _quotient(block.sum() + (count // 2 if version >= 2 else 0), count)
    means[:-1] = means[1:].copy()
    means[-1] = mean << shift if version >= 2 else mean


@allocating
def _block(data, at, command, version, most_lpc, x, first, block, mean):
    """Decode a block into x[first : first + block]; returns the next bit's position, or -1."""
    if command == ZERO:
        x[first : first + block] = 0
        return at
    coefficients, order = np.zeros(most_lpc + 1, np.int64), 0
    bits, at = _unsigned(data, at, 3)
    bits -= version == 0
    if command == QLPC and at >= 0:
        order, at = _unsigned(data, at, 2)
        if order > most_lpc:
            return -1
        for i in range(order):
            if at >= 0:
                coefficients[i], at = _signed(data, at, 5)
    if at < 0:
        return -1
    return _predict(data, at, command, bits, x, first, block, coefficients[:order], mean, version)


@allocating
def _predict(data, at, command, bits, x, first, block, coefficients, mean, version):
    order, end = len(coefficients), first + block
    if command == QLPC:
        x[first - order : first] -= mean
    for i in range(first, end):
        residual, at = _signed(data, at, bits)
        if at < 0:
            return -1
        if command == 0:
            guess = mean
        elif command == 1:
            guess = x[i - 1]
        elif command == 2:
            guess = 2 * x[i - 1] - x[i - 2]
        elif command == DIFF3:
            guess = 3 * (x[i - 1] - x[i - 2]) + x[i - 3]
        else:
            guess = 32 if version > 1 else 0
            for j in range(order):
                guess += coefficients[j] * x[i - 1 - j]
            guess >>= 5
        x[i] = residual + guess
        if not -(1 << 40) < x[i] < 1 << 40:  # damaged; stop before the value overflows
            return -1
    if command == QLPC:
        x[first:end] += mean
    return at


@allocating
def _change(data, at, command, version, block, shift):
    """Run a command that has no samples; returns (next bit's position or -1, block, shift)."""
    if command == BLOCKSIZE:
        bits = 8
        if version > 0:
            bits, at = _unsigned(data, at, 2)
        if at >= 0:
            block, at = _unsigned(data, at, bits)
    elif command == BITSHIFT:
        shift, at = _unsigned(data, at, 2)
    elif command == VERBATIM:  # header bytes of the original file, which are skipped
        count, at = _unsigned(data, at, 5)
        while at >= 0 and count > 0:
            _, at = _unsigned(data, at, 8)
            count -= 1
    return at, block, shift


@allocating
def _decode(data, at, version, block, most_lpc, n_means, zero, limits, out):
    """Fill `out` (channels, frames).

    Returns (number of frames decoded, status), where status is WHOLE, CUT_OFF or DAMAGED.
    """
    channels, frames = out.shape
    first, largest = max(HISTORY, most_lpc), block
    x = np.zeros((channels, first + block), np.int64)
    means = np.full((channels, max(1, n_means)), zero, np.int64)
    shift, channel, done = 0, 0, 0
    while done < frames:
        command, at = _unsigned(data, at, 2)
        if at < 0:
            return done, CUT_OFF
        if command == QUIT:
            return done, WHOLE
        if command > VERBATIM:
            return done, DAMAGED
        if command in (BLOCKSIZE, BITSHIFT, VERBATIM):
            at, block, shift = _change(data, at, command, version, block, shift)
            if not 0 < block <= largest or not 0 <= shift < 32:
                return done, DAMAGED
            if at < 0:
                return done, CUT_OFF
            continue
        row = x[channel]
        mean = _mean(means[channel], n_means, version, shift)
        at = _block(data, at, command, version, most_lpc, row, first, block, mean)
        if at < 0:
            return done, CUT_OFF
        if n_means > 0:
            _remember(means[channel], row[first : first + block], version, shift)
        kept = min(block, frames - done)
        for i in range(kept):
            value = row[first + i] << shift
            if not limits[0] <= value <= limits[1]:
                return done, DAMAGED
            out[channel, done + i] = value
        row[:first] = row[block : block + first].copy()
        channel += 1
        if channel == channels:
            channel, done = 0, done + kept
    return done, WHOLE
