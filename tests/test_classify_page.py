"""Every command of the page on classification and of its recipes, at a small scale."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from accelerate.state import AcceleratorState
from conftest import noise
from test_classifier import classes
from tones import RATE_HZ, speak

from asr.data import manifest
from asr.data.manifest import Utterance

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("keywords", "speakers", "spoken_languages", "sounds")
PAGES = [ROOT / "docs/classify.md", *(ROOT / f"recipes/{name}/README.md" for name in RECIPES)]
SMALL = (
    "train.epochs=1 train.validate_every=1 model.channels=2 model.hidden=4 train.workers=0 "
    "train.threads=1 train.device=cpu"
).split()
ELSEWHERE = (
    "asr run recipes/keywords",  # downloads
    "asr corpus get speech-commands -o data/speech-commands",  # downloads: test_corpora.py
    "asr run recipes/keywords/speech_commands.yaml",
    "python recipes/speechocean/prepare.py data/speechocean --audio speechocean762",
)


def commands(page):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    return [line for line in lines if line.startswith(("asr ", "python "))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small versions of the files that the pages presuppose."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    draw = np.random.default_rng(0)
    (folder / "recordings/fsdd").mkdir(parents=True)
    for digit in range(3):
        for speaker in ("ann", "ben", "theo", "yweweler"):
            for number in range(2):
                path = folder / f"recordings/fsdd/{digit}_{speaker}_{number}.wav"
                soundfile.write(path, noise(0.4, digit, 8000), 8000)
    soundfile.write(folder / "recordings/new.wav", speak(["low"] * 4, draw), RATE_HZ)
    soundfile.write(folder / "recordings/seven.wav", speak(["high"], draw), RATE_HZ)
    for voice in ("asterisk_en", "rhasspy_kathleen", "ljspeech_part"):
        rows = ["id\taudio\tspeaker\ttext"]
        for number in range(12):
            path = folder / f"voices/{voice}/{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(0.6, number), 16000)
            rows.append(f"{number}\t{path.name}\tx\thello")
        (path.parent / "manifest.tsv").write_text("\n".join(rows))
    for part, speakers in (("train", "ab"), ("dev", "c"), ("test", "de")):
        rows = [
            Utterance(f"{s}{n}", str(folder / f"voices/asterisk_en/{n}.wav"), speaker=s)
            for s in speakers
            for n in range(5)
        ]
        manifest.write(folder / f"data/speechocean/{part}.jsonl", rows)
    (folder / "ESC-50-master/meta").mkdir(parents=True)
    (folder / "ESC-50-master/audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(("rain", "sea_waves")):
            name = f"{fold}-{target}.wav"
            soundfile.write(folder / "ESC-50-master/audio" / name, noise(0.8, target), 16000)
            lines.append(f"{name},{fold},{target},{category},{target == 0 or fold > 0},x,A")
    (folder / "ESC-50-master/meta/esc50.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(autouse=True)
def forgotten_precision():
    """Training in this process may use another precision than the training before."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def start(run, command):
    words = command.split()
    if words[1] == "run":
        words += SMALL
    status, out, err = run(*words[1:])
    assert status == 0, (command, out, err)
    return out


@pytest.mark.parametrize("page", PAGES[1:], ids=RECIPES)
def test_the_commands_of_a_recipe_work(page, folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ran = [command for command in commands(page) if command not in ELSEWHERE]
    for command in ran:
        start(run, command)
    assert ran


def test_the_commands_of_the_guide_work(folder, run, monkeypatch, tmp_path):
    """On tones as sounds; the models of speakers and keywords are the same, with the tone as the
    speaker."""
    shutil.copytree(folder / "recordings", folder / "guide/recordings")
    folder = folder / "guide"
    monkeypatch.chdir(folder)
    classes(folder / "data/sounds", train=12, dev=6, test=6)
    for part in ("train", "dev", "test"):
        path = folder / f"data/sounds/{part}.jsonl"
        rows = [
            Utterance(u.id, u.audio, speaker=u.extra["tone"], extra={"label": u.extra["tone"]})
            for u in manifest.read(path)
        ]
        manifest.write(path, rows)
    unknown = [Utterance(f"{u.id}-{n}", u.audio, speaker=u.speaker) for u in rows for n in range(3)]
    manifest.write(folder / "data/speakers/unknown.jsonl", unknown)
    (yaml,) = re.findall(r"^```yaml\n(.*?)^```", PAGES[0].read_text(), re.M | re.S)
    (folder / "sounds.yaml").write_text(yaml)
    for command in commands(PAGES[0]):
        for name in ("speakers", "keywords"):
            command = command.replace(f"runs/{name}", "runs/sounds")
        command = command.replace("data/keywords", "data/sounds")
        start(run, command)
    for name in (
        "pooling.png",
        "docs/pictures/classify-cnn.png",
        "scores/stream/keywords.json",
        "scores/sounds/confusion.png",
        "scores/sounds/report.html",
    ):
        assert (folder / name).stat().st_size > 1000, name


def test_the_python_of_the_guide_works(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds.asr").write_bytes((folder / "guide/runs/sounds/model.asr").read_bytes())
    for name in ("recording", "ann-1", "ann-2", "ann-3", "unknown"):
        soundfile.write(f"{name}.wav", noise(0.5), 16000)
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGES[0].read_text(), re.M | re.S)
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 2 and isinstance(names["same"], bool)


def test_recipes_refuse_wrong_options_in_one_line(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    status, _, err = run("run", "recipes/sounds", "name=x", "data.folder=x",
                         "data.prepare.audio=nothing", *SMALL)  # fmt: skip
    assert status == 2 and "could not prepare the corpus" in err[-1]
