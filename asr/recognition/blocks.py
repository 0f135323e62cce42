"""A long recording through a causal model: block after block, with its state carried over."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from asr.recognition.emissions import EmissionStream
from asr.recognition.protocol import RecognizerProtocol
from asr.recognition.segments import DecodedSegment, timed
from asr.transcript import Hypothesis


@dataclass
class BlockEmissions:
    """The emissions of the blocks of one recording after another."""

    recognizer: RecognizerProtocol
    stream: EmissionStream | None = None

    def of(self, samples: np.ndarray, first: bool, last: bool) -> np.ndarray:
        """(N,) samples of the next block -> (T, V) of the frames that are certain by now."""
        if first or self.stream is None:
            self.stream = self.recognizer.emission_stream()
        rows = self.stream.feed(samples)
        return np.concatenate([rows, self.stream.finish()]) if last else rows


@dataclass
class BlockText:
    """The utterances in the emissions of a recording that come in blocks."""

    recognizer: RecognizerProtocol
    segments: list[DecodedSegment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._segmenter = self.recognizer.segmenter()

    def add(self, log_probs: np.ndarray, last: bool) -> None:
        """(T, V) log-probabilities of the next block."""
        self.segments += self._segmenter.feed(log_probs)
        if last:
            self.segments += self._segmenter.finish()

    def parts(self) -> list[tuple[float, list[Hypothesis]]]:
        """The start of each utterance in seconds, and its hypotheses."""
        return timed(self.segments, self.recognizer.frame_s)
