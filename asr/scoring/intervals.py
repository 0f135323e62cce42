"""How far a rate measured on a few utterances may be from the true one: bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

RESAMPLES = 2000  # of the bootstrap at least: an end moves by about 0.02 of the interval's width
BEYOND = 50  # resamples beyond each end, so that expanded ends move as little
MOST_RESAMPLES = 20_000
LEAST_SPEAKERS = 5  # fewer say too little about speakers to tell how far they differ


def resampling_groups(
    ids: Sequence[str], speakers: Sequence[str | None]
) -> tuple[Sequence[str], str]:
    """What the bootstrap draws whole, for each utterance, and its name: "speakers" or "utterances".

    Speakers where every utterance has one and there are at least five: utterances of one speaker go
    wrong together. Otherwise utterances, and the interval says nothing of other speakers.
    """
    if None not in speakers and len(set(speakers)) >= LEAST_SPEAKERS:
        return speakers, "speakers"
    return ids, "utterances"


def bootstrap_interval(
    errors: Sequence[int], words: Sequence[int], groups: Sequence[str], level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of errors / words when whole groups are drawn with replacement.

    Its level is expanded (Hesterberg 2015, "What teachers should know about the bootstrap"): plain
    percentiles of few groups are too near each other, by sqrt((G - 1) / G) and as the normal
    distribution is narrower than Student's t. errors, words: (N,) counts of each utterance;
    groups: (N,) what it belongs to.

    Where there is no error at all every resample has none. The upper end is then that of Clopper
    and Pearson (1934), as if words went wrong independently: 3.7 / words at 95%.
    """
    if not sum(words):
        rate = float("inf") if sum(errors) else 0.0
        return rate, rate
    if not any(errors):
        return 0.0, 1 - ((1 - level) / 2) ** (1 / sum(words))
    ids = np.unique(groups, return_inverse=True)[1]
    errors_of = np.bincount(ids, weights=errors)  # (G,)
    words_of = np.bincount(ids, weights=words)  # (G,)
    draw = np.random.default_rng(0)
    n = len(errors_of)
    tail = expanded_tail((1 - level) / 2, n)
    resamples = int(min(max(RESAMPLES, BEYOND / max(tail, 1e-9)), MOST_RESAMPLES))
    at_once = max(1, (1 << 20) // n)  # resamples, so that memory does not grow with the groups
    rates = []
    for first in range(0, resamples, at_once):
        drawn = draw.integers(n, size=(min(at_once, resamples - first), n))
        rates.append(errors_of[drawn].sum(1) / np.maximum(words_of[drawn].sum(1), 1))
    low, high = np.quantile(np.concatenate(rates), [tail, 1 - tail])
    return float(low), float(high)


def expanded_tail(tail: float, groups: int) -> float:
    """The share of bootstrap means of so many groups to cut off at each end, for `tail` of them.

    tail: of the interval that is meant, 0.025 for 95%.
    """
    if groups < 2:
        return tail
    reach = student_quantile(1 - tail, groups - 1) * math.sqrt(groups / (groups - 1))
    return NormalDist().cdf(-reach)


def student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t, by its expansion in 1 / freedom (Fisher and Cornish 1960).

    To four terms, as in Abramowitz and Stegun 26.7.5: at p = 0.975 too small by 0.7% for 2 degrees
    of freedom, by less than 0.01% from 6 on.
    """
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
