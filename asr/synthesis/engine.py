"""What every synthesizer offers: its voices, and speech from text."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from asr.errors import UserError


class VoiceEngine(ABC):
    """A synthesizer. Its objects are small, since they are sent to other processes.

    What takes memory, such as a network, is loaded by the first `speak` of each process.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    license: ClassVar[str]
    install: ClassVar[str]  # the command that installs it
    language: str | None = "en"  # of its voices; None if it is not known
    fast: ClassVar[bool] = True  # speaks much faster than real time, so it is used by default

    @abstractmethod
    def voices(self) -> Sequence[str]:
        """Its voices. A name stands for the same speaker on every machine and in every version."""

    @abstractmethod
    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        """The text as (N,) float32 samples in [-1, 1], at any level, and their rate in hertz.

        seed: determines pace, intonation and noise; equal arguments give equal samples. Raises
        `Failed` if this text could not be spoken.
        """

    @abstractmethod
    def version(self) -> str:
        """What is installed, as a part of the record of a corpus; call it after `check`."""

    @abstractmethod
    def problem(self) -> str:
        """Why it cannot be used; empty if it can."""

    def check(self) -> None:
        """Raises `UserError` with the installation command if the engine cannot be used."""
        problem = self.problem()
        if problem:
            raise UserError(f"voice engine {self.name}: {problem}; install it with: {self.install}")


def generator(*key: str | int) -> np.random.Generator:
    """A random generator whose seed is a hash of `key`: the same in every process."""
    text = "\0".join(map(str, key))
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def from_int16(samples: np.ndarray) -> np.ndarray:
    """(N,) int16 -> float32 in [-1, 1)."""
    return samples.astype(np.float32) / 32768
