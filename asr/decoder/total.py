"""The probability of a text: the sum over all CTC paths that spell it (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.text.tokenizer import BLANK


def log_probability(log_probs: np.ndarray, tokens: Sequence[int]) -> float:
    """ln P(tokens | audio) by the forward algorithm. log_probs: (T, V) natural logs."""
    states = np.full(2 * len(tokens) + 1, BLANK)  # a blank before and after each token
    states[1::2] = tokens
    # A path may skip the blank between two different tokens.
    skips = np.zeros(len(states), bool)
    skips[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    forward = np.full(len(states), -np.inf)
    forward[0] = 0.0  # before the first frame, as if in the first blank
    for t, row in enumerate(log_probs.astype(np.float64)):
        one = np.concatenate([[-np.inf], forward[:-1]])
        two = np.concatenate([[-np.inf, -np.inf], forward[:-2]])[: len(states)]
        two = np.where(skips & (t > 0), two, -np.inf)
        forward = np.logaddexp(np.logaddexp(forward, one), two) + row[states]
    return float(np.logaddexp.reduce(forward[-2:]))
