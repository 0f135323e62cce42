"""The findings of a check, as sentences: warnings about likely mistakes, and advice on settings.

No finding excludes an utterance; `asr.data.check.Problem` is for those that cannot be used.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asr.config import Config
from asr.data.observations import EXAMPLES, Examples, Observations
from asr.text.scripts import EAST_ASIAN, script_of

OUTLIER = 4.0  # robust standard deviations of the log of the speaking rate
LEAST_SPREAD = 0.1  # the deviation of the log is taken as at least this
LEAST_UTTERANCES = 20  # with fewer, no speaking rate is typical
RARE = 2  # a character is rare up to this many occurrences, or RARE_SHARE of all characters
RARE_SHARE = 1e-5
TIGHT_FRAMES = 1.5  # frames per character below which CTC has little room
CHARACTERS_A_PIECE = 10_000  # characters of training text for each piece of a vocabulary
PIECES = (128, 256, 500, 1000, 2000, 5000)
FEW_HOURS = 2.0  # too few to learn a language from random weights
FEW_SHARE = 0.1  # a sampling rate that a smaller share of the files has is unusual


@dataclass(frozen=True)
class Finding:
    """A sentence, and examples of the utterances or texts that it is about."""

    kind: str  # "text", "speech", "audio", "advice"
    sentence: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ": " + "; ".join(self.examples) if self.examples else ""
        return f"{self.sentence}{named}"


def findings(seen: Observations, characters: Counter, config: Config) -> list[Finding]:
    """All findings: about texts, speaking rates, audio, then advice.

    characters: {character: count} of the normalized texts (`Statistics.characters`).
    """
    return [
        *_changes(seen),
        *_characters(seen, characters),
        *_speaking_rates(seen),
        *_audio(seen, config),
        *_amount(seen, config),
        *_durations(seen, config),
        *_units(seen, len(characters), config),
    ]


def _of(kind: str, sentence: str, examples: Examples) -> Iterator[Finding]:
    if examples.count:
        n = examples.count
        are, have = _utterances(n, "is", "are"), _utterances(n, "has", "have")
        text = sentence.format(n=_utterances(n), are=are, have=have)
        yield Finding(kind, text, tuple(examples.first))


def _utterances(count: int, one: str = "", many: str = "") -> str:
    """The count, and the verb in its singular or plural."""
    return f"{_count(count, 'utterance')} {one if count == 1 else many}".rstrip()


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _changes(seen: Observations) -> Iterator[Finding]:
    for step, examples in seen.changed.items():
        yield from _of("text", f"text.{step} changed the text of {{n}}", examples)


def _characters(seen: Observations, alphabet: Counter) -> Iterator[Finding]:
    """Digits, rare characters of another script than the texts or no letters, mixed scripts."""
    total = alphabet.total()
    scripts: dict[str, int] = {}
    for character, count in alphabet.items():
        script = script_of(character)
        if script:
            scripts[script] = scripts.get(script, 0) + count
    usual = max(scripts, key=scripts.__getitem__, default=None)
    digits = [c for c in sorted(alphabet) if c.isdigit()]
    if digits:
        place = seen.first_seen[digits[0]]
        yield Finding(
            "text",
            f"The texts have digits ({''.join(digits)}, first in {place}), which do not tell how "
            "they are spoken: write numbers out, or set text.numbers to spell and text.language.",
        )
    limit = max(RARE, total * RARE_SHARE)
    rare = []
    for character, count in sorted(alphabet.items()):
        script = script_of(character)
        expected = script == usual and (usual == EAST_ASIAN or character.isascii())
        if count > limit or character in " '-" or character.isdigit() or expected:
            continue
        if total < 100 * RARE and script == usual:  # in a small corpus, every letter is rare
            continue
        name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
        times = _count(count, "time")
        rare.append(f"{character!r} ({name}), {times}, first in {seen.first_seen[character]}")
    if rare:
        sentence = (
            f"{_count(len(rare), 'rare character')} may be a mistake: correct the texts, because "
            "the model cannot learn what it hardly sees"
        )
        yield Finding("text", sentence, tuple(rare[:10]))
    if seen.mixed.count:
        yield Finding(
            "text",
            f"Scripts are mixed in {_count(seen.mixed.count, 'word')}, mostly by letters that look "
            "alike: correct the texts",
            tuple(seen.mixed.first),
        )


def _speaking_rates(seen: Observations) -> Iterator[Finding]:
    """Utterances whose log rate differs from the median by `OUTLIER` robust deviations (MAD)."""
    seconds, characters = np.array(seen.seconds), np.array(seen.characters)
    usable = (seconds > 0) & (characters > 0)
    if usable.sum() < LEAST_UTTERANCES:
        return
    logs = np.log(characters[usable] / seconds[usable])
    median = float(np.median(logs))
    spread = max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - median))))
    low, high = math.exp(median - OUTLIER * spread), math.exp(median + OUTLIER * spread)
    fast = [(rate, name) for rate, name in sorted(seen.fastest, reverse=True) if rate > high]
    slow = [(-rate, name) for rate, name in sorted(seen.slowest, reverse=True) if -rate < low]
    fast_count, slow_count = int((logs > math.log(high)).sum()), int((logs < math.log(low)).sum())
    rate = f"characters a second ({math.exp(median):.1f} is typical); check whether their text is"
    if fast:
        have = _utterances(fast_count, "has", "have")
        sentence = f"{have} more than {high:.1f} {rate} that of the audio"
        yield Finding("speech", sentence, _rated(fast))
    if slow:
        have = _utterances(slow_count, "has", "have")
        yield Finding("speech", f"{have} fewer than {low:.1f} {rate} complete", _rated(slow))


def _rated(found: list[tuple[float, str]]) -> tuple[str, ...]:
    return tuple(f"{name} ({rate:.1f})" for rate, name in found[:EXAMPLES])


def _audio(seen: Observations, config: Config) -> Iterator[Finding]:
    yield from _of("audio", "{are} silent: leave them out or correct their segments", seen.silent)
    clipped = "{are} clipped (share of samples at full scale): lower the gain of the recording"
    yield from _of("audio", clipped, seen.clipped)
    pauses = "{are} mostly pauses: cut them closer to the speech"
    yield from _of("audio", pauses, seen.pauses)
    wanted = config.features.rate_hz
    files = sum(examples.count for examples in seen.rates_hz.values())
    for rate_hz, examples in sorted(seen.rates_hz.items()):
        if rate_hz < wanted:
            sentence = (
                f"{{have}} {rate_hz} Hz, below features.rate_hz {wanted}: set it to {rate_hz} "
                "if the model will hear such audio"
            )
            yield from _of("audio", sentence, examples)
        elif examples.count < FEW_SHARE * files:
            yield from _of("audio", f"{{have}} {rate_hz} Hz, unlike most", examples)
    for channels, examples in sorted(seen.channels.items()):
        if channels > 1:
            sentence = (
                f"{{have}} {channels} channels, of which the mean is used: split channels that "
                "are different speakers"
            )
            yield from _of("audio", sentence, examples)


def _amount(seen: Observations, config: Config) -> Iterator[Finding]:
    """Advice to start from a trained model, if the audio is too little for random weights."""
    hours = float(np.sum(seen.seconds)) / 3600
    if hours < FEW_HOURS and config.train.init_from is None:
        yield Finding(
            "advice",
            f"{hours:.2f} hours are few for training from random weights: set train.init_from to a "
            "model file, or to english for the English model of the package.",
        )


def _durations(seen: Observations, config: Config) -> Iterator[Finding]:
    """A better `data.max_duration_s`, if the longest utterances are far longer than 99% of them."""
    if not len(seen.seconds):
        return
    seconds = np.array(seen.seconds)
    longest, most = float(seconds.max()), config.data.max_duration_s
    usual = float(np.quantile(seconds, 0.99))
    limit = math.ceil(usual)
    left_out = seconds[seconds > limit]
    if longest > 1.5 * usual and limit < most and len(left_out):
        yield Finding(
            "advice",
            f"99% of the utterances last at most {usual:.1f} s, the longest {longest:.1f} s: set "
            f"data.max_duration_s to {limit}, which leaves out {_utterances(len(left_out))} "
            f"({left_out.sum() / 3600:.2f} hours) and makes batches smaller.",
        )
    elif longest > most:
        over = seconds[seconds > most]
        yield Finding(
            "advice",
            f"{_utterances(len(over))} ({over.sum() / 3600:.2f} hours) exceed "
            f"data.max_duration_s {most:g}: cut them into sentences, or raise the limit to "
            f"{math.ceil(longest)} if memory allows.",
        )


def _units(seen: Observations, alphabet: int, config: Config) -> Iterator[Finding]:
    """Advice on the tokenizer, from the amount of text and the frames for each character."""
    total = int(np.sum(seen.characters))
    if not total:
        return
    frames = np.array(seen.frames)
    median, tight = float(np.median(frames)), float(np.quantile(frames, 0.01))
    budget = f"the model has {median:.1f} frames a character, {tight:.1f} in the tightest 1%"
    affordable = total / CHARACTERS_A_PIECE
    size = max((n for n in PIECES if n <= affordable), default=0)
    characters = config.tokenizer.kind == "characters"
    if tight < TIGHT_FRAMES and characters:
        remedy = f"set tokenizer.kind to bpe with tokenizer.vocab_size {max(size, PIECES[0])}"
        if config.model.subsampling > 2:
            remedy = f"set model.subsampling to {config.model.subsampling // 2}, or {remedy[4:]}"
        yield Finding("advice", f"CTC has little room, because {budget}: {remedy}.")
    elif alphabet > PIECES[1] or not size:
        if not characters and alphabet <= PIECES[1]:
            few = f"{total} characters of text are few for {config.tokenizer.vocab_size} pieces"
            yield Finding("advice", f"{few}: set tokenizer.kind to characters, because {budget}.")
        else:
            yield Finding("advice", f"tokenizer.kind characters suits this corpus: {budget}.")
    elif characters or config.tokenizer.vocab_size > 2 * size:
        yield Finding(
            "advice",
            f"There is enough text ({total} characters) for tokenizer.kind bpe with "
            f"tokenizer.vocab_size {size}; {budget}.",
        )
