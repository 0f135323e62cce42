"""Benchmark exported models against PyTorch: whole commands, their time and their peak memory.

Each figure is one `asr transcribe` in a process of its own, from the shell to the last word, with
an untrained model of the preset. The recordings are those of a manifest, cut and joined to one of
5 s, 50 of 2 to 12 s, and one of two hours.

    python tools/bench_export.py MANIFEST --preset small --part one --part fifty --threads 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr import audio
from asr.config import parse
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.export.model import export
from asr.model.model_file import Model, save_model
from asr.text.tokenizer import CharacterTokenizer

RATE_HZ = 16000
SECONDS = {"one": 5.0, "fifty": 350.0, "long": 7200.0}  # of audio
PAUSE_S = 0.6
VOCABULARY = 500
ENGINES = {  # name: suffix of the file, options of the command
    "PyTorch float32": (".asr", []),
    "PyTorch int8": (".asr", ["--quantize"]),
    "ONNX float32": (".onnx", []),
    "ONNX int8": ("-int8.onnx", []),
}


def speech(utterances: list[Utterance]) -> Iterator[np.ndarray]:
    """Samples without end: the recordings of the manifest with pauses between them."""
    while True:
        for utterance in utterances:
            yield audio.read(utterance.audio, RATE_HZ, utterance.start_s, utterance.duration_s)
            yield np.zeros(round(PAUSE_S * RATE_HZ), np.float32)


def write(path: Path, pieces: Iterator[np.ndarray], seconds: float) -> None:
    left = round(seconds * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype="PCM_16") as file:
        while left > 0:
            piece = next(pieces)[:left]
            file.write(piece)
            left -= len(piece)


def make_recordings(folder: Path, source: Path, parts: list[str]) -> dict[str, list[Path]]:
    pieces = speech(manifest.read(source))
    made: dict[str, list[Path]] = {}
    for part in parts:
        made[part] = [folder / f"{part}.wav"]
        if part == "fifty":
            made[part] = [folder / f"{part}{i}.wav" for i in range(50)]
        lengths = np.linspace(2, 12, 50) if part == "fifty" else [SECONDS[part]]
        for path, seconds in zip(made[part], lengths, strict=True):
            write(path, pieces, seconds)
    return made


def make_models(folder: Path, preset: str) -> None:
    torch.manual_seed(0)
    config = parse({"name": preset, "model": {"preset": preset}}, preset)
    letters = [chr(0x4E00 + i) for i in range(VOCABULARY - 2)]
    model = Model.build(config, CharacterTokenizer(letters))
    save_model(folder / f"{preset}.asr", model)
    export(folder / f"{preset}.onnx", model)
    export(folder / f"{preset}-int8.onnx", model, int8=True)


# A process starts with the peak memory of the one that it was forked from, so a small one forks.
MEASURED = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(status, time.perf_counter() - started, usage.ru_maxrss / 1024)
"""


def measure(command: list[str], threads: int) -> tuple[float, float]:
    """Seconds and peak MiB of a process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURED, *command],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, seconds, peak = map(float, done.stdout.split())
    if status:
        sys.exit(f"failed: {' '.join(command[:6])} ...")
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--preset", action="append", help="tiny, small, base, ...; repeatable")
    parser.add_argument("--part", action="append", choices=SECONDS, help="repeatable")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="repeatable")
    parser.add_argument("--vad", default="energy", help="of the recording of two hours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="of the median, after one unmeasured")
    given = parser.parse_args()
    parts, rounds = given.part or list(SECONDS), given.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = make_recordings(folder, given.manifest, parts)
        print("| preset | recording | engine | s | times real time | peak MiB | file MiB |")
        print("|---|---|---|---|---|---|---|")
        for preset in given.preset or ["tiny", "small", "base"]:
            make_models(folder, preset)
            for part in parts:
                for engine in given.engine or ENGINES:
                    suffix, options = ENGINES[engine]
                    model = folder / f"{preset}{suffix}"
                    command = [sys.executable, "-m", "asr.cli", "transcribe", str(model), *options]
                    command += ["--vad", given.vad, *map(str, recordings[part])]
                    if part != "long":
                        measure(command, given.threads)
                    count = 1 if part == "long" else rounds
                    found = [measure(command, given.threads) for _ in range(count)]
                    seconds, peak = (
                        statistics.median(values) for values in zip(*found, strict=True)
                    )
                    size = model.stat().st_size / 2**20
                    print(
                        f"| {preset} | {part} | {engine} | {seconds:.2f} | "
                        f"{SECONDS[part] / seconds:.0f} | {peak:.0f} | {size:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
