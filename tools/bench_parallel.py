"""Training throughput of two processes and of one, each with one torch thread, alternately.

    python tools/bench_parallel.py [--preset small] [--rounds 3]

The program runs the command of a user, `torchrun -m asr.cli train`, on a synthetic corpus, and
takes the throughput from metrics.jsonl without the first steps. Nothing is read ahead
(`train.workers=0`), so that all work of a process is on one core.
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

FIRST = 6  # the number of steps left out, in which code is loaded and memory allocated


def train(folder: Path, preset: str, processes: int, number: int) -> float:
    """The seconds of audio per second of training."""
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
    parser.add_argument("--batch-s", type=float, default=80, help="seconds of audio per step")
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
    print(f"{options.preset}: two processes train {statistics.median(rows):.2f} times as fast")


if __name__ == "__main__":
    main()
