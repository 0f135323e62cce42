"""The emissions of a causal model while its audio comes in, equal to those of the whole recording.

Each part keeps what its next output reads of the past: the STFT the samples of its window, a
convolution its last input frames, a recurrence its state, the look-ahead convolution the frames
whose successors have not come. At the end, the STFT and the look-ahead read zeros, as they do in
`asr.model.features` and `asr.model.acoustic`, so the last frames are computed like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from asr.model.acoustic import AcousticModel, ConvSubsampling, LookAhead
from asr.model.features import Features
from asr.model.running_cmvn import RunningState

BLOCK_S = 2.0  # a longer piece is computed in blocks of this length, so that memory stays bounded
FEW_FRAMES = 16  # of a model; a packet of 100 ms has 2 or 3


@contextmanager
def evaluation(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; those that were in training mode return to it."""
    training = [module for module in modules if module.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()


class FeatureStream:
    """Samples in pieces -> the frames of `asr.model.features.Features` as they become certain."""

    def __init__(self, features: Features):
        power = features.power
        self.features = features
        self.half = power.n_fft // 2
        # Where the FFT is longer than the window, it has zeros after it, which need no samples.
        unread = power.n_fft - (power.n_fft - power.win_length) // 2 - power.win_length
        self.unread = torch.zeros(unread, device=power.window.device)
        self.samples = torch.zeros(self.half, device=power.window.device)  # of the next frame on
        self.received = 0  # samples
        self.emitted = 0  # frames
        self.cmvn: RunningState | None = None

    def feed(self, samples: Tensor) -> Tensor:
        """(N,) samples -> (T, F) normalized features, T from 0 up."""
        self.received += len(samples)
        self.samples = torch.cat([self.samples, samples])
        return self._frames(torch.cat([self.samples, self.unread]))

    def finish(self) -> Tensor:
        """(T, F): the frames that were still waiting for samples."""
        if not self.received:
            return self.samples.new_zeros(0, self.features.size)
        due = self.features.frames(self.received) - self.emitted
        found = self._frames(torch.cat([self.samples, self.samples.new_zeros(self.half)]))
        return found[:due]

    def _frames(self, samples: Tensor) -> Tensor:
        power, hop = self.features.power, self.features.hop
        count = max(0, (len(samples) - power.n_fft) // hop + 1)
        if count == 0:
            return samples.new_zeros(0, self.features.size)
        window = samples[: power.n_fft + (count - 1) * hop]
        spectra = torch.stft(
            window,
            power.n_fft,
            hop,
            power.win_length,
            power.window,
            center=False,
            return_complex=True,
        )  # (bins, T)
        lengths = torch.tensor([count], device=samples.device)
        raw = self.features.from_spectra(spectra.abs().square()[None], lengths)  # (1, T, F)
        self.samples = self.samples[count * hop :].clone()
        self.emitted += count
        if self.features.config.cmvn == "running":
            normalized, self.cmvn = self.features.normalize_running(raw, self.cmvn)
            return normalized[0]
        return self.features.normalize(raw, lengths)[0]


@dataclass
class ConvolutionState:
    """What the convolutions keep: for each, the input frames (1, C, n, F) of its next output on."""

    frames: list[Tensor]

    @classmethod
    def of(cls, front_end: ConvSubsampling, features: int) -> ConvolutionState:
        """Before the first frame: zeros in place of the kernel - 1 frames before it."""
        frames = []
        for convolution, (_, stride) in zip(front_end.convolutions, front_end.strides, strict=True):
            weight = convolution.weight
            past = convolution.kernel_size[0] - 1
            frames.append(weight.new_zeros(1, weight.shape[1], past, features))
            features = -(-features // stride)
        return cls(frames)

    def advance(self, front_end: ConvSubsampling, features: Tensor) -> Tensor:
        """(T, F) features -> (T', W) outputs of the front end."""
        x = features[None, None]  # (1, 1, T, F)
        for number, convolution in enumerate(front_end.convolutions):
            x = torch.cat([self.frames[number], x], 2)
            kernel, stride = convolution.kernel_size[0], convolution.stride[0]
            count = max(0, (x.shape[2] - kernel) // stride + 1)
            self.frames[number] = x[:, :, count * stride :].clone()
            if count == 0:
                return x.new_zeros(0, front_end.project.out_features)
            read = x[:, :, : (count - 1) * stride + kernel]
            x = torch.relu(convolution(nn.functional.pad(read, (1, 1))))  # (1, C, T', F')
        return front_end.project(x.transpose(1, 2).flatten(2))[0]


@dataclass
class LookAheadState:
    """The outputs of the last recurrent layer (1, n, W) whose successors have not all come."""

    waiting: Tensor

    def advance(self, layer: LookAhead, x: Tensor, ended: bool) -> Tensor:
        """(1, T, W) -> (1, T', W); at the end, zeros stand for the frames to come."""
        self.waiting = torch.cat([self.waiting, x], 1)
        inputs = layer.norm(self.waiting)
        if ended:
            inputs = nn.functional.pad(inputs, (0, 0, 0, layer.frames))
        count = max(0, inputs.shape[1] - layer.frames)
        if count == 0:
            return x[:, :0]
        found = self.waiting[:, :count] + layer.convolved(inputs)
        self.waiting = self.waiting[:, count:].clone()
        return found


RecurrentState = Tensor | tuple[Tensor, Tensor]


def advance_rnn(
    rnn: nn.Module, x: Tensor, state: RecurrentState | None
) -> tuple[Tensor, RecurrentState]:
    """(1, T, W), and the state after the frames before -> (1, T, H) and the state.

    For a few frames of an LSTM on a CPU, the steps are computed here: the fused kernel of PyTorch
    first rearranges all weights, which takes about twice as long as the steps themselves.
    """
    if not isinstance(rnn, nn.LSTM) or x.shape[1] > FEW_FRAMES or x.is_cuda:
        return rnn(x, state)
    hidden, cell = (one[0] for one in state or (x.new_zeros(1, 1, rnn.hidden_size),) * 2)
    inputs = nn.functional.linear(x[0], rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0)
    recurrent = rnn.weight_hh_l0.t()
    outputs = []
    for gates in inputs.split(1):  # (1, 4 H)
        i, f, g, o = torch.addmm(gates, hidden, recurrent).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.cat(outputs)[None], (hidden[None], cell[None])


@dataclass
class AcousticStream:
    """Features in pieces -> the emissions of `asr.model.acoustic.AcousticModel`."""

    model: AcousticModel
    features: int  # F
    convolutions: ConvolutionState = field(init=False)
    recurrences: list[RecurrentState | None] = field(init=False)
    look_ahead: LookAheadState = field(init=False)

    def __post_init__(self) -> None:
        weight = self.model.head.weight
        self.convolutions = ConvolutionState.of(self.model.front_end, self.features)
        self.recurrences = [None] * len(self.model.layers)
        self.look_ahead = LookAheadState(weight.new_zeros(1, 0, weight.shape[1]))

    def advance(self, features: Tensor, ended: bool = False) -> Tensor:
        """(T, F) -> (T', V) log-probabilities; ended: no more features come."""
        x = self.convolved(features)
        if len(x):
            x = self._recur(x[None])[0]
        return self.read(x, ended)

    def convolved(self, features: Tensor) -> Tensor:
        """(T, F) -> (T', W): the inputs of the recurrent layers."""
        return self.convolutions.advance(self.model.front_end, features)

    def read(self, x: Tensor, ended: bool = False) -> Tensor:
        """(T, W) outputs of the recurrent layers -> (T', V) log-probabilities."""
        x = x[None]
        if self.model.look_ahead is not None:
            x = self.look_ahead.advance(self.model.look_ahead, x, ended)
        return self.model.read(x)[0]

    def _recur(self, x: Tensor) -> Tensor:
        model = self.model
        for number, layer in enumerate(model.layers):
            y, self.recurrences[number] = advance_rnn(
                layer.forward_rnn, layer.norm(x), self.recurrences[number]
            )
            x = x + y
            if model.condition is not None and number + 1 in model.config.inter_ctc:
                x = x + model.condition(model.read(x).exp())
        return x


class TorchEmissionStream:
    """Samples at the rate of the model, in pieces of any size -> emissions.

    The outputs of `feed` and `finish`, joined, are the emissions of the whole recording (to
    rounding, 1e-4). Its state has a fixed size.
    """

    def __init__(self, features: Features, acoustic: AcousticModel):
        self._modules = (features, acoustic)
        self.features = FeatureStream(features)
        self.acoustic = AcousticStream(acoustic, features.size)
        self.block = max(1, round(BLOCK_S * features.config.rate_hz))  # samples
        self._device = acoustic.head.weight.device

    @torch.inference_mode()
    def feed(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> (T, V) float32 natural logs of the frames that are certain by now."""
        blocks = torch.from_numpy(samples).to(self._device).split(self.block)
        with evaluation(*self._modules), torch.backends.cudnn.flags(allow_tf32=False):
            rows = [self.acoustic.advance(self.features.feed(block)) for block in blocks]
        return torch.cat(rows).cpu().numpy()

    @torch.inference_mode()
    def finish(self) -> np.ndarray:
        """(T, V): the emissions of the frames at the end, which waited for later audio."""
        with evaluation(*self._modules), torch.backends.cudnn.flags(allow_tf32=False):
            return self.acoustic.advance(self.features.finish(), ended=True).cpu().numpy()
