"""Make manifests that training accepts from recordings and texts in any known format."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from asr import files
from asr.audio import Member
from asr.data import manifest
from asr.data.importers import ImportLog, ImportSettings, Source, recognize
from asr.data.importers.audio_store import AudioStore
from asr.data.manifest import Utterance
from asr.data.measure import measured
from asr.data.split import (
    FEWEST_SPEAKERS,
    SplitSettings,
    assign,
    key_of,
    value_of,
)
from asr.errors import UserError

LEFT_OUT = "left_out.tsv"
SETS = ("train", "dev", "test")
LONG_S = 60.0  # a longer utterance is a whole recording, which is too long for training
OWN_SETS = "set of the corpus"


@dataclass(frozen=True)
class PreparedSet:
    name: str
    path: Path
    utterances: int
    hours: float


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`."""

    format: str  # the recognized format, in words
    sets: list[PreparedSet]
    by: str  # what no two sets share
    log: ImportLog
    left_out: Path | None  # the list of all rows that were left out, if there are any

    @property
    def utterances(self) -> int:
        return sum(part.utterances for part in self.sets)


def preview(
    source: str | Path,
    format: str | None = None,
    settings: ImportSettings | None = None,
    count: int = 5,
) -> tuple[str, list[Utterance], ImportLog]:
    """The format of a source in words, and its first utterances; nothing is written."""
    look, log = Source(source), ImportLog()
    importer = recognize(look, format)
    rows = importer.read(look, settings or ImportSettings(), log)
    return importer.title, list(itertools.islice(rows, count)), log


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    settings: ImportSettings | None = None,
    split: SplitSettings | None = None,
    keep_sets: bool = True,
    language: str | None = None,
    open_audio: bool = True,
    progress: Callable[[], None] = lambda: None,
) -> Prepared:
    """Write OUT/train.jsonl, dev.jsonl and test.jsonl, and the rows left out to left_out.tsv.

    Audio stays where it is; only audio without a file of its own (bytes in a table, one channel of
    several) is written to OUT/audio. A corpus that has sets keeps them, unless `keep_sets` is
    false; if it lacks dev or test, they are taken from its training set. Memory is about 120 bytes
    for each utterance. If `open_audio` is false, the durations in the source are not checked.

    Raises `UserError` if the format is not recognized or nothing can be used.
    """
    look, out, split = Source(source), Path(out), split or SplitSettings()
    importer = recognize(look, format)
    settings = replace(settings or ImportSettings(), store=AudioStore(out / "audio"))
    out.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(out / LEFT_OUT) as beside,
        beside.open("w", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=out) as spool,
    ):
        log = ImportLog(file)
        rows = importer.read(look, settings, log)
        keys = _Keys(split.by, split.seed)
        long = _LongRecordings()
        for u in measured(rows, settings.store, log, language, open_audio):
            progress()
            long.add(u)
            keys.add(u)
            _store(spool, u)
        keys.leave_out_repeated(spool, log)
        if not keys.kept.any():
            first = log.lines()[1].strip() if log.total else "it has no utterances"
            raise UserError(f"{source}: nothing can be used: {first}")
        log.note(long.advice())
        of_row, names, by = _sets(keys, split, keep_sets)
        sets = []
        for number, name in enumerate(names):
            path = out / f"{name}.jsonl"
            if (of_row == number).any():
                sets.append(_write(path, spool, of_row == number))
            elif name in SETS:
                path.unlink(missing_ok=True)  # of an earlier run
    if not log.total:
        (out / LEFT_OUT).unlink()
    return Prepared(importer.title, sets, by, log, out / LEFT_OUT if log.total else None)


class _LongRecordings:
    """Counts the utterances that are too long for training, such as whole recordings."""

    def __init__(self):
        self.count, self.first, self.longest_s = 0, "", 0.0

    def add(self, u: Utterance) -> None:
        if u.duration_s > LONG_S:
            self.first = self.first or str(u.audio)
            self.count += 1
            self.longest_s = max(self.longest_s, u.duration_s)

    def advice(self) -> str:
        if not self.count:
            return ""
        return (
            f"{self.count} utterances last over {LONG_S:.0f} s, up to {self.longest_s:.0f} s "
            f"(first {self.first}); training needs shorter ones: `asr align` finds the lines of a "
            "text in its recording and makes an utterance of each"
        )


class _Keys:
    """The values that decide about the set of each utterance, in arrays of 41 bytes for each."""

    def __init__(self, by: str | None, seed: int):
        self.by, self.seed = by, seed
        self.ids, self.speakers, self.others = array("Q"), array("Q"), array("Q")
        self.lengths_s, self.own = array("d"), array("h")
        self.own_names: dict[str, int] = {}
        self.all_have_speakers = True
        self.kept = np.zeros(0, bool)

    def add(self, u: Utterance) -> None:
        self.ids.append(key_of(u.id, 0))
        self.all_have_speakers &= u.speaker is not None
        self.speakers.append(key_of(u.speaker or "", self.seed))
        by = "text" if self.by in (None, "speaker") else self.by
        self.others.append(key_of(value_of(u, by), self.seed))
        if self.by == "speaker":
            value_of(u, "speaker")  # raises where there is none
        self.lengths_s.append(u.duration_s)
        own = u.extra.get("split")
        code = -1 if own is None else self.own_names.setdefault(str(own), len(self.own_names))
        self.own.append(code)

    def leave_out_repeated(self, spool: TextIO, log: ImportLog) -> None:
        ids = np.array(self.ids, np.uint64)
        first = np.unique(ids, return_index=True)[1]
        self.kept = np.zeros(len(ids), bool)
        self.kept[first] = True
        if not self.kept.all():
            spool.seek(0)
            for line, kept in zip(spool, self.kept, strict=True):
                if not kept:
                    u = _load(line)
                    log.leave_out("the id was used before", u.id, u.audio)

    def deciding(self) -> tuple[np.ndarray, str]:
        """The keys of all utterances that no two sets share, and what they are in words."""
        if self.by == "speaker":
            return np.array(self.speakers, np.uint64), "speaker"
        speakers = np.array(self.speakers, np.uint64)
        several = self.all_have_speakers and len(np.unique(speakers)) >= FEWEST_SPEAKERS
        if self.by is None and several:
            return speakers, "speaker"
        return np.array(self.others, np.uint64), self.by or "text"


def _sets(keys: _Keys, settings: SplitSettings, keep: bool) -> tuple[np.ndarray, list[str], str]:
    """The number of the set of each utterance, (n,) int16, or -1 if it is left out; the names of
    the sets; and what no two of them share.
    """
    kept, own = keys.kept, np.array(keys.own)
    sets, of_row = list(SETS), np.zeros(len(kept), np.int16)
    by_own = keep and settings.by is None and bool((own >= 0).any())
    if by_own:
        names = _own_names(list(keys.own_names))
        sets += sorted(set(names.values()) - set(sets))
        for name, code in keys.own_names.items():
            of_row[own == code] = sets.index(names[name])
        missing = {n: not any(name.startswith(n) for name in names.values()) for n in SETS[1:]}
        settings = replace(
            settings,
            dev=settings.dev if missing["dev"] else 0,
            test=settings.test if missing["test"] else 0,
        )
    drawn, by = kept & (of_row == 0), OWN_SETS
    if (settings.dev or settings.test) and drawn.any():
        deciding, what = keys.deciding()
        by = f"{OWN_SETS}; {what} in what was taken from its training set" if by_own else what
        of_row[drawn] = assign(deciding[drawn], np.array(keys.lengths_s)[drawn], settings, what)
    of_row[~kept] = -1
    return of_row, sets, by


def _own_names(names: Sequence[str]) -> dict[str, str]:
    """{name of a set in the corpus: our name}.

    All training sets become one. If there is one set of the kind dev or test, it gets that name;
    otherwise each keeps its own.
    """
    kinds = {name: _kind(name) for name in names}
    counts = {kind: list(kinds.values()).count(kind) for kind in SETS}
    found = {}
    for name, kind in kinds.items():
        alone = kind == "train" or (kind is not None and counts[kind] == 1)
        found[name] = kind if alone else re.sub(r"[^\w.-]", "_", name).lower()
    return found


def _kind(name: str) -> str | None:
    starts = (
        ("train", "train"),
        ("dev", "dev"),
        ("val", "dev"),
        ("test", "test"),
        ("eval", "test"),
    )
    return next((kind for start, kind in starts if name.lower().startswith(start)), None)


def _write(path: Path, spool: TextIO, chosen: np.ndarray) -> PreparedSet:
    """The manifest of the rows for which `chosen` (n,) is true."""
    seconds, count = 0.0, 0

    def rows() -> Iterator[Utterance]:
        nonlocal seconds, count
        spool.seek(0)
        for line in itertools.compress(spool, chosen):
            utterance = _load(line)
            seconds, count = seconds + utterance.duration_s, count + 1
            yield utterance

    manifest.write(path, rows())
    return PreparedSet(path.stem, path, count, seconds / 3600)


def _store(spool: TextIO, u: Utterance) -> None:
    audio = list(astuple(u.audio)) if isinstance(u.audio, Member) else u.audio
    row = (u.id, audio, u.start_s, u.duration_s, u.text, u.speaker, u.language, u.extra)
    spool.write(json.dumps(row, default=str) + "\n")  # dates of a parquet file


def _load(line: str) -> Utterance:
    id, audio, *rest = json.loads(line)
    return Utterance(id, Member(*audio) if isinstance(audio, list) else audio, *rest)
