"""Several processes compute the same as one; a batch in several passes equals one pass."""

import subprocess
import sys

import pytest
import torch
from tones import asr, weights

from asr.training.checkpoint import checkpoint_files

# Masks, dropout and dither are drawn anew in each process: without them, sums alone differ.
SETTINGS = (
    "spec_augment.time_masks=0",
    "spec_augment.freq_masks=0",
    "model.dropout=0",
    "features.dither=0",
    "augment.speed=[0.9,1.0,1.1]",
    "train.epochs=2",
    "train.batch_s=5",
)


@pytest.fixture(scope="module")
def alone(corpus):
    asr("train", corpus, *SETTINGS, "-o", corpus / "alone")
    return corpus / "alone/tones"


def together(processes, corpus, runs, *settings):
    """Run the command in several processes by torchrun, with gloo."""
    arguments = ["--standalone", "--nproc-per-node", processes, "-m", "asr.cli", "train", corpus]
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, arguments)]
    command += [*SETTINGS, *settings, "-o", str(runs)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_a_step_and_get_the_weights_of_one(corpus, alone, processes):
    runs = corpus / f"together-{processes}"
    done = together(processes, corpus, runs)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2: loss") == 1  # one of them speaks
    torch.testing.assert_close(weights(runs / "tones"), weights(alone), atol=2e-4, rtol=1e-3)


def test_a_run_resumes_with_another_number_of_processes(corpus, alone):
    runs = corpus / "changed"
    settings = ("train.checkpoint_minutes=0.00001", "train.keep_checkpoints=99")
    done = together(2, corpus, runs, *settings)
    assert done.returncode == 0, done.stderr
    run = runs / "tones"
    for path in checkpoint_files(run / "checkpoints")[:-4]:
        path.unlink()  # all but the first four: the run was killed in its first epoch
    (run / "model.asr").unlink()
    output = asr("train", corpus, *SETTINGS, *settings, "-o", runs)
    assert "resuming at step 4 " in output
    torch.testing.assert_close(weights(run), weights(alone), atol=2e-4, rtol=1e-3)


def test_a_batch_in_three_passes_is_the_batch_at_once(corpus, alone):
    asr("train", corpus, *SETTINGS, "train.accumulate=3", "-o", corpus / "passes")
    torch.testing.assert_close(
        weights(corpus / "passes/tones"), weights(alone), atol=2e-4, rtol=1e-3
    )


def test_a_mistake_ends_all_processes(corpus, tmp_path):
    done = together(2, corpus, tmp_path, "data.train=gone.jsonl")
    assert done.returncode != 0 and "gone.jsonl: no such file" in done.stderr
