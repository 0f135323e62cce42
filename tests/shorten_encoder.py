"""A minimal encoder of shorten streams and of SPHERE files, for tests."""

import struct

import numpy as np

DIFF0, QUIT, BLOCKSIZE, BITSHIFT, QLPC, ZERO, VERBATIM = 0, 4, 5, 6, 7, 8, 9


class Bits:
    def __init__(self):
        self.bits = []

    def unsigned(self, value, n):
        self.bits += [0] * (value >> n) + [1]
        self.bits += [value >> i & 1 for i in reversed(range(n))]

    def signed(self, value, n):
        self.unsigned(value << 1 if value >= 0 else (~value << 1) | 1, n + 1)

    def ulong(self, value):
        n = value.bit_length()
        self.unsigned(n, 2)
        self.unsigned(value, n)

    def bytes(self):
        bits = self.bits + [0] * (-len(self.bits) % 32)
        return np.packbits(np.array(bits, np.uint8)).tobytes()


def quotient(a, b):
    return abs(a) // b * (1 if a >= 0 else -1)


def shorten(
    samples, version=2, block=256, means=4, kind=5, shift=0, lpc=2, verbatim=b"", pick=None
):
    """Encode integer samples (channels, n); `pick(number of a block)` returns its command."""
    channels, count = samples.shape
    out = Bits()
    for value in (kind, channels, block, lpc, means, 0):
        out.ulong(value)
    if verbatim:
        out.unsigned(VERBATIM, 2)
        out.unsigned(len(verbatim), 5)
        for byte in verbatim:
            out.unsigned(byte, 8)
    if shift:
        out.unsigned(BITSHIFT, 2)
        out.unsigned(shift, 2)
    zero = {2: 128, 4: 32768, 6: 32768}.get(kind, 0)
    history = [[0] * max(3, lpc) for _ in range(channels)]
    offsets = [[zero] * max(1, means) for _ in range(channels)]
    number = 0
    for start in range(0, count, block):
        stop = min(start + block, count)
        if stop - start < block:
            out.unsigned(BLOCKSIZE, 2)
            out.ulong(stop - start)
        for channel in range(channels):
            x = [int(v) >> shift for v in samples[channel, start:stop]]
            command = pick(number) if pick else number % 4
            number += 1
            if command == ZERO and any(x):
                command = DIFF0
            mean = offsets[channel][0]
            if means:
                mean = quotient((0 if version < 2 else means // 2) + sum(offsets[channel]), means)
                mean >>= shift if version >= 2 else 0
            out.unsigned(command, 2)
            if command != ZERO:
                block_of(out, command, x, history[channel], mean, version, lpc)
            if means:
                total = quotient((0 if version < 2 else len(x) // 2) + sum(x), len(x))
                offsets[channel] = [*offsets[channel][1:], total << (shift if version >= 2 else 0)]
            history[channel] = (history[channel] + x)[-max(3, lpc) :]
    out.unsigned(QUIT, 2)
    return b"ajkg" + bytes([version]) + out.bytes()


def block_of(out, command, x, before, mean, version, lpc):
    known = before + x
    first = len(before)
    coefficients = [30, -12, 5, 3][:lpc] if command == QLPC else []
    residuals = []
    for i in range(first, len(known)):
        a, b, c = known[i - 1], known[i - 2], known[i - 3]
        if command == QLPC:
            rounding = 32 if version > 1 else 0
            total = sum(q * (known[i - 1 - j] - mean) for j, q in enumerate(coefficients))
            guess = (rounding + total >> 5) + mean
        else:
            guess = (mean, a, 2 * a - b, 3 * (a - b) + c)[command]
        residuals.append(known[i] - guess)
    size = max(1, int(np.mean(np.abs(residuals))))
    n = min(size.bit_length(), 20)
    out.unsigned(n, 3)
    if command == QLPC:
        out.unsigned(len(coefficients), 2)
        for q in coefficients:
            out.signed(q, 5)
    for residual in residuals:
        out.signed(residual, n)


def sphere(body, rate_hz=16000, channels=1, count=0, coding="pcm", n_bytes=2, order="01", more=""):
    """A SPHERE file with the given body."""
    rows = [
        "NIST_1A\n   1024",
        "database_id -s3 AN4",
        f"channel_count -i {channels}",
        f"sample_count -i {count}",
        f"sample_rate -i {rate_hz}",
        f"sample_n_bytes -i {n_bytes}",
        f"sample_byte_format -s2 {order}",
        f"sample_coding -s{len(coding)} {coding}",
    ]
    header = "\n".join([*rows, *([more] if more else []), "end_head", ""]).encode()
    return header.ljust(1024, b" ") + body


def wav_header(samples, rate_hz):
    channels, count = samples.shape
    frame, size = channels * 2, channels * count * 2
    format = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * frame, frame, 16)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    return head + format + b"data" + struct.pack("<I", size)
