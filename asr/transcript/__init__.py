"""Transcripts: segments of words, with times in seconds from the start of the recording.

The formats that a transcript can be saved in are in `asr.transcript.writers`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Word:
    """A word and its place in the recording."""

    text: str
    start_s: float
    end_s: float
    confidence: float  # in [0, 1]


@dataclass(frozen=True)
class SpokenCommand:
    """What a sentence of a grammar asks for, or the refusal of an utterance."""

    accepted: bool  # whether the utterance was a sentence of the grammar
    fit: float  # how well the sentence fits: ln P of it per token
    text: str  # the sentence that fits best, also of a refused utterance
    intent: str | None
    slots: dict[str, Any]


@dataclass(frozen=True)
class Hypothesis:
    """A text that a decoder found for an utterance; times count from the first frame."""

    tokens: tuple[int, ...]
    text: str
    score: float  # natural log; comparable only among the hypotheses of one utterance
    words: tuple[Word, ...] = ()
    command: SpokenCommand | None = None  # of a decoder with a grammar


@dataclass(frozen=True)
class Segment:
    """A part of a recording that was decoded at once, or a sentence that was aligned."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]
    command: SpokenCommand | None = None  # with a grammar

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Transcript:
    """The text of one recording, with the times and confidences of its words."""

    audio: str  # the path of the recording, or a description of a source without a path
    duration_s: float
    segments: tuple[Segment, ...]
    alternatives: tuple[str, ...] = field(default=())  # the texts of the other hypotheses, in order

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments if segment.words)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def command(self) -> SpokenCommand | None:
        """The first command that was accepted, otherwise the first refusal; None without a grammar.

        A long recording may have a command in each segment.
        """
        commands = [segment.command for segment in self.segments if segment.command is not None]
        return next((one for one in commands if one.accepted), commands[0] if commands else None)

    def to_dict(self) -> dict[str, Any]:
        """The transcript in plain types for JSON.

        Empty segments and alternatives are left out, and so are commands without a grammar.
        """
        segments = [
            {key: value for key, value in asdict(segment).items() if value is not None}
            for segment in self.segments
        ]
        found: dict[str, Any] = {
            "audio": self.audio,
            "duration_s": self.duration_s,
            "text": self.text,
        }
        if segments:
            found["segments"] = segments
        if self.alternatives:
            found["alternatives"] = self.alternatives
        return found

    def save(self, path: str | Path) -> None:
        """Write the transcript in the format that the suffix of `path` names.

        The formats are those of `asr.transcript.writers.FORMATS`: txt, json, jsonl, srt, vtt, tsv,
        ctm and TextGrid. Raises `UserError` for another suffix or if the file cannot be written.
        """
        from asr.transcript.writers import save

        save(path, self)
