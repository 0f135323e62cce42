"""Voice activity detectors: the probability of speech in a recording, block by block.

A detector is called with the blocks in their order and returns the probability of speech for each
hop of `HOP_S`. Its memory does not grow with the recording.
"""

from __future__ import annotations

import importlib.util
from collections import deque
from pathlib import Path

import numpy as np

from asr.errors import UserError

HOP_S = 0.032  # the hop of Silero at both of its rates
DETECTORS = ("auto", "silero", "energy", "off")

_FLOOR_S = 30.0  # the noise floor is measured over the last 30 s
_STEP_DB = 8.0  # speech is at least this much louder than the floor
_SILENCE_DB = -65.0  # relative to full scale; quieter hops are silence


class Energy:
    """An energy detector: hops well above the noise floor count as speech, and so does music.

    The noise floor is the tenth percentile of the levels of the last 30 s.
    """

    def __init__(self, rate_hz: int):
        self.hop = round(HOP_S * rate_hz)
        self.levels_db: deque[float] = deque(maxlen=round(_FLOOR_S / HOP_S))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """samples (N * hop,) float32 -> (N,) probabilities, 0 or 1."""
        power = np.square(samples.reshape(-1, self.hop), dtype=np.float64).mean(axis=1)
        levels_db = 10 * np.log10(power + 1e-12)
        self.levels_db.extend(levels_db.tolist())
        floor_db, top_db = np.percentile(self.levels_db, (10, 95))
        threshold_db = floor_db + max(_STEP_DB, 0.3 * (top_db - floor_db))
        return (levels_db > max(threshold_db, _SILENCE_DB)).astype(np.float32)


class Silero:
    """The network of the package `silero-vad`, run by onnxruntime, for 8 or 16 kHz.

    https://github.com/snakers4/silero-vad. The package is not imported, because its import sets
    torch's threads to one. Raises `UserError` if it or onnxruntime is not installed, or for another
    rate.
    """

    CONTEXT_S = 0.004  # the audio before each hop that is part of the network's input

    def __init__(self, rate_hz: int):
        if not silero_installed():
            raise UserError(
                "voice detector silero: needs the packages silero-vad and onnxruntime; "
                "install asr[vad], or choose energy"
            )
        if not self.supports(rate_hz):
            raise UserError(
                f"voice detector silero: takes 8 or 16 kHz, not {rate_hz} Hz; choose energy"
            )
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A hop is too short to be worth more threads.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        package = Path(importlib.util.find_spec("silero_vad").origin).parent
        self.session = onnxruntime.InferenceSession(
            str(package / "data" / "silero_vad.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.hop = round(HOP_S * rate_hz)
        self.rate_hz = np.array(rate_hz, np.int64)
        self.state = np.zeros((2, 1, 128), np.float32)
        self.context = np.zeros(round(self.CONTEXT_S * rate_hz), np.float32)

    @staticmethod
    def supports(rate_hz: int) -> bool:
        return rate_hz in (8000, 16000)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """samples (N * hop,) float32 -> (N,) probabilities."""
        found = []
        for hop in samples.reshape(-1, self.hop):
            samples_in = np.concatenate([self.context, hop])[None]
            given = {"input": samples_in, "state": self.state, "sr": self.rate_hz}
            probability, self.state = self.session.run(None, given)
            self.context = hop[-len(self.context) :]
            found.append(float(probability[0, 0]))
        return np.array(found, np.float32)


class Everything:
    """No detection: everything counts as speech."""

    def __init__(self, rate_hz: int):
        self.hop = round(HOP_S * rate_hz)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return np.ones(len(samples) // self.hop, np.float32)


Detector = Energy | Silero | Everything


def silero_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("silero_vad", "onnxruntime"))


def detector(name: str, rate_hz: int) -> Detector:
    """A new detector for one recording."""
    kinds = {"silero": Silero, "energy": Energy, "off": Everything}
    return kinds[detector_name(name, rate_hz)](rate_hz)


def detector_name(name: str, rate_hz: int) -> str:
    """Resolve "auto": silero if it is installed and supports the rate, otherwise energy."""
    if name == "auto":
        return "silero" if silero_installed() and Silero.supports(rate_hz) else "energy"
    return name
