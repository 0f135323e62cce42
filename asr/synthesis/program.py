"""Run a synthesizer that is a program: it reads a text and writes an audio file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from asr.errors import Failed

TIMEOUT_S = 60.0
SAID = 200  # characters of what the program printed that an error repeats


def spoken_by(
    command: Sequence[str], wav: Path, stdin: str | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[np.ndarray, int]:
    """Run `command`, without a shell, and read the file that it wrote: (N,) float32 and its rate.

    stdin: text for its standard input. Raises `Failed` if the program cannot be started, does not
    end in time, exits with an error, or writes no audio.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            input=(stdin or "").encode(errors="replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} was stopped, as it ran for more than {timeout_s:g} s") from None
    except OSError as error:
        raise Failed(f"{name} cannot be started: {error.strerror}") from None
    said = " ".join(done.stdout.decode(errors="replace").split())[-SAID:]
    if done.returncode != 0:
        raise Failed(f"{name} ended with status {done.returncode}: {said or 'it printed nothing'}")
    try:
        samples, rate_hz = soundfile.read(wav, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise Failed(f"{name} wrote no audio: {error.error_string} {said}".strip()) from None
    return samples.mean(axis=1), rate_hz
