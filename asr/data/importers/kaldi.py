"""A Kaldi data folder -> utterances."""

from __future__ import annotations

from pathlib import Path

from asr.data.manifest import Utterance
from asr.errors import UserError


def read_kaldi(folder: Path) -> list[Utterance]:
    """A Kaldi data folder: wav.scp, text, and segments and utt2spk where they are."""
    recordings = kaldi_table(folder / "wav.scp")
    texts = kaldi_table(folder / "text")
    speakers = kaldi_table(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    for name, recording in recordings.items():
        if recording.endswith("|"):
            raise UserError(f"{folder / 'wav.scp'}: {name} is a command; give a file instead")
    stretches = {name: (name, 0.0, None) for name in recordings}
    if (folder / "segments").is_file():
        stretches = {}
        for name, row in kaldi_table(folder / "segments").items():
            try:
                recording, start, end = row.split()
                stretches[name] = (recording, float(start), float(end) - float(start))
            except ValueError:
                bad = f"{folder / 'segments'}: {name}: {row!r} is not `recording start end`"
                raise UserError(bad) from None
    utterances = []
    for name, (recording, start_s, duration_s) in stretches.items():
        if recording not in recordings:
            raise UserError(f"{folder / 'segments'}: {name}: {recording} is not in wav.scp")
        path = recordings[recording]
        utterances.append(
            Utterance(name, path, start_s, duration_s, texts.get(name), speakers.get(name))
        )
    return utterances


def kaldi_table(path: Path) -> dict[str, str]:
    """The rows of a Kaldi file by their first word; raises `UserError` where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    rows = (line.split(maxsplit=1) for line in lines if line.strip())
    return {row[0]: row[1] if len(row) == 2 else "" for row in rows}
