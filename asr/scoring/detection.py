"""Two kinds of errors that a threshold trades: false rejections and false accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UserError

RESAMPLES = 300


@dataclass(frozen=True)
class EqualErrorRate:
    """The error rate at the threshold that rejects as large a share as it falsely accepts."""

    rate: float
    threshold: float
    interval: tuple[float, float] | None  # 95%, None if it was not computed
    targets: int
    others: int

    def __str__(self) -> str:
        between = ""
        if self.interval is not None:
            low, high = self.interval
            between = f", 95% interval {low:.2%} to {high:.2%}"
        return (
            f"EER {self.rate:.2%}{between}, at threshold {self.threshold:.3f}; "
            f"{self.targets} target trials, {self.others} others"
        )


def equal_error_rate(
    scores: np.ndarray,
    is_target: np.ndarray,
    groups: Sequence[np.ndarray] = (),
) -> EqualErrorRate:
    """The equal error rate of trials, with its interval by the bootstrap over groups.

    scores, is_target: (N,); a trial is accepted if its score is at least the threshold. groups: the
    group of each trial, (N,) integers; a trial between two speakers has two such arrays, and counts
    as often as both were drawn. Raises `UserError` unless there are trials of both kinds.
    """
    targets = int(is_target.sum())
    if not 0 < targets < len(scores):
        raise UserError(
            f"equal error rate: {targets} of {len(scores)} trials are of the target; it needs both"
        )
    order = np.argsort(scores, kind="stable")
    ranked, target = scores[order], is_target[order].astype(float)
    rate, threshold = _crossing(ranked, target, np.ones(len(ranked)))
    interval = None
    if len(groups):
        draw, rates = np.random.default_rng(0), []
        n = max(int(group.max()) for group in groups) + 1
        for _ in range(RESAMPLES):
            times = draw.multinomial(n, np.full(n, 1 / n)).astype(float)
            weights = np.prod([times[group[order]] for group in groups], axis=0)
            if 0 < (weights * target).sum() < weights.sum():
                rates.append(_crossing(ranked, target, weights)[0])
        low, high = np.quantile(rates, [0.025, 0.975])
        interval = float(low), float(high)
    return EqualErrorRate(rate, threshold, interval, targets, len(scores) - targets)


def _crossing(ranked: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The rate and the threshold at which the two shares are equal, between two trials linearly.

    Threshold k lies just below trial k in rising order of the scores.
    """
    of_target, of_other = weights * target, weights * (1 - target)
    rejected = np.concatenate([[0.0], np.cumsum(of_target)]) / of_target.sum()
    accepted = 1 - np.concatenate([[0.0], np.cumsum(of_other)]) / of_other.sum()
    k = int(np.argmax(rejected >= accepted))  # the first threshold at which they have crossed
    gap, before = rejected[k] - accepted[k], accepted[k - 1] - rejected[k - 1]
    share = before / (before + gap) if before + gap else 0.0
    rate = rejected[k - 1] + share * (rejected[k] - rejected[k - 1])
    return float(rate), float(ranked[min(k, len(ranked) - 1)])


def threshold_for(outside: Sequence[float], false_accepts: float) -> float:
    """The lowest threshold that accepts at most a share `false_accepts` of the scores `outside`.

    Raises `UserError` if there are no scores, or if the share is not in 0 to below 1.
    """
    if not 0 <= false_accepts < 1:
        raise UserError(f"false accepts: {false_accepts}; give a share from 0 to below 1")
    if not len(outside):
        raise UserError("a threshold needs recordings that are to be rejected")
    ranked = np.sort(np.asarray(outside, float))
    allowed = int(false_accepts * len(ranked))
    return float(np.nextafter(ranked[-1 - allowed], np.inf))
