"""Find the problems of a manifest before training, and compute its statistics."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr import audio
from asr.audio.level import Level
from asr.config import Config
from asr.data.manifest import Utterance
from asr.data.observations import Observations
from asr.data.shards import SECONDS, Shards
from asr.data.targets import missing_target, needs_target, target_text
from asr.errors import UserError
from asr.files import replacing
from asr.text.tokenizer import Tokenizer

NAMED_PROBLEMS = 10  # number of problems that `Problems.lines` lists
# (token ids, seconds of audio) -> (frames that CTC needs, frames that the model gives)
CtcFrames = Callable[[Sequence[int], float], tuple[int, int]]
Measured = tuple[audio.AudioInfo, Level | None]

DURATION_TOLERANCE_S = 0.1  # the greatest difference between the durations of manifest and file


@dataclass(frozen=True)
class Problem:
    """The reason why an utterance cannot be used, or a warning about it."""

    utterance: str  # id
    kind: str
    detail: str
    usable: bool = False  # True for a warning: the utterance is used all the same


class Problems:
    """The number of problems of each kind, and the first few of them."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.first: list[Problem] = []

    def add(self, problem: Problem) -> None:
        self.counts[problem.kind] += 1
        if len(self.first) < NAMED_PROBLEMS:
            self.first.append(problem)

    def lines(self, source: str | Path) -> list[str]:
        """The counts, then the first problems, as lines of text."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        lines = [f"{source}: {self.counts.total()} problems: {counts}"]
        lines += [f"  {problem.utterance}: {problem.detail}" for problem in self.first]
        if self.counts.total() > len(self.first):
            lines.append(f"  ... and {self.counts.total() - len(self.first)} more")
        return lines


@dataclass(frozen=True)
class Statistics:
    utterances: int
    hours: float
    speakers: int
    duration_s: tuple[float, float, float]  # shortest, median, longest
    words: int
    words_a_second: float
    vocabulary: int  # distinct words
    characters: Counter  # of the normalized texts
    duplicate_texts: int  # utterances whose text occurs more than once
    duplicate_audio: int  # utterances whose segment of a file occurs more than once
    rates_hz: Counter  # of the files


@dataclass(frozen=True)
class Report:
    usable: list[Utterance]  # with measured durations
    problems: list[Problem]
    statistics: Statistics

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.usable]


class Tally:
    """Accumulates statistics in 24 bytes per utterance, and each word and speaker once."""

    def __init__(self):
        self.durations_s, self.words = array("d"), 0
        self.vocabulary: set[str] = set()
        self.characters: Counter = Counter()
        self.speakers: set[str] = set()
        self.texts, self.segments = array("q"), array("q")  # hashes
        self.rates_hz: Counter = Counter()

    def add(self, utterance: Utterance, text: str) -> None:
        """text: its normalized text."""
        words = text.split()
        self.durations_s.append(utterance.duration_s)
        self.words += len(words)
        self.vocabulary.update(words)
        self.characters.update("".join(words))
        if utterance.speaker is not None:
            self.speakers.add(utterance.speaker)
        self.texts.append(hash(text))
        self.segments.append(hash((utterance.audio, utterance.start_s, utterance.duration_s)))

    def statistics(self) -> Statistics:
        durations_s = np.array(self.durations_s or [0.0])
        return Statistics(
            utterances=len(self.durations_s),
            hours=durations_s.sum() / 3600,
            speakers=len(self.speakers),
            duration_s=(durations_s.min(), float(np.median(durations_s)), durations_s.max()),
            words=self.words,
            words_a_second=self.words / max(durations_s.sum(), 1e-9),
            vocabulary=len(self.vocabulary),
            characters=self.characters,
            duplicate_texts=_repeated(self.texts),
            duplicate_audio=_repeated(self.segments),
            rates_hz=self.rates_hz,
        )


def _repeated(hashes: array) -> int:
    """The number of values that occur more than once, counted with repetition."""
    _, counts = np.unique(np.array(hashes, dtype=np.int64), return_counts=True)
    return int(counts[counts > 1].sum())


def check(
    utterances: Iterable[Utterance],
    config: Config,
    ctc_frames: CtcFrames,
    tokenizer: Tokenizer | None = None,
    *,
    training: bool = False,
    decode: bool = False,
    open_audio: bool = True,
    tally: Tally | None = None,
    observations: Observations | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Check the file, the duration and the text of each utterance, and whether CTC can align it.

    tokenizer: if it is None, texts are not compared with an alphabet, and each character counts as
    a token. training: whether to apply the duration limits as well, and to check CTC at the highest
    speed of the augmentation. decode: whether to decode all audio, which finds damage that headers
    do not show. open_audio: if it is false, the durations of the manifest are believed, and an
    utterance that has none is a problem. tally, observations: accumulate the findings of several
    calls. progress: called after each utterance.
    """
    tally = tally or Tally()
    utterances = list(utterances)
    fastest = config.augment.pace[1] if training else 1.0
    problems: list[Problem] = []
    usable: list[Utterance] = []

    def measured(utterance: Utterance) -> Measured | UserError:
        try:
            if decode and observations is not None:
                return audio.measure(utterance.audio, utterance.start_s, utterance.duration_s)
            if decode:
                place = utterance.audio, utterance.start_s, utterance.duration_s
                return audio.verify(*place), None
            return audio.info(utterance.audio), None
        except UserError as error:
            return error

    def judge(utterance: Utterance, duration_s: float) -> None:
        if duration_s != utterance.duration_s:
            utterance = utterance.lasting(duration_s)
        found = _check_limits(utterance, config) if training else []
        text = target_text(utterance, config)
        unfit, frames = _check_target(utterance, text, config, tokenizer, ctc_frames, fastest)
        found += unfit
        problems.extend(found)
        if observations is not None and text:
            observations.add_text(utterance, text, frames)
        if all(problem.usable for problem in found):
            usable.append(utterance)
            tally.add(utterance, text)

    if not open_audio:
        for utterance in utterances:
            progress()
            if utterance.duration_s is None:
                problems.append(_unknown_duration(utterance))
            else:
                judge(utterance, utterance.duration_s)
        return Report(usable, problems, tally.statistics())
    with ThreadPoolExecutor(4) as pool:
        for utterance, found in zip(utterances, pool.map(measured, utterances), strict=True):
            progress()
            if isinstance(found, UserError):
                problems.append(Problem(utterance.id, "audio", str(found)))
                continue
            info, level = found
            tally.rates_hz[info.rate_hz] += 1
            if observations is not None:
                observations.add_audio(utterance, info, level)
            mismatch = check_duration(utterance, info.duration_s)
            if mismatch:  # the segment does not exist, so it cannot be checked further
                problems += mismatch
                continue
            duration_s = info.duration_s - utterance.start_s
            if utterance.duration_s is not None:
                duration_s = min(duration_s, utterance.duration_s)
            judge(utterance, duration_s)
    return Report(usable, problems, tally.statistics())


def _unknown_duration(utterance: Utterance) -> Problem:
    return Problem(utterance.id, "audio", f"its duration is unknown: {utterance.audio}")


def check_shards(
    shards: Shards, config: Config, ctc_frames: CtcFrames, tokenizer: Tokenizer, seconds: Path
) -> Iterator[Problem]:
    """Write the file `seconds`, from which `Shards` learns which utterances to train on.

    Yields the problems of all other utterances. Unlike `check`, it takes durations from the index
    and reads no audio. Memory holds the index of one shard.
    """
    _, fastest = config.augment.pace
    with replacing(seconds) as beside, beside.open("wb") as file:
        for number in range(len(shards.shards)):
            lasting = []
            for u in shards.of(number):
                if u.duration_s is None:
                    problems = [_unknown_duration(u)]
                else:
                    problems = _check_limits(u, config)
                    text = target_text(u, config)
                    problems += _check_target(u, text, config, tokenizer, ctc_frames, fastest)[0]
                yield from problems
                lasting.append(math.nan if problems else u.duration_s)
            file.write(np.array(lasting, SECONDS).tobytes())


def check_duration(utterance: Utterance, file_s: float) -> list[Problem]:
    """The problem if a file of `file_s` seconds does not have the segment of the utterance."""
    left_s = file_s - utterance.start_s
    if left_s <= 0:
        detail = f"starts at {utterance.start_s:.2f} s, {utterance.audio} ends at {file_s:.2f} s"
        return [Problem(utterance.id, "duration", detail)]
    if utterance.duration_s is not None and utterance.duration_s > left_s + DURATION_TOLERANCE_S:
        detail = (
            f"{utterance.duration_s:.2f} s in the manifest, {left_s:.2f} s in {utterance.audio}"
        )
        return [Problem(utterance.id, "duration", detail)]
    return []


def _check_limits(utterance: Utterance, config: Config) -> list[Problem]:
    low, high = config.data.min_duration_s, config.data.max_duration_s
    if low <= utterance.duration_s <= high:
        return []
    detail = (
        f"{utterance.duration_s:.2f} s, outside data.min_duration_s {low:g} "
        f"to data.max_duration_s {high:g}"
    )
    return [Problem(utterance.id, "limits", detail)]


def _check_target(
    utterance: Utterance,
    text: str,
    config: Config,
    tokenizer: Tokenizer | None,
    ctc_frames: CtcFrames,
    fastest: float,
) -> tuple[list[Problem], int]:
    """The problem of a normalized text or a label, and the frames that the model gives for it."""
    if not text and needs_target(config):
        kind = "text" if config.task == "transcribe" else "label"
        return [Problem(utterance.id, kind, missing_target(utterance, config))], 0
    try:
        tokens, problems = tokenizer.encode(text) if tokenizer else list(map(ord, text)), []
    except ValueError as error:
        tokens, problems = [], [Problem(utterance.id, "alphabet", str(error))]
    needed, frames = ctc_frames(tokens, utterance.duration_s / fastest)
    if needed > frames:
        at_speed = f" at speed {fastest:g}" if fastest != 1 else ""
        detail = (
            f"{utterance.duration_s:.2f} s give {frames} frames{at_speed}, its "
            f"{len(tokens)} tokens and {needed - len(tokens)} repeats need {needed}: lower "
            "model.subsampling, take larger units (tokenizer.kind=bpe), or correct the text"
        )
        problems.append(Problem(utterance.id, "ctc", detail))
    return problems, frames
