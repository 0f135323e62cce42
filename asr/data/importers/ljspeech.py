"""LJSpeech's metadata.csv, and the many corpora of one voice that follow it.

    LJ001-0001|Printing, in 1436 ...|Printing, in fourteen thirty-six ...

No header, no quoting; the third column spells numbers out. https://keithito.com/LJ-Speech-Dataset/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.base import (
    NO,
    SURE,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    head,
    lines_of,
)
from asr.data.importers.columns import AudioFinder, guess
from asr.data.manifest import Utterance

NAMES = ("metadata.csv", "metadata.txt")


def sniff(source: Source) -> int:
    path = _table(source)
    if path is None:
        return NO
    lines = [line for line in head(path).splitlines() if line.strip()]
    fits = sum(line.count("|") in (1, 2) for line in lines)
    is_header = bool(lines) and guess(lines[0].split("|"))
    return SURE if fits > len(lines) / 2 and not is_header else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    path = _table(source)
    finder = AudioFinder(path, settings.audio_root)
    for where, line in lines_of(path):
        fields = [field.strip() for field in line.split("|")]
        if fields == [""]:
            continue
        if len(fields) not in (2, 3):
            log.leave_out("the row does not have two or three columns", where, line)
            continue
        name, text = fields[0], fields[-1] or fields[1]
        audio = finder.find(name)
        if not log.incomplete(where, audio, text, name):
            id = str(Path(name).with_suffix("")) if name.lower().endswith(".wav") else name
            yield Utterance(id, audio, text=" ".join(text.split()))


def _table(source: Source) -> Path | None:
    if not source.is_dir:
        return source.path if source.suffix in (".csv", ".txt") else None
    return next((source.path / name for name in NAMES if (source.path / name).is_file()), None)


IMPORTER = Importer("ljspeech", "LJSpeech's metadata.csv (name|text|text)", sniff, read)
