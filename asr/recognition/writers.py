"""A transcript as text: one writer a format, `FORMATS[name](transcript) -> str`.

Times are seconds from the start of the file unless a format has its own notation. Line breaks and
tabs inside texts become spaces wherever they would break the format.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from asr.transcript import Transcript, Word

# What subtitles keep to where they can; the numbers are those of broadcasters' guides.
LINE_CHARACTERS = 42
LINES = 2
PAUSE_S = 1.0  # a silence this long begins a new subtitle
LONGEST_S = 7.0
CHARACTERS_PER_S = 17.0  # reading speed; a subtitle stays on for that long if nothing follows

Cue = tuple[int, int, list[str]]  # first and last millisecond, lines
Interval = tuple[int, int, str]  # first and last millisecond, text


def txt(transcript: Transcript) -> str:
    """One line a segment."""
    return "".join(f"{_one_line(s.text)}\n" for s in transcript.segments if s.words)


def json_object(transcript: Transcript) -> str:
    """Everything, indented."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2) + "\n"


def jsonl(transcript: Transcript, id: str | None = None) -> str:
    """Everything in one line, so that the transcripts of many files can follow each other.

    id: of the utterance, put first.
    """
    row = ({} if id is None else {"id": id}) | transcript.to_dict()
    return json.dumps(row, ensure_ascii=False) + "\n"


def tsv(transcript: Transcript) -> str:
    """Columns start_s, end_s and text, a row a segment; nothing is quoted."""
    rows = (
        f"{segment.start_s:.3f}\t{segment.end_s:.3f}\t{_one_line(segment.text)}\n"
        for segment in transcript.segments
        if segment.words
    )
    return "start_s\tend_s\ttext\n" + "".join(rows)


def srt(transcript: Transcript, line_characters: int = LINE_CHARACTERS, lines: int = LINES) -> str:
    """SubRip subtitles. They know no escapes: an arrow `-->` in the text becomes `→`."""
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
    """NIST's time-marked conversation: file, channel, start, duration, word, confidence.

    Spaces separate its fields; those inside the file's name or a word become `_`.
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

    Intervals must have a length and fill the tier. So where two overlap the later begins where the
    earlier ends, and a text that is left without a length joins the interval beside it.
    """
    words = [(word.start_s, word.end_s, word.text) for word in transcript.words]
    segments = [(segment.start_s, segment.end_s, segment.text) for segment in transcript.segments]
    last_s = max([transcript.duration_s, *(end_s for _, end_s, _ in words + segments)])
    end = max(1, _milliseconds(last_s))  # the tier needs a length too
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
CHAINABLE = ("txt", "jsonl", "ctm")  # those of many recordings may follow each other in one file


def _cues(transcript: Transcript, line_characters: int, lines: int) -> list[Cue]:
    """Subtitles in order, without overlap: each on from its first word until it can be read."""
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
    """The words of each subtitle; it ends with its segment, at a pause, or when it is full."""
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
    """Lines of whole words, each as full as `width` allows; a longer word has its own line."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += " " + text
        else:
            lines.append(text)
    return lines


def _wrap(texts: Sequence[str], width: int) -> list[str]:
    """As many lines as `_fill` gives, made as equally long as can be."""
    count = len(_fill(texts, width))
    return next(
        lines for narrower in range(1, width + 1) if len(lines := _fill(texts, narrower)) == count
    )


def _intervals(spans: Sequence[tuple[float, float, str]], end: int) -> list[Interval]:
    """Spans (start_s, end_s, text) in order -> intervals that fill 0 to `end`, "" between them."""
    intervals: list[Interval] = []
    at, waiting = 0, ""
    spoken = None  # index of the last interval that has a text
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
