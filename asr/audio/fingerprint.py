"""Copies of a recording, also re-encoded ones: a coarse fingerprint finds candidates, and the
correlation of the waveforms decides.

The fingerprint is a small log-mel picture, so that it survives codecs, gain and resampling; two
takes of the same words by the same speaker look alike in it. Their waveforms do not: for copies the
normalized cross-correlation below 1.5 kHz has a peak near 1, whatever the delay.
"""

from __future__ import annotations

import itertools

import numpy as np

from asr.audio.resampling import resample

RATE_HZ = 8000
SPANS, BANDS = 8, 6  # of the picture, in time and frequency
LOW_HZ, HIGH_HZ = 200, 3400  # what telephone lines keep
WINDOW, HOP = 256, 80  # samples at RATE_HZ
CORRELATION_RATE_HZ = 3000
SIZE = SPANS * BANDS


def fingerprint(samples: np.ndarray) -> np.ndarray:
    """samples (N,) at `RATE_HZ` -> (SIZE,) float32 of length 1; zeros where there is no sound."""
    samples = np.asarray(samples, np.float32)
    if len(samples) < WINDOW:
        samples = np.pad(samples, (0, WINDOW - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]  # (T, WINDOW)
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1)) ** 2
    bands = np.log(power @ _FILTERS + 1e-6 * power.mean() * WINDOW + 1e-10)  # (T, BANDS)
    edges = np.linspace(0, len(bands), SPANS + 1)
    picture = np.stack([_mean(bands, a, b) for a, b in itertools.pairwise(edges)])
    picture -= picture.mean()
    norm = np.linalg.norm(picture)
    flat = np.zeros_like(picture) if norm < 1e-6 else picture / norm
    return flat.reshape(-1).astype(np.float32)


def _mean(bands: np.ndarray, start: float, end: float) -> np.ndarray:
    """Of frames from `start` to `end`, which may lie between two frames."""
    first, last = int(start), min(int(np.ceil(end)), len(bands))
    weights = np.ones(last - first)
    weights[0] -= start - first
    weights[-1] -= last - min(end, last)
    return weights @ bands[first:last] / max(weights.sum(), 1e-9)


def _filters() -> np.ndarray:
    """(WINDOW / 2 + 1, BANDS): triangles on the mel scale."""

    def mel(hz):
        return 2595 * np.log10(1 + np.asarray(hz) / 700)

    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2)
    at = mel(np.fft.rfftfreq(WINDOW, 1 / RATE_HZ))[:, None]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


_FILTERS = _filters()


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """first (N,), second (M,) at `RATE_HZ` -> the highest normalized cross-correlation over all
    delays, in [0, 1]; a copy with another sign counts as a copy.
    """
    a, b = (_centered(resample(x, RATE_HZ, CORRELATION_RATE_HZ)) for x in (first, second))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale == 0:
        return 0.0
    size = 1 << (len(a) + len(b)).bit_length()
    found = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size)
    return float(np.abs(found).max() / scale)


def _centered(samples: np.ndarray) -> np.ndarray:
    samples = samples.astype(np.float64)
    return samples - samples.mean() if len(samples) else samples


# Measured on 520 recordings of fsdd, asterisk_en and rhasspy_kathleen (tests/test_leaks.py repeats
# a part of it): the waveforms of different takes correlate by at most 0.86 (a digit by the same
# speaker) and 0.38 (sentences), those of copies by at least 0.91 (Opus at 8 kbit/s) and 0.96 (Opus
# and MP3 at 16 kbit/s, AAC at 24 kbit/s). Fingerprints of copies correlate by at least 0.81.
COPY = 0.9
CANDIDATE = 0.75


def durations_differ(first_s: np.ndarray | float, second_s: float) -> np.ndarray | bool:
    """Whether two recordings are too different in length to be copies; codecs add up to 0.1 s."""
    return np.abs(first_s - second_s) > np.maximum(0.15, 0.03 * second_s)
