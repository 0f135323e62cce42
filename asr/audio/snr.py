"""Estimate the signal-to-noise ratio of a recording without a clean reference."""

from __future__ import annotations

import math

import numpy as np

FRAME_S = 0.02
QUIET = 0.05  # the quantile of frame energies that is taken for noise alone
HIGHEST_DB = 60.0  # higher estimates, as with digital silence, are clipped: they mean little


def snr_db(samples: np.ndarray, rate_hz: int) -> float:
    """The ratio of speech to steady noise in dB, within [-10, 60].

    samples: (N,). Returns nan if there are fewer than ten frames of 20 ms.

    noise = 5th percentile of the frame energies; speech = mean frame energy - noise. Hirsch and
    Ehrlich 1995 and NIST's STNR use percentiles of frame energies as well. The method needs pauses:
    without them, quiet speech is taken for noise and the estimate is too low. Noise that is not
    steady is not detected. With white noise
    added to real speech at 0 to 20 dB, the mean of the estimates is off by less than 1 dB
    (tests/test_error_analysis.py). WADA-SNR (Kim and Stern 2008) needs no pauses, but assumes a
    distribution of the amplitudes of speech.
    """
    frame = round(FRAME_S * rate_hz)
    count = len(samples) // frame
    if count < 10:
        return math.nan
    frames = np.asarray(samples[: count * frame], np.float64).reshape(count, frame)
    energy = np.square(frames).mean(1)
    noise = float(np.quantile(energy, QUIET))
    speech = float(energy.mean()) - noise
    if speech <= 0:
        return -10.0
    if noise <= speech * 10 ** (-HIGHEST_DB / 10):
        return HIGHEST_DB
    return max(-10.0, 10 * math.log10(speech / noise))
