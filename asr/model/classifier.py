"""The model of `task: classify`: a CNN over the spectrogram, pooling over time, a linear head.

The result for an utterance does not depend on the others in its batch: convolutions see zeros
beyond its end, and normalization and pooling use its own frames only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import ClassifyConfig, ModelConfig
from asr.config.model import CLASSIFIER_PRESET
from asr.model.acoustic import (
    AcousticModel,
    ConvSubsampling,
    RecurrentLayer,
    add_quiet,
    reversal_of,
)
from asr.model.deepspeech2 import FrameNorm
from asr.model.features import length_mask

VARIANCE_FLOOR = 1e-5  # of the frames of an utterance, which may be a single one
WIDTHS = (1, 2, 4, 4)  # the channels of each block, in multiples of `model.channels`


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalization, ReLU, max pooling: (B, C, T, F) -> (B, C', T', F / 2).

    T' is T / stride; the sizes are rounded up.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = FrameNorm(outputs)
        # Outputs of ReLU are at least 0, so the zeros past the end change no maximum.
        self.pool = nn.MaxPool2d((stride, 2), ceil_mode=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        mask = length_mask(lengths, x.shape[2])  # (B, T)
        x = self.norm(self.convolution(x).transpose(1, 2), mask).transpose(1, 2)
        return self.pool(torch.relu(x)), -(-lengths // self.stride)


class ConvBlocks(nn.Module):
    """(B, T, F) features -> (B, T / subsampling, width): four blocks, then a projection."""

    def __init__(self, features: int, channels: int, subsampling: int, width: int):
        super().__init__()
        self.blocks, inputs = nn.ModuleList(), 1
        for number, multiple in enumerate(WIDTHS, 1):
            stride = 2 if 1 << number <= subsampling else 1
            self.blocks.append(ConvBlock(inputs, multiple * channels, stride))
            inputs, features = multiple * channels, -(-features // 2)
        self.project = nn.Linear(inputs * features, width)

    def frames(self, frames: Tensor | int) -> Tensor | int:
        """The number of output frames for `frames` feature frames."""
        for block in self.blocks:
            frames = -(-frames // block.stride)
        return frames

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)  # (B, 1, T, F)
        for block in self.blocks:
            x, lengths = block(x, lengths)  # (B, C, T', F')
        return self.project(x.transpose(1, 2).flatten(2)), lengths  # (B, T', C * F') projected


class MeanPooling(nn.Module):
    """The mean of an utterance's frames: (B, T, W), (B,) frames -> (B, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.size = width

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T): the share of each frame, 0 past the end."""
        return length_mask(lengths, x.shape[1]) / lengths[:, None]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return (x * self.weights(x, lengths)[:, :, None]).sum(1)


class AttentivePooling(nn.Module):
    """Attentive statistics (Okabe et al. 2018, equations 5 to 8): (B, T, W), (B,) -> (B, 2 W).

    The weight of frame x_t is softmax over t of v . tanh(A x_t + b); the result is the weighted
    mean and the weighted standard deviation of each unit.
    """

    def __init__(self, width: int):
        super().__init__()
        self.size = 2 * width
        self.hidden = nn.Linear(width, width // 2)
        self.score = nn.Linear(width // 2, 1, bias=False)

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T): the share of each frame, 0 past the end."""
        scores = self.score(torch.tanh(self.hidden(x)))[:, :, 0].float()  # (B, T)
        return scores.masked_fill(~length_mask(lengths, x.shape[1]), -torch.inf).softmax(1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        share, x = self.weights(x, lengths)[:, :, None], x.float()
        mean = (share * x).sum(1)  # (B, W)
        variance = (share * (x - mean[:, None]).square()).sum(1)
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


POOLINGS = {"mean": MeanPooling, "attention": AttentivePooling}


class ClassificationModel(nn.Module):
    """(B, T, F) features -> (B, 1, C) log-probabilities of classes: one frame for each utterance.

    The single frame has the shape of emissions, so that whatever computes the emissions of
    recordings computes their classes as well. The front end of the preset `cnn` is `ConvBlocks`;
    with any other preset it is that of the transcribing model. Recurrent layers follow if
    `model.layers` is not 0. With `multi_label` each class has a probability of its own.
    """

    def __init__(self, config: ModelConfig, classify: ClassifyConfig, features: int, classes: int):
        super().__init__()
        self.config, self.multi_label = config, classify.multi_label
        width, channels = 2 * config.hidden, config.channels
        self.front_end: ConvBlocks | ConvSubsampling
        if config.preset == CLASSIFIER_PRESET:
            self.front_end = ConvBlocks(features, channels, config.subsampling, width)
        else:
            self.front_end = ConvSubsampling(features, channels, config.subsampling, width, False)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.rnn, width, config.hidden, True, config.dropout)
            for _ in range(config.layers)
        )
        self.pool = POOLINGS[classify.pooling](width)
        self.norm = nn.LayerNorm(self.pool.size)
        self.head = nn.Linear(self.pool.size, classes)

    def frames(self, frames: Tensor | int) -> Tensor | int:
        """The number of model frames for `frames` feature frames."""
        return self.front_end.frames(frames)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), (B,) frames -> (B, T', W), (B,) frames: what is pooled."""
        if self.config.edge:
            count = self.config.edge * self.config.subsampling
            features, lengths = add_quiet(features, lengths, count)
        x, lengths = self.front_end(features, lengths)
        x = self.dropout(x)
        reversal = reversal_of(lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, reversal)
        return x, lengths

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) frames -> (B, E): the vector of each utterance that the head reads."""
        return self.norm(self.pool(*self.encode(features, lengths)))

    def logits(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) frames -> (B, C) float32."""
        return self.head(self.dropout(self.embed(features, lengths))).float()

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), (B,) frames -> (B, 1, C) log-probabilities, and (B,) ones."""
        logits = self.logits(features, lengths)
        log = nn.functional.logsigmoid(logits) if self.multi_label else logits.log_softmax(1)
        return log[:, None], torch.ones_like(lengths)

    parameter_count = AcousticModel.parameter_count
