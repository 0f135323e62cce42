"""Mozilla Common Voice: TSV files beside a folder of clips. https://commonvoice.mozilla.org

The files have no quoting: a quotation mark is an ordinary character. `client_id` is the speaker,
and votes are kept. Of a folder, the sets train, dev and test are read; a single file such as
validated.tsv can be the source as well.
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
    lines_of,
)
from asr.data.manifest import Utterance
from asr.errors import UserError

SETS = ("train", "dev", "test")
KEPT = ("up_votes", "down_votes", "age", "gender", "accents", "accent", "variant", "sentence_id")


def sniff(source: Source) -> int:
    return SURE if _tables(source) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for path in _tables(source):
        lengths = _lengths(path.parent / "clip_durations.tsv")
        split = path.stem if source.is_dir and path.stem in SETS else None
        yield from _read(path, settings.audio_root or path.parent, lengths, split, log)


def _read(
    path: Path, root: Path, lengths: dict[str, float], split: str | None, log: ImportLog
) -> Iterator[Utterance]:
    names: list[str] | None = None
    clips = root / "clips" if (root / "clips").is_dir() else root
    for where, line in lines_of(path):
        cells = line.split("\t")
        if names is None:
            names = cells
            continue
        if len(cells) != len(names):
            log.leave_out("the row does not have the columns of the first line", where, line[:80])
            continue
        row = dict(zip(names, cells, strict=True))
        name, text = row["path"], " ".join(row["sentence"].split())
        audio = clips / (name if Path(name).suffix else f"{name}.mp3")
        if log.incomplete(where, audio if audio.is_file() else None, text, name):
            continue
        extra = {key: row[key] for key in KEPT if row.get(key)}
        if split is not None:
            extra["split"] = split
        id, length_s = Path(name).stem, lengths.get(audio.name)
        speaker, language = row.get("client_id") or None, row.get("locale") or None
        yield Utterance(id, str(audio), 0.0, length_s, text, speaker, language, extra)


def _lengths(path: Path) -> dict[str, float]:
    """{name of a clip: seconds}; {} if the release has no table (`clip<TAB>duration[ms]`)."""
    found: dict[str, float] = {}
    for _, line in lines_of(path) if path.is_file() else ():
        name, _, milliseconds = line.partition("\t")
        if milliseconds.strip().isdecimal() and int(milliseconds):
            found[name] = int(milliseconds) / 1000
    return found


def _tables(source: Source) -> list[Path]:
    if not source.is_dir:
        return [source.path] if source.suffix == ".tsv" and _is_table(source.path) else []
    # cv-corpus-24.0-2025-12-05/de/train.tsv: the release's folder, or the language's
    below = {source.path / f.parent for f in source.files if f.name == "train.tsv"}
    folders = [source.path, *sorted(below - {source.path})]
    found = {folder: _sets(folder) for folder in folders}
    found = {folder: tables for folder, tables in found.items() if tables}
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise UserError(f"{source.path}: has several languages ({names}); give one of the folders")
    return next(iter(found.values()), [])


def _sets(folder: Path) -> list[Path]:
    paths = [folder / f"{name}.tsv" for name in SETS]
    return [path for path in paths if path.is_file() and _is_table(path)]


def _is_table(path: Path) -> bool:
    first = next((line for _, line in lines_of(path)), "").split("\t")
    return {"client_id", "path", "sentence"} <= set(first)


IMPORTER = Importer("common-voice", "Common Voice (TSV files and clips)", sniff, read)
