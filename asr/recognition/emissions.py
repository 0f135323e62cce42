"""What an acoustic model computes: the log-probabilities of the tokens in each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass
class Emissions:
    """The log-probabilities of the tokens in each frame, for a batch of waveforms."""

    log_probs: Tensor  # (B, T, V) natural logs, blank = 0
    lengths: Tensor  # (B,) frames
    frame_s: float  # duration of a frame in seconds

    def rows(self) -> list[np.ndarray]:
        """One (T_i, V) array for each waveform, without padding."""
        log_probs, lengths = self.log_probs.cpu().numpy(), self.lengths.tolist()
        return [log_probs[i, :length] for i, length in enumerate(lengths)]
