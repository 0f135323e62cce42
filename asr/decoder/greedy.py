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
        stream = self.stream(frame_s)
        stream.feed(log_probs)
        return stream.finish()

    def stream(self, frame_s: float) -> GreedyStream:
        """Decode an utterance while its emissions come in. frame_s: seconds a frame."""
        return GreedyStream(self.pieces, frame_s)


class GreedyStream:
    """An utterance under way. Fed in pieces of any size, it ends as it does when fed at once."""

    def __init__(self, pieces: Sequence[str], frame_s: float):
        self._pieces, self._frame_s = pieces, frame_s
        self._frames, self._score = 0, 0.0
        self._last = -1  # the token of the last frame
        # Of each run of one token: the token, its first frame, the frame after its last, its peak
        self._runs: tuple[list[int], list[int], list[int], list[float]] = ([], [], [], [])

    def feed(self, log_probs: np.ndarray) -> None:
        """Decode the next frames. log_probs: (T, V) natural logs, T from 0 up."""
        if len(log_probs) == 0:
            return
        tokens, firsts, ends, peaks = self._runs
        best, top = log_probs.argmax(axis=1), log_probs.max(axis=1)  # (T,)
        first = np.flatnonzero(np.diff(best, prepend=self._last))  # where a run begins
        continued = int(first[0]) if len(first) else len(best)  # frames of the run before
        if continued and self._last != BLANK:
            ends[-1] = self._frames + continued
            peaks[-1] = max(peaks[-1], float(top[:continued].max()))
        if len(first):
            after = np.append(first[1:], len(best))
            peak = np.maximum.reduceat(top, first)
            spoken = best[first] != BLANK
            tokens += best[first][spoken].tolist()
            firsts += (first[spoken] + self._frames).tolist()
            ends += (after[spoken] + self._frames).tolist()
            peaks += peak[spoken].tolist()
        self._last = int(best[-1])
        self._frames += len(best)
        self._score += float(top.sum())

    def best(self) -> Hypothesis:
        """The text so far, from its beginning; its last word may be unfinished."""
        tokens, firsts, ends, peaks = self._runs
        words = words_of(tokens, firsts, ends, peaks, self._pieces, self._frame_s)
        return Hypothesis(tuple(tokens), decode(tokens, self._pieces), self._score, words)

    def settled(self) -> int:
        """The number of tokens of `best` that no later frame can change: all of them."""
        return len(self._runs[0])

    def end_cost(self) -> float:
        """What an end of the utterance here would cost, a natural log: nothing."""
        return 0.0

    def finish(self) -> list[Hypothesis]:
        """The text, in a list as of other decoders."""
        return [self.best()]
