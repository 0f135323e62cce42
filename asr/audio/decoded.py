"""What the readers of audio files share: the properties of a file, and checks of its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.audio.source import Source
from asr.errors import UserError


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file states, without decoding its samples."""

    duration_s: float
    rate_hz: int
    channels: int


def mono(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """(channels, n) -> (n,)"""
    return samples.mean(axis=0) if channel is None else samples[channel]


def finite(samples: np.ndarray, path: Source) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: holds samples that are not finite numbers (NaN or infinity)")
    return samples


def truncated(path: Source, found_s: float, stated_s: float) -> UserError:
    return UserError(
        f"{path}: truncated: {found_s:.2f} s of the {stated_s:.2f} s that its header states; "
        "copy the file again"
    )
