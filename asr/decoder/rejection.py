"""How well an utterance fits a sentence of a grammar, for refusing what is not in the grammar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fit_of(log_probs: np.ndarray, tokens: Sequence[int], score: float) -> float:
    free = float(log_probs.max(axis=1).sum()) if len(log_probs) else 0.0
    return (score - free) / len(tokens)
