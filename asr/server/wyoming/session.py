"""One connection of a Wyoming client: events in, events out.

An utterance goes from `transcribe` or `audio-start` to `audio-stop`. The answer is sent as soon as
an end point closes the utterance, so that the client need not find the end of speech itself; the
audio after it is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wyoming.asr import Transcript as TranscriptEvent
from wyoming.asr import TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info
from wyoming.ping import Pong

import asr
from asr.errors import UserError
from asr.recognition.stream import Partial
from asr.server.engine import DecodingOptions, Engine
from asr.server.live import LiveStream
from asr.server.wyoming.events import audio_format, samples_of

PROGRAM = "asr"
MAX_PHRASES = 1000  # of those that a client expects


class WyomingSession:
    """Answers the events of a client, one at a time."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.heard_s = 0.0  # of audio in all utterances
        self._begin()

    def _begin(self, model: str = "", phrases: tuple[str, ...] = ()) -> None:
        self._model, self._phrases = model, phrases
        self._stream: LiveStream | None = None
        self._rate_hz = 0
        self._said: list[str] = []  # words whose text has been sent
        self._answered = False

    async def answer(self, event: Event) -> list[Event]:
        """The events to send after this one; unknown events get none.

        Raises `UserError` for an event that is invalid or asks for what the models lack.
        """
        if event.type == "describe":
            return [self.info().event()]
        if event.type == "ping":
            return [Pong(text=_optional_text(event, "text")).event()]
        if event.type == "transcribe":
            self._begin(self._model_of(event), _phrases(event))
        elif event.type == "audio-start":
            audio_format(event)
            self._begin(self._model, self._phrases)
        elif event.type == "audio-chunk":
            return await self._hear(event)
        elif event.type == "audio-stop":
            return await self.finish()
        return []

    async def finish(self) -> list[Event]:
        """The end of the audio: the transcript, unless it has been sent already."""
        events: list[Event] = []
        if not self._answered:
            partial = await self._stream.finish() if self._stream else None
            events = self._transcript(_words_of(partial) if partial else [])
        self._begin(self._model, self._phrases)
        return events

    @property
    def listening(self) -> bool:
        """Whether an utterance is under way that has no transcript yet."""
        return self._stream is not None and not self._answered

    def info(self) -> Info:
        """What the server offers: one program with all models."""
        by = Attribution("asr", "https://pypi.org/project/asr/")
        models = []
        for name, recognizer in self._engine.recognizers.items():
            language = recognizer.config.text.language
            models.append(
                AsrModel(
                    name=name,
                    attribution=by,
                    installed=True,
                    description=f"{name}, {recognizer.rate_hz} Hz",
                    version=None,
                    languages=[language] if language else [],
                )
            )
        program = AsrProgram(
            name=PROGRAM,
            attribution=by,
            installed=True,
            description="Speech recognition with your own models",
            version=asr.__version__,
            models=models,
            supports_transcript_streaming=True,
            requires_external_vad=False,
        )
        return Info(asr=[program])

    async def _hear(self, event: Event) -> list[Event]:
        rate_hz, samples = samples_of(event)
        if self._answered:
            return []
        if self._stream is None:
            options = DecodingOptions(self._phrases)
            self._stream = await self._engine.open_stream(self._model, rate_hz, options)
            self._rate_hz = rate_hz
        if rate_hz != self._rate_hz:
            raise UserError(f"audio-chunk: rate {rate_hz} Hz; the utterance has {self._rate_hz} Hz")
        self.heard_s += len(samples) / rate_hz
        partial = await self._stream.feed(samples)
        if partial.finished:
            self._answered = True
            return self._transcript(_words_of(partial))
        return list(self._chunk(partial.stable.split()))

    def _chunk(self, stable: list[str]) -> Iterator[Event]:
        """The words that are final and have not been sent yet."""
        new = stable[len(self._said) :]
        if not new:
            return
        if not self._said:
            yield TranscriptStart(language=self._language()).event()
        yield TranscriptChunk((" " if self._said else "") + " ".join(new)).event()
        self._said += new

    def _transcript(self, words: list[str]) -> list[Event]:
        chunks = list(self._chunk(words))
        whole = TranscriptEvent(" ".join(words), language=self._language()).event()
        return [*chunks, whole, *([TranscriptStop().event()] if self._said else [])]

    def _language(self) -> str | None:
        name = self._engine.name_of(self._model)
        return self._engine.recognizers[name].config.text.language

    def _model_of(self, event: Event) -> str:
        """The model of this name, or the first one for this language."""
        name, language = _optional_text(event, "name"), _optional_text(event, "language")
        if name:
            return self._engine.name_of(name)
        languages = {
            one: recognizer.config.text.language
            for one, recognizer in self._engine.recognizers.items()
        }
        if not language:
            return ""
        for one, spoken in languages.items():
            if spoken is None or _primary(spoken) == _primary(language):
                return one
        known = ", ".join(f"{one} ({spoken})" for one, spoken in languages.items())
        raise UserError(f"transcribe: language {language!r}; the models are {known}")


def _primary(language: str) -> str:
    """The language of a code without its region: pt of pt_PT and pt-BR."""
    return language.replace("_", "-").partition("-")[0].lower()


def _words_of(partial: Partial) -> list[str]:
    """The words of the utterances that ended; several may have ended in one long chunk."""
    return [word.text for utterance in partial.finished for word in utterance.words]


def _phrases(event: Event) -> tuple[str, ...]:
    found: list[Any] = []
    for key in ("transcript_names", "transcript_terms"):
        listed = event.data.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise UserError(f"transcribe: {key} is not a list of phrases")
        found += listed
    if len(found) > MAX_PHRASES:
        raise UserError(f"transcribe: {len(found)} phrases; at most {MAX_PHRASES} are allowed")
    return tuple(dict.fromkeys(phrase for phrase in found if phrase.strip()))


def _optional_text(event: Event, key: str) -> str | None:
    value = event.data.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{event.type}: {key} is not a text")
    return value
