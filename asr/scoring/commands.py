"""How well a recognizer with a grammar understands and refuses, and the threshold between both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.text.normalize import normalize
from asr.transcript import SpokenCommand

Meaning = tuple[str | None, dict[str, Any]]


@dataclass(frozen=True)
class Heard:
    """An utterance with what the grammar made of it, whether accepted or not."""

    utterance: Utterance
    text: str  # normalized; "" outside the grammar
    expected: Meaning | None  # None if the text is not in the grammar
    command: SpokenCommand


@dataclass(frozen=True)
class Share:
    """A number of utterances out of all, with Wilson's 95% interval of the share."""

    count: int
    of: int

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.96, self.of, self.share
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, center - half), min(1.0, center + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%}; {self.count} of {self.of})"


@dataclass(frozen=True)
class CommandScore:
    """Understanding inside the grammar and acceptance outside of it, at one threshold."""

    sentences: Share  # accepted with the right words
    intents: Share  # accepted with the right intent
    commands: Share  # accepted with the right intent and all slots right
    refused: Share  # inside, but refused
    accepted: Share  # outside, but accepted

    def __str__(self) -> str:
        parts = []
        if self.sentences.of:
            parts += [f"commands {self.commands}", f"sentences {self.sentences}"]
            parts.append(f"wrongly refused {self.refused}")
        if self.accepted.of:
            parts.append(f"wrongly accepted {self.accepted}")
        return ", ".join(parts)


@dataclass
class HeardCommands:
    """What a recognizer understood, and what could not be read."""

    inside: list[Heard] = field(default_factory=list)
    outside: list[Heard] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def hear(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    outside: Iterable[Utterance] = (),
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> HeardCommands:
    """What a recognizer with a grammar makes of utterances, with nothing refused.

    An utterance belongs to the grammar if its text is one of the sentences. Utterances whose text
    is another one, or that have none, and all of `outside`, are outside. Raises `UserError` if the
    recognizer has no grammar.
    """
    if recognizer.grammar is None:
        raise UserError("the model has no grammar; give one, or put one into the model file")
    compiled = recognizer.grammar.compile(recognizer.tokenizer, recognizer.config.text)
    anything = recognizer.with_decoder(min_fit=-math.inf)
    found = HeardCommands()
    for inside, group in ((True, list(utterances)), (False, list(outside))):
        for utterance, result in transcribe_many(anything, group, on_progress=on_progress):
            if isinstance(result, Failure):
                found.failures.append(result)
                continue
            commands = [s.command for s in result.segments if s.command is not None]
            nothing = SpokenCommand(False, -math.inf, "", None, {})
            best = max(commands, key=lambda command: command.fit, default=nothing)
            text = normalize(utterance.text or "", recognizer.config.text) if inside else ""
            expected = _meaning(compiled, recognizer, text)
            place = found.inside if expected is not None else found.outside
            place.append(Heard(utterance, text, expected, best))
    return found


def _meaning(compiled: Any, recognizer: Recognizer, text: str) -> Meaning | None:
    """The intent and slots of a sentence; None if it is outside the grammar."""
    if not text:
        return None
    try:
        tokens = recognizer.tokenizer.encode(text)
    except ValueError:  # has a character that the model cannot write
        return None
    return compiled.meaning(tokens)


def score_commands(heard: HeardCommands, min_fit: float) -> CommandScore:
    """The scores if commands below `min_fit` are refused."""
    inside = [(one, one.command.fit >= min_fit) for one in heard.inside]
    count = len(inside)

    def share(right: Callable[[Heard], bool]) -> Share:
        return Share(sum(accepted and right(one) for one, accepted in inside), count)

    return CommandScore(
        sentences=share(lambda one: one.command.text == one.text),
        intents=share(lambda one: one.command.intent == one.expected[0]),
        commands=share(lambda one: (one.command.intent, one.command.slots) == one.expected),
        refused=Share(sum(not accepted for _, accepted in inside), count),
        accepted=Share(
            sum(one.command.fit >= min_fit for one in heard.outside), len(heard.outside)
        ),
    )


def choose_min_fit(
    inside: Sequence[float], outside: Sequence[float], false_accepts: float
) -> float:
    """The threshold at which at most a share `false_accepts` of `outside` is accepted.

    inside, outside: the fits of utterances that are in the grammar, and of others. If thresholds
    refuse all of `outside` and at most 1% of `inside`, the middle one is taken, so that both sides
    have room; otherwise the lowest one that keeps to `false_accepts`. Raises `UserError` if a list
    is empty or the share is outside 0 to 1.
    """
    if not 0 <= false_accepts < 1:
        raise UserError(f"false accepts: {false_accepts}; give a share from 0 to below 1")
    if not len(inside) or not len(outside):
        raise UserError(
            f"{len(inside)} utterances inside the grammar and {len(outside)} outside: the "
            "threshold needs both"
        )
    outer = np.sort(np.asarray(outside, float))
    most = float(np.quantile(np.asarray(inside, float), 0.01, method="lower"))
    if outer[-1] < most:
        chosen = (outer[-1] + most) / 2 if math.isfinite(outer[-1]) else most
    else:
        allowed = int(false_accepts * len(outer))
        chosen = np.nextafter(outer[-1 - allowed], np.inf)  # just above the last that is refused
    return min(0.0, math.ceil(chosen * 1e4) / 1e4)
