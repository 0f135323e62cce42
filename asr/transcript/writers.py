"""A transcript in a text format: `FORMATS[name](transcript)` returns the content of a file.

Times are in seconds from the start of the recording unless a format has its own notation. Line
breaks and tabs in texts become spaces in the formats that they would break.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from asr import files
from asr.errors import UserError
from asr.transcript import Transcript, Word

# The usual limits of subtitles in the style guides of broadcasters.
LINE_CHARACTERS = 42
LINES = 2
PAUSE_S = 1.0  # a pause of this length starts a new subtitle
LONGEST_S = 7.0
CHARACTERS_PER_S = 17.0  # reading speed: a subtitle stays until it can be read or the next starts

Cue = tuple[int, int, list[str]]  # first and last millisecond, lines
Interval = tuple[int, int, str]  # first and last millisecond, text


def txt(transcript: Transcript) -> str:
    """One line for each segment."""
    return "".join(f"{_one_line(s.text)}\n" for s in transcript.segments if s.words)


def json_object(transcript: Transcript) -> str:
    """The whole transcript as an indented JSON object."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2) + "\n"


def jsonl(transcript: Transcript, id: str | None = None) -> str:
    """The whole transcript as a JSON object on one line, so that one file can hold many.

    id: the id of the utterance, written as the first key.
    """
    row = ({} if id is None else {"id": id}) | transcript.to_dict()
    return json.dumps(row, ensure_ascii=False) + "\n"


def tsv(transcript: Transcript) -> str:
    """Columns start_s, end_s and text, one row for each segment; nothing is quoted."""
    rows = (
        f"{segment.start_s:.3f}\t{segment.end_s:.3f}\t{_one_line(segment.text)}\n"
        for segment in transcript.segments
        if segment.words
    )
    return "start_s\tend_s\ttext\n" + "".join(rows)


def srt(transcript: Transcript, line_characters: int = LINE_CHARACTERS, lines: int = LINES) -> str:
    """SubRip subtitles. The format has no escapes, so `-->` in a text becomes `→`."""
    cues = enumerate(_cues(transcript, line_characters, lines), start=1)
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n"
        + "\n".join(text).replace("-->", "→")
        + "\n\n"
        for number, (start, end, text) in cues
    )


def vtt(transcript: Transcript, line_characters: int = LINE_CHARACTERS, lines: int = LINES) -> str:
    """WebVTT subtitles."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n"
        + html.escape("\n".join(text), quote=False)
        + "\n"
        for start, end, text in _cues(transcript, line_characters, lines)
    )


def ctm(transcript: Transcript) -> str:
    """NIST's time-marked conversation file: file, channel, start, duration, word, confidence.

    Fields are separated by spaces; spaces inside the name of the file or a word become `_`.
    """
    name = _joined(Path(transcript.audio).stem) or "audio"
    return "".join(
        f"{name} 1 {word.start_s:.3f} {max(0.0, word.end_s - word.start_s):.3f} "
        f"{_joined(word.text)} {word.confidence:.4f}\n"
        for word in transcript.words
        if word.text.strip()
    )


def textgrid(transcript: Transcript) -> str:
    """Praat's TextGrid with the interval tiers `words` and `segments`.

    Intervals must have a length above 0 and fill the tier. If two overlap, the later one therefore
    begins where the earlier one ends, and the text of an interval without a length is appended to
    the interval beside it.
    """
    words = [(word.start_s, word.end_s, word.text) for word in transcript.words]
    segments = [(segment.start_s, segment.end_s, segment.text) for segment in transcript.segments]
    last_s = max([transcript.duration_s, *(end_s for _, end_s, _ in words + segments)])
    end = max(1, _milliseconds(last_s))  # a tier must have a length above 0 as well
    span = [f"xmin = {_seconds(0)}", f"xmax = {_seconds(end)}"]
    out = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *span]
    out += ["tiers? <exists>", "size = 2", "item []:"]
    for number, (name, spans) in enumerate((("words", words), ("segments", segments)), start=1):
        intervals = _intervals(spans, end)
        out += [f"    item [{number}]:", '        class = "IntervalTier"']
        out += [f'        name = "{name}"', *(f"        {line}" for line in span)]
        out.append(f"        intervals: size = {len(intervals)}")
        for index, (start, after, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            out.append(f"        intervals [{index}]:")
            out.append(f"            xmin = {_seconds(start)}")
            out.append(f"            xmax = {_seconds(after)}")
            out.append(f'            text = "{quoted}"')
    return "\n".join(out) + "\n"


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": txt,
    "json": json_object,
    "jsonl": jsonl,
    "srt": srt,
    "vtt": vtt,
    "tsv": tsv,
    "ctm": ctm,
    "TextGrid": textgrid,
}
CHAINABLE = ("txt", "jsonl", "ctm")  # formats that hold the transcripts of many recordings


def save(path: str | Path, transcript: Transcript) -> None:
    """Write a transcript in the format that the suffix of `path` names, in any case of letters.

    Raises `UserError` for a suffix that is no format, or if the file cannot be written.
    """
    suffix = Path(path).suffix.removeprefix(".")
    by_suffix = {name.lower(): name for name in FORMATS}
    if suffix.lower() not in by_suffix:
        raise UserError(
            f"{path}: {suffix!r} is not a transcript format; give the file one of the suffixes "
            f".{', .'.join(FORMATS)}"
        )
    files.write(path, FORMATS[by_suffix[suffix.lower()]](transcript))


def _cues(transcript: Transcript, line_characters: int, lines: int) -> list[Cue]:
    """The subtitles in order, without overlap: each starts with its first word and stays until it
    can be read or the next one starts."""
    groups = list(_groups(transcript, line_characters, lines))
    starts: list[int] = []
    for group in groups:
        starts.append(max(_milliseconds(group[0].start_s), starts[-1] + 1 if starts else 0))
    cues: list[Cue] = []
    for i, group in enumerate(groups):
        text = _wrap([_one_line(word.text) for word in group], line_characters)
        spoken = max(_milliseconds(word.end_s) for word in group)
        read = starts[i] + _milliseconds(len(" ".join(text)) / CHARACTERS_PER_S)
        if i + 1 < len(groups):
            end = min(max(spoken, read), starts[i + 1])
        else:
            end = max(spoken, min(read, _milliseconds(transcript.duration_s)), starts[i] + 1)
        cues.append((starts[i], end, text))
    return cues


def _groups(transcript: Transcript, line_characters: int, lines: int) -> Iterator[list[Word]]:
    """The words of each subtitle, which ends with its segment, at a pause, or when it is full."""
    for segment in transcript.segments:
        group: list[Word] = []
        for word in segment.words:
            if not word.text.strip():
                continue
            if group and (
                word.start_s - group[-1].end_s >= PAUSE_S
                or word.end_s - group[0].start_s > LONGEST_S
                or len(_fill([_one_line(w.text) for w in [*group, word]], line_characters)) > lines
            ):
                yield group
                group = []
            group.append(word)
        if group:
            yield group


def _fill(texts: Sequence[str], width: int) -> list[str]:
    """Break words into lines of up to `width` characters; a longer word gets its own line."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += " " + text
        else:
            lines.append(text)
    return lines


def _wrap(texts: Sequence[str], width: int) -> list[str]:
    """Break words into as many lines as `_fill` does, but with the longest line minimized."""
    count = len(_fill(texts, width))
    return next(
        lines for narrower in range(1, width + 1) if len(lines := _fill(texts, narrower)) == count
    )


def _intervals(spans: Sequence[tuple[float, float, str]], end: int) -> list[Interval]:
    """Spans (start_s, end_s, text) in order -> intervals from 0 to `end`, with "" in the gaps."""
    intervals: list[Interval] = []
    at, waiting = 0, ""
    spoken = None  # the index of the last interval that has a text
    for start_s, end_s, text in spans:
        text = _one_line(f"{waiting} {text}")
        start, after = max(at, _milliseconds(start_s)), _milliseconds(end_s)
        if not text:
            continue
        if after > start:
            if start > at:
                intervals.append((at, start, ""))
            spoken, waiting, at = len(intervals), "", after
            intervals.append((start, after, text))
        elif spoken is not None:
            first, last, before = intervals[spoken]
            intervals[spoken] = (first, last, f"{before} {text}")
        else:
            waiting = text
    if at < end:
        intervals.append((at, end, waiting))
    return intervals


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _joined(text: str) -> str:
    return "_".join(text.split())


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"


def _clock(milliseconds: int, point: str) -> str:
    """Hours, minutes, seconds and milliseconds: 01:02:03.456."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{rest:03}"
