"""Waveforms -> emissions with PyTorch, on any of its devices, in float32 or with int8 weights."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr.data.padding import pad
from asr.model.acoustic import AcousticModel
from asr.model.classifier import ClassificationModel
from asr.model.features import Features
from asr.model.joint_streaming import feed_together
from asr.model.quantize import quantize
from asr.model.streaming import TorchEmissionStream, evaluation


class TorchEmitter:
    """Features and acoustic model on a device."""

    def __init__(
        self, features: Features, acoustic: nn.Module, device: torch.device, quantized: bool
    ):
        self.device, self.quantized = device, quantized
        self.features = features.to(device)
        self.acoustic = acoustic.to(device)
        self.parameter_count = sum(p.numel() for p in self.acoustic.parameters())
        if quantized:
            self.acoustic = quantize(self.acoustic, device)

    def emissions(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """[(N_i,)] float32 -> (B, T, V) natural logs in float32, (B,) frames."""
        training = self.acoustic.training
        self.features.eval()
        self.acoustic.eval()
        try:
            found = self._each_alone(waveforms) if self.quantized else self._emit(waveforms)
        finally:
            self.features.train(training)
            self.acoustic.train(training)
        log_probs, lengths = (tensor.cpu().numpy() for tensor in found)
        return log_probs, lengths

    @torch.inference_mode()
    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """[(N_i,)] float32 -> (B, E): the vectors that the head of a classifier reads."""
        padded, lengths = pad([torch.as_tensor(waveform) for waveform in waveforms])
        acoustic = cast(ClassificationModel, self.acoustic)
        with (
            evaluation(self.features, acoustic),
            torch.backends.cudnn.flags(allow_tf32=False),
        ):
            features, frames = self.features(padded.to(self.device), lengths.to(self.device))
            return acoustic.embed(features, frames).cpu().numpy()

    def stream(self) -> TorchEmissionStream:
        """Computes the emissions of samples in pieces; only for a causal model in float32."""
        return TorchEmissionStream(self.features, cast(AcousticModel, self.acoustic))

    def feed_together(
        self, streams: Sequence[TorchEmissionStream], pieces: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """`feed` of several streams at once: [(N_i,)] float32 -> [(T_i, V)]."""
        return feed_together(streams, pieces)

    @torch.inference_mode()
    def _emit(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        padded, lengths = pad([torch.as_tensor(waveform) for waveform in waveforms])
        # TF32, the default of cuDNN, rounds to 10 bits: a transcript could depend on its batch.
        with torch.backends.cudnn.flags(allow_tf32=False):
            features, frames = self.features(padded.to(self.device), lengths.to(self.device))
            return self.acoustic(features, frames)

    def _each_alone(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Compute each waveform as a batch of one, in parallel on PyTorch's number of threads.

        `asr.model.quantize` says why int8 weights need this.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as p:
                found = list(p.map(lambda waveform: self._emit([waveform]), waveforms))
        finally:
            torch.set_num_threads(threads)
        rows = [log_probs[0] for log_probs, _ in found]
        lengths = torch.cat([frames for _, frames in found])
        return pad_sequence(rows, batch_first=True), lengths
