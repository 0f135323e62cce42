"""Subtitles in SRT and WebVTT, and Audacity's labels.

https://www.w3.org/TR/webvtt1/, https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.base import text_of
from asr.data.importers.segments import TimedText

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s|$)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_WORD_TIME = re.compile(r"<\d\d:\d\d:\d\d\.\d{3}>")
_SOUND = re.compile(r"[\[(*♪][^\])]*[\])*♪]?")  # [applause], (laughs), ♪ music ♪
_LABEL = re.compile(r"(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)(?:\t(.*))?")


def read_subtitles(path: Path) -> Iterator[TimedText]:
    """The cues without markup; the text of a cue that only describes a sound is empty.

    Rolling captions, such as YouTube's, repeat each line in the next cue; it is taken once.
    """
    text = text_of(path)
    rolling, shown = bool(_WORD_TIME.search(text)), []
    for (start_s, end_s), lines in _cues(text):
        speaker = next((m[1].strip() for m in map(_VOICE.search, lines) if m), None)
        plain = [" ".join(html.unescape(_MARKUP.sub("", line)).split()) for line in lines]
        plain = [line for line in plain if line]
        new = [line for line in plain if line not in shown] if rolling else plain
        shown = plain
        if new:
            said = " ".join(new)
            yield TimedText(start_s, end_s, "" if _SOUND.fullmatch(said) else said, speaker)


def _cues(text: str) -> Iterator[tuple[tuple[float, float], list[str]]]:
    times, lines = None, []
    for line in [*text.splitlines(), ""]:
        match = _CUE.match(line)
        if match:
            if times is not None:  # without a blank line, the number of this cue ends the last
                yield times, lines[:-1] if lines and lines[-1].strip().isdecimal() else lines
            parts = match.groups()
            times, lines = (_seconds(*parts[:4]), _seconds(*parts[4:])), []
        elif times is not None and line.strip():
            lines.append(line)
        elif times is not None and (lines or not line):  # not YouTube's " " before the text
            yield times, lines
            times = None


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + float(f"0.{fraction or 0}")


def is_labels(text: str) -> bool:
    """Whether a text is Audacity's list of labels: start, end and text, separated by tabs."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\\")]
    return bool(lines) and all(_LABEL.fullmatch(line) for line in lines)


def read_labels(path: Path) -> Iterator[TimedText]:
    """Audacity's labels, without the lines of frequencies, which begin with a backslash."""
    for line in text_of(path).splitlines():
        match = _LABEL.fullmatch(line)
        if match:
            start, end, text = match.groups()
            yield TimedText(
                float(start.replace(",", ".")), float(end.replace(",", ".")), text or ""
            )
