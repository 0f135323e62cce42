"""The programs in tools/ that the pages name run, each at a small scale.

Their figures are not checked, because they mean nothing at a small scale. A program that ends with
status 0 and prints its table still works with the code that it measures.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml
from conftest import noise
from test_stream import save_streaming_model
from tones import make_recipe

from asr.data import manifest
from asr.data.manifest import Utterance

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("recipes/*/README.md"),
]
WORDS = ("bad cab", "ace", "bad hedge", "a fig", "dead bee")

# program: its arguments here, and a part of what it prints
RUN = {
    "ablation": ("variants.yaml", "against the first"),
    "bench_align": ("--frames 4000 --tokens 800", "100.00%"),
    "bench_augment": ("--rounds 2 --seconds 1", "SpecAugment"),
    "bench_browser": ("tiny.asr audio/0.wav", "times real time"),
    "bench_check": ("200", "200 rows"),
    "bench_decoder": ("--text text.txt --sentences 2 --beams 4 --budget 0.01", "ours"),
    "bench_export": ("set.jsonl --preset tiny --part one --rounds 1", "ONNX int8"),
    "bench_grammar": ("--sentences 5 --training 500", "| grammar |"),
    "bench_int8": ("--presets tiny --threads 1 --rounds 1", "tiny"),
    "bench_long": ("tiny.asr set.jsonl --hours 0.02 --vad energy", "pieces"),
    "bench_ngram": ("text.txt --words 2000", "perplexity"),
    "bench_parallel": ("--preset tiny --rounds 1 --batch-s 80", "two processes"),
    "bench_prepare": ("200", "prepare"),
    "bench_ray": ("tiny.asr set.jsonl", "one process"),
    "bench_report": ("--utterances 50 --rounds 1", "s"),
    "bench_rnn": ("--hidden 8 --threads 1", "packed"),
    "bench_segment": ("tiny.asr ann ben", "AUC"),
    "bench_serve": ("load streaming.asr audio --streams 1 --seconds 1", "lag"),
    "bench_shards": ("--sizes 100 --rounds 1", "manifest"),
    "bench_step": ("--preset tiny --threads 1 --rounds 1", "bfloat16"),
    "bench_streaming": ("streaming.asr set.jsonl --chunkings 4 --paced 1", "differ"),
    "bench_synth": ("--engine espeak --engine hibari --utterances 2", "espeak"),
    "bench_training": ("--preset tiny --rounds 1", "bare loop"),
    "bench_transcribers": ("tiny.asr set.jsonl --files 2 --rounds 1 --threads 1", "asr"),
    "compare_english": ("tiny.asr set.jsonl", "times real time"),
    "docker_steps": ("root --models models --packages", "stopped with status 0"),
    "join_clips": ("clips spoken", "3 recordings"),
    "stranger_corpus": ("corpora/fsdd stranger", "14 rows"),
    "calibration": ("tiny.asr set.jsonl set.jsonl", "ECE"),
}


def test_each_program_that_the_pages_name_is_here_and_is_run_by_a_test():
    named = {
        name for page in PAGES for name in re.findall(r"tools/(\w+)\.py\b", page.read_text("utf-8"))
    }
    assert len(named) > 10
    assert named <= set(RUN)
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} == set(RUN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_file):
    """A folder with a small model, a manifest, a text, a corpus like FSDD, and an ablation file."""
    folder = tmp_path_factory.mktemp("tools")
    shutil.copy(model_file, folder / "tiny.asr")
    save_streaming_model(folder / "streaming.asr")
    (folder / "models").mkdir()
    shutil.copy(model_file, folder / "models/model.asr")
    rows, digits = [], ["id\taudio\ttext\tspeaker"]
    for i in range(12):
        path = folder / f"audio/{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise(1.5, i), 16000)
        rows.append(Utterance(f"u{i}", str(path), text=WORDS[i % 5], speaker="ann"))
        path = folder / f"corpora/fsdd/{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(0.4, i, 8000), 8000)
        word = ("bad", "cab", "ace", "fig", "bee", "dad")[i // 2]
        digits.append(f"{i}\t{path}\t{word}\t{('ann', 'ben')[i % 2]}")
    manifest.write(folder / "set.jsonl", rows)
    (folder / "spoken").mkdir()
    manifest.write(folder / "spoken/manifest.jsonl", rows[:3])
    (folder / "corpora/fsdd/manifest.tsv").write_text("\n".join(digits))
    lines = [
        f"the {a} {b} and the {b} {a}" for a in "bad fig ace".split() for b in "cab egg".split()
    ]
    (folder / "text.txt").write_text("\n".join(lines * 100) + "\n")
    (folder / "tones").mkdir()
    make_recipe(folder / "tones")
    variants = {
        "recipe": str(folder / "tones"),
        "shared": ["train.epochs=1", "data.test=[test.jsonl]"],
        "seeds": [1],
        "sets": {"short": ["data.max_duration_s=1.5"]},
        "variants": {"plain": {"changes": ["augment.gain_db=0"]}, "more": {"on": "plain"}},
    }
    (folder / "variants.yaml").write_text(yaml.safe_dump(variants))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_program_runs(name, folder):
    arguments, printed = RUN[name]
    if name == "bench_browser" and shutil.which("npm") is None:
        pytest.skip("no npm: apt-get install npm")
    if name in ("bench_browser", "bench_report") and not (
        shutil.which("chromium") and shutil.which("chromedriver")
    ):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    if name == "bench_ngram":
        pytest.importorskip("kenlm", reason="kenlm-ex is not installed: pip install 'asr[bench]'")
    if name == "bench_ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'asr[ray]'")
    environment = os.environ | {"ASR_CORPORA": str(folder / "corpora"), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, ROOT / f"tools/{name}.py", *arguments.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert printed in done.stdout, done.stdout
