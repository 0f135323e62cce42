"""What a recognizer returns: words in segments in a transcript; times in seconds of the file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Word:
    """A word with its place in the recording."""

    text: str
    start_s: float
    end_s: float
    confidence: float  # in [0, 1]


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance, as a decoder returns it; times count from its first frame."""

    tokens: tuple[int, ...]
    text: str
    score: float  # natural log; comparable only among the hypotheses of one utterance
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A stretch of speech that was decoded in one piece."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Transcript:
    """All that was heard in one recording."""

    audio: str
    duration_s: float
    segments: tuple[Segment, ...]
    alternatives: tuple[str, ...] = field(default=())  # other readings, best first

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments if segment.words)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict:
        """Plain types, ready for JSON: the text first, then segments and words."""
        return {"audio": self.audio, "duration_s": self.duration_s, "text": self.text} | {
            key: value
            for key, value in asdict(self).items()
            if key in ("segments", "alternatives") and value
        }
