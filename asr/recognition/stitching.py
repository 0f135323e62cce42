"""Where two overlapping stretches of a recording are joined: between words that both have heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.text.tokenizer import WORD_START

NEAR = 3  # frames by which the two may place the same word differently


def seam(
    left: np.ndarray, right: np.ndarray, offset: float, pieces: Sequence[str]
) -> tuple[int, int]:
    """The frame after the last to take from `left`, and the first to take from `right`.

    left, right: (T, V) log-probs of two stretches; offset: the frames of `left` at which `right`
    begins. The seam lies before a word that both begin at about the same frame, the one nearest to
    the middle of the overlap, of which each has heard half around it; without such a word it is the
    middle. No word is lost or doubled, as long as the two agree on that word.
    """
    middle = (offset + len(left)) / 2
    begun = _word_starts(right, pieces)
    agreed = [
        (before, after)
        for before in _word_starts(left, pieces)
        for after in begun
        if abs(after[1] + offset - before[1]) <= NEAR
    ]
    if not agreed:
        return min(len(left), round(middle)), max(0, round(middle - offset))
    before, after = min(agreed, key=lambda pair: abs(pair[0][1] - middle))
    return (before[0] + before[1] + 1) // 2, (after[0] + after[1] + 1) // 2


def _word_starts(log_probs: np.ndarray, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Of each word on the best path: the frame after the token before it, the first of its own."""
    best = log_probs.argmax(axis=1)
    found, end = [], 0
    for t, token in enumerate(best.tolist()):
        if token == 0:
            continue
        if pieces[token].startswith(WORD_START) and (t == 0 or best[t - 1] != token):
            found.append((end, t))
        end = t + 1
    return found
