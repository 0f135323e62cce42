"""How far word confidences can be trusted: expected calibration error against what was said.

A word's confidence is the geometric mean of its tokens', and a token's is its highest posterior
over the frames that spell it on the best path (`words_of`), the same for every decoder. It is
calibrated when, of the words with confidence c, a share of c is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from asr.transcript import Word


@dataclass(frozen=True)
class Bin:
    """Words of about the same confidence."""

    words: int
    confidence: float  # mean
    accuracy: float  # share of them that is right


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error, in [0, 1], and the bins it comes from, by rising confidence."""

    error: float
    bins: tuple[Bin, ...]

    @property
    def words(self) -> int:
        return sum(one.words for one in self.bins)


def calibration(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> Calibration:
    """Mean distance between confidence and accuracy over equally wide bins, weighted by words.

    (Naeini et al. 2015; Guo et al. 2017.) confidences: (N,) in [0, 1]; right: (N,). Bins without
    words are left out. Raises `ValueError` where there is no word, or one with no probability.
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


def right_words(reference: str, hypothesis: str) -> list[bool]:
    """Of each word of `hypothesis`, whether the alignment with `reference` pairs it rightly."""
    right = [False] * len(hypothesis.split())
    if right and reference.split():
        for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
            if chunk.type == "equal":
                for i in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                    right[i] = True
    return right


def calibration_of_words(
    pairs: Iterable[tuple[str, Sequence[Word]]], bins: int = 10
) -> Calibration:
    """Calibration of recognised words. pairs: what was said, and the words that were recognised.

    Both must be normalised alike; an inserted word counts as wrong, a deleted one does not count.
    """
    confidences: list[float] = []
    right: list[bool] = []
    for reference, words in pairs:
        confidences += [word.confidence for word in words]
        right += right_words(reference, " ".join(word.text for word in words))
    return calibration(confidences, right, bins)
