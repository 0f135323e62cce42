"""Live connections: audio comes in pieces, and text goes out while somebody speaks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from asr.audio import LiveResampler
from asr.audio.pauses import PauseSegmenter, SpeechStretch
from asr.audio.source import Samples, checked_rate
from asr.audio.vad import detector
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.recognition.stream import NAME, FinishedUtterance, Partial, mono
from asr.server.batching import BatchQueue
from asr.server.live_batching import LiveBatches


class LiveStream(Protocol):
    """A live connection. Calls must not overlap: await one before the next."""

    at_pauses: bool  # whether text comes only at pauses, because the model is bidirectional

    async def feed(self, samples: Any) -> Partial:
        """Hear the next samples, (N,) or (N, C), of any type that `Recognizer.stream` takes.

        Returns the text so far and the utterances that have ended since the last call. Raises
        `UserError` for samples that are invalid.
        """

    async def finish(self) -> Partial:
        """The end of the audio: the utterance under way is finished."""


class CausalStream:
    """A live connection to a streaming model."""

    at_pauses = False

    def __init__(
        self, recognizer: Recognizer, rate_hz: float, pool: ThreadPoolExecutor, batches: LiveBatches
    ):
        self._recognizer, self._pool, self._batches = recognizer, pool, batches
        self._stream = recognizer.stream(rate_hz, keep_transcript=False)

    async def feed(self, samples: Any) -> Partial:
        future = self._batches.feed(self._recognizer, self._stream, samples)
        return await asyncio.wrap_future(future)

    async def finish(self) -> Partial:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._stream.end)


class PauseStream:
    """A live connection to a bidirectional model: each stretch of speech is a recording."""

    at_pauses = True

    def __init__(
        self, recognizer: Recognizer, rate_hz: float, pool: ThreadPoolExecutor, queue: BatchQueue
    ):
        self._recognizer, self._pool, self._queue = recognizer, pool, queue
        self._resampler = LiveResampler(checked_rate(rate_hz, NAME), recognizer.rate_hz)
        voice = detector("auto", recognizer.rate_hz)
        self._segmenter = PauseSegmenter(voice, recognizer.rate_hz)
        self._ended = False

    async def feed(self, samples: Any) -> Partial:
        return await self._text(*await self._in_pool(self._hear, samples))

    async def finish(self) -> Partial:
        return await self._text(*await self._in_pool(self._end))

    async def _in_pool(self, function: Any, *arguments: Any) -> list[SpeechStretch]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, function, *arguments)

    def _hear(self, samples: Any) -> list[SpeechStretch]:
        if self._ended:
            raise UserError(f"{NAME}: it has ended; open another")
        return self._segmenter.feed(self._resampler.feed(mono(samples)))

    def _end(self) -> list[SpeechStretch]:
        self._ended = True
        found = self._segmenter.feed(self._resampler.finish())
        return [*found, *self._segmenter.finish()]

    async def _text(self, *stretches: SpeechStretch) -> Partial:
        finished = [await self._utterance(stretch) for stretch in stretches]
        return Partial("", "", (), tuple(finished))

    async def _utterance(self, stretch: SpeechStretch) -> FinishedUtterance:
        samples = Samples(stretch.samples, self._recognizer.rate_hz, NAME)
        found = await asyncio.wrap_future(
            self._queue.submit(self._recognizer, Utterance(NAME, samples))
        )
        words = tuple(
            replace(
                word,
                start_s=word.start_s + stretch.start_s,
                end_s=min(word.end_s + stretch.start_s, stretch.end_s),
            )
            for word in found.words
        )
        return FinishedUtterance(
            stretch.start_s,
            stretch.end_s,
            words,
            found.alternatives,
            stretch.rule,
            command=found.command,
        )
