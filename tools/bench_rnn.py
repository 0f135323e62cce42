"""Two ways to skip padding in a bidirectional LSTM: packed sequences, and reversal by length.

python tools/bench_rnn.py [--hidden 256] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from asr.model.acoustic import RecurrentLayer

LAYERS, BATCH, FRAMES, ROUNDS = 3, 16, 200, 5


class Packed(nn.Module):
    """PyTorch's packed sequences, with which padding never enters the recurrence."""

    def __init__(self, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(2 * hidden)
        self.rnn = nn.LSTM(2 * hidden, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.norm(x), lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = nn.utils.rnn.pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return x + y


def seconds(layers: list[nn.Module], x: Tensor, argument: Tensor, train: bool) -> float:
    started = time.perf_counter()
    with torch.set_grad_enabled(train):
        for layer in layers:
            x = layer(x, argument)
    if train:
        x.square().mean().backward()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    x = torch.randn(BATCH, FRAMES, 2 * options.hidden)
    lengths = torch.randint(FRAMES // 2, FRAMES + 1, (BATCH,))
    last, frame = lengths[:, None] - 1, torch.arange(FRAMES)
    reversal = torch.where(frame <= last, last - frame, frame)[:, :, None]
    packed = [Packed(options.hidden) for _ in range(LAYERS)]
    reversed_ = [
        RecurrentLayer("lstm", 2 * options.hidden, options.hidden, True, 0.0) for _ in range(LAYERS)
    ]
    for train in (True, False):
        times = [
            (seconds(packed, x, lengths, train), seconds(reversed_, x, reversal, train))
            for _ in range(ROUNDS + 1)
        ][1:]
        a, b = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{'training' if train else 'inference'}: packed {a:.3f} s, reversed {b:.3f} s, "
            f"ratio {a / b:.1f}"
        )


if __name__ == "__main__":
    main()
