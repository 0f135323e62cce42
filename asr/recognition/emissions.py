"""What an acoustic model computes: the log-probabilities of the tokens in each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass
class Emissions:
    """The log-probabilities of the tokens in each frame, for a batch of waveforms."""

    log_probs: np.ndarray  # (B, T, V) float32 natural logs, blank = 0
    lengths: np.ndarray  # (B,) int64 frames
    frame_s: float  # duration of a frame in seconds

    def rows(self) -> list[np.ndarray]:
        """One (T_i, V) array for each waveform, without padding."""
        lengths = self.lengths.tolist()
        return [self.log_probs[i, :length] for i, length in enumerate(lengths)]


class EmissionStream(Protocol):
    """Computes the emissions of a recording whose samples come in pieces."""

    def feed(self, samples: np.ndarray, /) -> np.ndarray:
        """(N,) float32 -> (T, V) float32 natural logs of the frames that are certain by now."""

    def finish(self) -> np.ndarray:
        """(T, V): the emissions of the frames at the end, which waited for later audio."""


class Emitter(Protocol):
    """Features and acoustic model, computed by PyTorch or by ONNX Runtime."""

    quantized: bool  # int8 weights

    @property
    def device(self) -> Any:
        """Where it computes; its string names the device."""

    @property
    def parameter_count(self) -> int: ...

    def emissions(self, waveforms: Sequence[np.ndarray], /) -> tuple[np.ndarray, np.ndarray]:
        """[(N_i,)] float32 at the model's rate -> (B, T, V) natural logs, (B,) frames."""

    def stream(self) -> EmissionStream:
        """Only for a causal model in float32."""
