"""Compare two systems on the same references: is the difference in WER significant?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.errors import UserError
from asr.scoring.intervals import bootstrap_interval, resampling_groups
from asr.scoring.wer import Pair, aligned

BOUNDARY_WORDS = 2  # correct words in a row, in both systems, that end a segment (NIST sc_stats)
MIN_NORMAL_SEGMENTS = 50  # with fewer segments the p-value is computed exactly
ALPHA = 0.05  # significance level


@dataclass(frozen=True)
class Comparison:
    """The WERs of two systems, their difference, and two significance tests.

    The difference is WER_second - WER_first, negative when the second system is better.
    """

    wer: tuple[float, float]
    difference: float
    interval: tuple[float, float]  # 95%, of the difference
    resampled: str  # what the bootstrap draws: "speakers" or "utterances"
    segments: int  # of the matched-pairs test: those in which either system has an error
    statistic: float  # W of Gillick and Cox
    p: float  # two-sided p-value of the matched-pairs test

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        low, high = self.interval
        bootstrap, matched = low > 0 or high < 0, self.p < ALPHA
        better = "second" if self.difference < 0 else "first"
        if bootstrap and matched:
            return f"The {better} system is significantly better (both tests, 95%)."
        if self.interval == (0, 0):
            return "No difference: both systems have the same number of errors in every utterance."
        if not bootstrap and not matched:
            return (
                f"No significant difference: with a test set of this size, differences below about "
                f"{(high - low) / 2:.2%} cannot be detected."
            )
        significant, other = "the bootstrap", "the matched-pairs test"
        if matched:
            significant, other = other, significant
        return (
            f"Inconclusive: {significant} finds the {better} system better, {other} does not; "
            "use a larger test set."
        )

    def __str__(self) -> str:
        first, second = self.wer
        low, high = self.interval
        return (
            f"WER {first:.2%} first, {second:.2%} second: {self.difference:+.2%} "
            f"(95% interval {low:+.2%} to {high:+.2%}, paired bootstrap over {self.resampled})\n"
            f"matched pairs: {self.segments} segments with an error, W = {self.statistic:.2f}, "
            f"p = {self.p:.2g}\n{self.verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        w = self.statistic
        return vars(self) | {
            "statistic": w if math.isfinite(w) else None,
            "verdict": self.verdict,
        }


def compare(first: Sequence[Pair], second: Sequence[Pair]) -> Comparison:
    """Compare the WERs of two systems with two significance tests.

    They are the paired bootstrap (Bisani and Ney 2004) and the matched-pairs sentence-segment word
    error test (MAPSSWE, Gillick and Cox 1989).

    first, second: pairs with the same references in the same order. Raises `UserError` when the
    references differ or have no word.
    """
    different = [
        a.id
        for a, b in zip(first, second, strict=False)
        if (a.id, a.reference) != (b.id, b.reference)
    ]
    if different or len(first) != len(second):
        reason = (
            f"{different[0]!r} differs"
            if different
            else f"{len(first)} and {len(second)} utterances"
        )
        raise UserError(f"the two systems do not have the same references: {reason}")
    words = [len(pair.reference.split()) for pair in first]
    if not sum(words):
        raise UserError("nothing to compare: the references have no words")
    segments = [segment_errors(a, b) for a, b in zip(first, second, strict=True)]
    errors = np.array([np.sum(counts, 0) if counts else (0, 0) for counts in segments])  # (N, 2)
    differences = errors[:, 1] - errors[:, 0]
    groups, resampled = resampling_groups([p.id for p in first], [p.speaker for p in first])
    statistic, p = matched_pairs([b - a for counts in segments for a, b in counts])
    wer = errors.sum(0) / sum(words)
    return Comparison(
        wer=(float(wer[0]), float(wer[1])),
        difference=int(differences.sum()) / sum(words),
        interval=bootstrap_interval(differences, words, groups)
        if differences.any()
        else (0.0, 0.0),
        resampled=resampled,
        segments=sum(map(len, segments)),
        statistic=statistic,
        p=p,
    )


def segment_errors(first: Pair, second: Pair) -> list[tuple[int, int]]:
    """The error counts (first system, second system) of each segment that has an error.

    A segment ends where both systems have `BOUNDARY_WORDS` consecutive words right and insert
    nothing between them; the errors of different segments are then assumed to be independent.
    """
    segments: list[tuple[int, int]] = []
    errors = np.array([_errors_at(pair) for pair in (first, second)])  # (2, 2 * words + 1)
    correct = BOUNDARY_WORDS  # number of words since the last error of either system
    for position, (a, b) in enumerate(errors.T.tolist()):
        if a or b:
            if correct >= BOUNDARY_WORDS:
                segments.append((0, 0))
            segments[-1] = (segments[-1][0] + a, segments[-1][1] + b)
            correct = 0
        elif position % 2:
            correct += 1
    return segments


def _errors_at(pair: Pair) -> list[int]:
    """Errors at each position: insertions at even positions, reference words at odd ones."""
    errors = [0]
    for reference, hypothesis in aligned(pair.reference, pair.hypothesis):
        if reference is None:
            errors[-1] += 1
        else:
            errors += [int(reference != hypothesis), 0]
    return errors


def matched_pairs(differences: Sequence[int]) -> tuple[float, float]:
    """W = mean(Z) / (std(Z) / sqrt(n)) of the segment differences Z, and its two-sided p-value.

    With `MIN_NORMAL_SEGMENTS` segments or more, p = erfc(|W| / sqrt(2)). With fewer, p is that of
    the exact sign-flip permutation test: P(|sum(s_i * Z_i)| >= |sum(Z_i)|) for independent random
    signs s_i.
    """
    n, total = len(differences), sum(differences)
    if total == 0:
        return 0.0, 1.0
    deviation = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    statistic = (
        total / n / (deviation / math.sqrt(n)) if deviation else math.copysign(math.inf, total)
    )
    if n >= MIN_NORMAL_SEGMENTS:
        return statistic, math.erfc(abs(statistic) / math.sqrt(2))
    # probabilities[k]: that the |Z_i| with a positive sign sum to k
    probabilities = np.ones(1)
    for size in map(abs, differences):
        probabilities = (np.pad(probabilities, (size, 0)) + np.pad(probabilities, (0, size))) / 2
    sums = 2 * np.arange(len(probabilities)) - sum(map(abs, differences))  # of s_i * Z_i
    return statistic, float(min(1.0, probabilities[np.abs(sums) >= abs(total)].sum()))
