"""Two systems on the same references: is the difference real?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.errors import UserError
from asr.scoring.intervals import bootstrap_interval, resampling_groups
from asr.scoring.wer import Pair, aligned

BOUNDARY_WORDS = 2  # that both have right, in a row, end a segment: as NIST's sc_stats has it
FEW_SEGMENTS = 50  # below, the sum of differences is not yet normal and is counted out
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """How the second system's WER differs from the first's; negative where it is better."""

    wer: tuple[float, float]
    difference: float  # second less first, in shares of the reference words
    interval: tuple[float, float]  # 95%, of the difference
    resampled: str  # what the bootstrap draws: "speakers" or "utterances"
    segments: int  # of the matched-pairs test: those where either has an error
    statistic: float  # W of Gillick and Cox; 0 where they are level
    p: float  # of as large a difference between systems that are equally good

    @property
    def verdict(self) -> str:
        """Whether the difference is real, in a sentence."""
        low, high = self.interval
        apart, matched = low > 0 or high < 0, self.p < LEVEL
        better = "second" if self.difference < 0 else "first"
        if apart and matched:
            return f"The difference is real: the {better} is better (both tests, 95%)."
        if self.interval == (0, 0):
            return "No difference: both have as many errors in every utterance."
        if not apart and not matched:
            return (
                f"No difference is shown: a set of this size tells two systems apart from about "
                f"{(high - low) / 2:.2%} on."
            )
        says, denies = "the bootstrap", "the matched-pairs test"
        if matched:
            says, denies = denies, says
        return f"In doubt: {says} finds the {better} better, {denies} does not; use a larger set."

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
    """Paired bootstrap (Bisani and Ney 2004) and the matched-pairs sentence-segment word error test
    (MAPSSWE, Gillick and Cox 1989) of two systems, over words.

    first, second: the same references in the same order. Raises `UserError` where they are not, and
    where nothing is said in them.
    """
    apart = [a.id for a, b in zip(first, second, strict=False) if _reference(a) != _reference(b)]
    if apart or len(first) != len(second):
        where = f"{apart[0]!r} differs" if apart else f"{len(first)} and {len(second)} utterances"
        raise UserError(f"the two systems were not given the same references: {where}")
    words = [len(pair.reference.split()) for pair in first]
    if not sum(words):
        raise UserError("nothing to compare: the references hold no word")
    segments = [segment_errors(a, b) for a, b in zip(first, second, strict=True)]
    errors = np.array([np.sum(found, 0) if found else (0, 0) for found in segments])  # (N, 2)
    differences = errors[:, 1] - errors[:, 0]
    groups, resampled = resampling_groups([p.id for p in first], [p.speaker for p in first])
    statistic, p = matched_pairs([b - a for found in segments for a, b in found])
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


def _reference(pair: Pair) -> tuple[str, str]:
    return pair.id, pair.reference


def segment_errors(first: Pair, second: Pair) -> list[tuple[int, int]]:
    """Errors of both in each segment of an utterance where either has one.

    Two words in a row that both have right, with nothing inserted between, end a segment: beyond
    them the errors of one segment say nothing of those of the next.
    """
    found: list[tuple[int, int]] = []
    errors = np.array([_errors_at(pair) for pair in (first, second)])  # (2, 2 * words + 1)
    right = BOUNDARY_WORDS  # words that both have right since the last error
    for place, (a, b) in enumerate(errors.T.tolist()):
        if a or b:
            if right >= BOUNDARY_WORDS:
                found.append((0, 0))
            found[-1] = (found[-1][0] + a, found[-1][1] + b)
            right = 0
        elif place % 2:
            right += 1
    return found


def _errors_at(pair: Pair) -> list[int]:
    """Errors before the first word, on it, before the second word, ... after the last."""
    errors = [0]
    for said, heard in aligned(pair.reference, pair.hypothesis):
        if said is None:
            errors[-1] += 1
        else:
            errors += [int(said != heard), 0]
    return errors


def matched_pairs(differences: Sequence[int]) -> tuple[float, float]:
    """W = mean / (deviation / sqrt(n)) of the segments' differences, and its two-sided p.

    p is that of the normal distribution from 50 segments on. With fewer it is exact: the share of
    the 2^n ways to swap the systems in segments that give as large a sum.
    """
    n, total = len(differences), sum(differences)
    if total == 0:
        return 0.0, 1.0
    deviation = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    statistic = (
        total / n / (deviation / math.sqrt(n)) if deviation else math.copysign(math.inf, total)
    )
    if n >= FEW_SEGMENTS:
        return statistic, math.erfc(abs(statistic) / math.sqrt(2))
    ways = np.ones(1)  # chances of the sums of |difference| that one system is given
    for size in map(abs, differences):
        ways = (np.pad(ways, (size, 0)) + np.pad(ways, (0, size))) / 2
    reach = sum(map(abs, differences))
    sums = 2 * np.arange(len(ways)) - reach  # (reach + 1,)
    return statistic, float(min(1.0, ways[np.abs(sums) >= abs(total)].sum()))
