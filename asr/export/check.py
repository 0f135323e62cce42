"""Compare an exported model with the one that it comes from, on the utterances of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from asr import audio
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.classes import ClassScore
from asr.scoring.classify import evaluate_classes
from asr.scoring.compare import Comparison, compare
from asr.scoring.normalization import normalizer_of
from asr.scoring.wer import Pair, Score, score

TOGETHER = 8  # utterances in a batch, in the order of the manifest, so that lengths are mixed


@dataclass(frozen=True)
class ModelResult:
    """What one of the two models wrote."""

    texts: list[str]  # or classes
    seconds: float  # of computation, reading included
    score: Score | ClassScore | None  # if the manifest has texts or classes


@dataclass(frozen=True)
class Parity:
    """The two models on the same utterances."""

    audio_s: float
    original: ModelResult
    exported: ModelResult
    different: list[tuple[str, str, str]]  # (id, text of the original, exported text)
    max_difference: float  # of two log-probabilities
    mean_difference: float
    comparison: Comparison | None  # of the word error rates
    failures: list[Failure]

    @property
    def utterances(self) -> int:
        return len(self.original.texts)


def check(
    original: Recognizer | Classifier,
    exported: Recognizer | Classifier,
    utterances: Sequence[Utterance],
    progress: Callable[[], None] = lambda: None,
) -> Parity:
    """Transcribe or classify with both models, and compare the results and the emissions.

    The emissions are computed in batches of `TOGETHER` utterances of mixed lengths. progress: it is
    called three times for each utterance. Raises `UserError` if no recording can be read.
    """
    write = _classes if isinstance(original, Classifier) else _texts
    found = [write(recognizer, utterances, progress) for recognizer in (original, exported)]
    failures = found[0].failures
    kept = [u for u in utterances if all(u.id in one.texts for one in found)]
    if not kept:
        raise UserError(f"no recording can be read: {failures[0].reason}")
    texts = [[one.texts[u.id] for u in kept] for one in found]
    different = [
        (u.id, ours, theirs) for u, ours, theirs in zip(kept, *texts, strict=True) if ours != theirs
    ]
    results = [
        ModelResult(of_model, one.seconds, one.score)
        for of_model, one in zip(texts, found, strict=True)
    ]
    audio_s, largest, mean = _emissions(original, exported, kept, progress)
    pairs = [one.pairs for one in found]
    comparison = compare(*pairs) if pairs[0] else None
    return Parity(audio_s, *results, different, largest, mean, comparison, failures)


@dataclass(frozen=True)
class _Written:
    """What one model says about the readable utterances."""

    texts: dict[str, str]  # by utterance id
    pairs: list[Pair]  # beside the reference texts, if all utterances have one
    score: Score | ClassScore | None
    failures: list[Failure]
    seconds: float


def _texts(
    recognizer: Any, utterances: Sequence[Utterance], progress: Callable[[], None]
) -> _Written:
    started, texts, failures = perf_counter(), {}, []
    for utterance, result in transcribe_many(recognizer, utterances):
        progress()
        if isinstance(result, Failure):
            failures.append(result)
        else:
            texts[utterance.id] = result.text
    seconds = perf_counter() - started
    pairs = _pairs(recognizer, utterances, texts)
    return _Written(texts, pairs, score(pairs) if pairs else None, failures, seconds)


def _classes(
    classifier: Any, utterances: Sequence[Utterance], progress: Callable[[], None]
) -> _Written:
    started = perf_counter()
    found = evaluate_classes(classifier, utterances, progress)
    seconds = perf_counter() - started
    texts = {row.id: "; ".join(row.hypothesis) for row in found.rows if row.probabilities}
    labeled = any(row.reference for row in found.rows)
    return _Written(texts, [], found.score if labeled else None, found.failures, seconds)


def _pairs(
    recognizer: Recognizer, utterances: Sequence[Utterance], texts: dict[str, str]
) -> list[Pair]:
    """The texts beside their references; none if an utterance has no reference."""
    normalize = normalizer_of(recognizer.config.text)
    read = [utterance for utterance in utterances if utterance.id in texts]
    if not all(utterance.text for utterance in read):
        return []
    return [Pair(u.id, normalize(u.text or ""), normalize(texts[u.id]), u.speaker) for u in read]


def _emissions(
    original: Recognizer | Classifier,
    exported: Recognizer | Classifier,
    utterances: Sequence[Utterance],
    progress: Callable[[], None],
) -> tuple[float, float, float]:
    """Seconds of audio, and the largest and the mean difference of two log-probabilities."""
    samples, largest, total, count = 0, 0.0, 0.0, 0
    for first in range(0, len(utterances), TOGETHER):
        batch = utterances[first : first + TOGETHER]
        waveforms = [audio.read(u.audio, original.rate_hz, u.start_s, u.duration_s) for u in batch]
        rows = (recognizer.emissions(waveforms).rows() for recognizer in (original, exported))
        for ours, theirs in zip(*rows, strict=True):
            difference = np.abs(ours - theirs)
            largest = max(largest, float(difference.max(initial=0.0)))
            total, count = total + float(difference.sum()), count + difference.size
            progress()
        samples += sum(map(len, waveforms))
    return samples / original.rate_hz, largest, total / max(1, count)
