"""Training throughput of two processes against one, each with one thread of torch, in turns.

    python tools/bench_parallel.py [--preset small] [--rounds 3]

The very command that a user types, `torchrun -m asr.cli train`, on a made-up corpus; the figure is
what the run itself writes into metrics.jsonl, its first steps left out. Nothing is read ahead
(`train.workers=0`): all the work of a process is on its one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_training import make_corpus

from asr.data import manifest

FIRST = 6  # steps until all is loaded and allocated


def train(folder: Path, preset: str, processes: int, number: int) -> float:
    """Seconds of audio that a second of training takes in."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *torchrun, "asr.cli", "train", str(folder / "recipe.yaml")]
    command += [f"model.preset={preset}", f"name=run-{number}", "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    lines = (folder / f"run-{number}/metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["step"] > FIRST]
    return statistics.median(
        row["train/audio_s_per_s"] for row in rows if "train/audio_s_per_s" in row
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-s", type=float, default=80, help="seconds of audio a step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        utterances = make_corpus(folder)
        manifest.write(folder / "train.jsonl", utterances)
        manifest.write(folder / "dev.jsonl", utterances[:2])
        (folder / "recipe.yaml").write_text(
            f"name: bench\ndata: {{folder: {folder}, max_duration_s: 10}}\n"
            f"train: {{epochs: 1, batch_s: {options.batch_s}, threads: 1, workers: 0, "
            "log_every: 2, device: cpu}\n"
        )
        rows = []
        for round_ in range(options.rounds):
            one, two = (train(folder, options.preset, n, 2 * round_ + n) for n in (1, 2))
            rows.append(two / one)
            print(f"one process {one:.1f}, two {two:.1f} s of audio/s: {two / one:.2f}")
    print(f"{options.preset}: two processes take in {statistics.median(rows):.2f} times as much")


if __name__ == "__main__":
    main()
