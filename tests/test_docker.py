"""The Dockerfile and compose.yaml agree; test_tools.py runs their steps."""

import sys
from pathlib import Path

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
