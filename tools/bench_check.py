"""Time and peak memory of `asr check --no-audio` on a manifest of N rows made up for it.

    python tools/bench_check.py 1000000

No audio is opened: the rows name a file that does not exist, and their durations are believed. What
is measured is reading the manifest, normalization, the CTC check, and the findings.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from asr.cli import app
from asr.data import manifest as manifests


def make(path: Path, rows: int) -> None:
    """Write a manifest of sentences of 6 to 18 words out of 20,000, at about 14 characters/s."""
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = ["".join(draw.choice(letters, draw.integers(2, 11))) for _ in range(20_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = " ".join(words[i] for i in draw.integers(0, len(words), draw.integers(6, 19)))
            row = {
                "id": f"u{number:07}",
                "audio": f"audio/{number // 1000}/{number}.flac",
                "duration_s": round(len(text) / draw.uniform(12, 16), 2),
                "text": text.capitalize() + ".",
                "speaker": f"s{number % 1000}",
            }
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        make(path, rows)
        began = time.perf_counter()
        manifests.read(path)
        read_s = time.perf_counter() - began
        began = time.perf_counter()
        app(["check", str(path), "--no-audio"], standalone_mode=False)
        total_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows: {total_s:.1f} s, of which reading takes {read_s:.1f} s; {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
