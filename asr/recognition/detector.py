"""A detector of keywords in audio that is still coming in.

A window moves over the stream; a keyword is detected when its probability, averaged over the last
windows, reaches a threshold. After a detection the detector is deaf for a while, so that one word
is not reported twice (debounce).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.audio import StreamResampler
from asr.audio.source import checked_rate
from asr.errors import UserError
from asr.recognition.classifier import Classifier

SILENCE_DB = -70.0  # of full scale; a window below is silence and goes not through the model


@dataclass(frozen=True)
class DetectorSettings:
    """How the probabilities of windows become detections; a default of None is the model's."""

    window_s: float = 0.8
    hop_s: float = 0.1
    smooth: int = 2  # windows over which a probability is averaged
    threshold: float | None = None  # None: `classify.reject` of the model, or 0.5 if that is 0
    debounce_s: float = 0.7  # after a detection, nothing is detected for this time
    near: float = 0.1  # how far below the threshold a near miss lies at most


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard, or nearly."""

    label: str
    start_s: float  # of the window with the highest probability
    end_s: float
    probability: float
    accepted: bool  # False: a near miss

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "probability": round(self.probability, 4),
            "accepted": self.accepted,
        }


def keywords_of(classifier: Classifier, ignored: Collection[str]) -> list[int]:
    """The numbers of the classes that a detector reports; raises `UserError` for unknown names."""
    if missing := [name for name in ignored if name not in (*classifier.labels, "other")]:
        raise UserError(f"{missing[0]!r} is not one of the classes of the model")
    return [i for i, label in enumerate(classifier.labels) if label not in set(ignored)]


class KeywordEvents:
    """The likeliest keyword of each window, in order of time -> detections and near misses.

    window: samples; rate_hz: of the model.
    """

    def __init__(self, settings: DetectorSettings, threshold: float, window: int, rate_hz: int):
        self.settings, self.threshold = settings, threshold
        self.window, self.rate_hz = window, rate_hz
        self._deaf_until = 0
        self._peak: Detection | None = None  # of the word under way, not yet reported

    def judge(self, start: int, label: str, value: float) -> list[Detection]:
        """The word that ended with the window from sample `start`, if any.

        value: the mean probability of the last windows.
        """
        found: list[Detection] = []
        if start >= self._deaf_until and value >= self.threshold - self.settings.near:
            start_s, end_s = max(0, start) / self.rate_hz, (start + self.window) / self.rate_hz
            new = Detection(label, start_s, end_s, value, value >= self.threshold)
            if self._peak is not None and new.label != self._peak.label and self._peak.accepted:
                found = self.report()
                if start < self._deaf_until:
                    return found
            if self._peak is None or value > self._peak.probability:
                self._peak = new
            return found
        return self.report()

    def report(self) -> list[Detection]:
        """The word under way, which is finished."""
        peak, self._peak = self._peak, None
        if peak is None:
            return []
        if peak.accepted:
            pause = round(self.settings.debounce_s * self.rate_hz)
            self._deaf_until = round(peak.start_s * self.rate_hz) + pause
        return [peak]


@dataclass(frozen=True)
class ScoredWindow:
    """The likeliest keyword of a window, with its mean probability over the last windows."""

    start: int  # the sample of the stream at which it begins
    label: str
    value: float


class KeywordWindows:
    """Samples in pieces of any size -> the windows that are complete, with their keywords."""

    def __init__(
        self,
        classifier: Classifier,
        rate_hz: float,
        settings: DetectorSettings,
        ignored: Collection[str] = ("other",),
    ):
        if not 0 < settings.hop_s <= settings.window_s:
            raise UserError(
                f"windows of {settings.window_s:g} s every {settings.hop_s:g} s: "
                "give 0 < hop <= window"
            )
        self.classifier, self.smooth = classifier, settings.smooth
        self.keywords = keywords_of(classifier, ignored)
        model_hz = classifier.rate_hz
        self.window, self._hop = (round(s * model_hz) for s in (settings.window_s, settings.hop_s))
        self._resampler = StreamResampler(checked_rate(rate_hz, "stream"), model_hz)
        self._samples = np.zeros(self.window - self._hop, np.float32)  # silence before the stream
        self._at = -len(self._samples)  # the sample of the stream at which `_samples` begins
        self._recent: deque[np.ndarray] = deque(maxlen=settings.smooth)

    def feed(self, samples: np.ndarray) -> list[ScoredWindow]:
        """(N,) float32 at the rate of the stream"""
        return self._advance(self._resampler.feed(samples))

    def finish(self) -> list[ScoredWindow]:
        """The windows at the end of the stream, with silence after it."""
        found = self._advance(self._resampler.finish())
        return found + self._advance(np.zeros(self.window, np.float32))

    def _advance(self, samples: np.ndarray) -> list[ScoredWindow]:
        self._samples = np.concatenate([self._samples, samples])
        windows, starts = [], []
        while len(self._samples) >= self.window:
            windows.append(self._samples[: self.window])
            starts.append(self._at)
            self._samples, self._at = self._samples[self._hop :], self._at + self._hop
        return [self._score(*one) for one in zip(starts, self._probabilities(windows), strict=True)]

    def _probabilities(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        """(C,) of each window; those of silence are 0."""
        loud = [i for i, w in enumerate(windows) if np.abs(w).max() > 10 ** (SILENCE_DB / 20)]
        found = [np.zeros(len(self.classifier.labels))] * len(windows)
        for first in range(0, len(loud), 32):
            batch = loud[first : first + 32]
            emissions = self.classifier.emissions([windows[i] for i in batch])
            for i, row in zip(batch, emissions.rows(), strict=True):
                found[i] = np.exp(row[0])
        return found

    def _score(self, start: int, probabilities: np.ndarray) -> ScoredWindow:
        self._recent.append(probabilities)
        mean = np.sum(self._recent, axis=0) / self.smooth
        best = max(self.keywords, key=lambda i: mean[i])
        return ScoredWindow(start, self.classifier.labels[best], float(mean[best]))


class Detector:
    """Samples in pieces of any size -> detections, the same whatever the sizes.

    keywords: the classes that are reported; by default all but those of `ignored`.
    """

    def __init__(
        self,
        classifier: Classifier,
        rate_hz: float,
        settings: DetectorSettings | None = None,
        ignored: Collection[str] = ("other",),
    ):
        self.settings = settings = settings or DetectorSettings()
        self.windows = KeywordWindows(classifier, rate_hz, settings, ignored)
        self.keywords = [classifier.labels[i] for i in self.windows.keywords]
        saved = classifier.config.classify.reject or 0.5
        self.threshold = saved if settings.threshold is None else settings.threshold
        self._events = KeywordEvents(
            settings, self.threshold, self.windows.window, classifier.rate_hz
        )

    def feed(self, samples: np.ndarray) -> list[Detection]:
        """(N,) float32 at the rate of the stream -> the words that are certain by now."""
        return self._judge(self.windows.feed(samples))

    def finish(self) -> list[Detection]:
        """The words at the end of the stream."""
        return self._judge(self.windows.finish()) + self._events.report()

    def _judge(self, windows: list[ScoredWindow]) -> list[Detection]:
        return [
            word for one in windows for word in self._events.judge(one.start, one.label, one.value)
        ]
