"""A server under load: live streams, files over HTTP, memory.

    python tools/bench_serve.py load MODEL FOLDER [--streams 1 5 10 20] [--seconds 15] [--cores 0]
    python tools/bench_serve.py files MODEL FOLDER [--clients 8] [--rounds 3]
    python tools/bench_serve.py churn MODEL FOLDER [--seconds 3600] [--pause 0]

`asr serve MODEL` runs in a process of its own; FOLDER has recordings.

load: clients of Vosk's protocol send the recordings, one after another, in packets of 100 ms, each
when its last sample would have been recorded.
- lag: from that moment to the reply, which is the text with this packet
- final: from the end of the audio to the final text
The text of a model lags behind the speaker by its look-ahead and by up to one packet in addition.
With --cores, the server may use these cores only.

files: seconds of audio a second, by concurrent clients over HTTP, against `asr transcribe` on the
same files, which writes to a pipe; the time that the command needs to start is left out.

churn: memory of the server while clients come, send files and streams, and leave, some of them in
the middle: after a minute, and after each tenth of --seconds. After the first minute, --pause is
the time in seconds between the rounds of 20 clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import psutil
import websockets
from rich.console import Console
from rich.table import Table

from asr import audio
from asr.audio.microphone import PACKET_S

console = Console()
START_S = 600  # how long the server may take to start, and a client to send


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--streams", nargs="*", type=int, default=[1, 5, 10, 20])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--cores", help="of the server, such as 0 or 0,1")
    options = parser.parse_args()
    console.print(PARTS[options.part](options))


# ---- the server ----------------------------------------------------------------------------------


@dataclass
class ServerProcess:
    process: subprocess.Popen
    http: str
    vosk: str

    def memory_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def serving(model: str, cores: str | None) -> Iterator[ServerProcess]:
    http, vosk = free_port(), free_port()
    command = [sys.executable, "-m", "asr.cli", "serve", f"model={model}", "-q"]
    command += ["--port", str(http), "--vosk-port", str(vosk), "--max-connections", "1000"]
    command += ["--idle-s", str(START_S)]  # a busy machine may hold a client up
    pinned = ["taskset", "-c", cores] if cores else []
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    process = subprocess.Popen([*pinned, *command], stderr=subprocess.DEVNULL, env=environment)
    try:
        url = f"http://127.0.0.1:{http}"
        for _ in range(10 * START_S):
            try:
                urllib.request.urlopen(f"{url}/readyz")
                break
            except OSError:
                time.sleep(0.1)
        yield ServerProcess(process, url, f"ws://127.0.0.1:{vosk}")
    finally:
        process.terminate()
        process.wait(60)


# ---- load ----------------------------------------------------------------------------------------


@dataclass
class Lags:
    """Seconds."""

    replies: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    words: int = 0


def load(options: argparse.Namespace) -> Table:
    table = Table("streams", "lag p50", "lag p95", "final p50", "final p95", "server CPU", "words")
    pieces = [as_packets(path) for path in audio.audio_files(options.folder)]
    with serving(options.model, options.cores) as server:
        for count in options.streams:
            lags, busy = Lags(), psutil.Process(server.process.pid)
            before_s, started_s = sum(busy.cpu_times()[:2]), time.perf_counter()
            asyncio.run(speakers(server.vosk, pieces, count, options.seconds, lags))
            share = (sum(busy.cpu_times()[:2]) - before_s) / (time.perf_counter() - started_s)
            marks = [ms(values, p) for values in (lags.replies, lags.finals) for p in (50, 95)]
            table.add_row(str(count), *marks, f"{share:.0%}", str(lags.words))
    return table


def ms(values: list[float], percentile: int) -> str:
    return f"{np.percentile(values, percentile) * 1000:.0f} ms"


def as_packets(path: Path) -> tuple[int, list[bytes]]:
    """The rate of a recording and its packets."""
    rate_hz = audio.info(path).rate_hz
    samples = (audio.read(path, rate_hz) * 32767).astype("<i2")
    size = round(PACKET_S * rate_hz)
    return rate_hz, [samples[at : at + size].tobytes() for at in range(0, len(samples), size)]


async def speakers(
    url: str, pieces: list[tuple[int, list[bytes]]], count: int, seconds: float, lags: Lags
) -> None:
    ended_s = time.perf_counter() + seconds

    async def speaker(number: int) -> None:
        draw = random.Random(number)
        await asyncio.sleep(draw.uniform(0, PACKET_S))
        while time.perf_counter() < ended_s:
            await speak(url, *draw.choice(pieces), lags)

    await asyncio.gather(*(speaker(number) for number in range(count)))


async def speak(url: str, rate_hz: int, packets: list[bytes], lags: Lags) -> None:
    """Send one recording in real time, with a reply to each packet."""
    async with websockets.connect(url) as connection:
        await connection.send(json.dumps({"config": {"sample_rate": rate_hz}}))
        begun_s, heard_s = time.perf_counter(), 0.0
        for packet in packets:
            heard_s += len(packet) / 2 / rate_hz
            due_s = begun_s + heard_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            await connection.send(packet)
            reply = json.loads(await connection.recv())
            lags.replies.append(time.perf_counter() - due_s)
            lags.words += len(reply.get("text", "").split())
        ended_s = time.perf_counter()
        await connection.send('{"eof": 1}')
        reply = json.loads(await connection.recv())
        lags.finals.append(time.perf_counter() - ended_s)
        lags.words += len(reply.get("text", "").split())


# ---- files ---------------------------------------------------------------------------------------


def files(options: argparse.Namespace) -> Table:
    paths = audio.audio_files(options.folder)
    total_s = sum(audio.info(path).duration_s for path in paths)
    title = f"{len(paths)} files, {total_s:.0f} s, the median of {options.rounds} rounds"
    command_s, http_s = [], []
    with serving(options.model, options.cores) as server, httpx.Client(timeout=600) as client:

        def ask(path: Path) -> None:
            with path.open("rb") as file:
                client.post(
                    f"{server.http}/v1/audio/transcriptions", files={"file": file}
                ).raise_for_status()

        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(ask, paths[: options.clients]))  # warms up
            for _ in range(options.rounds):
                command_s.append(transcribe_s(options))
                started_s = time.perf_counter()
                list(pool.map(ask, paths))
                http_s.append(time.perf_counter() - started_s)
    command, http = median(command_s), median(http_s)
    table = Table("", "seconds", "audio s / s", title=title)
    table.add_row("asr transcribe", f"{command:.1f}", f"{total_s / command:.0f}")
    table.add_row(f"HTTP, {options.clients} clients", f"{http:.1f}", f"{total_s / http:.0f}")
    table.add_row("HTTP / asr transcribe", f"{command / http:.0%}", "")
    return table


def transcribe_s(options: argparse.Namespace) -> float:
    """The seconds of the command for all files, less those for one file."""
    seconds = []
    one = str(audio.audio_files(options.folder)[0])
    for given in (one, options.folder):
        command = ["transcribe", options.model, given, "-q", "--format", "jsonl"]
        pinned = ["taskset", "-c", options.cores] if options.cores else []
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        started_s = time.perf_counter()
        subprocess.run(
            [*pinned, sys.executable, "-m", "asr.cli", *command],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        seconds.append(time.perf_counter() - started_s)
    return seconds[1] - seconds[0]


# ---- memory --------------------------------------------------------------------------------------


def churn(options: argparse.Namespace) -> Table:
    table = Table("after", "clients", "memory", "of that after a minute", title="memory")
    paths = audio.audio_files(options.folder)
    pieces = [as_packets(path) for path in paths]
    marks = [min(60.0, options.seconds), *(options.seconds * i / 10 for i in range(1, 11))]
    marks = sorted({mark for mark in marks if mark >= 60.0} or marks)
    with serving(options.model, options.cores) as server:
        begun_s, clients, first_mb = time.perf_counter(), 0, 0.0
        while marks:
            asyncio.run(visits(server, paths, pieces, clients))
            clients += 20
            after_s = time.perf_counter() - begun_s
            if after_s >= marks[0]:
                del marks[0]
                memory_mb = server.memory_mb()
                first_mb = first_mb or memory_mb
                cells = f"{after_s:.0f} s", f"{clients}", f"{memory_mb:.0f} MB"
                table.add_row(*cells, f"{memory_mb / first_mb:.2f}")
                print(*cells, sep="\t", file=sys.stderr, flush=True)
            if after_s >= 60.0:
                time.sleep(options.pause)
    return table


async def visits(
    server: ServerProcess, paths: list[Path], pieces: list[tuple[int, list[bytes]]], seed: int
) -> None:
    """Twenty clients: files, streams as fast as they can be, and streams that are left."""
    draw = random.Random(seed)

    async def send_file(client: httpx.AsyncClient) -> None:
        path = draw.choice(paths)
        body = {"file": (path.name, path.read_bytes())}
        await client.post(f"{server.http}/v1/audio/transcriptions", files=body)

    async def stream(leave: bool) -> None:
        rate_hz, packets = draw.choice(pieces)
        async with websockets.connect(server.vosk) as connection:
            await connection.send(json.dumps({"config": {"sample_rate": rate_hz}}))
            for packet in packets[: 5 if leave else None]:
                await connection.send(packet)
                await connection.recv()
            if not leave:
                await connection.send('{"eof": 1}')
                await connection.recv()

    async with httpx.AsyncClient(timeout=600) as client:
        work = [send_file(client) for _ in range(8)]
        work += [stream(leave) for leave in (False, True) for _ in range(6)]
        await asyncio.gather(*work)


PARTS = {"load": load, "files": files, "churn": churn}


if __name__ == "__main__":
    main()
