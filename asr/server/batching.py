"""Recordings of all requests -> transcripts, computed in common batches.

A recording is cut into the waveforms that `asr.recognition.waveforms` gives for it. While the model
computes one batch, the waveforms of other recordings become ready, and the next batch takes from
the recording that has had the least audio computed so far (start-time fair queueing, Goyal et al.
1996). A short recording therefore waits for the batch under way and not for a long recording.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore, Condition, Event, Lock, Thread
from time import perf_counter

import numpy as np

from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.blocks import BlockEmissions
from asr.recognition.recognizer import Recognizer
from asr.recognition.segments import DecodedSegment
from asr.recognition.transcribe import Stitcher
from asr.recognition.waveforms import Waveform, waveforms_of
from asr.server.threads import set_threads
from asr.transcript import Transcript

BATCH_S = 60.0  # seconds of audio in a batch: how long a short recording may have to wait
READ_S = 60.0  # audio of one recording that is read ahead
# A batch of N waveforms, padded to T seconds, takes a time of about OVERHEAD_S + T * (N + OVERHEAD)
# seconds of audio (measured with the presets tiny and small on a CPU).
OVERHEAD_S, OVERHEAD = 2.0, 0.85
READERS = 2  # threads
MAX_QUEUED = 128  # emissions that wait for a decoder

OnText = Callable[[str], None]
Observe = Callable[[str, float], None]  # the name of a stage and its duration in seconds


class BatchQueue:
    """Computes recordings of any number of models; its threads end with `close`.

    observe: told the seconds of each stage: "wait" until the first waveform of a recording is
    computed, "compute" for each batch, and "decode" for what is left after the last batch.
    """

    def __init__(self, observe: Observe = lambda stage, seconds: None, vad: str = "auto"):
        cores = os.cpu_count() or 1
        self._observe, self._vad = observe, vad
        self._jobs: list[_Job] = []  # in the order in which they came
        self._changed = Condition()
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, "asr-read")
        self._decoders = ThreadPoolExecutor(cores, "asr-decode")
        self._cores = cores
        self._parts = ThreadPoolExecutor(cores, "asr-part", set_threads, (1,))
        # Each task that the thread of the model submits may cost it the interpreter's lock, so it
        # submits one for each group, and waits for the one before.
        self._handing = ThreadPoolExecutor(1, "asr-hand-over")
        self._handed: Future[None] | None = None
        self._free = BoundedSemaphore(MAX_QUEUED)
        self._thread = Thread(target=self._run, args=(cores,), name="asr-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of recordings that are not finished."""
        return len(self._jobs)

    def submit(
        self, recognizer: Recognizer, utterance: Utterance, on_text: OnText = lambda text: None
    ) -> Future[Transcript]:
        """The transcript of a recording; its exception is a `UserError` if it cannot be read.

        on_text: called in a thread of the queue with the text of each part as soon as it and those
        before it are known. Cancelling the future drops what has not been computed yet.
        """
        decode = partial(self._decode, recognizer)
        with self._changed:
            served_s = min((job.served_s for job in self._jobs), default=0.0)
            job = _Job(recognizer, utterance, decode, served_s, self._vad, on_text)
            self._jobs.append(job)
        job.future.add_done_callback(lambda _: self._dropped(job))
        self._read(job)
        return job.future

    def close(self) -> None:
        """Stop when the batch under way is done; recordings that are unfinished are cancelled."""
        with self._changed:
            self._closed = True
            jobs = list(self._jobs)
            self._changed.notify()
        for job in jobs:
            job.future.cancel()
        self._thread.join()
        self._readers.shutdown()
        self._parts.shutdown()
        self._handing.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    # ---- reading ----

    def _read(self, job: _Job) -> None:
        """Read ahead in a reader thread, unless enough has been read."""
        with self._changed:
            if self._closed or not job.wants_audio():
                return
            job.reading = True
        self._readers.submit(self._read_now, job)

    def _read_now(self, job: _Job) -> None:
        try:
            found = job.read()
        except Exception as error:
            job.fail(error)
            return
        with self._changed:
            job.take(found)
            self._changed.notify()

    def _dropped(self, job: _Job) -> None:
        """A recording is finished, failed, or its client is gone."""
        job.stopped.set()
        with self._changed:
            self._jobs.remove(job)

    # ---- computing ----

    def _run(self, threads: int) -> None:
        set_threads(threads)
        while batch := self._next_batch():
            self._compute(batch)
            for job in dict.fromkeys(job for job, _ in batch):
                self._read(job)

    def _next_batch(self) -> Batch:
        """The waveforms to compute next, all for one model; none when the queue is closed."""
        with self._changed:
            while not self._closed:
                batch = self._fair_batch()
                if batch:
                    return batch
                self._changed.wait()
            return []

    def _fair_batch(self) -> Batch:
        batch: Batch = []
        left_s, model = BATCH_S, None
        while left_s > 0:
            ready = [job for job in self._jobs if job.ready and not job.adding]
            if model is not None:
                ready = [job for job in ready if job.recognizer.emitter is model]
            if not ready:
                break
            job = min(ready, key=lambda job: job.served_s)  # the first of equals
            if job.waited_s is None:
                job.waited_s = perf_counter() - job.submitted_s
                self._observe("wait", job.waited_s)
            waveform = job.ready.popleft()
            seconds = len(waveform.samples) / job.recognizer.rate_hz
            job.served_s += seconds
            job.ready_s -= seconds
            job.adding = waveform.block  # its state allows one block at a time
            left_s -= seconds
            model = job.recognizer.emitter
            batch.append((job, waveform))
        return batch

    def _compute(self, batch: Batch) -> None:
        """The emissions of a batch, group by group; each recording gets its own in order."""
        rows: dict[int, np.ndarray] = {}
        handed: set[int] = set()
        for group in _groups(batch):
            started_s = perf_counter()
            try:
                rows |= zip(group, self._emissions([batch[i] for i in group]), strict=True)
            except Exception as error:
                for i in group:
                    batch[i][0].fail(error)
                continue
            self._observe("compute", perf_counter() - started_s)
            behind: set[_Job] = set()  # recordings with an earlier waveform in a later group
            ready: list[_Computed] = []
            for i, (job, waveform) in enumerate(batch):
                if i in handed or job in behind:
                    continue
                if i not in rows:
                    behind.add(job)
                    continue
                handed.add(i)
                ready.append((job, waveform, rows.pop(i)))
            if self._handed is not None:
                self._handed.result()
            self._handed = self._handing.submit(self._hand_over, ready)

    def _emissions(self, group: Batch) -> list[np.ndarray]:
        """The (T, V) log-probabilities of each waveform of a group, with all cores.

        On a CPU, parts of a group in parallel, each with one thread, take less time than the whole
        with all threads, which wait for each other in each operation.
        """
        recognizer, count = group[0][0].recognizer, min(self._cores, len(group))
        device = getattr(recognizer.emitter, "device", None)
        if count < 2 or recognizer.quantized or str(device) != "cpu":
            return _emissions(group)
        rows: list[np.ndarray] = [np.empty(0)] * len(group)
        for i, part in enumerate(
            self._parts.map(_emissions, [group[i::count] for i in range(count)])
        ):
            rows[i::count] = part
        return rows

    def _hand_over(self, computed: list[_Computed]) -> None:
        """Give recordings their emissions; blocks if too many wait for a decoder."""
        for job, waveform, log_probs in computed:
            if waveform.block:
                self._decoders.submit(self._add, job, waveform, log_probs)  # decodes at once
            else:
                self._add(job, waveform, log_probs)

    def _add(self, job: _Job, waveform: Waveform, log_probs: np.ndarray) -> None:
        try:
            job.add(waveform, log_probs)
        except Exception as error:
            job.fail(error)
            return
        if waveform.last:
            # The queue of this pool is first in, first out: when this begins, no decoding of this
            # recording waits behind it.
            self._decoders.submit(self._finish, job)
        with self._changed:
            job.adding = False
            self._changed.notify()

    def _decode(
        self, recognizer: Recognizer, log_probs: np.ndarray
    ) -> Future[list[DecodedSegment]]:
        self._free.acquire()
        future = self._decoders.submit(recognizer.decode_segments, log_probs)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def _finish(self, job: _Job) -> None:
        started_s = perf_counter()
        try:
            job.succeed()
        except Exception as error:
            job.fail(error)
        self._observe("decode", perf_counter() - started_s)


class _Job:
    """One recording on its way through the queue."""

    def __init__(
        self,
        recognizer: Recognizer,
        utterance: Utterance,
        decode: Callable[[np.ndarray], Future[list[DecodedSegment]]],
        served_s: float,
        vad: str,
        on_text: OnText,
    ):
        self._on_text, self._texts = on_text, 0
        self._telling = Lock()
        self.recognizer, self.utterance = recognizer, utterance
        self.future: Future[Transcript] = Future()
        self.stopped = Event()
        self.served_s = served_s  # audio computed so far; of a new one, the least of the others
        self.submitted_s = perf_counter()
        self.waited_s: float | None = None
        self.ready: deque[Waveform] = deque()  # read, and not computed
        self.ready_s = 0.0
        self.reading = False
        self.adding = False  # a block is computed or decoded; the next one must wait
        self._read_all = False
        self._waveforms = waveforms_of(recognizer, [utterance], vad, self.stopped)
        self._stitcher = Stitcher(recognizer, decode)
        self._blocks = BlockEmissions(recognizer)

    def wants_audio(self) -> bool:
        return not (
            self.reading or self._read_all or self.stopped.is_set() or self.ready_s >= READ_S / 2
        )

    def read(self) -> list[Waveform]:
        """The next waveforms, up to about `READ_S`."""
        found, seconds = [], 0.0
        for waveform in self._waveforms:
            if waveform.error is not None:
                raise UserError(waveform.error)
            found.append(waveform)
            seconds += len(waveform.samples) / self.recognizer.rate_hz
            if waveform.last or seconds >= READ_S:
                break
        return found

    def take(self, found: list[Waveform]) -> None:
        """Make what has been read ready to be computed."""
        self.ready += found
        self.ready_s += sum(len(one.samples) for one in found) / self.recognizer.rate_hz
        self.reading = False
        self._read_all = not found or found[-1].last

    def emissions(self, waveform: Waveform) -> np.ndarray:
        """(T, V) of the next block of a recording for a causal model."""
        return self._blocks.of(waveform.samples, waveform.start_s == 0, waveform.last)

    def add(self, waveform: Waveform, log_probs: np.ndarray) -> None:
        """Take the emissions (T, V) of the next waveform; their decoding begins."""
        self._stitcher.add(waveform, log_probs)
        if waveform.last:
            self._stitcher.close()
        self._tell()

    def _tell(self) -> None:
        """Hand out the texts that have become known."""
        with self._telling:
            texts = self._stitcher.texts(self._texts)
            self._texts += len(texts)
            for text in filter(None, texts):
                self._on_text(text)

    def succeed(self) -> None:
        transcript = self._stitcher.transcript(self.utterance)  # waits for the decoders
        self._tell()
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(transcript)

    def fail(self, error: Exception) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


Batch = list[tuple[_Job, Waveform]]
_Computed = tuple[_Job, Waveform, np.ndarray]  # with emissions (T, V)


def _groups(batch: Batch) -> Iterator[list[int]]:
    """The indices of a batch in groups that are computed at once, the shortest waveforms first.

    A waveform joins the group of the one before unless the padding takes more time than a group of
    its own. A block of a recording for a causal model is a group.
    """
    seconds = [len(waveform.samples) / job.recognizer.rate_hz for job, waveform in batch]
    group: list[int] = []
    for i in sorted(range(len(batch)), key=lambda i: seconds[i]):
        if group and not _fits(group, i, batch, seconds):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _fits(group: list[int], i: int, batch: Batch, seconds: list[float]) -> bool:
    """Whether waveform `i`, which is at least as long as those of the group, can join them."""
    longest_s = seconds[group[-1]]
    if batch[i][1].block or batch[group[-1]][1].block or longest_s == 0 < seconds[i]:
        return False
    padding_s = len(group) * (seconds[i] - longest_s)
    return padding_s <= OVERHEAD_S + OVERHEAD * longest_s


def _emissions(group: Batch) -> list[np.ndarray]:
    """The (T, V) log-probabilities of each waveform of a group."""
    job, waveform = group[0]
    if waveform.block:
        return [job.emissions(waveform)]
    if not len(group[-1][1].samples):  # the shortest come first, so all are empty
        return [np.zeros((0, len(job.recognizer.tokenizer.pieces)), np.float32) for _ in group]
    return job.recognizer.emissions([waveform.samples for _, waveform in group]).rows()
