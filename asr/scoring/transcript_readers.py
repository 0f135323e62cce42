"""Files of texts to score: tables, plain lines, Kaldi's `text`, NIST's trn, ctm and stm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError

Role = Literal["reference", "hypothesis"]
Fields = list[tuple[int, list[str]]]  # number of a line and what stands in it

# Where a table may have the text; NeMo writes what it recognized as pred_text beside text.
TEXT_COLUMNS = {
    "reference": ("reference", "text"),
    "hypothesis": ("hypothesis", "pred_text", "text"),
}
ALL_TEXT_COLUMNS = {name for names in TEXT_COLUMNS.values() for name in names}
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"  # the text of such a segment, in an stm
ALTERNATIVES = {"{", "}", "/", "@"}  # of an stm; in a ctm <ALT_BEGIN> and its like


@dataclass(frozen=True)
class Text:
    """What was said in an utterance, or what was recognized."""

    id: str
    text: str
    columns: dict[str, Any] = field(default_factory=dict)  # what else the file tells of it

    @property
    def speaker(self) -> str | None:
        speaker = self.columns.get("speaker")
        return None if speaker is None else str(speaker)


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
class Texts:
    """A file of texts in its order. Ids may stand twice: whoever joins files names them."""

    path: Path
    format: str  # in words
    texts: list[Text]
    column: str | None = None  # of a table: where the texts stand
    numbered: bool = False  # ids are numbers of lines, because there are no others
    words: tuple[TimedWord, ...] = ()  # of a ctm

    def __str__(self) -> str:
        where = f", column {self.column}" if self.column else ""
        return f"{self.path} ({self.format}{where}, {len(self.texts)} texts)"


def read_texts(path: str | Path, role: Role) -> Texts:
    """Read references or hypotheses; the format is told by the name, otherwise by the content.

    .jsonl, .tsv, .csv: a table with `id` (or `audio`) and one of TEXT_COLUMNS: manifests, our
    transcripts, what `asr score --to` wrote. .trn, .ctm, .stm: NIST's, as sclite reads them. A file
    named `text`, or with no suffix: Kaldi's, an id before each text. Anything else: lines that all
    have a tab have an id before it; lines that all look like a ctm or stm are one; otherwise each
    line is a text and its number the id.

    Raises `UserError` that names file and line where something does not fit.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".tsv", ".csv"):
        return _table(path, role)
    lines = list(_lines(path))
    if suffix in _NIST:
        return _NIST[suffix](path, _fields(lines))
    if any(line.strip() for _, line in lines):
        if all("\t" in line for _, line in lines):
            split = [(n, *line.partition("\t")[::2]) for n, line in lines]
            return Texts(path, "id, tab, text", [Text(id, text) for _, id, text in split])
        if not suffix:
            split = [line.split(maxsplit=1) for _, line in lines if line.strip()]
            texts = [Text(id, rest[0] if rest else "") for id, *rest in split]
            return Texts(path, "Kaldi text", texts)
        for fits, read in ((_is_ctm, _ctm), (_is_stm, _stm)):
            if all(fits(found) for _, found in _fields(lines)):
                return read(path, _fields(lines))
    texts = [Text(str(number), line) for number, line in lines]
    return Texts(path, "plain text, a line an utterance", texts, numbered=True)


def columns_of(utterance: Utterance) -> dict[str, Any]:
    """What the manifest tells of an utterance, besides its text."""
    known = {
        "audio": utterance.audio,
        "start_s": utterance.start_s,
        "duration_s": utterance.duration_s,
        "speaker": utterance.speaker,
        "language": utterance.language,
    }
    return {key: value for key, value in known.items() if value is not None} | utterance.extra


def cut_as(words: Texts, segments: Texts) -> Texts:
    """The words of a ctm as one text for each segment of an stm, by time.

    As sclite has it: a word belongs to the first segment of its file and channel that ends after
    its middle, or to the last one; so none is lost between segments. Raises `UserError` when a file
    of the ctm has no segment.
    """
    places: dict[tuple[str, str], list[tuple[float, list[str]]]] = {}
    texts = []
    for segment in segments.texts:
        c = segment.columns
        found: list[str] = []
        places.setdefault((c["file"], c["channel"]), []).append(
            (c["start_s"] + c["duration_s"], found)
        )
        texts.append((segment.id, found))
    for ends in places.values():
        ends.sort(key=lambda place: place[0])
    for word in words.words:
        ends = places.get((word.file, word.channel))
        if ends is None:
            raise UserError(
                f"{words.path}: file {word.file!r}, channel {word.channel!r} has no segment in "
                f"{segments.path}"
            )
        after = (found for end_s, found in ends if word.middle_s < end_s)
        next(after, ends[-1][1]).append(word.text)
    joined = [Text(id, " ".join(found)) for id, found in texts]
    return Texts(words.path, "ctm, cut at the segments of the stm", joined)


# ---- one reader a format -------------------------------------------------------------------------


def _table(path: Path, role: Role) -> Texts:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    rows = manifest.rows(path)
    present = {name for _, row in rows for name in row}
    column = next((name for name in TEXT_COLUMNS[role] if name in present), None)
    if column is None:
        raise UserError(
            f"{path}: no column for the {role}: name it {' or '.join(TEXT_COLUMNS[role])}"
        )
    texts = []
    for line, row in rows:
        if "audio" in row or "audio_filepath" in row:
            utterance = manifest.to_utterance(row, path, line)
            id, columns = utterance.id, columns_of(utterance)
        elif "id" in row:
            id, columns = str(row["id"]), {key: row[key] for key in row if key != "id"}
        else:
            raise UserError(f"{path}:{line}: no column 'id' (or 'audio')")
        others = {key: columns[key] for key in columns if key not in ALL_TEXT_COLUMNS}
        texts.append(Text(id, str(row.get(column) or ""), others))
    return Texts(path, "table", texts, column)


def _trn(path: Path, lines: Fields) -> Texts:
    texts = []
    for number, found in lines:
        if not (found[-1].startswith("(") and found[-1].endswith(")")):
            raise UserError(f"{path}:{number}: a line of a .trn ends with (id)")
        texts.append(Text(found[-1][1:-1], " ".join(found[:-1])))
    return Texts(path, "trn", texts)


def _is_ctm(found: list[str]) -> bool:
    return len(found) in (5, 6) and all(_number(value) is not None for value in found[2:4])


def _ctm(path: Path, lines: Fields) -> Texts:
    words = []
    for number, found in lines:
        if not _is_ctm(found):
            raise UserError(
                f"{path}:{number}: expected file, channel, start, duration, word and perhaps a "
                "confidence"
            )
        file, channel, start, duration, word = found[:5]
        if word.startswith("<ALT"):
            raise UserError(f"{path}:{number}: alternatives ({word}) are not read; keep one")
        words.append(TimedWord(file, channel, float(start), float(duration), word))
    words.sort(key=lambda word: (word.file, word.channel, word.start_s))
    channels = {(word.file, word.channel) for word in words}
    alone = {file for file, _ in channels if sum(file == other for other, _ in channels) == 1}
    texts = []
    for (file, channel), spoken in groupby(words, lambda word: (word.file, word.channel)):
        id = file if file in alone else f"{file}_{channel}"
        texts.append(Text(id, " ".join(word.text for word in spoken)))
    return Texts(path, "ctm", texts, words=tuple(words))


def _is_stm(found: list[str]) -> bool:
    return len(found) >= 5 and all(_number(value) is not None for value in found[3:5])


def _stm(path: Path, lines: Fields) -> Texts:
    texts = []
    for number, found in lines:
        if not _is_stm(found):
            raise UserError(f"{path}:{number}: expected file, channel, speaker, start, end, text")
        file, channel, speaker, start, end, *words = found
        columns = {"file": file, "channel": channel, "speaker": speaker, "start_s": float(start)}
        columns["duration_s"] = float(end) - float(start)
        if columns["duration_s"] < 0:
            raise UserError(f"{path}:{number}: the segment ends ({end}) before it starts ({start})")
        if words and words[0].startswith("<") and words[0].endswith(">"):
            columns["label"] = words.pop(0)[1:-1]
        if ALTERNATIVES & set(words):
            raise UserError(f"{path}:{number}: alternatives {{ a / b }} are not read; keep one")
        id = f"{file}_{channel}_{columns['start_s']:.3f}"
        texts.append(Text(id, " ".join(words), columns))
    return Texts(path, "stm", texts)


_NIST: dict[str, Callable[[Path, Fields], Texts]] = {".trn": _trn, ".ctm": _ctm, ".stm": _stm}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, line.rstrip("\n")) for number, line in enumerate(file, start=1))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _fields(lines: list[tuple[int, str]]) -> Fields:
    """Without blank lines and comments."""
    return [(n, line.split()) for n, line in lines if line.strip() and not line.startswith(";;")]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
