"""The files that transcripts are written to: which are there already, and one writer for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr import files
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.transcript import Transcript
from asr.transcript.writers import FORMATS, jsonl


@dataclass(frozen=True)
class Outputs:
    """One file for each utterance and format, `FOLDER/ID.FORMAT`."""

    folder: Path
    formats: Sequence[str]

    def paths(self, utterance: Utterance) -> list[Path]:
        """Raises `UserError` where an id leads out of the folder."""
        return [files.below(self.folder, f"{utterance.id}.{name}") for name in self.formats]

    def finished(self, utterance: Utterance) -> bool:
        """All its files are there, and none is older than the recording."""
        try:
            heard = Path(str(utterance.audio)).stat().st_mtime
        except OSError:
            heard = 0.0  # inside an archive, or missing: that is reported in its turn
        try:
            return all(path.stat().st_mtime >= heard for path in self.paths(utterance))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror}") from None

    def write(self, utterance: Utterance, transcript: Transcript) -> None:
        for name, path in zip(self.formats, self.paths(utterance), strict=True):
            files.write(path, written(name, utterance, transcript))


def written(name: str, utterance: Utterance, transcript: Transcript) -> str:
    """A transcript in the format of this name."""
    if name == "jsonl":
        return jsonl(transcript, utterance.id)
    return FORMATS[name](transcript)
