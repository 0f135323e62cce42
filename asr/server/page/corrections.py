"""Corrected transcripts, kept as a corpus: the audio of each utterance and a manifest."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr import audio, files
from asr.audio.source import ResolvedSource
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError

MANIFEST = "manifest.jsonl"
SHORTEST_S = 0.05


@dataclass(frozen=True)
class CorrectedUtterance:
    """A part of a recording and the text that a listener says is right."""

    start_s: float
    end_s: float
    text: str


class CorrectionFolder:
    """A folder that takes utterances as FLAC files of 16 bits at the rate of their recording.

    The name of an utterance is a hash of its samples, so that saving it again replaces its text. A
    folder that has a manifest already is continued.
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        self._lock = threading.Lock()

    @property
    def manifest(self) -> Path:
        return self._folder / MANIFEST

    def save(
        self,
        source: ResolvedSource,
        utterances: Sequence[CorrectedUtterance],
        speaker: str | None = None,
        language: str | None = None,
    ) -> int:
        """Write the utterances of a recording; returns how many of them are new.

        Raises `UserError` if the recording cannot be read, or if an utterance is not inside it.
        """
        rate_hz = audio.info(source).rate_hz
        cut = [_cut(source, rate_hz, utterance) for utterance in utterances]
        with self._lock:
            found = manifest.read(self.manifest) if self.manifest.exists() else []
            rows = {row.id: row for row in found}
            before = len(rows)
            for utterance, piece in zip(utterances, cut, strict=True):
                name = hashlib.sha256(piece.tobytes()).hexdigest()[:16]
                path = self._folder / f"{name}.flac"
                coded = io.BytesIO()
                soundfile.write(coded, piece, rate_hz, format="FLAC", subtype="PCM_16")
                files.write(path, coded.getvalue())
                rows[name] = Utterance(
                    name,
                    str(path),
                    duration_s=len(piece) / rate_hz,
                    text=utterance.text,
                    speaker=speaker,
                    language=language,
                )
            manifest.write(self.manifest, list(rows.values()))
        return len(rows) - before


def _cut(source: ResolvedSource, rate_hz: int, utterance: CorrectedUtterance) -> np.ndarray:
    """The samples of an utterance; its end may lie a little beyond the end of the recording."""
    duration_s = utterance.end_s - utterance.start_s
    piece = audio.read(source, rate_hz, utterance.start_s, duration_s)
    if len(piece) < SHORTEST_S * rate_hz:
        raise UserError(
            f"utterance {utterance.start_s:g} to {utterance.end_s:g} s: the recording has only "
            f"{len(piece) / rate_hz:g} s of it"
        )
    return piece
