"""A recording of any length -> stretches that a model hears at a time, cut at pauses.

Memory holds one stretch and what has been read ahead of it. Quiet between stretches is left out.
Where nobody pauses for `LONGEST_S`, stretches overlap, and `recognition.transcribe` joins their
emissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from asr.audio.vad import HOP_S, Detector

LONGEST_S = 30.0
ENOUGH_S = 1.0  # a stretch this long ends at the next pause: models are trained on sentences
PAUSE_S = 0.4
END_S = 2.0  # of quiet, which end any stretch
EDGE_S = 0.2  # of quiet that stays before and after speech; train with augment.pad_silence_s for it
OVERLAP_S = 6.0
BREATH_S = 0.15  # of quiet, enough to cut a stretch that has reached `LONGEST_S`
SPEECH = 0.5  # probability

_LONGEST, _ENOUGH, _PAUSE, _END, _EDGE, _OVERLAP, _BREATH = (
    round(seconds / HOP_S)
    for seconds in (LONGEST_S, ENOUGH_S, PAUSE_S, END_S, EDGE_S, OVERLAP_S, BREATH_S)
)


@dataclass(frozen=True)
class Chunk:
    samples: np.ndarray  # (N,) float32
    start_s: float  # from the beginning of what was read
    overlap_s: float = 0.0  # heard already at the end of the stretch before


def chunks(blocks: Iterable[np.ndarray], detector: Detector, rate_hz: int) -> Iterator[Chunk]:
    """Blocks of samples, of any lengths -> the stretches in which somebody speaks, in order."""
    hop = detector.hop
    samples, speech = np.zeros(0, np.float32), np.zeros(0, bool)
    first = overlap = 0  # hop of the recording that `samples` begins with; hops heard before
    rest = np.zeros(0, np.float32)  # of the last block, less than a hop
    for block in chain(blocks, [None]):
        ended = block is None
        # Zeros fill up the last hop.
        block = np.concatenate([rest, np.zeros(-len(rest) % hop, np.float32) if ended else block])
        whole = len(block) // hop * hop
        block, rest = block[:whole], block[whole:]
        if whole:
            speech = np.concatenate([speech, detector(block) >= SPEECH])
            samples = np.concatenate([samples, block])
        while len(speech) >= _LONGEST or (ended and len(speech)):
            begin, end, following = _cut(speech, overlap, ended)
            if end > begin:
                yield Chunk(
                    samples[begin * hop : end * hop],
                    (first + begin) * hop / rate_hz,
                    overlap * hop / rate_hz,
                )
            elif not following and not ended:
                break  # it begins where `samples` does: more must be read
            overlap = end - following
            samples, speech, first = (
                samples[following * hop :],
                speech[following:],
                first + following,
            )


def _cut(speech: np.ndarray, overlap: int, ended: bool) -> tuple[int, int, int]:
    """First hop of the next stretch, the hop after its last, and the hop to go on from.

    An empty stretch: there is quiet up to where to go on, or more must be read.
    """
    hops = len(speech)
    spoken = np.flatnonzero(speech)
    if overlap:
        begin = 0
        if hops <= overlap:  # and the recording has ended
            return hops, hops, hops
    elif len(spoken):
        begin = max(0, int(spoken[0]) - _EDGE)
    else:
        begin = hops if ended else hops - _EDGE
        return begin, begin, begin
    if begin + _LONGEST > hops and not ended:
        return begin, begin, begin
    limit = min(hops, begin + _LONGEST)
    quiet = 0
    for i in range(begin + overlap, limit):
        quiet = 0 if speech[i] else quiet + 1
        if quiet >= _END or (quiet >= _PAUSE and i - begin >= _ENOUGH):
            end = i + 1 - quiet + _EDGE
            return begin, end, end
    if limit < begin + _LONGEST:  # the recording ends
        return begin, limit, limit
    start, length = _longest_quiet(speech[begin + _LONGEST // 2 : limit])
    if length >= _BREATH:
        end = begin + _LONGEST // 2 + start + length // 2
        return begin, end, end
    return begin, limit, limit - _OVERLAP


def _longest_quiet(speech: np.ndarray) -> tuple[int, int]:
    """Where the longest run of hops without speech begins, and how long it is."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], speech, [True]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return 0, 0
    longest = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return int(longest[0]), int(longest[1] - longest[0])
