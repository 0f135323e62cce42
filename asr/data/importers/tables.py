"""Tables of audio and text: CSV, TSV, JSON Lines (ours, NeMo's, Hugging Face's metadata).

A folder may be given that has manifest.jsonl, metadata.csv, or one table for each set, such as
train.jsonl and test.jsonl.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.audio import AUDIO_SUFFIXES
from asr.data.importers.base import NO, SURE, Importer, ImportLog, ImportSettings, Source
from asr.data.importers.columns import (
    AudioFinder,
    find_columns,
    guess,
    plain,
    to_utterance,
    with_split,
)
from asr.data.manifest import Utterance
from asr.errors import UserError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz")
# Columns of formats that have an importer of their own: Common Voice, lhotse, NeMo's tars.
OTHERS = {"clientid", "recordingid", "supervisions", "sources", "samplingrate", "shardid"}
LOOKED_AT = 100  # rows of JSON Lines whose keys are the columns
Rows = Iterator[tuple[int, dict[str, Any] | None]]  # (line number, row); None if the row is damaged


def sniff(source: Source) -> int:
    if source.is_dir:
        return SURE if _tables(source) else NO
    if not source.path.name.lower().endswith(TABLE_SUFFIXES):
        return NO
    names = column_names(source.path)
    if OTHERS & set(map(plain, names)):
        return NO
    # A .json may hold anything. In a CSV with unknown columns, the user has to name some.
    return SURE if guess(names) or source.suffix in (".csv", ".tsv", ".jsonl") else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    tables = _tables(source) if source.is_dir else [source.path]
    stems = {(path.parent, path.name.split(".")[0]) for path in tables}
    are_sets = len(stems) == len(tables) and all(map(source.set_of, tables))
    if len(tables) > 1 and not are_sets:
        names = ", ".join(str(path.relative_to(source.path)) for path in tables)
        raise UserError(
            f"{source.path}: has several tables ({names}); give one of them as the source"
        )
    for path in tables:
        split = source.set_of(path) if source.is_dir else None
        for utterance in read_table(path, settings, log):
            own = "split" in utterance.extra
            yield utterance if own else with_split(utterance, split)


def read_table(path: Path, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    """The utterances of one table. Raises `UserError` if no column is the audio or the text."""
    names = column_names(path)
    if not names:
        raise UserError(f"{path}: has no rows")
    columns = find_columns(names, settings.columns, path)
    log.note(", ".join(f"{role} is {name!r}" for role, name in columns.of.items() if role != name))
    finder = AudioFinder(path, settings.audio_root)
    for where, row in whole_rows(path, log):
        found = to_utterance(row, columns, finder, where, log)
        if found is not None:
            yield found


def whole_rows(path: Path, log: ImportLog) -> Iterator[tuple[str, dict[str, Any]]]:
    """(PATH:LINE, row) of each row of a table; rows that are damaged are left out."""
    for line, row in rows(path):
        if row is None:
            log.leave_out("the row cannot be read (columns, quotes or JSON)", f"{path}:{line}")
        else:
            yield f"{path}:{line}", row


def _tables(source: Source) -> list[Path]:
    """The tables of a folder, or of the folders in it (train/metadata.csv).

    Tables named metadata or manifest are preferred, then those named after a set.
    """
    tables = [path for path in source.files if path.name.lower().endswith(TABLE_SUFFIXES)]
    for depth in (1, 2, 3):
        at = [source.path / path for path in tables if len(path.parts) == depth]
        named = [p for p in at if p.name.split(".")[0].lower() in ("metadata", "manifest")]
        for candidates in (named, [p for p in at if source.set_of(p)], at if depth == 1 else []):
            found = [path for path in candidates if _is_ours(path)]
            if found:
                return found
    return []


def _is_ours(path: Path) -> bool:
    names = column_names(path)
    indexes_a_tar = path.with_suffix(".tar").exists()
    return guess(names) and not OTHERS & set(map(plain, names)) and not indexes_a_tar


def column_names(path: Path) -> list[str]:
    """The columns of a table, or the keys of its first rows if they are JSON; [] otherwise."""
    names: dict[str, None] = {}
    try:
        for _, row in itertools.islice(rows(path), LOOKED_AT if _is_json(path) else 1):
            names |= dict.fromkeys(row or ())
    except UserError:
        pass
    return list(names)


def _is_json(path: Path) -> bool:
    return ".json" in path.name.lower() or path.suffix.lower() == ".ndjson"


def rows(path: Path) -> Rows:
    """The rows of a table with their line numbers. Raises `UserError` if it cannot be read."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as raw:
            first = raw.read(2)
            raw.seek(0)
            utf16 = first in (b"\xff\xfe", b"\xfe\xff")
            with io.TextIOWrapper(raw, "utf-16" if utf16 else "utf-8-sig", newline="") as file:
                yield from _json_rows(file, path) if _is_json(path) else _cells(file, path)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as UTF-8") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _json_rows(file, path: Path) -> Rows:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\u" in line:  # an escape may be half of a surrogate pair
                json.dumps(row, ensure_ascii=False).encode()
        except ValueError:
            if number == 1 and line.strip() in ("[", "{"):
                raise UserError(
                    f"{path}: one JSON document; write one JSON object a line instead"
                ) from None
            row = None
        yield number, row if isinstance(row, dict) else None


def _cells(file, path: Path) -> Rows:
    """Rows of CSV with the delimiter of its first line; in a .tsv, quotes have no meaning."""
    first = file.readline()
    file.seek(0)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;|\t", key=first.count)
    quoting = csv.QUOTE_NONE if delimiter in "|\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
    header = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error:  # usually a quote that is never closed
            yield line, None
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header, is_row = _header(cells)
            if not is_row:
                continue
        if len(cells) != len(header):
            yield line, None
            continue
        yield line, dict(zip(header, cells, strict=True))


def _header(cells: list[str]) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first line is a row already.

    It is one if exactly one of its cells names an audio file. That column is then the audio, and
    the last of the other columns is the text.
    """
    suffixes = [Path(cell.strip()).suffix.lower() for cell in cells]
    audio = [i for i, suffix in enumerate(suffixes) if suffix in AUDIO_SUFFIXES]
    if len(audio) != 1 or len(cells) < 2:
        return [cell.strip() for cell in cells], False
    others = [i for i in range(len(cells)) if i != audio[0]]
    names = [f"column {i + 1}" for i in range(len(cells))]
    names[audio[0]], names[others[-1]] = "audio", "text"
    return names, True


IMPORTER = Importer("table", "a table of audio and text (CSV, TSV or JSON Lines)", sniff, read)
