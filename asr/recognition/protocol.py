"""The interface of a recognizer that transcription and alignment use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from asr.config import Config
from asr.recognition.emissions import Emissions, EmissionStream
from asr.recognition.segments import DecodedSegment, Segmenter
from asr.text.tokenizer import Tokenizer
from asr.transcript import Hypothesis


class RecognizerProtocol(Protocol):
    """The part of `asr.recognition.recognizer.Recognizer` that this package relies on."""

    config: Config
    tokenizer: Tokenizer
    rate_hz: int
    frame_s: float

    @property
    def streams(self) -> bool:
        """Whether the model is causal, so that recordings go through it in pieces."""

    def emissions(self, waveforms: Sequence[np.ndarray], /) -> Emissions:
        """[(N_i,)] float32 samples at `rate_hz` -> the emissions of each."""

    def decode(self, log_probs: np.ndarray, /) -> list[Hypothesis]:
        """(T, V) log-probabilities -> hypotheses, best first."""

    def decode_segments(self, log_probs: np.ndarray, /) -> list[DecodedSegment]:
        """(T, V) log-probabilities -> the utterances in them."""

    def segmenter(self) -> Segmenter:
        """Decodes emissions in pieces; only if `streams`, as is the next."""

    def emission_stream(self) -> EmissionStream:
        """Computes the emissions of samples in pieces."""
