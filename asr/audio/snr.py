"""Signal-to-noise ratio of a recording, estimated from itself."""

from __future__ import annotations

import math

import numpy as np

FRAME_S = 0.02
QUIET = 0.05  # the share of frames that are taken for noise alone: people breathe
HIGHEST_DB = 60.0  # beyond, as where silence is all zeros, it says nothing of the microphone


def snr_db(samples: np.ndarray, rate_hz: int) -> float:
    """Decibels of speech over steady noise, in [-10, 60]; nan for less than ten frames of 20 ms.

    The noise's energy is that of the frames at the 5th percentile, the speech's is the mean energy
    less the noise; percentiles of frame energies are what Hirsch and Ehrlich 1995 and NIST's STNR
    go by. It needs pauses: in recordings that are cut tight, speech is taken for noise and the
    estimate is too low. Noise that comes and goes is not seen. With white noise added to real
    speech at 0 to 20 dB its mean is off by less than 1 dB (tests/test_breakdown.py). WADA-SNR (Kim
    and Stern 2008) needs no pauses, but takes for granted how amplitudes of speech are distributed.
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
