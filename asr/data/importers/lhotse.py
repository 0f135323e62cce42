"""lhotse's manifests in JSON Lines: recordings with supervisions, or cuts.

https://lhotse.readthedocs.io/en/latest/corpus.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from asr.audio import Member
from asr.data.importers.audio_store import AudioStore
from asr.data.importers.base import (
    NO,
    SURE,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    set_name,
)
from asr.data.importers.columns import AudioFinder
from asr.data.importers.pipes import NotUnderstood, understand
from asr.data.importers.tables import column_names, rows, whole_rows
from asr.data.manifest import Utterance
from asr.errors import UserError

SUFFIXES = (".jsonl", ".jsonl.gz")
KINDS = {"recordings": {"sources", "sampling_rate"}, "supervisions": {"recording_id", "start"}}
KINDS["cuts"] = {"start", "duration", "supervisions"}
PART_S = 0.02  # a supervision may exceed its cut by this much, because times are rounded


class NoAudio(ValueError):
    """The audio of a recording cannot be used; reason and detail are those of `leave_out`."""

    def __init__(self, reason: str, detail: object = ""):
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def sniff(source: Source) -> int:
    if source.is_dir:
        return SURE if _pairs(source) or _files(source, "cuts") else NO
    return SURE if source.path.name.endswith(SUFFIXES) and kind_of(source.path) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    if source.is_dir:
        pairs, cuts = _pairs(source), _files(source, "cuts")
        if pairs and cuts:
            log.note("recordings and supervisions are read; the cuts beside them are not")
            cuts = []
    else:
        kind, cuts = kind_of(source.path), [source.path]
        pairs = [_pair(source.path, kind)] if kind != "cuts" else []
    for recordings, supervisions in pairs:
        yield from _read_supervisions(recordings, supervisions, settings, log)
    for path in cuts if not pairs else ():
        split, finder = split_of(path), AudioFinder(path, settings.audio_root, anywhere=True)
        for where, cut in whole_rows(path, log):
            audio = partial(
                audio_of, cut.get("recording") or {}, finder=finder, store=settings.store
            )
            yield from utterances_of(cut, audio, split, where, log)


def utterances_of(
    cut: Mapping[str, Any], audio, split: str | None, where: str, log: ImportLog
) -> Iterator[Utterance]:
    """An utterance for each supervision of a cut, whose `start` is relative to that of the cut.

    audio: a function from the channel to (path, channel in the file); it raises `NoAudio`.
    """
    where = f"{where}: {cut.get('id')}"
    if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
        log.leave_out("the cut is mixed from several", where, cut.get("type"))
        return
    if not cut.get("supervisions"):
        log.leave_out("no text", where)
    for supervision in cut.get("supervisions") or ():
        try:
            start_s, length_s = float(supervision["start"]), float(supervision["duration"])
            cut_s, begin_s = float(cut["duration"]), float(cut["start"])
        except (KeyError, TypeError, ValueError):
            log.leave_out("a start or duration is missing", where)
            continue
        if start_s < -PART_S or start_s + length_s > cut_s + PART_S:
            log.leave_out("the supervision is only partly inside its cut", where)
            continue
        yield from _utterance(supervision, begin_s + max(start_s, 0.0), audio, split, where, log)


def _utterance(
    supervision: Mapping[str, Any],
    start_s: float,
    audio,
    split: str | None,
    where: str,
    log: ImportLog,
) -> Iterator[Utterance]:
    text = " ".join(str(supervision.get("text") or "").split())
    if not text:
        log.leave_out("no text", where)
        return
    channel = supervision.get("channel")
    if isinstance(channel, list):
        channel = channel[0] if len(channel) == 1 else None
    try:
        path, index = audio(channel)
    except NoAudio as error:
        log.leave_out(error.reason, where, error.detail)
        return
    extra = dict(supervision.get("custom") or {})
    if supervision.get("gender"):
        extra["gender"] = supervision["gender"]
    if index is not None:
        extra["channel"] = index
    if split is not None:
        extra["split"] = split
    speaker, language = supervision.get("speaker"), supervision.get("language")
    yield Utterance(
        str(supervision.get("id")),
        path,
        start_s,
        float(supervision["duration"]),
        text,
        None if speaker is None else str(speaker),
        language,
        extra,
    )


def _read_supervisions(
    recordings: Path, supervisions: Path, settings: ImportSettings, log: ImportLog
) -> Iterator[Utterance]:
    """Utterances of supervisions; recordings are held in memory, as the order may differ."""
    known = {row["id"]: row for _, row in rows(recordings) if row is not None and "id" in row}
    finder = AudioFinder(recordings, settings.audio_root, anywhere=True)
    split = split_of(supervisions)
    for where, supervision in whole_rows(supervisions, log):
        recording = known.get(supervision.get("recording_id"))
        if recording is None:
            log.leave_out("its recording is not in the recordings", where)
            continue
        cut = {
            "id": supervision.get("id"),
            "start": 0.0,
            "duration": recording.get("duration"),
            "supervisions": [supervision],
        }

        audio = partial(audio_of, recording, finder=finder, store=settings.store)
        yield from utterances_of(cut, audio, split, where, log)


def audio_of(
    recording: Mapping[str, Any], channel: int | None, finder: AudioFinder, store: AudioStore
) -> tuple[str | Member, int | None]:
    """(path, channel in the file) of a recording. Raises `NoAudio`."""
    if recording.get("transforms"):
        raise NoAudio("the recording is transformed when it is read", recording["transforms"])
    sources = [s for s in recording.get("sources") or () if isinstance(s, Mapping)]
    if channel is not None:
        sources = [s for s in sources if channel in (s.get("channels") or [0])] or sources[:1]
    if len(sources) != 1:
        raise NoAudio("the recording does not have one source of audio", recording.get("id"))
    (source,) = sources
    channels, name = source.get("channels") or [0], source.get("source")
    index = channels.index(channel) if channel in channels and len(channels) > 1 else None
    if source.get("type") == "command":
        try:
            piped = understand(str(name))
        except NotUnderstood as error:
            raise NoAudio("a command is not understood", f"{error}: {name}") from None
        name, index = piped.path, piped.channel if piped.channel is not None else index
    elif source.get("type") == "memory":
        try:
            return store.put(str(recording.get("id")), base64.b64decode(name, validate=True)), index
        except (TypeError, ValueError, binascii.Error):
            raise NoAudio("audio in memory is damaged") from None
    elif source.get("type") != "file":
        raise NoAudio(f"the audio is of the type {source.get('type')!r}", name)
    path = finder.find(str(name))
    if path is None:
        raise NoAudio("the audio file does not exist", name)
    return path, index


def kind_of(path: Path) -> str | None:
    """The kind of a manifest (recordings, supervisions or cuts) from its columns, or None."""
    names = set(column_names(path))
    kinds = ("cuts", "recordings", "supervisions")
    return next((kind for kind in kinds if KINDS[kind] <= names), None)


def split_of(path: Path) -> str | None:
    return set_name(path.name.split(".")[0])


def _files(source: Source, kind: str) -> list[Path]:
    """The manifests of a kind in the folder itself; Shar's, which are numbered, are left out."""
    found = []
    for path in source.files:
        if len(path.parts) == 1 and path.name.endswith(SUFFIXES):
            first, second = path.name.split(".")[:2]
            if kind in first and not second.isdecimal():
                found.append(source.path / path)
    return found


def _pairs(source: Source) -> list[tuple[Path, Path]]:
    found = []
    for recordings in _files(source, "recordings"):
        supervisions = recordings.with_name(recordings.name.replace("recordings", "supervisions"))
        if supervisions.is_file():
            found.append((recordings, supervisions))
    return found


def _pair(path: Path, kind: str) -> tuple[Path, Path]:
    other = {"recordings": "supervisions", "supervisions": "recordings"}[kind]
    beside = path.with_name(path.name.replace(kind, other))
    if beside == path or not beside.is_file():
        raise UserError(f"{path}: its {other} are missing: {beside.name} must lie beside it")
    return (path, beside) if kind == "recordings" else (beside, path)


IMPORTER = Importer("lhotse", "lhotse's manifests (recordings, supervisions, cuts)", sniff, read)
