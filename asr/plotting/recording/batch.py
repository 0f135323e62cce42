"""One recording as a batch of one, for modules of PyTorch."""

from __future__ import annotations

import numpy as np
import torch


def as_batch(samples: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, ...) -> (1, N, ...) and its length (1,)."""
    samples = torch.as_tensor(samples)
    return samples[None], torch.tensor([len(samples)])
