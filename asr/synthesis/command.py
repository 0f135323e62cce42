"""Any synthesizer that a command runs, such as `piper -m joe.onnx -f {wav}`."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from asr.errors import UserError
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.program import TIMEOUT_S, spoken_by

PLACES = re.compile(r"\{(text|wav)\}")


@dataclass(frozen=True)
class Command(VoiceEngine):
    """A command that speaks with one voice.

    command: the program and its arguments, separated as in a shell but never given to one. `{wav}`
    stands for the file to write. `{text}` stands for the text; without it, the program reads the
    text from its standard input. The voice is named after the program and a hash of the command.

    Whether equal texts give equal samples is up to the command. Raises `UserError` if the command
    has an open quote or no `{wav}`.
    """

    command: str
    timeout_s: float = TIMEOUT_S  # for one utterance

    name = "command"
    about = "any command that writes audio"
    license = "that of the program"
    install = "the package of the program"
    language = None

    def __post_init__(self) -> None:
        if "{wav}" not in self.command:
            raise UserError(
                f"command {self.command!r}: has no {{wav}}, the place of the file that it must "
                "write; for example: piper -m joe.onnx -f {wav} -- {text}"
            )
        self.arguments()

    def arguments(self) -> list[str]:
        try:
            return shlex.split(self.command)
        except ValueError as error:
            raise UserError(f"command {self.command!r}: {error}; check the quotes") from None

    def voices(self) -> Sequence[str]:
        program = re.sub(r"[^A-Za-z0-9.]+", "-", Path(self.arguments()[0]).name)
        return [f"{program}-{hashlib.sha256(self.command.encode()).hexdigest()[:6]}"]

    def problem(self) -> str:
        program = self.arguments()[0]
        return "" if shutil.which(program) else f"there is no program {program!r}"

    def version(self) -> str:
        return self.command

    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        with TemporaryDirectory() as folder:
            wav = Path(folder, "speech.wav")
            # A hyphen at the beginning would be read as an option, and is not spoken.
            values = {"text": text.lstrip("- "), "wav": str(wav)}
            command = [PLACES.sub(lambda m: values[m[1]], part) for part in self.arguments()]
            stdin = None if "{text}" in self.command else text
            return spoken_by(command, wav, stdin, self.timeout_s)
