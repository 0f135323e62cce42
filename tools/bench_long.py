"""Transcribe a recording of hours: memory, speed, and WER compared with its parts (Linux only).

    python tools/bench_long.py MODEL MANIFEST... [--hours 2] [--vad auto] [--folder long]

The utterances of the manifests are shuffled and joined to one FLAC file, with 0.3 to 3 s of noise
between them and synthetic music after every tenth. The program prints the peak memory and the time
of the whole command for this file and for its first five minutes; the WER on the long recording and
on its utterances transcribed separately; the number of words recognized where nobody speaks; and
the real-time factor of each stage, measured on ten minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track

from asr import audio
from asr.audio.chunking import chunks
from asr.audio.vad import DETECTORS, detector
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.recognition.recognizer import load
from asr.scoring.evaluate import evaluate
from asr.scoring.wer import Pair, score
from asr.text.normalize import normalize

RATE_HZ, SHORT_S, STAGES_S = 16000, 300.0, 600.0
NEAR_S = 0.5  # a word within this distance of a piece may belong to it

# The peak memory of a process starts at that of its parent, so a small process starts it.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def music(draw: np.random.Generator, seconds: float) -> np.ndarray:
    """Synthetic music: a new chord of three notes with overtones twice a second, and a beat."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    out = np.zeros(len(t))
    for beat in range(int(2 * seconds)):
        on = slice(int(beat * RATE_HZ / 2), int((beat + 1) * RATE_HZ / 2))
        fall = np.exp(-4 * (t[on] - t[on.start]))
        for note in draw.choice(24, 3, replace=False):
            hz = 130.8 * 2 ** (note / 12)
            for overtone in (1, 2, 3, 4):
                out[on] += fall * np.sin(2 * np.pi * hz * overtone * t[on]) / overtone
        out[on] += 0.3 * fall**8 * draw.standard_normal(len(t[on]))
    return 0.1 * out / max(1e-9, np.abs(out).max())


def join(
    utterances: list[Utterance], path: Path, hours: float
) -> tuple[list[Utterance], list[tuple[float, float]]]:
    """Write the recording; returns its parts, as utterances of it, and the spans of music."""
    draw = np.random.default_rng(0)
    pieces, played = [], []
    at_s = 0.0
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="FLAC", subtype="PCM_16") as file:

        def put(samples: np.ndarray) -> float:
            nonlocal at_s
            file.write(samples + 1e-4 * draw.standard_normal(len(samples)))
            at_s += len(samples) / RATE_HZ
            return at_s

        while at_s < hours * 3600:
            for i in track(draw.permutation(len(utterances)), "joining", transient=True):
                one = utterances[i]
                put(np.zeros(int(draw.uniform(0.3, 3.0) * RATE_HZ)))
                samples = audio.read(one.audio, RATE_HZ, one.start_s, one.duration_s)
                start_s, duration_s = at_s, len(samples) / RATE_HZ
                put(samples)
                pieces.append(
                    Utterance(str(len(pieces)), str(path), start_s, duration_s, one.text, "x")
                )
                if len(pieces) % 10 == 0:
                    put(np.zeros(RATE_HZ))
                    start_s = at_s
                    played.append((start_s, put(music(draw, draw.uniform(4, 20)))))
                if at_s >= hours * 3600:
                    break
    return pieces, played


def whole_command(model: Path, path: Path, vad: str, to: Path) -> tuple[dict, float, float]:
    """Run `asr transcribe`; returns the transcript, the seconds and the peak MiB."""
    command = [sys.executable, "-m", "asr.cli", "transcribe", model, path, "-o", to]
    command += ["--format", "json", "--vad", vad, "--overwrite", "--device", "cpu"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}")
    seconds, peak_kib = time.perf_counter() - started, int(done.stdout)
    return json.loads((to / f"{path.stem}.json").read_text()), seconds, peak_kib / 1024


def stages(model: Path, path: Path, vad: str) -> dict[str, float]:
    """The seconds of each stage, run one after another, for the first STAGES_S of a recording."""
    recognizer = load(model, "cpu")
    took: dict[str, float] = {}

    def timed(name, call):
        started = time.perf_counter()
        result = call()
        took[name] = time.perf_counter() - started
        return result

    blocks = timed(
        "read",
        lambda: list(audio.blocks(path, recognizer.rate_hz, 10.0, duration_s=STAGES_S)),
    )
    cut = timed(
        "find pauses",
        lambda: list(chunks(blocks, detector(vad, recognizer.rate_hz), recognizer.rate_hz)),
    )
    batches = [cut[i : i + 4] for i in range(0, len(cut), 4)]
    rows = timed(
        "features and model",
        lambda: [
            row
            for batch in batches
            for row in recognizer.emissions([stretch.samples for stretch in batch]).rows()
        ],
    )
    timed("decode", lambda: [recognizer.decode(row) for row in rows])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--vad", choices=DETECTORS, default="auto")
    parser.add_argument("--folder", type=Path, default=Path("long"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    out = Console(width=100, highlight=False)

    utterances = [u for path in options.manifests for u in manifest.read(path)]
    long, short = options.folder / "long.flac", options.folder / "short.flac"
    pieces, played = join(utterances, long, options.hours)
    info = audio.info(long)
    soundfile.write(short, audio.read(long, RATE_HZ, 0.0, SHORT_S), RATE_HZ)
    _, short_s, short_mib = whole_command(options.model, short, options.vad, options.folder)
    found, long_s, long_mib = whole_command(options.model, long, options.vad, options.folder)
    out.print(f"{SHORT_S / 60:.0f} minutes: {short_s:.1f} s, peak {short_mib:.0f} MiB")
    out.print(
        f"{info.duration_s / 3600:.2f} hours: {long_s:.1f} s ({info.duration_s / long_s:.0f} times "
        f"real time), peak {long_mib:.0f} MiB, {long_mib / short_mib:.2f} times that"
    )

    recognizer = load(options.model, "cpu")
    config = recognizer.config.text
    reference = " ".join(normalize(piece.text, config) for piece in pieces)
    hypothesis = normalize(found["text"], config)
    whole = score([Pair("all", reference, hypothesis, None)]).wer
    pairs = evaluate(recognizer, pieces).pairs  # also aligned as one text, with fewer errors
    alone = score([Pair("all", reference, " ".join(pair.hypothesis for pair in pairs), None)]).wer
    out.print(
        f"{len(pieces)} pieces, {len(reference.split())} words: WER {whole:.2%} in one recording, "
        f"{alone:.2%} alone, {whole / alone - 1:+.1%}"
    )
    words = [word for segment in found.get("segments", []) for word in segment["words"]]
    middles = np.array([(word["start_s"] + word["end_s"]) / 2 for word in words])
    spoken = np.zeros(len(middles), bool)
    for piece in pieces:
        spoken |= (middles > piece.start_s - NEAR_S) & (
            middles < piece.start_s + piece.duration_s + NEAR_S
        )
    in_music = np.zeros(len(middles), bool)
    for start_s, end_s in played:
        in_music |= (middles > start_s) & (middles < end_s)
    music_s = sum(end_s - start_s for start_s, end_s in played)
    out.print(
        f"words where nobody speaks: {int((in_music & ~spoken).sum())} in {music_s / 60:.1f} "
        f"minutes of music, {int((~in_music & ~spoken).sum())} elsewhere"
    )
    for name, seconds in stages(options.model, long, options.vad).items():
        out.print(f"{name}: {seconds:.2f} s, real-time factor {seconds / STAGES_S:.5f}")


if __name__ == "__main__":
    main()
