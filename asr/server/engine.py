"""The models of a server by name: they transcribe recordings and live connections."""

from __future__ import annotations

import asyncio
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from asr import audio
from asr.audio.source import ResolvedSource
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.server.batching import BatchQueue, Observe, OnText
from asr.server.compiler import GrammarCompiler
from asr.server.limits import DEFAULTS
from asr.server.live import CausalStream, LiveStream, PauseStream
from asr.server.live_batching import LiveBatches
from asr.server.threads import set_threads
from asr.transcript import Transcript

T = TypeVar("T")
# What clients of other services ask for when nobody has told them the name of a model.
ALIASES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "default", "")
VARIANTS = 16  # recognizers with hotwords of a request that are kept


@dataclass(frozen=True)
class DecodingOptions:
    """What one request asks of the decoder."""

    hotwords: tuple[str, ...] = ()  # phrases to favor
    alternatives: int = 1  # the number of hypotheses
    grammar: tuple[str, ...] = ()  # templates of the only sentences that may be said
    refuse: bool = True  # whether the grammar refuses other speech, or takes what sounds most alike


AS_LOADED = DecodingOptions()
_Variant = tuple[str, DecodingOptions]  # the name of a model, and the decoder


class UnknownModel(UserError):
    """There is no model of this name."""


class Engine:
    """Recognizers by name; the first is the default. There may be none.

    A short recording waits for the batch under way and not for long ones (`asr.server.batching`).
    Packets of live connections are computed together (`asr.server.live_batching`). Its
    methods are called in the event loop.

    grammar_arcs: how many arcs the grammar of a client may need to compile. Grammars are compiled
    one at a time, and hotwords do not wait for them.
    """

    def __init__(
        self,
        recognizers: Mapping[str, Recognizer],
        observe: Observe = lambda stage, seconds: None,
        grammar_arcs: int = DEFAULTS.grammar_arcs,
    ):
        self.recognizers = dict(recognizers)
        self._queue = BatchQueue(observe)
        self._pool = ThreadPoolExecutor(
            os.cpu_count(), "asr-live", initializer=set_threads, initargs=(1,)
        )
        self._live = LiveBatches(self._pool, observe)
        self._compiler = GrammarCompiler(grammar_arcs)
        self._variants: OrderedDict[_Variant, Future[Recognizer]] = OrderedDict()
        self._grammars = ThreadPoolExecutor(1, "asr-grammar")
        self._hotwords = ThreadPoolExecutor(1, "asr-hotwords")

    @property
    def waiting(self) -> int:
        """The number of recordings that are not finished."""
        return self._queue.waiting

    def name_of(self, model: str) -> str:
        """The name of the model that a client means; raises `UnknownModel`."""
        if model in self.recognizers:
            return model
        if model in ALIASES and self.recognizers:
            return next(iter(self.recognizers))
        known = ", ".join(self.recognizers) or "none that transcribes"
        raise UnknownModel(f"model {model!r}: there is {known}")

    async def transcribe(
        self,
        model: str,
        source: ResolvedSource,
        options: DecodingOptions = AS_LOADED,
        on_text: OnText = lambda text: None,
    ) -> Transcript:
        """The transcript of a recording; cancelling the task drops what is not computed yet.

        source: a path, or `Samples`; on_text: called in the event loop with the text of each part
        of a long recording as soon as it and those before it are known. Raises `UserError` if it
        cannot be read, or for hotwords or a grammar that the model cannot spell.
        """
        recognizer = await self.recognizer(model, options)
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, on_text)
        future = self._queue.submit(recognizer, Utterance("recording", source), tell)
        return await asyncio.wrap_future(future)

    async def duration_s(self, source: ResolvedSource) -> float:
        """The duration that a recording states; raises `UserError` if it is no audio."""
        return (await asyncio.to_thread(audio.info, source)).duration_s

    async def open_stream(
        self, model: str, rate_hz: float, options: DecodingOptions = AS_LOADED
    ) -> LiveStream:
        """A live connection to a model.

        rate_hz: the rate of the samples. With a bidirectional model, text comes at each pause
        (`LiveStream.at_pauses`). Raises `UserError` for a rate, hotwords or a
        grammar that are invalid.
        """
        recognizer = await self.recognizer(model, options)
        if recognizer.streams:
            return CausalStream(recognizer, rate_hz, self._pool, self._live)
        return PauseStream(recognizer, rate_hz, self._pool, self._queue)

    async def recognizer(self, model: str, options: DecodingOptions = AS_LOADED) -> Recognizer:
        """The recognizer of a model with the decoder that a request asks for."""
        name = self.name_of(model)
        if options == AS_LOADED:
            return self.recognizers[name]
        key = (name, options)
        if key not in self._variants:
            builders = self._grammars if options.grammar else self._hotwords
            self._variants[key] = builders.submit(self._build, name, options)
        self._variants.move_to_end(key)
        while len(self._variants) > VARIANTS:
            self._variants.popitem(last=False)
        building = self._variants[key]
        try:
            # Other clients may wait for the same one, so it is built even if this client leaves.
            return await asyncio.shield(asyncio.wrap_future(building))
        except Exception:
            if self._variants.get(key) is building:
                del self._variants[key]
            raise

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in one of the threads of the live connections."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, function, *arguments)

    def _build(self, name: str, options: DecodingOptions) -> Recognizer:
        recognizer, settings = self.recognizers[name], dict[str, Any]()
        if options.alternatives > 1:
            settings["n_best"] = options.alternatives
        if not options.refuse:
            settings["min_fit"] = -math.inf
        grammar = None
        if options.grammar:
            tokenizer, text = recognizer.tokenizer, recognizer.config.text
            grammar = self._compiler.compile(options.grammar, tokenizer, text)
        return recognizer.with_decoder(options.hotwords, grammar=grammar, **settings)

    def close(self) -> None:
        """End the threads; recordings that are unfinished are cancelled."""
        self._queue.close()
        self._live.close()
        self._pool.shutdown()
        for builders in (self._grammars, self._hotwords):
            builders.shutdown(cancel_futures=True)
        self._compiler.close()
