"""Augmentation of a batch of features: SpecAugment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import SpecAugmentConfig


class SpecAugment(nn.Module):
    """Set random bands of frequency and stretches of time to zero, the mean after CMVN.

    (B, T, F) and lengths (B,) -> (B, T, F). Widths are drawn evenly up to a share of the bins
    (Park et al. 2019) and of the utterance's own frames (the adaptive size of Park et al. 2020),
    then the place of each among those where it fits. Time is not warped, which gained least in
    2019. Draws from torch's CPU generator, whatever the device.
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
