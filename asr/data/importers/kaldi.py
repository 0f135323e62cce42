"""Kaldi's data folders. https://kaldi-asr.org/doc/data_prep.html"""

from __future__ import annotations

import os
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
    set_name,
)
from asr.data.importers.pipes import NotUnderstood, understand
from asr.data.manifest import Utterance
from asr.errors import UserError

TO_THE_END = -1.0  # an end that means the end of the recording


def sniff(source: Source) -> int:
    return SURE if source.is_dir and _folders(source.path) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    folders = _folders(source.path)
    for folder in folders:
        split = set_name(folder.name) if folder != source.path else None
        for utterance in _read(folder, settings.audio_root, log):
            if split is not None:
                utterance.extra.setdefault("split", split)
            yield utterance


def _folders(path: Path) -> list[Path]:
    """The folder itself, or the data folders in it (train, dev, test)."""
    if (path / "wav.scp").is_file():
        return [path]
    return sorted(scp.parent for scp in [*path.glob("*/wav.scp"), *path.glob("data/*/wav.scp")])


def read_kaldi(folder: Path) -> list[Utterance]:
    """All utterances of one data folder; raises `UserError` for the first row with a problem."""
    return list(_read(folder, None, _Strict()))


class _Strict(ImportLog):
    def leave_out(
        self, reason: str, where: object, detail: object = "", meant: bool = False
    ) -> None:
        raise UserError(f"{where}: {reason}" + (f": {detail}" if detail else ""))


def _read(folder: Path, root: Path | None, log: ImportLog) -> Iterator[Utterance]:
    """The utterances of one data folder.

    Only `segments` is streamed. The other tables are held in memory by their ids, because folders
    that Kaldi did not make are not always sorted.
    """
    recordings = kaldi_table(folder / "wav.scp")
    texts = kaldi_table(folder / "text")
    of_utterance = {name: _optional(folder / name) for name in ("utt2spk", "utt2lang", "utt2dur")}
    genders, lengths = _optional(folder / "spk2gender"), _optional(folder / "reco2dur")
    for id, recording, start_s, duration_s, where in _stretches(folder, recordings, lengths, log):
        if recording not in recordings:
            log.leave_out("the recording is not in wav.scp", where, recording)
            continue
        if id not in texts or not texts[id].strip():
            log.leave_out("no text", where)
            continue
        try:
            path, channel = _audio(recordings[recording], folder, root)
        except NotUnderstood as error:
            line = f"{recording} {recordings[recording]}"
            log.leave_out("a command in wav.scp is not understood", f"{where}: {error}", line)
            continue
        speaker, extra = of_utterance["utt2spk"].get(id), {}
        if speaker is not None and speaker in genders:
            extra["gender"] = genders[speaker]
        if channel is not None:
            extra["channel"] = channel
        language = of_utterance["utt2lang"].get(id)
        yield Utterance(id, path, start_s, duration_s, texts[id], speaker, language, extra)


def _stretches(folder: Path, recordings: dict[str, str], lengths: dict[str, str], log: ImportLog):
    """(id, recording, start, duration, where) of each utterance."""
    path = folder / "segments"
    if not path.is_file():
        for number, name in enumerate(recordings, 1):
            duration_s = _number(lengths.get(name, ""))
            yield name, name, 0.0, duration_s or None, f"{folder / 'wav.scp'}:{number}: {name}"
        return
    for where, line in lines_of(path):
        fields = line.split()
        if not fields:
            continue
        times = [_number(value) for value in fields[2:4]]
        if len(fields) not in (4, 5) or None in times:
            log.leave_out("the line is not `utterance recording start end`", where, line)
            continue
        (id, recording), (start_s, end_s) = fields[:2], times
        where = f"{where}: {id}"
        if end_s == TO_THE_END:
            end_s = _number(lengths.get(recording, ""))
        if start_s < 0 or (end_s is not None and end_s <= start_s):
            log.leave_out("the segment ends before it starts", where, line)
            continue
        yield id, recording, start_s, None if end_s is None else end_s - start_s, where


def _audio(entry: str, folder: Path, root: Path | None) -> tuple[str, int | None]:
    """(path, channel) of an entry of wav.scp. Raises `NotUnderstood`.

    Relative paths start where Kaldi's scripts run, which is usually two folders above.
    """
    entry, channel = entry.strip(), None
    if entry.endswith("|"):
        piped = understand(entry)
        entry, channel = piped.path, piped.channel
    elif ":" in os.path.basename(entry) and entry.rpartition(":")[2].isdecimal():
        raise NotUnderstood("it points into an archive")
    if os.path.isabs(entry):
        return entry, channel
    bases = [root] if root else [Path("."), folder, folder.parent, folder.parent.parent]
    for base in bases:
        path = base / entry
        if path.is_file():
            return str(path), channel
    return str((root or folder) / entry), channel


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _optional(path: Path) -> dict[str, str]:
    return kaldi_table(path) if path.is_file() else {}


def kaldi_table(path: Path) -> dict[str, str]:
    """{first word: rest} of the rows of a Kaldi file. Raises `UserError` if it cannot be read."""
    rows = (line.split(maxsplit=1) for _, line in lines_of(path) if line.strip())
    return {row[0]: row[1].strip() if len(row) == 2 else "" for row in rows}


IMPORTER = Importer("kaldi", "a Kaldi data folder (wav.scp, text)", sniff, read)
