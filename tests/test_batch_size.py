"""`train.batch_s: auto`: the largest batch that fits is predicted before memory is exhausted."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tones import asr, make_recipe
from torch import nn

from asr import config
from asr.config import Config
from asr.model import memory
from asr.model.model_file import load_model
from asr.training import batch_size, plan
from asr.training.batch_size import find_batch_s, fitting_utterances
from asr.training.checkpoint import checkpoint_files, load_checkpoint

CPU = torch.device("cpu")
MIB = 2**20


class Hungry(nn.Module):
    """An objective that needs `base` plus `mib` per second of audio in both passes."""

    def __init__(self, base=100, mib=10, limit=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.base, self.mib, self.limit = base, mib, limit
        self.peak, self.tried_s = 0, []

    def forward(self, batch):
        seconds = batch.waveforms.numel() / 16000
        self.tried_s.append(seconds)
        if self.limit is not None and seconds > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = max(self.peak, (self.base + self.mib * seconds) * MIB)
        return self.weight.sum() * batch.waveforms.mean()


@pytest.fixture
def machine(monkeypatch):
    """Simulate a machine with the free and used memory that the test sets."""

    def set_up(objective, free_mib):
        monkeypatch.setattr(batch_size, "used_bytes", lambda device: objective.base * MIB)
        monkeypatch.setattr(
            batch_size, "free_bytes", lambda device: 2 * free_mib * MIB
        )  # half of it
        monkeypatch.setattr(batch_size, "peak_bytes", lambda device: int(objective.peak))

    return set_up


@pytest.mark.parametrize(("free_mib", "fits"), [(999, 9), (1000, 10), (320, 3), (5000, 32)])
def test_what_fits_is_predicted_not_exceeded(machine, free_mib, fits):
    objective = Hungry(mib=10)
    machine(objective, free_mib)
    assert fitting_utterances(objective, 10.0, 32, 5, 16000, CPU) == fits
    assert max(objective.tried_s) * 10 <= free_mib or fits == 1
    assert objective.weight.grad is None


def test_an_out_of_memory_error_is_handled(machine):
    objective = Hungry(mib=0, limit=50.0)  # grows by nothing that shows, then fails
    machine(objective, 1000)
    assert fitting_utterances(objective, 10.0, 32, 5, 16000, CPU) == 4


def test_a_small_corpus_gets_a_hundred_steps(machine):
    objective = Hungry()
    machine(objective, 10**6)
    assert find_batch_s(objective, [4.0] * 1000, 5, 16000, CPU) == pytest.approx(40.0)
    assert max(objective.tried_s) <= 40.0  # and nothing larger is tried
    assert find_batch_s(objective, [4.0] * 100, 5, 16000, CPU) == plan.MIN_BATCH_S
    assert find_batch_s(objective, [4.0, 30.0], 5, 16000, CPU) == 30.0


@pytest.mark.parametrize(
    ("hours", "batch_s", "steps"), [(0.01, 20, 2), (0.2, 20, 36), (1, 36, 100), (100, 160, 2250)]
)
def test_the_plan_follows_from_the_hours(hours, batch_s, steps):
    assert plan.wanted_batch_s(3600 * hours, 15.0, 160.0) == pytest.approx(batch_s)
    scratch, tuning = (plan.wanted_epochs(steps, tuning) for tuning in (False, True))
    assert scratch == {2: 300, 36: 112, 100: 40, 2250: 30}[steps]
    assert tuning == {2: 100, 36: 28, 100: 10, 2250: 10}[steps]


def test_a_resolved_configuration_is_valid_and_gives_the_same_plan():
    """Its batches hold data.max_duration_s, as every configuration requires."""
    resolved = plan.resolve(Config(name="a"), 20.0, 40)
    assert config.parse(config.from_yaml(config.to_yaml(resolved)), "a") == resolved
    assert (resolved.train.epochs, resolved.data.max_duration_s) == (100, 20.0)
    given = config.parse({"name": "a"}, "a", ["train.batch_s=60", "train.epochs=7"])
    assert plan.resolve(given, 60.0, 40) == given


def test_processes_and_passes_share_a_step(machine):
    objective = Hungry(mib=10)
    machine(objective, 1000)
    found_s = find_batch_s(objective, [10.0] * 100_000, 5, 16000, CPU, parts=4)
    assert found_s == pytest.approx(400.0)  # 100 s a pass is what fits


GROWTH = """
import torch
from asr.model import memory
from asr.model.model_file import load_model
from asr.training import batch_size
from asr.training.objective import Objective
import sys
objective = Objective(load_model(sys.argv[1]))
for count in (40, 80, 160, 320):
    objective(batch_size.random_batch(count, 10.0, 20, 16000)).backward()
    print(memory.peak_bytes(torch.device("cpu")))
"""


def test_real_memory_grows_with_the_batch(model_file):
    """In a separate process: `MEMORY_SHARE` leaves more memory free than the prediction error."""
    printed = subprocess.check_output([sys.executable, "-c", GROWTH, str(model_file)], text=True)
    _, a, b, c = map(int, printed.split())
    assert 1 < (c - b) / (b - a) < 2 / batch_size.MEMORY_SHARE["cpu"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells another figure")
def test_the_peak_is_per_process_and_can_be_reset():
    large = np.ones(2**27)  # 1 GiB: a process that this one starts would begin with it
    program = """
import numpy as np, torch
from asr.model.memory import peak_bytes, reset_peak
cpu = torch.device("cpu")
before = peak_bytes(cpu)
np.ones(2**25)
print(before, peak_bytes(cpu))
reset_peak(cpu)
print(peak_bytes(cpu))
"""
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    before, during, after = map(int, printed.split())
    assert before < 2**30 < memory.peak_bytes(CPU)
    assert before + 0.9 * 2**28 < during and after < during - 0.9 * 2**28
    assert large[0] == 1


def test_a_run_finds_its_batch_and_keeps_it_when_resumed(tmp_path):
    make_recipe(tmp_path)
    settings = (
        "train.batch_s=auto",
        "train.epochs=1",
        "augment.pad_silence_s=0",
        "-o",
        tmp_path,
    )
    output = asr("train", tmp_path, *settings)
    assert "1 epochs with up to 20 s of audio per step (train.batch_s: auto)" in output
    assert "steps are few" in output
    run = tmp_path / "tones"
    state = load_checkpoint(checkpoint_files(run / "checkpoints")[0], {})
    assert state["batch_s"] == 20 and state["step"] < 20
    for written in (config.load(run / "config.yaml"), load_model(run / "model.asr").config):
        assert (written.train.batch_s, written.train.epochs) == (20, 1)
    (run / "model.asr").unlink()
    output = asr("train", tmp_path, *settings)
    assert "resuming" in output and "auto" not in output
