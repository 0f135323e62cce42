"""The DeepSpeech2 design (Amodei et al. 2015) as SeanNaren's deepspeech.pytorch has it.

It serves for comparison: two wide convolutions with clipped activations, wide recurrences whose
directions are summed, batch normalization between them. Lengths are honored as in
`asr.model.acoustic`, and the statistics of a batch are computed on its real frames alone.
"""

from __future__ import annotations

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.model.acoustic import AcousticModel, reversal_of, run_backwards
from asr.model.features import length_mask

# Time by frequency: the paper's 41x11 and 21x11, named frequency first there.
KERNELS, STRIDES = ((11, 41), (11, 21)), ((2, 2), (1, 2))
CLIP = 20.0  # of the activation min(max(x, 0), 20)


class FrameNorm(nn.Module):
    """Batch normalization of (B, T, C) or (B, T, C, F) over real frames; padding becomes zero."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: (B, T) bool, true where a frame belongs to the utterance."""
        real = self.norm(x[mask])  # (frames, C) or (frames, C, F)
        y = real.new_zeros(x.shape)
        y[mask] = real
        return y


class SummedLayer(nn.Module):
    """Batch normalization, then a summed LSTM or GRU each way: (B, T, W) -> (B, T, H)."""

    def __init__(self, rnn: str, width: int, hidden: int, normalized: bool):
        super().__init__()
        recurrence = nn.LSTM if rnn == "lstm" else nn.GRU
        self.norm = FrameNorm(width) if normalized else None
        self.forward_rnn = recurrence(width, hidden, batch_first=True)
        self.backward_rnn = recurrence(width, hidden, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor, reversal: Tensor) -> Tensor:
        if self.norm is not None:
            x = self.norm(x, mask)
        y, _ = self.forward_rnn(x)
        return y + run_backwards(self.backward_rnn, x, reversal)


class DeepSpeech2(nn.Module):
    """(B, T, F) features -> (B, T', V) log-probabilities of tokens, blank = 0; T' is half of T."""

    def __init__(self, config: ModelConfig, features: int, vocabulary: int):
        super().__init__()
        self.config = config
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        inputs = 1
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            padding = (kernel[0] // 2, kernel[1] // 2)
            self.convolutions.append(nn.Conv2d(inputs, config.channels, kernel, stride, padding))
            self.norms.append(FrameNorm(config.channels))
            inputs, features = config.channels, -(-features // stride[1])
        widths = [config.channels * features] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(
            SummedLayer(config.rnn, width, config.hidden, normalized=number > 0)
            for number, width in enumerate(widths)
        )
        self.norm = FrameNorm(config.hidden)
        self.head = nn.Linear(config.hidden, vocabulary, bias=False)

    def frames(self, frames: Tensor | int) -> Tensor | int:
        """The number of model frames for `frames` feature frames."""
        for stride, _ in STRIDES:
            frames = -(-frames // stride)
        return frames

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), (B,) frames -> (B, T', V), (B,) frames."""
        lengths = self.frames(lengths)
        x = features.unsqueeze(1)  # (B, 1, T, F)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x).transpose(1, 2)  # (B, T', C, F')
            mask = length_mask(lengths, x.shape[1])  # only the first convolution changes T
            x = norm(x, mask).clamp(0, CLIP).transpose(1, 2)  # (B, C, T', F')
        x = x.transpose(1, 2).flatten(2)  # (B, T', C * F')
        reversal = reversal_of(lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, mask, reversal)
        return self.head(self.norm(x, mask)).float().log_softmax(dim=2), lengths

    parameter_count = AcousticModel.parameter_count
