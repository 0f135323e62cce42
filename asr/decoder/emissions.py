"""The emissions that decoders take: one row of log-probabilities for each frame."""

from __future__ import annotations

import numpy as np


def checked(log_probs: np.ndarray, vocabulary: int) -> np.ndarray:
    """(T, V) natural logs as contiguous float32. Raises `ValueError` for another shape."""
    log_probs = np.ascontiguousarray(log_probs, np.float32)
    if log_probs.ndim != 2 or log_probs.shape[1] != vocabulary:
        raise ValueError(f"emissions have the shape {log_probs.shape}, not (frames, {vocabulary})")
    return log_probs


def divided_by_prior(log_probs: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The log-probabilities (T, V) whose odds have `bias` (V,) added, normalized in each frame.

    With the bias -w * ln P(token), each probability is divided by the prior P(token) to the power
    of w (Manohar et al. 2015).
    """
    scores = log_probs + bias
    scores -= scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
