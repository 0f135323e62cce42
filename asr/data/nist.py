"""Parsers for the lines of NIST's transcript formats trn, ctm and stm, as sclite reads them.

https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm
"""

from __future__ import annotations

import math
from dataclasses import dataclass

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"  # text of an stm segment that is not scored; any case
ALTERNATIVES = {"{", "}", "/", "@"}  # marks of alternatives in an stm; a ctm has <ALT_BEGIN> etc.


@dataclass(frozen=True)
class TimedWord:
    """A word of a ctm."""

    file: str
    channel: str
    start_s: float
    duration_s: float
    text: str

    @property
    def middle_s(self) -> float:
        return self.start_s + self.duration_s / 2


@dataclass(frozen=True)
class StmSegment:
    file: str
    channel: str
    speaker: str
    start_s: float
    end_s: float
    label: str | None  # <o,f0,male>, without the brackets
    words: list[str]

    @property
    def ignored(self) -> bool:
        return len(self.words) == 1 and self.words[0].upper() == IGNORED


def is_comment(line: str) -> bool:
    return not line.strip() or line.startswith(";;")


def parse_trn(line: str) -> tuple[str, str]:
    """(id, text) of a line `text (id)`. Raises `ValueError`."""
    *words, last = line.split() or [""]
    if not (last.startswith("(") and last.endswith(")")):
        raise ValueError("a line of a .trn must end with (id)")
    return last[1:-1], " ".join(words)


def is_ctm(fields: list[str]) -> bool:
    return len(fields) in (5, 6) and all(_number(value) is not None for value in fields[2:4])


def parse_ctm(line: str) -> TimedWord:
    """A line `file channel start duration word [confidence]`. Raises `ValueError`."""
    fields = line.split()
    if not is_ctm(fields):
        raise ValueError(
            "expected file, channel, start, duration, word and optionally a confidence"
        )
    file, channel, start, duration, word = fields[:5]
    if word.startswith("<ALT"):
        raise ValueError(f"alternatives ({word}) are not supported; keep one")
    return TimedWord(file, channel, float(start), float(duration), word)


def is_stm(fields: list[str]) -> bool:
    return len(fields) >= 5 and all(_number(value) is not None for value in fields[3:5])


def parse_stm(line: str) -> StmSegment:
    """A line `file channel speaker start end [<label>] text`. Raises `ValueError`."""
    fields = line.split()
    if not is_stm(fields):
        raise ValueError("expected file, channel, speaker, start, end, text")
    file, channel, speaker, start, end, *words = fields
    if float(end) < float(start):
        raise ValueError(f"the segment ends ({end}) before it starts ({start})")
    label = None
    # The first word is a label if it is in angle brackets, except <unk>, TED-LIUM's unknown word.
    if words and words[0].startswith("<") and words[0].endswith(">") and words[0] != "<unk>":
        label = words.pop(0)[1:-1]
    if ALTERNATIVES & set(words):
        raise ValueError("alternatives { a / b } are not supported; keep one")
    return StmSegment(file, channel, speaker, float(start), float(end), label, words)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
