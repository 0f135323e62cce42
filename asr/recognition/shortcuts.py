"""Transcription and alignment in one call, for scripts that need a model once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from asr.audio import AudioInput
from asr.recognition.recognizer import Recognizer, load
from asr.transcript import Transcript


@overload
def transcribe(
    model: Recognizer | str | Path,
    source: list[Any] | tuple[Any, ...],
    rate_hz: float | None = None,
) -> list[Transcript]: ...


@overload
def transcribe(
    model: Recognizer | str | Path, source: AudioInput, rate_hz: float | None = None
) -> Transcript: ...


def transcribe(
    model: Recognizer | str | Path,
    source: AudioInput | list[Any] | tuple[Any, ...],
    rate_hz: float | None = None,
) -> Transcript | list[Transcript]:
    """`Recognizer.transcribe` with a recognizer, or with a model file, which is loaded first.

    >>> asr.transcribe("model.asr", "recording.wav").text     # doctest: +SKIP
    'seven three one'
    """
    return _loaded(model).transcribe(source, rate_hz)


def align(
    model: Recognizer | str | Path,
    source: AudioInput,
    text: str | Sequence[str],
    rate_hz: float | None = None,
) -> Transcript:
    """`Recognizer.align` with a recognizer, or with a model file, which is loaded first."""
    return _loaded(model).align(source, text, rate_hz)


def _loaded(model: Recognizer | str | Path) -> Recognizer:
    return load(model) if isinstance(model, (str, Path)) else model
