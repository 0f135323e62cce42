"""Conversion of live audio to another rate with the filter of soxr and the least delay.

soxr computes in blocks, so its streams hold back up to 0.16 s of audio. Its filter reads much less
than that: `HALF_SAMPLES` samples of the lower rate on either side. It is linear, so the response to
impulses is the filter itself, and the outputs follow from its definition as soon as their inputs
are known: y[m] = sum over n of x[n] * h[m * down - n * up], where up / down is the ratio of the
rates in lowest terms. At the start of a recording soxr differs from this definition, because its
stages drop what lies before the first sample; those outputs are computed by soxr.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd

import numpy as np
import soxr

from asr.audio.resampling import StreamResampler, resample

HALF_SAMPLES = 112  # of the lower rate; the coefficients beyond sum to less than 1e-6
BLOCK = 32  # outputs that are computed at once, or the next multiple of `up`
MAX_COEFFICIENTS = 1 << 20  # of a block
MAX_IMPULSE_SAMPLES = 1 << 22  # of the signal whose response is the filter


@dataclass(frozen=True)
class _Filter:
    """The coefficients of a block of outputs, which are the same for each block."""

    edge: int  # outputs at the start of a recording that soxr has to compute
    half: int  # inputs that an output needs on either side of the one in the middle
    inputs: int  # between the starts of two blocks
    coefficients: np.ndarray  # (inputs + 2 * half, outputs) float32


class LiveResampler:
    """Resamples a recording that comes in pieces; the outputs, joined, equal `resample`.

    The greatest difference is 3e-6 for samples between -1 and 1. Outputs lag behind the inputs by
    `HALF_SAMPLES` samples of the lower rate: 0.014 s at 8 kHz, 0.007 s at 16 kHz. Between rates
    whose ratio has large terms, such as 16001 and 16000 Hz, `StreamResampler` is used, which lags
    more.
    """

    def __init__(self, from_hz: int, to_hz: int):
        self._from_hz, self._to_hz = from_hz, to_hz
        self._stream: StreamResampler | None = None
        self._filter = None if from_hz == to_hz else _filter(from_hz, to_hz)
        if self._filter is None:
            self._stream = StreamResampler(from_hz, to_hz)
            return
        self._heard = self._given = 0  # inputs and outputs so far
        # The inputs from the first that the next block needs; before the recording are zeros.
        self._inputs = np.zeros(self._filter.half, np.float32)
        self._start = np.zeros(0, np.float32)  # the inputs so far, until `edge` outputs are given

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> the samples (M,) float32 that are certain by now."""
        if self._stream is not None:
            return self._stream.feed(samples)
        self._heard += len(samples)
        return self._outputs(samples)

    def finish(self) -> np.ndarray:
        """The samples (M,) that were still waiting for inputs."""
        if self._stream is not None:
            return self._stream.finish()
        assert self._filter is not None
        total = (2 * self._heard * self._to_hz + self._from_hz) // (2 * self._from_hz)  # rounded
        silence = np.zeros(self._filter.half + 1, np.float32)
        return self._outputs(silence, total)

    def _outputs(self, samples: np.ndarray, end: int | None = None) -> np.ndarray:
        """The outputs whose inputs are known with the next ones, up to number `end`."""
        assert self._filter is not None
        advance, (taps, block) = self._filter.inputs, self._filter.coefficients.shape
        self._inputs = np.concatenate([self._inputs, samples])
        first = self._given // block * block
        # Output m is centered at the input m * advance // block.
        centers = len(self._inputs) - 2 * self._filter.half
        known = first + -(-centers * block // advance)
        end = max(self._given, known if end is None else end)
        blocks = -(-(end - first) // block)
        missing = max(0, (blocks - 1) * advance + taps - len(self._inputs))
        padded = np.concatenate([self._inputs, np.zeros(missing, np.float32)])
        if blocks:
            windows = np.lib.stride_tricks.sliding_window_view(padded, taps)[::advance][:blocks]
            found = (np.ascontiguousarray(windows) @ self._filter.coefficients).ravel()
        else:
            found = np.zeros(0, np.float32)
        found = found[self._given - first : end - first]
        if self._given < self._filter.edge:
            self._start = np.concatenate([self._start, samples])
            by_soxr = resample(self._start, self._from_hz, self._to_hz)
            by_soxr = by_soxr[self._given : min(end, self._filter.edge)]
            found[: len(by_soxr)] = by_soxr
        self._given = end
        self._inputs = self._inputs[(end // block - first // block) * advance :]
        return found


@lru_cache(16)
def _filter(from_hz: int, to_hz: int) -> _Filter | None:
    """The filter of soxr for a pair of rates; None if it has too many coefficients."""
    divisor = gcd(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    half = ceil(HALF_SAMPLES * max(1.0, from_hz / to_hz))
    outputs = up * ceil(BLOCK / up)
    inputs = outputs // up * down
    # An impulse at each place between two outputs; the responses do not overlap.
    spacing = 2 * half + 1
    while gcd(spacing, down) > 1:
        spacing += 1
    count = spacing * (down + 1)
    if (inputs + 2 * half) * outputs > MAX_COEFFICIENTS or count > MAX_IMPULSE_SAMPLES:
        return None
    impulses = np.zeros(count, np.float32)
    places = half + spacing * np.arange(down)
    impulses[places] = 1.0
    response = soxr.resample(impulses, from_hz, to_hz)
    found = np.zeros(2 * half * up + 1, np.float32)  # h[j] at j + half * up
    for place in places.tolist():
        first, last = -(-(place - half) * up // down), (place + half) * up // down
        m = np.arange(first, last + 1)
        found[m * down - place * up + half * up] = response[m]
    n = np.arange(-half, inputs + half)[:, None]
    j = np.arange(outputs) * down - n * up  # (inputs + 2 * half, outputs)
    inside = abs(j) <= half * up
    coefficients = np.where(inside, found[np.where(inside, j + half * up, 0)], np.float32(0))
    edge = ceil(half * to_hz / from_hz)
    return _Filter(edge, half, inputs, coefficients)
