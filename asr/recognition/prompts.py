"""Prompts that a person reads aloud, and the corpus of the recordings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import soundfile

from asr import files
from asr.audio.take import AudioTake
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.recognition.recording import MANIFEST


def read_prompts(path: str | Path, count: int, seed: int = 0) -> list[str]:
    """The prompts of a file: lines of a text file, or random sentences of a grammar (.yaml).

    count: at most this many. Raises `UserError` if the file cannot be read or has no prompt.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Grammar(path).sample(count, seed)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    prompts = [" ".join(line.split()) for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"{path}: has no prompt; write one sentence on each line")
    return prompts[:count]


class PromptCorpus:
    """A folder with a FLAC file of 16 bits for each prompt and a manifest.

    A folder that has a manifest already is continued: `missing` leaves out its prompts.
    """

    def __init__(self, folder: str | Path, speaker: str):
        self.folder, self.speaker = Path(folder), speaker
        self.manifest = self.folder / MANIFEST
        self.rows = manifest.read(self.manifest) if self.manifest.exists() else []

    def missing(self, prompts: Sequence[str]) -> list[str]:
        """The prompts that have no recording of this speaker yet."""
        known = {row.text for row in self.rows if row.speaker == self.speaker}
        return [prompt for prompt in prompts if prompt not in known]

    def add(self, prompt: str, take: AudioTake) -> Path:
        """Write a recording and its row; returns the path of the audio."""
        name = f"{self.speaker}-{len(self.rows) + 1:04d}"
        path = self.folder / "audio" / f"{name}.flac"
        coded = io.BytesIO()
        soundfile.write(coded, take.samples, take.rate_hz, format="FLAC", subtype="PCM_16")
        files.write(path, coded.getvalue())
        row = Utterance(
            name, str(path), duration_s=take.duration_s, text=prompt, speaker=self.speaker
        )
        self.rows.append(row)
        manifest.write(self.manifest, self.rows)
        return path
