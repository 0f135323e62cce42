"""A transcript in the formats of OpenAI's API."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from asr.transcript import Segment, Transcript
from asr.transcript.writers import srt, vtt


def verbose(
    transcript: Transcript, language: str | None, words: bool, segments: bool
) -> dict[str, Any]:
    """`verbose_json`; words and segments say which of the two are asked for.

    Fields of the original that a CTC model does not have are neutral: no seek, tokens, temperature
    or probability of silence. `confidence` of words and segments is added, and with a grammar the
    `command` of a segment.
    """
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": language or "",
        "duration": transcript.duration_s,
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if words:
        body["words"] = [
            {
                "word": word.text,
                "start": word.start_s,
                "end": word.end_s,
                "confidence": word.confidence,
            }
            for word in transcript.words
        ]
    if segments:
        spoken = [one for one in transcript.segments if one.words or one.command is not None]
        body["segments"] = [_segment(id, segment) for id, segment in enumerate(spoken)]
    return body


def _segment(id: int, segment: Segment) -> dict[str, Any]:
    confidences = [max(word.confidence, 1e-6) for word in segment.words] or [1e-6]
    mean_logprob = sum(map(math.log, confidences)) / len(confidences)
    text = segment.text.encode()
    command = segment.command
    own = {} if command is None else {"command": asdict(command)}
    return own | {
        "id": id,
        "seek": 0,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": mean_logprob,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": 0.0,
        "confidence": math.exp(mean_logprob),
    }


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(transcript.duration_s)}


def event(fields: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n"


def _json(transcript: Transcript) -> str:
    return json.dumps({"text": transcript.text, "usage": _usage(transcript)}, ensure_ascii=False)


# {response_format: media type and what writes it}; verbose_json takes more than the transcript
FORMATS: dict[str, tuple[str, Callable[[Transcript], str]]] = {
    "json": ("application/json", _json),
    "text": ("text/plain", lambda transcript: transcript.text + "\n"),
    "srt": ("text/plain", srt),
    "vtt": ("text/plain", vtt),
    "verbose_json": ("application/json", _json),
}
