"""Augmentation of a batch of features: SpecAugment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import SpecAugmentConfig


class SpecAugment(nn.Module):
    """Set random spans of frequency and of time to zero, which is the mean after CMVN.

    (B, T, F) and lengths (B,) -> (B, T, F). The width of a span is uniform between 0 and a share of
    the bins (Park et al. 2019) or of the utterance's own frames (the adaptive size of Park et al.
    2020), its position is uniform among those where it fits. There is no time warping, which
    gained least in 2019. Random numbers come from torch's CPU generator on every device.
    """

    def __init__(self, config: SpecAugmentConfig):
        super().__init__()
        self.config = config

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        batch, time, bins = features.shape
        c = self.config
        bands = self._spans(c.freq_masks, c.freq_share, torch.full((batch,), bins), bins)
        spans = self._spans(c.time_masks, c.time_share, lengths.cpu(), time)
        masked = bands[:, None, :] | spans[:, :, None]  # (B, T, F)
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
