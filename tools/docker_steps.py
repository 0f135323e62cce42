"""Run the steps of the Dockerfile without Docker, in a clean folder with its own environment.

    python tools/docker_steps.py FOLDER --models MODELS

The folder becomes the root of the steps: absolute paths of the Dockerfile and of compose.yaml lie
below it, and `python` and `pip` are those of a new virtual environment in it. The instruction FROM
is replaced by that environment, USER and EXPOSE change nothing. Then the command of compose.yaml is
started, which must pass the health check, and it is ended as `docker stop` does.

--packages takes the dependencies from the environment of this script instead of installing them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
START_S = 300.0  # until the server must pass the health check


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) of a Dockerfile; continued lines are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        name, _, rest = line.partition(" ")
        found.append((name.upper(), rest.strip()))
    return found


class Steps:
    """The state of a container that is built step by step."""

    def __init__(self, folder: Path, packages: bool):
        self.folder, self.packages = folder, packages
        self.workdir = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
        }
        self.arguments: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health = ""

    def inside(self, text: str) -> str:
        """A command line or path whose absolute paths lie below the folder."""
        return re.sub(r"(?<![\w/.:=-])/(src|models|corrections|tmp)\b", rf"{self.folder}/\1", text)

    def run(self, name: str, rest: str) -> None:
        print(f"{name} {rest}", flush=True)
        step = getattr(self, f"_{name.lower()}", None)
        if step is None:
            raise SystemExit(f"docker_steps: {name}: this instruction is not known; add it here")
        step(rest)

    def _from(self, image: str) -> None:
        self._call(sys.executable, "-m", "venv", str(self.folder / "venv"))
        binaries = self.folder / "venv" / "bin"
        self.environment["PATH"] = f"{binaries}:{os.environ['PATH']}"
        if self.packages:
            asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
            purelib = subprocess.check_output([binaries / "python", "-c", asked], text=True).strip()
            paths = dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()])
            (Path(purelib) / "dependencies.pth").write_text("\n".join(paths) + "\n")

    def _arg(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.arguments[name] = value

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self.environment[name] = self.inside(f" {value}").strip()
            if name == "HOME":
                Path(self.environment[name]).mkdir(exist_ok=True)

    def _copy(self, rest: str) -> None:
        source, target = rest.split()
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", source]
        for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
            path = self.folder / target.strip("/") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, path)

    def _run(self, rest: str) -> None:
        self._call("sh", "-c", self.inside(rest))

    def _user(self, rest: str) -> None:
        pass

    def _expose(self, rest: str) -> None:
        pass

    def _workdir(self, rest: str) -> None:
        self.workdir = Path(self.inside(rest))
        self.workdir.mkdir(parents=True, exist_ok=True)

    def _healthcheck(self, rest: str) -> None:
        self.health = rest.partition("CMD ")[2]

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def _call(self, *command: str) -> None:
        environment = self.environment | self.arguments
        subprocess.run(command, cwd=self.workdir, env=environment, check=True)

    def start(self, command: list[str]) -> subprocess.Popen:
        line = [self.inside(part) for part in [*self.entrypoint, *command]]
        print("start:", shlex.join(line), flush=True)
        return subprocess.Popen(line, cwd=self.workdir, env=self.environment)

    def healthy(self) -> bool:
        done = subprocess.run(
            ["sh", "-c", self.health], cwd=self.workdir, env=self.environment, capture_output=True
        )
        return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="an empty folder, which becomes the root")
    parser.add_argument("--models", type=Path, required=True, help="a folder with model.asr")
    parser.add_argument("--packages", action="store_true", help="do not install dependencies")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder}: is not empty; give another folder")
    steps = Steps(folder, options.packages)
    for name, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        steps.run(name, rest)
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["asr"]
    shutil.copytree(options.models, folder / "models", dirs_exist_ok=True)
    (folder / "corrections").mkdir()
    if steps.healthy():
        parser.error("another server has the port of the health check; stop it first")
    server = steps.start(service["command"])
    try:
        return _checked(steps, server)
    finally:
        server.kill()


def _checked(steps: Steps, server: subprocess.Popen) -> int:
    """Wait for the health check, then stop the server; the exit status."""
    end = time.monotonic() + START_S
    while not steps.healthy():
        if server.poll() is not None or time.monotonic() > end:
            print("docker_steps: the server did not become healthy", file=sys.stderr)
            return 1
        time.sleep(1.0)
    print("healthy", flush=True)
    server.send_signal(signal.SIGTERM)
    status = server.wait(90)
    print(f"stopped with status {status}", flush=True)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
