"""A folder of recordings with their texts beside them -> utterances."""

from __future__ import annotations

from pathlib import Path

from asr import audio
from asr.data.manifest import Utterance
from asr.errors import UserError


def read_folder(folder: Path) -> tuple[list[Utterance], list[str]]:
    """`a.wav` with its text in `a.txt`; a folder below `folder` is taken for a speaker's."""
    utterances, left_out = [], []
    for recording in audio.audio_files(folder):
        text = recording.with_suffix(".txt")
        if not text.is_file():
            left_out.append(f"{recording}: no text beside it ({text.name})")
            continue
        name = recording.relative_to(folder).with_suffix("")
        try:
            said = " ".join(text.read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError:
            raise UserError(f"{text}: not UTF-8; convert it") from None
        speaker = str(name.parent) if name.parent != Path(".") else None
        utterances.append(Utterance(str(name), str(recording), text=said, speaker=speaker))
    if not utterances:
        raise UserError(f"{left_out[0]}: put the text of a.wav into a.txt, or list both in a .tsv")
    return utterances, left_out
