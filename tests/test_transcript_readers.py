"""recipes/readers: voices stay apart from no other, prompts that are read twice stay together."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from asr.data import manifest

RECIPE = Path(__file__).parent.parent / "recipes/readers"
SETS = ("train", "dev", "test_ljspeech_part", "test_rhasspy_kathleen", "test_asterisk_en")


def prepare(out, audio):
    return subprocess.run(
        [sys.executable, RECIPE / "prepare.py", out, "--audio", audio],
        capture_output=True,
        text=True,
    )


def voice(folder, ids, text="some words"):
    (folder / "audio").mkdir(parents=True)
    rows = ["id\taudio\tspeaker\ttext"]
    for i, name in enumerate(ids):
        soundfile.write(folder / f"audio/{name}.wav", np.full(800, 0.1), 16000)
        rows.append(f"{name}\taudio/{name}.wav\tx\t{'press 1' if i == 1 else text}")
    (folder / "manifest.tsv").write_text("\n".join(rows))


def test_the_splits(tmp_path):
    corpora = tmp_path / "in"
    voice(corpora / "ljspeech_part", [f"LJ001-{i:04d}" for i in range(100)])
    prompts = [f"arctic_a{i:04d}_{take}" for i in range(60) for take in (1, 2)]
    voice(corpora / "rhasspy_kathleen", prompts)
    voice(corpora / "asterisk_en", [f"prompt-{i}" for i in range(120)])
    done = prepare(tmp_path / "out", corpora)
    assert done.returncode == 0, done.stderr
    assert "3 texts with digits" in done.stdout
    found = {name: manifest.read(tmp_path / f"out/{name}.jsonl") for name in SETS}
    ids = [utterance.id for utterances in found.values() for utterance in utterances]
    assert len(ids) == len(set(ids)) == 100 + 120 + 120 - 3
    assert [u.id for u in found["test_ljspeech_part"]] == [f"LJ001-{i:04d}" for i in range(60, 100)]
    takes = [{u.id[:12] for u in found[name]} for name in ("train", "dev", "test_rhasspy_kathleen")]
    takes = [{t for t in names if t.startswith("arctic")} for names in takes]
    assert not takes[0] & takes[1] and not (takes[0] | takes[1]) & takes[2]
    assert len(takes[2]) == len(takes[1]) == 6
    assert 4 <= len(found["test_asterisk_en"]) <= 24


def test_a_voice_that_is_missing_is_named(tmp_path):
    voice(tmp_path / "in/ljspeech_part", ["LJ001-0000", "LJ001-0001"])
    done = prepare(tmp_path / "out", tmp_path / "in")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "rhasspy_kathleen: no manifest.tsv; the recipe needs" in done.stderr


def test_the_real_voices_are_split_as_the_readme_says(tmp_path, corpora):
    done = prepare(tmp_path, corpora)
    assert done.returncode == 0, done.stderr
    page = (RECIPE / "README.md").read_text()
    for name in SETS:
        count, hours = re.search(
            rf"^{name}: (\d+) utterances, ([\d.]+) h", done.stdout, re.M
        ).groups()
        assert f"| {name} | {count} | {hours} |" in page
