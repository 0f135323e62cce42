"""Speech in audio that is still coming in: each stretch of it ends at a pause.

For models that need a whole utterance; `asr.audio.chunking` cuts recordings that are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.audio.chunking import EDGE_S, SPEECH
from asr.audio.vad import HOP_S, Detector

PAUSE_S = 0.5  # silence that ends a stretch of speech
LONGEST_S = 20.0  # a stretch of this length ends without a pause

_EDGE, _PAUSE, _LONGEST = (round(seconds / HOP_S) for seconds in (EDGE_S, PAUSE_S, LONGEST_S))


@dataclass(frozen=True)
class SpeechStretch:
    """Speech between two pauses, with `EDGE_S` of what is around it."""

    samples: np.ndarray  # (N,) float32
    start_s: float  # from the start of the stream
    end_s: float
    rule: str  # what ended it: "silence", "too_long", or "" for the end of the stream


class PauseSegmenter:
    """Cuts a stream of samples into stretches of speech; memory holds one stretch at most."""

    def __init__(self, detector: Detector, rate_hz: int):
        self._detector, self._rate_hz = detector, rate_hz
        self._rest = np.zeros(0, np.float32)  # less than a hop
        self._hops: list[np.ndarray] = []  # the stretch under way, or the last `_EDGE` hops
        self._first = 0  # the hop of the stream with which `_hops` begins
        self._speaking = False
        self._quiet = 0  # hops without speech at the end of `_hops`

    def feed(self, samples: np.ndarray) -> list[SpeechStretch]:
        """(N,) float32: the next samples; returns the stretches that end in them."""
        hop = self._detector.hop
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // hop * hop
        self._rest = samples[whole:]
        if not whole:
            return []
        spoken = self._detector(samples[:whole]) >= SPEECH
        rows = samples[:whole].reshape(-1, hop)
        found = [self._advance(row, speech) for row, speech in zip(rows, spoken, strict=True)]
        return [stretch for stretch in found if stretch is not None]

    def finish(self) -> list[SpeechStretch]:
        """The stretch that the end of the stream ends, if there is one."""
        if not self._speaking:
            return []
        self._hops.append(self._rest)
        return [self._end(len(self._hops), "")]

    def _advance(self, row: np.ndarray, speech: bool) -> SpeechStretch | None:
        self._hops.append(row)
        self._quiet = 0 if speech else self._quiet + 1
        self._speaking = self._speaking or bool(speech)
        if not self._speaking:
            dropped = max(0, len(self._hops) - _EDGE)
            self._hops, self._first = self._hops[dropped:], self._first + dropped
        elif self._quiet >= _PAUSE:
            return self._end(len(self._hops) - self._quiet + _EDGE, "silence")
        elif len(self._hops) >= _LONGEST:
            return self._end(len(self._hops), "too_long")
        return None

    def _end(self, count: int, rule: str) -> SpeechStretch:
        """The stretch of the first `count` hops; those after it stay for the next one."""
        hop = self._detector.hop
        samples = np.concatenate(self._hops[:count])
        start = self._first * hop
        stretch = SpeechStretch(
            samples, start / self._rate_hz, (start + len(samples)) / self._rate_hz, rule
        )
        self._hops, self._first = self._hops[count:], self._first + count
        self._speaking, self._quiet = False, len(self._hops)
        return stretch
