"""Files for audio that has no file of its own in a source, such as bytes in a table."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import soundfile

from asr import audio, files
from asr.audio import AUDIO_SUFFIXES, Source

SUFFIXES = {  # {first bytes of a file: suffix}
    b"RIFF": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    b"\xff\xfb": ".mp3",
    b"\xff\xf3": ".mp3",
    b"\xff\xf2": ".mp3",
    b"NIST": ".sph",
}


class AudioStore:
    """A folder of audio files. If the folder is None, paths are returned but nothing is written."""

    def __init__(self, folder: str | Path | None = None):
        self.folder = None if folder is None else Path(folder)

    def put(self, name: str, data: bytes) -> str:
        """Write the bytes of an audio file; returns its path. `name` may be any text."""
        suffix = next((s for mark, s in SUFFIXES.items() if data.startswith(mark)), None)
        if suffix is None:
            suffix = Path(name).suffix.lower()
            suffix = suffix if suffix in AUDIO_SUFFIXES else ".audio"
        return self._write(name, suffix, data)

    def cut(
        self, name: str, path: Source, start_s: float, duration_s: float | None, channel: int
    ) -> str:
        """Write one channel of a segment of a recording as FLAC; returns the path.

        Raises `UserError` if the recording cannot be read.
        """
        if self.folder is None:
            return self._path(name, ".flac")
        rate_hz = audio.info(path).rate_hz
        samples = audio.read(path, rate_hz, start_s, duration_s, channel)
        # libsndfile would scale by 32767, which would change samples that had 16 bits.
        pcm = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
        file = io.BytesIO()
        soundfile.write(file, pcm, rate_hz, format="FLAC")
        return self._write(name, ".flac", file.getvalue())

    def _path(self, name: str, suffix: str) -> str:
        """The path for a name; a digest replaces what a file name cannot hold, so paths differ."""
        stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() == suffix else name
        parts = [re.sub(r"[^\w.@=+-]", "_", part) for part in stem.split("/")]
        safe = "/".join(part for part in parts if part.strip("."))
        if safe != stem or len(safe) > 150:
            digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:10]
            safe = f"{safe[:150].strip('/') or 'audio'}-{digest}"
        return str((self.folder or Path("audio")) / (safe + suffix))

    def _write(self, name: str, suffix: str, data: bytes) -> str:
        path = self._path(name, suffix)
        if self.folder is not None:
            files.write(path, data)
        return path
