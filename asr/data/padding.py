"""Pad sequences of different lengths to one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[(N_i,)] -> (B, max N_i) with zeros past the ends, and the lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths
