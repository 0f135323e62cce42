"""The score of a classifier: accuracy, F1, confusions, calibration, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.scoring.intervals import bootstrap_interval, resampling_groups

BINS = 10  # of the calibration
RESAMPLES = 1000  # of the interval of macro F1


@dataclass(frozen=True)
class ClassRow:
    """The reference and the classification of one recording."""

    id: str
    reference: tuple[str, ...]  # labels; () if it has none of the known classes
    hypothesis: tuple[str, ...]  # labels; () if it was rejected or cannot be read
    probabilities: Mapping[str, float]  # of all classes; empty if it cannot be read
    speaker: str | None = None

    @property
    def correct(self) -> bool:
        return set(self.reference) == set(self.hypothesis)


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class; a share is None if it has no denominator."""

    recordings: int  # that have the class
    precision: float | None  # of the recordings that were given the class, those that have it
    recall: float | None  # of the recordings that have the class, those that were given it

    @property
    def f1(self) -> float:
        """2 precision recall / (precision + recall), 0 without a recording that is right."""
        total = (self.precision or 0.0) + (self.recall or 0.0)
        return 2 * (self.precision or 0.0) * (self.recall or 0.0) / total if total else 0.0


@dataclass(frozen=True)
class ClassScore:
    """The figures of a classifier on a test set; all but the counts are shares."""

    recordings: int
    wrong: int
    interval: tuple[float, float]  # of the error rate, 95%
    macro_f1: float  # the mean over classes that occur in the test set
    macro_f1_interval: tuple[float, float]
    cross_entropy: float  # the mean of -ln P(reference)
    calibration_error: float
    resampled: str  # "speakers" or "utterances"
    classes: Mapping[str, ClassFigures]
    confusion: Mapping[tuple[str, str], int]  # (reference, hypothesis): recordings; "" is none

    @property
    def error(self) -> float:
        return self.wrong / max(1, self.recordings)

    @property
    def accuracy(self) -> float:
        return 1 - self.error

    def __str__(self) -> str:
        low, high = self.interval
        f1_low, f1_high = self.macro_f1_interval
        return (
            f"accuracy {self.accuracy:.2%} ({self.recordings - self.wrong} of {self.recordings}), "
            f"95% interval {1 - high:.2%} to {1 - low:.2%}; macro F1 {self.macro_f1:.2%}, "
            f"{f1_low:.2%} to {f1_high:.2%} (bootstrap over {self.resampled}); "
            f"calibration error {self.calibration_error:.2%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of score.json."""
        return {
            "summary": str(self),
            "accuracy": self.accuracy,
            "accuracy_interval_95": [1 - self.interval[1], 1 - self.interval[0]],
            "error": self.error,
            "macro_f1": self.macro_f1,
            "macro_f1_interval_95": list(self.macro_f1_interval),
            "cross_entropy": self.cross_entropy,
            "calibration_error": self.calibration_error,
            "resampled": self.resampled,
            "recordings": self.recordings,
            "wrong": self.wrong,
            "classes": {
                name: {
                    "recordings": one.recordings,
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                }
                for name, one in self.classes.items()
            },
            "confusion": [[*pair, count] for pair, count in self.confusion.items()],
        }


def score_classes(rows: Sequence[ClassRow]) -> ClassScore:
    """Compare the labels of recordings with their references.

    A recording is right if it was given all its labels and no other.
    """
    groups, resampled = resampling_groups([r.id for r in rows], [r.speaker for r in rows])
    wrong = [int(not row.correct) for row in rows]
    names = sorted({label for row in rows for label in (*row.reference, *row.hypothesis)})
    counts = _counts(rows, names)  # (N, C, 3)
    figures = _figures(counts.sum(0), names)
    return ClassScore(
        recordings=len(rows),
        wrong=sum(wrong),
        interval=bootstrap_interval(wrong, [1] * len(rows), groups),
        macro_f1=float(_macro_f1(counts.sum(0)[None])[0]),
        macro_f1_interval=_macro_f1_interval(counts, groups),
        cross_entropy=_cross_entropy(rows),
        calibration_error=calibration(rows)["expected_error"],
        resampled=resampled,
        classes=figures,
        confusion=_confusion(rows),
    )


def _counts(rows: Sequence[ClassRow], names: Sequence[str]) -> np.ndarray:
    """(N, C, 3): whether a recording has a class, was given it, and both."""
    index = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(rows), len(names), 3))
    for row, of_row in zip(rows, counts, strict=True):
        of_row[[index[label] for label in row.reference], 0] = 1
        of_row[[index[label] for label in row.hypothesis], 1] = 1
        of_row[:, 2] = of_row[:, 0] * of_row[:, 1]
    return counts


def _figures(totals: np.ndarray, names: Sequence[str]) -> dict[str, ClassFigures]:
    return {
        name: ClassFigures(
            int(has), float(both / given) if given else None, float(both / has) if has else None
        )
        for name, (has, given, both) in zip(names, totals, strict=True)
    }


def _macro_f1(totals: np.ndarray) -> np.ndarray:
    """(R, C, 3) totals of R resamples -> (R,): the mean F1 of the classes that occur."""
    has, given, both = np.moveaxis(totals, 2, 0)  # (R, C) each
    f1 = 2 * both / np.maximum(has + given, 1)
    return (f1 * (has > 0)).sum(1) / np.maximum((has > 0).sum(1), 1)


def _macro_f1_interval(counts: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """The 95% percentile interval, by resampling whole groups."""
    ids = np.unique(groups, return_inverse=True)[1]
    by_group = np.zeros((ids.max() + 1, *counts.shape[1:]))
    np.add.at(by_group, ids, counts)
    draw, n = np.random.default_rng(0), len(by_group)
    times = draw.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)  # (R, G)
    found = _macro_f1(np.einsum("rg,gck->rck", times, by_group, optimize=True))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _cross_entropy(rows: Sequence[ClassRow]) -> float:
    """The mean of -ln P over the references that are known classes; infinite without any."""
    losses = [
        -math.log(max(row.probabilities[label], 1e-12))
        for row in rows
        for label in row.reference
        if label in row.probabilities
    ]
    return sum(losses) / len(losses) if losses else math.inf


def calibration(rows: Sequence[ClassRow]) -> dict[str, Any]:
    """Accuracy by the probability of the best class, and the expected calibration error (ECE).

    ECE = sum over bins b of n_b / n * |mean probability_b - accuracy_b| (Naeini et al. 2015).
    """
    known = [row for row in rows if row.probabilities]
    best = [max(row.probabilities, key=lambda name: row.probabilities[name]) for row in known]
    sure = np.array([row.probabilities[name] for row, name in zip(known, best, strict=True)])
    right = np.array([name in row.reference for row, name in zip(known, best, strict=True)], float)
    bin_of = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for number in range(BINS):
        inside = bin_of == number
        if inside.any():
            mean, accuracy = float(sure[inside].mean()), float(right[inside].mean())
            error += abs(mean - accuracy) * float(inside.mean())
            bins.append({"words": int(inside.sum()), "confidence": mean, "right": accuracy})
    return {"bins": bins, "expected_error": error, "words": len(known)}


def _confusion(rows: Sequence[ClassRow]) -> dict[tuple[str, str], int]:
    """The number of recordings by (reference, hypothesis).

    With several labels, the ones that are right are counted as such, and each missing or wrong one
    is paired with "".
    """
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        missing = [label for label in row.reference if label not in row.hypothesis]
        wrong = [label for label in row.hypothesis if label not in row.reference]
        pairs = [(label, label) for label in row.reference if label in row.hypothesis]
        if len(missing) <= 1 and len(wrong) <= 1 and (missing or wrong):
            pairs.append((missing[0] if missing else "", wrong[0] if wrong else ""))
        else:
            pairs += [(label, "") for label in missing] + [("", label) for label in wrong]
        for pair in pairs:
            found[pair] = found.get(pair, 0) + 1
    return dict(sorted(found.items()))
