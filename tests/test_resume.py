"""A killed and resumed run equals a straight run bit for bit; damaged and old checkpoints."""

import os
import signal
import subprocess

import numpy as np
import pytest
import torch
from tones import asr, command, weights

from asr.errors import UserError
from asr.training import checkpoint
from asr.training.averaging import average_checkpoints
from asr.training.checkpoint import Damaged, checkpoint_file, checkpoint_files, load_checkpoint
from asr.training.writers import read_metrics

# All that carries state from step to step; a checkpoint after every one.
SETTINGS = (
    "train.checkpoint_minutes=0.00001",
    "train.epochs=6",
    "train.batch_s=5",
    "train.accumulate=2",
    "train.ema=0.95",
    "train.average_best=2",
    "augment.speed=[0.9,1.0,1.1]",
    "features.cmvn=global",
    "train.cr_ctc_weight=0.1",
    "augment.pad_silence_p=0.5",
    "augment.tempo=[0.9,1.3]",
    "augment.tempo_variation=0.3",
    "augment.tilt_db=13",
    "augment.pitch=0.2",
    "augment.vtlp=0.2",
    "augment.equalizer_db=4",
    "augment.noise_floor_p=0.7",
)


@pytest.fixture(scope="module")
def straight(corpus):
    """The run that was never interrupted."""
    asr("train", corpus, *SETTINGS, "-o", corpus / "straight")
    return corpus / "straight/tones"


def train_until(corpus, runs, step, how):
    """Train, and send the signal `how` when a checkpoint has `step` steps."""
    arguments = command("train", corpus, *SETTINGS, "-o", runs)
    folder = runs / "tones/checkpoints"
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None:
        newest = checkpoint_files(folder)[:1]
        if newest and newest[0] >= checkpoint_file(folder, step):
            os.kill(process.pid, how)
            break
    output = process.communicate()[0].decode()
    assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 130), output


def decided_rows(run):
    """The rows of a run without the columns that depend on the clock."""
    rows = read_metrics(run / "metrics.jsonl")
    clock = {"train/audio_s_per_s", "train/data_wait_share"}
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def total_steps(run):
    (*_, last) = sorted(checkpoint_files(run / "checkpoints"))
    return load_checkpoint(last, {})["step"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_equals_never_killed(corpus, straight, how):
    runs = corpus / f"stopped-{how.name}"
    for step in (7, 23):
        train_until(corpus, runs, step, how)
    assert "resuming at step" in asr("train", corpus, *SETTINGS, "-o", runs)
    assert torch.equal(weights(runs / "tones"), weights(straight))
    assert decided_rows(runs / "tones") == decided_rows(straight)


@pytest.mark.slow
def test_twenty_random_kills(corpus, straight):
    steps = np.random.default_rng(0).choice(np.arange(1, total_steps(straight)), 20, replace=False)
    for step in sorted(steps.tolist()):
        train_until(corpus, corpus / "twenty", step, signal.SIGKILL)
    asr("train", corpus, *SETTINGS, "-o", corpus / "twenty")
    assert torch.equal(weights(corpus / "twenty/tones"), weights(straight))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(corpus, straight):
    runs = corpus / "damaged"
    train_until(corpus, runs, 9, signal.SIGKILL)
    newest, before, *_ = checkpoint_files(runs / "tones/checkpoints")
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1  # one bit of one weight: only a checksum can tell
    newest.write_bytes(data)
    output = asr("train", corpus, *SETTINGS, "-o", runs)
    assert f"{newest}: not a checkpoint, or damaged" in output
    assert f"resuming at step {int(before.stem.partition('-')[2])} of" in output
    assert torch.equal(weights(runs / "tones"), weights(straight))


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    for step in (3, 5):
        checkpoint_file(tmp_path, step).write_bytes(b"cut off")
    with pytest.raises(UserError, match="every checkpoint is damaged; delete the folder"):
        checkpoint.load_newest(tmp_path, {}, None)


@pytest.mark.parametrize("at", [0, 9, 300, -1])
def test_any_flipped_byte_is_noticed(tmp_path, at):
    module = torch.nn.Linear(20, 20)
    path = tmp_path / "c.safetensors"
    checkpoint.save_checkpoint(path, {"linear": module}, None, {"step": 1})
    assert load_checkpoint(path, {"linear": module}) == {"step": 1}
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(Damaged):
        load_checkpoint(path, {"linear": module})


def test_as_many_checkpoints_are_kept_as_asked_for(straight):
    assert len(checkpoint_files(straight / "checkpoints")) == 2
    assert len(list((straight / "checkpoints").glob("best-*.safetensors"))) == 2


def test_the_fp16_scaler_is_restored(tmp_path):
    """The state that `train` stores is exact in JSON."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1234.5)
    checkpoint.save_checkpoint(tmp_path / "c", {}, None, {"scaler": scaler.state_dict()})
    again = torch.amp.GradScaler("cpu")
    again.load_state_dict(load_checkpoint(tmp_path / "c", {})["scaler"])
    assert again.state_dict() == scaler.state_dict()


def test_the_mean_of_checkpoints(tmp_path):
    modules = [torch.nn.Linear(3, 2) for _ in range(3)]
    for i, module in enumerate(modules):
        checkpoint.save_checkpoint(tmp_path / str(i), {"m": module}, None, {})
    mean = torch.nn.Linear(3, 2)
    average_checkpoints([tmp_path / str(i) for i in range(3)], {"m": mean})
    torch.testing.assert_close(mean.weight, sum(m.weight for m in modules) / 3)
    torch.testing.assert_close(mean.bias, sum(m.bias for m in modules) / 3)
