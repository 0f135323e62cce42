"""The time of a training step in bfloat16 and with torch.compile, relative to the plain one.

    python tools/bench_step.py [--preset small] [--device cpu] [--threads 2] [--rounds 5]

A step is the model, CTC and the backward pass on random features, in batches of different shapes as
in training. Rounds alternate between the variants. The first round of each, in which torch.compile
compiles for each new shape, is timed separately. A variant that fails is listed with its error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from asr.config import PRESETS, ModelConfig
from asr.model.acoustic import AcousticModel
from asr.model.ctc import ctc_loss

MELS, TOKENS, FRAMES_EACH = 80, 30, 8000  # FRAMES_EACH: feature frames per batch
LENGTHS = (150, 220, 310, 400, 470, 560, 640, 800)  # frames of the utterances of each batch


def batches(device: str) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Batches of features (B, T, F), their lengths (B,), tokens (B, U) and their lengths (B,)."""
    made = []
    for frames in LENGTHS:
        size = FRAMES_EACH // frames
        counts = torch.full((size,), frames // 12)
        tokens = torch.randint(1, TOKENS, (size, frames // 12))
        features = torch.randn(size, frames, MELS)
        batch = features, torch.full((size,), frames), tokens, counts
        made.append(tuple(x.to(device) for x in batch))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    data = batches(options.device)

    def way(compiled: bool, precision: torch.dtype | None) -> Callable[[], float]:
        model = AcousticModel(ModelConfig(preset=options.preset), MELS, TOKENS).to(options.device)
        run = torch.compile(model, dynamic=True) if compiled else model

        def seconds() -> float:
            started = time.perf_counter()
            for features, frames, tokens, counts in data:
                with torch.autocast(options.device, dtype=precision, enabled=precision is not None):
                    log_probs, lengths = run(features, frames)
                ctc_loss(log_probs, lengths, tokens, counts).backward()
                model.zero_grad()
            if options.device != "cpu":
                torch.cuda.synchronize()
            return (time.perf_counter() - started) / len(data)

        return seconds

    ways = {
        "float32": way(False, None),
        "float32, compiled": way(True, None),
        "bfloat16": way(False, torch.bfloat16),
        "bfloat16, compiled": way(True, torch.bfloat16),
    }
    first, times = {}, {name: [] for name in ways}
    for name, seconds in ways.items():
        try:
            first[name] = seconds() * len(data)
        except Exception as error:  # torch.compile raises many different kinds of errors
            first[name] = str(error).splitlines()[0]
    for _ in range(options.rounds):
        for name, seconds in ways.items():
            if not isinstance(first[name], str):
                times[name].append(seconds())
    title = f"{options.preset}, {options.device}"
    table = Table(title, "ms a step", "times as fast", "first round s")
    plain = statistics.median(times["float32"])
    for name, found in times.items():
        if not found:
            table.add_row(name, "fails", "", first[name])
            continue
        median = statistics.median(found)
        table.add_row(name, f"{median * 1000:.0f}", f"{plain / median:.2f}", f"{first[name]:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
