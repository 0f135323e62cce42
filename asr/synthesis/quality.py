"""What is wrong with synthetic speech: silence, a length that the text cannot have, a cut end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.errors import Failed

BLOCK_S = 0.01
SILENT_POWER = 1e-8  # mean square of a block: 80 dB below full scale
RANGE_DB = 45.0  # what is this much quieter than the loudest block counts as silence
MARGIN_S = 0.15  # of silence that is left before and after the speech
SHORTEST_S, LETTER_S = 0.1, 0.03  # 33 letters a second; the fastest voices have 25
LONGEST_S, LONG_LETTER_S = 2.0, 0.25  # 4 letters a second, and pauses
DIGIT_LETTERS = 5  # a digit is read as a word
CUT_DB = 12.0  # speech that ends this near to its loudest block was cut off


@dataclass(frozen=True)
class Flaw:
    """Why an utterance is left out."""

    kind: str  # to count by
    detail: str


def letters_of(text: str) -> int:
    """The number of letters in a text, with digits counted as words."""
    return sum(DIGIT_LETTERS if c.isdigit() else c.isalpha() for c in text)


def sound_of(samples: np.ndarray, range_db: float, rate_hz: int) -> tuple[int, int]:
    """First sample and end of the blocks of 10 ms within `range_db` of the loudest one.

    Raises `Failed` for silence or non-finite samples.
    """
    power = _block_powers(samples, rate_hz)
    if not np.isfinite(power).all() or len(power) == 0 or power.max() < SILENT_POWER:
        raise Failed("the synthesizer gave silence or samples that are not finite")
    loud = np.flatnonzero(power > power.max() * 10 ** (-range_db / 10))
    block = round(BLOCK_S * rate_hz)
    return int(loud[0]) * block, int(loud[-1] + 1) * block


def cut_to_sound(samples: np.ndarray, range_db: float, rate_hz: int) -> np.ndarray:
    """Trim to the first and last 10 ms block within `range_db` of the loudest one, and fade both.

    Raises `Failed` for silence or non-finite samples.
    """
    start, end = sound_of(samples, range_db, rate_hz)
    cut = samples[start:end].copy()
    fade = np.linspace(0, 1, round(BLOCK_S * rate_hz) // 2, dtype=np.float32)
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    return cut


def trimmed(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """The speech with at most `MARGIN_S` of silence around it; raises `Failed` as `sound_of`."""
    start, end = sound_of(samples, RANGE_DB, rate_hz)
    margin = round(MARGIN_S * rate_hz)
    return samples[max(0, start - margin) : end + margin]


def flaw_of(samples: np.ndarray, text: str, rate_hz: int) -> Flaw | None:
    """What is wrong with these samples (N,) as speech of this text, or None.

    The limits are wide: whether each word was spoken is for a model to say.
    """
    try:
        start, end = sound_of(samples, RANGE_DB, rate_hz)
    except Failed as failure:
        return Flaw("silence", str(failure))
    duration_s = (end - start) / rate_hz
    letters = letters_of(text)
    low_s = max(SHORTEST_S, LETTER_S * letters)
    high_s = LONGEST_S + LONG_LETTER_S * letters
    if duration_s < low_s:
        return Flaw("too short", f"{duration_s:.2f} s of speech, at least {low_s:.2f} s expected")
    if duration_s > high_s:
        return Flaw("too long", f"{duration_s:.2f} s of speech, at most {high_s:.2f} s expected")
    power = _block_powers(samples, rate_hz)
    if power[-1] > power.max() * 10 ** (-CUT_DB / 10):
        return Flaw("cut off", "the last 10 ms are as loud as speech")
    return None


def _block_powers(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """(blocks,): mean square of each `BLOCK_S`, without an incomplete block at the end."""
    block = round(BLOCK_S * rate_hz)
    samples = samples[: len(samples) // block * block]
    return (samples.reshape(-1, block) ** 2).mean(axis=1)
