"""Choose the frame, between two words, at which two overlapping chunks of emissions are joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.text.tokenizer import WORD_START

TOLERANCE = 3  # frames by which the chunks may place the same word differently


def find_cut(
    left: np.ndarray, right: np.ndarray, offset: float, pieces: Sequence[str]
) -> tuple[int, int]:
    """Where to end the first of two overlapping chunks and where to start the second.

    left, right: (T, V) log-probabilities of the chunks; offset: the frame of `left` at which
    `right` starts; pieces: the texts of the tokens. Returns the number of frames to keep of `left`
    and the number to skip of `right`.

    The cut lies before a word that starts at about the same frame in both chunks, so that no word
    is lost or doubled. Of several such words, the one nearest to the middle of the overlap is
    taken, because there both chunks have the most context. Without one, the cut is the middle.
    """
    middle = (offset + len(left)) / 2
    starts = _word_starts(right, pieces)
    common = [
        (in_left, in_right)
        for in_left in _word_starts(left, pieces)
        for in_right in starts
        if abs(in_right[1] + offset - in_left[1]) <= TOLERANCE
    ]
    if not common:
        return min(len(left), round(middle)), max(0, round(middle - offset))
    in_left, in_right = min(common, key=lambda pair: abs(pair[0][1] - middle))
    return (in_left[0] + in_left[1] + 1) // 2, (in_right[0] + in_right[1] + 1) // 2


def _word_starts(log_probs: np.ndarray, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """For each word on the best path: the end of the token before it, and its first frame."""
    best = log_probs.argmax(axis=1)
    found, end = [], 0
    for t, token in enumerate(best.tolist()):
        if token == 0:
            continue
        if pieces[token].startswith(WORD_START) and (t == 0 or best[t - 1] != token):
            found.append((end, t))
        end = t + 1
    return found
