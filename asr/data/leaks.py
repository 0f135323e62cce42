"""Leaks between two sets: speakers, sentences and recordings that are in both, also re-encoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from asr import audio
from asr.audio import Member, fingerprint
from asr.audio.fingerprint import CANDIDATE, COPY, RATE_HZ, correlation, durations_differ
from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.data.split import key_of
from asr.errors import UserError
from asr.text.normalize import normalize

MOST_CANDIDATES = 40  # the waveforms of at most this many are compared with a recording
OPEN_RECORDINGS = 64  # decoded recordings that are kept in memory
MOST_S = 60.0  # only this much of each recording is compared
EXAMPLES = 10  # for each kind of leak


@dataclass
class Shared:
    """One kind of leak: counts and examples."""

    what: str  # speakers, sentences or recordings
    values: int = 0  # different speakers, sentences or recordings
    utterances: int = 0  # utterances of the first set that have one of them
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, new: bool) -> None:
        self.utterances += 1
        self.values += new
        if new and len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass
class Leaks:
    speakers: Shared = field(default_factory=lambda: Shared("speakers"))
    sentences: Shared = field(default_factory=lambda: Shared("sentences"))
    recordings: Shared = field(default_factory=lambda: Shared("recordings"))
    unreadable: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(shared.utterances for shared in self.all)

    @property
    def all(self) -> tuple[Shared, Shared, Shared]:
        return self.speakers, self.sentences, self.recordings

    def lines(self, first: str, second: str) -> list[str]:
        """A summary: each kind with its count and examples."""
        lines = []
        for shared in self.all:
            if not shared.utterances:
                lines.append(f"no {shared.what} in common")
                continue
            lines.append(
                f"{shared.values} {shared.what} of {second} are in {first} too, "
                f"in {shared.utterances} of its utterances:"
            )
            lines += [f"  {example}" for example in shared.examples]
            if shared.values > len(shared.examples):
                lines.append("  ...")
        return lines


def find_leaks(
    first: Iterable[Utterance],
    second: Iterable[Utterance],
    *,
    open_audio: bool = True,
    config: TextConfig | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Leaks:
    """Find what the first set (train) shares with the second (test), the smaller one.

    Sentences are compared after normalization with `config`. Two recordings are the same if they
    are overlapping segments of one file or, with `open_audio`, if they sound the same in any
    format, rate, loudness or bit rate. Memory is about 500 bytes for each utterance of the second
    set. progress: called after each utterance of either set.
    """
    config = config or TextConfig()
    known = _Known(config, open_audio, progress)
    for u in second:
        known.add(u)
    known.finish()
    for u in first:
        progress()
        known.compare(u)
    return known.leaks


class _Known:
    """What is kept of the second set for comparison."""

    def __init__(self, config: TextConfig, open_audio: bool, progress: Callable[[], None]):
        self.config, self.open_audio, self.progress = config, open_audio, progress
        self.leaks = Leaks()
        self.speakers: set[str] = set()
        self.sentences: dict[int, str] = {}  # {hash of the text: id of an utterance}
        self.stretches: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        self.utterances: list[Utterance] = []  # those whose audio could be read
        self.prints: list[np.ndarray] = []
        self.lengths_s: list[float] = []
        self.found: set[tuple[str, str]] = set()  # (kind, value) that has been counted
        self.sound = lru_cache(OPEN_RECORDINGS)(self._sound)

    def add(self, u: Utterance) -> None:
        self.progress()
        if u.speaker is not None:
            self.speakers.add(u.speaker)
        text = normalize(u.text or "", self.config)
        if text:
            self.sentences.setdefault(key_of(text, 0), u.id)
        self.stretches[_place(u)].append((*_ends(u), u.id))
        if self.open_audio:
            samples = self._readable(u)
            if samples is not None:
                self.prints.append(fingerprint.fingerprint(samples))
                self.lengths_s.append(len(samples) / RATE_HZ)
                self.utterances.append(u)

    def finish(self) -> None:
        """Sort by length, because only recordings of about the same length are compared."""
        order = np.argsort(self.lengths_s, kind="stable")
        self.utterances = [self.utterances[i] for i in order]
        self.sorted_s = np.array(self.lengths_s)[order]
        stacked = np.array(self.prints, np.float32).reshape(-1, fingerprint.SIZE)
        self.matrix = stacked[order]

    def compare(self, u: Utterance) -> None:
        if u.speaker in self.speakers:
            self.leaks.speakers.add(f"{u.speaker} ({u.id})", self._new("speaker", u.speaker))
        text = normalize(u.text or "", self.config)
        other = self.sentences.get(key_of(text, 0)) if text else None
        if other is not None:
            self.leaks.sentences.add(f"{u.id} and {other}: {text}", self._new("text", text))
        other = self._same_place(u)
        detail = "the same stretch of a file"
        if other is None and self.open_audio:
            other, score = self._same_sound(u)
            detail = f"the same sound (correlation {score:.3f})"
        if other is not None:
            self.leaks.recordings.add(f"{u.id} and {other}: {detail}", self._new("audio", other))

    def _new(self, kind: str, value: str) -> bool:
        seen = (kind, value) in self.found
        self.found.add((kind, value))
        return not seen

    def _same_place(self, u: Utterance) -> str | None:
        start_s, end_s = _ends(u)
        for other_start_s, other_end_s, id in self.stretches.get(_place(u), ()):
            if min(end_s, other_end_s) - max(start_s, other_start_s) > 0.01:
                return id
        return None

    def _same_sound(self, u: Utterance) -> tuple[str | None, float]:
        samples = self._readable(u) if len(self.utterances) else None
        if samples is None:
            return None, 0.0
        length_s = len(samples) / RATE_HZ
        reach_s = 0.15 + 0.04 * length_s  # at least what `durations_differ` allows
        low, high = np.searchsorted(self.sorted_s, [length_s - reach_s, length_s + reach_s])
        near = self.matrix[low:high] @ fingerprint.fingerprint(samples)
        near[durations_differ(self.sorted_s[low:high], length_s)] = -1
        for i in np.argsort(-near)[:MOST_CANDIDATES]:
            if near[i] < CANDIDATE:
                break
            other = self.utterances[low + i]
            score = correlation(samples, self.sound(int(low + i)))
            if score >= COPY:
                return other.id, score
        return None, 0.0

    def _sound(self, number: int) -> np.ndarray:
        return _read(self.utterances[number])

    def _readable(self, u: Utterance) -> np.ndarray | None:
        try:
            return _read(u)
        except UserError as error:
            self.leaks.unreadable.append(f"{u.id}: {error}")
            return None


def _read(u: Utterance) -> np.ndarray:
    duration_s = MOST_S if u.duration_s is None else min(u.duration_s, MOST_S)
    rate_hz = audio.info(u.audio).rate_hz  # at another rate, `read` would report resampling
    return audio.resample(audio.read(u.audio, rate_hz, u.start_s, duration_s), rate_hz, RATE_HZ)


def _place(u: Utterance) -> str:
    return f"{u.audio.path}#{u.audio.offset}" if isinstance(u.audio, Member) else str(u.audio)


def _ends(u: Utterance) -> tuple[float, float]:
    return u.start_s, np.inf if u.duration_s is None else u.start_s + u.duration_s
