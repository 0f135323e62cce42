"""Time and peak memory of `prepare` and of the leak check, on a corpus of N rows made up for it.

    python tools/bench_prepare.py 1000000

The rows name one short recording, and their durations are believed, so that what is measured is
the import, the split and the comparison of texts and speakers, not the decoding.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from asr.data import manifest
from asr.data.leaks import find_leaks
from asr.data.prepare import prepare


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make(folder: Path, rows: int) -> Path:
    soundfile.write(folder / "a.wav", np.zeros(1600), 16000)
    path = folder / "corpus.jsonl"
    with path.open("w") as file:
        for i in range(rows):
            text = f"sentence number {i % (rows // 2 + 1)} of this corpus"
            row = f'"id": "{i}", "audio": "a.wav", "duration_s": 0.1, "speaker": "s{i % 5000}"'
            file.write(f'{{{row}, "text": "{text}"}}\n')
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        source = make(Path(name), rows)
        print(f"before: peak {peak_mb():.0f} MB")
        begun = time.perf_counter()
        prepared = prepare(source, Path(name) / "out", open_audio=False)
        print(f"prepare: {time.perf_counter() - begun:.1f} s, peak {peak_mb():.0f} MB")
        assert prepared.utterances == rows
        parts = {part.name: part.path for part in prepared.sets}
        begun = time.perf_counter()
        leaks = find_leaks(
            manifest.read(parts["train"]), manifest.read(parts["test"]), open_audio=False
        )
        print(f"leaks: {time.perf_counter() - begun:.1f} s, peak {peak_mb():.0f} MB")
        assert not leaks.speakers.values and leaks.sentences.values


if __name__ == "__main__":
    main()
