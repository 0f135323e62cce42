"""Memory and time of a corpus in shards and as a manifest, by its size (Linux only).

The large corpora have no audio: the index is like that of real shards, but the tars are empty. Each
is measured in a separate process; its memory is the difference from that of Python after importing
torch. The audio of a thousand utterances is read from shards and from files, alternately.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from asr.config import Config
from asr.data import manifest
from asr.data.check import check_shards
from asr.data.loader import SpeechDataset, load_batches
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler, split_batch
from asr.data.shard_writer import write_shards
from asr.data.shards import Shard, ShardBatchSampler, Shards, digest, durations_s, write_summary
from asr.model.ctc import ctc_frames
from asr.text.tokenizer import CharacterTokenizer

IN_A_SHARD = 2000  # utterances per shard, about 256 MB of FLAC
TOKENS = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")
BATCH_S, TOGETHER = 160.0, 16


def write_index(folder: Path, utterances: int) -> None:
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("etaoinshrdlu"), 5)) for _ in range(5000)]
    shards = []
    for first in range(0, utterances, IN_A_SHARD):
        lines, seconds = [], 0.0
        for i in range(first, min(first + IN_A_SHARD, utterances)):
            duration_s = round(float(draw.uniform(1, 15)), 4)
            chosen = draw.integers(len(words), size=int(2 * duration_s) + 1)
            row = {
                "id": f"speaker-{i % 999:04d}/book-{i % 77:03d}/{i:09d}",
                "audio": [f"{i:09d}.flac", 512 + (i - first) * 131072, 131000],
                "duration_s": duration_s,
                "text": " ".join(words[k] for k in chosen),
                "speaker": f"speaker-{i % 999:04d}",
            }
            seconds += duration_s
            lines.append(json.dumps(row) + "\n")
        data = "".join(lines).encode()
        tar = folder / f"{len(shards):05d}.tar"
        tar.touch()
        tar.with_suffix(".jsonl").write_bytes(data)
        shards.append(Shard(tar.name, 0, len(lines), seconds / 3600, digest(data)))
    write_summary(folder, shards)


def resident_mib(which: str) -> float:
    """The memory of this process in MiB: VmRSS is the current value, VmHWM the peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{which}:\s+(\d+) kB", status)[1]) / 1024


def in_shards(folder: Path) -> dict[str, Callable[[], object]]:
    seconds, config = folder / "seconds", Config(name="bench")

    def plan() -> ShardBatchSampler:
        return ShardBatchSampler(
            Shards(folder, seconds, TOGETHER), TOGETHER, BATCH_S, 0, [0.9, 1.0, 1.1]
        )

    def walk() -> None:
        """Do the work of the training process and of a worker on the corpus."""
        planned = plan()
        for batch in planned.following(0, 0, 1):
            for place in batch:
                planned.shards[place.index]

    def skip() -> None:
        planned = plan()
        next(planned.following(0, planned.steps(0) - 1, 1))

    return {
        "check of texts": lambda: list(
            check_shards(Shards(folder), config, ctc_frames(config), TOKENS, seconds)
        ),
        "batches counted": lambda: plan().steps(0),
        "epoch walked": walk,
        "last batch found": skip,
    }


def in_a_manifest(folder: Path) -> dict[str, Callable[[], object]]:
    path = folder / "manifest.jsonl"
    held: list = []
    return {
        "manifest read": lambda: held.append(manifest.read(path)),
        "epoch planned": lambda: held.append(
            BatchSampler(durations_s(held[0]), BATCH_S, 0, [0.9, 1.0, 1.1]).batches(0)
        ),
    }


def measure(folder: Path, make: Callable, results) -> None:
    before = resident_mib("VmRSS")
    for name, work in make(folder).items():
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
        started = time.monotonic()
        work()
        results.put((name, time.monotonic() - started, resident_mib("VmHWM") - before))
    results.put(None)


def compare_reading(folder: Path, rounds: int) -> None:
    draw = np.random.default_rng(0)
    utterances = []
    for i in range(1000):
        path = folder / f"audio/{i}.flac"
        path.parent.mkdir(exist_ok=True)
        duration_s = float(draw.uniform(1, 4))
        soundfile.write(path, 0.1 * draw.standard_normal(round(duration_s * 16000)), 16000)
        utterances.append(Utterance(str(i), str(path), duration_s=duration_s, text="a"))
    started = time.monotonic()
    shards, _ = write_shards(utterances, folder / "real", shard_mb=20)
    took = time.monotonic() - started
    mb = sum(shard.size for shard in shards) / 1e6
    print(f"1000 real utterances packed: {len(shards)} shards, {mb:.0f} MB, {took:.1f} s")
    config = Config(name="bench")
    corpora = {"files": utterances, "shards": list(Shards(folder / "real"))}
    plan = BatchSampler([u.duration_s for u in utterances], 40.0, 0).batches(0)
    parts = [part for batch in plan for part in split_batch(batch, 1)]
    taken: dict[str, list[float]] = {name: [] for name in corpora}
    for _ in range(rounds):
        for name, corpus in corpora.items():
            started = time.monotonic()
            for _ in load_batches(SpeechDataset(corpus, TOKENS, config), parts, workers=0):
                pass
            taken[name].append(time.monotonic() - started)
    for name, times in taken.items():
        print(f"read from {name}: {1000 / np.median(times):.0f} utterances/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of reading audio")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        compare_reading(Path(folder), options.rounds)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_index(folder, size)
            rows = (
                Utterance(u.id, str(folder / u.audio.name), 0.0, u.duration_s, u.text, u.speaker)
                for u in Shards(folder)
            )
            manifest.write(folder / "manifest.jsonl", rows)
            for make in (in_shards, in_a_manifest):
                results = spawn.Queue()
                process = spawn.Process(target=measure, args=(folder, make, results))
                process.start()
                while (found := results.get()) is not None:
                    print(
                        f"{size} utterances, {found[0]}: {found[1]:.2f} s, {found[2]:.1f} MiB",
                        flush=True,
                    )
                process.join()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
