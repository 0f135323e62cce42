"""Calibration of word confidences: the expected calibration error, and its correction.

The confidence of a word is the geometric mean of the confidences of its tokens; the confidence of a
token is its highest posterior over the frames that spell it on the best path (`words_of`). All
decoders compute it in this way. Confidences are calibrated if P(right | confidence c) = c. CTC is
overconfident, so a scale and a shift of the logit are fitted on a dev set (`fit_logit`,
`recalibrate`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.transcript import Word

SURE = 1 - 1e-6  # confidences are limited to [1 - SURE, SURE], because logit(1) is infinite
FLATTEST = 0.01  # lowest scale; 0 would make all confidences equal, less would reverse their order
FIT_STEPS = 50


@dataclass(frozen=True)
class Bin:
    """Words of about the same confidence."""

    words: int
    confidence: float  # mean
    accuracy: float  # the share that is right


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error, in [0, 1], and its bins in order of rising confidence."""

    error: float
    bins: tuple[Bin, ...]

    @property
    def words(self) -> int:
        return sum(one.words for one in self.bins)


def calibration(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> Calibration:
    """The expected calibration error over equally wide bins (Naeini et al. 2015; Guo et al. 2017).

    ECE = sum over bins b of n_b / N * |mean confidence_b - accuracy_b|. confidences: (N,) in
    [0, 1]; right: (N,). Bins without words are left out. Raises `ValueError` if there is no word,
    or a confidence outside [0, 1].
    """
    values, hits = np.asarray(confidences, float), np.asarray(right, float)
    if values.shape != hits.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"{values.shape} confidences and {hits.shape} outcomes: give N of each")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a confidence lies outside [0, 1]")
    place = np.minimum((values * bins).astype(int), bins - 1)
    found = tuple(
        Bin(int(inside.sum()), float(values[inside].mean()), float(hits[inside].mean()))
        for inside in (place == i for i in range(bins))
        if inside.any()
    )
    distances = [one.words * abs(one.confidence - one.accuracy) for one in found]
    return Calibration(sum(distances) / len(values), found)


def logit(confidences: Sequence[float]) -> np.ndarray:
    """ln(c / (1 - c)) of confidences (N,), finite for 0 and 1 too."""
    values = np.clip(np.asarray(confidences, float), 1 - SURE, SURE)
    return np.log(values / (1 - values))


def recalibrate(words: Sequence[Word], scale: float, shift: float) -> tuple[Word, ...]:
    """Words with the confidence sigmoid(scale * logit + shift); scale 1, shift 0: unchanged."""
    if (scale, shift) == (1.0, 0.0):
        return tuple(words)
    values = scale * logit([word.confidence for word in words]) + shift
    return tuple(
        replace(word, confidence=1 / (1 + math.exp(-value)))
        for word, value in zip(words, values.clip(-30, 30).tolist(), strict=True)
    )


def fit_logit(confidences: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Fit scale and shift for `recalibrate` by maximum likelihood (Platt scaling, Platt 1999).

    confidences: (N,); right: (N,). Returns (1, 0) if there are no words. Newton's method with step
    halving. As in Platt's paper, the targets are slightly above 0 and below 1, so that a dev set
    without wrong words does not lead to confidences of 1.
    """
    hits = np.asarray(right, bool)
    if not len(hits):
        return 1.0, 0.0
    count = hits.sum()
    target = np.where(hits, (count + 1) / (count + 2), 1 / (len(hits) - count + 2))  # (N,)
    inputs = np.stack([logit(confidences), np.ones(len(hits))], 1)  # (N, 2)

    def loss(at: np.ndarray) -> float:
        values = inputs @ at
        return float((np.logaddexp(0, values) - target * values).sum())

    found = np.array([1.0, 0.0])
    for _ in range(FIT_STEPS):
        share = 1 / (1 + np.exp(-(inputs @ found)))  # (N,)
        slope = inputs.T @ (share - target)  # (2,)
        bend = (inputs.T * (share * (1 - share))) @ inputs + 1e-9 * np.eye(2)
        step = 1.0
        move = np.linalg.solve(bend, slope)
        while loss(found - step * move) > loss(found) and step > 1e-6:
            step /= 2
        found = found - step * move
    scale, shift = found.tolist()
    if scale < FLATTEST:  # confidences predict nothing: all become the share of right words
        share = float(target.mean())
        return FLATTEST, math.log(share / (1 - share))
    return scale, shift


def right_words(reference: str, hypothesis: str) -> list[bool]:
    """Whether each word of `hypothesis` is right in its alignment with `reference`."""
    import jiwer  # recognition alone does not need it

    right = [False] * len(hypothesis.split())
    if right and reference.split():
        for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
            if chunk.type == "equal":
                for i in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                    right[i] = True
    return right


def outcomes_of_words(
    pairs: Iterable[tuple[str, Sequence[Word]]],
) -> tuple[list[float], list[bool]]:
    """The confidences (N,) of recognized words, and whether each word is right (N,).

    pairs: the reference and the recognized words of each utterance, normalized in the same way. An
    inserted word counts as wrong; a deleted word is not counted.
    """
    confidences: list[float] = []
    right: list[bool] = []
    for reference, words in pairs:
        confidences += [word.confidence for word in words]
        right += right_words(reference, " ".join(word.text for word in words))
    return confidences, right


def calibration_of_words(
    pairs: Iterable[tuple[str, Sequence[Word]]], bins: int = 10
) -> Calibration:
    """The calibration of recognized words; pairs as in `outcomes_of_words`."""
    return calibration(*outcomes_of_words(pairs), bins)
