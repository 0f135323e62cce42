"""Utterances and the manifests that list them: JSON Lines, or the same columns in TSV and CSV."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asr.audio import Encoded, Member, Samples
from asr.errors import UserError
from asr.files import replacing

COLUMNS = ("id", "audio", "start_s", "duration_s", "text", "speaker", "language")
# The names that NeMo uses for these columns
SYNONYMS = {"audio_filepath": "audio", "offset": "start_s", "duration": "duration_s"}


@dataclass(frozen=True)
class Utterance:
    """A recording, or a segment of one, and its transcript."""

    id: str
    # The path of a file, resolved against the manifest; or audio in an archive or in memory
    audio: str | Member | Encoded | Samples
    start_s: float = 0.0
    duration_s: float | None = None  # None: up to the end of the file, which is not measured yet
    text: str | None = None  # None: not transcribed; "": contains no speech
    speaker: str | None = None
    language: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, hash=False)  # the row's other columns

    def lasting(self, duration_s: float) -> Utterance:
        return replace(self, duration_s=duration_s)


def read(path: str | Path) -> list[Utterance]:
    """The utterances of a manifest, in its order.

    Raises `UserError`, which names file and line, if the manifest cannot be read, a row has no
    audio, a number is invalid, or an id occurs twice.
    """
    path = Path(path)
    utterances, seen = [], {}
    for line, row in rows(path):
        utterance = to_utterance(row, path, line)
        if utterance.id in seen:
            raise UserError(
                f"{path}:{line}: id {utterance.id!r} is already used in line {seen[utterance.id]}"
            )
        seen[utterance.id] = line
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{path}: the manifest has no utterances")
    return utterances


def rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table (.tsv, .csv, otherwise JSON Lines) with their line numbers.

    Empty cells are left out, except texts. Raises `UserError` if the file cannot be read or parsed.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(file, path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _rows(file, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    if path.suffix.lower() in (".tsv", ".csv"):
        if path.suffix.lower() == ".tsv":  # quotes are ordinary characters there
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.DictReader(file)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}:{reader.line_num}: the row does not have the "
                        f"{len(reader.fieldnames)} columns of the first line"
                    )
                yield (
                    reader.line_num,
                    {key: value for key, value in row.items() if value != "" or key == "text"},
                )
        except csv.Error as error:  # most often a quote that is not closed
            line = reader.line_num + 1
            raise UserError(f"{path}:{line}: {error}; check the quotes") from None
        return
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\u" in line:  # escapes can form half a character, which cannot be encoded
                json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not valid JSON: {error.msg}") from None
        except UnicodeEncodeError as error:
            raise UserError(f"{path}:{number}: not Unicode: {error.reason}") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: expected an object with the column 'audio'")
        yield number, {key: value for key, value in row.items() if value is not None}


def to_utterance(row: dict[str, Any], path: Path, line: int) -> Utterance:
    """The utterance of a row. Raises `UserError` if a column is missing or invalid."""
    row = {SYNONYMS.get(key, key): value for key, value in row.items()}
    audio = row.pop("audio", None)
    if isinstance(audio, dict):
        member = _member(audio, path, line)
        audio = member.name
    else:
        member = None
    if not isinstance(audio, str) or not audio:
        raise UserError(f"{path}:{line}: no column 'audio' (or 'audio_filepath')")
    for key in ("start_s", "duration_s"):
        if key in row:
            row[key] = _seconds(row[key], key, path, line)
    for key in ("id", "text", "speaker", "language"):
        if key in row:
            row[key] = str(row[key])
    if row.get("duration_s") == 0:
        raise UserError(f"{path}:{line}: duration_s is 0; leave it out to have it measured")
    known = {key: row.pop(key) for key in COLUMNS if key in row}
    if "id" not in known:
        known["id"] = _default_id(audio, known.get("start_s", 0.0))
    place = member or os.path.normpath(os.path.join(os.path.dirname(path), audio))
    return Utterance(audio=place, extra=row, **known)


def _member(audio: dict[str, Any], path: Path, line: int) -> Member:
    """Audio inside an archive, as `place` writes it."""
    name, archive = audio.get("name"), audio.get("path")
    numbers = [audio.get("offset"), audio.get("size")]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if not (isinstance(name, str) and name and isinstance(archive, str) and archive and whole):
        raise UserError(f"{path}:{line}: audio in an archive needs path, name, offset and size")
    return Member(os.path.normpath(path.parent / archive), name, *numbers)


def _default_id(audio: str, start_s: float) -> str:
    stem = str(Path(audio).with_suffix(""))
    return f"{stem}@{start_s:.3f}" if start_s else stem


def _seconds(value: Any, key: str, path: Path, line: int) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"{path}:{line}: {key} must be seconds, at least 0, not {value!r}")
    return seconds


def write(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest as JSON Lines, with audio paths relative to the manifest."""
    folder = Path(path).parent
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        for utterance in utterances:
            file.write(json.dumps(_row(utterance, folder), ensure_ascii=False) + "\n")


def place(utterance: Utterance, folder: str | Path) -> dict[str, Any]:
    """The columns that locate the audio of an utterance, for a table in `folder`.

    For a `Member`, `audio` is an object with the path of the archive, and the name, offset and size
    of the member.
    """
    audio = utterance.audio
    if isinstance(audio, Member):
        row: dict[str, Any] = {
            "audio": asdict(audio) | {"path": os.path.relpath(audio.path, folder)}
        }
    else:
        row = {"audio": os.path.relpath(audio, folder)}
    if utterance.start_s:
        row["start_s"] = round(utterance.start_s, 4)
    if utterance.duration_s is not None:
        row["duration_s"] = round(utterance.duration_s, 4)
    return row


def _row(utterance: Utterance, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"id": utterance.id} | place(utterance, folder)
    for key in ("text", "speaker", "language"):
        if getattr(utterance, key) is not None:
            row[key] = getattr(utterance, key)
    return row | utterance.extra
