"""Compare two classifiers on the same recordings: is the difference in accuracy significant?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asr.errors import UserError
from asr.scoring.classes import ClassRow
from asr.scoring.intervals import bootstrap_interval, resampling_groups

ALPHA = 0.05  # significance level


@dataclass(frozen=True)
class ClassComparison:
    """The accuracies of two classifiers, and their difference: second minus first."""

    accuracy: tuple[float, float]
    difference: float
    interval: tuple[float, float]  # 95%, of the difference
    resampled: str  # what the bootstrap draws: "speakers" or "utterances"
    only_first: int  # recordings that only the first classifier has right
    only_second: int
    p: float  # two-sided, of McNemar's exact test

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        low, high = self.interval
        better = "second" if self.difference > 0 else "first"
        if (low > 0 or high < 0) and self.p < ALPHA:
            return f"The {better} classifier is significantly better (both tests, 95%)."
        return "No significant difference, or the two tests disagree; use a larger test set."

    def __str__(self) -> str:
        first, second = self.accuracy
        low, high = self.interval
        return (
            f"accuracy {first:.2%} first, {second:.2%} second: {self.difference:+.2%} "
            f"(95% interval {low:+.2%} to {high:+.2%}, paired bootstrap over {self.resampled})\n"
            f"only the first is right: {self.only_first}, only the second: {self.only_second}; "
            f"McNemar p = {self.p:.2g}\n{self.verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def compare_classes(first: Sequence[ClassRow], second: Sequence[ClassRow]) -> ClassComparison:
    """Compare with the paired bootstrap and with McNemar's exact test (McNemar 1947).

    first, second: the same recordings in the same order. Raises `UserError` if they differ.
    """
    for a, b in zip(first, second, strict=True):
        if (a.id, a.reference) != (b.id, b.reference):
            raise UserError(f"the two classifiers do not have the same references: {a.id!r}")
    gains = [int(b.correct) - int(a.correct) for a, b in zip(first, second, strict=True)]
    groups, resampled = resampling_groups([r.id for r in first], [r.speaker for r in first])
    count = max(1, len(first))
    right = [sum(row.correct for row in rows) / count for rows in (first, second)]
    ones = [1] * len(gains)
    return ClassComparison(
        accuracy=(right[0], right[1]),
        difference=sum(gains) / count,
        interval=bootstrap_interval(gains, ones, groups) if any(gains) else (0.0, 0.0),
        resampled=resampled,
        only_first=gains.count(-1),
        only_second=gains.count(1),
        p=mcnemar(gains.count(-1), gains.count(1)),
    )


def mcnemar(first: int, second: int) -> float:
    """The probability of a split at least as uneven as (first, second) by tosses of a fair coin."""
    n, least = first + second, min(first, second)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)
