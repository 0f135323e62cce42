"""The Dockerfile and compose.yaml agree, and their steps start a server that stops cleanly."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from docker_steps import instructions  # noqa: E402

sys.path.pop(0)


def test_ports_and_folders_of_compose_are_those_of_the_image():
    steps = dict(instructions((ROOT / "Dockerfile").read_text()))
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["asr"]
    inside = [port.rpartition(":")[2] for port in service["ports"]]
    assert sorted(inside) == sorted(steps["EXPOSE"].split())
    mounted = [volume.split(":")[1] for volume in service["volumes"]]
    assert steps["WORKDIR"] in mounted
    command = service["command"]
    assert command[command.index("--corrections") + 1] in mounted
    assert {command[command.index(f"--{name}-port") + 1] for name in ("vosk", "wyoming")} < set(
        inside
    )


def test_continued_lines_are_one_instruction():
    text = "# x\nFROM a\nRUN b \\\n    c\n\nCMD []\n"
    assert instructions(text) == [("FROM", "a"), ("RUN", "b  c"), ("CMD", "[]")]


@pytest.mark.slow
def test_the_steps_start_a_server_that_is_healthy_and_stops_cleanly(model_file, tmp_path):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("port 8000 is in use")
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(model_file, models / "model.asr")
    script = ROOT / "tools/docker_steps.py"
    command = [sys.executable, script, tmp_path / "root", "--models", models, "--packages"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "healthy\nstopped with status 0\n" in done.stdout
