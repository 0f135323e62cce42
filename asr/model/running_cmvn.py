"""CMVN that needs no future: a running mean and deviation of each bin over the loud frames so far.

Let m_i be the mean after frame i, x_i its features and w_i in [0, 1] its weight. Then

    n_i = PRIOR_FRAMES + w_0 + ... + w_i
    m_i = m_(i-1) + (x_i - m_(i-1)) * w_i / min(n_i, MEMORY_FRAMES)

and likewise for the second moment. The initial values are the mean and the second moment of the
training set, which count as PRIOR_FRAMES frames. The weight is that of `asr.model.features` for
loud frames, relative to the loudest frame so far; the level of the training set's mean counts as
heard before the first frame. So silence of any length changes next to nothing, and the statistics
follow a change of speaker or microphone within MEMORY_FRAMES loud frames.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PRIOR_FRAMES = 100.0  # 1 s with the usual hop
MEMORY_FRAMES = 1500.0  # 15 s with the usual hop
BLOCK = 256  # frames computed at once: the product of their (1 - step) must not vanish


class RunningState(NamedTuple):
    """The statistics of B streams after some frames, in float64."""

    mean: Tensor  # (B, F) relative to the mean of the training set
    square: Tensor  # (B, F) mean square relative to the mean of the training set
    count: Tensor  # (B,) n_i
    peak: Tensor  # (B,) level of the loudest frame so far


def initial_state(std: Tensor, level: Tensor, batch: int) -> RunningState:
    """std: (F,) deviation of the training set; level: () the level of its mean."""
    square = std.double().square().expand(batch, -1)
    return RunningState(
        torch.zeros_like(square),
        square,
        torch.full((batch,), PRIOR_FRAMES, dtype=torch.float64, device=std.device),
        level.double().expand(batch),
    )


def advance(
    centered: Tensor, weights: Tensor, peak: Tensor, state: RunningState
) -> tuple[Tensor, Tensor, RunningState]:
    """Means and variances after each frame, and the state after the last.

    centered: (B, T, F) features relative to the mean of the training set; weights: (B, T) w_i;
    peak: (B, T) level of the loudest frame up to each. Returns (B, T, F) each, in float64.
    """
    centered, weights = centered.double(), weights.double()
    counts = state.count[:, None] + weights.cumsum(1)  # (B, T)
    steps = weights / counts.clamp(max=MEMORY_FRAMES)
    moments = torch.cat([centered, centered.square()], 2)  # (B, T, 2 F)
    last = torch.cat([state.mean, state.square], 1)[:, None]  # (B, 1, 2 F)
    found = []
    for step, moment in zip(steps.split(BLOCK, 1), moments.split(BLOCK, 1), strict=True):
        kept = (1 - step).cumprod(1)[:, :, None]  # (B, block, 1)
        block = kept * (last + (step[:, :, None] * moment / kept).cumsum(1))
        found.append(block)
        last = block[:, -1:]
    mean, square = torch.cat(found, 1).chunk(2, 2)
    ends = (mean, square, counts, peak.double())
    state = RunningState(*(values[:, -1].clone() for values in ends))
    return mean, square - mean.square(), state
