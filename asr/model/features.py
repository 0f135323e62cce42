"""Features of waveforms: log power spectrogram, log-mel spectrogram or MFCC, normalized.

They are computed in batches on the device of the waveforms. The features of an utterance are the
same alone and padded into a batch.
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn

from asr.config import FeatureConfig
from asr.model import running_cmvn
from asr.model.running_cmvn import RunningState

LOG_FLOOR = 1e-8  # about the power that rounding to 16 bits leaves in one bin of a silent frame
STD_FLOOR = 1e-3  # for a bin that never changes (digital silence)
MEASURED = ("global", "running")  # kinds of CMVN that need statistics of the training set
LOUD_DB, SOFT_DB = 40.0, 3.0  # level below the loudest frame, and slope, of the weight of frames


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) -> (B, size) bool, true where a frame belongs to the utterance."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def loud_weight(level: Tensor) -> Tensor:
    """Levels (natural log of power) relative to the loudest -> weights: 1 near it, 0 far below.

    There is a slope between them, because rounding would decide about frames at a step.
    """
    decibels = 10 / math.log(10) * level
    return torch.sigmoid((decibels + LOUD_DB) / SOFT_DB)


class Features(nn.Module):
    """(B, N) samples and lengths (B,) -> (B, T, F) features and lengths (B,) in frames.

    Frames are centered on multiples of the hop, with zeros beyond both ends, so there are
    `samples // hop + 1` of them; frames past an utterance's length are zero.
    """

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.hop = round(config.rate_hz * config.hop_ms / 1000)  # samples
        window = round(config.rate_hz * config.window_ms / 1000)  # samples
        # Narrow mel filters need the bins of the next power of two. A spectrogram has the bins that
        # the window resolves: 161 for 20 ms at 16 kHz.
        n_fft = window if config.kind == "spectrogram" else 1 << (window - 1).bit_length()
        high_hz = config.high_hz or config.rate_hz / 2
        self.power = torchaudio.transforms.Spectrogram(
            n_fft=n_fft, win_length=window, hop_length=self.hop, power=2.0, pad_mode="constant"
        )
        if config.kind == "spectrogram":
            self.size = n_fft // 2 + 1
        else:
            self.mel = torchaudio.transforms.MelScale(
                config.n_mels, config.rate_hz, config.low_hz, high_hz, n_fft // 2 + 1
            )
            self.size = config.n_mels
        if config.kind == "mfcc":
            dct = torchaudio.functional.create_dct(config.n_mfcc, config.n_mels, norm="ortho")
            self.register_buffer("dct", dct, persistent=False)  # (n_mels, n_mfcc)
            self.size = config.n_mfcc
        if config.cmvn in MEASURED:  # on training data, kept in the model file
            self.register_buffer("mean", torch.zeros(self.size))
            self.register_buffer("std", torch.ones(self.size))

    def frames(self, samples: Tensor | int) -> Tensor | int:
        """The number of frames of `samples` samples."""
        return samples // self.hop + 1

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, frames = self.raw(waveforms, lengths)
        return self.normalize(features, frames), frames

    def raw(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features before CMVN; frames past an utterance's length are not meaningful."""
        power, frames = self.spectra(waveforms, lengths)
        return self.from_spectra(power, frames), frames

    def spectra(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) samples, (B,) -> (B, bins, T) power spectra and lengths (B,) in frames."""
        waveforms = waveforms * length_mask(lengths, waveforms.shape[1])
        if self.training and self.config.dither > 0:
            waveforms = waveforms + self.config.dither * torch.randn_like(waveforms)
        return self.power(waveforms), self.frames(lengths)

    def from_spectra(self, power: Tensor, frames: Tensor) -> Tensor:
        """(B, bins, T) power spectra, (B,) frames -> (B, T, F) features before CMVN."""
        if self.config.kind != "spectrogram":
            power = self.mel(power)  # (B, n_mels, T)
        if self.config.floor_db is None:
            power = power.clamp(min=LOG_FLOOR)
        else:
            outside = ~length_mask(frames, power.shape[2])[:, None, :]  # (B, 1, T)
            peak = power.masked_fill(outside, 0.0).amax((1, 2), keepdim=True)  # (B, 1, 1)
            power = power + peak.clamp(min=LOG_FLOOR) * 10 ** (-self.config.floor_db / 10)
        features = power.log().transpose(1, 2)  # (B, T, bins or mels)
        return features @ self.dct if self.config.kind == "mfcc" else features

    def normalize(self, features: Tensor, frames: Tensor) -> Tensor:
        """CMVN by `cmvn`: (B, T, F), (B,) frames -> (B, T, F), zero past each length.

        Each bin has its own mean and deviation with `utterance` and `loud`; with `scalar` and
        `level` all bins of an utterance share them, so that the shape of its spectrum is kept.
        `loud` and `level` weight the frames by `loudness`.
        """
        kind = self.config.cmvn
        mask = length_mask(frames, features.shape[1])[:, :, None]  # (B, T, 1)
        if kind == "global":
            features = (features - self.mean) / self.std
        elif kind == "running":
            features, _ = self.normalize_running(features)
        elif kind != "none":
            weights = self.loudness(features, mask) if kind in ("loud", "level") else mask
            shared = kind in ("scalar", "level")
            over = (1, 2) if shared else (1,)  # dimensions of a mean
            count = weights.sum(1, keepdim=True) * (features.shape[2] if shared else 1)
            mean = (features * weights).sum(over, keepdim=True) / count  # (B, 1, F or 1)
            variance = ((features - mean).square() * weights).sum(over, keepdim=True) / count
            features = (features - mean) / variance.sqrt().clamp(min=STD_FLOOR)
        return features * mask

    def loudness(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, 1) weights: 1 for frames near the loudest of their utterance, 0 for quiet ones."""
        level = self.level(features)
        peak = level.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
        return loud_weight(level - peak) * mask

    def level(self, features: Tensor) -> Tensor:
        """(..., F) features before CMVN -> (..., 1) mean log of the bins."""
        if self.config.kind == "mfcc":  # the first coefficient is the sum of the bins' logs
            return features[..., :1] / self.config.n_mels**0.5
        return features.mean(-1, keepdim=True)

    def normalize_running(
        self, features: Tensor, state: RunningState | None = None
    ) -> tuple[Tensor, RunningState]:
        """CMVN with `asr.model.running_cmvn`: (B, T, F) -> (B, T, F), and the state afterwards.

        state: that after the frames before; None at the beginning.
        """
        if state is None:
            level = self.level(self.mean)[0]
            state = running_cmvn.initial_state(self.std, level, len(features))
        level = self.level(features)[:, :, 0].double()  # (B, T)
        peak = torch.maximum(level.cummax(1).values, state.peak[:, None])
        centered = features - self.mean
        mean, variance, state = running_cmvn.advance(
            centered, loud_weight(level - peak), peak, state
        )
        normalized = (centered - mean) / variance.clamp(min=STD_FLOOR**2).sqrt()
        return normalized.float(), state

    @torch.no_grad()
    def measure(self, batches) -> None:
        """Set the statistics of the training set from (waveforms, lengths) batches of it.

        With `running` they are those of its loud frames, as are the statistics while it runs.
        """
        count, total, squares = 0.0, 0.0, 0.0
        for waveforms, lengths in batches:
            features, frames = self.raw(waveforms, lengths)
            mask = length_mask(frames, features.shape[1])  # (B, T)
            kept = features[mask].double()  # (frames, F)
            weights = torch.ones_like(kept[:, :1])
            if self.config.cmvn == "running":
                weights = self.loudness(features, mask[:, :, None])[mask].double()
            count += weights.sum().item()
            total = total + (weights * kept).sum(0)
            squares = squares + (weights * kept.square()).sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=STD_FLOOR))
