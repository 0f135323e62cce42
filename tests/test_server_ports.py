"""`asr serve` with all its ports: a browser's requests, Vosk and Wyoming from one process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from test_stream import said, save_streaming_model
from websockets.sync.client import connect
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_one_process_answers_all_protocols_and_ends_with_status_0(tmp_path):
    save_streaming_model(tmp_path / "model.asr")
    http, vosk, wyoming = free_ports(3)
    command = [sys.executable, "-m", "asr.cli", "serve", "model.asr", "--port", str(http)]
    command += ["--vosk-port", str(vosk), "--wyoming-port", str(wyoming), "--corrections", "kept"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE) as server:
        try:
            url, end = f"http://127.0.0.1:{http}", time.monotonic() + 120
            while not ready(url):
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.2)
            with urllib.request.urlopen(f"{url}/page/settings") as answer:
                assert json.load(answer)["corrections"] is True
            with connect(f"ws://127.0.0.1:{vosk}") as websocket:
                websocket.send((said(1.0, 3) * 32767).astype("<i2").tobytes())
                assert "partial" in json.loads(websocket.recv())
                websocket.send('{"eof" : 1}')
                assert "text" in json.loads(websocket.recv())
            assert [model.name for model in asyncio.run(info(wyoming)).asr[0].models] == ["model"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert not (tmp_path / "kept").exists()


async def info(port: int) -> Info:
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=30) as client:
        await client.write_event(Describe().event())
        return Info.from_event(await client.read_event())


@pytest.mark.parametrize(
    "options, message",
    [
        (["--port", "70000"], "70000"),
        (["--announce", "kitchen"], "--wyoming-port"),
        (["--announce", "kitchen", "--wyoming-port", "0"], "cannot be announced"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(run, model_file, options, message):
    status, _, err = run("serve", model_file, *options)
    assert status == 2 and message in "\n".join(err)
