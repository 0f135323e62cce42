"""Segments of a long recording with their texts, from labels, subtitles or annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.data.importers.base import ImportLog
from asr.data.manifest import Utterance

PAUSE_S = 0.5  # after a pause of this length between words, a new segment begins
LONGEST_S = 20.0  # a segment of joined words is not longer


@dataclass(frozen=True)
class TimedText:
    start_s: float
    end_s: float
    text: str
    speaker: str | None = None
    channel: int | None = None  # from 0
    extra: dict[str, Any] = field(default_factory=dict, hash=False)


def join_words(words: Iterable[TimedText]) -> Iterator[TimedText]:
    """Join timed words, in order, to segments that end at pauses and changes of the speaker."""
    found: list[TimedText] = []
    for word in words:
        if found and (
            word.start_s - found[-1].end_s >= PAUSE_S
            or word.end_s - found[0].start_s > LONGEST_S
            or (word.speaker, word.channel) != (found[0].speaker, found[0].channel)
        ):
            yield _joined(found)
            found = []
        found.append(word)
    if found:
        yield _joined(found)


def _joined(words: list[TimedText]) -> TimedText:
    text, first = " ".join(word.text for word in words), words[0]
    return TimedText(first.start_s, words[-1].end_s, text, first.speaker, first.channel)


def to_utterances(
    name: str, audio: str, segments: Iterable[TimedText], where: Path, log: ImportLog
) -> Iterator[Utterance]:
    """Utterances of the recording `audio`, with ids NAME@START, the start in seconds."""
    for segment in segments:
        id = f"{name}@{segment.start_s:.3f}"
        if segment.channel:
            id += f"#{segment.channel}"
        if segment.end_s <= segment.start_s:
            log.leave_out("the segment ends before it starts", f"{where}: {id}", segment.text)
            continue
        extra = dict(segment.extra)
        if segment.channel is not None:
            extra["channel"] = segment.channel
        yield Utterance(
            id,
            audio,
            segment.start_s,
            segment.end_s - segment.start_s,
            " ".join(segment.text.split()),
            segment.speaker,
            extra=extra,
        )
