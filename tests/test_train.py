"""Training: it learns, resumes bit for bit, prints the WER of `asr score`, says what is wrong."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr import manifest, monitor
from asr.checkpoint import checkpoint_file, load_checkpoint, load_model
from asr.config import TrainConfig
from asr.evaluate import evaluate
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.schedule import State, judge, learning_rate
from asr.train import all_blank, not_finite

RATE_HZ = 8000
TONES_HZ = {"low": 400, "mid": 1000, "high": 2400}  # a language of three words


def speak(words, draw):
    """Each word is a tone of its own, with pauses and a little noise: learnt in seconds."""
    parts = [np.zeros(400)]
    for word in words:
        t = np.arange(int(draw.integers(1200, 1800))) / RATE_HZ
        parts += [
            0.3 * np.sin(2 * np.pi * TONES_HZ[word] * t),
            np.zeros(int(draw.integers(300, 700))),
        ]
    samples = np.concatenate(parts)
    return samples + 0.003 * draw.standard_normal(len(samples))


def make_corpus(folder, **counts):
    draw = np.random.default_rng(0)
    for split, count in counts.items():
        utterances = []
        for i in range(count):
            words = draw.choice(list(TONES_HZ), size=int(draw.integers(1, 5))).tolist()
            path = folder / "audio" / f"{split}-{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speak(words, draw), RATE_HZ)
            utterances.append(Utterance(path.stem, str(path), text=" ".join(words)))
        manifest.write(folder / f"{split}.jsonl", utterances)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    make_corpus(folder, train=120, dev=20, test=20)
    (folder / "recipe.yaml").write_text(
        f"""
name: tones
data: {{folder: {folder}, max_duration_s: 4}}
features: {{rate_hz: {RATE_HZ}, n_mels: 24}}
tokenizer: {{kind: bpe, vocab_size: 14}}
augment: {{gain_db: 6, noise_p: 0.3}}
spec_augment: {{time_masks: 1, freq_masks: 1}}
model: {{preset: tiny, layers: 1, hidden: 48, channels: 8}}
train: {{epochs: 12, batch_s: 4, learning_rate: 5.0e-3, workers: 0, threads: 1, device: cpu}}
"""
    )
    return folder


def command(*arguments):
    return [sys.executable, "-m", "asr.cli", *map(str, arguments)]


def asr(*arguments, status=0):
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(corpus):
    """The run that was never interrupted."""
    runs = corpus / "straight"
    output = asr("run", corpus, "--runs", runs)
    return runs / "tones", output


def weights(run):
    return torch.cat(
        [p.flatten() for p in load_model(run / "model.asr").acoustic.state_dict().values()]
    )


def decided_rows(run):
    """What a run logged, without the columns that a clock decides."""
    rows = monitor.read(run / "metrics.jsonl")
    clock = {"train/audio_s_per_s", "train/data_wait_share"}
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def test_it_learns(finished):
    run, output = finished
    assert json.loads((run / "score/test/score.json").read_text())["wer"] <= 0.1, output


def test_validation_prints_what_score_prints(finished, corpus):
    """Contract 2, to the last digit: the best dev WER of the run and `asr score` on dev."""
    run, output = finished
    (best,) = (run / "checkpoints").glob("best-*.safetensors")
    state = State(**load_checkpoint(best, {}))
    scored = asr("score", run / "model.asr", corpus / "dev.jsonl", "--to", corpus / "scored")
    result = json.loads((corpus / "scored/score.json").read_text())
    assert [result["wer"], result["cer"]] == list(state.best)
    assert f"dev WER {state.best[0]:.2%}" in output
    assert f"WER {state.best[0]:.2%}" in scored


def test_transcripts_do_not_depend_on_their_company(finished, corpus):
    recognizer = Recognizer(load_model(finished[0] / "model.asr"), "cpu")
    utterances = manifest.read(corpus / "test.jsonl")
    together = [pair.hypothesis for pair in evaluate(recognizer, utterances).pairs]
    alone = [recognizer.transcribe(u.audio).text for u in utterances]
    assert together == alone and any(alone)


def test_a_finished_run_is_skipped_and_says_why(finished, corpus):
    output = asr("run", corpus, "--runs", finished[0].parent)
    for stage in ("tokenizer", "train", "score test"):
        assert f"{stage}: skipped: done, nothing has changed" in output


def test_other_settings_do_not_overwrite_a_run(finished, corpus):
    output = asr("train", corpus, "train.epochs=9", "--runs", finished[0].parent, status=2)
    assert "config.train.epochs" in output and "--fresh" in output


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_equals_never_killed(finished, corpus, how):
    """Contract 5: stopped in mid-training, in the middle of an epoch too."""
    runs = corpus / f"stopped-{how.name}"
    arguments = command(
        "train", corpus, "--runs", runs, "train.checkpoint_minutes=0.0001"
    )  # a checkpoint after every step
    for stop_at in (7, 23):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if any(
                checkpoint_file(runs / "tones/checkpoints", stop_at + i).exists() for i in range(5)
            ):
                os.kill(process.pid, how)
                break
            time.sleep(0.005)
        output = process.communicate()[0].decode()
        assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 130), output
    assert "resuming at step" in asr(
        "train", corpus, "--runs", runs, "train.checkpoint_minutes=0.0001"
    )
    assert torch.equal(weights(runs / "tones"), weights(finished[0]))
    assert decided_rows(runs / "tones") == decided_rows(finished[0])


def test_utterances_that_cannot_be_used_are_named_before_training(corpus, tmp_path):
    utterances = manifest.read(corpus / "train.jsonl")[:40]
    broken = [
        Utterance("gone", str(tmp_path / "gone.wav"), text="low"),
        Utterance("silent", utterances[0].audio, text=" "),
        Utterance("rushed", utterances[0].audio, text="low high " * 40),
    ]
    manifest.write(tmp_path / "train.jsonl", utterances + broken)
    manifest.write(tmp_path / "dev.jsonl", manifest.read(corpus / "dev.jsonl"))
    changes = (f"data.folder={tmp_path}", "train.epochs=1")
    output = asr("train", corpus / "recipe.yaml", *changes, "--runs", tmp_path)
    assert "3 problems" in output
    assert "gone.wav: no such file" in output and "no text is left" in output
    assert "rushed" in output and "frames" in output
    listed = (tmp_path / "tones/manifests/train.problems.tsv").read_text()
    assert [line.split("\t")[0] for line in listed.splitlines()] == [
        "id",
        "gone",
        "silent",
        "rushed",
    ]


def test_damage_that_only_training_meets_is_one_line_and_status_2(corpus, tmp_path):
    """Headers are all that is checked before, so that training starts at once."""
    utterances = manifest.read(corpus / "train.jsonl")[:20]
    samples = speak(["low"] * 4, np.random.default_rng(0))
    samples[5000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    manifest.write(
        tmp_path / "train.jsonl",
        [*utterances, Utterance("bad", str(tmp_path / "nan.wav"), text="low")],
    )
    manifest.write(tmp_path / "dev.jsonl", manifest.read(corpus / "dev.jsonl"))
    changes = (f"data.folder={tmp_path}", "train.epochs=1", "train.workers=1")
    output = asr("train", corpus / "recipe.yaml", *changes, "--runs", tmp_path, status=2)
    (line,) = [line for line in output.splitlines() if "not finite numbers" in line]
    assert line.startswith(f"asr: utterance bad: {tmp_path / 'nan.wav'}: ")
    assert "Traceback" not in output
    assert "nan.wav" in asr("check", tmp_path / "train.jsonl", status=1)


def test_schedules():
    c = TrainConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, c) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == max(rates) == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.5) and rates[-1] < 0.001
    flat = TrainConfig(learning_rate=1.0, warmup=0.1, schedule="plateau")
    assert {learning_rate(step, 100, flat) for step in range(10, 100)} == {1.0}


def test_the_annealed_rate_falls_from_epoch_to_epoch():
    c = TrainConfig(learning_rate=1.0, warmup=0, schedule="annealed", anneal=1.25)
    found = [learning_rate(10 * epoch + i, 30, c, epoch) for epoch in range(3) for i in range(10)]
    assert found == [1.0] * 10 + [0.8] * 10 + [pytest.approx(0.64)] * 10


def test_plateau_halves_the_rate_when_nothing_is_gained():
    c = TrainConfig(schedule="plateau", patience=2)
    state = State()
    for wer in (0.5, 0.4, 0.4, 0.41, 0.39):
        judge(state, wer, wer, c)
    assert state.rate_scale == 0.5 and state.best == (0.39, 0.39)


def test_messages_say_what_it_means_and_what_to_try():
    said = not_finite(math.inf, math.nan, 12, [f"utterance-{i}" for i in range(20)], Path("kept"))
    assert "step 12" in said and "utterance-0" in said and "20 utterances" in said
    assert "asr check" in all_blank(3, 2.9) and "learning_rate" in all_blank(3, 2.9)


def test_a_loss_that_stays_infinite_ends_the_run(corpus, tmp_path):
    output = asr(
        "train", corpus, "train.learning_rate=1e30", "train.warmup=0", "train.clip_norm=1e30",
        "--runs", tmp_path, status=1,
    )  # fmt: skip
    assert "5 steps in a row without a finite loss" in output and "train-" in output
    assert "Traceback" not in output


def test_the_deepspeech2_design_trains_with_sgd_and_resumes(corpus, tmp_path):
    """Straight through, and stopped after the first epoch: the same weights, momentum and all."""
    changes = (
        "features.kind=spectrogram", "features.window_ms=20", "model.preset=deepspeech2",
        "model.layers=2", "model.channels=2", "train.batch_s=20", "train.epochs=2",
        "train.optimizer=sgd", "train.schedule=annealed",
    )  # fmt: skip
    arguments = ("train", corpus, *changes, "--runs", tmp_path)
    assert "deepspeech2 model" in asr(*arguments)
    straight = weights(tmp_path / "tones")
    max((tmp_path / "tones/checkpoints").glob("step-*")).unlink()
    (tmp_path / "tones/model.asr").unlink()
    assert "resuming at step" in asr(*arguments)
    assert torch.equal(weights(tmp_path / "tones"), straight)


def test_global_cmvn_and_a_causal_gru_train_too(corpus, tmp_path):
    asr(
        "train", corpus, "features.cmvn=global", "model.rnn=gru", "model.bidirectional=false",
        "train.epochs=1", "train.schedule=plateau", "--runs", tmp_path,
    )  # fmt: skip
    model = load_model(tmp_path / "tones/model.asr")
    assert model.features.std.min() > 0 and not torch.equal(model.features.mean, torch.zeros(24))
