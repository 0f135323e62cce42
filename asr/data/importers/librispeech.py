"""LibriSpeech's tree, and that of Multilingual LibriSpeech. https://www.openslr.org/12 and /94

LibriSpeech/train-clean-100/19/198/19-198.trans.txt    19-198-0000 NORTHANGER ABBEY
LibriSpeech/train-clean-100/19/198/19-198-0000.flac
mls_german/train/transcripts.txt                       1_2_000003<TAB>text
mls_german/train/audio/1/2/1_2_000003.flac
"""

from __future__ import annotations

import os
import re
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

SUBSET = re.compile(r"(train|dev|test)(-(clean|other)(-\d+)?)?")
SUFFIXES = (".flac", ".opus", ".wav", ".mp3", ".ogg")
MLS_LANGUAGES = {
    "german": "de", "dutch": "nl", "french": "fr", "spanish": "es", "italian": "it",
    "portuguese": "pt", "polish": "pl", "english": "en",
}  # fmt: skip


def sniff(source: Source) -> int:
    has_trans = bool(source.with_suffix(".trans.txt"))
    return SURE if has_trans or _mls_folders(source.path) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    mls = _mls_folders(source.path)
    if mls:
        for folder in mls:
            yield from _read_mls(folder, log)
        return
    traits = _speakers(source.path)
    for at, folders, names in os.walk(source.path):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".trans.txt"):
                yield from _read_chapter(Path(at, name), set(names), traits, log)


def _read_chapter(
    path: Path, names: set[str], traits: dict[str, dict[str, str]], log: ImportLog
) -> Iterator[Utterance]:
    split = next((part for part in reversed(path.parts) if SUBSET.fullmatch(part)), None)
    listed = set()
    for where, line in lines_of(path):
        id, _, text = line.strip().partition(" ")
        if not id:
            continue
        audio = next((id + suffix for suffix in SUFFIXES if id + suffix in names), None)
        listed.add(audio)
        if log.incomplete(where, audio, text.strip(), id):
            continue
        speaker = id.split("-")[0]
        extra = dict(traits.get(speaker, {}))
        if split is not None:
            extra["split"] = split
        yield Utterance(id, str(path.parent / audio), 0.0, None, text.strip(), speaker, "en", extra)
    for name in sorted(names - listed):
        if name.endswith(SUFFIXES) and not name.startswith("._"):
            log.leave_out("the recording is not in the .trans.txt", path.parent / name)


def _speakers(folder: Path) -> dict[str, dict[str, str]]:
    """Gender by speaker, from SPEAKERS.TXT (`14 | F | train-clean-360 | 25.03 | Name`)."""
    for pattern in ("SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT", "*/LibriSpeech/SPEAKERS.TXT"):
        for path in folder.glob(pattern):
            rows = [line.split("|") for _, line in lines_of(path) if not line.startswith(";")]
            return {r[0].strip(): {"gender": r[1].strip().lower()} for r in rows if len(r) > 2}
    return {}


def _mls_folders(path: Path) -> list[Path]:
    if (path / "transcripts.txt").is_file() and (path / "audio").is_dir():
        return [path]
    found = path.glob("*/transcripts.txt")
    return sorted(p.parent for p in found if (p.parent / "audio").is_dir())


def _read_mls(folder: Path, log: ImportLog) -> Iterator[Utterance]:
    name = folder.parent.name.lower().removesuffix("_opus").removeprefix("mls_")
    split = folder.name if SUBSET.fullmatch(folder.name) else None
    path = folder / "transcripts.txt"
    for where, line in lines_of(path):
        id, _, text = line.partition("\t")
        if not id.strip():
            continue
        speaker, _, rest = id.partition("_")
        stem = folder / "audio" / speaker / rest.partition("_")[0] / id
        audio = next((str(stem) + s for s in SUFFIXES if os.path.isfile(str(stem) + s)), None)
        if not log.incomplete(where, audio, text.strip(), id):
            extra = {} if split is None else {"split": split}
            language = MLS_LANGUAGES.get(name)
            yield Utterance(id, audio, 0.0, None, text.strip(), speaker, language, extra)


IMPORTER = Importer("librispeech", "LibriSpeech's tree (or that of MLS)", sniff, read)
