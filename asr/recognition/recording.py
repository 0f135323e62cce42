"""What was heard, kept as a corpus: the audio of each utterance and a manifest with its text."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from asr import files
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.recognition.stream import FinishedUtterance

MANIFEST = "manifest.jsonl"


class Recording:
    """A folder that takes the utterances of a stream as FLAC files of 16 bits.

    Only the audio of the utterance under way is kept in memory. A folder that has a manifest
    already is continued.
    """

    def __init__(self, folder: str | Path, rate_hz: int):
        self._folder, self._rate_hz = Path(folder), rate_hz
        self._manifest = self._folder / MANIFEST
        self._rows = manifest.read(self._manifest) if self._manifest.exists() else []
        self._pieces: list[np.ndarray] = []
        self._start = 0  # samples of the stream before those in `_pieces`

    def hear(self, samples: np.ndarray) -> None:
        """(N,) float32: the next samples of the stream."""
        self._pieces.append(samples)

    def finish(self, utterance: FinishedUtterance) -> Path | None:
        """Write the utterance if something was said in it, and drop its audio; returns its path."""
        heard = np.concatenate([np.zeros(0, np.float32), *self._pieces])
        count = min(len(heard), round(utterance.end_s * self._rate_hz) - self._start)
        samples = heard[:count]
        self._pieces, self._start = [heard[count:]], self._start + count
        if not utterance.words:
            return None
        name = f"{len(self._rows) + 1:05d}"
        path = self._folder / f"{name}.flac"
        coded = io.BytesIO()
        soundfile.write(coded, samples, self._rate_hz, format="FLAC", subtype="PCM_16")
        files.write(path, coded.getvalue())
        duration_s = len(samples) / self._rate_hz
        self._rows.append(Utterance(name, str(path), duration_s=duration_s, text=utterance.text))
        manifest.write(self._manifest, self._rows)
        return path
