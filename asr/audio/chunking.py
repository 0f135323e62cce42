"""A recording of any length -> chunks that a model can process at once, cut at pauses.

Memory holds one chunk and the audio that has been read after it. Silence between chunks is left
out. Where speech goes on for `LONGEST_S` without a pause, chunks overlap, and
`asr.recognition.transcribe` joins their emissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from asr.audio.vad import HOP_S, Detector

LONGEST_S = 30.0
ENOUGH_S = 1.0  # a chunk of this length ends at the next pause: models are trained on sentences
PAUSE_S = 0.4
END_S = 2.0  # a silence of this length ends a chunk of any length
EDGE_S = 0.2  # silence kept before and after speech; augment.pad_silence_s trains models for it
OVERLAP_S = 6.0
BREATH_S = 0.15  # a pause of this length can end a chunk that has reached `LONGEST_S`
SPEECH = 0.5  # the probability from which a hop counts as speech

_LONGEST, _ENOUGH, _PAUSE, _END, _EDGE, _OVERLAP, _BREATH = (
    round(seconds / HOP_S)
    for seconds in (LONGEST_S, ENOUGH_S, PAUSE_S, END_S, EDGE_S, OVERLAP_S, BREATH_S)
)


@dataclass(frozen=True)
class Chunk:
    """A part of a recording that contains speech."""

    samples: np.ndarray  # (N,) float32
    start_s: float  # from the start of the recording
    overlap_s: float = 0.0  # how far it overlaps the end of the previous chunk


def chunks(blocks: Iterable[np.ndarray], detector: Detector, rate_hz: int) -> Iterator[Chunk]:
    """The chunks of a recording that contain speech, in order.

    blocks: consecutive samples (N,) float32 at `rate_hz`; each block may have any length.
    """
    hop = detector.hop
    samples, speech = np.zeros(0, np.float32), np.zeros(0, bool)
    first = 0  # the hop of the recording that `samples` starts with
    overlap = 0  # hops at the start of `samples` that the previous chunk contained as well
    rest = np.zeros(0, np.float32)  # the end of the last block, shorter than a hop
    for block in chain(blocks, [None]):
        ended = block is None
        # The last hop is padded with zeros.
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
                break  # more audio must be read first
            overlap = end - following
            samples, speech, first = (
                samples[following * hop :],
                speech[following:],
                first + following,
            )


def _cut(speech: np.ndarray, overlap: int, ended: bool) -> tuple[int, int, int]:
    """The first hop of the next chunk, the hop after its last, and the hop from which to continue.

    The chunk is empty if there is only silence up to the hop from which to continue, or if more
    audio must be read first.
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
    """The first hop of the longest run without speech, and the length of the run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], speech, [True]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return 0, 0
    longest = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return int(longest[0]), int(longest[1] - longest[0])
