"""Conversion of samples to another rate, of a whole recording or of pieces as they come in.

Both use the same filter of soxr, so the pieces of a recording give the samples of the whole.
"""

from __future__ import annotations

import numpy as np
import soxr


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """samples (N,) float32 -> (N * to_hz / from_hz,) float32."""
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


class StreamResampler:
    """Resamples a recording that comes in pieces; the outputs, joined, equal `resample`.

    The filter needs samples from both sides, so outputs lag behind the inputs: by at most 0.16 s
    between 8, 16, 44.1 and 48 kHz.
    """

    def __init__(self, from_hz: int, to_hz: int):
        same = from_hz == to_hz
        self._stream = None if same else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> the samples (M,) float32 that are certain by now."""
        if self._stream is None:
            return samples
        return self._stream.resample_chunk(samples)

    def finish(self) -> np.ndarray:
        """The samples (M,) that were still waiting for inputs."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
