"""Many files, of any length -> transcripts: batches of similar length, in the order asked for.

Utterances up to `LONG_S` are heard whole. Longer ones are cut at pauses (`asr.audio.chunking`), so
memory grows neither with their length nor with their number. While the model hears one window of
stretches, the next is read, and the one before decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Event
from typing import Protocol

import numpy as np

from asr import audio
from asr.audio.chunking import chunks
from asr.audio.vad import detector
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.stitching import seam
from asr.text.tokenizer import Tokenizer
from asr.transcript import Hypothesis, Segment, Transcript

BATCH_S = 120.0  # seconds of audio a batch, padding counted
WINDOW, WINDOW_S = 64, 120.0  # what is sorted by length among itself: what memory holds at a time
WAITING = 2 * WINDOW  # emissions that a slow decoder may leave waiting
LONG_S = 60.0
BLOCK_S = 10.0  # of a long recording that is read at a time


class Emissions(Protocol):
    def rows(self) -> list[np.ndarray]: ...


class RecognizerLike(Protocol):
    """What this file needs of an `asr.recognition.recognizer.Recognizer`."""

    rate_hz: int
    frame_s: float
    tokenizer: Tokenizer

    def emissions(self, waveforms: Sequence[np.ndarray]) -> Emissions: ...

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]: ...


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and why."""

    utterance: Utterance
    reason: str


Result = tuple[Utterance, Transcript | Failure]


@dataclass
class _Piece:
    """What the model hears at a time: an utterance, or a stretch of one."""

    utterance: Utterance
    samples: np.ndarray
    start_s: float = 0.0  # in the utterance
    overlap_s: float = 0.0  # with the piece before
    covers_s: float = 0.0  # of the utterance, since the end of the piece before
    last: bool = True
    failed: str | None = None


def transcribe_many(
    recognizer: RecognizerLike,
    utterances: Iterable[Utterance],
    batch_s: float = BATCH_S,
    vad: str = "auto",
    heard: Callable[[float], None] = lambda seconds: None,
) -> Iterator[Result]:
    """Transcribe utterances; one that cannot be read gives a `Failure` and stops no other.

    vad: the detector of `audio.vad` that finds the pauses of long recordings; heard: called with
    seconds of audio, a batch at a time, as the model has heard them. Results come in the order of
    the utterances, a window after the model has heard them. Memory does not grow with their number.
    """
    with _decoders(recognizer) as decode:
        open_: _Open | None = None
        finished: list[tuple[Utterance, float, _Open | Failure]] = []
        for window in _heard(recognizer, utterances, vad, batch_s, heard):
            ready, finished = finished, []
            for piece, log_probs in window:
                if piece.failed is not None:
                    finished.append((piece.utterance, 0.0, Failure(piece.utterance, piece.failed)))
                    open_ = None
                    continue
                open_ = open_ or _Open(recognizer, decode)
                open_.add(piece, log_probs)
                if piece.last:
                    open_.close()
                    finished.append((piece.utterance, round(open_.duration_s, 6), open_))
                    open_ = None
            yield from _results(ready)
        yield from _results(finished)


def emissions_of_many(
    recognizer: RecognizerLike, utterances: Iterable[Utterance], batch_s: float = BATCH_S
) -> Iterator[tuple[Utterance, np.ndarray | Failure]]:
    """(T, V) log-probabilities of each utterance, heard whole whatever its length, in order."""
    for window in _heard(recognizer, utterances, None, batch_s):
        for piece, log_probs in window:
            failed = piece.failed is not None
            yield piece.utterance, Failure(piece.utterance, piece.failed) if failed else log_probs


def transcript_of(
    name: str, duration_s: float, start_s: float, heard: list[tuple[float, list[Hypothesis]]]
) -> Transcript:
    """The hypotheses of the stretches of an utterance, each with the second at which it begins.

    start_s: of the utterance in its file, whose times the words get. Other readings are kept where
    the utterance was decoded in one piece.
    """
    end_s = start_s + duration_s
    segments = []
    for i, (at_s, hypotheses) in enumerate(heard):
        following_s = heard[i + 1][0] if i + 1 < len(heard) else duration_s
        begin_s, limit_s = start_s + at_s, min(end_s, start_s + following_s)
        # The last frame may reach past the last sample by part of a hop.
        words = tuple(
            replace(
                word,
                start_s=min(begin_s + word.start_s, limit_s),
                end_s=min(begin_s + word.end_s, limit_s),
            )
            for word in hypotheses[0].words
        )
        if words:
            whole = len(heard) == 1 and at_s == 0
            ends = end_s if whole else words[-1].end_s
            segments.append(Segment(begin_s if whole else words[0].start_s, ends, words))
    others = tuple(other.text for other in heard[0][1][1:]) if len(heard) == 1 else ()
    return Transcript(name, duration_s, tuple(segments), others)


@dataclass
class _Open:
    """An utterance of which the model has not heard everything yet."""

    recognizer: RecognizerLike
    decode: Callable[[np.ndarray], Future]
    decoded: list[tuple[float, Future]] = field(default_factory=list)  # second, hypotheses
    duration_s: float = 0.0  # so far
    held: tuple[_Piece, np.ndarray, int] | None = None  # with the frame that it is used from

    def add(self, piece: _Piece, log_probs: np.ndarray) -> None:
        first, self.duration_s = 0, self.duration_s + piece.covers_s
        if self.held is not None and piece.overlap_s:
            before, left, used = self.held
            frame_s = self.recognizer.frame_s
            offset = (piece.start_s - before.start_s) / frame_s
            end, first = seam(left, log_probs, offset, self.recognizer.tokenizer.pieces)
            self.held = before, left[: max(end, used)], used
        self._decode()
        self.held = piece, log_probs, first

    def close(self) -> None:
        self._decode()
        self.held = None

    def _decode(self) -> None:
        if self.held is not None:
            piece, log_probs, first = self.held
            if len(log_probs):
                future = self.decode(log_probs[first:])
                self.decoded.append((piece.start_s + first * self.recognizer.frame_s, future))


def _results(finished: list[tuple[Utterance, float, _Open | Failure]]) -> Iterator[Result]:
    for utterance, duration_s, found in finished:
        if not isinstance(found, Failure):
            heard = [(at_s, future.result()) for at_s, future in found.decoded]
            found = transcript_of(utterance.audio, duration_s, utterance.start_s, heard)
        yield utterance, found


@contextmanager
def _decoders(recognizer: RecognizerLike) -> Iterator[Callable[[np.ndarray], Future]]:
    """Decoding on all cores (the beam's loops release the GIL), of `WAITING` emissions at most:
    who has more to decode waits. What has not begun when this ends is left."""
    pool, free = ThreadPoolExecutor(os.cpu_count()), BoundedSemaphore(WAITING)

    def decode(log_probs: np.ndarray) -> Future:
        free.acquire()
        future = pool.submit(recognizer.decode, log_probs)
        future.add_done_callback(lambda _: free.release())
        return future

    try:
        yield decode
    finally:
        pool.shutdown(cancel_futures=True)


def _heard(
    recognizer: RecognizerLike,
    utterances: Iterable[Utterance],
    vad: str | None,
    batch_s: float,
    heard: Callable[[float], None] = lambda seconds: None,
) -> Iterator[list[tuple[_Piece, np.ndarray]]]:
    """Windows of pieces with the emissions (T, V) of each; without samples, of no frames."""
    stopped = Event()
    pieces = _pieces(recognizer, utterances, vad, stopped)
    nothing = np.zeros((0, len(recognizer.tokenizer.pieces)), np.float32)
    rate_hz = recognizer.rate_hz
    with ThreadPoolExecutor(1) as ahead:
        try:
            coming = ahead.submit(_window, pieces, WINDOW_S * rate_hz)
            while window := coming.result():
                # read while this window is heard
                coming = ahead.submit(_window, pieces, WINDOW_S * rate_hz)
                rows = [nothing] * len(window)
                for batch in _batches([p.samples for p in window], batch_s * rate_hz):
                    emissions = recognizer.emissions([window[i].samples for i in batch])
                    for i, row in zip(batch, emissions.rows(), strict=True):
                        rows[i] = row
                    heard(sum(window[i].covers_s for i in batch))
                heard(sum(piece.covers_s for piece in window if not len(piece.samples)))
                yield list(zip(window, rows, strict=True))
        finally:
            stopped.set()  # who presses Ctrl-C does not wait for the rest of a window


def _window(pieces: Iterator[_Piece], window_samples: float) -> list[_Piece]:
    window: list[_Piece] = []
    samples = 0
    for piece in pieces:
        window.append(piece)
        samples += len(piece.samples)
        if len(window) == WINDOW or samples >= window_samples:
            break
    return window


def _pieces(
    recognizer: RecognizerLike, utterances: Iterable[Utterance], vad: str | None, stopped: Event
) -> Iterator[_Piece]:
    """What the model is to hear until it is `stopped`; utterances are cut unless `vad` is None."""
    for utterance in utterances:
        if stopped.is_set():
            return
        try:
            if vad is not None and seconds_of(utterance) > LONG_S:
                yield from _cut(recognizer, utterance, vad, stopped)
                continue
            samples = audio.read(
                utterance.audio, recognizer.rate_hz, utterance.start_s, utterance.duration_s
            )
            yield _Piece(utterance, samples, covers_s=len(samples) / recognizer.rate_hz)
        except UserError as error:
            yield _Piece(utterance, np.zeros(0, np.float32), failed=str(error))


def seconds_of(utterance: Utterance) -> float:
    """As its manifest says, or the file's header; raises `UserError` where it has none."""
    if utterance.duration_s is not None:
        return utterance.duration_s
    return audio.info(utterance.audio).duration_s - utterance.start_s


def _cut(
    recognizer: RecognizerLike, utterance: Utterance, vad: str, stopped: Event
) -> Iterator[_Piece]:
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for block in audio.blocks(
            utterance.audio, recognizer.rate_hz, BLOCK_S, utterance.start_s, utterance.duration_s
        ):
            if stopped.is_set():
                return
            read += len(block)
            yield block

    covered_s = 0.0
    for chunk in chunks(blocks(), detector(vad, recognizer.rate_hz), recognizer.rate_hz):
        end_s = chunk.start_s + len(chunk.samples) / recognizer.rate_hz
        end_s = min(end_s, read / recognizer.rate_hz)  # zeros fill up the last hop
        yield _Piece(
            utterance,
            chunk.samples,
            chunk.start_s,
            chunk.overlap_s,
            end_s - covered_s,
            last=False,
        )
        covered_s = end_s
    if not read:
        raise UserError(
            f"{utterance.audio}: no samples between {utterance.start_s:g} s and the end of the file"
        )
    read_s = read / recognizer.rate_hz
    yield _Piece(utterance, np.zeros(0, np.float32), read_s, covers_s=read_s - covered_s)


def _batches(samples: list[np.ndarray], batch_samples: float) -> Iterator[list[int]]:
    """Indices of what has samples by length, cut where the padded batch would pass the limit."""
    batch: list[int] = []
    for i in sorted(np.flatnonzero([len(s) for s in samples]), key=lambda i: len(samples[i])):
        if batch and len(samples[i]) * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
