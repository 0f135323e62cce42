"""Best-path decoding: the likeliest token of each frame, repeats merged, blanks dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.decoder.words import words_of
from asr.text.tokenizer import BLANK, decode
from asr.transcript import Hypothesis


class GreedyDecoder:
    """Best-path decoding (Graves et al. 2006)."""

    def __init__(self, pieces: Sequence[str]):
        self.pieces = pieces

    def decode(self, log_probs: np.ndarray, frame_s: float) -> list[Hypothesis]:
        """Decode one utterance; returns one hypothesis, whose score is the log-prob of the path.

        log_probs: (T, V) natural logs; frame_s: seconds per frame. The confidence of a token is its
        highest posterior over the frames that spell it.
        """
        if len(log_probs) == 0:
            return [Hypothesis((), "", 0.0)]
        best = log_probs.argmax(axis=1)  # (T,)
        top = log_probs.max(axis=1)  # (T,)
        first = np.flatnonzero(np.diff(best, prepend=-1))  # where each run of one token begins
        after = np.append(first[1:], len(best))
        peak = np.maximum.reduceat(top, first)
        spoken = best[first] != BLANK
        tokens = best[first][spoken].tolist()
        words = words_of(
            tokens,
            first[spoken].tolist(),
            after[spoken].tolist(),
            peak[spoken].tolist(),
            self.pieces,
            frame_s,
        )
        return [Hypothesis(tuple(tokens), decode(tokens, self.pieces), float(top.sum()), words)]
