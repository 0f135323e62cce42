"""Exported models are used where PyTorch and the rest of the extra `train` are not installed."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import soundfile
from conftest import noise
from test_stream import RATE_HZ, save_streaming_model

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.export.model import export
from asr.lm.ngram import NGram
from asr.model.model_file import load_model
from asr.recognition.recognizer import load

# Runs one command for each list of arguments of standard input; prints the statuses.
PROGRAM = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
from asr import cli
for arguments in json.load(sys.stdin):
    sys.argv = ["asr", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        print("==", arguments[0], end.code or 0, flush=True)
"""
REFUSED = ("accelerate", "onnx", "psutil", "safetensors", "tensorboard", "torch", "torchaudio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_file) -> Path:
    folder = tmp_path_factory.mktemp("without")
    export(folder / "model.onnx", load_model(model_file))
    save_streaming_model(folder / "streaming.asr")
    export(folder / "streaming.onnx", load_model(folder / "streaming.asr"))
    NGram.estimate(["ab ba", "ba ab ab"], order=2).save(folder / "lm.npz")
    soundfile.write(folder / "talk.wav", noise(3.0, 4), 16000)
    soundfile.write(folder / "said.wav", noise(3.0, 4, RATE_HZ), RATE_HZ)
    (folder / "talk.txt").write_text("ab ba\n")
    rows = [Utterance(f"u{i}", str(folder / "talk.wav"), text="ab ba") for i in range(3)]
    manifest.write(folder / "set.jsonl", rows)
    return folder


def run_all(
    folder: Path, commands: list[list[str]], refused: tuple[str, ...] = REFUSED
) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(refused=refused)],
        cwd=folder, input=json.dumps(commands), capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_the_commands_that_use_a_model_work(folder):
    commands = [
        ["transcribe", "model.onnx", "talk.wav"],
        ["transcribe", "model.onnx", "talk.wav", "--lm", "lm.npz", "--format", "json"],
        ["score", "model.onnx", "set.jsonl", "-o", "scores"],
        ["align", "model.onnx", "talk.wav", "talk.txt", "-o", "aligned"],
        ["show", "talk.wav"],
        ["show", "talk.wav", "--model", "model.onnx"],
        ["show", "talk.wav", "--model", "model.onnx", "-o", "emissions.png"],
        ["lm", "talk.txt", "-o", "made.npz", "--order", "2", "--model", "model.onnx"],
        ["tune", "model.onnx", "set.jsonl", "--lm", "lm.npz", "-o", "tuned.onnx"],
        ["listen", "streaming.onnx", "--from", "said.wav", "--fast"],
        ["config", "decoder.beam", "--recipe", "model.onnx"],
        ["doctor"],
    ]
    out, err = run_all(folder, commands)
    statuses = [line.split()[1:] for line in out.splitlines() if line.startswith("== ")]
    assert [name for name, _ in statuses] == [command[0] for command in commands], out + err
    assert all(status == "0" for _, status in statuses), out + err
    assert "PyTorch" in out and "not installed, optional: trains and exports models" in out
    assert (folder / "scores/report.html").exists() and (folder / "tuned.onnx").exists()
    assert (folder / "emissions.png").exists() and list((folder / "aligned").iterdir())


def test_what_needs_pytorch_says_so_in_one_line(folder):
    commands = [
        ["transcribe", "streaming.asr", "said.wav"],
        ["export", "streaming.asr", "--to", "other.onnx"],
        ["show", "talk.wav", "-o", "voices.png", "--what", "voices"],
        ["run", "recipe.yaml"],
    ]
    out, err = run_all(folder, commands)
    assert out.count("== ") == out.count(" 2\n") == 4, out + err
    lines = [line for line in err.splitlines() if line.startswith("asr: ")]
    assert len(lines) == 4 and all("pip install 'asr[train]'" in line for line in lines), err
    assert "Traceback" not in err


PLAIN = (*REFUSED, "av", "llvmlite", "numba")  # what the plain installation lacks


def test_the_plain_installation_transcribes_and_scores_greedily(folder):
    commands = [
        ["transcribe", "model.onnx", "talk.wav"],
        ["score", "model.onnx", "set.jsonl", "-o", "plain"],
        ["listen", "streaming.onnx", "--from", "said.wav", "--fast"],
        ["doctor"],
    ]
    out, err = run_all(folder, commands, PLAIN)
    assert out.count("== ") == out.count(" 0\n") == 4, out + err
    assert (folder / "plain/report.html").exists()


def test_what_the_plain_installation_lacks_is_named_in_one_line(folder):
    (folder / "talk.mp3").write_bytes(b"ID3\x04\0\0\0\0\0\0" + bytes(400))
    commands = {
        "decode": [
            ["transcribe", "model.onnx", "talk.wav", "--lm", "lm.npz"],
            ["transcribe", "model.onnx", "talk.wav", "--decoder", "beam=4"],
            ["align", "model.onnx", "talk.wav", "talk.txt", "-o", "not_aligned"],
            ["lm", "talk.txt", "-o", "not_made.npz", "--order", "2", "--model", "model.onnx"],
            ["tune", "model.onnx", "set.jsonl", "--lm", "lm.npz", "-o", "not_tuned.onnx"],
        ],
        "media": [["transcribe", "model.onnx", "talk.mp3"]],
    }
    for extra, lines in commands.items():
        out, err = run_all(folder, lines, PLAIN)
        said = [line for line in err.splitlines() if f"pip install 'asr[{extra}]'" in line]
        assert len(said) == out.count("== ") == len(lines), out + err
        assert " 0\n" not in out and "Traceback" not in err, out + err


@pytest.mark.slow
def test_a_fresh_environment_without_pytorch_transcribes(folder, tmp_path):
    """The plain installation, from the network or from local wheels."""
    source = Path(__file__).parent.parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
        )
        if "No matching distribution" in done.stderr:
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path)
    run(tmp_path / "bin/pip", "install", "-q", source)
    installed = {line.split()[0] for line in run(tmp_path / "bin/pip", "list").splitlines()}
    assert "onnxruntime" in installed and not installed & set(PLAIN)
    assert run(tmp_path / "bin/asr", "transcribe", "model.onnx", "talk.wav").strip()


def test_a_greedy_transcript_loads_neither_numba_nor_pyav_nor_pytorch(folder):
    program = (
        "import sys, asr; print(asr.load('model.onnx').transcribe('talk.wav').text);"
        "print(sorted({'av', 'jiwer', 'numba', 'onnx', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True
    )
    text, loaded = done.stdout.splitlines()
    assert text and loaded == "[]", done.stdout + done.stderr


ARENAS = """
import ctypes, sys, threading
from asr.cli.memory import share_one_arena
if sys.argv[1] == "shared":
    share_one_arena()
libc, together = ctypes.CDLL(None), threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p
def allocate():
    together.wait()
    libc.malloc(1000)
threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not glibc")
def test_threads_share_one_arena():
    counts = {}
    for how in ("shared", "default"):
        done = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, text=True)
        counts[how] = done.stdout.count("<heap nr=")
    assert counts["shared"] == 1 < counts["default"]


def test_a_server_transcribes(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(refused=REFUSED)],
        cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        process.stdin.write(json.dumps([["serve", "model.onnx", "--port", port]]))
        process.stdin.close()
        address = f"http://127.0.0.1:{port}/v1/audio/transcriptions"
        until = time.monotonic() + 120
        while True:
            try:
                with open(folder / "talk.wav", "rb") as file:
                    answer = httpx.post(address, files={"file": file}, data={"model": "model"})
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < until, process.stderr.read()
                time.sleep(0.2)
    finally:
        process.terminate()
        process.wait()
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == load(folder / "model.onnx").transcribe(folder / "talk.wav").text
