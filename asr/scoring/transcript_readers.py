"""Readers of transcript files: tables, plain text, Kaldi's `text`, NIST's trn, ctm and stm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.nist import (
    IGNORED,
    TimedWord,
    is_comment,
    is_ctm,
    is_stm,
    parse_ctm,
    parse_stm,
    parse_trn,
)
from asr.errors import UserError

Role = Literal["reference", "hypothesis"]
Lines = list[tuple[int, str]]  # (line number, line)

# The columns that may hold the text, in order of preference. NeMo writes hypotheses to pred_text
# and keeps the reference in text.
TEXT_COLUMNS = {
    "reference": ("reference", "text"),
    "hypothesis": ("hypothesis", "pred_text", "text"),
}
ALL_TEXT_COLUMNS = {name for names in TEXT_COLUMNS.values() for name in names}


@dataclass(frozen=True)
class Text:
    """The reference or the hypothesis of one utterance."""

    id: str
    text: str
    columns: dict[str, Any] = field(default_factory=dict)  # the other columns of the file

    @property
    def speaker(self) -> str | None:
        speaker = self.columns.get("speaker")
        return None if speaker is None else str(speaker)


@dataclass(frozen=True)
class TextFile:
    """The texts of a file, in the order of the file. Repeated ids are kept."""

    path: Path
    format: str  # description for messages
    texts: list[Text]
    column: str | None = None  # the column of a table that has the texts
    numbered: bool = False  # the file has no ids, so the ids are line numbers
    words: tuple[TimedWord, ...] = ()  # the words of a ctm file

    def __str__(self) -> str:
        where = f", column {self.column}" if self.column else ""
        return f"{self.path} ({self.format}{where}, {len(self.texts)} texts)"


def read_texts(path: str | Path, role: Role) -> TextFile:
    """Read references or hypotheses. The suffix or else the content determines the format.

    - .jsonl, .tsv, .csv: a table with a column `id` (or `audio`) and one of `TEXT_COLUMNS`, such as
      a manifest, transcripts, or hypotheses.jsonl of a scored system.
    - .trn, .ctm, .stm: the formats of NIST's sclite.
    - No suffix: Kaldi's `text`, where each line begins with an id.
    - Otherwise, if every line has a tab, the id is before the tab; if every line is valid ctm or
      stm, the file is read as that; if not, each line is a text and its line number is the id.

    Raises `UserError`, which names the file and line, if a line is malformed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".tsv", ".csv"):
        return _table(path, role)
    lines = list(_lines(path))
    if suffix in _NIST:
        return _NIST[suffix](path, lines)
    if any(line.strip() for _, line in lines):
        if all("\t" in line for _, line in lines):
            split = [(n, *line.partition("\t")[::2]) for n, line in lines]
            return TextFile(path, "id, tab, text", [Text(id, text) for _, id, text in split])
        if not suffix:
            split = [line.split(maxsplit=1) for _, line in lines if line.strip()]
            texts = [Text(id, rest[0] if rest else "") for id, *rest in split]
            return TextFile(path, "Kaldi text", texts)
        for fits, read in ((is_ctm, _ctm), (is_stm, _stm)):
            if all(fits(line.split()) for _, line in _content(lines)):
                return read(path, lines)
    texts = [Text(str(number), line) for number, line in lines]
    return TextFile(path, "plain text, one utterance per line", texts, numbered=True)


def columns_of(utterance: Utterance) -> dict[str, Any]:
    """The manifest columns of an utterance that have a value, except its id and text."""
    known = {
        "audio": utterance.audio,
        "start_s": utterance.start_s,
        "duration_s": utterance.duration_s,
        "speaker": utterance.speaker,
        "language": utterance.language,
    }
    return {key: value for key, value in known.items() if value is not None} | utterance.extra


def split_by_segments(ctm: TextFile, stm: TextFile) -> TextFile:
    """The words of a ctm, joined into one text for each segment of an stm by their times.

    As in sclite, a word belongs to the first segment of its file and channel that ends after the
    middle of the word, or to the last segment if no segment does. Raises `UserError` if the stm has
    no segment for a file of the ctm.
    """
    # By (file, channel): the end and the words of each segment.
    segments: dict[tuple[str, str], list[tuple[float, list[str]]]] = {}
    texts = []
    for segment in stm.texts:
        c = segment.columns
        words: list[str] = []
        segments.setdefault((c["file"], c["channel"]), []).append(
            (c["start_s"] + c["duration_s"], words)
        )
        texts.append((segment.id, words))
    for ends in segments.values():
        ends.sort(key=lambda segment: segment[0])
    for word in ctm.words:
        ends = segments.get((word.file, word.channel))
        if ends is None:
            raise UserError(
                f"{ctm.path}: file {word.file!r}, channel {word.channel!r} has no segment in "
                f"{stm.path}"
            )
        after = (words for end_s, words in ends if word.middle_s < end_s)
        next(after, ends[-1][1]).append(word.text)
    joined = [Text(id, " ".join(words)) for id, words in texts]
    return TextFile(ctm.path, "ctm, split by the segments of the stm", joined)


# ---- one reader per format -----------------------------------------------------------------------


def _table(path: Path, role: Role) -> TextFile:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    rows = manifest.rows(path)
    present = {name for _, row in rows for name in row}
    column = next((name for name in TEXT_COLUMNS[role] if name in present), None)
    if column is None:
        raise UserError(
            f"{path}: no column for the {role}: it must be named {' or '.join(TEXT_COLUMNS[role])}"
        )
    texts = []
    for line, row in rows:
        if "audio" in row or "audio_filepath" in row:
            utterance = manifest.to_utterance(row, path, line)
            id, columns = utterance.id, columns_of(utterance)
        elif "id" in row:
            id, columns = str(row["id"]), {key: row[key] for key in row if key != "id"}
        else:
            raise UserError(f"{path}:{line}: no column 'id' or 'audio'; add one")
        others = {key: columns[key] for key in columns if key not in ALL_TEXT_COLUMNS}
        texts.append(Text(id, str(row.get(column) or ""), others))
    return TextFile(path, "table", texts, column)


def _trn(path: Path, lines: Lines) -> TextFile:
    texts = [Text(*_parsed(parse_trn, path, number, line)) for number, line in _content(lines)]
    return TextFile(path, "trn", texts)


def _ctm(path: Path, lines: Lines) -> TextFile:
    words = [_parsed(parse_ctm, path, number, line) for number, line in _content(lines)]
    words.sort(key=lambda word: (word.file, word.channel, word.start_s))
    channels = {(word.file, word.channel) for word in words}
    mono = {file for file, _ in channels if sum(file == other for other, _ in channels) == 1}
    texts = []
    for (file, channel), group in groupby(words, lambda word: (word.file, word.channel)):
        id = file if file in mono else f"{file}_{channel}"
        texts.append(Text(id, " ".join(word.text for word in group)))
    return TextFile(path, "ctm", texts, words=tuple(words))


def _stm(path: Path, lines: Lines) -> TextFile:
    texts = []
    for number, line in _content(lines):
        segment = _parsed(parse_stm, path, number, line)
        columns = {
            "file": segment.file,
            "channel": segment.channel,
            "speaker": segment.speaker,
            "start_s": segment.start_s,
            "duration_s": segment.end_s - segment.start_s,
        }
        if segment.label is not None:
            columns["label"] = segment.label
        text = IGNORED if segment.ignored else " ".join(segment.words)
        id = f"{segment.file}_{segment.channel}_{segment.start_s:.3f}"
        texts.append(Text(id, text, columns))
    return TextFile(path, "stm", texts)


def _parsed(parse: Callable[[str], Any], path: Path, number: int, line: str) -> Any:
    try:
        return parse(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: {error}") from None


_NIST: dict[str, Callable[[Path, Lines], TextFile]] = {".trn": _trn, ".ctm": _ctm, ".stm": _stm}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, line.rstrip("\n")) for number, line in enumerate(file, start=1))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _content(lines: Lines) -> Lines:
    """The lines that are neither blank nor a comment."""
    return [(number, line) for number, line in lines if not is_comment(line)]
