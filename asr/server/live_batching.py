"""Live connections to streaming models, whose packets are computed together.

While one batch is computed, packets of other connections arrive; they are the next batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np

from asr.recognition.recognizer import Recognizer
from asr.recognition.stream import Partial, RecognizerStream
from asr.server.batching import Observe
from asr.server.threads import set_threads

MAX_STREAMS = 32  # of a batch: the first wait for the last


@dataclass
class _Packet:
    """Samples of one connection on their way."""

    recognizer: Recognizer
    stream: RecognizerStream
    samples: Any
    came_s: float = field(default_factory=perf_counter)
    future: Future[Partial] = field(default_factory=Future)


class LiveBatches:
    """Computes the packets of all live connections; its thread ends with `close`.

    observe: told the seconds of "live_wait" and "live_compute" of each packet.
    """

    def __init__(self, pool: ThreadPoolExecutor, observe: Observe):
        self._pool, self._observe = pool, observe
        self._packets: list[_Packet] = []
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="asr-live-model", daemon=True)
        self._thread.start()

    def feed(
        self, recognizer: Recognizer, stream: RecognizerStream, samples: Any
    ) -> Future[Partial]:
        """`stream.feed(samples)`; a stream has one packet under way at most."""
        packet = _Packet(recognizer, stream, samples)
        with self._changed:
            self._packets.append(packet)
            self._changed.notify()
        return packet.future

    def close(self) -> None:
        """Stop after the batch under way; the packets that wait are cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for packet in self._packets:
            packet.future.cancel()

    def _run(self) -> None:
        set_threads(1)
        while batch := self._next_batch():
            heard, pieces = [], []
            for packet in batch:
                try:
                    pieces.append(packet.stream.resample(packet.samples))
                    heard.append(packet)
                except Exception as error:
                    _fail(packet, error)
            if heard:
                self._compute(heard, pieces)

    def _next_batch(self) -> list[_Packet]:
        """The packets that wait for the model of the first of them."""
        with self._changed:
            while not self._packets and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            model = self._packets[0].recognizer.emitter
            same = [one for one in self._packets if one.recognizer.emitter is model][:MAX_STREAMS]
            self._packets = [one for one in self._packets if one not in same]
            return same

    def _compute(self, batch: Sequence[_Packet], pieces: Sequence[np.ndarray]) -> None:
        started_s = perf_counter()
        emitter: Any = batch[0].recognizer.emitter
        try:
            streams = [packet.stream.emissions for packet in batch]
            if hasattr(emitter, "feed_together"):
                rows = emitter.feed_together(streams, pieces)
            else:
                feeds = zip(streams, pieces, strict=True)
                rows = list(self._pool.map(lambda feed: feed[0].feed(feed[1]), feeds))
        except Exception as error:
            for packet in batch:
                _fail(packet, error)
            return
        self._observe("live_compute", perf_counter() - started_s)
        for packet, log_probs in zip(batch, rows, strict=True):
            self._observe("live_wait", started_s - packet.came_s)
            self._pool.submit(_decode, packet, log_probs)


def _decode(packet: _Packet, log_probs: np.ndarray) -> None:
    try:
        partial = packet.stream.decode(log_probs)
    except Exception as error:
        _fail(packet, error)
        return
    if packet.future.set_running_or_notify_cancel():
        packet.future.set_result(partial)


def _fail(packet: _Packet, error: Exception) -> None:
    if packet.future.set_running_or_notify_cancel():
        packet.future.set_exception(error)
