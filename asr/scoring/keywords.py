"""A keyword detector on streams: false accepts an hour, and recall at a wanted rate of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from asr import audio
from asr.data.manifest import Utterance
from asr.data.targets import labels_of
from asr.errors import UserError
from asr.recognition.classifier import Classifier
from asr.recognition.detector import (
    Detection,
    DetectorSettings,
    KeywordEvents,
    KeywordWindows,
    ScoredWindow,
)
from asr.recognition.windows import BLOCK_S
from asr.scoring.intervals import bootstrap_interval, resampling_groups

PAUSE_S = (0.5, 1.5)  # between two words of the stream of keywords
PAUSE_DB = -60.0  # the level of the noise there; no microphone gives digital silence
RATES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # false accepts an hour of the table
STEPS = 400  # thresholds that are tried, equally spaced in the log odds of LEAST to MOST
LEAST, MOST = 0.01, 0.9999
NEAR_MISSES = 20  # at most, of each kind


@dataclass(frozen=True)
class StreamWord:
    """A keyword in the stream that is made of the test recordings."""

    utterance: Utterance
    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class KeywordPoint:
    """The detector at one threshold."""

    threshold: float
    false_accepts: int  # in the speech without keywords
    found: int  # words of the stream that were detected, with the right label
    wrong: int  # detections in the stream that are no word, or the wrong one


@dataclass(frozen=True)
class KeywordScore:
    """What `score_keywords` measured."""

    hours: float  # of speech without keywords
    words: int
    rate: float  # the wanted rate: false accepts an hour
    chosen: KeywordPoint
    recall_interval: tuple[float, float]  # 95%
    resampled: str
    curve: dict[float, KeywordPoint]  # by wanted rate
    accepted: list[tuple[str, Detection]]  # false accepts at the threshold, with the recording
    near: list[tuple[str, Detection]]  # the highest below it
    missed: list[StreamWord]

    def recall(self, point: KeywordPoint) -> float:
        return point.found / self.words

    def __str__(self) -> str:
        c, (low, high) = self.chosen, self.recall_interval
        return (
            f"threshold {c.threshold:.4f}: {c.false_accepts} false accepts in {self.hours:.2f} h "
            f"({c.false_accepts / self.hours:.2f} an hour; at most {self.rate:g} wanted), "
            f"recall {self.recall(c):.2%} ({c.found} of {self.words}), "
            f"95% interval {low:.2%} to {high:.2%} (bootstrap over {self.resampled}); "
            f"{c.wrong} wrong words"
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of keywords.json."""
        return {
            "summary": str(self),
            "hours": self.hours,
            "words": self.words,
            "rate": self.rate,
            "recall": self.recall(self.chosen),
            "recall_interval_95": list(self.recall_interval),
            **asdict(self.chosen),
            "curve": [
                {"rate": rate, "recall": self.recall(point)} | asdict(point)
                for rate, point in self.curve.items()
            ],
            "accepted": [{"id": name} | one.to_dict() for name, one in self.accepted],
            "near": [{"id": name} | one.to_dict() for name, one in self.near],
            "missed": [word.utterance.id for word in self.missed],
        }


def score_keywords(
    classifier: Classifier,
    keywords: Sequence[Utterance],
    outside: Sequence[Utterance],
    rate: float = 0.5,
    settings: DetectorSettings | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> KeywordScore:
    """Measure a detector on a stream of keywords and on speech without them.

    keywords: recordings of one word each; they are joined into one stream, in an order drawn by a
    hash, with pauses of `PAUSE_S` of faint noise. outside: recordings of speech without keywords,
    each a stream of its own. The threshold is the one that finds the most words among those from
    which on at most `rate` words an hour are wrongly accepted there. A word counts as found if a
    detection with its label overlaps it and was not counted before. on_progress: called after each
    recording of `outside` and each word.

    Raises `UserError` without words or speech, or if a recording cannot be read.
    """
    settings = replace(settings or DetectorSettings(), near=0.0)
    scan = _Scan(classifier, settings)
    speech: list[tuple[str, list[ScoredWindow]]] = []
    seconds = 0.0
    for u in outside:
        heard_s, windows = scan.windows(list(_blocks(classifier, u)))
        seconds += heard_s
        speech.append((u.id, windows))
        on_progress()
    words, stream = _stream(classifier, keywords, on_progress)
    if not words or not seconds:
        missing = "recording of a keyword" if seconds else "speech without keywords"
        raise UserError(f"detector: no {missing}; give a manifest of both")
    _, spoken = scan.windows(stream)
    hours, points = seconds / 3600, []
    for threshold in _thresholds():
        wrongly = sum(len(scan.detections(windows, threshold)) for _, windows in speech)
        points.append(_point(threshold, wrongly, words, scan.detections(spoken, threshold)))
    chosen = _best(points, rate * hours)
    hits, _ = _match(words, scan.detections(spoken, chosen.threshold))
    misses = [int(not hit) for hit in hits]
    groups, resampled = resampling_groups(
        [w.utterance.id for w in words], [w.utterance.speaker for w in words]
    )
    low, high = bootstrap_interval(misses, [1] * len(words), groups)
    return KeywordScore(
        hours=hours,
        words=len(words),
        rate=rate,
        chosen=chosen,
        recall_interval=(1 - high, 1 - low),
        resampled=resampled,
        curve={one: _best(points, one * hours) for one in RATES},
        accepted=_highest(scan, speech, chosen.threshold, MOST + 1),
        near=_highest(scan, speech, LEAST, chosen.threshold),
        missed=[word for word, hit in zip(words, hits, strict=True) if not hit],
    )


@dataclass(frozen=True)
class _Scan:
    """The windows of streams, once, and the detections at any threshold from them."""

    classifier: Classifier
    settings: DetectorSettings

    def windows(self, blocks: Sequence[np.ndarray]) -> tuple[float, list[ScoredWindow]]:
        """The seconds of a stream, and those windows that any threshold could accept."""
        found, samples = [], 0
        windows = KeywordWindows(self.classifier, self.classifier.rate_hz, self.settings)
        for block in blocks:
            found += windows.feed(block)
            samples += len(block)
        return samples / self.classifier.rate_hz, found + windows.finish()

    def detections(self, windows: Sequence[ScoredWindow], threshold: float) -> list[Detection]:
        rate_hz = self.classifier.rate_hz
        window = round(self.settings.window_s * rate_hz)
        events = KeywordEvents(self.settings, threshold, window, rate_hz)
        found, quiet = [], True
        for one in windows:
            if one.value >= threshold or not quiet:  # below, only the first has an effect
                found += events.judge(one.start, one.label, one.value)
            quiet = one.value < threshold
        return found + events.report()


def _blocks(classifier: Classifier, u: Utterance) -> Iterator[np.ndarray]:
    return audio.blocks(u.audio, classifier.rate_hz, BLOCK_S, u.start_s, u.duration_s)


def _stream(
    classifier: Classifier, keywords: Sequence[Utterance], on_progress: Callable[[], None]
) -> tuple[list[StreamWord], list[np.ndarray]]:
    """The words with their times, and the samples of the stream in pieces."""
    draw, rate_hz = np.random.default_rng(0), classifier.rate_hz
    words, pieces, at = [], [], 0
    for u in sorted(keywords, key=lambda u: hashlib.sha256(u.id.encode()).digest()):
        label = next(iter(labels_of(u, classifier.config)), None)
        if label in classifier.labels and label != "other":
            pause = draw.standard_normal(round(draw.uniform(*PAUSE_S) * rate_hz), np.float32)
            pause *= 10 ** (PAUSE_DB / 20)
            samples = audio.read(u.audio, rate_hz, u.start_s, u.duration_s)
            start, at = at + len(pause), at + len(pause) + len(samples)
            words.append(StreamWord(u, label, start / rate_hz, at / rate_hz))
            pieces += [pause, samples]
        on_progress()
    return words, pieces


def _thresholds() -> np.ndarray:
    """(STEPS,) from low to high."""
    low, high = (math.log(p / (1 - p)) for p in (LEAST, MOST))
    return 1 / (1 + np.exp(-np.linspace(low, high, STEPS)))


def _match(words: Sequence[StreamWord], found: Sequence[Detection]) -> tuple[list[bool], int]:
    """Whether each word was detected, and the number of other detections; both in order of time."""
    hits, wrong, first = [False] * len(words), 0, 0
    for one in found:
        while first < len(words) and words[first].end_s <= one.start_s:
            first += 1
        overlapping = []
        for i in range(first, len(words)):
            if words[i].start_s >= one.end_s:
                break
            if words[i].label == one.label and not hits[i]:
                overlapping.append(i)
        if overlapping:
            hits[overlapping[0]] = True
        else:
            wrong += 1
    return hits, wrong


def _point(
    threshold: float, wrongly: int, words: Sequence[StreamWord], found: Sequence[Detection]
) -> KeywordPoint:
    hits, wrong = _match(words, found)
    return KeywordPoint(float(threshold), wrongly, sum(hits), wrong)


def _best(points: Sequence[KeywordPoint], allowed: float) -> KeywordPoint:
    """The point with the most words found among those from which on no point has more false accepts
    than `allowed`; the highest threshold of several.

    At very low thresholds, successive words run together into one, so the lowest is not always the
    best.
    """
    kept = [points[-1]]
    for point in reversed(points[:-1]):
        if point.false_accepts > allowed:
            break
        kept.append(point)
    return max(kept, key=lambda point: (point.found, point.threshold))


def _highest(
    scan: _Scan, speech: Sequence[tuple[str, list[ScoredWindow]]], low: float, high: float
) -> list[tuple[str, Detection]]:
    """The detections at threshold `low` with a probability below `high`, the likeliest first."""
    found = [
        (name, one)
        for name, windows in speech
        for one in scan.detections(windows, low)
        if one.probability < high
    ]
    return sorted(found, key=lambda one: -one[1].probability)[:NEAR_MISSES]
