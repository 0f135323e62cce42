"""What a check observes: counts, a few examples, and a few bytes for each utterance."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from asr.audio import AudioInfo
from asr.audio.level import SILENT_DB, Level
from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.text.normalize import steps_of
from asr.text.scripts import scripts_of

EXAMPLES = 5  # examples in each finding
EXTREMES = 20  # utterances that are kept at each end of the speaking rates
MOST_CLIPPED = 1e-3  # the largest share of samples at full scale without a warning
MOST_PAUSE = 0.75  # the largest share of frames without speech, in utterances from LONG_S on
LONG_S = 3.0


@dataclass
class Examples:
    """How often something was observed, and the first few examples."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.first) < EXAMPLES:
            self.first.append(example)


@dataclass
class Observations:
    """Observations of `asr.data.check.check`, which `asr.data.findings` puts into sentences."""

    config: TextConfig = field(default_factory=TextConfig)
    seconds: array = field(default_factory=lambda: array("f"))  # of each utterance
    characters: array = field(default_factory=lambda: array("I"))  # of its normalized text
    frames: array = field(default_factory=lambda: array("f"))  # that the model gives per character
    fastest: list[tuple[float, str]] = field(default_factory=list)  # heap: characters/s, id
    slowest: list[tuple[float, str]] = field(default_factory=list)  # heap: -characters/s, id
    changed: dict[str, Examples] = field(default_factory=lambda: defaultdict(Examples))  # by step
    first_seen: dict[str, str] = field(default_factory=dict)  # character: id
    mixed: Examples = field(default_factory=Examples)
    words: set[str] = field(default_factory=set)  # not ASCII, and examined
    clipped: Examples = field(default_factory=Examples)
    silent: Examples = field(default_factory=Examples)
    pauses: Examples = field(default_factory=Examples)
    rates_hz: dict[int, Examples] = field(default_factory=lambda: defaultdict(Examples))
    channels: dict[int, Examples] = field(default_factory=lambda: defaultdict(Examples))

    def add_text(self, utterance: Utterance, text: str, frames: int) -> None:
        """Observe the text of an utterance whose `duration_s` is known.

        text: after normalization. frames: the number of frames that the model has for it.
        """
        count = len(text) - text.count(" ")
        self.seconds.append(utterance.duration_s)
        self.characters.append(count)
        self.frames.append(frames / max(1, count))
        if utterance.duration_s > 0 and count:
            rate = count / utterance.duration_s
            _keep(self.fastest, (rate, utterance.id))
            _keep(self.slowest, (-rate, utterance.id))
        for character in set(text) - self.first_seen.keys():
            self.first_seen[character] = utterance.id
        if utterance.text != text:
            self._trace(utterance.text or "")
        if not text.isascii():
            self._find_mixed(utterance.id, text)

    def _trace(self, text: str) -> None:
        """Note which steps change a text."""
        for step in steps_of(self.config)[:-1]:  # the last one is about spaces
            after = step.apply(text)
            if after != text and (before := text.split()) != (now := after.split()):
                seen = self.changed[step.name]
                seen.add(_difference(before, now) if len(seen.first) < EXAMPLES else "")
            text = after

    def _find_mixed(self, name: str, text: str) -> None:
        for word in text.split():
            if word.isascii() or word in self.words:
                continue
            self.words.add(word)
            for part in word.split("-"):
                scripts = scripts_of(part)
                if len(scripts) > 1:
                    self.mixed.add(f"{part!r} in {name} ({' and '.join(sorted(scripts))})")

    def add_audio(self, utterance: Utterance, info: AudioInfo, level: Level | None) -> None:
        """Observe the audio of an utterance. level: of the decoded samples, or None."""
        self.rates_hz[info.rate_hz].add(utterance.id)
        self.channels[info.channels].add(utterance.id)
        if level is None:
            return
        if level.loudest_db < SILENT_DB:
            self.silent.add(f"{utterance.id} (loudest {level.loudest_db:.0f} dB)")
        elif level.clipped_share > MOST_CLIPPED:
            self.clipped.add(f"{utterance.id} ({level.clipped_share:.1%})")
        duration_s = level.samples / level.rate_hz
        if duration_s >= LONG_S and MOST_PAUSE < level.pause_share < 1:
            self.pauses.add(f"{utterance.id} ({level.pause_share:.0%} of {duration_s:.1f} s)")


def _keep(heap: list[tuple[float, str]], item: tuple[float, str]) -> None:
    """Add an item to a heap of the `EXTREMES` largest ones."""
    if len(heap) < EXTREMES:
        heappush(heap, item)
    elif item > heap[0]:
        heappushpop(heap, item)


def _difference(left: list[str], right: list[str]) -> str:
    """The first words in which two texts differ, with one word before them: "'a B' -> 'a b'"."""
    pairs = enumerate(zip(left, right, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
    at = slice(max(0, first - 1), first + 3)
    return f"{' '.join(left[at])!r} -> {' '.join(right[at])!r}"
