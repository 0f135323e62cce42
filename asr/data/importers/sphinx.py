"""CMU Sphinx folders, such as AN4. http://www.speech.cs.cmu.edu/databases/an4/

etc/an4_train.fileids         an4_clstk/fash/an251-fash-b
etc/an4_train.transcription   <s> YES </s> (an251-fash-b)
wav/an4_clstk/fash/an251-fash-b.sph
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
from asr.errors import UserError

SUFFIXES = (".sph", ".wav", ".flac", ".raw")
_NOT_WORDS = re.compile(r"</?s>|<sil>|\+\+\w+\+\+|\[\w+\]|\(\d+\)")


def sniff(source: Source) -> int:
    return SURE if source.is_dir and _lists(source.path) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for fileids in _lists(source.path):
        transcription = fileids.with_suffix(".transcription")
        name = fileids.stem.rpartition("_")[2]
        texts = lines_of(transcription)
        for where, line in lines_of(fileids):
            spoken_at, spoken = next(texts, ("", None))
            if spoken is None:
                raise UserError(f"{transcription}: has fewer lines than {fileids}")
            try:
                id, text = nist.parse_trn(spoken)
            except ValueError as error:
                log.leave_out("the line cannot be read", spoken_at, error)
                continue
            if id != line.strip().rpartition("/")[2]:
                log.leave_out("the transcription belongs to another file", where, spoken)
                continue
            text = " ".join(_NOT_WORDS.sub(" ", text).split())
            stem = (settings.audio_root or fileids.parent.parent / "wav") / line.strip()
            audio = next((p for s in SUFFIXES if (p := Path(f"{stem}{s}")).is_file()), None)
            if not log.incomplete(where, audio, text, line):
                speaker = stem.parent.name if stem.parent.name != "wav" else None
                yield Utterance(id, str(audio), text=text, speaker=speaker, extra={"split": name})


def _lists(path: Path) -> list[Path]:
    found = [*sorted(path.glob("etc/*.fileids")), *sorted(path.glob("*/etc/*.fileids"))]
    return [p for p in found if p.with_suffix(".transcription").is_file()]


IMPORTER = Importer("sphinx", "a CMU Sphinx folder such as AN4 (etc/*.fileids)", sniff, read)
