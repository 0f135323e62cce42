"""Compare an exported model with the one that it comes from, on the utterances of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from asr import audio
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.compare import Comparison, compare
from asr.scoring.normalization import normalizer_of
from asr.scoring.wer import Pair, Score, score

TOGETHER = 8  # utterances in a batch, in the order of the manifest, so that lengths are mixed


@dataclass(frozen=True)
class ModelResult:
    """What one of the two models wrote."""

    texts: list[str]
    seconds: float  # of computation, reading included
    score: Score | None  # if the manifest has texts


@dataclass(frozen=True)
class Parity:
    """The two models on the same utterances."""

    audio_s: float
    original: ModelResult
    exported: ModelResult
    different: list[tuple[str, str, str]]  # (id, text of the original, exported text)
    max_difference: float  # of two log-probabilities
    mean_difference: float
    comparison: Comparison | None  # of the error rates
    failures: list[Failure]

    @property
    def utterances(self) -> int:
        return len(self.original.texts)


def check(
    original: Recognizer,
    exported: Recognizer,
    utterances: Sequence[Utterance],
    progress: Callable[[], None] = lambda: None,
) -> Parity:
    """Transcribe with both models and compare texts and emissions.

    The emissions are computed in batches of `TOGETHER` utterances of mixed lengths. progress: it is
    called three times for each utterance. Raises `UserError` if no recording can be read.
    """
    runs, kept = [], [utterance.id for utterance in utterances]
    failures: list[Failure] = []
    pairs: list[list[Pair]] = []
    for recognizer in (original, exported):
        started, texts = perf_counter(), {}
        for utterance, result in transcribe_many(recognizer, utterances):
            progress()
            if isinstance(result, Failure):
                failures += [result] if recognizer is original else []
            else:
                texts[utterance.id] = result.text
        seconds = perf_counter() - started
        kept = [name for name in kept if name in texts]
        pairs.append(_pairs(recognizer, utterances, texts))
        found = score(pairs[-1]) if pairs[-1] else None
        runs.append(ModelResult([texts[name] for name in kept], seconds, found))
    if not kept:
        raise UserError(f"no recording can be read: {failures[0].reason}")
    readable = [utterance for utterance in utterances if utterance.id in set(kept)]
    different = [
        (name, a, b)
        for name, a, b in zip(kept, *(run.texts for run in runs), strict=True)
        if a != b
    ]
    audio_s, largest, mean = _emissions(original, exported, readable, progress)
    comparison = compare(*pairs) if pairs[0] else None
    return Parity(audio_s, *runs, different, largest, mean, comparison, failures)


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
    original: Recognizer,
    exported: Recognizer,
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
