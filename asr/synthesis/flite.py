"""flite: small voices of Carnegie Mellon University, three of them made from recorded speakers.

http://cmuflite.org (a license like BSD's). The installed program is run.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from asr.synthesis.engine import VoiceEngine, generator
from asr.synthesis.program import spoken_by


class Flite(VoiceEngine):
    """The voices at 16 kHz; pace and pitch vary a little from utterance to utterance."""

    name = "flite"
    about = "flite, voices from recordings"
    license = "BSD-like"
    install = "apt-get install flite"

    def voices(self) -> Sequence[str]:
        return ["awb", "kal16", "rms", "slt"]

    def problem(self) -> str:
        return "" if shutil.which("flite") else "there is no program flite"

    def version(self) -> str:
        done = subprocess.run(["flite", "-h"], stdin=subprocess.DEVNULL, capture_output=True)
        words = done.stdout.decode(errors="replace").split()
        return words[words.index("version:") + 1] if "version:" in words else "unknown"

    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        draw = generator(seed, voice)
        features = {
            "duration_stretch": np.exp(draw.uniform(np.log(0.75), np.log(1.3))),
            "f0_shift": np.exp(draw.normal(0, 0.08)),
        }
        settings = [part for key, v in features.items() for part in ("-s", f"{key}={v:.3f}")]
        with TemporaryDirectory() as folder:
            source, wav = Path(folder, "text"), Path(folder, "speech.wav")
            source.write_text(text, "utf-8")
            return spoken_by(
                ["flite", "-voice", voice, *settings, "-f", str(source), "-o", str(wav)], wav
            )
