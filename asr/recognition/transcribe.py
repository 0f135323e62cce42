"""Many recordings of any length -> transcripts, in order, in batches of similar length.

Utterances of up to `LONG_S` seconds go to the model as a whole. Longer ones are cut at pauses
(`asr.audio.chunking`), or go through a causal model in blocks (`asr.recognition.blocks`), so memory
grows neither with their length nor with their number. Three stages run at the same time: while the
model computes the emissions of one window of waveforms, the next window is read and the emissions
of the previous window are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Event

import numpy as np

from asr import audio
from asr.audio.chunking import chunks
from asr.audio.vad import detector
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.blocks import BlockEmissions, BlockText
from asr.recognition.protocol import RecognizerProtocol
from asr.recognition.segments import DecodedSegment, timed
from asr.recognition.stitching import find_cut
from asr.transcript import Hypothesis, Segment, Transcript

BATCH_S = 120.0  # seconds of audio in a batch, padding included
# A window is read as a whole and split into batches of similar length. It is complete when it has
# WINDOW waveforms or WINDOW_S seconds of audio. At most three windows are in memory.
WINDOW, WINDOW_S = 64, 120.0
MAX_QUEUED = 2 * WINDOW  # emissions that wait for a decoder
LONG_S = 60.0  # longer recordings are cut into chunks
BLOCK_S = 10.0  # the part of a long recording that is read at once

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and the reason."""

    utterance: Utterance
    reason: str


Result = tuple[Utterance, Transcript | Failure]


@dataclass
class _Waveform:
    """One input of the model: a whole utterance, or a chunk of a long one."""

    utterance: Utterance
    samples: np.ndarray  # (N,) float32
    start_s: float = 0.0  # from the start of the utterance
    overlap_s: float = 0.0  # how far it overlaps the previous chunk
    advance_s: float = 0.0  # from the end of the previous chunk to the end of this one
    last: bool = True  # whether it is the last chunk of its utterance
    block: bool = False  # whether it is a block of a recording for a causal model
    error: str | None = None  # why the utterance could not be read


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
        current: _Stitcher | None = None
        finished: list[tuple[Utterance, _Stitcher | Failure]] = []
        for window in _windows(recognizer, utterances, vad, batch_s, on_progress):
            ready, finished = finished, []
            for waveform, log_probs in window:
                utterance = waveform.utterance
                if waveform.error is not None:
                    finished.append((utterance, Failure(utterance, waveform.error)))
                    current = None
                    continue
                current = current or _Stitcher(recognizer, decode)
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
        if words:
            whole = len(decoded) == 1 and chunk_s == 0
            segment_end_s = end_s if whole else words[-1].end_s
            segments.append(Segment(begin_s if whole else words[0].start_s, segment_end_s, words))
    others = tuple(other.text for other in decoded[0][1][1:]) if len(decoded) == 1 else ()
    return Transcript(name, duration_s, tuple(segments), others)


@dataclass
class _Stitcher:
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
    pending: tuple[_Waveform, np.ndarray, int] | None = None

    def add(self, waveform: _Waveform, log_probs: np.ndarray) -> None:
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

    def parts(self) -> list[tuple[float, list[Hypothesis]]]:
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


def _results(finished: list[tuple[Utterance, _Stitcher | Failure]]) -> Iterator[Result]:
    for utterance, found in finished:
        if isinstance(found, Failure):
            yield utterance, found
            continue
        name, duration_s = str(utterance.audio), round(found.duration_s, 6)
        yield utterance, transcript_of(name, duration_s, utterance.start_s, found.parts())


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
) -> Iterator[list[tuple[_Waveform, np.ndarray]]]:
    """Windows of waveforms with the emissions (T, V) of each; T is 0 where there are no samples."""
    stopped = Event()
    waveforms = _waveforms(recognizer, utterances, vad, stopped)
    window_samples, blocks = WINDOW_S * recognizer.rate_hz, BlockEmissions(recognizer)
    with ThreadPoolExecutor(1) as reader:
        try:
            upcoming = reader.submit(_take_window, waveforms, window_samples)
            while window := upcoming.result():
                upcoming = reader.submit(_take_window, waveforms, window_samples)
                rows = _window_emissions(recognizer, window, batch_s, on_progress, blocks)
                yield list(zip(window, rows, strict=True))
        finally:
            stopped.set()  # so that Ctrl-C does not wait until the next window has been read


def _window_emissions(
    recognizer: RecognizerProtocol,
    window: list[_Waveform],
    batch_s: float,
    on_progress: OnProgress,
    blocks: BlockEmissions,
) -> list[np.ndarray]:
    """The (T, V) log-probabilities of each waveform, computed in batches of similar length.

    Blocks of a recording are computed one after another, with the state of the model in `blocks`.
    """
    empty = np.zeros(0, np.float32)
    rows = [np.zeros((0, len(recognizer.tokenizer.pieces)), np.float32)] * len(window)
    for i, waveform in enumerate(window):
        if waveform.block:
            rows[i] = blocks.of(waveform.samples, waveform.start_s == 0, waveform.last)
            on_progress(waveform.advance_s)
    whole = [empty if w.block else w.samples for w in window]
    for batch in _batches(whole, batch_s * recognizer.rate_hz):
        emissions = recognizer.emissions([window[i].samples for i in batch])
        for i, row in zip(batch, emissions.rows(), strict=True):
            rows[i] = row
        on_progress(sum(window[i].advance_s for i in batch))
    on_progress(sum(w.advance_s for w in window if not len(w.samples)))
    return rows


def _take_window(waveforms: Iterator[_Waveform], window_samples: float) -> list[_Waveform]:
    window: list[_Waveform] = []
    samples = 0
    for waveform in waveforms:
        window.append(waveform)
        samples += len(waveform.samples)
        if len(window) == WINDOW or samples >= window_samples:
            break
    return window


def _waveforms(
    recognizer: RecognizerProtocol,
    utterances: Iterable[Utterance],
    vad: str | None,
    stopped: Event,
) -> Iterator[_Waveform]:
    """The inputs of the model, until `stopped`. Long utterances are cut unless `vad` is None."""
    for utterance in utterances:
        if stopped.is_set():
            return
        try:
            if vad is not None and seconds_of(utterance) > LONG_S:
                if recognizer.streams:
                    yield from _in_blocks(recognizer, utterance, stopped)
                else:
                    yield from _cut(recognizer, utterance, vad, stopped)
                continue
            samples = audio.read(
                utterance.audio, recognizer.rate_hz, utterance.start_s, utterance.duration_s
            )
            yield _Waveform(utterance, samples, advance_s=len(samples) / recognizer.rate_hz)
        except UserError as error:
            yield _Waveform(utterance, np.zeros(0, np.float32), error=str(error))


def seconds_of(utterance: Utterance) -> float:
    """The duration of an utterance, measured if the manifest does not state it.

    Raises `UserError` if the recording cannot be read.
    """
    if utterance.duration_s is not None:
        return utterance.duration_s
    return audio.info(utterance.audio).duration_s - utterance.start_s


def _cut(
    recognizer: RecognizerProtocol, utterance: Utterance, vad: str, stopped: Event
) -> Iterator[_Waveform]:
    """The chunks of a long utterance, then an empty waveform that covers the silence at the end."""
    rate_hz, read = recognizer.rate_hz, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for block in _read_blocks(recognizer, utterance, stopped):
            read += len(block)
            yield block

    covered_s = 0.0
    for chunk in chunks(blocks(), detector(vad, rate_hz), rate_hz):
        end_s = chunk.start_s + len(chunk.samples) / rate_hz
        end_s = min(end_s, read / rate_hz)  # the last hop is padded with zeros
        yield _Waveform(
            utterance, chunk.samples, chunk.start_s, chunk.overlap_s, end_s - covered_s, last=False
        )
        covered_s = end_s
    read_s = read / rate_hz
    yield _Waveform(utterance, np.zeros(0, np.float32), read_s, advance_s=read_s - covered_s)


def _in_blocks(
    recognizer: RecognizerProtocol, utterance: Utterance, stopped: Event
) -> Iterator[_Waveform]:
    """The blocks of a long utterance for a causal model, then an empty one that ends it."""
    read = 0
    for samples in _read_blocks(recognizer, utterance, stopped):
        block_s = len(samples) / recognizer.rate_hz
        start_s = read / recognizer.rate_hz
        yield _Waveform(utterance, samples, start_s, advance_s=block_s, last=False, block=True)
        read += len(samples)
    yield _Waveform(utterance, np.zeros(0, np.float32), read / recognizer.rate_hz, block=True)


def _read_blocks(
    recognizer: RecognizerProtocol, utterance: Utterance, stopped: Event
) -> Iterator[np.ndarray]:
    """Samples of a long utterance, until `stopped`; raises `UserError` if there are none."""
    read = False
    for block in audio.blocks(
        utterance.audio, recognizer.rate_hz, BLOCK_S, utterance.start_s, utterance.duration_s
    ):
        if stopped.is_set():
            return
        read = True
        yield block
    if not read:
        raise UserError(
            f"{utterance.audio}: no samples between {utterance.start_s:g} s and the end of the file"
        )


def _batches(samples: list[np.ndarray], batch_samples: float) -> Iterator[list[int]]:
    """Batches of indices in order of length; a batch, padded, has at most `batch_samples`.

    Empty waveforms are left out. A waveform above the limit is a batch of its own.
    """
    batch: list[int] = []
    indices = [i for i, one in enumerate(samples) if len(one)]
    for i in sorted(indices, key=lambda i: len(samples[i])):
        if batch and len(samples[i]) * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
