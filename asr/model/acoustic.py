"""The acoustic model: a CNN over the spectrogram image, recurrent layers, a CTC head.

The emissions of an utterance do not depend on the others in the batch: convolutions see zeros
beyond its end, and the backward recurrence begins at its own last frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.model.features import length_mask

# Time and frequency strides of the convolutions, by time subsampling.
STRIDES = {2: ((2, 2), (1, 2)), 4: ((2, 2), (2, 2)), 8: ((2, 2), (2, 2), (2, 1))}


class ConvSubsampling(nn.Module):
    """(B, T, F) features -> (B, T / subsampling, width): 3x3 convolutions, then a projection.

    `causal` pads time on the left only, so that no output waits for later frames.
    """

    def __init__(self, features: int, channels: int, subsampling: int, width: int, causal: bool):
        super().__init__()
        self.strides = STRIDES[subsampling]
        inputs = [1] + [channels] * (len(self.strides) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n, channels, 3, stride)
            for n, stride in zip(inputs, self.strides, strict=True)
        )
        for _, stride in self.strides:
            features = -(-features // stride)
        self.pad = nn.ZeroPad2d(
            (1, 1, 2, 0) if causal else (1, 1, 1, 1)
        )  # left, right, top, bottom
        self.project = nn.Linear(channels * features, width)

    def frames(self, frames: Tensor | int) -> Tensor | int:
        """The number of output frames for `frames` feature frames."""
        for stride, _ in self.strides:
            frames = -(-frames // stride)
        return frames

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)  # (B, 1, T, F)
        for convolution, (stride, _) in zip(self.convolutions, self.strides, strict=True):
            x = torch.relu(convolution(self.pad(x)))  # (B, C, T', F')
            if x.dtype is torch.bfloat16:  # a fifth faster on a CPU
                x = x.contiguous(memory_format=torch.channels_last)
            lengths = -(-lengths // stride)
            x = x * length_mask(lengths, x.shape[2])[:, None, :, None]
        x = x.transpose(1, 2).flatten(2)  # (B, T', C * F')
        return self.project(x), lengths


def reversal_of(lengths: Tensor, size: int) -> Tensor:
    """(B,) -> (B, T, 1) index of the frame at time t when each utterance is reversed.

    Frames past the end are not moved, so they do not reach the utterance's own frames.
    """
    frame = torch.arange(size, device=lengths.device)
    last = lengths[:, None] - 1
    return torch.where(frame <= last, last - frame, frame)[:, :, None]


def run_backwards(rnn: nn.Module, x: Tensor, reversal: Tensor) -> Tensor:
    """(B, T, W) -> (B, T, H): a recurrence that begins at each utterance's own last frame."""
    y, _ = rnn(x.gather(1, reversal.expand_as(x)))
    return y.gather(1, reversal.expand_as(y))


class RecurrentLayer(nn.Module):
    """Layer normalization, LSTM or GRU, dropout, residual connection: (B, T, W) -> (B, T, W).

    Both directions are plain recurrences over padded batches; the backward one reads each
    utterance reversed within its own length. Packed sequences would give the same numbers, but on
    a CPU they miss the fused kernel: about 2.8 times slower to train (tools/bench_rnn.py).
    """

    def __init__(self, rnn: str, width: int, hidden: int, bidirectional: bool, dropout: float):
        super().__init__()
        recurrence = nn.LSTM if rnn == "lstm" else nn.GRU
        self.norm = nn.LayerNorm(width)
        self.forward_rnn = recurrence(width, hidden, batch_first=True)
        self.backward_rnn = recurrence(width, hidden, batch_first=True) if bidirectional else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """reversal: (B, T, 1), of `reversal_of`."""
        inputs = self.norm(x)
        y, _ = self.forward_rnn(inputs)  # (B, T, H)
        if self.backward_rnn is not None:
            y = torch.cat([y, run_backwards(self.backward_rnn, inputs, reversal)], dim=2)
        return x + self.dropout(y)


class LookAhead(nn.Module):
    """A convolution over a frame and the `frames` after it, each unit alone (Wang et al. 2016).

    (B, T, W) -> (B, T, W), with layer normalization before it and a residual connection around it,
    as the recurrent layers have them; past the end of an utterance it sees zeros.
    """

    def __init__(self, width: int, frames: int, dropout: float):
        super().__init__()
        self.frames = frames
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, frames + 1, groups=width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: (B, T, 1), 0 past the end of an utterance."""
        later = nn.functional.pad(self.norm(x) * mask, (0, 0, 0, self.frames))  # (B, T + frames, W)
        return x + self.dropout(self.convolved(later))

    def convolved(self, x: Tensor) -> Tensor:
        """(B, T + frames, W) -> (B, T, W)"""
        return self.convolution(x.transpose(1, 2)).transpose(1, 2)


def add_quiet(features: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Put `count` frames of quiet before and after each utterance.

    (B, T, F), (B,) frames -> (B, count + T + count, F), (B,). Every value of a quiet frame is the
    least value that the utterance has in any frame and bin, which is close to its noise floor when
    normalization keeps the levels of the bins (`features.cmvn` scalar, level, global, none). Frames
    past the quiet stay zero.
    """
    size = features.shape[1]
    inside = length_mask(lengths, size)[:, :, None]  # (B, T, 1)
    quiet = features.masked_fill(~inside, torch.inf).amin((1, 2), keepdim=True)  # (B, 1, 1)
    wide = nn.functional.pad(features.where(inside, quiet) - quiet, (0, 0, count, count)) + quiet
    lengths = lengths + 2 * count
    return wide * length_mask(lengths, size + 2 * count)[:, :, None], lengths


class AcousticModel(nn.Module):
    """(B, T, F) features -> (B, T', V) log-probabilities of tokens, blank = 0.

    lookahead: the frames that a look-ahead convolution after the recurrent layers reads ahead.

    With `edge` n, the layers hear n model frames of quiet (`add_quiet`) before and after each
    utterance, and the outputs at these frames are dropped, so that lengths and times stay as they
    are. The recurrences thereby reach the first and the last sound of an utterance after a pause,
    as they do in the middle of a sentence. Without it, a model that was trained on recordings with
    silence around them misreads words that are cut tight: the convolutions see zeros beyond the
    edge, which is the mean rather than quiet, and the recurrences begin inside a sound. It costs
    2 n frames of computation an utterance. A causal model has no edge: it would begin n frames
    late, and its last outputs are due before it is known that the utterance has ended.

    The head may also be applied to inner layers (`inter_ctc`), each with a loss of its own (Lee and
    Watanabe 2021); `self_conditioned` adds its output there to the input of the layer above (Nozaki
    and Komatsu 2021).
    """

    def __init__(self, config: ModelConfig, features: int, vocabulary: int, lookahead: int = 0):
        super().__init__()
        self.config = config
        width = config.hidden * (2 if config.bidirectional else 1)
        causal = not config.bidirectional
        self.front_end = ConvSubsampling(
            features, config.channels, config.subsampling, width, causal=causal
        )
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.rnn, width, config.hidden, config.bidirectional, config.dropout)
            for _ in range(config.layers)
        )
        self.look_ahead = LookAhead(width, lookahead, config.dropout) if lookahead else None
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        # CTC training first learns to emit blanks only. With some seeds, random weights emit one
        # word in every frame, and it takes 160 steps to unlearn that (recipes/yesno).
        with torch.no_grad():
            self.head.bias[:1] += config.blank_bias
        self.condition = nn.Linear(vocabulary, width) if config.self_conditioned else None

    def frames(self, frames: Tensor | int) -> Tensor | int:
        """The number of model frames for `frames` feature frames."""
        return self.front_end.frames(frames)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), (B,) frames -> (B, T', V), (B,) frames."""
        outputs, lengths = self.outputs(features, lengths, inner=self.condition is not None)
        return outputs[-1], lengths

    def outputs(
        self, features: Tensor, lengths: Tensor, inner: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        """The output of the head after each layer of `inter_ctc` and after the last: (B, T', V)."""
        edge = self.config.edge
        if edge:
            features, lengths = add_quiet(features, lengths, edge * self.config.subsampling)
        x, lengths = self.front_end(features, lengths)
        x = self.dropout(x)
        reversal = reversal_of(lengths, x.shape[1])  # (B, T', 1)
        read = []
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, reversal)
            if inner and number in self.config.inter_ctc:
                read.append(self.read(x))
                if self.condition is not None:
                    x = x + self.condition(read[-1].exp())
        if self.look_ahead is not None:
            x = self.look_ahead(x, length_mask(lengths, x.shape[1])[:, :, None])
        read.append(self.read(x))
        if edge:
            read, lengths = [y[:, edge:-edge] for y in read], lengths - 2 * edge
        return read, lengths

    def read(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, V): the log-probabilities that the head reads from a layer."""
        # float32 in any precision of the layers: CTC sums thousands of small probabilities
        return self.head(self.norm(x)).float().log_softmax(dim=2)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
