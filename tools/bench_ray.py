"""Transcription on Ray and in one process: `python tools/bench_ray.py MODEL.asr RECORDINGS`.

The same recordings are transcribed in five ways: by one process on one CPU; by one process on all
CPUs; on Ray started here; on two running nodes with one CPU each, on this machine; and on these
nodes when the second is killed after half of the results. Each way runs in a separate process; the
time is from loading the model to the last result on disk, without imports. Texts are compared with
those of one process, and ids are counted. Use an idle machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from asr.cluster.archive import transcribe_archive
from asr.cluster.worker import Work
from asr.data.manifest import Utterance
from asr.data.sources import sources
from asr.recognition.outputs import Outputs
from asr.recognition.recognizer import load
from asr.recognition.transcribe import Failure, transcribe_many

NODE_MEMORY = 200 << 20  # size of the object store of a node in bytes


def in_one_process(cpus: int, model: Path, utterances: list[Utterance], to: Path) -> float:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
    torch.set_num_threads(cpus)
    began = time.perf_counter()
    outputs = Outputs(to, ["jsonl"])
    for utterance, found in transcribe_many(load(model, "cpu"), utterances):
        if not isinstance(found, Failure):
            outputs.write(utterance, found)
    return time.perf_counter() - began


def on_ray_started_here(model: Path, utterances: list[Utterance], to: Path) -> float:
    began = time.perf_counter()
    for _ in transcribe_archive(Work(model, "cpu"), utterances, to):
        pass
    return time.perf_counter() - began


def on_two_nodes(kill: bool, model: Path, utterances: list[Utterance], to: Path) -> float:
    with two_nodes() as (cluster, second):
        began = time.perf_counter()
        outcomes = transcribe_archive(Work(model, "cpu"), utterances, to, cluster.address)
        for done, _ in enumerate(outcomes, start=1):
            if kill and done == len(utterances) // 2:
                cluster.remove_node(second, allow_graceful=False)
        return time.perf_counter() - began


@contextmanager
def two_nodes() -> Iterator[tuple]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY, include_dashboard=False)
    try:
        yield cluster, cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY)
    finally:
        cluster.shutdown()


def results(folder: Path) -> list[dict]:
    lines = [line for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return [row for row in map(json.loads, lines) if "reason" not in row]


def run(report, way: Callable, *arguments) -> None:
    report.send(way(*arguments))


def timed(way: Callable, *arguments) -> float:
    """The seconds that a function takes in a separate process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(sender, way, *arguments))
    process.start()
    sender.close()
    seconds = receiver.recv()  # EOFError: the process died, and has printed the reason
    process.join()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("audio", nargs="+")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    # The token keeps other users out of the clusters of the processes below.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    asked = list({u.id: u for u in sources(options.audio)}.values())
    cpus = len(os.sched_getaffinity(0))
    ways = {
        "one process, 1 CPU": (in_one_process, 1),
        f"one process, {cpus} CPUs": (in_one_process, cpus),
        f"Ray started here, {cpus} CPUs": (on_ray_started_here,),
        "Ray, two nodes of 1 CPU": (on_two_nodes, False),
        "Ray, one of the two killed half-way": (on_two_nodes, True),
    }
    table = Table("way", "s", "x real time", "results", "twice", "other text")
    expected: dict[str, str] = {}
    for _ in range(options.rounds):
        for name, (way, *arguments) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds = timed(way, *arguments, options.model, asked, Path(folder))
                rows = results(Path(folder))
            texts = {row["id"]: row["text"] for row in rows}
            expected = expected or texts
            audio_s = sum(row["duration_s"] for row in rows)
            twice = sum(count - 1 for count in Counter(row["id"] for row in rows).values())
            other = sum(texts.get(id) != text for id, text in expected.items())
            cells = f"{seconds:.1f}", f"{audio_s / seconds:.1f}", len(rows), twice, other
            table.add_row(name, *map(str, cells))
    Console().print(table)
    Console().print(f"{audio_s / 3600:.2f} h of audio, torch {torch.__version__}, {cpus} CPUs")


if __name__ == "__main__":
    main()
