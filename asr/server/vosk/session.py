"""One connection of a Vosk client: frames in, replies out, whatever carries them."""

from __future__ import annotations

import itertools

import numpy as np

from asr.recognition.stream import FinishedUtterance
from asr.server.engine import DecodingOptions, Engine
from asr.server.grammars import templates_for
from asr.server.live import LiveStream
from asr.server.vosk.messages import (
    UNKNOWN,
    VoskControl,
    VoskSettings,
    VoskText,
    parse,
    partial_reply,
    result_reply,
)
from asr.transcript import Word

SILENCE = VoskText("", (), 1.0)


class VoskSession:
    """Answers the frames of a client, one at a time.

    A configuration that comes in the middle of the audio counts from the next result on, and its
    rate, model and phrases from the next stream on, which begins after a reset.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self._settings = VoskSettings()
        self._stream: LiveStream | None = None
        self._rate_hz = self._settings.rate_hz  # of the stream
        self._samples = 0  # of the stream
        self._offset_s = 0.0  # where the stream begins, from the beginning of the connection
        self._rest = b""  # a byte whose sample is not complete
        self.ended = False  # after an eof

    @property
    def heard_s(self) -> float:
        """The seconds of audio so far."""
        return self._offset_s + self._samples / self._rate_hz

    async def answer(self, frame: str | bytes) -> str | None:
        """The reply to a frame, None for a configuration.

        Raises `UserError` for a frame that is no message, and for an invalid configuration.
        """
        message = parse(frame)
        if isinstance(message, bytes):
            return await self._hear(message)
        if isinstance(message, VoskControl):
            self.ended = message.ends_connection
            return await self.finish()
        settings = self._settings.changed(message)
        self._engine.name_of(settings.model or "")  # so that an unknown model is refused at once
        self._settings = settings
        return None

    async def finish(self) -> str:
        """The result of the utterance under way; the next samples begin another stream."""
        if self._stream is None:
            return self._result([])
        partial = await self._stream.finish()
        reply = self._result(partial.finished)
        self._offset_s = self.heard_s
        self._stream, self._samples, self._rest = None, 0, b""
        return reply

    async def _hear(self, data: bytes) -> str:
        if self._stream is None:
            await self._begin()
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2")
        self._samples += len(samples)
        partial = await self._stream.feed(samples)
        return self._result(partial.finished) if partial.finished else partial_reply(partial.text)

    async def _begin(self) -> None:
        settings = self._settings
        options = DecodingOptions(
            tuple(phrase for phrase in settings.hotwords if phrase != UNKNOWN),
            max(1, settings.max_alternatives),
            templates_for([phrase for phrase in settings.phrases if phrase != UNKNOWN]),
            refuse=not settings.phrases or UNKNOWN in settings.phrases,
        )
        self._stream = await self._engine.open_stream(
            settings.model or "", settings.rate_hz, options
        )
        self._rate_hz = settings.rate_hz

    def _result(self, utterances: tuple[FinishedUtterance, ...] | list[FinishedUtterance]) -> str:
        """One reply for the utterances that ended in one frame; it may have been a long one."""
        spoken = [_texts(one) for one in utterances if one.words or one.refused]
        texts = spoken[0] if len(spoken) == 1 else [_joined([one[0] for one in spoken])]
        return result_reply(texts, self._settings, self._offset_s)


def _texts(utterance: FinishedUtterance) -> list[VoskText]:
    if utterance.refused and not utterance.words:
        return [VoskText(UNKNOWN, (), 0.0)]
    if utterance.hypotheses:
        return [VoskText(one.text, one.words, one.score) for one in utterance.hypotheses]
    others = [VoskText(text, (), 0.0) for text in utterance.alternatives]
    return [VoskText(utterance.text, utterance.words, 0.0), *others]


def _joined(texts: list[VoskText]) -> VoskText:
    if not texts:
        return SILENCE
    words: tuple[Word, ...] = tuple(itertools.chain(*(one.words for one in texts)))
    return VoskText(" ".join(one.text for one in texts), words, sum(one.score for one in texts))
