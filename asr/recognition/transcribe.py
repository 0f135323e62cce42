"""Many recordings of any length -> transcripts, in order, in batches of similar length.

Utterances of up to `LONG_S` seconds go to the model as a whole. Longer ones are cut at pauses
(`asr.audio.chunking`), or go through a causal model in blocks (`asr.recognition.blocks`), so memory
grows neither with their length nor with their number. Three stages run at the same time: while the
model computes the emissions of one window of waveforms, the next window is read and the emissions
of the previous window are decoded.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Event

import numpy as np

from asr.data.manifest import Utterance
from asr.recognition.blocks import BlockEmissions, BlockText
from asr.recognition.protocol import RecognizerProtocol
from asr.recognition.segments import DecodedSegment, timed
from asr.recognition.stitching import find_cut
from asr.recognition.waveforms import (
    OnProgress,
    Waveform,
    emissions_of,
    waveforms_of,
)
from asr.transcript import Hypothesis, Segment, Transcript

BATCH_S = 120.0  # seconds of audio in a batch, padding included
# A window is read as a whole and split into batches of similar length. It is complete when it has
# WINDOW waveforms or WINDOW_S seconds of audio. At most three windows are in memory.
WINDOW, WINDOW_S = 64, 120.0
MAX_QUEUED = 2 * WINDOW  # emissions that wait for a decoder


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and the reason."""

    utterance: Utterance
    reason: str


Result = tuple[Utterance, Transcript | Failure]


def transcribe_many(
    recognizer: RecognizerProtocol,
    utterances: Iterable[Utterance],
    batch_s: float = BATCH_S,
    vad: str = "auto",
    on_progress: OnProgress = lambda seconds: None,
) -> Iterator[Result]:
    """Transcribe utterances; one that cannot be read yields a `Failure`, and the rest go on.

    batch_s: seconds of audio in a batch, padding included; vad: the detector of `asr.audio.vad`
    that finds the pauses of long recordings; on_progress: called after each batch with the seconds
    of audio in it. Results come in the order of the utterances, one window after the model has
    processed them. Memory does not grow with the number of utterances.
    """
    with _decoders(recognizer) as decode:
        current: Stitcher | None = None
        finished: list[tuple[Utterance, Stitcher | Failure]] = []
        for window in _windows(recognizer, utterances, vad, batch_s, on_progress):
            ready, finished = finished, []
            for waveform, log_probs in window:
                utterance = waveform.utterance
                if waveform.error is not None:
                    finished.append((utterance, Failure(utterance, waveform.error)))
                    current = None
                    continue
                current = current or Stitcher(recognizer, decode)
                current.add(waveform, log_probs)
                if waveform.last:
                    current.close()
                    finished.append((utterance, current))
                    current = None
            yield from _results(ready)
        yield from _results(finished)


def emissions_of_many(
    recognizer: RecognizerProtocol, utterances: Iterable[Utterance], batch_s: float = BATCH_S
) -> Iterator[tuple[Utterance, np.ndarray | Failure]]:
    """The (T, V) log-probabilities of each utterance, in order; none is cut into chunks."""
    for window in _windows(recognizer, utterances, None, batch_s):
        for waveform, log_probs in window:
            failed = waveform.error is not None
            yield (
                waveform.utterance,
                Failure(waveform.utterance, str(waveform.error)) if failed else log_probs,
            )


def transcript_of(
    name: str, duration_s: float, start_s: float, decoded: list[tuple[float, list[Hypothesis]]]
) -> Transcript:
    """The transcript of an utterance from the hypotheses of its chunks.

    start_s: the start of the utterance in its recording, added to all times; decoded: the start of
    each chunk in the utterance, in seconds, and its hypotheses. The alternatives of an utterance
    are kept if it has a single chunk.
    """
    end_s = start_s + duration_s
    segments = []
    for i, (chunk_s, hypotheses) in enumerate(decoded):
        next_s = decoded[i + 1][0] if i + 1 < len(decoded) else duration_s
        begin_s, limit_s = start_s + chunk_s, min(end_s, start_s + next_s)
        # The last frame may extend past the last sample by part of a hop.
        words = tuple(
            replace(
                word,
                start_s=min(begin_s + word.start_s, limit_s),
                end_s=min(begin_s + word.end_s, limit_s),
            )
            for word in hypotheses[0].words
        )
        command = hypotheses[0].command
        if words or command is not None:
            whole = (len(decoded) == 1 and chunk_s == 0) or not words
            segment_end_s = limit_s if whole else words[-1].end_s
            segment_start_s = begin_s if whole else words[0].start_s
            segments.append(Segment(segment_start_s, segment_end_s, words, command))
    others = tuple(other.text for other in decoded[0][1][1:]) if len(decoded) == 1 else ()
    return Transcript(name, duration_s, tuple(segments), others)


@dataclass
class Stitcher:
    """Joins the emissions of the chunks of one utterance and submits them for decoding.

    A chunk is decoded only when the next one has been added, because an overlap shortens it.
    """

    recognizer: RecognizerProtocol
    decode: Callable[[np.ndarray], Future[list[DecodedSegment]]]
    # The start of each part in seconds, and the utterances in it
    decoded: list[tuple[float, Future[list[DecodedSegment]]]] = field(default_factory=list)
    blocks: BlockText | None = None  # of a recording that goes through a causal model in blocks
    duration_s: float = 0.0  # of all chunks so far
    # The latest chunk, its emissions, and the frame from which they are used
    pending: tuple[Waveform, np.ndarray, int] | None = None

    def add(self, waveform: Waveform, log_probs: np.ndarray) -> None:
        first, self.duration_s = 0, self.duration_s + waveform.advance_s
        if waveform.block:
            self.blocks = self.blocks or BlockText(self.recognizer)
            self.blocks.add(log_probs, waveform.last)
            return
        if self.pending is not None and waveform.overlap_s:
            before, left, used = self.pending
            offset = (waveform.start_s - before.start_s) / self.recognizer.frame_s
            pieces = self.recognizer.tokenizer.pieces
            end, first = find_cut(left, log_probs, offset, pieces)
            self.pending = before, left[: max(end, used)], used
        self._decode_pending()
        self.pending = waveform, log_probs, first

    def close(self) -> None:
        self._decode_pending()
        self.pending = None

    def texts(self, first: int) -> list[str]:
        """The texts of the utterances from number `first` on that are decoded, up to the first that
        is not; those without words are empty."""
        if self.blocks is not None:
            return [_text(segment) for segment in self.blocks.segments[first:]]
        done = itertools.takewhile(lambda part: part[1].done(), self.decoded)
        found = [_text(segment) for _, future in done for segment in future.result()]
        return found[first:]

    def transcript(self, utterance: Utterance) -> Transcript:
        """The transcript of all chunks, once they are decoded; only after `close`."""
        name, duration_s = str(utterance.audio), round(self.duration_s, 6)
        return transcript_of(name, duration_s, utterance.start_s, self._parts())

    def _parts(self) -> list[tuple[float, list[Hypothesis]]]:
        """The start of each part in seconds, and its hypotheses."""
        if self.blocks is not None:
            return self.blocks.parts()
        return [
            (start_s + offset_s, hypotheses)
            for start_s, future in self.decoded
            for offset_s, hypotheses in timed(future.result(), self.recognizer.frame_s)
        ]

    def _decode_pending(self) -> None:
        if self.pending is not None:
            waveform, log_probs, first = self.pending
            if len(log_probs):
                future = self.decode(log_probs[first:])
                self.decoded.append((waveform.start_s + first * self.recognizer.frame_s, future))


def _text(segment: DecodedSegment) -> str:
    return " ".join(word.text for word in segment.hypotheses[0].words)


def _results(finished: list[tuple[Utterance, Stitcher | Failure]]) -> Iterator[Result]:
    for utterance, found in finished:
        if isinstance(found, Failure):
            yield utterance, found
            continue
        yield utterance, found.transcript(utterance)


@contextmanager
def _decoders(
    recognizer: RecognizerProtocol,
) -> Iterator[Callable[[np.ndarray], Future[list[DecodedSegment]]]]:
    """A function that decodes emissions on all cores (the loops of the beam release the GIL).

    It blocks while `MAX_QUEUED` emissions are queued. Tasks that have not started when the block
    ends are cancelled.
    """
    pool, free = ThreadPoolExecutor(os.cpu_count()), BoundedSemaphore(MAX_QUEUED)

    def decode(log_probs: np.ndarray) -> Future[list[DecodedSegment]]:
        free.acquire()
        future = pool.submit(recognizer.decode_segments, log_probs)
        future.add_done_callback(lambda _: free.release())
        return future

    try:
        yield decode
    finally:
        pool.shutdown(cancel_futures=True)


def _windows(
    recognizer: RecognizerProtocol,
    utterances: Iterable[Utterance],
    vad: str | None,
    batch_s: float,
    on_progress: OnProgress = lambda seconds: None,
) -> Iterator[list[tuple[Waveform, np.ndarray]]]:
    """Windows of waveforms with the emissions (T, V) of each; T is 0 where there are no samples."""
    stopped = Event()
    waveforms = waveforms_of(recognizer, utterances, vad, stopped)
    window_samples, blocks = WINDOW_S * recognizer.rate_hz, BlockEmissions(recognizer)
    with ThreadPoolExecutor(1) as reader:
        try:
            upcoming = reader.submit(_take_window, waveforms, window_samples)
            while window := upcoming.result():
                upcoming = reader.submit(_take_window, waveforms, window_samples)
                rows = emissions_of(recognizer, window, batch_s, on_progress, blocks)
                yield list(zip(window, rows, strict=True))
        finally:
            stopped.set()  # so that Ctrl-C does not wait until the next window has been read


def _take_window(waveforms: Iterator[Waveform], window_samples: float) -> list[Waveform]:
    window: list[Waveform] = []
    samples = 0
    for waveform in waveforms:
        window.append(waveform)
        samples += len(waveform.samples)
        if len(window) == WINDOW or samples >= window_samples:
            break
    return window
