"""The part of a recording that is drawn, with its settings: rate, features, augmentation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr import audio
from asr.audio.spectrogram import mel_filters, power_spectrogram
from asr.config import AugmentConfig, Config, FeatureConfig, SpecAugmentConfig

logger = logging.getLogger(__name__)

LONGEST_S = 30.0  # only the first 30 s of a longer file are drawn
RATES_HZ = (4000, 96000)  # the limits of `FeatureConfig`
LOG_FLOOR = 1e-8  # the power that stands for silence, as in the features of a model
DB = 10 / np.log(10)  # decibels = DB * ln(power)
# Without a model, every kind of augmentation is drawn.
ALL_KINDS = AugmentConfig(
    **{"speed": [0.9], "reverb_p": 1, "noise_p": 1, "telephone_p": 1, "codec_p": 1, "gain_db": 10},
    **{"tempo": (0.7, 1.4), "tempo_variation": 0.5, "pitch": 0.3, "vtlp": 0.25},
    **{"equalizer_db": 6, "tilt_db": 13, "noise_floor_p": 1},
    noise_floor_db=(30, 30),
)
USUAL_MASKS = SpecAugmentConfig()


@dataclass(frozen=True)
class Excerpt:
    """The samples of one channel, and the settings of their pictures."""

    name: str
    samples: np.ndarray  # (N,) float32
    start_s: float  # in the file
    features: FeatureConfig
    augment: AugmentConfig = ALL_KINDS
    spec_augment: SpecAugmentConfig = USUAL_MASKS

    @property
    def rate_hz(self) -> int:
        return self.features.rate_hz

    @property
    def hop_s(self) -> float:
        return round(self.rate_hz * self.features.hop_ms / 1000) / self.rate_hz

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / self.rate_hz

    @property
    def times_s(self) -> np.ndarray:
        """(N,) the time of each sample, in seconds from the start of the file."""
        return self.start_s + np.arange(len(self.samples)) / self.rate_hz

    @property
    def mel_range_hz(self) -> tuple[float, float]:
        return self.features.low_hz, self.features.high_hz or self.rate_hz / 2

    @cached_property
    def spectrogram(self) -> np.ndarray:
        """(T, bins) power in dB, one row every `hop_s`."""
        return _decibels(self._power(self._window))  # as many bins as the window resolves

    @cached_property
    def log_mel(self) -> np.ndarray:
        """(T, n_mels) power in dB."""
        filters = self.mel_filters  # (n_mels, bins)
        return _decibels(self._power(2 * (filters.shape[1] - 1)) @ filters.T)

    @cached_property
    def mel_filters(self) -> np.ndarray:
        """(n_mels, bins) the weights of the frequency bins in each mel band."""
        n_fft = 1 << (self._window - 1).bit_length()
        n_mels, bins = self.features.n_mels, n_fft // 2 + 1
        return mel_filters(n_mels, bins, self.rate_hz, *self.mel_range_hz)

    @property
    def _window(self) -> int:
        return round(self.rate_hz * self.features.window_ms / 1000)  # samples

    def _power(self, n_fft: int) -> np.ndarray:
        hop = round(self.hop_s * self.rate_hz)  # samples
        return power_spectrogram(self.samples, self._window, hop, n_fft)


def _decibels(power: np.ndarray) -> np.ndarray:
    return (DB * np.log(np.maximum(power, LOG_FLOOR))).astype(np.float32)


def read(
    path: str | Path,
    config: Config | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Excerpt:
    """Read a file at the rate of a model's configuration, or at its own rate without one.

    Without a duration, at most `LONGEST_S` is read; a message is logged when that shortens the
    file. Raises `UserError` when the file cannot be read.
    """
    found = audio.info(path)
    if duration_s is None and found.duration_s - start_s > LONGEST_S:
        duration_s = LONGEST_S
        logger.info(
            "%s: has %.0f s, of which %g s from %g s on are shown; give a start or a duration",
            *(path, found.duration_s, duration_s, start_s),
        )
    rate_hz = config.features.rate_hz if config else int(np.clip(found.rate_hz, *RATES_HZ))
    samples = audio.read(path, rate_hz, start_s, duration_s)
    if config is None:
        return Excerpt(Path(path).name, samples, start_s, FeatureConfig(rate_hz=rate_hz))
    return Excerpt(
        *(Path(path).name, samples, start_s),
        *(config.features, config.augment, config.spec_augment),
    )
