"""Waveforms -> emissions with ONNX Runtime on a CPU, in float32 or with int8 weights.

A graph takes samples (B, N). That of a bidirectional model also takes the lengths (B,) in samples
and returns the emissions with their lengths. That of a causal model takes the windows of some
frames, without gaps, and the states of the piece before; whole recordings are one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime

from asr.config import Config
from asr.runtime.onnx_file import NEXT_STATE, STATE

BLOCK_S = 2.0  # a longer piece of a stream is computed in blocks, so that memory stays bounded
KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
ERRORS_ONLY = 3  # the level of onnxruntime's own messages


class OnnxEmitter:
    """The graph of an exported model."""

    device = "cpu"

    def __init__(self, path: str, config: Config, quantized: bool, parameters: int, threads: int):
        self.quantized, self.parameter_count = quantized, parameters
        self.framing, self.rate_hz = Framing.of(config), config.features.rate_hz
        self.causal = not config.model.bidirectional
        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        # Each utterance is computed alone with int8 weights, on a core of its own.
        options.intra_op_num_threads = 1 if quantized else threads
        options.enable_mem_pattern = False  # it keeps memory for every shape of a batch
        # The arena would keep the memory of the longest batch.
        options.enable_cpu_mem_arena = False
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def emissions(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """[(N_i,)] float32 -> (B, T, V) natural logs in float32, (B,) frames.

        int8 weights: the scale of the activations is that of a whole input of a layer, so each
        utterance is computed alone, and does not depend on its batch.
        """
        compute = self._whole_causal if self.causal else self._whole
        if not self.quantized:
            return compute(waveforms)
        with ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(lambda waveform: compute([waveform]), waveforms))
        rows = [log_probs[0] for log_probs, _ in found]
        return padded(rows), np.concatenate([lengths for _, lengths in found])

    def stream(self) -> OnnxEmissionStream:
        """Computes the emissions of samples in pieces; only for a causal model in float32."""
        return OnnxEmissionStream(self)

    def _whole(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
        given = {"samples": padded(waveforms), "lengths": lengths}
        given |= self.first_states(len(waveforms))  # of running normalization
        log_probs, frames = self.session.run(["log_probs", "frames"], given)
        return log_probs, frames

    def _whole_causal(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        framing = self.framing
        lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
        frames = framing.model_frames(framing.frames(lengths))
        count = int(frames.max()) + framing.look_ahead
        samples = np.zeros((len(waveforms), framing.samples(count)), np.float32)
        for row, waveform in zip(samples, waveforms, strict=True):
            row[framing.before : framing.before + len(waveform)] = waveform
        log_probs, _ = self.advance(samples, frames, self.first_states(len(waveforms)))
        return log_probs[:, framing.look_ahead :], frames

    def first_states(self, batch: int) -> dict[str, np.ndarray]:
        """The states before the first piece: zeros."""
        return {
            one.name: np.zeros((batch, *one.shape[1:]), KINDS[one.type])
            for one in self.session.get_inputs()
            if one.name.startswith(STATE)
        }

    def advance(
        self, samples: np.ndarray, frames: np.ndarray, states: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A piece through a causal model: (B, N) windows of frames, (B,) real model frames ->
        (B, T', V) log-probabilities and the states after it."""
        names = [f"{NEXT_STATE}{name.removeprefix(STATE)}" for name in states]
        given = {"samples": samples, "frames": frames, **states}
        log_probs, *after = self.session.run(["log_probs", *names], given)
        return log_probs, dict(zip(states, after, strict=True))


class Framing:
    """Which samples belong to which frames; the numbers of `asr.model.features.Features`."""

    def __init__(self, window: int, hop: int, n_fft: int, subsampling: int, look_ahead: int):
        self.window, self.hop = window, hop  # samples
        self.subsampling, self.look_ahead = subsampling, look_ahead  # feature, model frames
        self.before = n_fft // 2 - (n_fft - window) // 2  # samples of a window before its time

    @classmethod
    def of(cls, config: Config) -> Framing:
        features = config.features
        window = round(features.rate_hz * features.window_ms / 1000)
        hop = round(features.rate_hz * features.hop_ms / 1000)
        n_fft = window if features.kind == "spectrogram" else 1 << (window - 1).bit_length()
        return cls(window, hop, n_fft, config.model.subsampling, config.lookahead_frames)

    def frames(self, samples: Any) -> Any:
        """The feature frames of a recording of `samples` samples."""
        return samples // self.hop + 1

    def model_frames(self, frames: Any) -> Any:
        return -(-frames // self.subsampling)

    def samples(self, model_frames: int) -> int:
        """The samples that the windows of the frames of `model_frames` cover."""
        return self.window + (model_frames * self.subsampling - 1) * self.hop


class OnnxEmissionStream:
    """Samples in pieces of any size -> emissions, those of the whole recording (to rounding)."""

    def __init__(self, emitter: OnnxEmitter):
        self._emitter = emitter
        self._states = emitter.first_states(1)
        self._samples = np.zeros(emitter.framing.before, np.float32)  # of the next frame on
        self._received = 0  # samples
        self._computed = 0  # model frames
        self._skip = emitter.framing.look_ahead  # outputs that lie before the first frame
        self._vocabulary = emitter.session.get_outputs()[0].shape[2]

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> (T, V) float32 natural logs of the frames that are certain by now."""
        self._received += len(samples)
        self._samples = np.concatenate([self._samples, samples])
        return np.concatenate([self._nothing(), *self._whole_blocks()])

    def finish(self) -> np.ndarray:
        """(T, V): the emissions of the frames at the end, which waited for later audio."""
        if not self._received:
            return self._nothing()
        framing = self._emitter.framing
        due = framing.model_frames(framing.frames(self._received)) - self._computed
        count = due + framing.look_ahead
        if count == 0:
            return self._nothing()
        rest = np.zeros(framing.samples(count), np.float32)
        rest[: len(self._samples)] = self._samples[: len(rest)]
        return self._advance(rest, due, count)

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self._vocabulary), np.float32)

    def _whole_blocks(self) -> list[np.ndarray]:
        framing, rows = self._emitter.framing, []
        step = framing.subsampling * framing.hop  # samples of a model frame
        most = max(1, round(BLOCK_S * self._emitter.rate_hz / step))
        while len(self._samples) >= framing.samples(1):
            count = min(most, (len(self._samples) - framing.samples(1)) // step + 1)
            rows.append(self._advance(self._samples[: framing.samples(count)], count, count))
            self._samples = self._samples[count * step :]
        return rows

    def _advance(self, samples: np.ndarray, real: int, count: int) -> np.ndarray:
        """Compute `count` model frames, of which the first `real` belong to the recording."""
        frames = np.array([real], np.int64)
        log_probs, self._states = self._emitter.advance(samples[None], frames, self._states)
        self._computed += count
        rows = log_probs[0, self._skip :]
        self._skip = max(0, self._skip - count)
        return rows


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[(N_i, ...)] -> (B, max N_i, ...) with zeros past the ends."""
    longest = max(len(row) for row in rows)
    batch = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in zip(batch, rows, strict=True):
        place[: len(row)] = row
    return batch
