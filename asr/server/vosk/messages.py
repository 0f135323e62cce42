"""The messages of vosk-server's WebSocket protocol.

A client sends a text frame with a configuration, which gets no reply, and binary frames of 16-bit
little-endian mono samples, each of which gets exactly one reply. Clients wait for it before they
send the next frame. The forms of the replies are those of Vosk's `KaldiRecognizer`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from asr.audio.source import RATES_HZ
from asr.errors import UserError
from asr.transcript import Word

RATE_HZ = 8000  # without a configuration, as vosk-server's VOSK_SAMPLE_RATE
MAX_ALTERNATIVES = 100
MAX_PHRASES = 1000
UNKNOWN = "[unk]"  # in a phrase list: other speech gets this text
CONTROL_BYTES = 64  # a binary frame of at most this length may be {"eof": 1}


@dataclass(frozen=True)
class VoskSettings:
    """The configuration of a connection; the frame `{"config": {...}}` changes parts of it."""

    rate_hz: int = RATE_HZ
    words: bool = True  # whether results list the words with their times
    max_alternatives: int = 0  # 0: results have one text
    phrases: tuple[str, ...] = ()  # the only ones that may be said, one or more in turn
    hotwords: tuple[str, ...] = ()  # phrases to favor
    model: str | None = None  # None: the first of the server

    def changed(self, config: Any) -> VoskSettings:
        """These settings with the fields of a configuration; unknown fields are ignored.

        Raises `UserError` for a value that a field cannot have.
        """
        if not isinstance(config, dict):
            raise UserError(f"config: {_shown(config)} is not an object of settings")
        readers = {
            "sample_rate": ("rate_hz", _rate),
            "words": ("words", _flag),
            "max_alternatives": ("max_alternatives", _count),
            "phrase_list": ("phrases", _phrases),
            "grammar": ("phrases", _phrases),
            "hotwords": ("hotwords", _phrases),
            "model": ("model", _name),
        }
        known = {
            readers[key][0]: readers[key][1](value, f"config.{key}")
            for key, value in config.items()
            if key in readers
        }
        return replace(self, **known)


@dataclass(frozen=True)
class VoskControl:
    """A frame that ends the utterance under way."""

    ends_connection: bool  # eof; otherwise reset


Message = VoskControl | dict[str, Any] | bytes  # a control, a configuration or samples


def parse(frame: str | bytes) -> Message:
    """What a frame of a client says.

    An `eof` is accepted in a binary frame too, since some clients send it in one. Raises
    `UserError` for a text frame that is no message of the protocol.
    """
    if isinstance(frame, bytes):
        return _control_in(frame) or frame
    message = _json_object(frame)
    control = _control(message)
    if control is not None:
        return control
    if message is None or "config" not in message:
        raise UserError(f'{_shown(frame)}: send samples, {{"config": ...}} or {{"eof": 1}}')
    config = message["config"]
    if not isinstance(config, dict):
        raise UserError(f"config: {_shown(config)} is not an object of settings")
    return config


def partial_reply(text: str) -> str:
    """The reply to samples in which no utterance ended."""
    return _written({"partial": text})


@dataclass(frozen=True)
class VoskText:
    """One hypothesis of a result."""

    text: str
    words: tuple[Word, ...]
    score: float  # natural log


def result_reply(hypotheses: Sequence[VoskText], settings: VoskSettings, offset_s: float) -> str:
    """The reply at the end of an utterance.

    hypotheses: best first, at least one; offset_s: added to the times of words, for a stream that
    is not the first one of its connection.
    """
    if settings.max_alternatives:
        chosen = hypotheses[: settings.max_alternatives]
        return _written({"alternatives": [_alternative(one, settings, offset_s) for one in chosen]})
    best = hypotheses[0]
    reply: dict[str, Any] = {}
    if settings.words and best.words:
        reply["result"] = [_word(word, offset_s, confidence=True) for word in best.words]
    return _written(reply | {"text": best.text})


def _alternative(one: VoskText, settings: VoskSettings, offset_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"confidence": round(one.score, 6)}
    if settings.words and one.words:
        found["result"] = [_word(word, offset_s, confidence=False) for word in one.words]
    return found | {"text": one.text}


def _word(word: Word, offset_s: float, confidence: bool) -> dict[str, Any]:
    times = {
        "end": round(offset_s + word.end_s, 6),
        "start": round(offset_s + word.start_s, 6),
        "word": word.text,
    }
    return {"conf": round(word.confidence, 6)} | times if confidence else times


def _written(reply: dict[str, Any]) -> str:
    """Indented as Vosk's replies are; some clients search them for texts such as `"text" : `."""
    return json.dumps(reply, ensure_ascii=False, indent=2, separators=(",", " : "))


def _control_in(frame: bytes) -> VoskControl | None:
    if len(frame) > CONTROL_BYTES or not frame.lstrip().startswith(b"{"):
        return None
    try:
        return _control(_json_object(frame.decode("ascii")))
    except UnicodeDecodeError:
        return None


def _control(message: dict[str, Any] | None) -> VoskControl | None:
    for key in ("eof", "reset"):
        if message and message.get(key):
            return VoskControl(ends_connection=key == "eof")
    return None


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _rate(value: Any, name: str) -> int:
    low, high = RATES_HZ
    rate = _number(value, name)
    if not (low <= rate <= high and rate == int(rate)):
        raise UserError(f"{name}: {_shown(value)} is not a rate in Hz, {low} to {high}")
    return int(rate)


def _flag(value: Any, name: str) -> bool:
    return bool(_number(value, name))


def _count(value: Any, name: str) -> int:
    count = _number(value, name)
    if not (0 <= count <= MAX_ALTERNATIVES and count == int(count)):
        raise UserError(f"{name}: {_shown(value)} is not a whole number, 0 to {MAX_ALTERNATIVES}")
    return int(count)


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name}: {_shown(value)} is not a number")
    return number


def _phrases(value: Any, name: str) -> tuple[str, ...]:
    """A list of phrases, or the JSON text of one, as Vosk takes its grammar."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(f"{name}: {_shown(value)} is not a list of phrases") from None
    if not isinstance(value, list) or not all(isinstance(phrase, str) for phrase in value):
        raise UserError(f"{name}: {_shown(value)} is not a list of phrases")
    if len(value) > MAX_PHRASES:
        raise UserError(f"{name}: it has {len(value)} phrases; at most {MAX_PHRASES} are allowed")
    return tuple(phrase.strip() for phrase in value if phrase.strip())


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name}: {_shown(value)} is not the name of a model")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
