"""One recording of a prompt: from packets of a microphone to samples whose level was checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from asr.audio.level import Level
from asr.audio.snr import snr_db

QUIET_DB = -35.0  # dB of full scale: speech whose loudest frame lies below it is too quiet
NOISY_DB = 12.0  # signal-to-noise ratio below which a take is too noisy
CLIPPED_SHARE = 0.001  # of the samples
ONSET_DB = 8.0  # a frame so far above the background is speech
FRAME_S = 0.02
BACKGROUND_S = 0.3  # at the beginning, in which nobody speaks
PADDING_S = 0.2  # that is kept before and after the speech


@dataclass(frozen=True)
class AudioTake:
    """A recording of one prompt, cut to its speech, with what is wrong with it."""

    samples: np.ndarray  # (N,) float32
    rate_hz: int
    loudest_db: float  # of full scale
    snr_db: float
    problem: str  # "" if it is good

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


def record_take(
    packets: Iterator[np.ndarray], rate_hz: int, silence_s: float = 1.0, longest_s: float = 15.0
) -> AudioTake | None:
    """Record until the speaker has been silent for `silence_s` after speaking.

    packets: (N,) float32 each, from `asr.audio.microphone`; longest_s: the recording ends then in
    any case. Returns None if the packets end before anything was recorded.
    """
    heard: list[np.ndarray] = []
    size = round(FRAME_S * rate_hz)
    total, spoken, quiet_s = 0, False, 0.0
    background = None
    for packet in packets:
        heard.append(packet)
        total += len(packet)
        if total < BACKGROUND_S * rate_hz:
            continue
        if background is None:
            background = float(np.median(_levels(np.concatenate(heard), size)))
        loud = bool((_levels(packet, size) > background + ONSET_DB).any())
        spoken = spoken or loud
        quiet_s = 0.0 if loud else quiet_s + len(packet) / rate_hz
        if (spoken and quiet_s >= silence_s) or total >= longest_s * rate_hz:
            break
    if not heard:
        return None
    return checked_take(np.concatenate(heard), rate_hz)


def checked_take(samples: np.ndarray, rate_hz: int) -> AudioTake:
    """A recording (N,) float32 cut to its speech, with the result of the checks.

    Checked are silence, a level that is too low, samples at full scale, and noise.
    """
    level = Level(rate_hz)
    level.add(samples)
    ratio = snr_db(samples, rate_hz)
    levels = _levels(samples, round(FRAME_S * rate_hz))
    background = float(np.quantile(levels, 0.1)) if len(levels) else 0.0
    speech = np.flatnonzero(levels > background + ONSET_DB)
    problem = ""
    if not len(speech):
        problem = "nothing was heard: speak louder, or choose another microphone"
    elif level.clipped_share > CLIPPED_SHARE:
        problem = "too loud: some samples are cut off; move away from the microphone"
    elif level.loudest_db < QUIET_DB:
        problem = "too quiet: move closer to the microphone, or raise its level"
    elif ratio < NOISY_DB:
        problem = f"too noisy: speech is only {ratio:.0f} dB above the background"
    if len(speech):
        first = max(0, speech[0] * FRAME_S - PADDING_S)
        last = (speech[-1] + 1) * FRAME_S + PADDING_S
        samples = samples[round(first * rate_hz) : round(last * rate_hz)]
    return AudioTake(samples, rate_hz, level.loudest_db, ratio, problem)


def packets_per_prompt(
    recordings: Iterable[tuple[int, np.ndarray]], packet_s: float = 0.1
) -> Iterator[Iterator[np.ndarray]]:
    """Packets of each recording in turn, as if each were spoken for one prompt."""
    for rate_hz, samples in recordings:
        size = round(packet_s * rate_hz)
        yield iter([samples[at : at + size] for at in range(0, len(samples), size)])


def _levels(samples: np.ndarray, size: int) -> np.ndarray:
    """The RMS level of each whole frame of `size` samples, in dB of full scale."""
    whole = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return 10 * np.log10(np.maximum(np.square(whole).mean(axis=1), 1e-12))
