"""The emissions that decoders take: one row of log-probabilities for each frame."""

from __future__ import annotations

import numpy as np


def checked(log_probs: np.ndarray, vocabulary: int) -> np.ndarray:
    """(T, V) natural logs as contiguous float32. Raises `ValueError` for another shape."""
    log_probs = np.ascontiguousarray(log_probs, np.float32)
    if log_probs.ndim != 2 or log_probs.shape[1] != vocabulary:
        raise ValueError(f"emissions have the shape {log_probs.shape}, not (frames, {vocabulary})")
    return log_probs
