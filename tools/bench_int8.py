"""The speed of int8 and float32 weights: times real time of the emissions, by preset.

    python tools/bench_int8.py [--presets tiny small base] [--threads 2] [--rounds 5]

With random weights, the emissions of 12 recordings of 10 s are computed in one batch in float32,
one by one in float32, and one by one in int8, alternately. The last two differ only in the kernels;
the first and the last show the gain for a user.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from asr.config import PRESETS, parse
from asr.diagnostics.bench import noise
from asr.model.model_file import Model
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import CharacterTokenizer

RECORDINGS, LENGTH_S = 12, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["tiny", "small", "base"], choices=PRESETS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")
    table = Table("preset", "batch", "alone", "alone, int8", "int8 / batch", "int8 / alone")
    for preset in options.presets:
        config = parse({"name": "int8", "model": {"preset": preset}}, "bench")
        exact = Recognizer(Model.build(config, tokens), "cpu")
        small = Recognizer(Model.build(config, tokens), "cpu", quantized=True)
        waveforms = [noise(LENGTH_S, exact.rate_hz)] * RECORDINGS
        ways = {
            "batch": lambda e=exact, w=waveforms: e.emissions(w),
            "alone": lambda e=exact, w=waveforms: [e.emissions([one]) for one in w],
            "int8": lambda s=small, w=waveforms: s.emissions(w),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, run in ways.items():
                started = time.perf_counter()
                run()
                if turn:
                    times[name].append(time.perf_counter() - started)
        speed = {n: RECORDINGS * LENGTH_S / statistics.median(t) for n, t in times.items()}
        table.add_row(
            preset,
            *(f"{x:.0f}" for x in speed.values()),
            f"{speed['int8'] / speed['batch']:.2f}",
            f"{speed['int8'] / speed['alone']:.2f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
