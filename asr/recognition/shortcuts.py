"""Transcription and alignment in one call, for scripts that need a model once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, overload

from asr.audio import AudioInput
from asr.errors import UserError
from asr.lm.grammar import Grammar, GrammarSource
from asr.lm.ngram import NGram
from asr.model.shipped import english
from asr.recognition.classifier import Classifier
from asr.recognition.decoding import Hotwords
from asr.recognition.model import read_model
from asr.recognition.recognizer import Recognizer, recognizer_of
from asr.transcript import Transcript


def load(
    path: str | Path | None = None,
    device: str = "auto",
    *,
    lm: str | Path | NGram | None = None,
    grammar: Grammar | GrammarSource | None = None,
    hotwords: Hotwords | None = None,
    quantized: bool = False,
    **decoder: Any,
) -> Recognizer:
    """Open a model file, by default the English model of the package.

    device: auto, cpu, cuda or mps; lm: an n-gram or the file of one, used instead of the model's
    own; grammar: the only sentences that may be said, used instead of the model's own (see
    `asr.Grammar`); hotwords: phrases to favor, as a list (each gets a weight of 5.0, in natural
    logs) or {phrase: weight}; quantized: int8 weights on a CPU (`asr.model.quantize`); decoder:
    settings of `asr.config.DecoderConfig`, such as beam=100. With a language model or hotwords, the
    beam is 50 unless it is set.

    The file of a model that classifies gives an `asr.Classifier`; `asr.Classifier.load` opens only
    such files, and type checkers know what it returns. Raises `UserError` if the file is missing or
    damaged, or if a setting is invalid.
    """
    settings: dict[str, Any] = {"lm": lm, "grammar": grammar, "hotwords": hotwords, **decoder}
    path = path or english()
    model = read_model(path)
    if model.config.task != "classify":
        return recognizer_of(model, path, device, quantized=quantized, **settings)
    if given := [name for name, value in settings.items() if value is not None]:
        raise UserError(f"{path}: a model that classifies has no {given[0]}; leave it out")
    return cast(Recognizer, Classifier(model, device, quantized))


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
