"""The wheel is complete: it is built, installed in an empty environment and used there."""

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import soundfile
from conftest import noise

ROOT = Path(__file__).parent.parent
# A prompt that is in no training set, and what the English model writes, without an error.
RIGHT = ("arctic_a0460_1592705210.opus", "i had forgotten their existence")


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that cannot import the checkout (other folder, no PYTHONPATH)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from the files that git would commit, without those of an old build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file() and name.startswith(("asr/", "setup", "pypro", "README", "LIC")):
            to = folder / "source" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
        "-w", folder, folder / "source", cwd=folder)  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel. Dependencies come from this one by a .pth
    file: installing torch takes minutes. An editable asr in it must not be found, and is not, as
    .pth files and finders work in the folder of the environment itself only."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=folder)
    purelib = run(
        scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
        cwd=folder,
    ).strip()  # fmt: skip
    dependencies = [sysconfig.get_path("purelib"), *site.getsitepackages()]
    (Path(purelib) / "dependencies.pth").write_text("\n".join(dict.fromkeys(dependencies)) + "\n")
    return scripts


@pytest.mark.slow
def test_the_wheel_holds_each_file_of_the_package_and_nothing_else(wheel):
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    expected = {
        name for name in listed.splitlines() if name.startswith("asr/") and (ROOT / name).is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(
            next(name for name in archive.namelist() if name.endswith("METADATA"))
        ).decode()
    assert held == expected
    assert {"asr/py.typed", "asr/scoring/report/page.html"} <= held
    assert "Requires-Python: <3.15,>=3.11" in metadata


@pytest.mark.slow
def test_the_installed_wheel_transcribes_and_scores(environment, tmp_path, model_file):
    where = run(
        environment / "python", "-c", "import asr, torch; print(asr.__file__, torch.__file__)",
        cwd=tmp_path,
    )  # fmt: skip
    assert where.startswith(str(environment.parent)), where
    soundfile.write(tmp_path / "talk.wav", noise(1.5), 16000)
    row = {"id": "talk", "audio": "talk.wav", "text": "bad cab"}
    (tmp_path / "set.jsonl").write_text(json.dumps(row) + "\n")
    text = run(environment / "asr", "transcribe", model_file, "talk.wav", cwd=tmp_path)
    assert text.strip()
    printed = run(environment / "asr", "score", model_file, "set.jsonl", "-o", "out", cwd=tmp_path)
    assert "WER" in printed
    assert "<style>" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    (hypothesis,) = (tmp_path / "out/hypotheses.jsonl").read_text().splitlines()
    assert json.loads(hypothesis)["hypothesis"] == text.strip()


@pytest.mark.slow
def test_the_installed_wheel_transcribes_english_without_a_model_or_a_network(
    environment, tmp_path, corpora
):
    offline = ["unshare", "--map-root-user", "--net"]  # a network namespace without interfaces
    if subprocess.run([*offline, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not permitted here")
    recording = corpora / "rhasspy_kathleen" / "audio" / RIGHT[0]
    text = run(*offline, environment / "asr", "transcribe", recording, cwd=tmp_path)
    assert text.strip() == RIGHT[1]
    assert "What it is bad at" in run(*offline, environment / "asr", "info", cwd=tmp_path)


@pytest.mark.slow
def test_pip_finds_each_dependency_of_the_wheel_satisfied(environment, tmp_path):
    broken = subprocess.run(
        [environment / "python", "-m", "pip", "check"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert not [line for line in broken.splitlines() if line.startswith("asr ")], broken
