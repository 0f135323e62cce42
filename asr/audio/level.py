"""The level of a recording, measured block by block while it is decoded: clipping and silence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CLIPPED = 0.999  # of full scale: samples at or above it are taken to be cut off
SILENT_DB = -50.0  # dB of full scale: a recording whose loudest frame lies below it is silent
FRAME_S = 0.02
SPEECH_RANGE_DB = 40.0  # frames farther below the loudest are pauses
_FLOOR_DB = -120


@dataclass
class Level:
    """What is known of the samples that `add` was given; memory does not grow with them."""

    rate_hz: int
    samples: int = 0
    clipped: int = 0
    # Frames of FRAME_S by their level, in steps of 1 dB from -120 to 0 dB of full scale
    frames: np.ndarray = field(default_factory=lambda: np.zeros(1 - _FLOOR_DB, np.int64))

    def add(self, block: np.ndarray) -> None:
        """block: (N,) float32 in -1 to 1. Samples after its last whole frame have no level."""
        self.samples += len(block)
        self.clipped += int(np.count_nonzero(np.abs(block) >= CLIPPED))
        size = max(1, round(FRAME_S * self.rate_hz))
        whole = block[: len(block) // size * size].reshape(-1, size)
        if len(whole):
            power = np.square(whole, dtype=np.float64).mean(axis=1)
            decibels = 10 * np.log10(np.maximum(power, 10.0 ** (_FLOOR_DB / 10)))
            steps = np.clip(np.round(decibels), _FLOOR_DB, 0).astype(np.int64) - _FLOOR_DB
            self.frames += np.bincount(steps, minlength=len(self.frames))

    @property
    def clipped_share(self) -> float:
        """The share of samples at full scale."""
        return self.clipped / max(1, self.samples)

    @property
    def loudest_db(self) -> float:
        """The RMS level of the loudest frame in dB of full scale."""
        found = np.flatnonzero(self.frames)
        return float(found[-1] + _FLOOR_DB) if len(found) else float(_FLOOR_DB)

    @property
    def pause_share(self) -> float:
        """The share of frames that lie `SPEECH_RANGE_DB` or more below the loudest."""
        quiet = self.frames[: max(0, int(self.loudest_db - SPEECH_RANGE_DB) - _FLOOR_DB + 1)]
        return float(quiet.sum() / max(1, self.frames.sum()))
