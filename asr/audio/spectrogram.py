"""Power spectrograms and mel filters in NumPy, for pictures; the same as `asr.model.features`."""

from __future__ import annotations

import numpy as np

BLOCK = 512  # frames that are transformed at once, so that memory stays bounded


def power_spectrogram(samples: np.ndarray, window: int, hop: int, n_fft: int) -> np.ndarray:
    """(N,) samples -> (T, n_fft / 2 + 1) power, T = N // hop + 1.

    A periodic Hann window of `window` samples is centered in `n_fft` samples; frames are centered
    on multiples of `hop`, with zeros beyond both ends.
    """
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    before = (n_fft - window) // 2
    weights = np.pad(weights, (before, n_fft - window - before))
    around = np.pad(samples.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(around, n_fft)[::hop]  # (T, n_fft)
    blocks = [frames[i : i + BLOCK] * weights for i in range(0, len(frames), BLOCK)]
    return np.concatenate([np.square(np.abs(np.fft.rfft(block))) for block in blocks])


def hz_to_mel(hertz: np.ndarray | float) -> np.ndarray:
    """mel = 2595 * log10(1 + hertz / 700) (O'Shaughnessy 1987)."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_filters(n_mels: int, bins: int, rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """(n_mels, bins) triangles whose centers lie at equal distances on the mel scale."""
    hertz = np.linspace(0, rate_hz // 2, bins)
    edges = 700 * (
        10 ** (np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), n_mels + 2) / 2595) - 1
    )
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
