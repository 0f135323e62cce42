"""TED-LIUM's tree, releases 1 to 3. https://www.openslr.org/51

TEDLIUM_release-3/legacy/train/stm/AlGore_2009.stm
TEDLIUM_release-3/legacy/train/sph/AlGore_2009.sph
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asr.data import nist
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

SETS = ("train", "dev", "test")
UNKNOWN = "<unk>"
SUFFIXES = (".sph", ".flac", ".wav", ".opus")
_NOISE = re.compile(r"\{[A-Z]+\}|\[[A-Z]+\]|<sil>")
_VARIANT = re.compile(r"\(\d+\)$")  # release 1: which pronunciation of a word
_SUFFIX = re.compile(r" '(?=\w)")  # release 2 and 3: `i 'm`


def sniff(source: Source) -> int:
    return SURE if source.is_dir and _sets(source.path) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for folder in _sets(source.path):
        split = folder.name if folder.name in SETS else "train"
        for path in sorted((folder / "stm").glob("*.stm")):
            stems = (folder / "sph" / path.stem, folder / "wav" / path.stem)
            paths = [stem.with_name(stem.name + suffix) for stem in stems for suffix in SUFFIXES]
            audio = next((each for each in paths if each.is_file()), None)
            if audio is None:
                log.leave_out("the audio file does not exist", path)
                continue
            for where, line in lines_of(path):
                found = _utterance(line, audio, split, where, log)
                if found is not None:
                    yield found


def _utterance(line: str, audio: Path, split: str, where: str, log: ImportLog) -> Utterance | None:
    if nist.is_comment(line):
        return None
    try:
        segment = nist.parse_stm(line)
    except ValueError as error:
        log.leave_out("the line cannot be read", where, error)
        return None
    if segment.ignored:
        log.leave_out("the stm says not to score it", where, meant=True)
        return None
    if UNKNOWN in segment.words:
        text = " ".join(segment.words)[:80]
        log.leave_out("a word is not transcribed (<unk>)", where, text, meant=True)
        return None
    words = (_VARIANT.sub("", word) for word in segment.words if not _NOISE.fullmatch(word))
    text = _SUFFIX.sub("'", " ".join(words))
    if not text:
        log.leave_out("nothing but noise", where, meant=True)
        return None
    duration_s = segment.end_s - segment.start_s
    if duration_s <= 0:
        log.leave_out("the segment ends before it starts", where)
        return None
    extra = {"split": split}
    if segment.label and segment.label.split(",")[-1] in ("male", "female"):
        extra["gender"] = segment.label.split(",")[-1]
    id = f"{segment.file}-{round(segment.start_s * 100):07d}-{round(segment.end_s * 100):07d}"
    return Utterance(
        id, str(audio), segment.start_s, duration_s, text, segment.speaker, "en", extra
    )


def _sets(path: Path) -> list[Path]:
    """The folders with stm/ and sph/.

    Release 3 has its talks twice, in legacy/ and data/; published results are on the legacy sets.
    """
    for parent in (path / "legacy", path, path / "data"):
        candidates = [parent / name for name in SETS] + [parent]
        found = [f for f in candidates if (f / "stm").is_dir() and any(f.glob("stm/*.stm"))]
        if found:
            return found
    nested = sorted(p for p in path.glob("TEDLIUM*") if p.is_dir())
    return _sets(nested[0]) if len(nested) == 1 else []


IMPORTER = Importer("tedlium", "TED-LIUM's tree (stm/ and sph/)", sniff, read)
