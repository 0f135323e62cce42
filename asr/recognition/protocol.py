"""The interface of a recognizer that transcription and alignment use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from asr.config import Config
from asr.recognition.emissions import Emissions
from asr.text.tokenizer import Tokenizer
from asr.transcript import Hypothesis


class RecognizerProtocol(Protocol):
    """The part of `asr.recognition.recognizer.Recognizer` that this package relies on."""

    config: Config
    tokenizer: Tokenizer
    rate_hz: int
    frame_s: float

    def emissions(self, waveforms: Sequence[np.ndarray], /) -> Emissions:
        """[(N_i,)] float32 samples at `rate_hz` -> the emissions of each."""

    def decode(self, log_probs: np.ndarray, /) -> list[Hypothesis]:
        """(T, V) log-probabilities -> hypotheses, best first."""
