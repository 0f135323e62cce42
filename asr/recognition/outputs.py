"""The output files of transcripts; finished ones are found so that they are not written again."""

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
        """The files of an utterance; raises `UserError` if its id leads out of the folder."""
        return [files.below(self.folder, f"{utterance.id}.{name}") for name in self.formats]

    def finished(self, utterance: Utterance) -> bool:
        """Whether all files of the utterance exist and none is older than the recording."""
        try:
            recorded = Path(str(utterance.audio)).stat().st_mtime
        except OSError:
            recorded = 0.0  # it is in an archive, or missing, which is reported when it is read
        try:
            return all(path.stat().st_mtime >= recorded for path in self.paths(utterance))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror}") from None

    def unfinished(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """The utterances that are still to be transcribed, in their order.

        Raises `UserError` if the id of any utterance leads out of the folder.
        """
        for utterance in utterances:
            self.paths(utterance)
        return [utterance for utterance in utterances if not self.finished(utterance)]

    def write(self, utterance: Utterance, transcript: Transcript) -> None:
        for name, path in zip(self.formats, self.paths(utterance), strict=True):
            files.write(path, written(name, utterance, transcript))


def written(name: str, utterance: Utterance, transcript: Transcript) -> str:
    """A transcript as text in the format `name`; JSON lines include the id of the utterance."""
    if name == "jsonl":
        return jsonl(transcript, utterance.id)
    return FORMATS[name](transcript)
