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
        self.block_frames = max(1, round(BLOCK_S * self.rate_hz / self.framing.step))
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

    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """[(N_i,)] float32 -> (B, E): the vectors that the head of a classifier reads."""
        batches = [[waveform] for waveform in waveforms] if self.quantized else [waveforms]
        return np.concatenate(
            [self.session.run(["embeddings"], _inputs(batch))[0] for batch in batches]
        )

    def stream(self) -> OnnxEmissionStream:
        """Computes the emissions of samples in pieces; only for a causal model in float32."""
        return OnnxEmissionStream(self)

    def feed_together(
        self, streams: Sequence[OnnxEmissionStream], pieces: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """`OnnxEmissionStream.feed` for streams of this model: [(N_i,)] float32 -> [(T_i, V)].

        Streams that have as many frames as the shortest of them are one batch; the rest of the
        others follows in further batches. A stream occurs once at most.
        """
        rows = []
        for stream, piece in zip(streams, pieces, strict=True):
            stream.receive(piece)
            rows.append([stream.nothing()])
        while waiting := [i for i, stream in enumerate(streams) if stream.ready]:
            count = min(self.block_frames, *(streams[i].ready for i in waiting))
            for i, found in zip(
                waiting, _advance([streams[i] for i in waiting], count), strict=True
            ):
                rows[i].append(found)
        return [np.concatenate(row) for row in rows]

    def _whole(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        given = _inputs(waveforms) | self.first_states(len(waveforms))  # of running normalization
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
        self.step = subsampling * hop  # samples of a model frame

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
        self.emitter = emitter
        self.states = emitter.first_states(1)
        self._samples = np.zeros(emitter.framing.before, np.float32)  # of the next frame on
        self._received = 0  # samples
        self._computed = 0  # model frames
        self._skip = emitter.framing.look_ahead  # outputs that lie before the first frame
        self._vocabulary = emitter.session.get_outputs()[0].shape[2]

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> (T, V) float32 natural logs of the frames that are certain by now."""
        return self.emitter.feed_together([self], [samples])[0]

    def finish(self) -> np.ndarray:
        """(T, V): the emissions of the frames at the end, which waited for later audio."""
        if not self._received:
            return self.nothing()
        framing = self.emitter.framing
        due = framing.model_frames(framing.frames(self._received)) - self._computed
        count = due + framing.look_ahead
        if count == 0:
            return self.nothing()
        rest = np.zeros(framing.samples(count), np.float32)
        rest[: len(self._samples)] = self._samples[: len(rest)]
        log_probs, states = self.emitter.advance(rest[None], np.array([due], np.int64), self.states)
        return self.accept(log_probs[0], states)

    def receive(self, samples: np.ndarray) -> None:
        """The next samples (N,), which `take` returns when they make whole frames."""
        self._received += len(samples)
        self._samples = np.concatenate([self._samples, samples])

    @property
    def ready(self) -> int:
        """The number of model frames whose samples have all come in."""
        framing = self.emitter.framing
        return max(0, (len(self._samples) - framing.samples(1)) // framing.step + 1)

    def take(self, count: int) -> np.ndarray:
        """(N,): the windows of the next `count` model frames, at most `ready`."""
        framing = self.emitter.framing
        found = self._samples[: framing.samples(count)]
        self._samples = self._samples[count * framing.step :]
        return found

    def accept(self, log_probs: np.ndarray, states: dict[str, np.ndarray]) -> np.ndarray:
        """The outputs (T', V) for the frames of `take` -> those of them that are emissions."""
        self.states = states
        rows = log_probs[self._skip :]
        self._computed += len(log_probs)
        self._skip = max(0, self._skip - len(log_probs))
        return rows

    def nothing(self) -> np.ndarray:
        """The emissions of no frame."""
        return np.zeros((0, self._vocabulary), np.float32)


def _advance(streams: Sequence[OnnxEmissionStream], count: int) -> list[np.ndarray]:
    """Compute the next `count` model frames of each stream as one batch: [(T_i, V)]."""
    samples = np.stack([stream.take(count) for stream in streams])  # (B, N)
    frames = np.full(len(streams), count, np.int64)
    names = streams[0].states
    states = {name: np.concatenate([s.states[name] for s in streams]) for name in names}
    log_probs, after = streams[0].emitter.advance(samples, frames, states)
    return [
        stream.accept(row, {name: state[i : i + 1] for name, state in after.items()})
        for i, (stream, row) in enumerate(zip(streams, log_probs, strict=True))
    ]


def _inputs(waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of a graph that reads whole recordings."""
    lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
    return {"samples": padded(waveforms), "lengths": lengths}


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[(N_i, ...)] -> (B, max N_i, ...) with zeros past the ends."""
    longest = max(len(row) for row in rows)
    batch = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in zip(batch, rows, strict=True):
        place[: len(row)] = row
    return batch
