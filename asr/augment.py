"""Augmentation in training: of the waveform (one utterance) and of the features (a batch).

Waveform modules take (N,) samples at `rate_hz` and a generator, so that an utterance is changed the
same way in any process; what changes it is drawn anew each epoch.
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn

from asr.audio import resample
from asr.config import AugmentConfig, SpecAugmentConfig

SPEED_OF_SOUND_M_S = 343.0


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _power(samples: Tensor) -> float:
    return samples.square().mean().item()


def change_speed(samples: Tensor, factor: float, rate_hz: int) -> Tensor:
    """Play faster or slower: pitch and formants move too (Ko et al. 2015)."""
    return torch.from_numpy(resample(samples.numpy(), round(rate_hz * factor), rate_hz))


class Gain(nn.Module):
    """Change the level by up to `decibels`."""

    def __init__(self, decibels: float):
        super().__init__()
        self.decibels = decibels

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        return samples * 10 ** (_uniform(-self.decibels, self.decibels, generator) / 20)


class Noise(nn.Module):
    """Add stationary noise whose power falls as 1 / f^k: k = 0 white, 1 pink, 2 brown."""

    def __init__(self, snr_db: tuple[float, float]):
        super().__init__()
        self.snr_db = snr_db

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        n = len(samples)
        spectrum = torch.fft.rfft(torch.randn(n, generator=generator))
        slope = _uniform(0.0, 2.0, generator)
        bins = torch.arange(len(spectrum)).clamp(min=max(1, n // 400))  # flat below 40 Hz at 16 kHz
        noise = torch.fft.irfft(spectrum * bins.float() ** (-slope / 2), n)
        snr = 10 ** (_uniform(*self.snr_db, generator) / 10)
        return samples + noise * math.sqrt(_power(samples) / (snr * _power(noise) + 1e-20))


class Reverb(nn.Module):
    """Convolve with a simulated room: direct sound, early echoes, an exponentially fading tail."""

    def __init__(self, fade_s: tuple[float, float], rate_hz: int):
        super().__init__()
        self.fade_s, self.rate_hz = fade_s, rate_hz

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        fade_s = _uniform(*self.fade_s, generator)
        time_s = torch.arange(max(1, round(fade_s * self.rate_hz))) / self.rate_hz
        room = torch.randn(len(time_s), generator=generator) * 10 ** (-3 * time_s / fade_s)
        first = round(_uniform(1.0, 5.0, generator) / SPEED_OF_SOUND_M_S * self.rate_hz)
        room[: first + 1] = 0.0  # the first wall stands metres away
        direct_to_echo = 10 ** (_uniform(0.0, 15.0, generator) / 20)
        room = room / (room.norm() * direct_to_echo + 1e-20)
        room[0] = 1.0
        # Cut to the length of the original: labels keep their place in time.
        return torchaudio.functional.fftconvolve(samples, room)[: len(samples)]


class Telephone(nn.Module):
    """A land line: 8 kHz, the band of about 300 to 3400 Hz, 8-bit mu-law (ITU-T G.711)."""

    RATE_HZ = 8000

    def __init__(self, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        narrow = torch.from_numpy(resample(samples.numpy(), self.rate_hz, self.RATE_HZ))
        low_hz = _uniform(50.0, 350.0, generator)
        high_hz = _uniform(3000.0, 3700.0, generator)
        narrow = torchaudio.functional.highpass_biquad(narrow, self.RATE_HZ, low_hz)
        narrow = torchaudio.functional.lowpass_biquad(narrow, self.RATE_HZ, high_hz)
        peak = narrow.abs().max().clamp(min=1e-6)
        coded = torchaudio.functional.mu_law_encoding(narrow / peak, 256)
        narrow = torchaudio.functional.mu_law_decoding(coded, 256) * peak
        return torch.from_numpy(resample(narrow.numpy(), self.RATE_HZ, self.rate_hz))


class WaveformAugment(nn.Module):
    """What the configuration asks for, in the order of a recording: voice, room, noise, line.

    The speed is not drawn here but given: batches are planned by the length that it leads to.
    """

    def __init__(self, config: AugmentConfig, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz
        steps: list[tuple[float, nn.Module]] = []  # probability, module
        if config.reverb_p:
            steps.append((config.reverb_p, Reverb(config.reverb_s, rate_hz)))
        if config.noise_p:
            steps.append((config.noise_p, Noise(config.noise_snr_db)))
        if config.telephone_p:
            steps.append((config.telephone_p, Telephone(rate_hz)))
        if config.gain_db:
            steps.append((1.0, Gain(config.gain_db)))
        self.probabilities = [probability for probability, _ in steps]
        self.steps = nn.ModuleList(module for _, module in steps)

    def forward(self, samples: Tensor, generator: torch.Generator, speed: float = 1.0) -> Tensor:
        if speed != 1.0:
            samples = change_speed(samples, speed, self.rate_hz)
        for probability, step in zip(self.probabilities, self.steps, strict=True):
            if torch.rand((), generator=generator) < probability:
                samples = step(samples, generator)
        return samples


class SpecAugment(nn.Module):
    """Set random bands of frequency and stretches of time to zero, the mean after CMVN.

    (B, T, F) and lengths (B,) -> (B, T, F). Widths are drawn evenly up to a share of the bins and
    of the utterance's own frames. Draws from torch's CPU generator, whatever the device.
    """

    def __init__(self, config: SpecAugmentConfig):
        super().__init__()
        self.config = config

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        batch, time, bins = features.shape
        c = self.config
        bands = self._spans(c.freq_masks, c.freq_share, torch.full((batch,), bins), bins)
        stretches = self._spans(c.time_masks, c.time_share, lengths.cpu(), time)
        masked = bands[:, None, :] | stretches[:, :, None]  # (B, T, F)
        return features.masked_fill(masked.to(features.device), 0.0)

    @staticmethod
    def _spans(count: int, share: float, lengths: Tensor, size: int) -> Tensor:
        """(B, size) bool, true inside `count` spans of up to `share` of each length."""
        lengths = lengths[:, None]  # (B, 1)
        widths = torch.rand(len(lengths), count) * share * lengths  # (B, count)
        starts = torch.rand(len(lengths), count) * (lengths - widths)
        at = torch.arange(size)[None, None, :]  # (1, 1, size)
        inside = (at >= starts.round()[:, :, None]) & (at < (starts + widths).round()[:, :, None])
        return inside.any(dim=1)
