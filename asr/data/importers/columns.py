"""The roles of the columns of a table: which one is the audio, which the text, and so on."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.audio import AUDIO_SUFFIXES, Member
from asr.data.importers.base import ImportLog
from asr.data.manifest import Utterance
from asr.errors import UserError

# {role: names of columns}, without case, spaces and punctuation. If several columns of a table are
# in SURE_NAMES, the first name of the list is preferred.
SURE_NAMES = {
    "id": ("id", "uttid", "utteranceid", "utterance id"),
    "audio": ("audio", "audiofilepath", "filename"),
    "text": ("text",),
    "speaker": ("speaker", "speakerid", "clientid"),
    "language": ("language", "lang", "locale"),
    "start": ("starts", "offset", "start"),
    "end": ("ends", "end"),
    "duration": ("durations", "duration"),
    "channel": ("channel",),
    "split": ("split", "subset"),
}
LIKELY_NAMES = {
    "id": ("utt", "utterance", "segmentid", "clipid", "recordingid", "audioid", "key", "uid"),
    "audio": (
        "audiofile audiopath path file filepath wav wavfile wavpath wavfilename recording "
        "recordingfile clip clippath sound soundfile audiofilename mp3 flac media url location"
    ).split(),
    "text": (
        "transcript transcription sentence normalizedtext normalizedtranscript utterancetext "
        "transcribedtext label words caption prompt reference groundtruth target content textline "
        "rawtext normtext orthography"
    ).split(),
    "speaker": "spk spkid speakername reader readerid userid user voice talker subject".split(),
    "language": ("languageid", "langid", "languagecode"),
    "start": ("starttime", "begin", "begintime", "from", "startsec", "startseconds", "startms"),
    "end": ("endtime", "stop", "stoptime", "to", "endsec", "endseconds", "endms"),
    "duration": "durationsec durationseconds durationms length lengths dur audioduration".split(),
    "channel": ("audiochannel",),
    "split": ("set", "partition", "fold"),
}
_SUFFIXES = sorted(AUDIO_SUFFIXES)
ROLES = tuple(SURE_NAMES)
CLIP_FOLDERS = ("", "clips", "wavs", "wav", "audio", "data", "audios", "recordings")


@dataclass(frozen=True)
class Columns:
    """The columns of one table: {role: name}."""

    of: Mapping[str, str]

    def get(self, role: str, row: Mapping[str, Any]) -> Any:
        value = row.get(self.of[role]) if role in self.of else None
        return None if value == "" else value

    def rest(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the columns without a role, as far as a manifest can hold them."""
        known = set(self.of.values())
        return {k: v for k, v in row.items() if k not in known and not _is_nothing(v)}


def _is_nothing(value: Any) -> bool:
    is_nan = isinstance(value, float) and not math.isfinite(value)
    return value is None or value == "" or is_nan or isinstance(value, bytes)


def plain(name: str) -> str:
    """`Audio-File_Path` -> `audiofilepath`."""
    return re.sub(r"[\W_]", "", name).lower()


def find_columns(names: Iterable[str], named: Mapping[str, str], path: Path) -> Columns:
    """The roles of a table's columns. named: {role: column} as the user gave them.

    Raises `UserError` if there is no column for the audio or the text, or if several fit.
    """
    names = list(names)
    of: dict[str, str] = {}
    for role, name in named.items():
        if name not in names:
            raise UserError(f"{path}: no column {name!r}; the columns are {', '.join(names)}")
        of[role] = name
    for role in ROLES:
        if role in of:
            continue
        free = [name for name in names if name not in of.values()]
        for known in (SURE_NAMES[role], LIKELY_NAMES[role]):
            found = [name for name in free if plain(name) in known]
            first = [name for name in found if plain(name) == known[0]]
            if known is SURE_NAMES[role] and len(first) == 1:
                found = first
            if len(found) > 1:
                raise UserError(
                    f"{path}: the columns {' and '.join(found)} could both be the {role}; "
                    "name the one to take"
                )
            if found:
                of[role] = found[0]
                break
    for role in ("audio", "text"):
        if role not in of:
            raise UserError(f"{path}: which column is the {role}? Name one of {', '.join(names)}")
    return Columns(of)


def guess(names: Iterable[str]) -> bool:
    """Whether a table with these columns has audio and text."""
    found = {plain(name) for name in names}
    return all(found & {*SURE_NAMES[role], *LIKELY_NAMES[role]} for role in ("audio", "text"))


def to_utterance(
    row: Mapping[str, Any], columns: Columns, finder: AudioFinder, where: str, log: ImportLog
) -> Utterance | None:
    """The utterance of a row, or None if the row is left out; the log then has the reason."""
    audio, text = columns.get("audio", row), columns.get("text", row)
    if not isinstance(audio, str):
        log.leave_out("no audio named", where)
        return None
    said, path = " ".join(str("" if text is None else text).split()), finder.find(audio)
    if log.incomplete(where, path, said, audio):
        return None
    try:
        start_s, duration_s = _stretch(row, columns)
    except ValueError as error:
        log.leave_out("a time is not a number of seconds, at least 0", where, error)
        return None
    id = columns.get("id", row)
    if id is None:
        id = str(Path(audio).with_suffix("")).lstrip("./")
        id = f"{id}@{start_s:.3f}" if start_s else id
    speaker, language = columns.get("speaker", row), columns.get("language", row)
    extra = columns.rest(row)
    for role in ("channel", "split"):
        if columns.get(role, row) is not None:
            extra[role] = columns.get(role, row)
    return Utterance(
        str(id),
        path,
        start_s,
        duration_s,
        said,
        None if speaker is None else str(speaker),
        None if language is None else str(language),
        extra,
    )


def _stretch(row: Mapping[str, Any], columns: Columns) -> tuple[float, float | None]:
    """(start, duration) in seconds. Raises `ValueError`."""
    times = {}
    for role in ("start", "end", "duration"):
        value = columns.get(role, row)
        if value is not None:
            times[role] = seconds(value)
            if plain(columns.of[role]).endswith("ms"):
                times[role] /= 1000
    start_s = times.get("start", 0.0)
    if times.get("duration"):
        return start_s, times["duration"]
    if "end" in times:
        if times["end"] <= start_s:
            raise ValueError(f"the end {times['end']:g} s is not after the start {start_s:g} s")
        return start_s, times["end"] - start_s
    return start_s, None


def seconds(value: Any) -> float:
    """Parse seconds, also written as `1:02:03.5`. Raises `ValueError` unless they are >= 0."""
    found = math.nan
    if not isinstance(value, bool):
        try:
            parts = str(value).strip().replace(",", ".").split(":")
            found = sum(float(part) * 60**i for i, part in enumerate(reversed(parts[-3:])))
        except ValueError:
            pass
    if not (math.isfinite(found) and found >= 0):
        raise ValueError(repr(value))
    return found


class AudioFinder:
    """Finds the audio files that a table names.

    Names may be relative to the table, to the folder above it or to `CLIP_FOLDERS` in these, and
    may lack their suffix. With `anywhere` they may also be relative to two folders above and to the
    working directory, as Kaldi, NeMo and lhotse write them. If an absolute path does not exist, its
    last one to three parts are looked for, because table and audio may have been moved together.
    """

    def __init__(self, table: Path, root: Path | None = None, anywhere: bool = False):
        self.bases = [table.parent, table.parent.parent]
        if anywhere:
            self.bases += [table.parent.parent.parent, Path(".")]
        if root is not None:
            self.bases = [root]
        self.last: tuple[Path, str] = (self.bases[0], "")

    def find(self, name: str) -> str | Member | None:
        """The path of the file, or None if there is none."""
        name = name.strip().removeprefix("file://").replace("\\", "/")
        base, suffix = self.last  # usually the same as for the previous row
        path = base / (name + suffix)
        if name and path.is_file():
            return str(path)
        for base, place in self._places(name):
            for suffix in ("", *_SUFFIXES):
                path = base / (place + suffix)
                if path.is_file():
                    self.last = base, suffix
                    return str(path)
        return None

    def _places(self, name: str) -> Iterator[tuple[Path, str]]:
        if os.path.isabs(name):
            yield Path("/"), name
            parts = Path(name).parts
            for count in (3, 2, 1):
                for base in self.bases:
                    yield base, "/".join(parts[-count:])
        elif name:
            for base in self.bases:
                for folder in CLIP_FOLDERS:
                    yield base / folder, name


def with_split(utterance: Utterance, split: str | None) -> Utterance:
    """The utterance with the set of its corpus in the column `split`."""
    if split is None:
        return utterance
    return replace(utterance, extra=utterance.extra | {"split": split})
