"""Kaldi's data folders. https://kaldi-asr.org/doc/data_prep.html"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from asr import files
from asr.data.exporters.base import Exported, Exporter, in_files, plain
from asr.data.manifest import Utterance

GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}


def write_kaldi(
    utterances: Iterable[Utterance], folder: Path, progress: Callable[[], None]
) -> Exported:
    """Write wav.scp, segments, text, utt2spk, spk2utt and reco2dur.

    utt2lang and spk2gender are written if they are known for all. Every utterance is a segment of a
    recording. As Kaldi requires, rows are sorted and ids begin with the speaker; an utterance
    without a speaker is a speaker of its own. Recordings in other formats than WAV get the command
    that decodes them.
    """
    exported = Exported()
    recordings: dict[str, str] = {}  # path: id
    tables: dict[str, dict[str, str]] = {
        name: {}
        for name in "wav.scp segments text utt2spk spk2utt reco2dur utt2lang spk2gender".split()
    }
    for u, info in in_files(utterances, folder, exported, progress):
        speaker = _word(u.speaker) if u.speaker is not None else _word(u.id)
        id = _word(u.id)
        id = id if id.startswith(speaker) else f"{speaker}-{id}"
        recording = recordings.get(u.audio)
        if recording is None:
            recording = recordings[u.audio] = _recording(u.audio, tables["wav.scp"])
            tables["wav.scp"][recording] = _source(u.audio, info.rate_hz)
            tables["reco2dur"][recording] = f"{info.duration_s:.4f}"
        end_s = u.start_s + u.duration_s
        tables["segments"][id] = f"{recording} {u.start_s:.4f} {end_s:.4f}"
        tables["text"][id] = plain(u.text)
        tables["utt2spk"][id] = speaker
        if u.language is not None:
            tables["utt2lang"][id] = u.language
        gender = GENDERS.get(str(u.extra.get("gender", "")).lower())
        if gender is not None and u.speaker is not None:
            tables["spk2gender"][speaker] = gender
    tables["spk2utt"] = _by_speaker(tables["utt2spk"])
    # Readers expect a row for each utterance and speaker.
    if len(tables["utt2lang"]) < len(tables["text"]):
        tables["utt2lang"] = {}
    if len(tables["spk2gender"]) < len(tables["spk2utt"]):
        tables["spk2gender"] = {}
    for name, rows in tables.items():
        if rows or name in ("wav.scp", "text"):
            files.write(folder / name, _sorted(rows))
            exported.files.append(folder / name)
    return exported


def _by_speaker(speakers: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for id in sorted(speakers, key=str.encode):
        found.setdefault(speakers[id], []).append(id)
    return {speaker: " ".join(ids) for speaker, ids in found.items()}


def _sorted(rows: Mapping[str, str]) -> str:
    """The rows of a table sorted by bytes, as by `LC_ALL=C sort`, which Kaldi's programs expect."""
    keys = sorted(rows, key=lambda key: key.encode(errors="surrogatepass"))
    return "".join(f"{key} {rows[key]}".rstrip() + "\n" for key in keys)


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", text.strip()) or "_"


def _recording(path: str, taken: Mapping[str, str]) -> str:
    """An id of a recording: its file name, after as many of its folders as make it unique."""
    parts = [_word(part) for part in Path(path).with_suffix("").parts[1:]]
    for count in range(1, len(parts) + 1):
        name = "-".join(parts[-count:])
        if name not in taken:
            return name
    return f"{name}-{len(taken)}"  # a.wav beside a.mp3


def _source(path: str, rate_hz: int) -> str:
    suffix, quoted = Path(path).suffix.lower(), shlex.quote(path)
    if suffix == ".wav":
        return path
    if suffix == ".flac":
        return f"flac -c -d -s {quoted} |"
    if suffix == ".sph":
        return f"sph2pipe -f wav -p {quoted} |"
    return f"ffmpeg -nostdin -loglevel error -i {quoted} -ac 1 -ar {rate_hz} -f wav - |"


KALDI = Exporter("kaldi", "a Kaldi data folder", write_kaldi)
